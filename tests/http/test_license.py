"""The license over the wire: the last seat is given once, renewals are never refused, and what
changes while a server runs counts from the next order on."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certeasy.admin.license import AcknowledgeDegraded, GrantForceGrace, InstallLicense
from certeasy.app import Application, ReloadRefused
from certeasy.commit import Command
from certeasy.commit.command import Pending
from certeasy.jobs.license import NotLicensed
from tests.fakes.clocks import MovedClock
from tests.make.certificates import cert_id_of
from tests.make.checks import check_node
from tests.make.csrs import a_csr, p256
from tests.make.lab import JOSE, URL, Client, Lab, a_lab, problem
from tests.make.licenses import (
    a_revocation_file,
    carry_out,
    install,
    trusting,
    with_ad_cs,
)
from tests.make.server import a_server, lab_settings
from tests.make.signers import b64

DAY = 86400.0
MANY, SEATS = 50, 7


@pytest.fixture(autouse=True)
def _vendor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with trusting(tmp_path_factory.mktemp("build")):
        yield


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def lab(tmp_path: Path, clock: MovedClock) -> Iterator[Lab]:
    """A server with an AD CS that nobody asks beside its own CA: so a license is needed."""
    with a_lab(tmp_path, clock=clock, change=with_ad_cs) as made:
        yield made
    check_node(tmp_path)


def a_client(lab: Lab) -> Client:
    made = lab.client()
    made.register()
    return made


def told(lab: Lab, *prefixes: str) -> list[str]:
    types = [msgspec.json.decode(line)["type"] for line in lab.journal()]
    return [each for each in types if each.startswith(prefixes)]


def refused(result: Any) -> str:
    status, kind, detail = problem(result)
    assert (status, kind) == (403, "unauthorized")
    return detail


# -- seats -----------------------------------------------------------------------------------------


def test_of_fifty_first_orders_at_once_exactly_as_many_are_issued_as_there_are_seats(
    lab: Lab, tmp_path: Path
) -> None:
    """Each of an account of its own, all finalized at the same moment."""
    clients = [a_client(lab) for _ in range(MANY)]
    requests = []
    for number, client in enumerate(clients):
        order = client.ready(f"web{number}.lab.test")
        finalize = client.see(order)["finalize"]
        client.drop_nonce()
        csr = a_csr(f"web{number}.lab.test", key=p256(number + 1))
        requests.append((finalize, client.signed(finalize, {"csr": b64(csr)})))
    install(lab.server, managed_servers=SEATS)
    barrier = Barrier(MANY)

    def send(request: tuple[str, bytes]) -> int:
        url, body = request
        barrier.wait()
        path = url.removeprefix(URL)
        return lab.wire.simulate_post(path, body=body, headers=JOSE).status_code

    with ThreadPoolExecutor(MANY) as pool:
        statuses = list(pool.map(send, requests))
    assert sorted(statuses) == [200] * SEATS + [403] * (MANY - SEATS)
    assert lab.server.committer.seats() == SEATS
    assert len(told(lab, "order.finalized")) == SEATS
    late = a_client(lab)
    assert f"allows {SEATS} managed servers" in refused(late.order("late.lab.test"))
    winner = clients[statuses.index(200)]
    winner.issued("more.lab.test")
    loser = clients[statuses.index(403)]
    assert refused(loser.order("again.lab.test"))


def test_an_order_without_a_seat_stays_ready_until_there_is_one(lab: Lab) -> None:
    first, second = a_client(lab), a_client(lab)
    waiting = second.ready("two.lab.test")
    install(lab.server, managed_servers=1)
    order = first.issued("one.lab.test")
    csr = a_csr("two.lab.test", key=p256(2))
    assert "allows 1 managed server " in refused(second.finalize(waiting, csr))
    assert second.see(waiting)["status"] == "ready"
    chain = first.post(first.see(order)["certificate"]).content
    leaf = x509_der(chain)
    assert first.post(f"{URL}/acme/revoke-cert", {"certificate": b64(leaf)}).status_code == 200
    assert second.finalize(waiting, csr).status_code == 200


def x509_der(chain: bytes) -> bytes:
    return x509.load_pem_x509_certificates(chain)[0].public_bytes(Encoding.DER)


def test_a_certificate_that_was_let_go_is_no_seat_to_come_back_to(lab: Lab) -> None:
    """Who has it revoked and `replaces` it takes a seat like anybody else: also where the order was
    ready before."""
    install(lab.server, managed_servers=1)
    first, second = a_client(lab), a_client(lab)
    order = first.issued("one.lab.test")
    leaf = x509_der(first.post(first.see(order)["certificate"]).content)
    before = cert_id_of(x509.load_der_x509_certificate(leaf))
    assert first.order("one.lab.test", replaces=before).status_code == 201
    ready = first.order("one.lab.test", "more.lab.test", replaces=before).headers["location"]
    assert first.prove(ready)["status"] == "ready"
    assert first.post(f"{URL}/acme/revoke-cert", {"certificate": b64(leaf)}).status_code == 200
    assert first.order("one.lab.test", replaces=before).status_code == 201, "nobody has its seat"
    second.issued("two.lab.test")
    csr = a_csr("one.lab.test", "more.lab.test", key=p256(3))
    assert "allows 1 managed server " in refused(first.finalize(ready, csr))
    assert "allows 1 managed server " in refused(first.order("one.lab.test", replaces=before))
    assert lab.server.committer.seats() == 1


def test_a_seat_is_free_again_when_the_certificate_has_expired(lab: Lab, clock: MovedClock) -> None:
    install(lab.server, managed_servers=1, lasts=timedelta(days=400))
    a_client(lab).issued("one.lab.test")
    second = a_client(lab)
    assert refused(second.order("two.lab.test"))
    clock.pass_by(91 * DAY)
    second.drop_nonce()
    second.issued("two.lab.test")


# -- what the time changes -------------------------------------------------------------------------


def renewed(client: Client, *names: str) -> None:
    client.drop_nonce()
    client.issued(*names, key=p256(9))


def test_a_seat_that_ends_while_a_request_waits_is_not_kept_beside_its_successor(
    lab: Lab, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request of who has the seat is decided, and then waits, for a database that is slow say,
    until the seat has ended and somebody else has it."""
    install(lab.server, managed_servers=1, lasts=timedelta(days=400))
    first, second = a_client(lab), a_client(lab)
    order = first.issued("one.lab.test")
    leaf = x509.load_der_x509_certificate(
        x509_der(first.post(first.see(order)["certificate"]).content)
    )
    left = leaf.not_valid_after_utc - clock.now()
    install(lab.server, number=2, managed_servers=2, lasts=timedelta(days=400))
    clock.pass_by(left.total_seconds() - 3600)
    first.drop_nonce()
    second.drop_nonce()
    waiting, more = second.ready("two.lab.test"), first.ready("more.lab.test")
    install(lab.server, number=3, managed_servers=1, lasts=timedelta(days=400))
    committer, statuses = lab.server.committer, []
    prepared = committer._prepared

    def overtaken(command: Command) -> Pending:
        monkeypatch.undo()
        decided = prepared(command)
        clock.pass_by(3700)
        second.drop_nonce()
        csr = a_csr("two.lab.test", key=p256(2))
        statuses.append(second.finalize(waiting, csr).status_code)
        return decided

    finalize = first.see(more)["finalize"]
    monkeypatch.setattr(committer, "_prepared", overtaken)
    csr = a_csr("more.lab.test", key=p256(3))
    assert "allows 1 managed server " in refused(first.post(finalize, {"csr": b64(csr)}))
    assert statuses == [200]
    assert committer.seats() == 1


def test_a_running_server_whose_license_expires_renews_and_takes_nothing_new(
    lab: Lab, clock: MovedClock
) -> None:
    install(lab.server, lasts=timedelta(days=10))
    client = a_client(lab)
    client.issued("one.lab.test")
    clock.pass_by(10 * DAY)
    lab.server.license.look()
    renewed(client, "one.lab.test")
    client.issued("two.lab.test")
    clock.pass_by(7 * DAY)
    lab.server.license.look()
    renewed(client, "one.lab.test")
    assert "license has expired" in refused(client.order("three.lab.test"))
    assert "license has expired" in refused(client.order("one.lab.test", "two.lab.test"))
    assert told(lab, "license.state-changed") == ["license.state-changed"] * 3
    assert told(lab, "request.refused") == ["request.refused"]
    carry_out(lab.server, GrantForceGrace())
    client.issued("three.lab.test")
    clock.pass_by(7 * DAY)
    client.drop_nonce()
    assert "license has expired" in refused(client.order("four.lab.test"))
    install(lab.server, number=2)
    client.issued("four.lab.test")


def test_what_was_ordered_before_the_license_ended_is_not_issued_after(
    lab: Lab, clock: MovedClock
) -> None:
    install(lab.server, lasts=timedelta(days=1))
    client = a_client(lab)
    clock.pass_by(8 * DAY - 3600)
    client.drop_nonce()
    order = client.ready("one.lab.test")
    clock.pass_by(3600)
    client.drop_nonce()
    detail = refused(client.finalize(order, a_csr("one.lab.test", key=p256(1))))
    assert "license has expired" in detail


def test_a_license_that_is_revoked_or_smaller_counts_from_the_next_order_on(lab: Lab) -> None:
    install(lab.server)
    client, other = a_client(lab), a_client(lab)
    client.issued("one.lab.test")
    install(lab.server, number=2, managed_servers=1)
    assert "allows 1 managed server " in refused(other.order("two.lab.test"))
    install(lab.server, number=3, managed_servers=2)
    other.issued("two.lab.test")
    install(lab.server, number=4, authorities=0)
    assert "configured beyond its license" in refused(other.order("three.lab.test"))
    carry_out(lab.server, AcknowledgeDegraded())
    assert "configured beyond its license" in refused(other.order("three.lab.test"))
    renewed(other, "two.lab.test")
    install(lab.server, number=5)
    carry_out(lab.server, InstallLicense(a_revocation_file(5, lab.server.clock.now())))
    assert "license was revoked" in refused(other.order("three.lab.test"))
    renewed(client, "one.lab.test")


def test_a_reload_takes_nothing_that_the_license_does_not_allow(lab: Lab, tmp_path: Path) -> None:
    install(lab.server)
    two = with_ad_cs(lab_settings(tmp_path), count=2)
    changed = msgspec.structs.replace(lab.server.settings, authorities=two.authorities)
    with pytest.raises(ReloadRefused, match="2 AD CS authorities configured, allowed: 1"):
        lab.server.reload(changed)
    assert set(lab.server.authorities) == {"lab-ca", "ad-0"}


def test_a_clock_that_is_set_back_makes_nothing_last_longer(tmp_path: Path) -> None:
    """Not even when an administrator has accepted it: the log's time stands still meanwhile."""
    clock = MovedClock()
    with a_lab(tmp_path, clock=clock, change=with_ad_cs) as lab:
        install(lab.server, lasts=timedelta(days=1))
        clock.pass_by(8 * DAY)
        lab.server.license.look()
        latest = lab.server.node.store.head().at
        clock.pass_by(-8 * DAY)
        lab.server.committer.accept_clock(latest)
        client = a_client(lab)
        assert "license has expired" in refused(client.order("one.lab.test"))
        assert lab.server.license.standing().state == "expired"


# -- starts ----------------------------------------------------------------------------------------


def test_a_lab_with_its_own_ca_alone_needs_no_license_and_says_nothing_about_it(
    tmp_path: Path,
) -> None:
    with a_lab(tmp_path) as lab:
        assert lab.server.license.remark() is None
        a_client(lab).issued("one.lab.test")
        assert told(lab, "license.", "cold-start.") == []


def test_with_ad_cs_an_evaluation_begins_once_and_then_a_license_is_needed(
    tmp_path: Path, clock: MovedClock
) -> None:
    settings = with_ad_cs(lab_settings(tmp_path))
    for _ in range(2):
        with a_server(tmp_path, clock=clock, settings=settings) as server:
            assert str(server.license.remark()).startswith("evaluation until ")
    clock.pass_by(30 * DAY)
    for _ in range(2):
        with pytest.raises(NotLicensed) as refusal:
            Application(settings, clock=clock).open()
        assert refusal.value.banner.title == "BOOT REFUSED: NO LICENSE"
    types = [
        msgspec.json.decode(line)["type"]
        for line in (tmp_path / "audit.log").read_bytes().splitlines()
    ]
    assert types.count("license.evaluation-begun") == 1
    assert types.count("license.state-changed") == 1
    assert types.count("node.started") == 2
    check_node(tmp_path)
    with a_server(tmp_path, clock=clock, settings=lab_settings(tmp_path)) as server:
        assert server.license.remark() is None


def test_a_license_that_was_taken_out_of_the_table_is_missed(
    tmp_path: Path, clock: MovedClock
) -> None:
    settings = with_ad_cs(lab_settings(tmp_path))
    with a_server(tmp_path, clock=clock, settings=settings):
        pass
    with closing(sqlite3.connect(tmp_path / "db.sqlite")) as database, database:
        database.execute("DELETE FROM license")
    with pytest.raises(Exception, match="has lost it: run 'certeasy projections rebuild"):
        Application(settings, clock=clock).open()


def test_a_license_that_was_changed_in_the_table_counts_as_the_log_has_it(
    tmp_path: Path, clock: MovedClock
) -> None:
    settings = with_ad_cs(lab_settings(tmp_path))
    with a_server(tmp_path, clock=clock, settings=settings):
        pass
    clock.pass_by(40 * DAY)
    with closing(sqlite3.connect(tmp_path / "db.sqlite")) as database, database:
        (body,) = database.execute("SELECT body FROM license").fetchone()
        row = msgspec.json.decode(body)
        row["evaluation"] = "2099-01-01T00:00:00Z"
        database.execute("UPDATE license SET body = ?", [msgspec.json.encode(row)])
    with pytest.raises(NotLicensed):
        Application(settings, clock=clock).open()


def test_who_is_told_of_trouble_is_told_of_a_license_that_ends(lab: Lab, clock: MovedClock) -> None:
    def told_of() -> list[str]:
        found = lab.server._troubles()
        return [each.why for each in found if each.kind == "license-ending"]

    assert told_of() == []
    install(lab.server, lasts=timedelta(days=30))
    clock.pass_by(16 * DAY - 3600)
    assert told_of() == []
    clock.pass_by(3600)
    assert "valid until " in told_of()[0]
    clock.pass_by(14 * DAY)
    assert "grace until " in told_of()[0]
    clock.pass_by(7 * DAY)
    assert told_of()[0].startswith("expired; it expired at ")
    install(lab.server, number=2, authorities=0)
    assert "degraded; 1 AD CS authority configured, allowed: 0" in told_of()[0]
