"""What may happen to an order on its client's request, and what validation makes of it."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from certeasy.decide import accounts, authorizations, issuance, orders, validation
from certeasy.decide.problems import Problem, Refused
from events.orders import CaaCheck, Identifier
from events.orders import Problem as Told
from projections.accounts import Account
from projections.jobs import JOBS
from projections.orders import (
    DEACTIVATED,
    EXPIRED,
    INVALID,
    ORDERS,
    PENDING,
    PREAUTHORIZATIONS,
    PROCESSING,
    READY,
    VALID,
    Preauthorization,
)
from tests.make.decided import NO_ID, World

WEEK = timedelta(days=7)
WRONG = Told("urn:ietf:params:acme:error:dns", "no such name", 400)


def test_an_order_has_an_authorization_for_each_name() -> None:
    world = World()
    both = ("http-01", "dns-01")
    order = world.row(world.order("a.test", "*.b.test", account=world.account(), challenges=both))
    assert order.status == PENDING
    assert [identifier.value for identifier in order.identifiers] == ["a.test", "*.b.test"]
    shown = [(each.identifier.value, each.wildcard) for each in order.authorizations]
    assert shown == [("a.test", False), ("b.test", True)]
    assert order.expires == "2026-11-09T09:00:00Z"


def test_a_zone_and_its_wildcard_are_proven_one_by_one() -> None:
    """Pitfall 23, RFC 8555 section 7.1.4."""
    world = World()
    account = world.account()
    order_id = world.order(
        "b.test", "*.b.test", account=account, challenges=("http-01", "dns-01", "dns-account-01")
    )
    apex, wildcard = world.row(order_id).authorizations
    assert apex.identifier == wildcard.identifier
    assert (apex.wildcard, wildcard.wildcard) == (False, True)
    assert [each.type for each in apex.challenges] == ["http-01", "dns-01", "dns-account-01"]
    assert [each.type for each in wildcard.challenges] == ["dns-01", "dns-account-01"]
    world.accept(account, order_id, 1)
    world.decide(validation.validated, order_id, 1, 0, world.asked(order_id, 1), {})
    assert [each.status for each in world.row(order_id).authorizations] == [PENDING, VALID]
    world.accept(account, order_id, 0)
    world.decide(validation.validated, order_id, 0, 0, world.asked(order_id, 0), {})
    assert world.row(order_id).status == READY


def test_an_address_is_an_identifier_of_its_own_type() -> None:
    """RFC 8738 sections 3 and 7."""
    world = World()
    order = world.row(
        world.order(
            "10.0.0.1",
            "fd00::1",
            "a.test",
            account=world.account(),
            challenges=("http-01", "dns-01", "tls-alpn-01"),
        )
    )
    shown = [(each.type, each.value) for each in order.identifiers]
    assert shown == [("ip", "10.0.0.1"), ("ip", "fd00::1"), ("dns", "a.test")]
    assert [each.identifier for each in order.authorizations] == list(order.identifiers)
    offered = [[each.type for each in one.challenges] for one in order.authorizations]
    assert offered == [["http-01", "tls-alpn-01"]] * 2 + [["http-01", "dns-01", "tls-alpn-01"]]


def test_what_caa_records_said_again_is_written_down_with_the_request() -> None:
    world = World()
    account = world.account()
    order_id = world.ready("a.test", account=account)
    seen = CaaCheck(0, "permits", at="test")
    done = world.finalize(account, order_id, caa=(seen,))
    assert done == ["order.caa-checked", "order.finalized"]
    assert world.row(order_id).status == PROCESSING


def test_what_is_proven_by_a_lasting_record_has_no_token() -> None:
    """draft-ietf-acme-dns-persist-01 section 3.1."""
    world = World()
    types = ("dns-persist-01", "dns-01")
    (one,) = world.row(
        world.order("a.test", account=world.account(), challenges=types)
    ).authorizations
    assert [bool(each.token) for each in one.challenges] == [False, True]


def test_every_challenge_has_a_token_of_its_own() -> None:
    world = World()
    order = world.row(
        world.order("a.test", "b.test", account=world.account(), challenges=("http-01", "dns-01"))
    )
    offered = [(c.type, c.token) for each in order.authorizations for c in each.challenges]
    assert [kind for kind, _ in offered] == ["http-01", "dns-01"] * 2
    assert len({token for _, token in offered}) == 4


def test_an_accepted_challenge_is_being_tried_and_once_is_enough() -> None:
    world = World()
    account = world.account()
    order_id = world.order("a.test", account=account)
    assert world.accept(account, order_id) == ["challenge.accepted"]
    assert world.rows.get(JOBS, f"{order_id}-0-0") is not None
    assert world.accept(account, order_id) == []
    world.decide(validation.validated, order_id, 0, 0, world.asked(order_id, 0), {})
    assert world.accept(account, order_id) == []


def test_one_challenge_is_tried_at_a_time() -> None:
    world = World()
    account = world.account()
    order_id = world.order("a.test", account=account, challenges=("http-01", "dns-01"))
    world.accept(account, order_id, 0, 0)
    with pytest.raises(Refused, match="Another challenge") as caught:
        world.accept(account, order_id, 0, 1)
    assert caught.value.problem is Problem.MALFORMED


def test_a_challenge_whose_name_is_proven_already_is_refused() -> None:
    world = World()
    account = world.account()
    order_id = world.order("a.test", account=account, challenges=("http-01", "dns-01"))
    world.accept(account, order_id, 0, 0)
    world.decide(validation.validated, order_id, 0, 0, world.asked(order_id, 0), {})
    with pytest.raises(Refused, match="is valid"):
        world.accept(account, order_id, 0, 1)


def test_an_order_is_ready_in_the_moment_its_last_name_is_proven() -> None:
    world = World()
    account = world.account()
    order_id = world.order("a.test", "b.test", account=account)
    world.accept(account, order_id, 0)
    world.accept(account, order_id, 1)
    assert world.decide(validation.validated, order_id, 1, 0, world.asked(order_id, 1), {}) == [
        "challenge.validated"
    ]
    assert world.row(order_id).status == PENDING
    last = world.decide(
        validation.validated, order_id, 0, 0, world.asked(order_id, 0), {"address": "::1"}
    )
    assert last == ["challenge.validated", "order.ready"]
    assert world.row(order_id).status == READY


def test_a_failed_challenge_ends_its_order() -> None:
    world = World()
    account = world.account()
    order_id = world.order("a.test", "b.test", account=account)
    world.accept(account, order_id, 0)
    world.accept(account, order_id, 1)
    failed = world.decide(validation.failed, order_id, 0, 0, world.asked(order_id, 0), WRONG, {})
    assert failed == ["challenge.failed", "order.invalidated"]
    order = world.row(order_id)
    assert order.status == INVALID
    assert order.error is not None
    assert "no such name" in order.error.detail
    # The other name's outcome comes too late to matter, and nothing is left to be done.
    assert world.decide(validation.validated, order_id, 1, 0, world.asked(order_id, 1), {}) == []
    assert (
        world.decide(validation.failed, order_id, 1, 0, world.asked(order_id, 1), WRONG, {}) == []
    )
    assert [world.rows.get(JOBS, f"{order_id}-{n}-0") for n in (0, 1)] == [None, None]


def test_an_outcome_counts_once_and_only_for_what_was_tried() -> None:
    world = World()
    account = world.account()
    order_id = world.order("a.test", "b.test", account=account)
    assert world.decide(validation.validated, order_id, 0, 0, world.asked(order_id, 0), {}) == []
    assert (
        world.decide(validation.failed, order_id, 0, 0, world.asked(order_id, 0), WRONG, {}) == []
    )
    assert world.decide(validation.validated, NO_ID, 0, 0, world.asked(order_id), {}) == []
    world.accept(account, order_id)
    world.decide(validation.validated, order_id, 0, 0, world.asked(order_id, 0), {})
    assert world.decide(validation.validated, order_id, 0, 0, world.asked(order_id, 0), {}) == []
    assert (
        world.decide(validation.failed, order_id, 0, 0, world.asked(order_id, 0), WRONG, {}) == []
    )


def test_after_its_time_an_order_is_invalid_and_goes_nowhere() -> None:
    world = World()
    account = world.account()
    pending = world.order("a.test", account=account)
    ready = world.ready("b.test", account=account)
    world.now += WEEK - timedelta(seconds=1)
    assert orders.visible_status(world.row(pending), world.now) == PENDING
    world.now += timedelta(seconds=1)
    for order_id in (pending, ready):
        assert orders.visible_status(world.row(order_id), world.now) == INVALID
    (authorization,) = world.row(pending).authorizations
    assert orders.authorization_status(world.row(pending), authorization, world.now) == "expired"
    with pytest.raises(Refused, match="expired"):
        world.accept(account, pending)
    with pytest.raises(Refused, match="expired") as caught:
        world.finalize(account, ready)
    assert caught.value.problem is Problem.ORDER_NOT_READY


def test_an_order_that_was_finalized_in_time_does_not_run_out() -> None:
    world = World()
    order_id = world.processing("a.test", account=world.account())
    world.now += WEEK * 2
    assert orders.visible_status(world.row(order_id), world.now) == PROCESSING


def test_what_is_left_of_a_failed_order_is_invalid() -> None:
    world = World()
    account = world.account()
    order_id = world.order("a.test", "b.test", account=account)
    world.accept(account, order_id)
    world.decide(validation.failed, order_id, 0, 0, world.asked(order_id, 0), WRONG, {})
    order = world.row(order_id)
    shown = [orders.authorization_status(order, each, world.now) for each in order.authorizations]
    assert shown == [INVALID, INVALID]
    with pytest.raises(Refused, match="is invalid"):
        world.accept(account, order_id, 1)


def test_a_proven_name_is_shown_as_valid() -> None:
    world = World()
    order = world.row(world.ready("a.test", account=world.account()))
    (authorization,) = order.authorizations
    assert orders.authorization_status(order, authorization, world.now) == VALID


def test_a_request_moves_a_ready_order_on() -> None:
    world = World()
    account = world.account()
    order_id = world.ready("a.test", account=account)
    assert world.finalize(account, order_id) == ["order.finalized"]
    order = world.row(order_id)
    assert (order.status, order.attempt, order.in_doubt) == (PROCESSING, 0, False)
    assert world.rows.get(JOBS, order_id) is not None


def test_a_quick_authority_is_asked_in_the_same_moment() -> None:
    world = World()
    account = world.account()
    order_id = world.ready("a.test", account=account)
    done = world.finalize(account, order_id, submit_now=True)
    assert done == ["order.finalized", "issuance.submitted"]
    order = world.row(order_id)
    assert (order.status, order.attempt, order.in_doubt) == (PROCESSING, 1, True)


def test_the_same_request_again_changes_nothing() -> None:
    world = World()
    account = world.account()
    order_id = world.processing("a.test", account=account)
    assert world.finalize(account, order_id) == []
    world.decide(issuance.issued, world.row(order_id), world.issued_fact(order_id))
    assert world.finalize(account, order_id) == []


@pytest.mark.parametrize("state", ["pending", "processing", "valid", "invalid"])
def test_an_order_that_is_not_ready_takes_no_request(state: str) -> None:
    world = World()
    account = world.account()
    if state == "pending":
        order_id = world.order("a.test", account=account)
    else:
        order_id = world.processing("a.test", account=account)
    if state == "valid":
        world.decide(issuance.issued, world.row(order_id), world.issued_fact(order_id))
    if state == "invalid":
        world.decide(issuance.refused, order_id, "ca", "denied", WRONG, attempt=1)
    assert world.row(order_id).status == state
    with pytest.raises(Refused) as caught:
        world.finalize(account, order_id, b"another csr")
    assert caught.value.problem is Problem.ORDER_NOT_READY
    assert caught.value.status == 403


def test_the_refusal_names_what_is_still_to_be_proven() -> None:
    world = World()
    account = world.account()
    order_id = world.order("a.test", "b.test", account=account)
    world.accept(account, order_id, 0)
    world.decide(validation.validated, order_id, 0, 0, world.asked(order_id, 0), {})
    with pytest.raises(Refused, match=r"validated: b\.test$"):
        world.finalize(account, order_id)


def test_an_order_is_its_accounts_alone() -> None:
    world = World()
    account, other = world.account(), world.account()
    order_id = world.ready("a.test", account=account)
    assert orders.of_account(world.rows, order_id, account.id).id == order_id
    for attempt in (world.accept, world.finalize):
        with pytest.raises(Refused, match="another account") as caught:
            attempt(other, order_id)
        assert caught.value.problem is Problem.UNAUTHORIZED
    with pytest.raises(Refused) as caught:
        world.accept(account, NO_ID)
    assert (caught.value.problem, caught.value.status) == (Problem.MALFORMED, 404)


@pytest.mark.parametrize(("n", "m"), [(1, 0), (0, 1), (-1, 0), (0, -1)])
def test_an_order_has_only_its_own_parts(n: int, m: int) -> None:
    world = World()
    account = world.account()
    order_id = world.order("a.test", account=account)
    with pytest.raises(Refused) as caught:
        world.accept(account, order_id, n, m)
    assert caught.value.status == 404


def test_who_left_places_nothing_and_moves_nothing_on() -> None:
    world = World()
    account = world.account()
    pending, ready = world.order("a.test", account=account), world.ready("b.test", account=account)
    world.decide(accounts.deactivate, account_id=account.id, thumbprint=account.thumbprint)
    for attempt in (
        lambda: world.order("c.test", account=account),
        lambda: world.accept(account, pending),
        lambda: world.finalize(account, ready),
    ):
        with pytest.raises(Refused) as caught:
            attempt()
        assert caught.value.problem is Problem.UNAUTHORIZED


def test_an_outcome_counts_only_for_the_key_that_was_looked_at() -> None:
    world = World()
    account = world.account()
    order_id = world.order("web.corp.test", account=account)
    world.accept(account, order_id)
    asked = world.asked(order_id)
    mine = replace(asked, thumbprint="my-own-key")
    assert world.decide(validation.validated, order_id, 0, 0, mine, {}) == [
        "challenge.failed",
        "order.invalidated",
    ]


def test_an_account_that_was_closed_meanwhile_proves_nothing() -> None:
    world = World()
    account = world.account()
    order_id = world.order("web.corp.test", account=account)
    world.accept(account, order_id)
    asked = world.asked(order_id)
    world.decide(accounts.deactivate, account_id=account.id, thumbprint=account.thumbprint)
    assert world.decide(validation.validated, order_id, 0, 0, asked, {}) == [
        "challenge.failed",
        "order.invalidated",
    ]
    error = world.row(order_id).error
    assert error is not None
    assert "closed" in error.detail


@pytest.mark.parametrize(
    "other",
    [
        {"identifiers": (Identifier("dns", "victim.corp.test"),)},
        {"policy": "lax"},
        {"profile": "lax"},
        {"account_id": NO_ID},
    ],
)
def test_a_request_held_against_another_order_finalizes_nothing(other: dict[str, Any]) -> None:
    world = World()
    account = world.account()
    order_id = world.ready("web.corp.test", account=account)
    seen = replace(world.row(order_id), **other)
    with pytest.raises(Refused) as refusal:
        world.finalize(account, order_id, held=seen)
    assert refusal.value.status == 500


@pytest.mark.parametrize(
    "other",
    [
        {"account_id": NO_ID},
        {"policy": "lax"},
        {"identifier": Identifier("dns", "mine.corp.test")},
        {"identifier": Identifier("ip", "web.corp.test")},
        {"wildcard": True},
        {"type": "dns-01"},
        {"token": "another"},
    ],
)
def test_a_proof_of_something_else_proves_nothing(other: dict[str, Any]) -> None:
    """What was looked at is what the order says: whose, under which policy, what, and how."""
    world = World()
    account = world.account()
    order_id = world.order("web.corp.test", account=account)
    world.accept(account, order_id)
    asked = replace(world.asked(order_id), **other)
    assert world.decide(validation.validated, order_id, 0, 0, asked, {}) == []
    assert world.decide(validation.failed, order_id, 0, 0, asked, WRONG, {}) == []


def test_what_is_known_already_is_not_to_be_proven() -> None:
    world = World()
    account = world.account()
    known = {"a.test": orders.Known("eab build-farm", solved="dns-01")}
    ways = ("http-01", "dns-01")
    order_id = world.order("a.test", "b.test", account=account, challenges=ways, known=known)
    order = world.row(order_id)
    assert order.status == PENDING
    born, other = order.authorizations
    assert (born.status, other.status) == (VALID, PENDING)
    assert [(one.type, one.status) for one in born.challenges] == [
        ("http-01", PENDING),
        ("dns-01", VALID),
    ]
    world.accept(account, order_id, 1)
    decided = world.decide(validation.validated, order_id, 1, 0, world.asked(order_id, 1), {})
    assert decided == ["challenge.validated", "order.ready"]


def test_an_order_with_nothing_left_to_prove_is_ready_at_once() -> None:
    world = World()
    account = world.account()
    known = {name: orders.Known("eab build-farm", solved="dns-01") for name in ("a.test", "b.test")}
    order_id = world.order("a.test", "b.test", account=account, known=known)
    assert world.row(order_id).status == READY
    assert [one.challenges[0].status for one in world.row(order_id).authorizations] == [VALID] * 2
    assert world.finalize(account, order_id) == ["order.finalized"]


def test_an_order_belongs_to_the_authority_that_was_asked_last() -> None:
    world = World()
    account = world.account()
    order_id = world.ready("a.test", account=account)
    world.finalize(account, order_id)
    world.decide(issuance.submit, order_id, "other-ca", after=0)
    assert world.row(order_id).authority == "other-ca"


def given_up(world: World, account: Account, order_id: str, n: int = 0) -> list[str]:
    return world.decide(
        authorizations.deactivate,
        world.now,
        account_id=account.id,
        thumbprint=account.thumbprint,
        order_id=order_id,
        n=n,
    )


@pytest.mark.parametrize("state", [PENDING, READY, PROCESSING])
def test_with_an_authorization_that_is_given_up_the_order_ends(state: str) -> None:
    world = World()
    account = world.account()
    make = world.order if state == PENDING else world.ready
    order_id = make("a.test", "b.test", account=account)
    if state == PENDING:
        world.accept(account, order_id, 1)
    if state == PROCESSING:
        world.finalize(account, order_id)
    assert given_up(world, account, order_id) == ["authorization.deactivated", "order.invalidated"]
    order = world.row(order_id)
    assert order.status == INVALID
    assert order.authorizations[0].status == DEACTIVATED
    assert world.rows.get(JOBS, f"{order_id}-1-0") is None
    assert world.rows.get(JOBS, order_id) is None
    assert given_up(world, account, order_id) == []


def test_an_authorization_is_given_up_after_its_order_has_its_certificate() -> None:
    world = World()
    account = world.account()
    order_id = world.processing("a.test", account=account)
    assert given_up(world, account, order_id) == ["authorization.deactivated"]
    fact = world.issued_fact(order_id)
    assert world.decide(issuance.issued, world.row(order_id), fact) == ["certificate.issued"]
    assert world.row(order_id).authorizations[0].status == DEACTIVATED


def test_what_has_failed_or_run_out_cannot_be_given_up() -> None:
    world = World()
    account, other = world.account(), world.account()
    failed = world.order("a.test", account=account)
    world.accept(account, failed)
    world.decide(validation.failed, failed, 0, 0, world.asked(failed), WRONG, {})
    late = world.order("a.test", account=account)
    world.now += WEEK
    for order_id, status in ((failed, INVALID), (late, EXPIRED)):
        with pytest.raises(Refused, match=f"is {status} already") as caught:
            given_up(world, account, order_id)
        assert caught.value.problem is Problem.MALFORMED
    with pytest.raises(Refused, match="another account"):
        given_up(world, other, late)
    with pytest.raises(Refused, match="no such authorization"):
        given_up(world, account, late, 1)


def test_an_order_that_ran_out_is_ended_and_only_then() -> None:
    world = World()
    account = world.account()
    pending = world.order("a.test", "b.test", account=account)
    world.accept(account, pending, 0)
    world.accept(account, pending, 1)
    world.decide(validation.validated, pending, 0, 0, world.asked(pending, 0), {})
    ready, done = world.ready("c.test", account=account), world.ready("d.test", account=account)
    world.finalize(account, done)
    every = [pending, ready, done, NO_ID]
    assert world.decide(orders.expire, world.now, every) == []
    world.now += WEEK
    told = orders.visible_error(world.row(ready), world.now)
    assert world.decide(orders.expire, world.now, every) == ["order.expired"] * 2
    order = world.row(pending)
    assert (order.status, world.row(ready).status) == (INVALID, INVALID)
    assert world.row(done).status == PROCESSING
    assert {each.status for each in order.authorizations} == {EXPIRED}
    assert world.rows.get(JOBS, f"{pending}-1-0") is None
    assert orders.visible_error(world.row(ready), world.now) == told
    assert told is not None
    assert "expired" in told.detail
    assert world.decide(orders.expire, world.now, every) == []


def test_what_failed_before_its_time_stays_failed_after_it() -> None:
    world = World()
    account = world.account()
    order_id = world.order("a.test", "b.test", account=account)
    world.accept(account, order_id)
    world.decide(validation.failed, order_id, 0, 0, world.asked(order_id), WRONG, {})
    world.now += WEEK
    order = world.row(order_id)
    assert world.decide(orders.expire, world.now, [order_id]) == []
    shown = [orders.authorization_status(order, one, world.now) for one in order.authorizations]
    assert shown == [INVALID, INVALID]
    assert orders.visible_error(order, world.now) == WRONG


def test_a_proof_counts_as_long_as_its_authorization() -> None:
    world = World()
    account = world.account()
    order_id = world.processing("a.test", account=account)
    world.decide(issuance.issued, world.row(order_id), world.issued_fact(order_id))
    order = world.row(order_id)
    assert orders.authorization_status(order, order.authorizations[0], world.now) == VALID
    world.now += WEEK
    assert orders.authorization_status(order, order.authorizations[0], world.now) == EXPIRED
    assert orders.visible_status(order, world.now) == VALID


def test_a_proof_for_a_key_that_was_given_up_meanwhile_proves_nothing() -> None:
    world = World()
    account = world.account()
    order_id = world.order("web.corp.test", account=account)
    world.accept(account, order_id)
    asked = world.asked(order_id)
    changed = {"new_thumbprint": "new", "new_jwk": {"kty": "OKP"}}
    world.decide(
        accounts.change_key, account_id=account.id, thumbprint=account.thumbprint, **changed
    )
    assert world.decide(validation.validated, order_id, 0, 0, asked, {}) == [
        "challenge.failed",
        "order.invalidated",
    ]
    order = world.rows.get(ORDERS, order_id)
    assert order is not None
    assert order.error is not None
    assert "changed its key" in order.error.detail


def ahead(world: World, account: Account, *names: str, ways: tuple[str, ...] = ("http-01",)):
    return authorizations.known_ahead(
        world.rows,
        world.now,
        account_id=account.id,
        names=names,
        challenges=ways,
        policy="default",
    )


def test_what_was_proven_ahead_of_an_order_is_known_to_it() -> None:
    world = World()
    account, other = world.account(), world.account()
    first = world.order("a.test", account=account, preauthorization=True)
    assert ahead(world, account, "a.test") == {}
    world.prove(account, first)
    rule = orders.Known(f"authorization {first}-0", "http-01")
    assert ahead(world, account, "a.test", "b.test", "*.a.test") == {"a.test": rule}
    # For nobody else, by no way that is not allowed, and not for what was proven in an order.
    assert ahead(world, other, "a.test") == {}
    assert ahead(world, account, "a.test", ways=("dns-01",)) == {}
    world.ready("c.test", account=account)
    assert ahead(world, account, "c.test") == {}
    # The latest counts, once it is proven.
    second = world.order("a.test", account=account, preauthorization=True)
    assert ahead(world, account, "a.test") == {"a.test": rule}
    world.prove(account, second)
    assert ahead(world, account, "a.test")["a.test"].rule == f"authorization {second}-0"
    given_up(world, account, second)
    assert ahead(world, account, "a.test") == {}


def test_a_proof_ahead_of_an_order_counts_under_its_policy_and_in_its_time() -> None:
    world = World()
    account = world.account()
    for policy in ("other", "default"):
        order_id = world.order("a.test", account=account, policy=policy, preauthorization=True)
        world.prove(account, order_id)
        assert bool(ahead(world, account, "a.test")) == (policy == "default")
    world.now += WEEK
    assert ahead(world, account, "a.test") == {}
    world.decide(orders.expire, world.now, [order_id])
    assert ahead(world, account, "a.test") == {}


def test_a_proof_ahead_of_an_order_is_no_order() -> None:
    world = World()
    account = world.account()
    order_id = world.order("a.test", account=account, preauthorization=True)
    world.prove(account, order_id)
    assert orders.of_account(world.rows, order_id, account.id).status == READY
    with pytest.raises(Refused, match="no such order") as caught:
        world.finalize(account, order_id)
    assert caught.value.status == 404


def test_on_a_proof_that_was_given_up_nothing_is_issued_any_more() -> None:
    """RFC 8555 section 7.5.2, also for an order that was made ready by it before."""
    world = World()
    account = world.account()
    proof, other = (
        world.order(name, account=account, preauthorization=True) for name in ("a.test", "b.test")
    )
    world.prove(account, proof)
    world.prove(account, other)
    names = ("a.test", "b.test")
    known = ahead(world, account, *names)
    first, second, third = (world.order(*names, account=account, known=known) for _ in range(3))
    assert [each.rule for each in world.row(first).authorizations] == [
        f"authorization {proof}-0",
        f"authorization {other}-0",
    ]
    assert "order.finalized" in world.finalize(account, first)
    given_up(world, account, other)
    with pytest.raises(Refused, match=r"b\.test was known was deactivated") as caught:
        world.finalize(account, second)
    assert caught.value.problem is Problem.UNAUTHORIZED
    world.rows.delete(ORDERS, proof)
    with pytest.raises(Refused, match=r"a\.test was known was deactivated"):
        world.finalize(account, third)


def test_a_proof_ahead_that_ran_out_since_was_good_when_the_order_was_placed() -> None:
    world = World()
    account = world.account()
    proof = world.order("a.test", account=account, preauthorization=True)
    world.prove(account, proof)
    world.now += timedelta(days=6)
    order_id = world.order("a.test", account=account, known=ahead(world, account, "a.test"))
    world.now += timedelta(days=2)
    world.decide(orders.expire, world.now, [proof])
    assert "order.finalized" in world.finalize(account, order_id)


def test_what_an_administrator_has_granted_was_proven_by_no_challenge() -> None:
    """RFC 8657 section 4: no `validationmethods` names it."""
    world = World()
    account = world.account()
    granted = world.order("a.test", account=account, known={"a.test": orders.Known("eab 1")})
    (authorization,) = world.row(granted).authorizations
    assert (authorization.status, orders.proven_by(authorization)) == (VALID, "")
    proof = world.order("b.test", account=account, preauthorization=True)
    world.prove(account, proof)
    known = world.order("b.test", account=account, known=ahead(world, account, "b.test"))
    for order_id in (proof, known):
        assert orders.proven_by(world.row(order_id).authorizations[0]) == "http-01"
    pending = world.order("c.test", account=account)
    assert orders.proven_by(world.row(pending).authorizations[0]) == ""


def test_a_row_that_leads_to_what_was_proven_in_an_order_is_not_followed() -> None:
    """A wildcard's proof in an order is none of the name below it."""
    world = World()
    account = world.account()
    order_id = world.order("*.a.test", account=account, challenges=("dns-01",))
    world.prove(account, order_id)
    world.rows.put(PREAUTHORIZATIONS, Preauthorization(account.id, "a.test", order_id))
    assert ahead(world, account, "a.test", ways=("dns-01",)) == {}


def test_a_row_that_leads_to_another_accounts_proof_is_not_followed() -> None:
    world = World()
    account, other = world.account(), world.account()
    order_id = world.order("a.test", account=other, preauthorization=True)
    world.prove(other, order_id)
    world.rows.put(PREAUTHORIZATIONS, Preauthorization(account.id, "a.test", order_id))
    world.rows.put(PREAUTHORIZATIONS, Preauthorization(other.id, "b.test", order_id))
    world.rows.put(PREAUTHORIZATIONS, Preauthorization(account.id, "b.test", NO_ID))
    assert ahead(world, account, "a.test", "b.test") == {}
    assert ahead(world, other, "b.test") == {}
