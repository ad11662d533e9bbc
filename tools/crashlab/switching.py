"""Two nodes, one database, one at a time: the cold pair, switched over under load.

A switch: the node that serves is stopped (or killed), then the other one is started; clients keep
their accounts and orders, retry what was not answered, and must get everything they ordered. It
lasts from the first signal to the other node's readiness: the draining of the last requests and the
boot's probe are part of it.
"""

import random
import signal
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from tools.crashlab.front import Front
from tools.crashlab.lab import Lab, lab
from tools.crashlab.ledger import ISSUED, ORDER
from tools.crashlab.server import Server
from tools.crashlab.trouble import NotHeld

LONGEST_WORK = 2.0
LEASE_OVER = 40.0
AGAIN = 0.5


class Outcome(msgspec.Struct):
    """The sum of all switches, seconds each; `broken` is empty if everything held."""

    seed: str
    clients: int
    seconds: list[float] = []
    stopping: list[float] = []
    orders: int = 0
    certificates: int = 0
    lost: int = 0
    bad_nonces: int = 0
    retries: int = 0
    refused: str = ""
    broken: str = ""

    def __str__(self) -> str:
        """Return the sum on one line."""
        middle = statistics.median(self.seconds) if self.seconds else 0.0
        longest = max(self.seconds, default=0.0)
        return (
            f"{len(self.seconds)} switches: {middle:.2f} s (median), {longest:.2f} s (longest);"
            f" {self.orders} orders, {self.certificates} certificates, {self.lost} lost;"
            f" {self.bad_nonces} badNonce, {self.retries} retries"
        )


Tell = Callable[[str], None]


def run(
    folder: Path,
    database: str,
    *,
    switches: int,
    clients: int,
    seed: str,
    tell: Tell,
    crash: bool = False,
) -> Outcome:
    """Do so many switches; what broke, if anything did, is told in the outcome."""
    chance = random.Random(seed)  # noqa: S311 - repeatable
    outcome = Outcome(seed, clients)
    one = Server(folder / "one", database=database)
    two = Server(folder / "two", beside=one)
    one.journals = two.journals
    with lab(one, clients, seed) as at:
        try:
            at.issue(5)
            outcome.refused = _refused(Server(folder / "three", beside=one, at_once=True), one)
            _introduce(at, two)
            for _ in range(switches):
                at.work(chance.uniform(0.2, LONGEST_WORK))
                _switch(at, two if at.server is one else one, outcome, crash=crash)
                tell(f"switched in {outcome.seconds[-1]:.2f} s")
            if crash:  # the one that was killed last writes what it stored, and what it lacks
                at.server.stop()
                at.server = two if at.server is one else one
                at.restart()
            at.issue(5)
            at.settle()
        except NotHeld as error:
            outcome.broken = str(error)
        finally:
            two.kill()
    return _summed(outcome, at)


def _summed(outcome: Outcome, at: Lab) -> Outcome:
    counts = at.ledger.counts
    outcome.orders, outcome.certificates = counts[ORDER], counts[ISSUED]
    outcome.lost = len(at.ledger.lost)
    outcome.bad_nonces, outcome.retries = counts["bad-nonces"], counts["retries"]
    return outcome


def freeze(
    folder: Path, database: str, *, rounds: int, clients: int, seed: str, tell: Tell
) -> Outcome:
    """Suspend the node that serves, at any instant, for longer than its lease.

    The other one takes its place; when the first goes on, in the middle of whatever it did, it can
    commit nothing more, and ends by itself.
    """
    chance = random.Random(seed)  # noqa: S311 - repeatable
    outcome, front = Outcome(seed, clients), Front()
    one = Server(folder / "one", database=database, front_port=front.port)
    two = Server(folder / "two", beside=one, at_once=True, front_port=front.port)
    two.http_port = one.http_port
    two.configure()
    one.journals = two.journals
    front.turn_to(one.port)
    with lab(one, clients, seed) as at:
        try:
            _introduce(at, two)
            for _ in range(rounds):
                at.work(chance.uniform(0.2, LONGEST_WORK))
                said = _overtake(at, two if at.server is one else one, front, outcome)
                tell(f"taken over in {outcome.seconds[-1]:.2f} s; the one that slept: {said}")
            at.issue(5)
            at.settle()
        except NotHeld as error:
            outcome.broken = str(error)
        finally:
            one.kill()
            two.kill()
            front.close()
    return _summed(outcome, at)


def _introduce(at: Lab, other: Server) -> None:
    """Let another node join, with a token of the one that serves."""
    at.server.stop()
    token = other.folder / "token"
    token.touch(0o600)
    token.write_text(at.server.check_command("node", "invite").splitlines()[-1])
    other.check_command("node", "join", str(token))
    at.restart()


def _overtake(at: Lab, coming: Server, front: Front, outcome: Outcome) -> str:
    sleeping, begun = at.server, time.monotonic()
    sleeping.signal(signal.SIGSTOP)
    _start(coming)
    at.server = coming
    front.turn_to(coming.port)
    outcome.seconds.append(round(time.monotonic() - begun, 2))
    at.work(1.0)
    sleeping.signal(signal.SIGCONT)
    said = sleeping.wait_end(LEASE_OVER)
    at.look()
    return said


def _refused(other: Server, one: Server) -> str:
    """Start another node while the first one lives; it must name the first."""
    words = other.refused()
    own = (one.workdir / "server_id").read_text().strip()
    if f"node {own}" not in words or "one node runs at a time" not in words:
        raise NotHeld(f"the refusal does not name node {own}: {words}")
    return words


def _switch(at: Lab, coming: Server, outcome: Outcome, *, crash: bool) -> None:
    leaving, begun = at.server, time.monotonic()
    gone = None
    if crash:
        gone = (leaving.workdir / "server_id").read_text().strip(), at.ledger.known().promised
        leaving.kill()
    else:
        leaving.stop()
    stopped = time.monotonic()
    _start(coming)
    at.server = coming
    outcome.stopping.append(round(stopped - begun, 2))
    outcome.seconds.append(round(time.monotonic() - begun, 2))
    at.look(gone=gone)


def _start(coming: Server) -> None:
    """Start a node, again and again while the other one's lease runs."""
    ends = time.monotonic() + LEASE_OVER
    while True:
        coming.start()
        try:
            coming.wait_ready()
        except NotHeld as error:
            if "has the writer's place for another" not in str(error) or time.monotonic() > ends:
                raise
            time.sleep(AGAIN)
        else:
            return
