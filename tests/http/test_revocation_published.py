"""What is revoked here is revoked at the CA, and what nobody may have."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from certeasy.app import Application
from projections.certificates import CERTIFICATES
from projections.jobs import JOBS
from projections.revocations import FAILED, RECORDED, REVOCATIONS, WAITING, revocation_id
from tests.fakes.far_authority import serial_of
from tests.make.far_lab import FarLab, a_far_lab, evidence
from tests.make.lab import URL, Client, a_lab
from tests.make.signers import b64


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[FarLab]:
    with a_far_lab(tmp_path) as lab:
        yield lab


def issued(lab: FarLab, client: Client) -> tuple[str, bytes]:
    """Return an order's id and its certificate."""
    order_id = lab.finalized(client)
    lab.ends(order_id, "valid")
    return order_id, lab.given()[-1]


def revoke(client: Client, certificate: bytes, reason: int = 1) -> None:
    client.drop_nonce()
    wish = {"certificate": b64(certificate), "reason": reason}
    assert client.post(f"{URL}/acme/revoke-cert", wish).status_code == 200


def state(server: Application, order_id: str, certificate: bytes) -> str:
    row = server.committer.get(REVOCATIONS, order_id, revocation_id(order_id, certificate))
    assert row is not None
    return row.state


def test_the_authority_is_told_of_a_revocation(lab: FarLab) -> None:
    client = lab.a_client()
    order_id, certificate = issued(lab, client)
    revoke(client, certificate)
    published = evidence(lab.tells(order_id, "revocation.published"))
    assert published["serial"] == serial_of(certificate)
    assert lab.ca.revoked == {serial_of(certificate): 1}


def test_it_is_told_as_often_as_it_takes(lab: FarLab) -> None:
    client = lab.a_client()
    order_id, certificate = issued(lab, client)
    lab.ca.away = True
    revoke(client, certificate)  # which is answered at once, whatever the CA does
    lab.until(lambda: lab.ca.refused == 5, hours=1)
    assert state(lab.server, order_id, certificate) == WAITING
    lab.ca.away = False
    lab.tells(order_id, "revocation.published", hours=4)
    assert lab.ca.revoked == {serial_of(certificate): 1}


def test_one_that_the_authority_refuses_is_told_and_not_tried_again(
    lab: FarLab, caplog: pytest.LogCaptureFixture
) -> None:
    client = lab.a_client()
    order_id, certificate = issued(lab, client)
    lab.ca.refuses = True
    revoke(client, certificate)
    told = evidence(lab.tells(order_id, "revocation.failed"))
    assert (told["reason"], told["code"]) == ("access is denied", "0x80070005")
    assert "revoke it there by hand" in caplog.text
    assert state(lab.server, order_id, certificate) == FAILED
    assert lab.server.committer.get(JOBS, revocation_id(order_id, certificate)) is None


def test_what_was_accepted_is_published_after_a_restart(tmp_path: Path) -> None:
    with a_far_lab(tmp_path) as lab:
        client = lab.a_client()
        order_id, certificate = issued(lab, client)
        lab.ca.away = True
        revoke(client, certificate)
        ca, clock = lab.ca, lab.clock
    ca.away = False
    with a_far_lab(tmp_path, ca=ca, clock=clock) as lab:
        lab.tells(order_id, "revocation.published")
        assert list(ca.revoked) == [serial_of(certificate)]


def test_an_authority_that_is_told_nothing_is_not_asked(tmp_path: Path) -> None:
    with a_far_lab(tmp_path, revokes=False) as lab:
        client = lab.a_client()
        order_id, certificate = issued(lab, client)
        revoke(client, certificate)
        row = lab.server.committer.get(CERTIFICATES, order_id)
        assert row is not None
        assert row.revoked
        assert "publish" not in evidence(lab.tells(order_id, "certificate.revoked"))
        assert lab.server.committer.get(JOBS, revocation_id(order_id, certificate)) is None
        assert lab.ca.revoked == {}


def test_an_embedded_authority_has_nothing_to_be_told(tmp_path: Path) -> None:
    with a_lab(tmp_path) as lab:
        client = lab.client()
        client.register()
        order_id = client.issued("web.lab.test").rpartition("/")[2]
        row = lab.server.committer.get(CERTIFICATES, order_id)
        assert row is not None
        revoke(client, row.certificate)
        assert lab.server.node.store.jobs() == []


@pytest.mark.parametrize("gone", ["switched off", "not in the settings"])
def test_an_authority_that_is_not_there_is_waited_for(tmp_path: Path, gone: str) -> None:
    with a_far_lab(tmp_path) as lab:
        client = lab.a_client()
        order_id, certificate = issued(lab, client)
        there = lab.server.authorities["lab-ca"]
        if gone == "not in the settings":
            del lab.server.authorities["lab-ca"]
        else:
            lab.ca.away = True
        revoke(client, certificate)
        if gone == "switched off":
            lab.ca.away = False
            there.revokes = False  # type: ignore[misc]
        lab.pass_by(hours=2)
        assert state(lab.server, order_id, certificate) == WAITING
        assert lab.ca.revoked == {}
        lab.server.authorities["lab-ca"] = there
        there.revokes = True  # type: ignore[misc]
        lab.tells(order_id, "revocation.published", hours=1)


def test_what_is_not_what_was_ordered_is_revoked_and_told_aloud(
    lab: FarLab, caplog: pytest.LogCaptureFixture
) -> None:
    lab.ca.next("wrong")
    client = lab.a_client()
    order_id = lab.finalized(client)
    lab.ends(order_id, "invalid")
    lab.tells(order_id, "revocation.published")
    assert lab.story(order_id) == [
        "issuance.submitted",
        "certificate.mismatched",
        "revocation.published",
    ]
    wrong = lab.ca.certificates()[0]
    assert evidence(lab.tells(order_id, "certificate.mismatched"))["serial"] == serial_of(wrong)
    assert f"given to nobody, and revoked: serial number {serial_of(wrong)}" in caplog.text
    assert lab.given() == []
    lab.check()


def test_an_answer_that_was_somebody_else_s_does_not_end_their_certificate(lab: FarLab) -> None:
    """A late answer on a connection that was used again, say. The order's own one is revoked."""
    client = lab.a_client()
    lab.ca.next("issued", "another's")
    _, certificate = issued(lab, client)
    order_id = lab.finalized(client, "other.lab.test", key=2)
    lab.ends(order_id, "invalid")
    told = evidence(lab.tells(order_id, "certificate.mismatched"))
    assert "publish" not in told
    assert state(lab.server, order_id, certificate) == RECORDED
    lab.tells(order_id, "revocation.published", seconds=15)
    own = lab.ca.certificates()[1]
    assert lab.ca.revoked == {serial_of(own): 4}


def test_an_answer_that_is_another_order_s_who_waits_for_it_is_not_revoked(lab: FarLab) -> None:
    lab.ca.next("lost", "another's")
    gate = lab.ca.hold()
    client = lab.a_client()
    first = lab.finalized(client)
    assert lab.ca.told_slowly.acquire(timeout=10)
    second = lab.finalized(client, "other.lab.test", key=2)
    lab.ends(second, "invalid")
    gate.set()
    lab.ends(first, "valid")
    lab.tells(second, "revocation.published", seconds=15)
    theirs, own = lab.ca.certificates()
    assert lab.given() == [theirs]
    assert lab.ca.revoked == {serial_of(own): 4}


def test_what_cannot_be_read_is_recorded_and_looked_for(lab: FarLab) -> None:
    lab.ca.next("rubbish")
    order_id = lab.finalized(lab.a_client())
    lab.ends(order_id, "invalid")
    told = evidence(lab.tells(order_id, "certificate.mismatched"))
    assert told.keys().isdisjoint({"serial", "publish"})
    assert state(lab.server, order_id, b"rubbish") == RECORDED
    lab.tells(order_id, "revocation.published", seconds=15)
    assert lab.given() == []
    lab.check()
