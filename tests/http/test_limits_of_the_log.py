"""Limits on certificates, failures and pending authorizations as clients meet them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from threading import Barrier
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certeasy.settings.limits import (
    CountChange,
    DuplicateCertificate,
    FailedValidation,
    LimitOverride,
    LogChange,
    PendingAuthorizations,
)
from events.envelope import parse
from events.nodes import RequestRefused
from projections.orders import ORDERS
from tests.fakes.clocks import MovedClock
from tests.make.bindings import bound_client
from tests.make.certificates import cert_id_of
from tests.make.checks import check_node
from tests.make.csrs import a_csr, p256
from tests.make.lab import JOSE, URL, Client, Lab, Result, a_lab, problem
from tests.make.signers import b64
from tools.generous import GENEROUS

DAY = 86_400
EVERYBODY = (ip_network("0.0.0.0/0"), ip_network("::/0"))


@contextmanager
def limited(folder: Path, **limits: Any) -> Iterator[tuple[Lab, MovedClock]]:
    """A server that has these limits; what its tables say is held against the log at the end."""
    clock = MovedClock()
    rates = msgspec.structs.replace(GENEROUS, **limits)
    sections = {"rate_limiting": rates}
    with a_lab(folder, clock=clock, sections=sections, pre_authorization=True) as lab:
        yield lab, clock
    check_node(folder)


def registered(lab: Lab) -> Client:
    client = lab.client()
    client.register()
    return client


def met(result: Result) -> tuple[str, int]:
    """Return the sentence of a refusal by a limit, and its Retry-After."""
    status, kind, detail = problem(result)
    assert (status, kind) == (429, "rateLimited")
    return detail, int(result.headers["retry-after"])


def refusals(lab: Lab) -> list[RequestRefused]:
    facts = [parse(line).event for line in lab.journal()]
    return [fact for fact in facts if isinstance(fact, RequestRefused)]


def test_a_container_that_makes_an_account_at_every_start_gets_so_many_certificates(
    tmp_path: Path,
) -> None:
    """A lost account is no way around the limit, and the refusal tells when there is one again."""
    limits = {"duplicate_certificate": DuplicateCertificate(limit=2)}
    with limited(tmp_path, **limits) as (lab, clock):
        registered(lab).issued("web.lab.test", "www.lab.test")
        clock.pass_by(DAY)
        registered(lab).issued("www.lab.test", "web.lab.test")
        client = registered(lab)
        detail, wait = met(client.order("web.lab.test", "www.lab.test"))
        assert detail.startswith(
            "2 certificates were issued for exactly these names (web.lab.test, www.lab.test) within"
            " 7 days, and 2 may be (limit duplicate-certificate); free again at "
        )
        assert 6 * DAY - 3600 < wait <= 6 * DAY
        assert client.order("web.lab.test").status_code == 201
        [fact] = refusals(lab)
        assert (fact.kind, fact.names) == (
            "duplicate-certificate",
            ["web.lab.test", "www.lab.test"],
        )
        assert fact.detail == detail
        clock.pass_by(wait)
        client.drop_nonce()
        assert client.issued("web.lab.test", "www.lab.test")


def test_a_renewal_in_its_time_is_never_one_too_many(tmp_path: Path) -> None:
    """RFC 9773: each certificate is replaced once, so this is no way around the limit either."""
    limits = {"duplicate_certificate": DuplicateCertificate(limit=1, window=timedelta(days=90))}
    with limited(tmp_path, **limits) as (lab, clock):
        client = registered(lab)
        replaces = cert_id_of(x509.load_pem_x509_certificate(client.certificate("web.lab.test")))
        assert met(client.order("web.lab.test"))[1] > DAY
        # Before its time it is one like any other.
        assert met(client.order("web.lab.test", replaces=replaces))[1] > DAY
        clock.pass_by(60 * DAY)
        client.drop_nonce()
        assert met(registered(lab).order("web.lab.test"))[1] > DAY, "to others it is a duplicate"
        assert client.order("web.lab.test").status_code == 201, "a client that cannot say so"
        order = client.order("web.lab.test", replaces=replaces).headers["location"]
        another = client.order("web.lab.test", replaces=replaces).headers["location"]
        csr = a_csr("web.lab.test", key=p256(1))
        for each in (order, another):
            assert client.prove(each)["status"] == "ready"
        assert client.finalize(order, csr).status_code == 200
        assert problem(client.finalize(another, csr))[1] == "alreadyReplaced"
        assert problem(client.order("web.lab.test", replaces=replaces))[1] == "alreadyReplaced"
        assert met(client.order("web.lab.test"))[0].startswith("2 certificates were issued")


def test_what_is_revoked_at_once_is_no_way_to_another_certificate_for_more_names(
    tmp_path: Path,
) -> None:
    """What is revoked counts no more, and is to be replaced at once (RFC 9773): but by one that is
    counted, unless it is for the same names."""
    limits = {"duplicate_certificate": DuplicateCertificate(limit=1)}
    with limited(tmp_path, **limits) as (lab, _clock):
        client = registered(lab)
        client.issued("web.lab.test", "www.lab.test")
        leaf = x509.load_pem_x509_certificate(client.certificate("web.lab.test"))
        revoke = {"certificate": b64(leaf.public_bytes(Encoding.DER))}
        assert client.post(f"{URL}/acme/revoke-cert", revoke).status_code == 200
        replaces = cert_id_of(leaf)
        detail, _wait = met(client.order("web.lab.test", "www.lab.test", replaces=replaces))
        assert detail.startswith("1 certificate was issued for exactly these names (web.lab.test,")
        assert client.order("web.lab.test", replaces=replaces).status_code == 201


def test_orders_that_are_finalized_at_once_get_no_certificate_too_many(tmp_path: Path) -> None:
    """All of them were ready before: the moment that counts is under the committer's lock."""
    limits = {"duplicate_certificate": DuplicateCertificate(limit=3)}
    with limited(tmp_path, **limits) as (lab, _clock):
        clients = [registered(lab) for _ in range(8)]
        ready = [client.ready("web.lab.test") for client in clients]
        csr = b64(a_csr("web.lab.test", key=p256(1)))
        bodies = []
        for client, order in zip(clients, ready, strict=True):
            url = client.see(order)["finalize"]
            bodies.append((url.removeprefix(URL), client.signed(url, {"csr": csr})))
        barrier = Barrier(len(bodies))

        def send(request: tuple[str, bytes]) -> Result:
            barrier.wait()
            return lab.wire.simulate_post(request[0], body=request[1], headers=JOSE)

        with ThreadPoolExecutor(len(bodies)) as pool:
            answers = list(pool.map(send, bodies))
        assert sorted(answer.status_code for answer in answers) == [200] * 3 + [429] * 5
        for client, order, answer in zip(clients, ready, answers, strict=True):
            client.drop_nonce()
            status = client.wait(order, "valid", "ready")["status"]
            assert status == ("valid" if answer.status_code == 200 else "ready")
        assert len(refusals(lab)) == 5


def test_an_order_that_is_refused_at_the_end_can_be_finalized_when_it_was_told(
    tmp_path: Path,
) -> None:
    """It stays ready: what was proven is proven. RFC 8555 section 7.4 has no other way back."""
    hour = timedelta(hours=1)
    limits = {"duplicate_certificate": DuplicateCertificate(limit=1, window=hour)}
    with limited(tmp_path, **limits) as (lab, clock):
        one, other, third = (registered(lab) for _ in range(3))
        later, last = other.ready("web.lab.test"), third.ready("web.lab.test")
        one.certificate("web.lab.test")
        csr = a_csr("web.lab.test", key=p256(1))
        for _ in range(2):
            _detail, wait = met(other.finalize(later, csr))
            assert wait == 3600
            assert other.see(later)["status"] == "ready"
        clock.pass_by(wait)
        other.drop_nonce()
        assert other.finalize(later, csr).json["status"] == "valid"
        # What is revoked counts no more: then it need not even be waited for.
        third.drop_nonce()
        assert met(third.finalize(last, csr))[1] == 3600
        chain = other.post(other.see(later)["certificate"]).content
        leaf = x509.load_pem_x509_certificates(chain)[0].public_bytes(Encoding.DER)
        revoke = {"certificate": b64(leaf)}
        assert other.post(f"{URL}/acme/revoke-cert", revoke).status_code == 200
        assert third.finalize(last, csr).json["status"] == "valid"


def test_a_name_that_keeps_failing_is_not_tried_for_a_while(tmp_path: Path) -> None:
    """Also from an address on the whitelist: that is about addresses."""
    limits = {"failed_validation": FailedValidation(limit=2), "whitelist": EVERYBODY}
    with limited(tmp_path, **limits) as (lab, clock):
        client = registered(lab)
        for _ in range(2):
            order = client.placed("down.lab.test")
            [challenge] = client.challenges(order)
            client.post(challenge["url"], {})
            assert client.wait(order, "invalid")["status"] == "invalid"
        detail, wait = met(client.order("down.lab.test", "up.lab.test"))
        assert detail.startswith(
            "This account failed 2 times within 1 hour to prove that it controls down.lab.test, and"
            " may fail 2 times (limit failed-validation); free again at "
        )
        assert 3000 < wait <= 3600
        assert met(client.post(f"{URL}/acme/new-authz", ahead("down.lab.test")))[1] <= 3600
        assert client.order("up.lab.test").status_code == 201
        assert registered(lab).order("down.lab.test").status_code == 201
        clock.pass_by(wait)
        client.drop_nonce()
        assert client.order("down.lab.test").status_code == 201


def ahead(name: str) -> dict[str, Any]:
    return {"identifier": {"type": "dns", "value": name}}


def test_an_account_with_much_that_is_pending_orders_nothing_more(tmp_path: Path) -> None:
    limits = {"pending_authorizations": PendingAuthorizations(limit=3)}
    with limited(tmp_path, **limits) as (lab, _clock):
        client = registered(lab)
        client.placed("a.lab.test", "b.lab.test")
        authorization = client.post(f"{URL}/acme/new-authz", ahead("c.lab.test"))
        assert authorization.status_code == 201
        detail, wait = met(client.order("d.lab.test"))
        assert detail.startswith(
            "3 authorizations of this account are pending, and 3 may be: prove or deactivate them"
            " (limit pending-authorizations); free again at "
        )
        assert wait > DAY
        met(client.post(f"{URL}/acme/new-authz", ahead("d.lab.test")))
        url = str(authorization.headers["location"])
        assert client.post(url, {"status": "deactivated"}).status_code == 200
        assert client.order("d.lab.test").status_code == 201


def test_orders_that_are_placed_at_once_do_not_exceed_what_may_be_pending(tmp_path: Path) -> None:
    limits = {"pending_authorizations": PendingAuthorizations(limit=4)}
    with limited(tmp_path, **limits) as (lab, _clock):
        client = registered(lab)
        url = f"{URL}/acme/new-order"
        bodies = []
        for n in range(12):
            client.drop_nonce()
            wish = {"identifiers": [{"type": "dns", "value": f"n{n}.lab.test"}]}
            bodies.append(client.signed(url, wish))
        barrier = Barrier(len(bodies))

        def send(body: bytes) -> int:
            barrier.wait()
            answer = lab.wire.simulate_post(url.removeprefix(URL), body=body, headers=JOSE)
            return answer.status_code

        with ThreadPoolExecutor(len(bodies)) as pool:
            answers = sorted(pool.map(send, bodies))
        assert answers == [201] * 4 + [429] * 8
        with lab.server.node.store.projected() as (_head, rows):
            assert len(list(rows(ORDERS))) == 4


def test_a_binding_has_limits_of_its_own(tmp_path: Path) -> None:
    """A fleet on one account, and another that is held to less."""
    override = LimitOverride(
        binding="fleet",
        duplicate_certificate=LogChange(limit=3),
        pending_authorizations=CountChange(enabled=False),
    )
    limits = {
        "duplicate_certificate": DuplicateCertificate(limit=2),
        "pending_authorizations": PendingAuthorizations(limit=1),
        "overrides": (override,),
    }
    with limited(tmp_path, **limits) as (lab, _clock):
        alone, other = registered(lab), bound_client(lab, comment="test")[0]
        fleet, _key = bound_client(lab, comment="fleet")
        for client in (alone, other):
            client.issued("web.lab.test")
        for client in (alone, other):
            met(client.order("web.lab.test"))
        fleet.issued("web.lab.test")
        assert met(fleet.order("web.lab.test"))[0].startswith("3 certificates were issued")
        for client, answer in ((alone, 429), (fleet, 201)):
            assert client.order("one.lab.test").status_code == 201
            assert client.order("another.lab.test").status_code == answer
