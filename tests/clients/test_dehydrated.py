"""dehydrated, from Debian: a shell script that never tries a request again after badNonce."""

from pathlib import Path

import pytest

from tests.make.acme_client import assert_certificate, program, run, webroot
from tests.make.acme_server import AcmeServer

pytestmark = pytest.mark.interop

CONFIG = """\
CA={server.directory_url}
CURL_OPTS="--cacert {server.root_pem}"
BASEDIR={folder}/dehydrated
WELLKNOWN={challenges}
CONTACT_EMAIL=admin@corp.example
KEY_ALGO=prime256v1
"""


def test_dehydrated_gets_and_revokes_a_certificate(acme_server: AcmeServer, tmp_path: Path):
    names = [acme_server.name("dehydrated"), acme_server.name("www.dehydrated")]
    (tmp_path / "dehydrated").mkdir()
    words = [program("dehydrated"), "--config", tmp_path / "config"]
    with webroot(tmp_path / "www", acme_server.http01_port) as challenges:
        filled = CONFIG.format(server=acme_server, folder=tmp_path, challenges=challenges)
        (tmp_path / "config").write_text(filled)
        run([*words, "--register", "--accept-terms"], cwd=tmp_path)
        run([*words, "--cron", "--domain", " ".join(names)], cwd=tmp_path)
    stored = tmp_path / "dehydrated/certs" / names[0]
    chain, key = (stored / file for file in ("fullchain.pem", "privkey.pem"))
    assert_certificate(chain.read_bytes(), key.read_bytes(), names)
    run([*words, "--revoke", stored / "cert.pem"], cwd=tmp_path)
    run([*words, "--deactivate"], cwd=tmp_path)
