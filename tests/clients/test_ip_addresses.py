"""Clients that order certificates for IP addresses. RFC 8738."""

from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509

from tests.clients.test_certbot import CERTBOT, Certbot
from tests.clients.test_uacme import stored, uacme
from tests.make.acme_client import program, webroot
from tests.make.acme_server import AcmeServer
from tests.make.client_matrix import version_of

ADDRESS = "127.0.0.1"


def assert_for(chain: bytes, *names: x509.GeneralName) -> None:
    """Assert that a certificate is for the address, and for these names beside it."""
    leaf = x509.load_pem_x509_certificates(chain)[0]
    found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert sorted(found, key=repr) == sorted(
        (x509.IPAddress(ip_address(ADDRESS)), *names), key=repr
    )


def test_certbot_gets_a_certificate_for_an_address(
    acme_server: AcmeServer, tmp_path: Path, exercised: Callable[..., None]
) -> None:
    exercised("certbot", version_of(CERTBOT, "--version"), "http-01", "IP address")
    certbot = Certbot(acme_server, tmp_path)
    name = acme_server.name("certbot-ip")
    certbot.certonly(name, more=["--ip-address", ADDRESS])
    assert_for(certbot.stored()[0], x509.DNSName(name))


@pytest.mark.interop
def test_uacme_gets_a_certificate_for_an_address(
    acme_server: AcmeServer, tmp_path: Path, exercised: Callable[..., None]
) -> None:
    exercised("uacme", version_of(program("uacme"), "--version"), "http-01", "IP address")
    uacme(acme_server, tmp_path, "new", "admin@corp.example")
    with webroot(tmp_path / "www", acme_server.http01_port):
        uacme(acme_server, tmp_path, "issue", ADDRESS)
    assert_for(stored(tmp_path, ADDRESS)[0])
