"""Limits that are told from the log: what counts, what does not, and until when, to the second."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec
import pytest

from certeasy.decide import issuance, log_limits, orders, renewal, revocation, validation
from certeasy.decide.problems import Problem, Refused
from certeasy.settings.limits import (
    AccountLimits,
    DuplicateCertificate,
    FailedValidation,
    PendingAuthorizations,
)
from events.orders import Problem as Told
from projections.accounts import Account
from projections.certificates import CERTIFICATES
from projections.tables import Table
from tests.make.decided import World

S = TypeVar("S", bound=msgspec.Struct)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
WRONG = Told("urn:ietf:params:acme:error:dns", "wrong", 400)
NO_LIMIT = AccountLimits(
    duplicate_certificate=DuplicateCertificate(enabled=False),
    failed_validation=FailedValidation(enabled=False),
    pending_authorizations=PendingAuthorizations(enabled=False),
)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def account(world: World) -> Account:
    return world.account()


def only(**limits: object) -> AccountLimits:
    """Return these limits, and no others."""
    return msgspec.structs.replace(NO_LIMIT, **limits)


def refusal(
    world: World, limits: AccountLimits, account: Account, *names: str, **named: bool
) -> Refused | None:
    """Return why an order of the account for these names is refused now, if it is."""
    try:
        log_limits.check_order(
            world.rows, world.now, limits, account_id=account.id, names=names, **named
        )
    except Refused as refused:
        return refused
    return None


def waited(
    world: World, limits: AccountLimits, account: Account, *names: str, **named: bool
) -> int:
    """Return the Retry-After of an order that is refused: a second earlier it still is, and then it
    is not. 0: it is not refused."""
    refused = refusal(world, limits, account, *names, **named)
    if refused is None:
        return 0
    assert (refused.problem, refused.status) == (Problem.RATE_LIMITED, 429)
    wait, now = refused.retry_after, world.now
    assert wait is not None
    world.now = now + wait * SECOND - SECOND
    assert refusal(world, limits, account, *names, **named), "it tells of no second too many"
    world.now = now + wait * SECOND
    assert refusal(world, limits, account, *names, **named) is None
    world.now = now
    return wait


def issued(world: World, account: Account, *names: str, lasting: timedelta = 90 * DAY) -> str:
    """Return the order of a certificate that was issued at this moment."""
    order_id = world.processing(*names, account=account)
    fact = msgspec.structs.replace(
        world.issued_fact(order_id), not_after=f"{world.now + lasting:%Y-%m-%dT%H:%M:%SZ}"
    )
    world.decide(issuance.issued, world.row(order_id), fact)
    return order_id


def fail(world: World, account: Account, *names: str, n: int = 0) -> None:
    """Let an account order names, and fail to prove one of them."""
    order_id = world.order(*names, account=account, challenges=("dns-01",))
    world.accept(account, order_id, n)
    world.decide(validation.failed, order_id, n, 0, world.asked(order_id, n), WRONG, {})


# -- duplicate certificates ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "window", "issued_before", "wait"),
    [
        pytest.param(3, DAY, [], 0, id="nothing was issued"),
        pytest.param(3, DAY, [0, 0], 0, id="one fewer than may be"),
        pytest.param(3, DAY, [0, 0, 0], 86_400, id="all of them at this moment"),
        pytest.param(3, DAY, [7200, 3600, 0], 79_200, id="the oldest is the first to be past"),
        pytest.param(3, DAY, [86_399, 10, 0], 1, id="one second before the window's end"),
        pytest.param(3, DAY, [86_400, 10, 0], 0, id="just at the window's end"),
        pytest.param(3, DAY, [90_000, 86_401, 10, 0], 0, id="some are past"),
        pytest.param(1, HOUR, [60], 3_540, id="one an hour"),
        pytest.param(
            2, HOUR, [40, 30, 20, 10], 3_580, id="more than may be: as many have to be past"
        ),
    ],
)
def test_a_set_of_names_gets_so_many_certificates_within_a_window(
    world: World,
    account: Account,
    limit: int,
    window: timedelta,
    issued_before: Sequence[int],
    wait: int,
) -> None:
    now = world.now + 2 * DAY
    for seconds in issued_before:
        world.now = now - seconds * SECOND
        issued(world, account, "a.test", "b.test")
    world.now = now
    limits = only(duplicate_certificate=DuplicateCertificate(limit=limit, window=window))
    assert waited(world, limits, account, "b.test", "a.test") == wait
    assert waited(world, limits, world.account(), "a.test", "b.test") == wait, "whoever asks"
    assert waited(world, limits, account, "a.test") == 0
    assert waited(world, limits, account, "a.test", "b.test", "c.test") == 0


def test_a_part_of_a_second_is_waited_for_as_a_whole_one(world: World, account: Account) -> None:
    limits = only(duplicate_certificate=DuplicateCertificate(limit=1, window=HOUR))
    world.now += timedelta(microseconds=999_999)
    issued(world, account, "a.test")
    world.now += timedelta(microseconds=1)
    assert waited(world, limits, account, "a.test") == 3600
    world.now += timedelta(microseconds=999_999)
    assert waited(world, limits, account, "a.test") == 3599


def test_a_certificate_counts_for_its_window_though_it_expired(
    world: World, account: Account
) -> None:
    limits = only(duplicate_certificate=DuplicateCertificate(limit=1, window=DAY))
    issued(world, account, "a.test", lasting=HOUR)
    world.now += 2 * HOUR
    assert waited(world, limits, account, "a.test") == 22 * 3600


def test_a_revoked_certificate_does_not_count(world: World, account: Account) -> None:
    limits = only(duplicate_certificate=DuplicateCertificate(limit=2, window=DAY))
    first = issued(world, account, "a.test")
    world.now += HOUR
    issued(world, account, "a.test")
    assert waited(world, limits, account, "a.test") == 23 * 3600
    certificate = world.rows.get(CERTIFICATES, first)
    assert certificate is not None
    world.decide(
        revocation.by_administrator,
        certificate_id=first,
        sha256=certificate.sha256,
        reason=4,
        publish=False,
    )
    assert waited(world, limits, account, "a.test") == 0
    issued(world, account, "a.test")
    assert waited(world, limits, account, "a.test") == 24 * 3600


def test_a_renewal_counts_unless_it_is_time_for_it(world: World, account: Account) -> None:
    limits = only(duplicate_certificate=DuplicateCertificate(limit=1, window=DAY))
    issued(world, account, "a.test")
    assert waited(world, limits, account, "a.test") == 24 * 3600
    assert waited(world, limits, account, "a.test", due=True) == 0
    assert waited(world, limits, account, "a.test", ahead=True) == 0, "it is never a certificate"


def test_the_refusal_names_the_limit_what_was_counted_and_when_it_is_free(
    world: World, account: Account
) -> None:
    limits = only(duplicate_certificate=DuplicateCertificate(limit=1, window=168 * HOUR))
    names = ["d.test", "c.test", "b.test", "a.test"]
    issued(world, account, *names)
    refused = refusal(world, limits, account, *names)
    assert refused is not None
    assert refused.limit == "duplicate-certificate"
    assert refused.detail == (
        "1 certificate was issued for exactly these names (a.test, b.test, c.test and 1 more)"
        " within 7 days, and 1 may be (limit duplicate-certificate); free again at"
        " 2026-11-09T09:00:00Z, in 604800 seconds"
    )


def test_of_two_orders_at_once_the_one_that_is_finalized_first_gets_the_last_certificate(
    world: World, account: Account
) -> None:
    limits = only(duplicate_certificate=DuplicateCertificate(limit=2, window=DAY))
    issued(world, account, "a.test")
    another = world.account()
    first, second = (world.ready("a.test", account=each) for each in (account, another))
    world.now += HOUR
    world.finalize(account, first, limits=limits)
    assert waited(world, limits, another, "a.test") == 23 * 3600
    with pytest.raises(Refused, match="2 certificates were issued") as caught:
        world.finalize(another, second, limits=limits)
    assert caught.value.retry_after == 23 * 3600
    assert world.finalize(account, first, limits=limits) == [], "the same request again"
    world.decide(issuance.submit, first, "ca", after=0)
    world.decide(issuance.refused, first, "ca", "no", WRONG, attempt=1)
    assert world.finalize(another, second, limits=limits), "the other one came to nothing"


def test_an_order_for_a_successor_is_taken_whatever_was_issued_once_it_is_time_for_that(
    world: World, account: Account
) -> None:
    limits = only(duplicate_certificate=DuplicateCertificate(limit=1, window=100 * DAY))
    before = issued(world, account, "a.test")
    start = time_to_renew(world, before)
    world.now = start - SECOND
    early = world.ready("a.test", account=account, replaces=before)
    with pytest.raises(Refused, match="1 certificate was issued"):
        world.finalize(account, early, limits=limits)
    with pytest.raises(Refused, match="1 certificate was issued"):
        world.order("a.test", account=account, replaces=before, limits=limits)
    world.now = start
    order_id = world.order("a.test", account=account, replaces=before, limits=limits)
    world.prove(account, order_id)
    assert world.finalize(account, order_id, limits=limits)


def test_a_successor_for_other_names_is_held_against_the_limit_for_them(
    world: World, account: Account
) -> None:
    """Each certificate has one successor; but others are had for the asking, and revoked again."""
    limits = only(duplicate_certificate=DuplicateCertificate(limit=1, window=100 * DAY))
    before = issued(world, account, "a.test")
    assert issued(world, account, "a.test", "b.test")
    world.now = time_to_renew(world, before)
    order_id = world.order("a.test", "b.test", account=account, replaces=before, limits=limits)
    assert order_id, "it is time for the one with these names, too"
    assert issued(world, account, "b.test", "a.test")
    with pytest.raises(Refused, match="2 certificates were issued"):
        world.order("a.test", "b.test", account=account, replaces=before, limits=limits)
    world.prove(account, order_id)
    with pytest.raises(Refused, match="2 certificates were issued"):
        world.finalize(account, order_id, limits=limits)
    assert world.order("a.test", "c.test", account=account, replaces=before, limits=limits)


@pytest.mark.parametrize("named", [True, False], ids=["replaces", "same names"])
def test_a_certificate_that_is_renewed_every_day_is_renewed_every_day(
    world: World, account: Account, *, named: bool
) -> None:
    """More often than the limit would have it, but each time when our renewal information says."""
    limits = only(duplicate_certificate=DuplicateCertificate(limit=2, window=100 * DAY))
    latest = issued(world, account, "a.test", lasting=2 * DAY)
    for _ in range(5):
        world.now = time_to_renew(world, latest)
        successor = latest if named else ""
        order_id = world.order("a.test", account=account, replaces=successor, limits=limits)
        world.prove(account, order_id)
        world.finalize(account, order_id, submit_now=True, limits=limits)
        fact = msgspec.structs.replace(
            world.issued_fact(order_id), not_after=f"{world.now + 2 * DAY:%Y-%m-%dT%H:%M:%SZ}"
        )
        world.decide(issuance.issued, world.row(order_id), fact)
        latest = order_id


def test_of_what_is_due_one_successor_is_ordered_without_saying_so(
    world: World, account: Account
) -> None:
    limits = only(duplicate_certificate=DuplicateCertificate(limit=1, window=100 * DAY))
    world.now = time_to_renew(world, issued(world, account, "a.test"))
    first, second = (world.ready("a.test", account=account) for _ in range(2))
    with pytest.raises(Refused, match="1 certificate was issued"):
        world.order("a.test", account=world.account(), limits=limits)
    assert world.finalize(account, first, limits=limits)
    with pytest.raises(Refused, match="2 certificates were issued"):
        world.finalize(account, second, limits=limits)
    world.decide(issuance.submit, first, "ca", after=0)
    world.decide(issuance.refused, first, "ca", "no", WRONG, attempt=1)
    assert world.finalize(account, second, limits=limits), "the other one came to nothing"


def test_who_replaces_in_a_loop_is_stopped(world: World, account: Account) -> None:
    """Each certificate has one successor, but that one has one, too, at once if anybody likes."""
    limits = only(duplicate_certificate=DuplicateCertificate(limit=2, window=DAY))
    latest = ""
    for _ in range(2):
        order_id = world.order("a.test", account=account, replaces=latest, limits=limits)
        world.prove(account, order_id)
        world.finalize(account, order_id, submit_now=True, limits=limits)
        world.issue(order_id)
        latest = order_id
    with pytest.raises(Refused, match="2 certificates were issued"):
        world.order("a.test", account=account, replaces=latest, limits=limits)


def time_to_renew(world: World, order_id: str) -> datetime:
    certificate = world.rows.get(CERTIFICATES, order_id)
    assert certificate is not None
    return renewal.window(certificate, None, orders.USUAL_ADVICE).start


# -- failed validations ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "window", "failed_before", "wait"),
    [
        pytest.param(2, HOUR, [], 0, id="nothing failed"),
        pytest.param(2, HOUR, [5], 0, id="one fewer than may"),
        pytest.param(2, HOUR, [5, 0], 3_595, id="as many as may"),
        pytest.param(2, HOUR, [3_599, 0], 1, id="one second before the window's end"),
        pytest.param(2, HOUR, [3_600, 0], 0, id="just at the window's end"),
        pytest.param(2, HOUR, [300, 200, 100], 3_400, id="more than may: as many have to be past"),
        pytest.param(1, DAY, [60], 86_340, id="one a day"),
    ],
)
def test_a_name_that_failed_so_often_is_not_ordered_for_a_while(
    world: World,
    account: Account,
    limit: int,
    window: timedelta,
    failed_before: Sequence[int],
    wait: int,
) -> None:
    now = world.now + DAY
    for seconds in failed_before:
        world.now = now - seconds * SECOND
        fail(world, account, "a.test")
    world.now = now
    limits = only(failed_validation=FailedValidation(limit=limit, window=window))
    assert waited(world, limits, account, "a.test") == wait
    assert waited(world, limits, account, "b.test", "a.test") == wait
    assert waited(world, limits, account, "a.test", ahead=True) == wait
    assert waited(world, limits, account, "a.test", due=True) == wait
    assert waited(world, limits, account, "b.test") == 0
    assert waited(world, limits, world.account(), "a.test") == 0


def test_a_wildcard_and_its_zone_fail_as_one_name(world: World, account: Account) -> None:
    limits = only(failed_validation=FailedValidation(limit=2, window=HOUR))
    fail(world, account, "*.a.test")
    fail(world, account, "a.test")
    assert waited(world, limits, account, "*.a.test") == 3600
    assert waited(world, limits, account, "b.a.test") == 0


class CountingRows:
    """Rows that count how often they are asked."""

    def __init__(self, world: World) -> None:
        self._rows = world.rows
        self.asked = 0

    def get(self, table: Table[S], *key: str) -> S | None:
        self.asked += 1
        return self._rows.get(table, *key)


def test_of_an_account_that_has_not_failed_lately_no_name_is_looked_at(
    world: World, account: Account
) -> None:
    """An order may have a hundred names."""
    names = [f"n{n}.test" for n in range(100)]
    limit = FailedValidation(limit=1, window=HOUR)

    def look_ups() -> int:
        rows = CountingRows(world)
        log_limits.check_failures(rows, world.now, limit, account_id=account.id, names=names)
        return rows.asked

    assert look_ups() == 1
    fail(world, account, "other.test")
    assert look_ups() == 101
    world.now += HOUR
    assert look_ups() == 1


def test_the_name_that_is_free_last_is_named(world: World, account: Account) -> None:
    limits = only(failed_validation=FailedValidation(limit=1, window=90 * timedelta(minutes=1)))
    fail(world, account, "c.test")
    world.now += HOUR
    fail(world, account, "a.test")
    world.now += 30 * SECOND
    fail(world, account, "b.test")
    fail(world, account, "b.test")
    refused = refusal(world, limits, account, "a.test", "b.test", "c.test")
    assert refused is not None
    assert refused.limit == "failed-validation"
    assert refused.detail == (
        "This account failed 2 times within 90 minutes to prove that it controls b.test, and may"
        " fail once (limit failed-validation); free again at 2026-11-02T11:30:30Z, in 5400 seconds"
    )


# -- pending authorizations ------------------------------------------------------------------------


def opened(world: World, account: Account, count: int, lasting: int) -> str:
    """Return an order with so many authorizations, which runs out in so many seconds."""
    return world.order(
        *(f"n{n}.test" for n in range(count)), account=account, lifetime=lasting * SECOND
    )


@pytest.mark.parametrize(
    ("limit", "pending", "wait"),
    [
        pytest.param(3, [], 0, id="nothing is pending"),
        pytest.param(3, [(2, 60)], 0, id="one fewer than may be"),
        pytest.param(3, [(3, 60)], 60, id="as many as may be"),
        pytest.param(3, [(100, 60)], 60, id="an order may bring more than that"),
        pytest.param(3, [(1, 10), (1, 20), (1, 30)], 10, id="the first that runs out makes room"),
        pytest.param(3, [(1, 30), (1, 20), (2, 10)], 10, id="whichever was opened first"),
        pytest.param(3, [(1, 10), (1, 20), (2, 30)], 20, id="one that runs out is not enough"),
        pytest.param(3, [(1, 10), (5, 20), (2, 30)], 20, id="nor are two orders with too many"),
        pytest.param(3, [(1, 10), (1, 10), (1, 10)], 10, id="all at once"),
        pytest.param(1, [(1, 1)], 1, id="one at a time"),
    ],
)
def test_an_account_with_so_many_pending_authorizations_orders_nothing_more(
    world: World, account: Account, limit: int, pending: Sequence[tuple[int, int]], wait: int
) -> None:
    for count, lasting in pending:
        opened(world, account, count, lasting)
    limits = only(pending_authorizations=PendingAuthorizations(limit=limit))
    assert waited(world, limits, account, "x.test") == wait
    assert waited(world, limits, account, "x.test", ahead=True) == wait
    assert waited(world, limits, world.account(), "x.test") == 0
    world.now += wait * SECOND
    assert waited(world, limits, account, "x.test") == 0


def test_authorizations_that_ran_out_do_not_count_though_nobody_wrote_it_down(
    world: World, account: Account
) -> None:
    limits = only(pending_authorizations=PendingAuthorizations(limit=2))
    opened(world, account, 5, 60)
    opened(world, account, 1, 3600)
    world.now += 60 * SECOND
    assert waited(world, limits, account, "x.test") == 0
    opened(world, account, 1, 3600)
    assert waited(world, limits, account, "x.test") == 3540


def test_who_renews_may_have_twice_as_many_pending(world: World, account: Account) -> None:
    limits = only(pending_authorizations=PendingAuthorizations(limit=2))
    issued(world, account, "a.test")
    opened(world, account, 3, 3600)
    assert waited(world, limits, account, "x.test") == 3600
    assert waited(world, limits, account, "a.test") == 0
    assert waited(world, limits, account, "x.test", due=True) == 0
    opened(world, account, 1, 60)
    assert waited(world, limits, account, "a.test") == 60
    refused = refusal(world, limits, account, "a.test", due=True)
    assert refused is not None
    assert refused.limit == "pending-authorizations"
    assert refused.detail == (
        "4 authorizations of this account are pending, and 4 may be: prove or deactivate them"
        " (limit pending-authorizations); free again at 2026-11-02T09:01:00Z, in 60 seconds"
    )


# -- all of them -----------------------------------------------------------------------------------


def test_what_is_switched_off_counts_nothing(world: World, account: Account) -> None:
    for _ in range(3):
        issued(world, account, "a.test")
        fail(world, account, "a.test")
        opened(world, account, 50, 3600)
    assert refusal(world, NO_LIMIT, account, "a.test") is None


def test_an_order_is_decided_on_all_of_them(world: World, account: Account) -> None:
    """Placed and finalized as usual, on the rows under the lock."""
    limits = AccountLimits(
        duplicate_certificate=DuplicateCertificate(limit=1, window=DAY),
        failed_validation=FailedValidation(limit=1, window=HOUR),
        pending_authorizations=PendingAuthorizations(limit=1),
    )
    issued(world, account, "a.test")
    fail(world, account, "b.test")
    for name, limit in (("a.test", "duplicate-certificate"), ("b.test", "failed-validation")):
        with pytest.raises(Refused) as caught:
            world.order(name, account=account, limits=limits)
        assert caught.value.limit == limit
    before = world.order("c.test", account=account, limits=limits)
    with pytest.raises(Refused) as caught:
        world.order("d.test", account=account, limits=limits)
    assert caught.value.limit == "pending-authorizations"
    with pytest.raises(Refused):
        world.order("d.test", account=account, limits=limits, preauthorization=True)
    world.prove(account, before)
    assert world.order("d.test", account=account, limits=limits)


@pytest.mark.parametrize(
    ("pending", "last", "wait"),
    [
        pytest.param(60, "failed-validation", 7200, id="a name that may be tried last"),
        pytest.param(86_400, "pending-authorizations", 86_400, id="what runs out last"),
    ],
)
def test_who_meets_several_limits_is_told_the_one_that_is_free_last(
    world: World, account: Account, pending: int, last: str, wait: int
) -> None:
    """A retry then succeeds, instead of meeting the next one."""
    limits = AccountLimits(
        duplicate_certificate=DuplicateCertificate(limit=1, window=HOUR),
        failed_validation=FailedValidation(limit=1, window=2 * HOUR),
        pending_authorizations=PendingAuthorizations(limit=1),
    )
    issued(world, world.account(), "a.test")
    fail(world, account, "a.test")
    opened(world, account, 1, pending)
    refused = refusal(world, limits, account, "a.test")
    assert refused is not None
    assert refused.limit == last
    assert waited(world, limits, account, "a.test") == wait


def test_a_predecessor_that_is_none_is_no_way_around_a_limit(
    world: World, account: Account
) -> None:
    """'replaces' is looked at before it exempts an order (RFC 9773 section 5)."""
    limits = only(duplicate_certificate=DuplicateCertificate(limit=1, window=DAY))
    other = issued(world, world.account(), "a.test")
    with pytest.raises(Refused, match="another account") as caught:
        world.order("a.test", account=account, limits=limits, replaces=other)
    assert caught.value.problem is Problem.MALFORMED


def test_no_time_is_told_by_anything_but_the_caller(world: World, account: Account) -> None:
    limits = only(duplicate_certificate=DuplicateCertificate(limit=1, window=DAY))
    issued(world, account, "a.test")
    long_ago = datetime.fromisoformat("2020-01-01T00:00:00+00:00")
    with pytest.raises(Refused) as caught:
        log_limits.check_order(
            world.rows, long_ago, limits, account_id=account.id, names=["a.test"]
        )
    assert caught.value.retry_after == (world.now + DAY - long_ago) // SECOND
