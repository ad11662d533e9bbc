"""Requests for certificates, chains and revocation, where clients are known to stumble: pitfalls
35, 36 and 38 to 43 (37 has `test_csrs_of_clients`)."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.fakes.clocks import HeldClock
from tests.make.csrs import (
    a_csr,
    a_raw_csr,
    asking_for,
    cn,
    p256,
    raw_cn,
    raw_san,
)
from tests.make.lab import URL, Client, Lab, a_lab, problem
from tests.make.pitfalls import everything, links
from tests.make.signers import a_signer, b64

REVOKE = f"{URL}/acme/revoke-cert"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with a_lab(tmp_path_factory.mktemp("lab")) as made:
        yield made


@pytest.fixture
def client(lab: Lab) -> Client:
    made = lab.client()
    made.register()
    return made


def leaf(chain: bytes) -> str:
    """Return the first certificate of a chain as revocation wants it."""
    return b64(x509.load_pem_x509_certificates(chain)[0].public_bytes(Encoding.DER))


@pytest.mark.parametrize(
    "csr",
    [
        a_csr("www.lab.test", "web.lab.test"),
        a_csr("WEB.lab.test", "www.LAB.test"),
        a_csr("www.lab.test", subject=cn("web.lab.test")),
        a_csr("web.lab.test", "www.lab.test", subject=cn("www.lab.test")),
    ],
    ids=["another order", "capitals", "one as the common name", "one twice"],
)
def test_pitfall_35_the_names_of_a_request_are_the_orders_as_a_set(
    client: Client, csr: bytes
) -> None:
    """Pitfall 35, RFC 8555 section 7.4: the common name counts as one of them."""
    order = client.ready("web.lab.test", "www.lab.test")
    assert client.finalize(order, csr).json["status"] == "valid"
    chain = client.post(client.see(order)["certificate"]).content
    (issued, *_) = x509.load_pem_x509_certificates(chain)
    names = issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == {"web.lab.test", "www.lab.test"}


@pytest.mark.parametrize(
    ("csr", "says"),
    [
        (a_csr("web.lab.test", subject=cn("other.lab.test")), "other.lab.test"),
        (a_csr("other.lab.test"), "other.lab.test"),
        (a_csr("web.lab.test", "other.lab.test"), "other.lab.test"),
    ],
)
def test_pitfall_35_a_name_that_was_not_ordered_is_named(
    client: Client, csr: bytes, says: str
) -> None:
    """Pitfall 35, RFC 8555 section 7.4."""
    order = client.ready("web.lab.test")
    status, kind, detail = problem(client.finalize(order, csr))
    assert (status, kind) == (400, "badCSR")
    assert says in detail


def test_pitfall_36_a_request_needs_no_common_name(client: Client) -> None:
    """Pitfall 36, RFC 8555 section 7.4: certbot sends none."""
    order = client.ready("web.lab.test")
    assert client.finalize(order, a_csr("web.lab.test")).json["status"] == "valid"


@pytest.mark.parametrize(
    ("subject", "says"), [(raw_cn(0x0C, b""), "empty"), (cn("192.0.2.1"), "192.0.2.1")]
)
def test_pitfall_36_a_common_name_that_is_none_is_told_precisely(
    client: Client, subject: Any, says: str
) -> None:
    """Pitfall 36: an empty one, or an address, is a badCSR that says so."""
    order = client.ready("web.lab.test")
    raw = subject if isinstance(subject, bytes) else subject.public_bytes()
    csr = a_raw_csr(asking_for(raw_san("web.lab.test")), subject=raw)
    status, kind, detail = problem(client.finalize(order, csr))
    assert (status, kind) == (400, "badCSR")
    assert says in detail
    assert client.see(order)["status"] == "ready"


@pytest.mark.parametrize(
    "spoil", ["{}=", "{}==", "{}+/", "-----BEGIN CERTIFICATE REQUEST-----\n{}"]
)
def test_pitfall_38_a_request_in_another_encoding_is_malformed_with_a_hint(
    client: Client, spoil: str
) -> None:
    """Pitfall 38, RFC 8555 section 6.1: base64url without padding, and nothing else."""
    order = client.ready("web.lab.test")
    payload = {"csr": spoil.format(b64(a_csr("web.lab.test")))}
    status, kind, detail = problem(client.post(client.see(order)["finalize"], payload))
    assert (status, kind) == (400, "malformed")
    assert "base64url" in detail
    assert client.see(order)["status"] == "ready"


def test_pitfall_38_a_request_that_lost_its_end_or_says_its_names_twice_is_a_bad_csr(
    client: Client,
) -> None:
    """Pitfall 38, RFC 8555 section 7.4."""
    order = client.ready("web.lab.test")
    extension = raw_san("web.lab.test")
    twice = a_raw_csr(asking_for(extension, extension))
    for csr in (a_csr("web.lab.test")[:-2], a_csr("web.lab.test") + b"\r\n", twice):
        assert problem(client.finalize(order, csr))[:2] == (400, "badCSR")
    assert client.finalize(order, a_csr("web.lab.test")).json["status"] == "valid"


def test_pitfall_39_a_chain_is_what_strict_clients_read(client: Client) -> None:
    """Pitfall 39, RFC 8555 section 9.1: leaf first, root left out, LF, certificates alone."""
    result = client.post(client.see(client.issued("web.lab.test"))["certificate"])
    assert result.headers["content-type"] == "application/pem-certificate-chain"
    pem = result.content
    assert pem.startswith(b"-----BEGIN CERTIFICATE-----\n")
    assert pem.endswith(b"-----END CERTIFICATE-----\n")
    assert b"\r" not in pem
    assert b"\n\n" not in pem
    assert pem.count(b"-----BEGIN CERTIFICATE-----") == pem.count(b"-----BEGIN ") <= 5
    assert max(map(len, pem.splitlines())) == 64
    chain = x509.load_pem_x509_certificates(pem)
    names = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["web.lab.test"]
    for below, above in pairwise(chain):
        below.verify_directly_issued_by(above)
    assert all(each.issuer != each.subject for each in chain)


def test_pitfall_40_each_link_is_one_header_in_the_form_that_posh_acme_reads(
    lab: Lab, client: Client
) -> None:
    """Pitfall 40, RFC 8288: no space after the semicolon, no comma, one relation to a header."""
    order = client.issued("web.lab.test")
    for _result in everything(client, order):
        assert links(lab, "index") == [f"{URL}/acme/directory"]
        for link in lab.links:
            assert link.startswith(f"<{URL}/")
            assert link.count(";rel=") == link.count(";") == 1
            assert "," not in link
            assert " " not in link
    (challenge,) = client.challenges(order)
    client.post(challenge["url"])
    assert sorted(link.rpartition("=")[2] for link in lab.links) == ['"index"', '"up"']


def test_pitfall_41_a_certificate_has_a_url_once_it_is_there_and_for_its_life(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Pitfall 41, RFC 8555 section 7.4.2: and the order goes on telling it."""
    clock = HeldClock()
    with a_lab(tmp_path_factory.mktemp("lab"), clock=clock) as lab:
        client = lab.client()
        client.register()
        order = client.placed("web.lab.test")
        assert "certificate" not in client.see(order)
        assert "certificate" not in client.prove(order)
        seen = client.finalize(order, a_csr("web.lab.test")).json
        chain = client.post(seen["certificate"]).content
        clock.pass_by(60 * 24 * 3600)
        client.drop_nonce()
        lab.server.expiry.expire()
        assert client.see(order) == seen
        assert client.post(seen["certificate"]).content == chain


def test_pitfall_42_a_revocation_is_200_without_a_word(lab: Lab, client: Client) -> None:
    """Pitfall 42, RFC 8555 section 7.6: certbot raises otherwise. A second one is 400."""
    chain = client.certificate("web.lab.test")
    result = client.post(REVOKE, {"certificate": leaf(chain), "reason": 1})
    assert (result.status_code, result.content) == (200, b"")
    assert "replay-nonce" in result.headers
    again = client.post(REVOKE, {"certificate": leaf(chain)})
    assert problem(again)[:2] == (400, "alreadyRevoked")


@pytest.mark.parametrize("reason", [0, 1, 2, 3, 4, 5, 9, 10])
def test_pitfall_42_the_reasons_of_certificates_are_taken(client: Client, reason: int) -> None:
    """Pitfall 42, RFC 5280 section 5.3.1."""
    chain = client.certificate("web.lab.test")
    result = client.post(REVOKE, {"certificate": leaf(chain), "reason": reason})
    assert result.status_code == 200


@pytest.mark.parametrize("reason", [6, 7, 8, 11, -1])
def test_pitfall_42_another_reason_is_told_which_ones_are_taken(
    client: Client, reason: int
) -> None:
    """Pitfall 42, RFC 8555 section 7.6."""
    chain = client.certificate("web.lab.test")
    result = client.post(REVOKE, {"certificate": leaf(chain), "reason": reason})
    status, kind, detail = problem(result)
    assert (status, kind) == (400, "badRevocationReason")
    assert "0, 1, 2, 3, 4, 5, 9, 10" in detail


def test_pitfall_42_the_key_of_a_certificate_and_who_controls_its_names_revoke_it(
    lab: Lab, client: Client
) -> None:
    """Pitfall 42, RFC 8555 section 7.6."""
    signer = a_signer()
    by_key = client.certificate("web.lab.test", key=signer.private_key)
    result = lab.client(signer).post(REVOKE, {"certificate": leaf(by_key)})
    assert (result.status_code, result.content) == (200, b"")
    by_names = client.certificate("web.lab.test")
    other = lab.client()
    other.register()
    assert problem(other.post(REVOKE, {"certificate": leaf(by_names)}))[:2] == (403, "unauthorized")
    other.ready("web.lab.test")
    assert other.post(REVOKE, {"certificate": leaf(by_names)}).status_code == 200


def test_pitfall_43_a_conflict_is_only_what_the_rfcs_call_one(lab: Lab, client: Client) -> None:
    """Pitfall 43, RFC 8555 section 7.3.5: certbot reads nothing else of a 409."""
    order = client.issued("web.lab.test")
    chain = client.post(client.see(order)["certificate"]).content
    revoked = {"certificate": leaf(chain)}
    (authorization,) = client.see(order)["authorizations"]
    answers: list[Any] = [
        client.post(f"{URL}/acme/new-account", {}, kid=None),
        client.finalize(order, a_csr("web.lab.test", key=p256(9))),
        client.order("web.lab.test"),
        client.post(REVOKE, revoked),
        client.post(REVOKE, revoked),
        client.post(authorization, {"status": "deactivated"}),
        client.post(authorization, {"status": "deactivated"}),
    ]
    assert 409 not in [answer.status_code for answer in answers]
    other = lab.client()
    other.register()
    inner = other.signer.request(
        {"account": client.kid, "oldKey": client.signer.jwk},
        url=f"{URL}/acme/key-change",
        header={"nonce": None},
    )
    conflict = client.post(f"{URL}/acme/key-change", inner)
    assert conflict.status_code == 409
    assert conflict.headers["location"] == other.kid
