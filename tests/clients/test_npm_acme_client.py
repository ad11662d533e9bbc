"""npm acme-client: a library that asks for a nonce before every request."""

from pathlib import Path

import pytest

from tests.make.acme_client import assert_certificate
from tests.make.acme_server import AcmeServer
from tests.make.npm_packages import PACKAGES, run_script

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]  # the first run installs from npm


def test_npm_acme_client_goes_through_the_life_of_an_account(
    acme_server: AcmeServer, tmp_path: Path
):
    name = acme_server.name("npm")
    where = [acme_server.directory_url, str(acme_server.http01_port), name, tmp_path / "got"]
    script = PACKAGES / "issue.mjs"
    run_script(script, *where, cwd=tmp_path, NODE_EXTRA_CA_CERTS=acme_server.root_pem)
    chain, key = (tmp_path / "got" / file for file in ("chain.pem", "key.pem"))
    assert_certificate(chain.read_bytes(), key.read_bytes(), [name])
