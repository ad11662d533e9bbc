"""kill -9 and line cuts at every step of a submission to a CA at the other end of a line.

A round: clients at work; the CA does something (the table below) while they are, and mostly the
server is killed, at an instant that the round is about or at any; then as in `kills`. At the end
the CA is asked for every certificate that it ever issued, and lets the server look, too. Each was
given to the order that it is for, or is recorded and, if it is known by a number, revoked at the
CA; none is given to anybody else; and every order has its certificate, but for those that were
sent a wrong one, or lost so many answers that the server may not ask again. What holders revoked
is revoked at the CA, and nothing else that somebody has.
"""

import random
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from tools.adcs_sim.behaviour import Behaviour, Wrong, cuts, issues
from tools.crashlab.books import MOST_LOST, books_of, ends_of
from tools.crashlab.corp import Corp
from tools.crashlab.lab import Lab, lab
from tools.crashlab.ledger import ISSUED, ORDER
from tools.crashlab.server import Server
from tools.crashlab.trouble import NotHeld

KILLED_PART = 0.75
VERIFIED_PART = 0.2
LONGEST_WORK = 1.5
WARM = 3
SETTLED_IN = 240.0
LOOK = 0.5
WRONG: tuple[Wrong, ...] = ("other-key", "extra-name", "garbage", "other-order", "expired")
Tell = Callable[[str], None]


class Outcome(msgspec.Struct):
    """The sum of all rounds; `broken` is empty if everything held."""

    seed: str
    clients: int
    lost_answers: str
    rounds: int = 0
    kills: int = 0
    steps: dict[str, int] = {}
    orders: int = 0
    certificates: int = 0
    issued_by_the_ca: int = 0
    given: int = 0
    revoked_there: int = 0
    possible_twins: int = 0
    twins_found: int = 0
    mismatched: int = 0
    given_up: int = 0
    """Orders that ended because too many answers were lost."""
    in_doubt: int = 0
    lost: int = 0
    seconds: float = 0.0
    broken: str = ""

    def __str__(self) -> str:
        """Return the sum on one line."""
        return (
            f"{self.rounds} rounds, {self.kills} kills in {self.seconds:.0f} s: the CA issued"
            f" {self.issued_by_the_ca}: {self.given} given, {self.twins_found} twins found,"
            f" {self.mismatched} wrong, {self.revoked_there} revoked there,"
            f" {self.possible_twins} possible twins listed; {self.in_doubt} answers lost;"
            f" {self.orders} orders, {self.certificates} certificates, {self.lost} lost,"
            f" {self.given_up} of them after {MOST_LOST} lost answers"
        )


class Round:
    """A round, and what the CA is to do in it."""

    def __init__(self, at: Lab, corp: Corp, chance: random.Random) -> None:
        self.at = at
        self.corp = corp
        self.chance = chance

    def cut_before(self) -> None:
        """The line is cut when the request is there, and nothing was issued."""
        self.corp.once(cuts(before=True, reset=self.chance.random() < 0.5))  # noqa: PLR2004 - even
        self._work()

    def cut_answer(self) -> None:
        """It is issued, and some bytes of the answer reach the server."""
        self.corp.once(cuts(at=self.chance.randrange(2500)), cuts(at=0))
        self._work()

    def deciding(self) -> None:
        """The CA is slow to decide."""
        self._with(issues(after=0.6))

    def answering(self) -> None:
        """It has issued, and is slow to answer."""
        self._with(Behaviour(late=0.6))

    def dropped(self) -> None:
        """Every connection is cut in the middle of everything."""
        self._with(issues(after=0.1), then=self.corp.drop)

    def away(self) -> None:
        """The CA is off the network for a while."""
        self._work()
        self.corp.away()
        self.at.work(self.chance.uniform(0.2, 1.0))
        self.corp.back()

    def wrong(self) -> None:
        """What is issued is not what was ordered."""
        self.corp.once(issues(self.chance.choice(WRONG)))
        self._work()

    def well(self) -> None:
        """The CA does nothing out of the ordinary."""
        self._work()

    def _work(self) -> None:
        self.at.work(self.chance.uniform(0.05, LONGEST_WORK))

    def _with(self, behaviour: Behaviour, then: Callable[[], None] = lambda: None) -> None:
        self.corp.behaves(behaviour)
        self._work()
        then()
        self.at.server.check_alive()


STEPS: dict[str, Callable[[Round], None]] = {
    "answering": Round.answering,
    "cut answer": Round.cut_answer,
    "deciding": Round.deciding,
    "dropped": Round.dropped,
    "cut before": Round.cut_before,
    "wrong": Round.wrong,
    "away": Round.away,
    "well": Round.well,
}


def run(
    folder: Path,
    *,
    rounds: int,
    clients: int,
    seed: str,
    tell: Tell,
    lost_answers: str = "resubmit",
) -> Outcome:
    """Do so many rounds; what broke, if anything did, is told in the outcome."""
    chance = random.Random(seed)  # noqa: S311 - repeatable
    outcome = Outcome(seed, clients, lost_answers)
    begun = time.monotonic()
    corp = Corp(folder / "corp")
    try:
        server = Server(folder, issuer=("corp", corp.section(lost_answers)))
        with lab(server, clients, seed) as at:
            try:
                at.issue(WARM)  # from here on a number of the CA's is known
                for number, name in enumerate(_steps(rounds, chance), start=1):
                    outcome.rounds = number
                    tell(_round(Round(at, corp, chance), number, name, outcome))
                _settle(at, corp, outcome)
            except NotHeld as error:
                outcome.broken = f"round {outcome.rounds}: {error}"
            outcome.orders = at.ledger.counts[ORDER]
            outcome.certificates = at.ledger.counts[ISSUED]
    finally:
        corp.end()
    outcome.seconds = round(time.monotonic() - begun, 1)
    return outcome


def _steps(rounds: int, chance: random.Random) -> list[str]:
    """Return a step for each round: each comes once before any comes again."""
    found: list[str] = []
    while len(found) < rounds:
        found += chance.sample(list(STEPS), len(STEPS))
    return found[:rounds]


def _round(this: Round, number: int, name: str, outcome: Outcome) -> str:
    at = this.at
    outcome.steps[name] = outcome.steps.get(name, 0) + 1
    STEPS[name](this)
    at.server.check_alive()
    killed = this.chance.random() < KILLED_PART
    if killed:
        at.server.kill()
        outcome.kills += 1
        at.look()
    this.corp.behaves(issues())
    if killed:
        at.restart()
        at.replay()
    if this.chance.random() < VERIFIED_PART:
        at.look()
        at.verify()
    counts = at.ledger.counts
    return (
        f"round {number}: {name}, {'killed' if killed else 'not killed'};"
        f" {counts[ORDER]} orders, {counts[ISSUED]} certificates so far"
    )


def _settle(at: Lab, corp: Corp, outcome: Outcome) -> None:
    """Let everything come to its end, and hold the CA's records against the log. Raises NotHeld."""
    corp.well()
    at.crew.rest()
    ends = time.monotonic() + SETTLED_IN
    while (found := _differences(at.server, corp, outcome)) and time.monotonic() < ends:
        at.server.check_alive()
        time.sleep(LOOK)
    if found:
        raise NotHeld(f"the CA and the log differ: {'; '.join(found[:5])}")
    failed = ends_of(at.server)
    outcome.lost, outcome.given_up = len(at.ledger.lost), len(failed.given_up)
    if unexplained := failed.unexplained(at.ledger.lost, outcome.steps.get("wrong", 0)):
        raise NotHeld("; ".join(unexplained))
    at.ledger.lost.clear()  # these ended as they had to
    at.settle()


def _differences(server: Server, corp: Corp, outcome: Outcome) -> list[str]:
    """Return what is not (yet) as it must be between the CA's records and the log, in words."""
    books, requests, revoked = books_of(server), corp.requests(), corp.revoked()
    owners: dict[str, set[str]] = {}
    for one in requests:
        owners.setdefault(one.sha256, set()).add(one.order_id)
    found = [f"{one} is not revoked yet" for one in books.in_state("waiting")]
    found += [f"the CA refused to revoke {one}" for one in books.in_state("failed")]
    found += [f"serial {one} is held, and revoked at the CA" for one in books.held & revoked]
    recorded = {one.rpartition("-")[2] for one in books.revoked}
    owned = set(books.given.values())  # an answer that was lost may have been another order's
    for order_id, sha256 in books.given.items():
        if order_id not in owners.get(sha256, ()):
            found.append(f"{sha256[:8]} was given to order {order_id}, which it was not for")
    for one in requests:
        if one.certificate and one.sha256 not in owned and one.sha256[:12] not in recorded:
            twins = books.suspects[one.order_id]
            found.append(
                f"request {one.id} of order {one.order_id} made a certificate that was not found,"
                f" and the order has {twins} possible twins"
            )
    outcome.issued_by_the_ca, outcome.given = len(corp.issued()), len(books.given)
    outcome.revoked_there = len(revoked)
    outcome.possible_twins = sum(books.suspects.values())
    outcome.twins_found = books.events["certificate.twin-found"]
    outcome.mismatched = books.events["certificate.mismatched"]
    outcome.in_doubt = books.events["issuance.in-doubt"]
    return found
