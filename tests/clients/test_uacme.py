"""uacme, from Debian: a small client in C that takes its first nonce by GET."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.make.acme_client import TXT_HOOK, assert_certificate, program, run_trusting, webroot
from tests.make.acme_server import AcmeServer
from tests.make.client_matrix import version_of

pytestmark = pytest.mark.interop

WEB_HOOK = Path("/usr/share/uacme/uacme.sh")


@pytest.fixture
def told(exercised: Callable[..., None]) -> Callable[..., None]:
    version = version_of(program("uacme"), "--version")
    return lambda challenge, *features: exercised("uacme", version, challenge, *features)


def uacme(server: AcmeServer, folder: Path, *command: str | Path, hook: Path = WEB_HOOK) -> str:
    own = [program("uacme"), "--verbose", "--yes", "--confdir", "uacme", "--hook", hook]
    return run_trusting(
        server.root_pem,
        [*own, "--acme-url", server.directory_url, *command],
        cwd=folder,
        UACME_CHALLENGE_PATH=folder / "www/.well-known/acme-challenge",
        TXT=server.txt,
    )


def stored(folder: Path, name: str) -> tuple[bytes, bytes]:
    """Return the chain and the key."""
    certificate = folder / "uacme" / name / "cert.pem"
    return certificate.read_bytes(), (folder / "uacme/private" / name / "key.pem").read_bytes()


def test_uacme_goes_through_the_life_of_an_account(
    acme_server: AcmeServer, tmp_path: Path, told: Callable[..., None]
):
    told("http-01", "account", "order", "renew", "revoke", "account update", "deactivate")
    name = acme_server.name("uacme")
    uacme(acme_server, tmp_path, "new", "admin@corp.example")
    with webroot(tmp_path / "www", acme_server.http01_port):
        uacme(acme_server, tmp_path, "issue", name)
        first, key = stored(tmp_path, name)
        assert_certificate(first, key, [name])
        uacme(acme_server, tmp_path, "--days", "9000", "issue", name)
    second, key = stored(tmp_path, name)
    assert second != first
    assert_certificate(second, key, [name])
    uacme(acme_server, tmp_path, "revoke", tmp_path / "uacme" / name / "cert.pem")
    uacme(acme_server, tmp_path, "update", "other@corp.example")
    uacme(acme_server, tmp_path, "deactivate")


def test_uacme_changes_its_key(acme_server: AcmeServer, tmp_path: Path, told: Callable[..., None]):
    told("http-01", "key change")
    name = acme_server.name("uacme-key")
    uacme(acme_server, tmp_path, "new", "admin@corp.example")
    before = (tmp_path / "uacme/private/key.pem").read_bytes()
    uacme(acme_server, tmp_path, "newkey")
    assert (tmp_path / "uacme/private/key.pem").read_bytes() != before
    with webroot(tmp_path / "www", acme_server.http01_port):
        uacme(acme_server, tmp_path, "issue", name)
    assert_certificate(*stored(tmp_path, name), [name])


def test_uacme_proves_a_zone_and_all_below_it_by_dns(
    acme_server: AcmeServer, tmp_path: Path, told: Callable[..., None]
):
    told("dns-01", "order", "wildcard and its zone")
    names = [acme_server.name("uacme-dns"), "*." + acme_server.name("uacme-dns")]
    uacme(acme_server, tmp_path, "new", "admin@corp.example")
    uacme(acme_server, tmp_path, "issue", *names, hook=TXT_HOOK)
    assert_certificate(*stored(tmp_path, names[0]), names)


def test_uacme_binds_its_account(
    acme_server: AcmeServer, tmp_path: Path, told: Callable[..., None]
):
    told("http-01", "EAB")
    kid, key = acme_server.new_binding()
    name = acme_server.name("uacme-eab")
    uacme(acme_server, tmp_path, "--eab", f"{kid}:{key}", "new", "admin@corp.example")
    with webroot(tmp_path / "www", acme_server.http01_port):
        uacme(acme_server, tmp_path, "issue", name)
    assert_certificate(*stored(tmp_path, name), [name])


def test_uacme_gets_a_certificate_for_an_address(
    acme_server: AcmeServer, tmp_path: Path, told: Callable[..., None]
):
    told("http-01", "IP address")
    uacme(acme_server, tmp_path, "new", "admin@corp.example")
    with webroot(tmp_path / "www", acme_server.http01_port):
        uacme(acme_server, tmp_path, "issue", "127.0.0.1")
    assert_certificate(*stored(tmp_path, "127.0.0.1"), ["127.0.0.1"])
