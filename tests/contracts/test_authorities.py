"""What every authority promises, and what every CA at the other end of a line promises besides."""

import contextlib
import threading
from datetime import timedelta
from typing import Literal, Protocol, get_args

import pytest

from certeasy.ca import (
    Authority,
    DenialProblem,
    Denied,
    InDoubt,
    Issued,
    Pending,
    Revocation,
    RevocationRefused,
    Submission,
    Trace,
    Unavailable,
    Untraceable,
)
from certeasy.ca.embedded import EmbeddedAuthority, generate
from certeasy.clock import SystemClock
from certeasy.decide.certificates import check_issued
from certeasy.ids import RandomIds
from certeasy.settings import CsrRules, EmbeddedSettings
from tests.fakes.far_authority import FarAuthority, FarCa, serial_of
from tests.make.csrs import a_csr, p256

NAME = "web.lab.test"
NODE = "00000000-0000-4000-8000-000000000001"


def a_submission(number: int = 1, *, attempt: int = 1) -> Submission:
    """Return a submission with a key of its own, for a name of its own."""
    name = f"web{number}.lab.test"
    order_id = f"{number:026d}"
    return Submission(order_id, attempt, a_csr(name, key=p256(number)), (name,), NODE)


def check(authority: Authority, submission: Submission, outcome: object) -> Issued:
    """Hold an outcome against what was asked for; return it as the certificate that it is."""
    assert isinstance(outcome, Issued)
    check_issued(
        outcome.certificate,
        issuers=authority.issuers(),
        names=submission.names,
        request=submission.csr,
        rules=CsrRules(),
        max_validity=None,
        now=SystemClock().now(),
    )
    return outcome


class AuthorityContract:
    """`authority` is one."""

    def test_what_is_asked_for_is_issued_under_its_own_issuers(self, authority: Authority) -> None:
        submission = a_submission()
        outcome = authority.submit(submission)
        check(authority, submission, outcome)

    def test_many_ask_at_once_and_each_gets_his_own(self, authority: Authority) -> None:
        together, outcomes = threading.Barrier(6), dict[int, object]()

        def ask(number: int) -> None:
            together.wait()
            outcomes[number] = authority.submit(a_submission(number))

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(1, 7)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        serials = {
            serial_of(check(authority, a_submission(number), outcome).certificate)
            for number, outcome in outcomes.items()
        }
        assert len(serials) == 6

    def test_a_probe_is_answered(self, authority: Authority) -> None:
        authority.probe()

    def test_a_request_that_it_does_not_know_is_denied(self, authority: Authority) -> None:
        outcome = authority.poll(a_submission(), "999999")
        assert isinstance(outcome, Denied)
        assert "999999" in outcome.reason

    def test_what_was_never_submitted_made_nothing(self, authority: Authority) -> None:
        with contextlib.suppress(Untraceable):
            assert authority.recover(a_submission(), Trace()) is None
        assert authority.twins(a_submission(), Trace(), "") == ()


class TestEmbedded(AuthorityContract):
    """The CA inside the server."""

    @pytest.fixture
    def authority(self) -> Authority:
        return embedded()


def embedded() -> EmbeddedAuthority:
    clock = SystemClock()
    settings, ids = EmbeddedSettings(), RandomIds(clock)
    return EmbeddedAuthority("lab-ca", generate(settings, clock, ids), settings, clock, ids)


Fate = Literal["lost", "cut before", "pending", "denied"]


class Far(Protocol):
    """A CA, as a test has it do things: the next request ends so; all is as the CA's own records
    tell."""

    authority: Authority

    def next(self, fate: Fate) -> None: ...

    def away(self, *, away: bool) -> None: ...

    def approve(self) -> None: ...

    def deny(self) -> None: ...

    def issued(self) -> list[bytes]: ...

    def revoked(self) -> dict[str, int]: ...


def revocation_of(certificate: bytes) -> Revocation:
    return Revocation(certificate, serial_of(certificate), 4, SystemClock().now())


class FarContract(AuthorityContract):
    """`far` is a CA at the other end of a line, and its connector."""

    @pytest.fixture
    def authority(self, far: Far) -> Authority:
        return far.authority

    def test_it_is_asked_by_workers(self, far: Far) -> None:
        assert not far.authority.in_process

    def test_everything_that_it_issues_has_a_number(self, far: Far) -> None:
        first, second = (far.authority.submit(a_submission(number)) for number in (1, 2))
        assert isinstance(first, Issued)
        assert isinstance(second, Issued)
        assert first.request_id
        assert second.request_id
        assert first.request_id != second.request_id
        again = far.authority.poll(a_submission(2), second.request_id)
        assert check(far.authority, a_submission(2), again).certificate == second.certificate

    def test_a_request_waits_for_a_person(self, far: Far) -> None:
        far.next("pending")
        submission = a_submission()
        outcome = far.authority.submit(submission)
        assert isinstance(outcome, Pending)
        assert outcome.retry_after >= timedelta()
        asked = far.authority.poll(submission, outcome.request_id)
        assert isinstance(asked, Pending)
        assert asked.request_id == outcome.request_id
        assert far.issued() == []
        far.approve()
        issued = far.authority.poll(submission, outcome.request_id)
        check(far.authority, submission, issued)
        again = far.authority.poll(submission, outcome.request_id)
        assert check(far.authority, submission, again) == issued
        assert len(far.issued()) == 1

    def test_a_person_denies_a_request(self, far: Far) -> None:
        far.next("pending")
        outcome = far.authority.submit(a_submission())
        assert isinstance(outcome, Pending)
        far.deny()
        denied = far.authority.poll(a_submission(), outcome.request_id)
        self.check_denied(denied)

    def test_a_denial_is_told_safely_and_fully(self, far: Far) -> None:
        far.next("denied")
        self.check_denied(far.authority.submit(a_submission()))
        assert far.issued() == []

    def check_denied(self, denied: object) -> None:
        assert isinstance(denied, Denied)
        assert denied.problem in get_args(DenialProblem)
        assert denied.reason
        assert denied.reason_for_client
        assert "Kurt" not in denied.reason_for_client
        if denied.code is not None:
            assert denied.code.startswith("0x")

    def test_where_nobody_answers_nothing_was_issued(self, far: Far) -> None:
        issued = far.authority.submit(a_submission())
        assert isinstance(issued, Issued)
        far.away(away=True)
        with pytest.raises(Unavailable) as told:
            far.authority.submit(a_submission(2))
        assert told.value.sick
        with pytest.raises(Unavailable):
            far.authority.poll(a_submission(), issued.request_id or "")
        with pytest.raises(Unavailable):
            far.authority.probe()
        with pytest.raises(Unavailable):
            far.authority.revoke(revocation_of(issued.certificate))
        far.away(away=False)
        check(far.authority, a_submission(3), far.authority.submit(a_submission(3)))
        assert len(far.issued()) == 2

    @pytest.mark.parametrize("fate", ["lost", "cut before"])
    def test_an_answer_that_is_lost_is_told_apart_or_is_said_to_be_lost_for_good(
        self, far: Far, fate: Fate
    ) -> None:
        before = far.authority.submit(a_submission())
        assert isinstance(before, Issued)
        after = before.request_id or ""
        submission = a_submission(2)
        far.next(fate)
        with pytest.raises(InDoubt) as doubt:
            far.authority.submit(submission)
        trace = Trace(doubt.value.request_id or "", after)
        signed = far.issued()[1:]
        assert len(signed) == (fate == "lost")
        try:
            outcome = far.authority.recover(submission, trace)
        except Untraceable:
            again = far.authority.submit(replaced := a_submission(2, attempt=2))
            known = check(far.authority, replaced, again)
            found = far.authority.twins(submission, trace, known.request_id or "")
            assert [each.certificate for each in found] in ([], signed)
        else:
            assert (outcome is None) == (fate == "cut before")
            if outcome is not None:
                assert check(far.authority, submission, outcome).certificate in far.issued()
            assert len(far.issued()) == 1 + len(signed)

    def test_what_is_revoked_is_revoked_there_once_or_more(self, far: Far) -> None:
        issued = far.authority.submit(a_submission())
        assert isinstance(issued, Issued)
        assert far.authority.revokes
        far.authority.revoke(revocation_of(issued.certificate))
        far.authority.revoke(revocation_of(issued.certificate))
        assert far.revoked() == {serial_of(issued.certificate): 4}

    def test_what_it_never_issued_it_does_not_revoke(self, far: Far) -> None:
        other = embedded().submit(a_submission())
        assert isinstance(other, Issued)
        with pytest.raises(RevocationRefused) as told:
            far.authority.revoke(revocation_of(other.certificate))
        assert told.value.reason


class FakeFar:
    """The fake, as the contract has it."""

    def __init__(self, authority: FarAuthority) -> None:
        self.authority: Authority = authority
        self._ca = authority.ca

    def next(self, fate: Fate) -> None:
        self._ca.next(fate)

    def away(self, *, away: bool) -> None:
        self._ca.away = away

    def approve(self) -> None:
        self._ca.approve(len(self._ca.requests))

    def deny(self) -> None:
        self._ca.deny(len(self._ca.requests))

    def issued(self) -> list[bytes]:
        return self._ca.certificates()

    def revoked(self) -> dict[str, int]:
        return self._ca.revoked


class TestFake(FarContract):
    """The fake that the tests of orders use, with a CA whose records may be seen."""

    @pytest.fixture
    def far(self) -> Far:
        return FakeFar(FarAuthority(FarCa(embedded())))


class TestFakeThatShowsNothing(FarContract):
    """The same, with a CA that lets nobody look."""

    @pytest.fixture
    def far(self) -> Far:
        return FakeFar(FarAuthority(FarCa(embedded()), probes=False, shows=False))


class TestFakeThatShowsTwins(FarContract):
    """The same, with a CA whose records are looked at afterwards."""

    @pytest.fixture
    def far(self) -> Far:
        return FakeFar(FarAuthority(FarCa(embedded()), probes=False))
