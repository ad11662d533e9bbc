"""uacme, from Debian: a small client in C that takes its first nonce by GET."""

from pathlib import Path

import pytest

from tests.make.acme_client import assert_certificate, program, run, webroot
from tests.make.acme_server import AcmeServer

pytestmark = pytest.mark.interop

# uacme trusts the system's bundle only, so it runs where that file is ours and nowhere else.
TRUSTING = 'mount --bind "$ROOT_PEM" /etc/ssl/certs/ca-certificates.crt && exec "$@"'
HOOK = Path("/usr/share/uacme/uacme.sh")


def uacme(server: AcmeServer, folder: Path, challenges: Path, *command: str) -> str:
    own = [program("uacme"), "--verbose", "--yes", "--confdir", "uacme", "--hook", HOOK]
    words = [*own, "--acme-url", server.directory_url, *command]
    return run(
        [program("unshare"), "--mount", "sh", "-c", TRUSTING, "sh", *words],
        cwd=folder,
        ROOT_PEM=server.root_pem,
        UACME_CHALLENGE_PATH=challenges,
    )


def test_uacme_goes_through_the_life_of_an_account(acme_server: AcmeServer, tmp_path: Path):
    name = acme_server.name("uacme")
    with webroot(tmp_path / "www", acme_server.http01_port) as challenges:
        uacme(acme_server, tmp_path, challenges, "new", "admin@corp.example")
        uacme(acme_server, tmp_path, challenges, "issue", name)
    chain = tmp_path / "uacme" / name / "cert.pem"
    key = tmp_path / "uacme/private" / name / "key.pem"
    assert_certificate(chain.read_bytes(), key.read_bytes(), [name])
    uacme(acme_server, tmp_path, challenges, "revoke", str(chain))
    uacme(acme_server, tmp_path, challenges, "update", "other@corp.example")
    uacme(acme_server, tmp_path, challenges, "deactivate")
