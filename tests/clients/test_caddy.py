"""Caddy, from Debian: a web server that gets its certificates by itself, while it serves."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.make.acme_client import QUIET_ENV, assert_certificate, is_served, program
from tests.make.acme_server import AcmeServer, free_port, running
from tests.make.client_matrix import version_of
from tests.make.waiting import soon

pytestmark = pytest.mark.interop

CADDYFILE = """\
{{
	admin off
	default_bind 127.0.0.1
	http_port {http}
	https_port {https}
	storage file_system {folder}/caddy
	email admin@corp.example
}}
{name} {{
	tls {{
		issuer acme {{
			dir {server.directory_url}
			trusted_roots {server.root_pem}
			{more}
		}}
	}}
	respond "served"
}}
"""


@pytest.mark.parametrize("challenge", ["http-01", "tls-alpn-01", "http-01 with a binding"])
def test_caddy_gets_its_own_certificate_and_serves_with_it(
    acme_server: AcmeServer, tmp_path: Path, exercised: Callable[..., None], challenge: str
):
    kind, _, binding = challenge.partition(" ")
    feature = "EAB" if binding else "order"
    exercised("Caddy", version_of(program("caddy"), "version"), kind, "account", feature)
    name = acme_server.name("caddy-eab" if binding else f"caddy-{kind}")
    http, https = acme_server.http01_port, free_port()
    more = "disable_tlsalpn_challenge"
    if kind == "tls-alpn-01":
        http, https, more = free_port(), acme_server.tls_alpn01_port, "disable_http_challenge"
    if binding:
        more += "\n\t\t\teab {} {}".format(*acme_server.new_binding())
    filled = CADDYFILE.format(
        http=http, https=https, folder=tmp_path, name=name, server=acme_server, more=more
    )
    (tmp_path / "Caddyfile").write_text(filled)
    command = [program("caddy"), "run", "--config", tmp_path / "Caddyfile"]
    env = QUIET_ENV | {"HOME": str(tmp_path)}
    log = tmp_path / "caddy.log"
    certificates = tmp_path / "caddy/certificates"
    with running(command, port=https, log=log, env=env):
        soon(lambda: list(certificates.glob(f"*/{name}/{name}.json")), seconds=120, told=log)
        (folder,) = certificates.glob(f"*/{name}")
        chain = (folder / f"{name}.crt").read_bytes()
        assert_certificate(chain, (folder / f"{name}.key").read_bytes(), [name])
        soon(lambda: is_served(https, name, chain), told=log)
