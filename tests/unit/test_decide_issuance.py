"""What follows from what an authority was asked and answered, and who may revoke."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from certeasy.decide import accounts, authorizations, issuance, revocation
from certeasy.decide.problems import Problem, Refused
from events.certificates import CertificateMismatched, CertificateRevoked
from events.orders import Problem as Told
from projections.accounts import Account
from projections.certificates import CERTIFICATES
from projections.jobs import JOBS
from projections.orders import INVALID, PROCESSING, VALID
from tests.make.decided import NO_ID, World

DENIED = Told("urn:ietf:params:acme:error:unauthorized", "the authority said no", 403)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def account(world: World) -> Account:
    return world.account()


def test_an_order_that_was_finalized_is_submitted(world: World, account: Account) -> None:
    order_id = world.ready("a.test", account=account)
    assert world.decide(issuance.submit, order_id, "ca", after=0) == []
    world.finalize(account, order_id)
    assert world.decide(issuance.submit, order_id, "ca", after=0) == ["issuance.submitted"]
    order = world.row(order_id)
    assert (order.attempt, order.in_doubt) == (1, True)


def test_what_was_issued_makes_the_order_valid(world: World, account: Account) -> None:
    order_id = world.processing("a.test", account=account)
    fact = world.issued_fact(order_id)
    assert world.decide(issuance.issued, world.row(order_id), fact) == ["certificate.issued"]
    assert world.facts[-1][0] == f"certificate/{order_id}"
    assert world.row(order_id).status == VALID
    assert world.rows.get(JOBS, order_id) is None
    assert world.rows.get(CERTIFICATES, order_id) is not None


@pytest.mark.parametrize(
    "other",
    [{"policy": "lax"}, {"profile": "lax"}, {"account_id": NO_ID}, {"csr": b"another key's"}],
)
def test_a_certificate_held_against_another_order_is_not_recorded(
    world: World, account: Account, other: dict[str, Any]
) -> None:
    order_id = world.processing("a.test", account=account)
    seen = msgspec.structs.replace(world.row(order_id), **other)
    assert world.decide(issuance.issued, seen, world.issued_fact(order_id)) == []


def test_one_order_has_one_certificate(world: World, account: Account) -> None:
    order_id = world.processing("a.test", account=account)
    fact = world.issued_fact(order_id)
    world.decide(issuance.issued, world.row(order_id), fact)
    assert world.decide(issuance.issued, world.row(order_id), fact) == []
    assert world.decide(issuance.submit, order_id, "ca", after=1) == []
    assert world.decide(issuance.refused, order_id, "ca", "late", DENIED, attempt=1) == []
    assert world.decide(issuance.attempt_failed, order_id, "ca", "late", attempt=1) == []


def test_what_was_not_ordered_is_given_to_nobody(world: World, account: Account) -> None:
    order_id = world.processing("a.test", account=account)
    fact = CertificateMismatched(order_id, "ca", 1, "is for b.test", b"certificate")
    decided = world.decide(issuance.mismatched, order_id, fact, DENIED)
    assert decided == ["certificate.mismatched", "order.invalidated"]
    assert world.row(order_id).status == INVALID
    assert world.rows.get(CERTIFICATES, order_id) is None
    assert world.decide(issuance.mismatched, order_id, fact, DENIED) == []


def test_an_attempt_that_failed_may_be_followed_by_another(world: World, account: Account) -> None:
    order_id = world.processing("a.test", account=account)
    assert world.decide(issuance.attempt_failed, order_id, "ca", "away", attempt=1) == [
        "issuance.failed"
    ]
    order = world.row(order_id)
    assert (order.status, order.in_doubt) == (PROCESSING, False)
    world.decide(issuance.submit, order_id, "ca", after=1)
    assert world.row(order_id).attempt == 2


def test_an_attempt_that_is_over_says_nothing_about_a_later_one(
    world: World, account: Account
) -> None:
    order_id = world.processing("a.test", account=account)
    world.decide(issuance.submit, order_id, "other", after=1)
    for late in (issuance.attempt_failed, issuance.refused):
        told = (DENIED,) if late is issuance.refused else ()
        assert world.decide(late, order_id, "ca", "late", *told, attempt=1) == []
    assert world.decide(issuance.submit, order_id, "ca", after=1) == []
    order = world.row(order_id)
    assert (order.attempt, order.authority, order.in_doubt) == (2, "other", True)


def test_a_refusal_ends_the_order_with_its_reason(world: World, account: Account) -> None:
    order_id = world.processing("a.test", account=account)
    decided = world.decide(
        issuance.refused, order_id, "ca", "denied by policy module", DENIED, attempt=1
    )
    assert decided == ["issuance.failed", "order.invalidated"]
    order = world.row(order_id)
    assert (order.status, order.error) == (INVALID, DENIED)
    assert world.rows.get(JOBS, order_id) is None


def test_an_order_that_never_was_has_no_outcome(world: World) -> None:
    assert world.decide(issuance.submit, NO_ID, "ca", after=0) == []
    assert world.decide(issuance.attempt_failed, NO_ID, "ca", "x", attempt=1) == []


# --- Revocation


@pytest.fixture
def issued(world: World, account: Account) -> str:
    order_id = world.processing("a.test", account=account)
    world.decide(issuance.issued, world.row(order_id), world.issued_fact(order_id))
    return order_id


def by_account(
    world: World,
    account: Account,
    certificate_id: str,
    reason: int = 0,
    proven: tuple[str, ...] = (),
) -> list[str]:
    return world.decide(
        revocation.by_account,
        world.now,
        certificate_id=certificate_id,
        sha256=world.sha256_of(certificate_id),
        account_id=account.id,
        thumbprint=account.thumbprint,
        reason=reason,
        proven=proven,
    )


def by_key(world: World, certificate_id: str, spki_sha256: str) -> list[str]:
    return world.decide(
        revocation.by_certificate_key,
        certificate_id=certificate_id,
        sha256=world.sha256_of(certificate_id),
        spki_sha256=spki_sha256,
        reason=1,
    )


@pytest.mark.parametrize("reason", revocation.REASONS)
def test_its_account_revokes_a_certificate(
    world: World, account: Account, issued: str, reason: int
) -> None:
    assert by_account(world, account, issued, reason) == ["certificate.revoked"]
    row = world.rows.get(CERTIFICATES, issued)
    assert row is not None
    assert (row.reason, bool(row.revoked)) == (reason, True)
    assert world.row(issued).status == VALID


@pytest.mark.parametrize("publish", [True, False])
def test_whoever_runs_the_server_revokes_a_certificate_once(
    world: World, issued: str, publish: bool
) -> None:
    def revoke(reason: int, sha256: str = world.sha256_of(issued)) -> list[str]:
        return world.decide(
            revocation.by_administrator,
            certificate_id=issued,
            sha256=sha256,
            reason=reason,
            publish=publish,
        )

    with pytest.raises(Refused, match="Reason 6 is not accepted"):
        revoke(6)
    with pytest.raises(Refused, match="Another certificate"):
        revoke(1, "0" * 64)
    assert revoke(1) == ["certificate.revoked"]
    fact = world.facts[-1][1]
    assert isinstance(fact, CertificateRevoked)
    assert (fact.by, fact.reason, fact.publish) == ("administrator", 1, publish)
    assert revoke(4) == []


def test_the_holder_of_its_key_revokes_a_certificate(world: World, issued: str) -> None:
    with pytest.raises(Refused) as caught:
        by_key(world, issued, "another key")
    assert caught.value.problem is Problem.UNAUTHORIZED
    assert by_key(world, issued, f"spki-of-{issued}") == ["certificate.revoked"]


def test_a_certificate_is_revoked_once(world: World, account: Account, issued: str) -> None:
    by_account(world, account, issued)
    for again in (
        lambda: by_account(world, account, issued),
        lambda: by_key(world, issued, f"spki-of-{issued}"),
    ):
        with pytest.raises(Refused) as caught:
            again()
        assert caught.value.problem is Problem.ALREADY_REVOKED


@pytest.mark.parametrize("reason", [-1, 6, 7, 8, 11])
def test_other_reasons_are_none(world: World, account: Account, issued: str, reason: int) -> None:
    with pytest.raises(Refused, match="0, 1, 2, 3, 4, 5, 9, 10") as caught:
        by_account(world, account, issued, reason)
    assert caught.value.problem is Problem.BAD_REVOCATION_REASON


def test_another_account_or_one_that_left_revokes_nothing(
    world: World, account: Account, issued: str
) -> None:
    with pytest.raises(Refused, match="another account") as caught:
        by_account(world, world.account(), issued)
    assert caught.value.problem is Problem.UNAUTHORIZED
    world.decide(accounts.deactivate, account_id=account.id, thumbprint=account.thumbprint)
    with pytest.raises(Refused, match="deactivated"):
        by_account(world, account, issued)


def with_proof(world: World, account: Account, *names: str) -> str:
    order_id = world.order(*names, account=account, challenges=("dns-01",))
    world.prove(account, order_id)
    return order_id


def test_who_controls_all_names_of_a_certificate_revokes_it(world: World, account: Account) -> None:
    issued = with_proof(world, account, "a.test", "*.a.test")
    world.finalize(account, issued, submit_now=True)
    world.decide(issuance.issued, world.row(issued), world.issued_fact(issued))
    other = world.account()
    apex, wildcard = (with_proof(world, other, name) for name in ("a.test", "*.a.test"))
    strangers = with_proof(world, world.account(), "*.a.test")
    pending = world.order("*.a.test", account=other)
    for proven in ((), (apex,), (wildcard,), (apex, strangers), (apex, pending), (apex, NO_ID)):
        with pytest.raises(Refused, match="authorizations for all of its names"):
            by_account(world, other, issued, 1, proven)
    assert by_account(world, other, issued, 1, (apex, wildcard)) == ["certificate.revoked"]
    assert world.facts[-1][1] == CertificateRevoked(
        issued, "01", 1, "authorizations", ("a.test", "*.a.test")
    )


def test_what_was_given_up_or_ran_out_revokes_nothing(
    world: World, account: Account, issued: str
) -> None:
    other = world.account()
    given_up, late = (world.ready("a.test", account=other) for _ in range(2))
    world.decide(
        authorizations.deactivate,
        world.now,
        account_id=other.id,
        thumbprint=other.thumbprint,
        order_id=given_up,
        n=0,
    )
    with pytest.raises(Refused, match="another account"):
        by_account(world, other, issued, proven=(given_up,))
    world.now += timedelta(days=7)
    with pytest.raises(Refused, match="another account"):
        by_account(world, other, issued, proven=(late,))
    assert by_account(world, account, issued) == ["certificate.revoked"]


def test_another_certificate_than_the_one_that_was_sent_is_not_revoked(
    world: World, account: Account, issued: str
) -> None:
    """It was found in a table; what is decided on is what the log says of it."""
    other = {"certificate_id": issued, "sha256": world.sha256_of(NO_ID), "reason": 0}
    mine = {"account_id": account.id, "thumbprint": account.thumbprint}
    for attempt in (
        lambda: world.decide(revocation.by_account, world.now, **other, **mine),
        lambda: world.decide(
            revocation.by_certificate_key, **other, spki_sha256=f"spki-of-{issued}"
        ),
    ):
        with pytest.raises(Refused, match="Another certificate was found") as caught:
            attempt()
        assert caught.value.problem is Problem.SERVER_INTERNAL


def test_what_was_not_issued_here_is_not_found(world: World, account: Account) -> None:
    for attempt in (lambda: by_account(world, account, NO_ID), lambda: by_key(world, NO_ID, "x")):
        with pytest.raises(Refused) as caught:
            attempt()
        assert (caught.value.problem, caught.value.status) == (Problem.MALFORMED, 404)
