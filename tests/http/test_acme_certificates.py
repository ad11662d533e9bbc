"""Certificates as clients fetch and revoke them."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from projections.certificates import CERTIFICATES
from tests.make.csrs import p256, rsa_key
from tests.make.lab import URL, Client, Lab, a_lab, problem
from tests.make.signers import Signer, a_signer, b64

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


def leaf(chain: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificates(chain)[0]


def der(chain: bytes) -> str:
    """Return the leaf as revocation wants it."""
    return b64(leaf(chain).public_bytes(Encoding.DER))


def signer_of(key: Any) -> Signer:
    """Return the certificate's key as one that signs requests."""
    return Signer("RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256", key)


def test_a_chain_is_what_strict_clients_read(client: Client) -> None:
    order = client.issued("web.lab.test", "www.lab.test")
    result = client.post(client.see(order)["certificate"])
    assert result.status_code == 200
    assert result.headers["content-type"] == "application/pem-certificate-chain"
    pem = result.content
    assert b"\r" not in pem
    assert b"\n\n" not in pem
    assert pem.endswith(b"-----END CERTIFICATE-----\n")
    assert pem.count(b"-----BEGIN CERTIFICATE-----") == pem.count(b"-----BEGIN") <= 5
    chain = x509.load_pem_x509_certificates(pem)
    names = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["web.lab.test", "www.lab.test"]
    assert chain[0].public_key() == p256(1).public_key()
    chain[0].verify_directly_issued_by(chain[1])


def test_a_certificate_can_be_fetched_again(client: Client) -> None:
    order = client.issued("web.lab.test")
    url = client.see(order)["certificate"]
    assert client.post(url).content == client.post(url).content


def test_an_order_without_a_certificate_has_none_to_fetch(client: Client) -> None:
    order = client.placed("web.lab.test")
    result = client.post(order.replace("/order/", "/cert/"))
    assert problem(result)[:2] == (404, "malformed")


def test_a_certificate_is_shown_to_its_account_only(lab: Lab, client: Client) -> None:
    url = client.see(client.issued("web.lab.test"))["certificate"]
    other = lab.client()
    other.register()
    assert problem(other.post(url))[:2] == (403, "unauthorized")


def test_the_account_revokes_its_certificate(lab: Lab, client: Client) -> None:
    order = client.issued("web.lab.test")
    chain = client.post(client.see(order)["certificate"]).content
    result = client.post(REVOKE, {"certificate": der(chain), "reason": 4})
    assert result.status_code == 200
    assert result.content == b""
    assert "replay-nonce" in result.headers
    row = lab.server.committer.get(CERTIFICATES, order.rpartition("/")[2])
    assert row is not None
    assert (bool(row.revoked), row.reason) == (True, 4)
    again = client.post(REVOKE, {"certificate": der(chain)})
    assert problem(again)[:2] == (400, "alreadyRevoked")
    # It stays there to be fetched, and the order stays what it was.
    assert client.see(order)["status"] == "valid"
    assert client.post(client.see(order)["certificate"]).content == chain


@pytest.mark.parametrize("key", [p256(2), rsa_key()], ids=["EC", "RSA"])
def test_the_certificates_own_key_revokes_it(lab: Lab, client: Client, key: Any) -> None:
    order = client.issued("web.lab.test", key=key)
    chain = client.post(client.see(order)["certificate"]).content
    holder = lab.client(signer_of(key))
    result = holder.post(REVOKE, {"certificate": der(chain)})
    assert result.status_code == 200, result.text
    journal = lab.journal()
    revoked = [
        line
        for line in map(msgspec.json.decode, journal)
        if line["type"] == "certificate.revoked"
        and line["data"]["order_id"] == order.rpartition("/")[2]
    ]
    assert [line["data"]["by"] for line in revoked] == ["certificate-key"]
    assert [line["actor"]["kind"] for line in revoked] == ["certificate-key"]
    assert "sealed" in revoked[0]["actor"]


def test_nobody_else_revokes_it(lab: Lab, client: Client) -> None:
    chain = client.certificate("web.lab.test")
    other, stranger = lab.client(), lab.client(a_signer())
    other.register()
    for somebody in (other, stranger):
        result = somebody.post(REVOKE, {"certificate": der(chain)})
        assert problem(result)[:2] == (403, "unauthorized")
    assert client.post(REVOKE, {"certificate": der(chain)}).status_code == 200


def test_an_account_that_controls_all_names_revokes_it(lab: Lab, client: Client) -> None:
    """RFC 8555 section 7.6: an account that holds valid authorizations for all of them."""
    order = client.issued("web.lab.test", "www.lab.test")
    chain = client.post(client.see(order)["certificate"]).content
    other = lab.client()
    other.register()
    other.placed("web.lab.test")
    half = other.ready("web.lab.test")
    assert problem(other.post(REVOKE, {"certificate": der(chain)}))[:2] == (403, "unauthorized")
    other.ready("www.lab.test")
    (given_up,) = other.see(half)["authorizations"]
    other.post(given_up, {"status": "deactivated"})
    assert problem(other.post(REVOKE, {"certificate": der(chain)}))[:2] == (403, "unauthorized")
    other.ready("web.lab.test")
    result = other.post(REVOKE, {"certificate": der(chain), "reason": 1})
    assert (result.status_code, result.content) == (200, b"")
    journal = lab.journal()
    [revoked] = [
        line["data"]
        for line in map(msgspec.json.decode, journal)
        if line["type"] == "certificate.revoked"
        and line["data"]["order_id"] == order.rpartition("/")[2]
    ]
    assert (revoked["by"], revoked["reason"]) == ("authorizations", 1)
    assert problem(client.post(REVOKE, {"certificate": der(chain)}))[1] == "alreadyRevoked"


@pytest.mark.parametrize("reason", [6, 7, 8, 11, -1, 10**9])
def test_a_reason_that_is_none_is_told_which_ones_are(client: Client, reason: int) -> None:
    chain = client.certificate("web.lab.test")
    result = client.post(REVOKE, {"certificate": der(chain), "reason": reason})
    status, kind, detail = problem(result)
    assert (status, kind) == (400, "badRevocationReason")
    assert "0, 1, 2, 3, 4, 5, 9, 10" in detail
    assert client.post(REVOKE, {"certificate": der(chain), "reason": 1}).status_code == 200


def test_a_certificate_of_somebody_else_is_not_found(client: Client) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    spki = key.public_key().public_bytes(
        Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for foreign in (spki, b"x"):
        assert problem(client.post(REVOKE, {"certificate": b64(foreign)}))[:2] == (404, "malformed")


@pytest.mark.parametrize("encoded", ["AAAA=", "A+/A", "-----BEGIN CERTIFICATE-----\n", "A A"])
def test_a_badly_encoded_certificate_is_malformed(client: Client, encoded: str) -> None:
    assert problem(client.post(REVOKE, {"certificate": encoded}))[:2] == (400, "malformed")
