"""A person at the CA approves each request: orders wait, and answers come after days."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from certeasy.settings import PendingRules
from projections.jobs import JOBS
from projections.suspects import SUSPECTS
from tests.fakes.clocks import MovedClock
from tests.fakes.far_authority import FarCa, serial_of
from tests.make.far_lab import FarLab, a_far_lab, evidence
from tests.make.lab import URL, Client
from tests.make.waiting import soon

WAITS = ["issuance.submitted", "issuance.pending"]


def waiting(lab: FarLab, client: Client) -> str:
    """Return the id of an order that waits for a person."""
    lab.ca.next("pending")
    order_id = lab.finalized(client)
    lab.tells(order_id, "issuance.pending")
    return order_id


def retry_after(client: Client, order_id: str) -> int:
    client.drop_nonce()
    return int(client.post(f"{URL}/acme/order/{order_id}").headers["retry-after"])


def asked(lab: FarLab) -> int:
    return lab.ca.polls


def test_an_order_stays_processing_until_somebody_has_approved_it(tmp_path: Path) -> None:
    with a_far_lab(tmp_path) as lab:
        client = lab.a_client()
        order_id = waiting(lab, client)
        lab.until(lambda: asked(lab) == 3, minutes=1)
        assert lab.order(order_id).status == "processing"
        lab.ca.approve(1)
        lab.ends(order_id, "valid")
        assert lab.story(order_id) == [*WAITS, "certificate.issued"]
        lab.check()


def test_it_is_asked_for_less_and_less_often_and_the_client_is_told_so(tmp_path: Path) -> None:
    with a_far_lab(tmp_path) as lab:
        client = lab.a_client()
        order_id = waiting(lab, client)
        assert retry_after(client, order_id) == 10
        lab.until(lambda: asked(lab) == 1, seconds=20)
        lab.pass_by(minutes=40)
        assert 600 <= retry_after(client, order_id) < 700
        lab.until(lambda: asked(lab) == 2, minutes=1)
        lab.pass_by(days=1)
        assert retry_after(client, order_id) == 3600


def test_an_order_waits_beyond_the_time_that_it_had_to_be_proven(tmp_path: Path) -> None:
    with a_far_lab(tmp_path) as lab:
        client = lab.a_client()
        order_id = waiting(lab, client)
        lab.pass_by(days=8)  # its `expires` is after seven
        lab.server.expiry.expire()
        assert lab.order(order_id).status == "processing"
        lab.ca.approve(1)
        lab.ends(order_id, "valid")


def test_a_denial_reaches_the_client_safely_and_the_log_fully(tmp_path: Path) -> None:
    with a_far_lab(tmp_path) as lab:
        client = lab.a_client()
        order_id = waiting(lab, client)
        lab.ca.deny(1)
        lab.ends(order_id, "invalid")
        client.drop_nonce()
        error = client.see(f"{URL}/acme/order/{order_id}")["error"]
        assert error["type"].endswith(":badCSR")
        assert error["detail"] == "the authority said no"
        told = evidence(lab.tells(order_id, "issuance.failed"))
        assert told["reason"] == "denied by policy module: Kurt said no"
        assert (told["code"], told["request_id"], told["final"]) == ("0x80094012", "lab\\1", True)


@pytest.mark.parametrize("approved", [True, False])
def test_what_waits_is_known_after_a_restart(tmp_path: Path, approved: bool) -> None:
    """As it is on another node that takes this one's place: it has the same rows."""
    with a_far_lab(tmp_path) as lab:
        order_id = waiting(lab, lab.a_client())
        ca, clock = lab.ca, lab.clock
    if approved:
        ca.approve(1)
    with a_far_lab(tmp_path, ca=ca, clock=clock) as lab:
        soon(lambda: asked(lab) == 1)
        if not approved:
            assert lab.order(order_id).status == "processing"
            ca.approve(1)
        lab.ends(order_id, "valid")
        lab.check()


def test_another_node_goes_on_with_what_waits(tmp_path: Path) -> None:
    """A switch-over: the one stops, the other takes its place on the same database."""
    first, second = tmp_path / "first", tmp_path / "second"
    with a_far_lab(first) as lab:
        order_id = waiting(lab, lab.a_client())
        lab.ca.next("lost")
        gate = lab.ca.hold()
        doubt = lab.finalized(lab.a_client(), "doubt.lab.test")
        assert lab.ca.told_slowly.acquire(timeout=10)
        ca, clock = lab.ca, lab.clock
        ca.away = True
        gate.set()
        lab.tells(doubt, "issuance.in-doubt")
    ca.away = False
    with a_far_lab(second, ca=ca, clock=clock, beside=first) as lab:
        lab.ends(doubt, "valid")
        soon(lambda: asked(lab) >= 1)
        assert lab.order(order_id).status == "processing"
        ca.approve(1)
        lab.ends(order_id, "valid")
        assert lab.server.node.identity.server_id not in {
            request.submission.server_id for request in ca.requests
        }
        lab.check()


def test_while_the_authority_is_away_the_order_waits(tmp_path: Path) -> None:
    with a_far_lab(tmp_path) as lab:
        order_id = waiting(lab, lab.a_client())
        lab.ca.away = True
        lab.pass_by(days=2)
        lab.ca.approve(1)
        lab.pass_by(days=1)
        assert lab.order(order_id).status == "processing"
        lab.ca.away = False
        lab.ends(order_id, "valid")
        lab.check()


def test_the_limit_holds_though_the_authority_is_away(tmp_path: Path) -> None:
    with a_far_lab(tmp_path, pending=PendingRules(limit=timedelta(hours=2))) as lab:
        order_id = waiting(lab, lab.a_client())
        lab.ca.away = True
        lab.ends(order_id, "invalid")
        assert lab.story(order_id) == [*WAITS, "issuance.abandoned"]
        lab.ca.approve(1)
        lab.ca.away = False
        lab.tells(order_id, "revocation.published", hours=1)
        lab.check()


def no_patience(tmp_path: Path) -> tuple[FarCa, MovedClock, str]:
    """Let an order end that nobody approved in time."""
    with a_far_lab(tmp_path, pending=PendingRules(limit=timedelta(hours=2))) as lab:
        client = lab.a_client()
        order_id = waiting(lab, client)
        lab.pass_by(hours=1, minutes=50)
        assert lab.order(order_id).status == "processing"
        lab.ends(order_id, "invalid")
        client.drop_nonce()
        error = client.see(f"{URL}/acme/order/{order_id}")["error"]
        assert error["type"].endswith(":unauthorized")
        assert re.search("nobody has approved .* within 2h", error["detail"])
        assert lab.story(order_id) == [*WAITS, "issuance.abandoned"]
        assert evidence(lab.tells(order_id, "issuance.abandoned"))["request_id"] == "lab\\1"
        return lab.ca, lab.clock, order_id


def test_what_is_approved_too_late_is_revoked(tmp_path: Path) -> None:
    ca, clock, order_id = no_patience(tmp_path)
    ca.approve(1)
    with a_far_lab(tmp_path, ca=ca, clock=clock) as lab:
        lab.tells(order_id, "revocation.published", days=1)
        assert lab.ca.revoked == {serial_of(ca.certificates()[0]): 4}
        lab.check()


def test_what_is_denied_in_the_end_is_settled(tmp_path: Path) -> None:
    ca, clock, order_id = no_patience(tmp_path)
    with a_far_lab(tmp_path, ca=ca, clock=clock) as lab:
        lab.until(lambda: asked(lab) >= 2, hours=1)
        ca.deny(1)
        told = evidence(lab.tells(order_id, "issuance.searched", days=1))
        assert told["settled"] is True
        assert lab.server.committer.get(SUSPECTS, f"{order_id}-1") is None
        assert lab.server.committer.get(JOBS, f"{order_id}-1") is None


def test_a_policy_may_refuse_to_wait(tmp_path: Path) -> None:
    """The order fails at once, and the log tells the CA's request that is left there."""
    with a_far_lab(tmp_path, pending=PendingRules(accept=False)) as lab:
        lab.ca.next("pending")
        client = lab.a_client()
        order_id = lab.finalized(client)
        soon(lambda: lab.order(order_id).status == "invalid")
        detail = client.see(f"{URL}/acme/order/{order_id}")["error"]["detail"]
        assert "does not wait for a person" in detail
        assert lab.story(order_id) == [*WAITS, "issuance.abandoned"]
        assert evidence(lab.tells(order_id, "issuance.abandoned"))["request_id"] == "lab\\1"
