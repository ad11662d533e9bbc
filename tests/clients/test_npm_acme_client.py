"""npm acme-client: a library that asks for a nonce before every request."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.make.acme_client import assert_certificate
from tests.make.acme_server import AcmeServer
from tests.make.npm_packages import PACKAGES, run_script, version_of_package

pytestmark = pytest.mark.interop

LIFE = ("account", "order", "revoke", "account update", "deactivate")


@pytest.fixture
def told(exercised: Callable[..., None]) -> Callable[..., None]:
    version = version_of_package("acme-client")
    return lambda challenge, *features: exercised("npm acme-client", version, challenge, *features)


def issue(server: AcmeServer, folder: Path, kind: str, *names: str, **more: Any) -> None:
    wish = {
        "directoryUrl": server.directory_url,
        "kind": kind,
        "port": server.tls_alpn01_port if kind == "tls-alpn-01" else server.http01_port,
        "txt": str(server.txt),
        "names": names,
        "output": str(folder / "got"),
    }
    words = msgspec.json.encode(wish | more).decode()
    env = {"NODE_EXTRA_CA_CERTS": server.root_pem}
    run_script(PACKAGES / "issue.mjs", words, cwd=folder, **env)
    chain, key = (folder / "got" / file for file in ("chain.pem", "key.pem"))
    assert_certificate(chain.read_bytes(), key.read_bytes(), names)


def test_npm_acme_client_goes_through_the_life_of_an_account(
    acme_server: AcmeServer, tmp_path: Path, told: Callable[..., None]
):
    told("http-01", *LIFE)
    issue(acme_server, tmp_path, "http-01", acme_server.name("npm"), acme_server.name("www.npm"))


def test_npm_acme_client_changes_its_key(
    acme_server: AcmeServer, tmp_path: Path, told: Callable[..., None]
):
    told("http-01", "key change")
    issue(acme_server, tmp_path, "http-01", acme_server.name("npm-key"), changeKey=True)


def test_npm_acme_client_proves_a_zone_and_all_below_it_by_dns(
    acme_server: AcmeServer, tmp_path: Path, told: Callable[..., None]
):
    told("dns-01", "order", "wildcard and its zone")
    names = [acme_server.name("npm-dns"), "*." + acme_server.name("npm-dns")]
    issue(acme_server, tmp_path, "dns-01", *names)


def test_npm_acme_client_proves_by_tls_alpn(
    acme_server: AcmeServer, tmp_path: Path, told: Callable[..., None]
):
    told("tls-alpn-01", "order")
    issue(acme_server, tmp_path, "tls-alpn-01", acme_server.name("npm-alpn"))


def test_npm_acme_client_binds_its_account(
    acme_server: AcmeServer, tmp_path: Path, told: Callable[..., None]
):
    told("http-01", "EAB")
    kid, key = acme_server.new_binding()
    binding = {"kid": kid, "hmacKey": key}
    issue(acme_server, tmp_path, "http-01", acme_server.name("npm-eab"), binding=binding)
