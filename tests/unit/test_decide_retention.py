"""What leaves the tables: what has been over for long, and of which nothing is open."""

from datetime import timedelta

import pytest

from certeasy.decide import orders, renewal, retention, revocation
from certeasy.decide.problems import Problem, Refused
from events.retention import RetentionApplied
from projections.accounts import Account
from projections.certificates import CERTIFICATES
from projections.orders import ORDER_NAMES, ORDERS, PREAUTHORIZATIONS
from projections.renewals import RENEWALS
from projections.revocations import REVOCATIONS, revocation_id
from tests.make.decided import World

YEAR = timedelta(days=365)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def account(world: World) -> Account:
    return world.account()


def leave(world: World, *order_ids: str, revocations: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Apply retention to what was over ten days ago; return what left."""
    cutoff = f"{world.now - timedelta(days=10):%Y-%m-%dT%H:%M:%SZ}"
    told = world.decide(retention.apply, cutoff, orders=order_ids, revocations=revocations)
    if not told:
        return ()
    fact = world.facts[-1][1]
    assert isinstance(fact, RetentionApplied)
    return fact.orders


def test_a_valid_order_leaves_with_its_certificate_when_both_are_over(
    world: World, account: Account
) -> None:
    order_id = world.issued("web.corp.test", account=account)
    world.now += timedelta(days=30)
    assert leave(world, order_id) == (), "the certificate is valid"
    world.now += YEAR
    assert leave(world, order_id) == (order_id,)
    assert world.rows.get(ORDERS, order_id) is None
    assert world.rows.get(CERTIFICATES, order_id) is None
    assert world.rows.get(ORDER_NAMES, "web.corp.test", order_id) is None
    assert leave(world, order_id) == (), "it is gone"


def test_what_may_still_be_worked_on_stays(world: World, account: Account) -> None:
    pending = world.order("a.corp.test", account=account)
    processing = world.processing("b.corp.test", account=account)
    failed = world.order("c.corp.test", account=account)
    world.now += YEAR
    assert leave(world, pending, processing, failed) == ()
    world.decide(orders.expire, world.now, [failed])
    assert leave(world, pending, processing, failed) == (failed,)


def test_a_proof_that_is_over_is_forgotten_unless_there_is_a_later_one(
    world: World, account: Account
) -> None:
    def proven() -> str:
        order_id = world.order("web.corp.test", account=account, preauthorization=True)
        world.prove(account, order_id)
        return order_id

    def latest() -> str:
        row = world.rows.get(PREAUTHORIZATIONS, account.id, "web.corp.test")
        return row.order_id if row is not None else ""

    first, second = proven(), proven()
    assert latest() == second
    world.now += YEAR
    world.decide(orders.expire, world.now, [first, second])
    assert leave(world, first) == (first,)
    assert latest() == second
    assert leave(world, second) == (second,)
    assert latest() == ""


def test_a_revocation_that_is_not_published_keeps_its_order(world: World, account: Account) -> None:
    order_id = world.issued("web.corp.test", account=account)
    row = world.rows.get(CERTIFICATES, order_id)
    assert row is not None
    world.decide(
        revocation.by_administrator,
        certificate_id=order_id,
        sha256=row.sha256,
        reason=4,
        publish=True,
    )
    id_ = revocation_id(order_id, row.certificate)
    world.now += YEAR
    assert leave(world, order_id, revocations=(id_,)) == ()
    assert leave(world, order_id) == (), "whoever asks may not know of it"
    world.decide(revocation.published, order_id, id_)
    assert leave(world, order_id, revocations=(id_, f"{'0' * 26}-0")) == (order_id,)
    assert world.rows.get(REVOCATIONS, order_id, id_) is None


def test_a_certificate_that_outlives_its_successor_is_not_replaced_again(
    world: World, account: Account
) -> None:
    first = world.issued("web.corp.test", account=account)
    second = world.issued("web.corp.test", account=account, replaces=first)
    assert world.rows.get(RENEWALS, first) is not None
    held = world.rows.get(CERTIFICATES, first)
    assert held is not None
    world.now += YEAR
    assert leave(world, second) == (second,)
    with pytest.raises(Refused, match=f"its successor already: order {second}") as caught:
        renewal.check_predecessor(world.rows, first, account_id=account.id, names=["web.corp.test"])
    assert caught.value.problem is Problem.ALREADY_REPLACED
    assert leave(world, first) == (first,)
    assert world.rows.get(RENEWALS, first) is None
