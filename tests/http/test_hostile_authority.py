"""A CA, or whoever sits before it, that wants more certificates made than were ordered, somebody
else's certificate revoked, or an old one handed out, gets nothing of it."""

import contextlib
import threading
from datetime import timedelta
from pathlib import Path

from certeasy.ca import Issued, Outcome, Submission
from certeasy.decide.csr import MAX_BYTES
from certeasy.jobs.workers import TryAgain
from projections.jobs import ISSUE, Job
from tests.fakes.far_authority import FarAuthority, Fate, Request, serial_of
from tests.make.csrs import a_csr, p256
from tests.make.far_lab import FarLab, a_far_lab, evidence

LOST: list[Fate] = ["lost"] * 50


def somebody_else_s(lab: FarLab, name: str, key: int) -> Request:
    """Have the CA issue a certificate of which this server knows nothing."""
    asked = Submission("", 1, a_csr(name, key=p256(key)), (name,), "another server")
    request, _ = lab.ca.take(asked)
    assert request is not None
    return request


def another_worker(lab: FarLab, order_id: str) -> threading.Thread:
    """Have another one take up the job of an order."""
    row = lab.order(order_id)
    job = Job(order_id, ISSUE, order_id, row.account_id, row.position)

    def perform() -> None:
        with contextlib.suppress(TryAgain):
            lab.server.workers._perform[ISSUE](job, 2, False)

    thread = threading.Thread(target=perform)
    thread.start()
    return thread


def days_go_by(lab: FarLab) -> None:
    """Let workers do whatever there is to do."""
    busy = lab.server.workers
    for _ in range(30):
        lab.pass_by(hours=2)
        lab.until(lambda: not busy._busy and not busy._ready, seconds=1)


def test_who_loses_every_answer_gets_a_handful_of_certificates_made(tmp_path: Path) -> None:
    with a_far_lab(tmp_path, probes=False, shows=False) as lab:
        lab.ca.next(*LOST)
        order_id = lab.finalized(lab.a_client())
        lab.ends(order_id, "invalid")
        assert lab.story(order_id)[-1] == "issuance.abandoned"
        assert len(lab.ca.certificates()) == 5
        assert lab.order(order_id).abandoned == (1, 2, 3, 4, 5)


def test_an_answer_that_is_lost_again_after_the_time_for_waiting_was_the_last(
    tmp_path: Path,
) -> None:
    with a_far_lab(tmp_path, probes=False, shows=False) as lab:
        lab.ca.next(*LOST)
        gate = lab.ca.hold()
        order_id = lab.finalized(lab.a_client())
        assert lab.ca.told_slowly.acquire(timeout=10)
        lab.clock.pass_by(timedelta(hours=2).total_seconds())
        gate.set()
        lab.ends(order_id, "invalid")
        assert len(lab.ca.certificates()) <= 2


def test_a_ca_that_was_restored_has_nobody_s_certificate_revoked(tmp_path: Path) -> None:
    """Its numbers are given once more: what was pending here is somebody else's now."""
    with a_far_lab(tmp_path) as lab:
        lab.ca.next("pending")
        order_id = lab.finalized(lab.a_client())
        lab.tells(order_id, "issuance.pending")
        lab.ca.requests.clear()
        theirs = somebody_else_s(lab, "dc1.lab.test", 9)
        lab.ends(order_id, "invalid")
        days_go_by(lab)
        assert lab.ca.requests == [theirs]
        assert lab.ca.revoked == {}
        told = evidence(lab.tells(order_id, "certificate.mismatched"))
        assert told["serial"] == serial_of(theirs.certificate)


def test_who_uses_the_same_key_elsewhere_keeps_his_certificate(tmp_path: Path) -> None:
    with a_far_lab(tmp_path, probes=False) as lab:
        lab.ca.next("cut before")
        gate = lab.ca.hold()
        order_id = lab.finalized(lab.a_client(), key=7)
        assert lab.ca.told_slowly.acquire(timeout=10)
        somebody_else_s(lab, "mail.elsewhere.test", 7)
        gate.set()
        lab.ends(order_id, "valid")
        searched = lab.tells(order_id, "issuance.searched", minutes=3)
        assert evidence(searched)["settled"] is False
        days_go_by(lab)
        assert lab.ca.revoked == {}


class _TheFirstAgain(FarAuthority):
    """Answers every request with the first certificate that it ever issued."""

    def submit(self, submission: Submission) -> Outcome:
        super().submit(submission)
        first = self.ca.requests[0].issued
        assert first is not None
        return first


def test_a_certificate_is_given_once(tmp_path: Path) -> None:
    with a_far_lab(tmp_path) as lab:
        client = lab.a_client()
        first = lab.finalized(client, key=3)
        lab.ends(first, "valid")
        lab.server.authorities["lab-ca"] = _TheFirstAgain(lab.ca)
        second = lab.finalized(client, key=3)
        lab.ends(second, "invalid")
        told = evidence(lab.tells(second, "certificate.mismatched"))
        assert told["reason"] == "was there before this attempt"
        # What was made for the second is looked for; the first one's stays as it is.
        lab.tells(second, "revocation.published", minutes=1)
        assert list(lab.ca.revoked) == [serial_of(lab.ca.certificates()[1])]
        assert lab.order(first).status == "valid"


def test_a_twin_that_is_to_be_revoked_is_not_handed_out_later(tmp_path: Path) -> None:
    """It came late, and the answer to the next attempt was lost: it is what the CA shows."""
    with a_far_lab(tmp_path, probes=False, shows=False) as lab:
        gates = [lab.ca.hold(), lab.ca.hold()]
        lab.ca.next("issued", "cut before")
        order_id = lab.finalized(lab.a_client())
        assert lab.ca.told_slowly.acquire(timeout=10)
        another = another_worker(lab, order_id)
        assert lab.ca.told_slowly.acquire(timeout=10)
        gates[0].set()
        lab.tells(order_id, "certificate.twin-found")
        lab.server.authorities["lab-ca"] = FarAuthority(lab.ca)
        gates[1].set()
        another.join()
        lab.ends(order_id, "valid")
        first, second = lab.ca.certificates()
        assert lab.given() == [second]
        lab.tells(order_id, "revocation.published", minutes=1)
        assert list(lab.ca.revoked) == [serial_of(first)]


class _Large(FarAuthority):
    """Answers with a certificate that no line of the log has room for."""

    def submit(self, submission: Submission) -> Outcome:
        answer = super().submit(submission)
        assert isinstance(answer, Issued)
        return Issued(answer.certificate + bytes(1 << 20), (), answer.request_id)


def test_a_certificate_of_a_megabyte_ends_its_order(tmp_path: Path) -> None:
    with a_far_lab(tmp_path) as lab:
        lab.server.authorities["lab-ca"] = _Large(lab.ca)
        order_id = lab.finalized(lab.a_client())
        lab.ends(order_id, "invalid")
        assert len(lab.ca.certificates()) == 1
        told = evidence(lab.tells(order_id, "certificate.mismatched"))
        size = len(lab.ca.certificates()[0]) + (1 << 20)
        assert told["reason"] == f"has {size} bytes; at most {MAX_BYTES} are taken"
        # What it made is asked for by its number.
        lab.tells(order_id, "certificate.twin-found", minutes=1)
