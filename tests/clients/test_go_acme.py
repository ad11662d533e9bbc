"""Go's own ACME library, from Debian: what cert-manager and autocert are built on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.make.acme_client import QUIET_ENV, assert_certificate, output, program, run
from tests.make.acme_server import AcmeServer
from tests.make.client_matrix import debian_version

pytestmark = pytest.mark.interop

SOURCE = Path(__file__).with_name("issue.go")


@pytest.fixture(scope="session")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that uses the library, built from its sources in Debian."""
    folder = tmp_path_factory.mktemp("go")
    places = {"GOPATH": "/usr/share/gocode", "GO111MODULE": "off", "GOCACHE": str(folder / "cache")}
    alone = {"CGO_ENABLED": "0"}  # a C compiler need not be there
    output([program("go"), "build", "-o", folder / "issue", SOURCE], env=QUIET_ENV | places | alone)
    return folder / "issue"


@pytest.fixture
def told(exercised: Callable[..., None]) -> Callable[..., None]:
    version = debian_version("golang-golang-x-crypto-dev")
    return lambda challenge, *features: exercised("Go x/crypto/acme", version, challenge, *features)


def issue(issuer: Path, server: AcmeServer, folder: Path, kind: str, *names: str, **more: Any):
    wish = {
        "DirectoryURL": server.directory_url,
        "Root": str(server.root_pem),
        "Kind": kind,
        "Port": server.tls_alpn01_port if kind == "tls-alpn-01" else server.http01_port,
        "TXT": str(server.txt),
        "Names": names,
        "Output": str(folder),
    }
    run([issuer, msgspec.json.encode(wish | more).decode()], cwd=folder)
    chain, key = (folder / file for file in ("chain.pem", "key.pem"))
    assert_certificate(chain.read_bytes(), key.read_bytes(), names)


def test_go_acme_goes_through_the_life_of_an_account(
    issuer: Path, acme_server: AcmeServer, tmp_path: Path, told: Callable[..., None]
):
    told("http-01", "account", "order", "revoke", "account update", "deactivate")
    names = [acme_server.name("go"), acme_server.name("www.go")]
    issue(issuer, acme_server, tmp_path, "http-01", *names)


def test_go_acme_changes_its_key(
    issuer: Path, acme_server: AcmeServer, tmp_path: Path, told: Callable[..., None]
):
    told("http-01", "key change")
    issue(issuer, acme_server, tmp_path, "http-01", acme_server.name("go-key"), ChangeKey=True)


def test_go_acme_proves_a_zone_and_all_below_it_by_dns(
    issuer: Path, acme_server: AcmeServer, tmp_path: Path, told: Callable[..., None]
):
    told("dns-01", "order", "wildcard and its zone")
    names = [acme_server.name("go-dns"), "*." + acme_server.name("go-dns")]
    issue(issuer, acme_server, tmp_path, "dns-01", *names)


def test_go_acme_proves_by_tls_alpn(
    issuer: Path, acme_server: AcmeServer, tmp_path: Path, told: Callable[..., None]
):
    told("tls-alpn-01", "order")
    issue(issuer, acme_server, tmp_path, "tls-alpn-01", acme_server.name("go-alpn"))


def test_go_acme_binds_its_account(
    issuer: Path, acme_server: AcmeServer, tmp_path: Path, told: Callable[..., None]
):
    told("http-01", "EAB")
    kid, mac = acme_server.new_binding()
    name = acme_server.name("go-eab")
    issue(issuer, acme_server, tmp_path, "http-01", name, KeyID=kid, MAC=mac)
