"""SIGTERM at random instants, again and again, in the life of one workdir.

A round: clients at work; after a random time the server is asked to end. It has to, with exit code
0 and within its own timeouts, with everything that any client was told in journal and database,
which are level; the last line says that it stopped, and the writer's place is free. No answer may
break off in its middle. Sometimes it is asked a second time, which means at once: then it may end
as after a kill. Sometimes it is asked in the middle of a start. `audit verify` and `projections
check` must find nothing, a request that was answered before must not work twice, and at the end
every client must have got what it ordered.
"""

import random
import signal
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from events.envelope import parse
from events.nodes import NodeStopped
from events.registry import name_of
from tools.adcs_sim.behaviour import issues
from tools.crashlab import evidence
from tools.crashlab.corp import Corp
from tools.crashlab.lab import Lab, lab
from tools.crashlab.ledger import ISSUED, Tally
from tools.crashlab.server import Server
from tools.crashlab.trouble import NotHeld

LONGEST_WORK = 2.5
PAUSE = 0.5
LONGEST_START = 1.5
LONGEST_SECOND = 0.1
STILLBORN_PART = 0.2
HURRIED_PART = 0.2
WITHIN = 60.0
"""Seconds: server.shutdown-timeout and workers.drain-timeout, as they are by themselves."""
TERMINATED = -signal.SIGTERM
SLOW = 0.6
"""Seconds that a slow CA takes to decide."""
STOPPED = name_of(NodeStopped("boot"))[0]


class Round(msgspec.Struct):
    """What happened in a round. Times are in seconds."""

    number: int
    at_work: float
    stopped: float = 0.0
    hurried: bool = False
    code: int = 0
    starts_ended: int = 0
    lines: int = 0
    ready: float = 0.0
    certificates: int = 0

    def __str__(self) -> str:
        """Return the round on one line."""
        how = f"asked twice, ended with {self.code}" if self.hurried else "ended with 0"
        more = f"; {self.starts_ended} starts were ended" if self.starts_ended else ""
        return (
            f"round {self.number}: SIGTERM after {self.at_work:.2f} s, {how} in"
            f" {self.stopped:.2f} s; {self.lines} lines{more}; ready in {self.ready:.2f} s;"
            f" {self.certificates} certificates so far"
        )


class Outcome(Tally):
    """The sum of all rounds."""

    hurried: int = 0
    starts_ended: int = 0
    stop_median: float = 0.0
    stop_max: float = 0.0
    ready_median: float = 0.0

    def __str__(self) -> str:
        """Return the sum on one line."""
        return (
            f"{self.rounds} rounds in {self.seconds:.0f} s, {self.hurried} with a second signal,"
            f" {self.starts_ended} starts ended: {self.said()}; stopped in"
            f" {self.stop_median} s (median), {self.stop_max} s (longest); ready in"
            f" {self.ready_median} s (median)"
        )


def run(
    folder: Path,
    *,
    rounds: int,
    clients: int,
    seed: str,
    tell: Callable[[str], None],
    database: str | None = None,
    slow_ca: bool = False,
) -> Outcome:
    """Do so many rounds; what broke, if anything did, is told in the outcome.

    `database` is the address of an empty PostgreSQL database; without one, SQLite is used. With a
    `slow_ca`, a simulated enterprise CA issues, and is still at it when the server is asked to end,
    which is then asked once only: what the CA issues has to be given to whom it is for.
    """
    chance = random.Random(seed)  # noqa: S311 - repeatable
    outcome, done = Outcome(seed, clients), list[Round]()
    begun = time.monotonic()
    with (
        _server(folder, database, slow=slow_ca) as (server, corp),
        lab(server, clients, seed) as at,
    ):
        try:
            for number in range(1, rounds + 1):
                done.append(Round(number, chance.uniform(0.05, LONGEST_WORK)))
                done[-1].hurried = not slow_ca and chance.random() < HURRIED_PART
                _round(at, done[-1], chance)
                tell(str(done[-1]))
            kept = at.settle()
            outcome.events = len(kept.database)
            if corp is not None:
                _check_given(kept, corp)
        except NotHeld as error:
            outcome.broken = f"round {len(done)}: {error}"
        _sum_up(outcome, done, at)
    outcome.seconds = round(time.monotonic() - begun, 1)
    return outcome


@contextmanager
def _server(
    folder: Path, database: str | None, *, slow: bool
) -> Iterator[tuple[Server, Corp | None]]:
    """Make the server, and its CA."""
    if not slow:
        yield Server(folder, database=database), None
        return
    corp = Corp(folder / "corp")
    try:
        corp.behaves(issues(after=SLOW))
        yield Server(folder, database=database, issuer=("corp", corp.section("resubmit"))), corp
    finally:
        corp.end()


def _check_given(kept: evidence.Kept, corp: Corp) -> None:
    """Nothing was issued twice, or for nobody. Raises NotHeld."""
    given = {fact[2] for fact in kept.rows if fact[0] == ISSUED}
    if more := corp.issued() - given:
        raise NotHeld(f"the CA issued {len(more)} certificates that nobody has")


def _round(at: Lab, this: Round, chance: random.Random) -> None:
    at.work(this.at_work)
    _stop(at, this, chance.uniform(0, LONGEST_SECOND))
    kept = at.look(at_rest=this.code == 0)
    this.lines = len(kept.database)
    if this.code == 0:
        _check_farewell(at, kept)
        at.verify()
    while chance.random() < STILLBORN_PART:
        at.server.start()
        time.sleep(chance.uniform(0, LONGEST_START))
        # Before it listens for signals, the system ends it; and a crash takes that road, too.
        _ended(at.server, 0, TERMINATED)
        at.look()
        this.starts_ended += 1
    this.ready = at.restart()
    at.replay()
    if this.code != 0:  # a crash may leave the journal behind; the start has mended that
        at.crew.pause = PAUSE  # at full speed the log would grow by more than is being verified
        at.verify()
        at.crew.pause = 0.0
    this.certificates = at.ledger.counts[ISSUED]


def _stop(at: Lab, this: Round, pause: float) -> None:
    """Ask the server to end, once or twice; see that it does, and how. Raises NotHeld."""
    cut = at.ledger.counts["cut"]
    begun = time.monotonic()
    if this.hurried:
        at.server.check_alive()
        at.server.signal(signal.SIGTERM)
        time.sleep(pause)
    this.code = _ended(at.server, *([0, TERMINATED] if this.hurried else [0]))
    this.stopped = time.monotonic() - begun
    if not this.hurried and (more := at.ledger.counts["cut"] - cut):
        raise NotHeld(f"{more} answers broke off")


def _ended(server: Server, *codes: int) -> int:
    """Send SIGTERM, and return with which of these codes the server ended. Raises NotHeld."""
    process = server.process
    if process is None:
        raise NotHeld("no server was started")
    process.terminate()  # nothing is sent to one that has ended
    try:
        code = process.wait(WITHIN)
    except subprocess.TimeoutExpired:
        raise NotHeld(f"the server does not stop in {WITHIN:.0f} s") from None
    server.process = None
    if code not in codes:
        raise NotHeld(f"asked to end, the server ended with {code}: {server.last_words()}")
    return code


def _check_farewell(at: Lab, kept: evidence.Kept) -> None:
    """The log ends with the word that the server stopped, and whoever comes next need not wait."""
    last = parse(kept.database[-1]).envelope.type
    if last != STOPPED:
        raise NotHeld(f"the last line is {last}, not {STOPPED}")
    if until := evidence.lease_until(at.server.database):
        raise NotHeld(f"the writer's place is held until {until}")


def _sum_up(outcome: Outcome, rounds: list[Round], at: Lab) -> None:
    outcome.add_up(at.ledger)
    outcome.rounds = len(rounds)
    outcome.hurried = sum(one.hurried for one in rounds)
    outcome.starts_ended = sum(one.starts_ended for one in rounds)
    stops = [one.stopped for one in rounds if not one.hurried and one.stopped]
    if stops:
        outcome.stop_median = round(statistics.median(stops), 2)
        outcome.stop_max = round(max(stops), 2)
    starts = [one.ready for one in rounds if one.ready]
    if starts:
        outcome.ready_median = round(statistics.median(starts), 2)
