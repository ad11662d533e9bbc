"""Other chains of one certificate. RFC 8555 section 7.4.2."""

import hashlib
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from certeasy.commit import Command
from certeasy.decide.decision import Decision
from events.envelope import Actor
from events.nodes import AuthorityCertificateSeen
from tests.make.csrs import cn, p256
from tests.make.lab import Client, Lab, a_lab, problem


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with a_lab(tmp_path) as made:
        yield made


@pytest.fixture
def client(lab: Lab) -> Client:
    made = lab.client()
    made.register()
    return made


def cross_signed(lab: Lab) -> tuple[bytes, bytes]:
    """Have an older root sign the lab's root, and the server learn of both; return them, DER."""
    roots = [
        certificate
        for der in lab.server.authorities["lab-ca"].issuers()
        if (certificate := x509.load_der_x509_certificate(der)).issuer == certificate.subject
    ]
    key, name, now = p256(200), cn("Old root"), lab.server.clock.now()

    def signed(subject: x509.Name, public_key: object) -> bytes:
        builder = x509.CertificateBuilder(name, subject, public_key, 7)  # type: ignore[arg-type]
        builder = builder.not_valid_before(now - timedelta(days=1))
        builder = builder.not_valid_after(now + timedelta(days=100))
        basic = x509.BasicConstraints(ca=True, path_length=None)
        builder = builder.add_extension(basic, critical=True)
        return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)

    made = (signed(roots[0].subject, roots[0].public_key()), signed(name, key.public_key()))
    facts = tuple(
        (
            "authority/lab-ca",
            AuthorityCertificateSeen("lab-ca", hashlib.sha256(der).hexdigest(), der),
        )
        for der in made
    )
    command = Command(lambda _rows, _now: Decision(facts), Actor("system", "test"))
    lab.server.committer.submit(command)
    return made


def alternates(lab: Lab) -> list[str]:
    """Return the URLs of the other chains that the last answer told of."""
    links = [link for link in lab.links if link.endswith('>;rel="alternate"')]
    return [link.partition(">")[0].removeprefix("<") for link in links]


def test_a_cross_signed_root_is_another_chain_at_a_url_of_its_own(lab: Lab, client: Client) -> None:
    order = client.issued("web.lab.test")
    url = client.see(order)["certificate"]
    default = client.post(url)
    assert alternates(lab) == []
    assert problem(client.post(f"{url}/1"))[:2] == (404, "malformed")

    cross, old_root = cross_signed(lab)
    again = client.post(url)
    assert again.content == default.content
    assert alternates(lab) == [f"{url}/1"]
    other = client.post(f"{url}/1")
    assert other.headers["content-type"] == "application/pem-certificate-chain"
    assert alternates(lab) == [url]
    chain = x509.load_pem_x509_certificates(other.content)
    assert chain[0] == x509.load_pem_x509_certificates(default.content)[0]
    assert chain[-1] == x509.load_der_x509_certificate(cross)
    for certificate, issuer in pairwise(chain):
        certificate.verify_directly_issued_by(issuer)
    assert x509.load_der_x509_certificate(old_root) not in chain
    assert client.post(f"{url}/0").content == default.content
    for number in ("2", "00", "01", "x", "-1"):
        assert problem(client.post(f"{url}/{number}"))[:2] == (404, "malformed")


def test_another_chain_is_its_accounts_alone(lab: Lab, client: Client) -> None:
    url = client.see(client.issued("web.lab.test"))["certificate"]
    cross_signed(lab)
    stranger = lab.client()
    stranger.register()
    assert problem(stranger.post(f"{url}/1"))[:2] == (403, "unauthorized")
