"""ruby acme-client, from Debian: a library that never tries a request again after badNonce."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.make.acme_client import assert_certificate, program, run, webroot
from tests.make.acme_server import AcmeServer
from tests.make.client_matrix import version_of

pytestmark = pytest.mark.interop

SCRIPT = Path(__file__).with_name("issue.rb")


@pytest.fixture
def told(exercised: Callable[..., None]) -> Callable[..., None]:
    asked = 'require "acme-client"; puts Acme::Client::VERSION'
    version = version_of(program("ruby"), "-e", asked)
    return lambda challenge, *features: exercised("ruby acme-client", version, challenge, *features)


def issue(
    server: AcmeServer, output: Path, kind: str, folder: Path, *names: str, **env: str
) -> None:
    words = [program("ruby"), SCRIPT, server.directory_url, server.root_pem]
    run([*words, kind, folder, output, *names], cwd=output, **env)
    chain, key = (output / file for file in ("chain.pem", "key.pem"))
    assert_certificate(chain.read_bytes(), key.read_bytes(), names)


def test_ruby_acme_client_goes_through_the_life_of_an_account(
    acme_server: AcmeServer, tmp_path: Path, told: Callable[..., None]
):
    told("http-01", "account", "order", "revoke", "account update", "deactivate")
    names = [acme_server.name("ruby"), acme_server.name("www.ruby")]
    with webroot(tmp_path / "www", acme_server.http01_port) as challenges:
        issue(acme_server, tmp_path, "http-01", challenges, *names)


def test_ruby_acme_client_changes_its_key(
    acme_server: AcmeServer, tmp_path: Path, told: Callable[..., None]
):
    told("http-01", "key change")
    with webroot(tmp_path / "www", acme_server.http01_port) as challenges:
        name = acme_server.name("ruby-key")
        issue(acme_server, tmp_path, "http-01", challenges, name, CHANGE_KEY="yes")


def test_ruby_acme_client_proves_a_zone_and_all_below_it_by_dns(
    acme_server: AcmeServer, tmp_path: Path, told: Callable[..., None]
):
    told("dns-01", "order", "wildcard and its zone")
    names = [acme_server.name("ruby-dns"), "*." + acme_server.name("ruby-dns")]
    issue(acme_server, tmp_path, "dns-01", acme_server.txt, *names)
