"""lego, from Debian: the client inside Traefik and many others."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.make.acme_client import TXT_HOOK, assert_certificate, program, run
from tests.make.acme_server import AcmeServer
from tests.make.client_matrix import debian_version

pytestmark = pytest.mark.interop


def lego(server: AcmeServer, folder: Path, *words: str) -> str:
    to = ["--server", server.directory_url, "--accept-tos", "--email", "admin@corp.example"]
    return run(
        [program("lego"), *to, "--path", "lego", *words],
        cwd=folder,
        LEGO_CA_CERTIFICATES=server.root_pem,
        TXT=server.txt,
        EXEC_PATH=TXT_HOOK,
        EXEC_SEQUENCE_INTERVAL="1",  # seconds between two records; 60 if nothing is said
    )


def stored(folder: Path, name: str) -> tuple[bytes, bytes]:
    """Return the chain and the key."""
    certificates = folder / "lego/certificates"
    name = name.replace("*", "_")
    return (certificates / f"{name}.crt").read_bytes(), (certificates / f"{name}.key").read_bytes()


def test_lego_gets_renews_and_revokes_a_certificate(
    acme_server: AcmeServer, tmp_path: Path, exercised: Callable[..., None]
):
    exercised("lego", debian_version("lego"), "http-01", "account", "order", "renew", "revoke")
    name = acme_server.name("lego")
    how = ["--http", "--http.port", f"127.0.0.1:{acme_server.http01_port}", "--domains", name]
    lego(acme_server, tmp_path, *how, "run")
    first, key = stored(tmp_path, name)
    assert_certificate(first, key, [name])
    lego(acme_server, tmp_path, *how, "renew", "--days", "9000", "--no-random-sleep")
    second, key = stored(tmp_path, name)
    assert second != first
    assert_certificate(second, key, [name])
    assert "revoked" in lego(acme_server, tmp_path, *how, "revoke", "--reason", "4")


def test_lego_proves_a_zone_and_all_below_it_by_dns(
    acme_server: AcmeServer, tmp_path: Path, exercised: Callable[..., None]
):
    exercised("lego", debian_version("lego"), "dns-01", "order", "wildcard and its zone")
    names = [acme_server.name("lego-dns"), "*." + acme_server.name("lego-dns")]
    how = ["--dns", "exec", "--dns.disable-cp"]
    lego(acme_server, tmp_path, *how, "--domains", names[0], "--domains", names[1], "run")
    assert_certificate(*stored(tmp_path, names[0]), names)


def test_lego_proves_by_tls_alpn(
    acme_server: AcmeServer, tmp_path: Path, exercised: Callable[..., None]
):
    exercised("lego", debian_version("lego"), "tls-alpn-01", "order")
    name = acme_server.name("lego-alpn")
    how = ["--tls", "--tls.port", f"127.0.0.1:{acme_server.tls_alpn01_port}", "--domains", name]
    lego(acme_server, tmp_path, *how, "run")
    assert_certificate(*stored(tmp_path, name), [name])


def test_lego_binds_its_account(
    acme_server: AcmeServer, tmp_path: Path, exercised: Callable[..., None]
):
    exercised("lego", debian_version("lego"), "http-01", "EAB")
    name = acme_server.name("lego-eab")
    kid, key = acme_server.new_binding()
    how = ["--http", "--http.port", f"127.0.0.1:{acme_server.http01_port}", "--domains", name]
    lego(acme_server, tmp_path, "--eab", "--kid", kid, "--hmac", key, *how, "run")
    assert_certificate(*stored(tmp_path, name), [name])
