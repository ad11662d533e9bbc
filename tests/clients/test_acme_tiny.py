"""acme-tiny, from Debian: two hundred lines of Python, RS256, one web folder."""

from collections.abc import Callable
from pathlib import Path

import pytest
from acme import crypto_util
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.make.acme_client import assert_certificate, program, run, webroot
from tests.make.acme_server import AcmeServer
from tests.make.client_matrix import debian_version

pytestmark = pytest.mark.interop


def write_rsa_key(path: Path) -> bytes:
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    path.write_bytes(key)
    return key


def test_acme_tiny_gets_a_certificate_and_another(
    acme_server: AcmeServer, tmp_path: Path, exercised: Callable[..., None]
):
    exercised("acme-tiny", debian_version("acme-tiny"), "http-01", "account", "order", "renew")
    names = [acme_server.name("tiny"), acme_server.name("www.tiny")]
    write_rsa_key(tmp_path / "account.key")
    key = write_rsa_key(tmp_path / "server.key")
    (tmp_path / "server.csr").write_bytes(crypto_util.make_csr(key, names))
    chains = set()
    with webroot(tmp_path / "www", acme_server.http01_port) as challenges:
        files = ["--account-key", "account.key", "--csr", "server.csr", "--acme-dir", challenges]
        words = [program("acme-tiny"), *files, "--directory-url", acme_server.directory_url]
        words += ["--contact", "mailto:admin@corp.example", "--disable-check", "--quiet"]
        for _ in range(2):
            chain = run(words, cwd=tmp_path, SSL_CERT_FILE=acme_server.root_pem)
            assert_certificate(chain.encode(), key, names)
            chains.add(chain)
    assert len(chains) == 2
