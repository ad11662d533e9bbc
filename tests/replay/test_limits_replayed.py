"""A year of orders, failures, issuances and revocations: what limits refuse is the same in the rows
of the moment, in a replay of the journal up to that moment, and in a plain count of its lines.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certeasy.decide.decision import Reader
from certeasy.decide.log_limits import check_duplicates, check_failures, check_pending
from certeasy.decide.orders import NO_LIMITS
from certeasy.decide.problems import Refused
from certeasy.decide.seats import has_seat, is_renewal
from certeasy.settings.limits import (
    AccountLimits,
    DuplicateCertificate,
    FailedValidation,
    PendingAuthorizations,
)
from events.certificates import CertificateIssued, CertificateRevoked
from events.envelope import Record
from events.orders import (
    AuthorizationDeactivated,
    AuthorizationPrevalidated,
    ChallengeFailed,
    ChallengeValidated,
    OrderCreated,
    OrderExpired,
    OrderFinalized,
    OrderInvalidated,
)
from projections.accounts import Account
from tests.make.histories import NAME_SETS, Step, happened, histories, lived, replayed

DAY = timedelta(days=1)
SINGLE = tuple(sorted({name.removeprefix("*.") for names in NAME_SETS for name in names}))


class Told(NamedTuple):
    """What an account is told at a moment: the seconds to wait, by what it asks for; 0: none."""

    duplicates: tuple[int, ...]
    failures: tuple[int, ...]
    pending: int
    renews: tuple[bool, ...]
    seat: bool


def told(rows: Reader, now: datetime, limits: AccountLimits, account: Account) -> Told:
    """Ask the rules that the server asks."""

    def wait(check: object, *args: object, **named: object) -> int:
        try:
            check(rows, now, *args, **named)  # type: ignore[operator]
        except Refused as refused:
            return refused.retry_after or -1
        return 0

    who = {"account_id": account.id}
    return Told(
        tuple(wait(check_duplicates, limits.duplicate_certificate, names) for names in NAME_SETS),
        tuple(
            wait(check_failures, limits.failed_validation, names=[name], **who) for name in SINGLE
        ),
        wait(check_pending, limits.pending_authorizations, account.id),
        tuple(is_renewal(rows, account.id, names, now) for names in NAME_SETS),
        has_seat(rows, account.id, now),
    )


class Count:
    """The same, counted from lines, without any table."""

    def __init__(self, records: Sequence[Record], now: datetime, limits: AccountLimits) -> None:
        self.now = now
        self.limits = limits
        self.orders: dict[str, OrderCreated] = {}
        self.finalized: dict[str, datetime] = {}
        self.issued: dict[str, tuple[datetime, CertificateIssued]] = {}
        self.failed: list[tuple[str, str, datetime]] = []
        self.pending: dict[str, set[int]] = {}
        for record in records:
            order_id = record.envelope.stream.partition("/")[2]
            self._count(record, order_id, datetime.fromisoformat(record.envelope.at))

    def _count(self, record: Record, order_id: str, at: datetime) -> None:
        match record.event:
            case OrderCreated() as fact:
                self.orders[order_id] = fact
                self.pending[order_id] = set(range(len(fact.authorizations)))
            case (
                ChallengeValidated(authorization=n)
                | AuthorizationPrevalidated(authorization=n)
                | AuthorizationDeactivated(authorization=n)
            ):
                self.pending[order_id].discard(n)
            case ChallengeFailed(authorization=n):
                order = self.orders[order_id]
                name = order.authorizations[n].identifier.value
                self.failed.append((order.account_id, name, at))
            case OrderFinalized():
                self.finalized[order_id] = at
            case OrderInvalidated() | OrderExpired():
                self.finalized.pop(order_id, None)
                self.pending[order_id] = set()
            case CertificateIssued() as fact:
                self.finalized.pop(order_id)
                self.issued[order_id] = (at, fact)
            case CertificateRevoked():
                del self.issued[order_id]

    def told(self, account: Account) -> Told:
        lives = [
            fact
            for _at, fact in self.issued.values()
            if fact.account_id == account.id and datetime.fromisoformat(fact.not_after) > self.now
        ]
        at_work = [self.orders[each].account_id for each in self.finalized]
        return Told(
            tuple(map(self._duplicates, NAME_SETS)),
            tuple(self._failures(account, name) for name in SINGLE),
            self._pending(account),
            tuple(any(set(fact.names) == set(names) for fact in lives) for names in NAME_SETS),
            bool(lives) or account.id in at_work,
        )

    def _duplicates(self, names: Sequence[str]) -> int:
        limit = self.limits.duplicate_certificate
        moments = [at for at, fact in self.issued.values() if set(fact.names) == set(names)]
        moments += [
            self.now
            for each in self.finalized
            if {i.value for i in self.orders[each].identifiers} == set(names)
        ]
        return self._wait([at + limit.window for at in moments], limit.limit)

    def _failures(self, account: Account, name: str) -> int:
        limit = self.limits.failed_validation
        ends = [
            at + limit.window for who, what, at in self.failed if (who, what) == (account.id, name)
        ]
        return self._wait(ends, limit.limit)

    def _pending(self, account: Account) -> int:
        ends = [
            datetime.fromisoformat(order.expires)
            for order_id, order in self.orders.items()
            if order.account_id == account.id
            for _ in self.pending[order_id]
        ]
        return self._wait(ends, self.limits.pending_authorizations.limit)

    def _wait(self, ends: Sequence[datetime], limit: int) -> int:
        """Return the whole seconds until fewer than so many have not ended."""
        for end in [self.now, *sorted(ends)]:
            if end >= self.now and sum(each > end for each in ends) < limit:
                return -((self.now - end) // timedelta(seconds=1))
        raise AssertionError("all of them end")


limits = st.builds(
    AccountLimits,
    duplicate_certificate=st.builds(
        DuplicateCertificate, limit=st.integers(1, 3), window=st.sampled_from([DAY, 30 * DAY])
    ),
    failed_validation=st.builds(
        FailedValidation, limit=st.integers(1, 2), window=st.sampled_from([DAY / 24, 30 * DAY])
    ),
    pending_authorizations=st.builds(PendingAuthorizations, limit=st.integers(1, 4)),
)


# How long a year takes to be drawn tells how busy the machine is, and nothing else.
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(histories(), limits, st.booleans(), st.randoms(use_true_random=False))
def test_limits_refuse_the_same_live_replayed_and_counted(steps, asked_for, held_to, random):
    """`held_to`: the limits were in force all the time; else they are only asked about."""

    def ask(rows: Reader, now: datetime, accounts: Sequence[Account]) -> list[Told]:
        return [told(rows, now, asked_for, account) for account in accounts]

    year, answers = lived(steps, ask, limits=asked_for if held_to else NO_LIMITS)
    for asked in answers:
        count = Count(happened(year, asked), asked.at, asked_for)
        assert asked.answer == [count.told(account) for account in asked.accounts]
    for asked in random.sample(answers, min(2, len(answers))):
        with replayed(year.log, asked.at) as rows:
            assert ask(rows, asked.at, asked.accounts) == asked.answer


def test_a_history_is_one_that_limits_have_something_to_say_about():
    """The moves do what they say: otherwise the law above would be empty."""
    one = [
        Step("order", 0, 0, 60, asked=False),
        Step("prove", 0, 1, 60, asked=False),
        Step("finalize", 0, 1, 60, asked=False),
        Step("issue", 0, 88, 60, asked=False),
    ]
    steps = [*one, *one, *(Step("order", 1, 0, 60, asked=False) for _ in range(3))]
    steps += [Step("order", 2, 0, 0, asked=False), Step("fail", 3, 0, 0, asked=True)]
    asked_for = AccountLimits(
        duplicate_certificate=DuplicateCertificate(limit=2, window=DAY),
        failed_validation=FailedValidation(limit=1, window=DAY),
        pending_authorizations=PendingAuthorizations(limit=6),
    )
    _year, [asked] = lived(
        steps, lambda rows, now, accounts: told(rows, now, asked_for, accounts[0])
    )
    assert asked.answer == Told(
        duplicates=(86_400 - 7 * 60, 0, 0, 0),
        failures=(0, 86_400),
        pending=7 * 86_400 - 2 * 60,
        renews=(True, False, False, False),
        seat=True,
    )
