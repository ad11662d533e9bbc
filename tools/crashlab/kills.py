"""kill -9 at random instants, again and again, in the life of one workdir.

A round: clients at work; after a random time the server is killed, in mid-request or in the middle
of its start. While it is down, everything that any client was told must be in its journal and
database. It is started again; that must take no help. Then `audit verify` and `projections check`
must find nothing, with or without clients at work, and a request that was answered before must not
work twice. At the end every client must have got what it ordered.
"""

import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from tools.crashlab.lab import Lab, lab
from tools.crashlab.ledger import ISSUED, ORDER, Tally
from tools.crashlab.server import Server
from tools.crashlab.trouble import NotHeld

LONGEST_WORK = 2.5
LONGEST_START = 1.5
STILLBORN_PART = 0.25
QUIET_PART = 0.5
PAUSE = 0.5


class Round(msgspec.Struct):
    """What happened in a round. Times are in seconds."""

    number: int
    at_work: float
    kills: int = 0
    behind: int = 0
    torn: int = 0
    lines: int = 0
    ready: float = 0.0
    quiet: bool = False
    orders: int = 0
    certificates: int = 0

    def __str__(self) -> str:
        """Return the round on one line."""
        more = f", {self.kills - 1} times again while starting" if self.kills > 1 else ""
        return (
            f"round {self.number}: killed after {self.at_work:.2f} s{more};"
            f" {self.lines} lines, journal behind by {self.behind}, {self.torn} bytes torn;"
            f" ready in {self.ready:.2f} s; verified {'at rest' if self.quiet else 'under load'};"
            f" {self.orders} orders, {self.certificates} certificates so far"
        )


class Outcome(Tally):
    """The sum of all rounds."""

    kills: int = 0
    journal_behind: int = 0
    journal_torn: int = 0
    ready_median: float = 0.0
    ready_max: float = 0.0

    def __str__(self) -> str:
        """Return the sum on one line."""
        return (
            f"{self.rounds} rounds, {self.kills} kills in {self.seconds:.0f} s: {self.said()};"
            f" ready in {self.ready_median} s (median), {self.ready_max} s (longest)"
        )


Tell = Callable[[str], None]


def run(
    folder: Path,
    *,
    rounds: int,
    clients: int,
    seed: str,
    tell: Tell,
    database: str | None = None,
) -> Outcome:
    """Do so many rounds; what broke, if anything did, is told in the outcome.

    `database` is the address of an empty PostgreSQL database; without one, SQLite is used.
    """
    chance = random.Random(seed)  # noqa: S311 - repeatable
    outcome, done = Outcome(seed, clients), list[Round]()
    begun = time.monotonic()
    with lab(Server(folder, database=database), clients, seed) as at:
        try:
            for number in range(1, rounds + 1):
                done.append(Round(number, chance.uniform(0.05, LONGEST_WORK)))
                _round(at, done[-1], chance)
                tell(str(done[-1]))
            outcome.events = len(at.settle().database)
        except NotHeld as error:
            outcome.broken = f"round {len(done)}: {error}"
        _sum_up(outcome, done, at)
    outcome.seconds = round(time.monotonic() - begun, 1)
    return outcome


def _round(at: Lab, this: Round, chance: random.Random) -> None:
    at.work(this.at_work)
    at.server.check_alive()
    at.server.kill()
    this.kills = 1
    kept = at.look()
    this.behind, this.torn, this.lines = kept.behind, kept.torn, len(kept.database)
    while chance.random() < STILLBORN_PART:
        at.server.start()
        time.sleep(chance.uniform(0, LONGEST_START))
        at.server.check_alive()
        at.server.kill()
        this.kills += 1
        at.look()
    this.ready = at.restart()
    at.replay()
    this.quiet = chance.random() < QUIET_PART
    _check(at, at_rest=this.quiet)
    counts = at.ledger.counts
    this.orders, this.certificates = counts[ORDER], counts[ISSUED]


def _check(at: Lab, *, at_rest: bool) -> None:
    """Look at everything, with no client at work or with some; then they go on as before."""
    if at_rest:
        at.crew.rest()
    # At full speed the log would grow by more than is being verified.
    at.crew.pause = PAUSE
    at.look(at_rest=at_rest)
    at.verify()
    at.look(at_rest=at_rest)
    at.crew.pause = 0.0


def _sum_up(outcome: Outcome, rounds: list[Round], at: Lab) -> None:
    outcome.add_up(at.ledger)
    outcome.rounds = len(rounds)
    outcome.kills = sum(one.kills for one in rounds)
    outcome.journal_behind = max((one.behind for one in rounds), default=0)
    outcome.journal_torn = max((one.torn for one in rounds), default=0)
    starts = [one.ready for one in rounds if one.ready]
    if starts:
        outcome.ready_median = round(statistics.median(starts), 2)
        outcome.ready_max = round(max(starts), 2)
