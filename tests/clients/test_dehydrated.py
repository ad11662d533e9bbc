"""dehydrated, from Debian: a shell script that never tries a request again after badNonce."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.make.acme_client import TXT_HOOK, assert_certificate, program, run, webroot
from tests.make.acme_server import AcmeServer
from tests.make.client_matrix import version_of

pytestmark = pytest.mark.interop

CONFIG = """\
CA={server.directory_url}
CURL_OPTS="--cacert {server.root_pem}"
BASEDIR={folder}/dehydrated
WELLKNOWN={folder}/www/.well-known/acme-challenge
CONTACT_EMAIL=admin@corp.example
KEY_ALGO=prime256v1
RENEW_DAYS=9000
{more}
"""


@pytest.fixture
def told(exercised: Callable[..., None]) -> Callable[..., None]:
    version = version_of(program("dehydrated"), "--version")
    return lambda challenge, *features: exercised("dehydrated", version, challenge, *features)


class Dehydrated:
    """dehydrated with its configuration and its folder."""

    def __init__(self, server: AcmeServer, folder: Path, more: str = "") -> None:
        self.server, self.folder = server, folder
        (folder / "dehydrated").mkdir()
        (folder / "config").write_text(CONFIG.format(server=server, folder=folder, more=more))

    def __call__(self, *words: str | Path) -> str:
        command = [program("dehydrated"), "--config", self.folder / "config", *words]
        return run(command, cwd=self.folder, TXT=self.server.txt)

    def stored(self, name: str) -> tuple[bytes, bytes]:
        """Return the chain and the key."""
        folder = self.folder / "dehydrated/certs" / name
        return (folder / "fullchain.pem").read_bytes(), (folder / "privkey.pem").read_bytes()


@pytest.fixture
def web(acme_server: AcmeServer, tmp_path: Path) -> Iterator[None]:
    with webroot(tmp_path / "www", acme_server.http01_port):
        yield


@pytest.mark.usefixtures("web")
def test_dehydrated_goes_through_the_life_of_an_account(
    acme_server: AcmeServer, tmp_path: Path, told: Callable[..., None]
):
    told("http-01", "account", "order", "renew", "revoke", "account update", "deactivate")
    dehydrated = Dehydrated(acme_server, tmp_path)
    names = [acme_server.name("dehydrated"), acme_server.name("www.dehydrated")]
    dehydrated("--register", "--accept-terms")
    dehydrated("--cron", "--domain", " ".join(names))
    first, key = dehydrated.stored(names[0])
    assert_certificate(first, key, names)
    dehydrated("--cron", "--domain", " ".join(names))
    second, key = dehydrated.stored(names[0])
    assert second != first
    assert_certificate(second, key, names)
    dehydrated("--revoke", tmp_path / "dehydrated/certs" / names[0] / "cert.pem")
    with (tmp_path / "config").open("a") as config:
        config.write("CONTACT_EMAIL=other@corp.example\n")
    dehydrated("--account")
    dehydrated("--deactivate")


def test_dehydrated_proves_a_zone_and_all_below_it_by_dns(
    acme_server: AcmeServer, tmp_path: Path, told: Callable[..., None]
):
    told("dns-01", "order", "wildcard and its zone")
    dehydrated = Dehydrated(acme_server, tmp_path, f"CHALLENGETYPE=dns-01\nHOOK={TXT_HOOK}")
    names = [acme_server.name("dehydrated-dns"), "*." + acme_server.name("dehydrated-dns")]
    dehydrated("--register", "--accept-terms")
    dehydrated("--cron", "--domain", " ".join(names))
    assert_certificate(*dehydrated.stored(names[0]), names)


@pytest.mark.usefixtures("web")
def test_dehydrated_binds_its_account(
    acme_server: AcmeServer, tmp_path: Path, told: Callable[..., None]
):
    told("http-01", "EAB")
    kid, key = acme_server.new_binding()
    dehydrated = Dehydrated(acme_server, tmp_path, f"EAB_KID={kid}\nEAB_HMAC_KEY={key}")
    name = acme_server.name("dehydrated-eab")
    dehydrated("--register", "--accept-terms")
    dehydrated("--cron", "--domain", name)
    assert_certificate(*dehydrated.stored(name), [name])
