"""An authority's answer may be lost, come late, or have to wait for a person: what follows."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from certeasy.decide import accounts, issuance, revocation, waiting
from events.certificates import CertificateMismatched, CertificateTwinFound
from events.orders import (
    IssuanceAbandoned,
    IssuanceInDoubt,
    IssuancePending,
    IssuanceSearched,
    IssuanceSubmitted,
)
from events.orders import Problem as Told
from projections.accounts import Account
from projections.jobs import JOBS, REVOKE, TWINS, Job
from projections.marks import KEPT, MARKS
from projections.orders import INVALID, PROCESSING, VALID
from projections.revocations import (
    FAILED,
    MISMATCHED,
    PUBLISHED,
    RECORDED,
    REVOCATIONS,
    REVOKED,
    TWIN,
    WAITING,
    Revocation,
    revocation_id,
)
from projections.suspects import SUSPECTS, Suspect
from tests.make.decided import NO_ID, World

DENIED = Told("urn:ietf:params:acme:error:unauthorized", "nobody approved it", 403)
LOST = IssuanceInDoubt(1, "ca", "the connection was cut")


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def account(world: World) -> Account:
    return world.account()


@pytest.fixture
def order_id(world: World, account: Account) -> str:
    return world.processing("a.test", account=account)


def suspect(world: World, order_id: str, attempt: int = 1) -> Suspect | None:
    return world.rows.get(SUSPECTS, f"{order_id}-{attempt}")


def job(world: World, order_id: str, attempt: int = 1) -> Job | None:
    return world.rows.get(JOBS, f"{order_id}-{attempt}")


def given_up(world: World, order_id: str) -> None:
    """Give the first attempt up, and submit a second time."""
    world.decide(
        issuance.submit, order_id, "ca", after=1, outcome="nobody may look", abandoned=True
    )


def twin_of(order_id: str, certificate: bytes = b"twin", attempt: int = 1) -> CertificateTwinFound:
    return CertificateTwinFound(
        order_id, "ca", attempt, "it was found", certificate, "07", "8", publish=True
    )


def kept(world: World, order_id: str, certificate: bytes) -> Revocation:
    row = world.rows.get(REVOCATIONS, order_id, revocation_id(order_id, certificate))
    assert row is not None
    return row


# --- A lost answer


def test_a_lost_answer_is_told_once_for_an_attempt(world: World, order_id: str) -> None:
    assert world.decide(issuance.in_doubt, order_id, LOST) == ["issuance.in-doubt"]
    assert world.decide(issuance.in_doubt, order_id, LOST) == []
    order = world.row(order_id)
    assert (order.status, order.in_doubt, order.doubted) == (PROCESSING, True, True)


def test_its_number_is_told_as_soon_as_it_is_known(world: World, order_id: str) -> None:
    world.decide(issuance.in_doubt, order_id, LOST)
    numbered = replace(LOST, request_id="7")
    assert world.decide(issuance.in_doubt, order_id, numbered) == ["issuance.in-doubt"]
    assert world.decide(issuance.in_doubt, order_id, numbered) == []
    assert world.decide(issuance.in_doubt, order_id, LOST) == []
    assert world.row(order_id).request_id == "7"


def test_another_attempt_says_what_became_of_the_one_before(world: World, order_id: str) -> None:
    world.decide(issuance.in_doubt, order_id, replace(LOST, request_id="7"))
    decided = world.decide(issuance.submit, order_id, "ca", after=1, outcome="it made none")
    assert decided == ["issuance.failed", "issuance.submitted"]
    order = world.row(order_id)
    assert (order.attempt, order.in_doubt, order.doubted, order.request_id) == (2, True, False, "")
    assert suspect(world, order_id) is None


def test_what_cannot_be_told_apart_is_kept_as_a_possible_twin(world: World, order_id: str) -> None:
    decided = world.decide(
        issuance.submit, order_id, "ca", after=1, outcome="nobody may look", abandoned=True
    )
    assert decided == ["issuance.abandoned", "issuance.submitted"]
    found = suspect(world, order_id)
    assert found is not None
    assert (found.attempt, found.csr, found.reason) == (1, b"csr", "nobody may look")
    # It is looked for when it is known which certificate somebody gets.
    assert job(world, order_id) is None
    world.issue(order_id)
    looked_for = job(world, order_id)
    assert looked_for is not None
    assert (looked_for.kind, looked_for.order_id) == (TWINS, order_id)


def test_a_submission_knows_the_highest_number_before_it(world: World, account: Account) -> None:
    first = world.processing("a.test", account=account)
    for number in ("ca\\9", "ca\\10", "ca\\8"):
        world.decide(issuance.in_doubt, first, replace(LOST, request_id=number))
    later = world.processing("b.test", account=account)
    world.decide(issuance.attempt_failed, later, "ca", "away", attempt=1)
    world.decide(issuance.submit, later, "ca", after=1)
    assert world.facts[-1][1] == IssuanceSubmitted(2, "ca", world.row(later).csr_sha256, "ca\\10")
    assert world.row(later).after == "ca\\10"


@pytest.mark.parametrize(
    ("known", "new", "highest"),
    [
        ("9", "10", "10"),
        ("10", "9", "10"),
        ("a\\9", "b\\1", "b\\1"),
        ("x", "y", "y"),
        ("7", "", "7"),
    ],
)
def test_of_two_numbers_the_later_one_counts(
    world: World, order_id: str, known: str, new: str, highest: str
) -> None:
    for number in (known, new):
        world.decide(issuance.in_doubt, order_id, replace(LOST, request_id=number))
    mark = world.rows.get(MARKS, "ca")
    assert mark is not None
    assert mark.request_id == highest


FEW = tuple(str(number) for number in range(1, KEPT + 1))


@pytest.mark.parametrize(
    ("told", "highest"),
    [
        (("4294967290",), "4294967290"),
        (("17", "4294967290"), "17"),
        (("4294967290", "17"), "17"),
        (("17", "4294967290", "18"), "18"),
        (("17", "200000", "300001"), "17"),
        # A CA that others ask as well has come so far:
        (("17", "200000", "200003"), "200003"),
        # What is near enough to be believed is forgotten again:
        (("90000", *FEW), FEW[-1]),
        (("90000", *FEW[:-1]), "90000"),
        # It was restored from a backup:
        (tuple(str(5000 + number) for number in range(20)) + FEW, FEW[-1]),
    ],
)
def test_a_number_that_is_far_above_all_others_is_not_believed_alone(
    world: World, order_id: str, told: tuple[str, ...], highest: str
) -> None:
    """Whoever looks for a request begins behind the mark: behind the end of all, he finds none."""
    for number in told:
        world.decide(issuance.in_doubt, order_id, replace(LOST, request_id=number))
    mark = world.rows.get(MARKS, "ca")
    assert mark is not None
    assert mark.request_id == highest
    assert len(mark.recent) <= KEPT


def test_a_number_that_is_told_again_is_no_news(world: World, account: Account) -> None:
    """Requests that an officer approves after days say nothing of what the CA is at."""
    old = world.processing("old.test", account=account)
    world.decide(issuance.pending, old, IssuancePending(1, "ca", "5"))
    for number in range(100, 100 + KEPT):
        order_id = world.processing(f"n{number}.test", account=account)
        world.decide(issuance.in_doubt, order_id, replace(LOST, request_id=str(number)))
    assert world.decide(issuance.in_doubt, old, replace(LOST, request_id="5"))
    mark = world.rows.get(MARKS, "ca")
    assert mark is not None
    assert "5" not in mark.recent


def test_an_order_in_doubt_for_too_long_fails_and_its_certificate_is_looked_for(
    world: World, order_id: str
) -> None:
    fact = IssuanceAbandoned(1, "ca", "it cannot be asked")
    decided = world.decide(issuance.given_up, order_id, fact, DENIED)
    assert decided == ["issuance.abandoned", "order.invalidated"]
    assert world.row(order_id).status == INVALID
    assert job(world, order_id) is not None
    assert world.decide(issuance.given_up, order_id, fact, DENIED) == []


# --- What comes late


def test_a_certificate_of_an_attempt_that_is_over_is_a_twin(world: World, order_id: str) -> None:
    late = world.issued_fact(order_id)
    held = world.row(order_id)
    given_up(world, order_id)
    decided = world.decide(issuance.issued, held, late, publish=True)
    assert decided == ["certificate.twin-found"]
    order = world.row(order_id)
    assert (order.status, order.attempt, order.in_doubt) == (PROCESSING, 2, True)
    assert suspect(world, order_id) is None
    row = kept(world, order_id, late.certificate)
    assert (row.cause, row.state, row.serial, row.reason) == (TWIN, WAITING, "01", 4)
    # It is told once, and the order goes on.
    assert world.decide(issuance.issued, held, late, publish=True) == []
    own = replace(world.issued_fact(order_id), certificate=b"another")
    assert world.decide(issuance.issued, world.row(order_id), own) == ["certificate.issued"]
    assert job(world, order_id) is None


def test_a_certificate_that_comes_when_its_order_has_one_or_none_is_a_twin(
    world: World, account: Account, order_id: str
) -> None:
    held, fact = world.row(order_id), world.issued_fact(order_id)
    world.issue(order_id)
    other = replace(fact, certificate=b"other")
    assert world.decide(issuance.issued, held, other) == ["certificate.twin-found"]
    assert kept(world, order_id, b"other").state == RECORDED
    failed = world.processing("b.test", account=account)
    held, fact = world.row(failed), world.issued_fact(failed)
    world.decide(issuance.refused, failed, "ca", "no", DENIED, attempt=1)
    assert world.decide(issuance.issued, held, fact) == ["certificate.twin-found"]
    assert world.row(failed).status == INVALID


def test_what_is_not_what_was_ordered_is_recorded_when_it_comes_late(
    world: World, order_id: str
) -> None:
    given_up(world, order_id)
    fact = CertificateMismatched(order_id, "ca", 1, "is for b.test", b"wrong", "08", "9", True)
    assert world.decide(issuance.mismatched, order_id, fact, DENIED) == ["certificate.twin-found"]
    assert kept(world, order_id, b"wrong").detail.endswith("is for b.test")
    assert world.row(order_id).status == PROCESSING


def close(world: World, account: Account) -> None:
    world.decide(accounts.deactivate, account_id=account.id, thumbprint=account.thumbprint)


def test_an_order_whose_account_was_closed_ends_before_it_is_handed_over(
    world: World, account: Account
) -> None:
    """RFC 8555 section 7.3.6."""
    order_id = world.ready("c.test", account=account)
    world.finalize(account, order_id)
    assert world.decide(issuance.closed, order_id, after=0) == []
    close(world, account)
    assert world.decide(issuance.closed, order_id, after=1) == []
    assert world.decide(issuance.closed, order_id, after=0) == ["order.invalidated"]
    assert world.row(order_id).status == INVALID
    assert world.decide(issuance.closed, order_id, after=0) == []


@pytest.mark.parametrize(
    ("abandoned", "told"), [(False, "issuance.failed"), (True, "issuance.abandoned")]
)
def test_what_was_found_out_is_recorded_though_the_account_was_closed(
    world: World, account: Account, order_id: str, abandoned: bool, told: str
) -> None:
    close(world, account)
    named = {"after": 1, "outcome": "nothing was made", "abandoned": abandoned}
    assert world.decide(issuance.closed, order_id, **named) == [told, "order.invalidated"]
    assert not world.row(order_id).in_doubt


def test_what_is_not_what_was_ordered_is_revoked(world: World, order_id: str) -> None:
    fact = CertificateMismatched(order_id, "ca", 1, "is for b.test", b"wrong", "08", "9", True)
    world.decide(issuance.mismatched, order_id, fact, DENIED)
    row = kept(world, order_id, b"wrong")
    assert (row.cause, row.state, row.request_id) == (MISMATCHED, WAITING, "9")
    found = world.rows.get(JOBS, row.id)
    assert found is not None
    assert found.kind == REVOKE


def test_what_is_not_even_an_answer_to_the_request_leaves_its_own_to_be_looked_for(
    world: World, order_id: str
) -> None:
    fact = CertificateMismatched(order_id, "ca", 1, "cannot be read", b"rubbish", "", "9")
    own = IssuanceAbandoned(1, "ca", "what came back is not what it made", "9")
    decided = world.decide(issuance.mismatched, order_id, fact, DENIED, own)
    assert decided == ["issuance.abandoned", "certificate.mismatched", "order.invalidated"]
    found = suspect(world, order_id)
    assert found is not None
    assert (found.request_id, found.csr) == ("9", b"csr")
    assert job(world, order_id) is not None
    assert kept(world, order_id, b"rubbish").state == RECORDED


def test_twins_of_several_attempts_belong_to_one_each(world: World, order_id: str) -> None:
    given_up(world, order_id)
    world.decide(issuance.submit, order_id, "ca", after=2, outcome="the same", abandoned=True)
    world.issue(order_id)
    found = [twin_of(order_id, certificate) for certificate in (b"1", b"2", b"3")]
    decided = world.decide(issuance.twin_found, order_id, found)
    assert decided == ["certificate.twin-found"] * 3
    assert attempts_of_twins(world, 3) == [1, 2, 1]
    assert suspect(world, order_id, 1) is suspect(world, order_id, 2) is None
    assert world.decide(issuance.twin_found, order_id, found) == []


def attempts_of_twins(world: World, twins: int) -> list[int]:
    told = [fact for _, fact in world.facts[-twins:]]
    return [twin.attempt for twin in told if isinstance(twin, CertificateTwinFound)]


def test_a_certificate_that_is_shown_under_two_numbers_is_one_twin(
    world: World, order_id: str
) -> None:
    """It settles one attempt: what the other made is still looked for."""
    given_up(world, order_id)
    world.decide(issuance.submit, order_id, "ca", after=2, outcome="the same", abandoned=True)
    world.issue(order_id)
    found = [twin_of(order_id), replace(twin_of(order_id), request_id="9")]
    assert world.decide(issuance.twin_found, order_id, found) == ["certificate.twin-found"]
    assert suspect(world, order_id, 1) is None
    assert job(world, order_id, 2) is not None


def test_of_further_twins_the_latest_attempts_made_them(world: World, order_id: str) -> None:
    """The first attempt is looked for from the lowest number on: it finds whatever is left."""
    given_up(world, order_id)
    for attempt in (2, 3):
        world.decide(issuance.submit, order_id, "ca", after=attempt, abandoned=True)
    world.issue(order_id)
    found = [twin_of(order_id, certificate, attempt=2) for certificate in (b"2", b"3")]
    world.decide(issuance.twin_found, order_id, found)
    assert attempts_of_twins(world, 2) == [2, 3]
    assert job(world, order_id, 1) is not None
    assert job(world, order_id, 2) is job(world, order_id, 3) is None


def test_twins_at_one_authority_settle_no_attempt_at_another(world: World, order_id: str) -> None:
    world.decide(issuance.submit, order_id, "other", after=1, abandoned=True)
    world.decide(issuance.submit, order_id, "ca", after=2, abandoned=True)
    world.issue(order_id)
    found = [twin_of(order_id, certificate) for certificate in (b"1", b"2")]
    world.decide(issuance.twin_found, order_id, found)
    assert attempts_of_twins(world, 2) == [1, 1]
    assert suspect(world, order_id, 1) is None
    assert job(world, order_id, 2) is not None


def test_a_twin_is_of_an_attempt_that_there_was(world: World, order_id: str) -> None:
    for attempt in (0, 2):
        strange = twin_of(order_id, attempt=attempt)
        assert world.decide(issuance.twin_found, order_id, [strange]) == []
    assert world.decide(issuance.twin_found, NO_ID, [twin_of(NO_ID)]) == []
    own = twin_of(order_id, world.issued_fact(order_id).certificate)
    world.issue(order_id)
    assert world.decide(issuance.twin_found, order_id, [own]) == []


def test_a_twin_that_was_found_is_not_handed_out_later(world: World, order_id: str) -> None:
    given_up(world, order_id)
    fact = world.issued_fact(order_id)
    world.decide(issuance.twin_found, order_id, [twin_of(order_id, fact.certificate)])
    assert world.decide(issuance.issued, world.row(order_id), fact) == []
    assert world.row(order_id).in_doubt


def test_a_late_no_settles_what_became_of_an_attempt(world: World, order_id: str) -> None:
    given_up(world, order_id)
    decided = world.decide(issuance.attempt_failed, order_id, "ca", "it did not run", attempt=1)
    assert decided == ["issuance.searched"]
    assert suspect(world, order_id) is None
    world.issue(order_id)
    assert job(world, order_id) is None
    assert world.decide(issuance.refused, order_id, "ca", "no", DENIED, attempt=1) == []


def test_a_number_that_is_learnt_late_helps_to_look(world: World, order_id: str) -> None:
    given_up(world, order_id)
    late = IssuancePending(1, "ca", "7")
    assert world.decide(issuance.in_doubt, order_id, LOST) == []
    assert world.decide(issuance.pending, order_id, late) == ["issuance.abandoned"]
    assert world.decide(issuance.pending, order_id, late) == []
    found = suspect(world, order_id)
    assert found is not None
    assert (found.request_id, found.csr) == ("7", b"csr")
    world.issue(order_id)
    searched = IssuanceSearched(1, "ca", settled=False, reason="none was found")
    assert world.decide(issuance.searched, order_id, searched) == ["issuance.searched"]
    assert world.decide(issuance.searched, order_id, searched) == []
    assert job(world, order_id) is None
    # Something new is known: it is looked for again.
    later = replace(late, request_id="8")
    decided = world.decide(issuance.not_awaited, order_id, later, "too long", DENIED)
    assert decided == ["issuance.abandoned"]
    assert job(world, order_id) is not None
    settled = IssuanceSearched(1, "ca", settled=True, reason="it was denied")
    assert world.decide(issuance.searched, order_id, settled) == ["issuance.searched"]
    assert suspect(world, order_id) is job(world, order_id) is None


# --- Requests that a person approves


def test_an_order_waits_for_a_person(world: World, order_id: str) -> None:
    fact = IssuancePending(1, "ca", "7")
    assert world.decide(issuance.pending, order_id, fact) == ["issuance.pending"]
    assert world.decide(issuance.pending, order_id, fact) == []
    order = world.row(order_id)
    assert (order.status, order.in_doubt, order.request_id) == (PROCESSING, True, "7")
    assert order.pending
    # Another number for the same request: it has waited since the first one.
    world.now += timedelta(hours=1)
    world.decide(issuance.pending, order_id, replace(fact, request_id="8"))
    assert world.row(order_id).pending == order.pending
    assert world.issue(order_id) == ["certificate.issued"]
    assert world.row(order_id).status == VALID
    assert (world.row(order_id).pending, world.row(order_id).request_id) == ("", "")


@pytest.mark.parametrize("known", [False, True])
def test_an_order_that_is_not_waited_for_fails_and_its_request_is_told(
    world: World, order_id: str, known: bool
) -> None:
    fact = IssuancePending(1, "ca", "7")
    if known:
        world.decide(issuance.pending, order_id, fact)
    decided = world.decide(issuance.not_awaited, order_id, fact, "for too long", DENIED)
    told = ["issuance.pending", "issuance.abandoned", "order.invalidated"]
    assert decided == told[known:]
    order = world.row(order_id)
    assert (order.status, order.error, order.csr) == (INVALID, DENIED, b"")
    # It may be approved later: the request is looked after.
    found = suspect(world, order_id)
    assert found is not None
    assert (found.request_id, found.csr) == ("7", b"csr")
    assert job(world, order_id) is not None
    assert world.decide(issuance.not_awaited, order_id, fact, "again", DENIED) == []


@pytest.mark.parametrize(
    ("passed", "wait"),
    [
        (timedelta(), timedelta(seconds=10)),
        (timedelta(minutes=4), timedelta(minutes=1)),
        (timedelta(minutes=20), timedelta(minutes=5)),
        (timedelta(hours=2), timedelta(minutes=30)),
        (timedelta(days=10), timedelta(hours=1)),
    ],
)
def test_the_longer_it_waits_the_less_often_it_is_asked_for(
    world: World, order_id: str, passed: timedelta, wait: timedelta
) -> None:
    assert waiting.poll(world.row(order_id), world.now) is None
    world.decide(issuance.pending, order_id, IssuancePending(1, "ca", "7"))
    assert waiting.poll(world.row(order_id), world.now + passed) == wait


# --- Revocations and their authorities


def test_an_authority_is_told_of_a_revocation_where_it_takes_any(
    world: World, account: Account
) -> None:
    for publish in (True, False):
        issued = world.issued("a.test", account=account)
        world.decide(
            revocation.by_account,
            world.now,
            certificate_id=issued,
            sha256=world.issued_fact(issued).sha256,
            account_id=account.id,
            thumbprint=account.thumbprint,
            reason=1,
            publish=publish,
        )
        id_ = revocation_id(issued, b"certificate of " + issued.encode())
        row = world.rows.get(REVOCATIONS, issued, id_)
        assert (row is not None) == (world.rows.get(JOBS, id_) is not None) == publish
        if row is not None:
            assert (row.cause, row.state, row.reason) == (REVOKED, WAITING, 1)


def test_a_twin_that_two_orders_have_found_is_revoked_for_each_of_them(world: World) -> None:
    account = world.account()
    found = [world.processing("a.test", account=account) for _ in range(2)]
    for order_id in found:
        world.issue(order_id)
        world.decide(issuance.twin_found, order_id, [twin_of(order_id)])
    for order_id in found:
        id_ = revocation_id(order_id, b"twin")
        assert world.rows.get(JOBS, id_) is not None
        assert world.decide(revocation.published, order_id, id_) == ["revocation.published"]
        assert world.rows.get(JOBS, id_) is None


def test_a_revocation_is_published_or_refused_once(world: World, order_id: str) -> None:
    world.issue(order_id)
    world.decide(issuance.twin_found, order_id, [twin_of(order_id), twin_of(order_id, b"other")])
    first, second = (revocation_id(order_id, each) for each in (b"twin", b"other"))
    assert world.decide(revocation.published, order_id, first) == ["revocation.published"]
    assert world.decide(revocation.published, order_id, first) == []
    assert world.decide(revocation.not_published, order_id, first, "late") == []
    assert kept(world, order_id, b"twin").state == PUBLISHED
    decided = world.decide(revocation.not_published, order_id, second, "access is denied", "0x5")
    assert decided == ["revocation.failed"]
    row = kept(world, order_id, b"other")
    assert (row.state, row.detail) == (FAILED, "access is denied")
    assert world.rows.get(JOBS, first) is world.rows.get(JOBS, second) is None
    assert world.decide(revocation.published, NO_ID, first) == []
