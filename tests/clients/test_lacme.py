"""lacme, from Debian: four processes, one for the keys, and one that is a web server."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.make.acme_client import assert_certificate, output, program, run_trusting
from tests.make.acme_server import AcmeServer
from tests.make.client_matrix import debian_version

pytestmark = pytest.mark.interop

CONFIG = """\
config-certs = {folder}/certs.conf
[client]
server = {server.directory_url}
user =
group =
[webserver]
listen = 127.0.0.1:{server.http01_port}
user =
group =
[accountd]
config = {folder}/accountd.conf
"""
CERTIFICATES = """\
[lab]
certificate-key = {folder}/server.key
certificate-chain = {folder}/chain.pem
subject = /CN={names[0]}
subjectAltName = DNS:{names[0]},DNS:{names[1]}
keyUsage = digitalSignature, keyEncipherment
CAfile =
"""


def test_lacme_goes_through_the_life_of_an_account(
    acme_server: AcmeServer, tmp_path: Path, exercised: Callable[..., None]
):
    features = ["account", "account update", "order", "renew", "revoke"]
    exercised("lacme", debian_version("lacme"), "http-01", *features)
    names = [acme_server.name("lacme"), acme_server.name("www.lacme")]
    (tmp_path / "lacme.conf").write_text(CONFIG.format(server=acme_server, folder=tmp_path))
    (tmp_path / "certs.conf").write_text(CERTIFICATES.format(folder=tmp_path, names=names))
    for name in ("account", "server"):
        how = ["-algorithm", "RSA", "-out", tmp_path / f"{name}.key"]
        output([program("openssl"), "genpkey", *how])
    (tmp_path / "accountd.conf").write_text(f"privkey = file:{tmp_path}/account.key\n")

    def lacme(*words: str | Path) -> str:
        command = [program("lacme"), "--config", tmp_path / "lacme.conf", *words]
        return run_trusting(acme_server.root_pem, command, cwd=tmp_path)

    contacts = ["mailto:admin@corp.example", "mailto:other@corp.example"]
    lacme("account", "--tos-agreed", "--register", contacts[0])
    lacme("newOrder", "lab")
    first = (tmp_path / "chain.pem").read_bytes()
    assert_certificate(first, (tmp_path / "server.key").read_bytes(), names)
    assert contacts[1] in lacme("account", contacts[1])
    lacme("newOrder", "--force", "lab")
    second = (tmp_path / "chain.pem").read_bytes()
    assert second != first
    lacme("revokeCert", tmp_path / "chain.pem")
