"""lego, from Debian: the client inside Traefik and many others."""

from pathlib import Path

import pytest

from tests.make.acme_client import assert_certificate, program, run
from tests.make.acme_server import AcmeServer

pytestmark = pytest.mark.interop


def lego(server: AcmeServer, folder: Path, name: str, *command: str) -> str:
    to = ["--server", server.directory_url, "--accept-tos", "--email", "admin@corp.example"]
    how = ["--path", "lego", "--http", "--http.port", f"127.0.0.1:{server.http01_port}"]
    words = [program("lego"), *to, *how, "--domains", name, *command]
    return run(words, cwd=folder, LEGO_CA_CERTIFICATES=server.root_pem)


def test_lego_gets_renews_and_revokes_a_certificate(acme_server: AcmeServer, tmp_path: Path):
    name = acme_server.name("lego")
    lego(acme_server, tmp_path, name, "run")
    stored = tmp_path / "lego/certificates"
    first = (stored / f"{name}.crt").read_bytes()
    assert_certificate(first, (stored / f"{name}.key").read_bytes(), [name])
    lego(acme_server, tmp_path, name, "renew", "--days", "9000", "--no-random-sleep")
    second = (stored / f"{name}.crt").read_bytes()
    assert second != first
    assert_certificate(second, (stored / f"{name}.key").read_bytes(), [name])
    assert "revoked" in lego(acme_server, tmp_path, name, "revoke", "--reason", "4")
