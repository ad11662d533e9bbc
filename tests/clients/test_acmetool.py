"""acmetool, from Debian: it makes true what is wanted, and asks before it registers."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.make.acme_client import TXT_HOOK, assert_certificate, program, run, webroot
from tests.make.acme_server import AcmeServer
from tests.make.client_matrix import debian_version

pytestmark = pytest.mark.interop

RESPONSES = """\
"acme-enter-email": "admin@corp.example"
"acme-agreement:data:text/plain,Do%20what%20thou%20wilt": true
"""
TARGET = """\
request:
  provider: {server.directory_url}
  key:
    type: ecdsa
  challenge:
    webroot-paths: ["{folder}/www/.well-known/acme-challenge"]
    http-self-test: false
    env: {{TXT: "{server.txt}"}}
"""


class Acmetool:
    """acmetool with a state of its own."""

    def __init__(self, server: AcmeServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        (folder / "state/conf").mkdir(parents=True)
        (folder / "hooks").mkdir()
        (folder / "responses").write_text(RESPONSES.format(server=server))
        (folder / "state/conf/target").write_text(TARGET.format(server=server, folder=folder))

    def __call__(self, *words: str) -> str:
        own = ["--state", self.folder / "state", "--hooks", self.folder / "hooks", "--batch"]
        said = ["--response-file", self.folder / "responses"]
        return run(
            [program("acmetool"), *own, *said, *words],
            cwd=self.folder,
            SSL_CERT_FILE=self.server.root_pem,
            TXT=self.server.txt,
        )

    def stored(self, name: str) -> tuple[bytes, bytes]:
        """Return the chain and the key."""
        live = self.folder / "state/live" / name
        return (live / "fullchain").read_bytes(), (live / "privkey").read_bytes()


@pytest.fixture
def told(exercised: Callable[..., None]) -> Callable[..., None]:
    version = debian_version("acmetool")
    return lambda challenge, *features: exercised("acmetool", version, challenge, *features)


def test_acmetool_gets_what_is_wanted_and_revokes_it(
    acme_server: AcmeServer, tmp_path: Path, told: Callable[..., None]
):
    told("http-01", "account", "order", "revoke")
    acmetool = Acmetool(acme_server, tmp_path)
    names = [acme_server.name("acmetool"), acme_server.name("www.acmetool")]
    with webroot(tmp_path / "www", acme_server.http01_port):
        acmetool("want", *names)
    assert_certificate(*acmetool.stored(names[0]), names)
    (certificate,) = (tmp_path / "state/certs").iterdir()
    acmetool("revoke", certificate.name)


def test_acmetool_proves_a_zone_and_all_below_it_by_dns(
    acme_server: AcmeServer, tmp_path: Path, told: Callable[..., None]
):
    told("dns-01", "order", "wildcard and its zone")
    acmetool = Acmetool(acme_server, tmp_path)
    (tmp_path / "hooks/txt").symlink_to(TXT_HOOK)
    names = [acme_server.name("acmetool-dns"), "*." + acme_server.name("acmetool-dns")]
    acmetool("want", *names)
    assert_certificate(*acmetool.stored(names[0]), names)
