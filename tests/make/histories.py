"""A year of an installation, drawn by Hypothesis: what happened is decided as a server decides it,
folded at once, and told in a journal as well.

    @given(histories())
    def test(steps):
        year = lived(steps, ask)

Whoever counts something else gives moves of their own: `histories({**MOVES, "revoke": ...})`. A
move is called with the year and two numbers to choose by; what it may not do now, it leaves.
"""

import contextlib
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
from hypothesis import strategies as st

from certeasy.audit.replay import Replay
from certeasy.audit.state import select
from certeasy.audit.verifying import Given, verify
from certeasy.decide import authorizations, issuance, orders, retention, revocation, validation
from certeasy.decide.decision import Decision, Reader
from certeasy.decide.problems import Refused
from certeasy.settings.limits import AccountLimits
from events.envelope import Record, timestamp
from events.orders import Problem as Told
from projections.accounts import Account
from projections.certificates import CERTIFICATES
from projections.fold import fold
from projections.orders import ORDERS, PENDING, PROCESSING, READY, VALID
from projections.tables import Table
from tests.make.decided import World
from tests.make.journals import ALog, a_log

S = TypeVar("S", bound=msgspec.Struct)
KEEP = timedelta(days=30)
"""How long what is over stays in the tables."""
NAME_SETS = (("a.test",), ("a.test", "b.test"), ("b.test",), ("*.b.test", "b.test"))
LATEST = -1
"""Chooses the order that was placed last."""
WRONG = Told("urn:ietf:params:acme:error:dns", "wrong", 400)
_WAITS = (0, 0, 1, 60, 60, 3_600, 3_600, 40_000, 86_400, 5 * 86_400, 25 * 86_400)


class Year(World):
    """A world that tells its facts in a journal."""

    def __init__(self, limits: AccountLimits = orders.NO_LIMITS) -> None:
        super().__init__()
        self.limits = limits
        self.log: ALog = a_log()
        self.now = self.log.now + timedelta(seconds=1)
        self.accounts: list[Account] = []
        self.orders: list[str] = []
        for record in self.log.records:
            fold(record, self.rows)
        self.accounts = [self.account() for _ in range(2)]

    def do(self, decision: Decision) -> list[str]:
        """Tell what was decided, each fact at this moment, and fold it from its line."""
        told = []
        for stream, fact in decision.facts:
            self.log.now = self.now - timedelta(milliseconds=250)  # which `say` lets pass
            record = self.log.say(fact, stream)
            self.facts.append((stream, fact))
            self.lines.append(record.envelope)
            fold(record, self.rows)
            told.append(record.envelope.type)
        return told

    def pick(self, n: int, *statuses: str) -> str | None:
        """Return one of the orders in these statuses, as the log has them."""
        found = [id_ for id_ in self.orders if self._status(id_) in statuses]
        return found[n % len(found)] if found else None

    def _status(self, order_id: str) -> str:
        order = self.rows.get(ORDERS, order_id)
        return "" if order is None else order.status

    def holder(self, order_id: str) -> Account:
        """Return the account of an order."""
        return next(each for each in self.accounts if each.id == self.row(order_id).account_id)


Move = Callable[[Year, int, int], object]


class Step(NamedTuple):
    """What happens, chosen by two numbers, and how many seconds pass before; `asked`: what holds
    is asked for afterwards."""

    move: str
    one: int
    other: int
    wait: int
    asked: bool


def _register(year: Year, _one: int, _other: int) -> None:
    year.accounts.append(year.account())


def _order(year: Year, one: int, other: int, **wishes: Any) -> None:
    account = year.accounts[other % len(year.accounts)]
    names = wishes.pop("names", NAME_SETS[one % len(NAME_SETS)])
    order_id = year.order(
        *names, account=account, challenges=("dns-01",), limits=year.limits, **wishes
    )
    year.orders.append(order_id)


def _order_known(year: Year, one: int, other: int) -> None:
    known = {name: orders.Known("eab 1") for name in NAME_SETS[one % len(NAME_SETS)]}
    _order(year, one, other, known=known)


def _prove_ahead(year: Year, one: int, other: int) -> None:
    _order(year, one, other, names=("b.test",), preauthorization=True)


def _renew(year: Year, one: int, _other: int) -> None:
    order_id = year.pick(one, VALID)
    if order_id is not None and year.rows.get(CERTIFICATES, order_id) is not None:
        place = year.accounts.index(year.holder(order_id))
        names = [identifier.value for identifier in year.row(order_id).identifiers]
        _order(year, 0, place, names=names, replaces=order_id)


def _prove(year: Year, one: int, other: int) -> None:
    """Prove all of an order, or one name of it."""
    order_id = year.pick(one, PENDING)
    for n in range(len(year.row(order_id).authorizations)) if order_id else ():
        assert order_id is not None
        if other % 2 or n == 0:
            year.accept(year.holder(order_id), order_id, n)
            year.decide(validation.validated, order_id, n, 0, year.asked(order_id, n), {})


def _fail(year: Year, one: int, other: int) -> None:
    order_id = year.pick(one, PENDING)
    if order_id is not None:
        n = other % len(year.row(order_id).authorizations)
        year.accept(year.holder(order_id), order_id, n)
        asked = year.asked(order_id, n)
        year.decide(validation.failed, order_id, n, 0, asked, WRONG, {})


def _give_up(year: Year, one: int, other: int) -> None:
    order_id = year.pick(one, PENDING, READY, VALID)
    if order_id is not None:
        account = year.holder(order_id)
        year.decide(
            authorizations.deactivate,
            year.now,
            account_id=account.id,
            thumbprint=account.thumbprint,
            order_id=order_id,
            n=other % len(year.row(order_id).authorizations),
        )


def _finalize(year: Year, one: int, other: int) -> None:
    order_id = year.pick(one, READY)
    if order_id is not None:
        account = year.holder(order_id)
        year.finalize(account, order_id, submit_now=bool(other % 2), limits=year.limits)


def _issue(year: Year, one: int, other: int) -> None:
    order_id = year.pick(one, PROCESSING)
    if order_id is None:
        return
    year.decide(issuance.submit, order_id, "ca", after=0)
    lasts = timedelta(days=1 + 3 * other % 90)
    fact = msgspec.structs.replace(
        year.issued_fact(order_id), not_after=f"{year.now + lasts:%Y-%m-%dT%H:%M:%SZ}"
    )
    year.decide(issuance.issued, year.row(order_id), fact)


def _refuse(year: Year, one: int, _other: int) -> None:
    order_id = year.pick(one, PROCESSING)
    if order_id is not None:
        year.decide(issuance.submit, order_id, "ca", after=0)
        year.decide(issuance.refused, order_id, "ca", "no", WRONG, attempt=1)


def _revoke(year: Year, one: int, _other: int) -> None:
    order_id = year.pick(one, VALID)
    if order_id is not None:
        year.decide(
            revocation.by_administrator,
            certificate_id=order_id,
            sha256=year.sha256_of(order_id),
            reason=4,
            publish=False,
        )


def _expire(year: Year, _one: int, _other: int) -> None:
    year.decide(orders.expire, year.now, year.orders)


def _retain(year: Year, _one: int, _other: int) -> None:
    cutoff = f"{year.now - KEEP:%Y-%m-%dT%H:%M:%SZ}"
    year.decide(retention.apply, cutoff, orders=year.orders, revocations=())


def _season(year: Year, one: int, other: int) -> None:
    """Let much time pass, and what is over leave."""
    year.now += timedelta(days=20 + other)
    _expire(year, one, other)
    _retain(year, one, other)


def _get(year: Year, one: int, other: int) -> None:
    """Go all the way to a certificate."""
    _order(year, one, other)
    for move in (_prove, _finalize, _issue):
        move(year, LATEST, 2 * other + 1)


def _fall_short(year: Year, one: int, other: int) -> None:
    """Order, and fail to prove what was ordered."""
    _order(year, one, other)
    _fail(year, LATEST, one)


MOVES: Mapping[str, Move] = {
    "register": _register,
    "get": _get,
    "get again": _get,
    "get more": _get,
    "fall short": _fall_short,
    "fall short again": _fall_short,
    "order": _order,
    "order what is known": _order_known,
    "prove ahead": _prove_ahead,
    "renew": _renew,
    "prove": _prove,
    "fail": _fail,
    "give up": _give_up,
    "finalize": _finalize,
    "issue": _issue,
    "refuse": _refuse,
    "revoke": _revoke,
    "revoke another": _revoke,
    "expire": _expire,
    "retain": _retain,
    "a season": _season,
}


def histories(moves: Mapping[str, Move] = MOVES, most: int = 60) -> st.SearchStrategy[list[Step]]:
    """Return what may happen in a year."""
    number = st.integers(0, 30)
    wait = st.sampled_from(_WAITS)
    step = st.builds(Step, st.sampled_from(sorted(moves)), number, number, wait, st.booleans())
    return st.lists(step, min_size=most // 3, max_size=most)


Ask = Callable[[Reader, datetime, Sequence[Account]], object]


class Asked(NamedTuple):
    """What was answered at an instant, about the accounts that there were."""

    at: datetime
    accounts: Sequence[Account]
    answer: object
    facts: int


def lived(
    steps: Sequence[Step],
    ask: Ask,
    *,
    limits: AccountLimits = orders.NO_LIMITS,
    moves: Mapping[str, Move] = MOVES,
) -> tuple[Year, list[Asked]]:
    """Let all this happen, and ask the rows in use at the instants that were drawn."""
    year, asked = Year(limits), list[Asked]()
    for step in steps:
        year.now += timedelta(seconds=step.wait)
        with contextlib.suppress(Refused):
            moves[step.move](year, step.one, step.other)
        if step.asked:
            accounts = tuple(year.accounts)
            answer = ask(year.rows, year.now, accounts)
            asked.append(Asked(year.now, accounts, answer, len(year.facts)))
            year.now += timedelta(seconds=1)  # an instant has no two answers
    return year, asked


class ReplayedRows:
    """The rows of a state that `audit replay` has written."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def get(self, table: Table[S], *key: str) -> S | None:
        """Return the row with this key, or None."""
        row = self._connection.execute(select(table), key).fetchone()
        return None if row is None else table.to_state(row)


@contextmanager
def replayed(log: ALog, at: datetime) -> Iterator[ReplayedRows]:
    """Replay a log's journals up to an instant, as an auditor does; yield the tables."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = []
        for node in log.nodes:
            paths.append([folder / f"{node.hostname}.log"])
            paths[-1][0].write_bytes(node.journal)
        path = folder / "state.sqlite"
        replay = Replay(path, at=timestamp(at))
        try:
            verify(Given(paths), watch=replay)
            replay.finish()
        finally:
            replay.close()
        connection = sqlite3.connect(path)
        try:
            yield ReplayedRows(connection)
        finally:
            connection.close()


def happened(year: Year, asked: Asked) -> Sequence[Record]:
    """Return the lines of the facts that there were when something was asked."""
    begun = len(year.log.records) - len(year.facts)
    return year.log.records[: begun + asked.facts]
