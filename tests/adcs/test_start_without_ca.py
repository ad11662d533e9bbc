"""A server starts, and serves, whether its CA is there or not."""

import msgspec
import pytest

from tests.make.adcs import a_ca
from tests.make.certeasy_server import certeasy

pytestmark = pytest.mark.timeout(120)
AUTHORITY = """\
  - name: lab-ca
    type: adcs
    configuration:
      ca-name: ca1.lab.test\\{ca.name}
      address: {ca.host}
      endpoint-mapper-port: {ca.mapper_port}
      transport: tcp
      certificate-template: WebServer
      auth: ntlm
      domain: {ca.domain}
      user: {ca.user}
      password-file: {folder}/password
"""


@pytest.mark.parametrize("how", ["refused", "not-registered"])
def test_a_ca_that_is_away_keeps_no_server_from_starting(tmp_path, how):
    (tmp_path / "password").touch(mode=0o600)
    with a_ca() as ca:
        (tmp_path / "password").write_text(ca.password)
        ca.down(how)
        with certeasy(tmp_path, AUTHORITY.format(ca=ca, folder=tmp_path)):
            pass  # it listens, and its journal, its database and what is folded from them agree
    journal = (tmp_path / "work/audit.log").read_bytes().splitlines()
    types = [msgspec.json.decode(line)["type"] for line in journal]
    assert "node.started" in types
    assert "node.stopped" in types
