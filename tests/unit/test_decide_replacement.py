"""Which order may take a certificate's place: RFC 9773 section 5."""

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from certeasy.decide import issuance, orders, renewal
from certeasy.decide.decision import Decision
from certeasy.decide.problems import Problem, Refused
from events.orders import OrderCreated
from events.orders import Problem as ToldProblem
from projections.accounts import Account
from projections.certificates import CERTIFICATES
from projections.orders import PROCESSING, READY, VALID
from projections.renewals import RENEWALS
from tests.make.decided import NO_ID, World

NAME = "web.corp.test"
DENIED = ToldProblem("urn:ietf:params:acme:error:serverInternal", "denied", 500)


def refusal(attempt: Callable[[], object]) -> tuple[Problem, int, str]:
    with pytest.raises(Refused) as caught:
        attempt()
    return caught.value.problem, caught.value.status, caught.value.detail


def a_world() -> tuple[World, Account, str]:
    """Return a world in which an account has a certificate, and that certificate's id."""
    world = World()
    account = world.account()
    return world, account, world.issued(NAME, "www.corp.test", account=account)


def deny(world: World, order_id: str) -> None:
    told = ("ca", "denied", DENIED)
    world.decide(issuance.refused, order_id, *told, attempt=world.row(order_id).attempt)


def test_a_renewal_is_linked_when_it_is_issued() -> None:
    world, account, first = a_world()
    second = world.processing(NAME, account=account, replaces=first)
    assert world.issue(second) == ["certificate.issued", "certificate.replaced"]
    assert world.facts[-1][0] == f"certificate/{first}"
    before, after = (world.rows.get(CERTIFICATES, order) for order in (first, second))
    assert before is not None
    assert after is not None
    assert (before.replaced_by, before.replaces) == (second, "")
    assert (after.replaced_by, after.replaces) == ("", first)
    assert world.row(second).replaces == first


def test_a_chain_of_renewals_goes_on() -> None:
    world, account, order = a_world()
    for _ in range(3):
        order = world.issued(NAME, account=account, replaces=order)
        assert world.row(order).status == VALID


def test_pitfall_46_the_predecessor_is_a_certificate_of_the_same_account() -> None:
    """Pitfall 46, RFC 9773 section 5."""
    world, _, first = a_world()
    other = world.account()
    problem, status, detail = refusal(lambda: world.order(NAME, account=other, replaces=first))
    assert (problem, status) == (Problem.MALFORMED, 400)
    assert "'replaces'" in detail


def test_another_certificate_than_the_one_that_was_named_is_not_replaced() -> None:
    """It was found in a table; what is decided on is what the log says of it."""
    world, account, first = a_world()
    found = world.rows.get(CERTIFICATES, first)
    assert found is not None
    renewal.check_named(world.rows, found)
    other = world.rows.get(CERTIFICATES, world.issued(NAME, account=account))
    assert other is not None
    for planted in (replace(found, id=other.id), replace(found, id=NO_ID)):
        problem, status, _ = refusal(lambda: renewal.check_named(world.rows, planted))  # noqa: B023 - called at once
        assert (problem, status) == (Problem.SERVER_INTERNAL, 500)


def test_pitfall_46_the_predecessor_has_one_of_the_names_at_least() -> None:
    """Pitfall 46, RFC 9773 section 5."""
    world, account, first = a_world()
    attempt = lambda: world.order("other.corp.test", account=account, replaces=first)  # noqa: E731
    problem, status, detail = refusal(attempt)
    assert (problem, status) == (Problem.MALFORMED, 400)
    assert "'replaces'" in detail
    assert world.order("www.corp.test", "new.corp.test", account=account, replaces=first)


def test_pitfall_46_the_predecessor_is_known() -> None:
    """Pitfall 46."""
    world, account, _ = a_world()
    problem, status, detail = refusal(lambda: world.order(NAME, account=account, replaces=NO_ID))
    assert (problem, status) == (Problem.MALFORMED, 400)
    assert "'replaces'" in detail


def test_an_order_that_nobody_finalized_keeps_nobody_waiting() -> None:
    world, account, first = a_world()
    world.order(NAME, account=account, replaces=first)
    world.ready(NAME, account=account, replaces=first)
    assert world.issued(NAME, account=account, replaces=first)


@pytest.mark.parametrize("end", [PROCESSING, VALID])
def test_a_successor_on_its_way_is_the_only_one(end: str) -> None:
    """RFC 9773 section 5: 409, alreadyReplaced."""
    world, account, first = a_world()
    order = world.processing(NAME, account=account, replaces=first)
    if end == VALID:
        world.issue(order)
    problem, status, detail = refusal(lambda: world.order(NAME, account=account, replaces=first))
    assert (problem, status) == (Problem.ALREADY_REPLACED, 409)
    assert order in detail


def test_a_successor_that_failed_makes_room_for_another() -> None:
    """RFC 9773 section 5: an order that is invalid does not count."""
    world, account, first = a_world()
    deny(world, world.processing(NAME, account=account, replaces=first))
    assert world.issue(world.processing(NAME, account=account, replaces=first))


def test_of_two_orders_for_one_place_the_first_that_is_finalized_has_it() -> None:
    world, account, first = a_world()
    one, other = (world.ready(NAME, account=account, replaces=first) for _ in range(2))
    world.finalize(account, other, submit_now=True)
    problem, status, _ = refusal(lambda: world.finalize(account, one))
    assert (problem, status) == (Problem.ALREADY_REPLACED, 409)
    assert world.row(one).status == READY
    # A client that polls by finalizing again is answered as before.
    assert world.finalize(account, other) == []
    world.issue(other)
    assert world.finalize(account, other) == []
    problem, status, _ = refusal(lambda: world.finalize(account, one))
    assert (problem, status) == (Problem.ALREADY_REPLACED, 409)


def test_the_place_is_free_again_once_the_first_has_failed() -> None:
    world, account, first = a_world()
    one, other = (world.ready(NAME, account=account, replaces=first) for _ in range(2))
    world.finalize(account, other, submit_now=True)
    deny(world, other)
    world.finalize(account, one, submit_now=True)
    assert world.issue(one) == ["certificate.issued", "certificate.replaced"]


def test_a_row_that_somebody_removed_lets_no_certificate_be_replaced_twice() -> None:
    """Whoever can write to the database hides who is on the way; what was signed still counts."""
    world, account, first = a_world()
    one, other = (world.ready(NAME, account=account, replaces=first) for _ in range(2))
    for order in (one, other):
        world.rows.delete(RENEWALS, first)
        world.finalize(account, order, submit_now=True)
    assert world.issue(one) == ["certificate.issued", "certificate.replaced"]
    assert world.issue(other) == ["certificate.issued"]
    world.rows.delete(RENEWALS, first)
    problem, _, detail = refusal(lambda: world.order(NAME, account=account, replaces=first))
    assert problem is Problem.ALREADY_REPLACED
    assert one in detail


def test_a_row_that_somebody_changed_blocks_nobody() -> None:
    world, account, first = a_world()
    for successor in (NO_ID, first):
        world.processing(NAME, account=account, replaces=first)
        renewal = world.rows.get(RENEWALS, first)
        assert renewal is not None
        world.rows.put(RENEWALS, type(renewal)(first, successor))
        assert world.order(NAME, account=account, replaces=first)


def test_a_predecessor_that_the_log_has_lost_keeps_no_certificate_back() -> None:
    world = World()
    account = world.account()
    order_id = world.order(NAME, account=account)
    created = world.facts[-1][1]
    assert isinstance(created, OrderCreated)
    world.rows.forget()
    account = world.account()
    again = OrderCreated(
        order_id,
        account.id,
        created.identifiers,
        created.authorizations,
        created.expires,
        created.policy,
        created.authority,
        replaces=NO_ID,
    )
    world.do(Decision(((orders.stream(order_id), again),)))
    world.prove(account, order_id)
    world.finalize(account, order_id, submit_now=True)
    assert world.issue(order_id) == ["certificate.issued"]


STEPS = st.lists(
    st.tuples(st.sampled_from(["place", "finalize", "issue", "deny"]), st.integers(0, 5)),
    max_size=25,
)


@given(STEPS)
def test_whatever_happens_a_certificate_has_one_successor_at_most(steps) -> None:
    world, account, first = a_world()
    placed: list[str] = []
    for step, n in steps:
        order = placed[n % len(placed)] if placed else None
        with contextlib.suppress(Refused):
            if step == "place":
                placed.append(world.ready(NAME, account=account, replaces=first))
            elif order is not None and step == "finalize":
                world.finalize(account, order, submit_now=True)
            elif order is not None and step == "issue":
                world.issue(order)
            elif order is not None:
                deny(world, order)
        statuses = [world.row(order).status for order in placed]
        assert statuses.count(PROCESSING) + statuses.count(VALID) <= 1
        certificate = world.rows.get(CERTIFICATES, first)
        assert certificate is not None
        valid = [order for order in placed if world.row(order).status == VALID]
        assert [certificate.replaced_by] == (valid or [""])
