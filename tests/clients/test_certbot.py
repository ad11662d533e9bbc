"""certbot, from PyPI: the client most servers have."""

import sys
from pathlib import Path

import pytest

from tests.make.acme_client import assert_certificate, run
from tests.make.acme_server import AcmeServer

CERTBOT = Path(sys.executable).with_name("certbot")


def certbot(server: AcmeServer, folder: Path, *arguments: str) -> str:
    own = ["--config-dir", "etc", "--work-dir", "lib", "--logs-dir", "log"]
    command = [CERTBOT, *arguments, "--non-interactive", "--server", server.directory_url, *own]
    return run(command, cwd=folder, REQUESTS_CA_BUNDLE=server.root_pem)


def certonly(server: AcmeServer, folder: Path, *names: str, key_type: str = "ecdsa") -> Path:
    standalone = ["--standalone", "--http-01-address", "127.0.0.1"]
    port = ["--http-01-port", str(server.http01_port)]
    terms = ["--agree-tos", "--email", "admin@corp.example", "--no-eff-email"]
    key = ["--key-type", key_type, "--cert-name", "lab"]
    ordered = [word for name in names for word in ("--domain", name)]
    certbot(server, folder, "certonly", *standalone, *port, *terms, *key, *ordered)
    return folder / "etc/live/lab"


@pytest.mark.parametrize("key_type", ["ecdsa", "rsa"])
def test_certbot_gets_a_certificate(acme_server: AcmeServer, tmp_path: Path, key_type: str):
    names = [acme_server.name(f"certbot-{key_type}"), acme_server.name(f"www.certbot-{key_type}")]
    live = certonly(acme_server, tmp_path, *names, key_type=key_type)
    chain, key = (live / "fullchain.pem").read_bytes(), (live / "privkey.pem").read_bytes()
    assert_certificate(chain, key, names)


def test_certbot_revokes_and_leaves(acme_server: AcmeServer, tmp_path: Path):
    live = certonly(acme_server, tmp_path, acme_server.name("certbot-leaves"))
    chosen = ["--cert-path", str(live / "cert.pem"), "--no-delete-after-revoke"]
    said = certbot(acme_server, tmp_path, "revoke", *chosen, "--reason", "superseded")
    assert "successfully revoked" in said
    assert "deactivated" in certbot(acme_server, tmp_path, "unregister")


def test_certbot_renews(acme_server: AcmeServer, tmp_path: Path):
    live = certonly(acme_server, tmp_path, acme_server.name("certbot-renews"))
    first = (live / "cert.pem").read_bytes()
    certbot(acme_server, tmp_path, "renew", "--force-renewal", "--no-random-sleep-on-renew")
    assert (live / "cert.pem").read_bytes() != first
