"""What limits and the license count: kept by the fold, for one look-up each."""

import hashlib
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certeasy.decide import authorizations, issuance, orders, retention, revocation, validation
from certeasy.decide.decision import Decision
from events.certificates import CertificateMismatched
from events.orders import Problem as Told
from events.recovery import CertificateRecovered
from projections import failures, name_sets, seats, unproven
from projections.accounts import Account
from projections.certificates import CERTIFICATES
from projections.failures import ANY, FAILURES, Failure
from projections.name_sets import NAME_SETS, Issuance, set_id
from projections.seats import ENDLESS, HELD, SEATS
from projections.tables import WorkingRows
from projections.unproven import PENDING_AUTHORIZATIONS, Unproven
from tests.make.decided import World

UNTIL = "2027-02-02T08:00:00Z"
WRONG = Told("urn:ietf:params:acme:error:dns", "wrong", 400)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def account(world: World) -> Account:
    return world.account()


def no_rows() -> WorkingRows:
    return WorkingRows(lambda _table, _key: None)


def issued(world: World, *names: str) -> list[str]:
    """Return the orders of the certificates that are kept of a set of names."""
    row = world.rows.get(NAME_SETS, set_id(names))
    return [] if row is None else [each.order_id for each in row.issued]


def revoke(world: World, order_id: str) -> None:
    row = world.rows.get(CERTIFICATES, order_id)
    assert row is not None
    world.decide(
        revocation.by_administrator,
        certificate_id=order_id,
        sha256=row.sha256,
        reason=4,
        publish=False,
    )


def leave(world: World, *order_ids: str) -> None:
    """Let orders leave the tables that were over ten days ago."""
    cutoff = f"{world.now - timedelta(days=10):%Y-%m-%dT%H:%M:%SZ}"
    assert world.decide(retention.apply, cutoff, orders=order_ids, revocations=())


def fail(world: World, account: Account, order_id: str, n: int = 0) -> None:
    world.accept(account, order_id, n)
    world.decide(validation.failed, order_id, n, 0, world.asked(order_id, n), WRONG, {})


# -- sets of names ---------------------------------------------------------------------------------


def test_a_set_of_names_has_no_order_and_no_repetitions_and_a_wildcard_is_a_name() -> None:
    one = set_id(["a.test", "b.test"])
    assert one == set_id(["b.test", "a.test", "b.test"])
    assert one == hashlib.sha256(b"a.test\nb.test").hexdigest()
    others = (["a.test"], ["*.a.test", "b.test"], ["a.test", "b.test", "c.test"])
    assert len({one, *(set_id(each) for each in others)}) == 4


def test_what_was_issued_for_the_same_names_is_kept_for_all_accounts_together(
    world: World, account: Account
) -> None:
    first = world.issued("a.test", "b.test", account=account)
    second = world.issued("b.test", "a.test", account=world.account())
    world.issued("a.test", account=account)
    row = world.rows.get(NAME_SETS, set_id(["a.test", "b.test"]))
    assert row is not None
    assert row.issued[0] == Issuance(first, account.id, "2026-11-02T09:00:00.000000Z", UNTIL)
    assert issued(world, "a.test", "b.test") == [first, second]


def test_a_revoked_certificate_and_one_that_leaves_count_no_more(
    world: World, account: Account
) -> None:
    first, second, third = [world.issued("a.test", account=account) for _ in range(3)]
    revoke(world, second)
    assert issued(world, "a.test") == [first, third]
    world.now += timedelta(days=365)
    leave(world, first)
    assert issued(world, "a.test") == [third]
    leave(world, second)
    assert issued(world, "a.test") == [third], "it was no longer there"
    leave(world, third)
    assert world.rows.get(NAME_SETS, set_id(["a.test"])) is None


def test_an_order_counts_from_its_finalization_on_unless_it_comes_to_nothing(
    world: World, account: Account
) -> None:
    ready = world.ready("a.test", account=account)
    assert issued(world, "a.test") == []
    first, second = [world.processing("a.test", account=account) for _ in range(2)]
    assert issued(world, "a.test") == [first, second]
    row = world.rows.get(NAME_SETS, set_id(["a.test"]))
    assert row is not None
    assert row.issued[0] == Issuance(first, account.id, "2026-11-02T09:00:00.000000Z", "")
    world.issue(first)
    assert issued(world, "a.test") == [second, first]
    world.decide(issuance.refused, second, "ca", "no", WRONG, attempt=1)
    assert issued(world, "a.test") == [first]
    world.finalize(account, ready)
    assert issued(world, "a.test") == [first, ready]


def test_the_newest_are_kept_of_a_set_of_names() -> None:
    rows = no_rows()
    for n in range(name_sets.MOST + 5):
        name_sets.counted(rows, ["a.test"], Issuance(f"{n}", "1", "", ""))
    row = rows.get(NAME_SETS, set_id(["a.test"]))
    assert row is not None
    assert [each.order_id for each in row.issued] == [f"{n + 5}" for n in range(name_sets.MOST)]


# -- seats -----------------------------------------------------------------------------------------


def seat(world: World, account: Account) -> tuple[str, int]:
    row = world.rows.get(SEATS, account.id)
    return ("", 0) if row is None else (row.until, row.open)


def test_an_account_is_a_seat_from_its_first_finalized_order_on(
    world: World, account: Account
) -> None:
    order_id = world.ready("a.test", account=account)
    assert seat(world, account) == ("", 0)
    world.finalize(account, order_id, submit_now=True)
    assert seat(world, account) == (ENDLESS, 1)
    world.issue(order_id)
    assert seat(world, account) == (UNTIL, 0)
    another = world.processing("b.test", account=account)
    assert seat(world, account) == (ENDLESS, 1)
    world.issue(another)
    assert seat(world, account) == (UNTIL, 0)


@pytest.mark.parametrize("how", ["refused", "mismatched"])
def test_an_order_that_comes_to_nothing_leaves_no_seat(
    world: World, account: Account, how: str
) -> None:
    order_id = world.processing("a.test", account=account)
    if how == "refused":
        world.decide(issuance.refused, order_id, "ca", "no", WRONG, attempt=1)
    else:
        fact = CertificateMismatched(order_id, "ca", 1, "other names", b"leaf")
        world.decide(issuance.mismatched, order_id, fact, WRONG)
    assert world.rows.get(SEATS, account.id) is None


def test_a_seat_ends_with_the_last_certificate_that_is_not_revoked(
    world: World, account: Account
) -> None:
    first, second = [world.issued("a.test", account=account) for _ in range(2)]
    revoke(world, first)
    assert seat(world, account) == (UNTIL, 0)
    revoke(world, second)
    assert world.rows.get(SEATS, account.id) is None


def test_rows_of_seats_leave_with_the_certificates(world: World, account: Account) -> None:
    ids = [world.issued("a.test", account=account) for _ in range(3)]
    world.now += timedelta(days=365)
    leave(world, *ids)
    assert world.rows.get(SEATS, account.id) is None
    assert not any(world.rows.get(HELD, id_) for id_ in ids)


def test_an_order_in_work_keeps_the_seat_of_an_account_whose_certificates_leave(
    world: World, account: Account
) -> None:
    first, second = [world.issued("a.test", account=account) for _ in range(2)]
    world.now += timedelta(days=365)
    world.processing("b.test", account=account)
    leave(world, first, second)
    assert seat(world, account) == (ENDLESS, 1)


def test_a_certificate_that_is_not_known_is_revoked_in_vain() -> None:
    rows = no_rows()
    seats.revoked(rows, "1", "nothing")
    assert rows.changes() == {}


def day(n: int) -> str:
    return f"2026-{1 + n // 28:02d}-{1 + n % 28:02d}T00:00:00Z"


steps = st.lists(
    st.tuples(st.sampled_from(["issue", "issue", "issue", "revoke", "leave"]), st.integers(0, 99)),
    max_size=60,
)


@given(steps)
def test_a_seat_lasts_as_long_as_its_certificate_in_force_that_lasts_longest(
    steps: list[tuple[str, int]],
) -> None:
    """The law of the heap, against a plain list: whatever is issued, revoked and taken away."""
    rows, today = no_rows(), 0
    certificates: dict[str, int] = {}
    revoked: set[str] = set()
    for count, (what, n) in enumerate(steps):
        today += n % 3
        some = sorted(certificates)[n % len(certificates)] if certificates else ""
        if what == "issue":
            certificates[f"c{count}"] = today + 1 + n
            seats.issued(rows, "1", f"c{count}", day(today + 1 + n), day(today))
        elif what == "revoke" and some and some not in revoked:
            revoked.add(some)
            seats.revoked(rows, "1", some)
        elif what == "leave" and some and certificates[some] < today:
            del certificates[some]
            revoked.discard(some)
            seats.left(rows, "1", some)
        lasts = [end for id_, end in certificates.items() if id_ not in revoked and end >= today]
        row = rows.get(SEATS, "1")
        until = row.until if row is not None and row.until >= day(today) else ""
        assert until == (day(max(lasts)) if lasts else "")


def test_a_fleet_that_is_revoked_one_by_one_is_a_seat_to_the_last() -> None:
    rows = no_rows()
    ends = [(n * 37) % 251 for n in range(251)]
    for n, end in enumerate(ends):
        seats.issued(rows, "1", f"{n}", day(end), day(0))
    ranks = [held.rank for held in rows.changes()[HELD].values()]
    assert max(ranks) <= 8, "the way down is short"
    for end in sorted(ends, reverse=True):
        row = rows.get(SEATS, "1")
        assert row is not None
        assert row.until == day(end)
        seats.revoked(rows, "1", f"{ends.index(end)}")
    assert rows.get(SEATS, "1") is None


def test_a_certificate_that_is_known_again_counts_from_when_it_began_to_be_valid(
    world: World, account: Account
) -> None:
    fact = CertificateRecovered(
        position=7,
        id="9" * 26,
        order_id="lost",
        account_id=account.id,
        authority="ca",
        certificate=b"certificate",
        chain=("00",),
        serial="01",
        sha256="5e" * 32,
        spki_sha256="5c" * 32,
        names=("a.test",),
        not_before="2026-11-01T08:00:00Z",
        not_after=UNTIL,
    )
    world.do(Decision(((f"certificate/{fact.id}", fact),)))
    row = world.rows.get(NAME_SETS, set_id(["a.test"]))
    assert row is not None
    assert row.issued == (Issuance(fact.id, account.id, fact.not_before, UNTIL),)
    assert seat(world, account) == (UNTIL, 0)
    world.now += timedelta(days=365)
    leave(world, fact.id)
    assert issued(world, "a.test") == []
    assert world.rows.get(SEATS, account.id) is None


# -- failed validations ----------------------------------------------------------------------------


def failed(world: World, account: Account, name: str) -> list[str]:
    row = world.rows.get(FAILURES, account.id, name)
    return [] if row is None else [each.order_id for each in row.failed]


def test_a_failure_is_kept_of_the_account_and_the_name_a_wildcard_s_without_its_star(
    world: World, account: Account
) -> None:
    first = world.order("a.test", "b.test", account=account)
    fail(world, account, first, 1)
    second = world.order("*.b.test", account=account, challenges=("dns-01",))
    fail(world, account, second)
    assert failed(world, account, "b.test") == [first, second]
    assert failed(world, account, "a.test") == []
    assert failed(world, world.account(), "b.test") == []
    row = world.rows.get(FAILURES, account.id, "b.test")
    assert row is not None
    assert row.failed[0].at == "2026-11-02T09:00:00.000000Z"


def test_a_failure_leaves_with_its_order(world: World, account: Account) -> None:
    first, second = [world.order("a.test", "b.test", account=account) for _ in range(2)]
    for order_id in (first, second):
        fail(world, account, order_id)
    world.now += timedelta(days=365)
    leave(world, first)
    assert failed(world, account, "a.test") == [second]
    assert failed(world, account, ANY) == [second]
    leave(world, second)
    assert world.rows.get(FAILURES, account.id, "a.test") is None
    assert world.rows.get(FAILURES, account.id, ANY) is None


def test_the_newest_failures_are_kept() -> None:
    rows = no_rows()
    for n in range(failures.MOST + 3):
        failures.failed(rows, "1", "a.test", Failure(f"{n}", ""))
    row = rows.get(FAILURES, "1", "a.test")
    assert row is not None
    assert [each.order_id for each in row.failed] == [f"{n + 3}" for n in range(failures.MOST)]
    failures.taken_out(rows, "1", "a.test", "0")
    assert rows.get(FAILURES, "1", "a.test") is row, "it was no longer there"
    failures.taken_out(rows, "1", "b.test", "0")


# -- pending authorizations ------------------------------------------------------------------------


def pending(world: World, account: Account) -> dict[str, int]:
    row = world.rows.get(PENDING_AUTHORIZATIONS, account.id)
    return {} if row is None else {each.order_id: each.authorizations for each in row.orders}


def test_what_is_to_be_proven_is_counted_until_it_is(world: World, account: Account) -> None:
    first = world.order("a.test", "b.test", "c.test", account=account)
    ahead = world.order("d.test", account=account, preauthorization=True)
    assert pending(world, account) == {first: 3, ahead: 1}
    world.accept(account, first)
    assert pending(world, account) == {first: 3, ahead: 1}, "it is being looked at"
    world.decide(validation.validated, first, 0, 0, world.asked(first), {})
    assert pending(world, account) == {ahead: 1, first: 2}
    world.prove(account, ahead)
    assert pending(world, account) == {first: 2}
    fail(world, account, first, 1)
    assert world.rows.get(PENDING_AUTHORIZATIONS, account.id) is None


def test_what_is_known_is_not_pending(world: World, account: Account) -> None:
    known = {"a.test": orders.Known("eab 1")}
    order_id = world.order("a.test", "b.test", account=account, known=known)
    assert pending(world, account) == {order_id: 1}
    world.order("a.test", account=account, known=known)
    assert pending(world, account) == {order_id: 1}


def test_nothing_is_pending_of_an_order_that_is_given_up_or_ran_out(
    world: World, account: Account
) -> None:
    first, second = [world.order("a.test", "b.test", account=account) for _ in range(2)]
    ready = world.ready("c.test", account=account)
    world.decide(
        authorizations.deactivate,
        world.now,
        account_id=account.id,
        thumbprint=account.thumbprint,
        order_id=first,
        n=0,
    )
    assert pending(world, account) == {second: 2}
    world.now += timedelta(days=8)
    world.decide(orders.expire, world.now, [second, ready])
    assert pending(world, account) == {}


def test_the_orders_that_run_out_last_are_kept() -> None:
    rows = no_rows()
    for n in range(unproven.MOST + 1):
        expires = "2026-01-01T00:00:00Z" if n == 5 else f"2026-02-01T00:00:00.{n:06d}Z"
        unproven.count(rows, "1", Unproven(f"{n}", 1, expires))
    row = rows.get(PENDING_AUTHORIZATIONS, "1")
    assert row is not None
    kept = [each.order_id for each in row.orders]
    assert len(kept) == unproven.MOST
    assert "5" not in kept
