"""An answer of the authority is lost, or comes late: no order is lost by it, and no certificate."""

import contextlib
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from certeasy.ca import Issued, Submission, Trace
from certeasy.jobs.workers import TryAgain
from projections.jobs import ISSUE, Job
from projections.suspects import SUSPECTS
from tests.fakes.far_authority import FarAuthority, FarCa, Fate, serial_of
from tests.make.far_lab import FarLab, a_far_lab, evidence
from tests.make.waiting import soon

FOUND = ["issuance.submitted", "issuance.in-doubt", "certificate.issued"]
AGAIN = [
    "issuance.submitted",
    "issuance.in-doubt",
    "issuance.abandoned",
    "issuance.submitted",
    "certificate.issued",
]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[FarLab]:
    """A CA whose records may be seen."""
    with a_far_lab(tmp_path) as lab:
        yield lab


@pytest.fixture
def blind(tmp_path: Path) -> Iterator[FarLab]:
    """A CA that lets nobody look, neither before another submission nor later."""
    with a_far_lab(tmp_path, probes=False, shows=False) as lab:
        yield lab


@pytest.mark.parametrize("fate", ["lost", "numbered"])
def test_what_was_issued_is_found_and_given_to_its_order(lab: FarLab, fate: Fate) -> None:
    lab.ca.next(fate)
    order_id = lab.finalized(lab.a_client())
    lab.ends(order_id, "valid")
    assert lab.story(order_id) == FOUND
    assert lab.given() == lab.ca.certificates()
    lab.check()


def test_what_never_arrived_is_submitted_again(lab: FarLab) -> None:
    lab.ca.next("cut before")
    order_id = lab.finalized(lab.a_client())
    lab.ends(order_id, "valid")
    told = ["issuance.submitted", "issuance.in-doubt", "issuance.failed", "issuance.submitted"]
    assert lab.story(order_id) == [*told, "certificate.issued"]
    lab.check()


def test_a_request_that_waits_for_a_person_is_found(lab: FarLab) -> None:
    lab.ca.next("pending lost")
    order_id = lab.finalized(lab.a_client())
    lab.tells(order_id, "issuance.pending")
    lab.ca.approve(1)
    lab.ends(order_id, "valid")
    lab.check()


def test_the_authority_is_asked_for_what_came_after_the_last_number_known(lab: FarLab) -> None:
    client = lab.a_client()
    for number in range(3):
        lab.ends(lab.finalized(client, f"web{number}.lab.test"), "valid")
    lab.ca.next("lost")
    order_id = lab.finalized(client)
    submitted = lab.tells(order_id, "issuance.submitted")
    assert evidence(submitted)["after"] == "lab\\3"
    lab.ends(order_id, "valid")
    assert lab.order(order_id).after == ""
    lab.check()


def test_where_it_cannot_be_told_the_order_goes_on_and_its_twin_is_found_and_revoked(
    tmp_path: Path,
) -> None:
    with a_far_lab(tmp_path, probes=False) as lab:
        lab.ca.next("lost")
        order_id = lab.finalized(lab.a_client())
        lab.ends(order_id, "valid")
        lab.tells(order_id, "revocation.published", seconds=15)
        assert lab.story(order_id) == [*AGAIN, "certificate.twin-found", "revocation.published"]
        first, second = lab.ca.certificates()
        assert lab.given() == [second]
        assert lab.ca.revoked == {serial_of(first): 4}
        lab.check()


class _OneMoreEachTime(FarAuthority):
    """Shows one certificate to the first search; to the next also another, when the first was
    revoked."""

    def __init__(self, ca: FarCa) -> None:
        super().__init__(ca, probes=False)
        self._searches = itertools.count(1)

    def twins(self, submission: Submission, trace: Trace, known: str) -> tuple[Issued, ...]:
        search = next(self._searches)
        if search > 1:
            soon(lambda: self.ca.revoked)
        return super().twins(submission, trace, known)[:search]


def test_a_twin_is_told_aloud_once_though_two_searches_see_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with a_far_lab(tmp_path) as lab:
        lab.server.authorities["lab-ca"] = _OneMoreEachTime(lab.ca)
        lab.ca.next("lost", "lost")
        order_id = lab.finalized(lab.a_client())
        lab.ends(order_id, "valid")
        twins = {serial_of(each) for each in lab.ca.certificates()[:2]}
        soon(lambda: set(lab.ca.revoked) == twins and not lab.server.workers._busy)
        lab.check()
    told = [line for line in caplog.messages if "beside the one that was given" in line]
    assert sorted(serial for serial in twins for line in told if serial in line) == sorted(twins)


@pytest.mark.parametrize("fate", ["lost", "cut before"])
def test_where_nobody_may_look_the_possible_twin_stays_listed(blind: FarLab, fate: Fate) -> None:
    blind.ca.next(fate)
    order_id = blind.finalized(blind.a_client())
    blind.ends(order_id, "valid")
    searched = blind.tells(order_id, "issuance.searched", minutes=3)
    assert evidence(searched)["settled"] is False
    assert blind.story(order_id) == [*AGAIN, "issuance.searched"]
    suspect = blind.server.committer.get(SUSPECTS, f"{order_id}-1")
    assert suspect is not None
    assert suspect.searched
    assert blind.ca.revoked == {}


def test_a_crash_right_after_a_submission_is_a_lost_answer(tmp_path: Path) -> None:
    with a_far_lab(tmp_path) as lab:
        gate = lab.ca.hold()
        order_id = lab.finalized(lab.a_client())
        assert lab.ca.told_slowly.acquire(timeout=10)
        ca, clock = lab.ca, lab.clock
        lab.server.committer.stop()  # nothing can be recorded any more, as after a kill
        gate.set()
        soon(lambda: lab.server.workers.waiting() == 0 or not lab.server.workers._busy)
    with a_far_lab(tmp_path, ca=ca, clock=clock) as lab:
        lab.ends(order_id, "valid")
        assert lab.story(order_id) == ["issuance.submitted", "certificate.issued"]
        assert lab.given() == ca.certificates()
        lab.check()


def test_a_worker_that_comes_back_late_brings_a_twin(tmp_path: Path) -> None:
    """Its claim has run out, and another worker, perhaps of another node, has gone on."""
    with a_far_lab(tmp_path, probes=False) as lab:
        gate = lab.ca.hold()
        order_id = lab.finalized(lab.a_client())
        assert lab.ca.told_slowly.acquire(timeout=10)
        row = lab.order(order_id)
        job = Job(order_id, ISSUE, order_id, row.account_id, row.position)
        other = threading.Thread(target=lab.server.workers._perform[ISSUE], args=(job, 2, False))
        other.start()
        other.join()
        assert lab.order(order_id).status == "valid"
        gate.set()
        lab.tells(order_id, "revocation.published", seconds=15)
        first, second = lab.ca.certificates()
        assert lab.given() == [second]
        assert list(lab.ca.revoked) == [serial_of(first)]
        lab.check()


def test_one_submission_is_never_made_by_two_workers(lab: FarLab) -> None:
    """Both have found the same job; one of them is told that somebody else has gone on."""
    lab.ca.away = True
    order_id = lab.finalized(lab.a_client())
    lab.tells(order_id, "issuance.failed")
    row = lab.order(order_id)
    job = Job(order_id, ISSUE, order_id, row.account_id, row.position)
    lab.ca.away = False
    lab.server.breakers.answered("lab-ca", lab.server.breakers.asking("lab-ca"))
    together = threading.Barrier(4)

    def perform() -> None:
        together.wait()
        with contextlib.suppress(TryAgain):  # all but one are put off
            lab.server.workers._perform[ISSUE](job, 2, False)

    threads = [threading.Thread(target=perform) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lab.ends(order_id, "valid")
    assert len(lab.ca.certificates()) == 1
    lab.check()


def test_an_order_in_doubt_does_not_wait_for_ever(tmp_path: Path) -> None:
    with a_far_lab(tmp_path) as lab:
        lab.ca.next("lost")
        gate = lab.ca.hold()
        client = lab.a_client()
        order_id = lab.finalized(client)
        assert lab.ca.told_slowly.acquire(timeout=10)
        lab.ca.away = True
        gate.set()
        lab.tells(order_id, "issuance.in-doubt")
        lab.pass_by(hours=2)
        lab.ends(order_id, "invalid")
        assert lab.story(order_id)[-1] == "issuance.abandoned"
        # When the authority is back, its certificate is found.
        lab.ca.away = False
        lab.tells(order_id, "revocation.published", hours=1)
        assert lab.given() == []
        lab.check()


def test_a_twin_is_not_mixed_up_with_another_order_s_certificate(tmp_path: Path) -> None:
    """Two orders with one key: clients may use a key again."""
    with a_far_lab(tmp_path, probes=False) as lab:
        client = lab.a_client()
        lab.ca.next("lost")
        first = lab.finalized(client, key=7)
        second = lab.finalized(client, key=7)
        lab.ends(first, "valid")
        lab.ends(second, "valid")
        lab.tells(first, "revocation.published", minutes=1)
        assert len(lab.ca.certificates()) == 3
        assert len(lab.ca.revoked) == 1
        lab.check()


def test_nothing_is_revoked_while_another_order_waits_with_the_same_key(tmp_path: Path) -> None:
    """Whose a certificate is that the CA shows cannot be told before the other one has his."""
    with a_far_lab(tmp_path, probes=False) as lab:
        client = lab.a_client()
        lab.ca.next("lost")
        gates = [lab.ca.hold(), lab.ca.hold()]
        first = lab.finalized(client, key=7)
        assert lab.ca.told_slowly.acquire(timeout=10)
        other = lab.finalized(client, key=7)
        assert lab.ca.told_slowly.acquire(timeout=10)
        gates[0].set()
        lab.ends(first, "valid")
        shown = lab.ca.shown
        lab.until(lambda: lab.ca.shown >= shown + 2, seconds=10)
        assert lab.story(first) == AGAIN
        gates[1].set()
        lab.ends(other, "valid")
        lab.tells(first, "revocation.published", seconds=30)
        assert len(lab.ca.revoked) == 1
        assert len(lab.given()) == 2
        lab.check()


def test_what_is_found_may_be_that_of_another_order_with_the_same_key(lab: FarLab) -> None:
    """Then it is given to nobody before that is known: two orders, one request, used again."""
    client = lab.a_client()
    lab.ca.next("lost", "lost")
    gates = [lab.ca.hold(), lab.ca.hold()]
    first = lab.finalized(client, key=7)
    assert lab.ca.told_slowly.acquire(timeout=10)
    other = lab.finalized(client, key=7)
    assert lab.ca.told_slowly.acquire(timeout=10)
    gates[0].set()
    lab.ends(first, "valid")
    assert lab.story(first)[:5] == AGAIN
    gates[1].set()
    lab.ends(other, "valid")
    for order_id in (first, other):
        lab.tells(order_id, "revocation.published", seconds=30)
    # Each of the two that were lost is found by both orders, and revoked for each of them.
    lab.until(lambda: not lab.server.workers.waiting(), seconds=30)
    assert len(set(lab.given())) == 2
    lab.check()
