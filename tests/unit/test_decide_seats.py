"""Who is a managed server, and who renews: to the second."""

from datetime import UTC, datetime, timedelta

import pytest

from certeasy.decide import issuance, revocation
from certeasy.decide.seats import has_seat, is_renewal, newest
from events.orders import Problem as Told
from projections.accounts import Account
from tests.make.decided import World

END = datetime(2027, 2, 2, 8, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def account(world: World) -> Account:
    return world.account()


def test_an_account_is_a_seat_until_the_second_its_certificate_ends(
    world: World, account: Account
) -> None:
    assert not has_seat(world.rows, account.id, world.now)
    world.issued("a.test", account=account)
    assert has_seat(world.rows, account.id, END - SECOND)
    assert not has_seat(world.rows, account.id, END)
    assert not has_seat(world.rows, world.account().id, world.now)


def test_a_finalized_order_is_a_seat_however_long_it_takes(world: World, account: Account) -> None:
    order_id = world.processing("a.test", account=account)
    assert has_seat(world.rows, account.id, END + timedelta(days=999))
    problem = Told("urn:ietf:params:acme:error:serverInternal", "no", 500)
    world.decide(issuance.refused, order_id, "ca", "no", problem, attempt=1)
    assert not has_seat(world.rows, account.id, world.now)


def test_an_account_renews_its_own_certificate_for_exactly_these_names_while_it_is_in_force(
    world: World, account: Account
) -> None:
    order_id = world.issued("a.test", "b.test", account=account)

    def renews(*names: str, of: str = account.id, now: datetime = world.now) -> bool:
        return is_renewal(world.rows, of, names, now)

    assert renews("b.test", "a.test")
    assert renews("a.test", "b.test", now=END - SECOND)
    assert not renews("a.test", "b.test", now=END)
    assert not renews("a.test")
    assert not renews("a.test", "b.test", "c.test")
    assert not renews("a.test", "b.test", of=world.account().id)
    world.decide(
        revocation.by_administrator,
        certificate_id=order_id,
        sha256=world.sha256_of(order_id),
        reason=4,
        publish=False,
    )
    assert not renews("a.test", "b.test")


def test_an_order_that_is_still_at_its_authority_is_not_renewed(
    world: World, account: Account
) -> None:
    world.processing("a.test", account=account)
    assert not is_renewal(world.rows, account.id, ["a.test"], world.now)


def test_the_newest_certificate_for_these_names_is_the_one_that_was_issued_last(
    world: World, account: Account
) -> None:
    def known(of: str = account.id, now: datetime = world.now) -> str:
        return newest(world.rows, of, ["a.test"], now)

    assert known() == ""
    world.issued("a.test", account=account)
    latest = world.issued("a.test", account=account)
    other = world.account()
    world.issued("a.test", account=other)
    assert known() == latest
    assert known(now=END) == ""
    assert known(of=world.account().id) == ""
    world.processing("a.test", account=account)
    assert known() == "", "another one is on its way"
