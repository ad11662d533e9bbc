"""Years of licenses and orders: whoever folds the log again finds the same refusals at each moment.

What is replayed are the lines' own bytes, decoded as an auditor's replay does.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from certeasy.decide import license as deciding
from certeasy.decide.decision import Decision
from certeasy.decide.license import Configured, LicenseRefused, Unlicensed
from events.license import LicenseRevoked
from events.registry import decode_data
from projections import fold
from projections.accounts import Account
from projections.seats import SEATS
from projections.tables import WorkingRows
from tests.make.decided import World
from tests.make.stories import a_license

HERE = "INST-000000-000000-000000-000000-000000"
CONFIGURED = (
    Configured("sqlite", 0, "single"),
    Configured("sqlite", 1, "single"),
    Configured("postgres", 3, "single"),
)
NAMES = (("a.lab.test",), ("b.lab.test", "a.lab.test"), ("c.lab.test",))
PLANS = st.sampled_from(tuple(deciding.PLANS))
CHOSEN = st.sampled_from(CONFIGURED)
Answers = list[str]


class History(World):
    """A world that remembers what was answered when."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[tuple[int, datetime, Answers]] = []
        self.accounts: list[Account] = [self.account() for _ in range(3)]
        self.licenses = 0

    def tried(self, decider: Callable[..., Decision], *args: Any, **named: Any) -> None:
        """Do something that may be refused."""
        with suppress(LicenseRefused):
            self.decide(decider, *args, **named)

    def ask(self) -> None:
        """Ask all that can be asked now, and remember what was answered."""
        self.answers.append(
            (len(self.lines), self.now, answered(self.rows, self.now, self.accounts))
        )


def answered(rows: WorkingRows, now: datetime, accounts: list[Account]) -> Answers:
    """Return what is answered to every question about a moment."""
    seats = rows.changes().get(SEATS, {}).values()
    taken = sum(deciding.is_taken(seat, deciding.second(now)) for seat in seats)
    told: Answers = [f"{taken} seats"]
    for configured in CONFIGURED:
        found = deciding.standing(deciding.of(rows), configured, now)
        told.append(repr(found))
        for account in accounts:
            for names in NAMES:
                told.append(order(rows, now, found, account, names, taken))
    return told


def order(
    rows: WorkingRows,
    now: datetime,
    found: deciding.Standing,
    account: Account,
    names: tuple[str, ...],
    taken: int,
) -> str:
    """Return what an account is told that orders a certificate."""
    try:
        if deciding.needs_seat(rows, now, found, account_id=account.id, names=names, replaces=""):
            deciding.check_seat(found, taken)
    except Unlicensed as refused:
        return refused.detail
    return "ordered"


def a_license_is_installed(history: History, servers: int, authorities: int, days: int) -> None:
    history.licenses += 1
    fact = a_license(
        str(history.licenses % 10),
        managed_servers=servers,
        authorities=authorities,
        issued_at=deciding.second(history.now),
        not_before=deciding.second(history.now),
        expires=deciding.second(history.now + timedelta(days=days)),
    )
    history.tried(deciding.install, history.now, fact, installation=HERE)


def a_license_is_revoked(history: History) -> None:
    gone = LicenseRevoked(
        str(history.licenses % 10) * 26, deciding.second(history.now), "why", "block"
    )
    history.tried(deciding.revoke, gone)


def a_certificate_is_issued(history: History, who: int, names: int) -> None:
    history.issued(*NAMES[names], account=history.accounts[who])


def an_order_is_finalized(history: History, who: int, names: int) -> None:
    history.processing(*NAMES[names], account=history.accounts[who])


def an_evaluation_is_left_for_a_cold_start(
    history: History, configured: Configured, plan: str
) -> None:
    history.tried(deciding.begin, history.now, configured, cause="a start")
    history.now += deciding.EVALUATION
    history.tried(deciding.cold_start, history.now, configured, plan)


def time_passes(history: History, hours: int) -> None:
    history.now += timedelta(hours=hours)


STEPS = st.one_of(
    st.tuples(st.just(time_passes), st.integers(1, 24 * 40)),
    st.tuples(st.just(a_certificate_is_issued), st.integers(0, 2), st.integers(0, 2)),
    st.tuples(st.just(an_order_is_finalized), st.integers(0, 2), st.integers(0, 2)),
    st.tuples(
        st.just(a_license_is_installed), st.integers(-1, 3), st.integers(0, 3), st.integers(1, 90)
    ),
    st.tuples(st.just(a_license_is_revoked)),
    st.tuples(st.just(lambda h, c: h.tried(deciding.begin, h.now, c, cause="a start")), CHOSEN),
    st.tuples(st.just(lambda h, c: h.tried(deciding.observe, h.now, c, cause="time")), CHOSEN),
    st.tuples(st.just(lambda h, c: h.tried(deciding.acknowledge, h.now, c)), CHOSEN),
    st.tuples(st.just(lambda h, c: h.tried(deciding.force_grace, h.now, c)), CHOSEN),
    st.tuples(st.just(lambda h, c, p: h.tried(deciding.cold_start, h.now, c, p)), CHOSEN, PLANS),
    st.tuples(st.just(an_evaluation_is_left_for_a_cold_start), CHOSEN, PLANS),
    st.tuples(st.just(lambda h, c, p: h.tried(deciding.switch, h.now, c, p)), CHOSEN, PLANS),
    st.tuples(st.just(lambda h: h.tried(deciding.extend, h.now))),
)


@given(st.lists(STEPS, max_size=40))
def test_the_same_is_refused_live_and_replayed(steps) -> None:
    history = History()
    for act, *arguments in steps:
        act(history, *arguments)
        history.ask()
    rows = WorkingRows(lambda _table, _key: None)
    folded = 0
    for position, now, live in history.answers:
        for line in history.lines[folded:position]:
            fold.apply(decode_data(line.type, line.schema, bytes(line.data)), line, rows)
        folded = position
        assert answered(rows, now, history.accounts) == live
