"""`certeasy serve` as an administrator starts it: a config.yml, a work directory, a process."""

import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import msgspec

from tests.fakes.dns_server import DnsServer
from tests.fakes.txt_folder import TxtFolder
from tests.make.acme_client import QUIET_ENV, run
from tests.make.acme_server import ZONE, AcmeServer, free_port, running
from tests.make.tls_files import make_server_certificate
from tools.generous import TEXT

CERTEASY = Path(sys.executable).with_name("certeasy")
# Under `coverage run` the server's lines count too; the variables say so to its process.
MEASURED = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}  # noqa: TID251 - not the server's
Front = Callable[[int, int], AbstractContextManager[object]]
"""Runs what passes on, to the first of two ports, what comes in at the second."""
CONFIG = """\
workdir: {folder}/work
server:
  url: ["https://127.0.0.1:{public_port}"]
  listen: 127.0.0.1:{port}
  {server}
admin:
  listen: 127.0.0.1:{admin_port}
{limits}logs:
  format: text
tls-certificate-manager:
  bundles:
    - name: own
      hosts: ["127.0.0.1", acme.corp.example]
      mode: files
      certificate: {folder}/tls.pem
      key: {folder}/tls.key
dns-validation-profiles:
  - name: lab
    http-01-port: {http01_port}
    tls-alpn-01-port: {tls_alpn01_port}
    resolved-ip-policy:
      allow-cidrs: ["127.0.0.0/8"]
    zones:
      - suffixes: ["{zone}"]
        dns-server: ["127.0.0.1:{dns_port}"]
authorities:
{authority}
issuance-policies:
  - name: lab
    dns-validation-profile: lab
    ip: {{allow-cidrs: [127.0.0.1]}}
    dns:
      allow:
        - ".{zone}/3"
        - "*..{zone}/2"
    challenges:
      - http-01
      - dns-01
      - tls-alpn-01
policy-bindings:
  - policy: lab
    authorities: [lab-ca]
profiles:
  - name: short-lived
    description: Seven days
    policy: lab
    max-validity: 7d
"""

EMBEDDED = """\
  - name: lab-ca
    type: embedded"""


@contextmanager
def certeasy(
    folder: Path, authority: str = EMBEDDED, *, server: str = "", front: Front | None = None
) -> Iterator[AcmeServer]:
    """Run `certeasy serve` on ports of its own; its files go into `folder`.

    `authority` is the one entry, named lab-ca, of the configuration's list, `server` more lines of
    that section, `front` what clients speak to in the place of the server itself.

    When it has stopped, raises AssertionError unless its journal, its database and what is folded
    from them agree.
    """
    port = free_port()
    public_port = port if front is None else free_port()
    command = [CERTEASY, "serve", "-f", folder / "config.yml"]
    with (
        configured(folder, port, authority, public_port=public_port, server=server) as acme_server,
        running(command, port=port, log=folder / "certeasy.log", env=QUIET_ENV | MEASURED),
        nullcontext() if front is None else front(port, public_port),
    ):
        yield acme_server
    config = folder / "config.yml"
    run([CERTEASY, "audit", "verify", "-f", config], cwd=folder)
    run([CERTEASY, "projections", "check", "-f", config], cwd=folder)


@contextmanager
def configured(
    folder: Path,
    port: int,
    authority: str = EMBEDDED,
    *,
    public_port: int = 0,
    server: str = "",
    seen: Callable[[Path], str] = str,
) -> Iterator[AcmeServer]:
    """Write folder/config.yml, and answer what the server that reads it asks of DNS.

    `seen` tells how the system that it runs on names a file.
    """
    http01_port, tls_alpn01_port = free_port(), free_port()
    root_pem = make_server_certificate(folder)
    config = folder / "config.yml"
    (folder / "work").mkdir()
    txt = folder / "txt"
    txt.mkdir()
    with DnsServer({}) as dns:
        dns.records = TxtFolder(txt, {f"*.{ZONE}": ["A 127.0.0.1"]})
        ports = {
            "port": port,
            "public_port": public_port or port,
            "server": server,
            "admin_port": free_port(),
            "http01_port": http01_port,
            "tls_alpn01_port": tls_alpn01_port,
            "dns_port": dns.port,
        }
        told = CONFIG.format(
            folder=seen(folder), zone=ZONE, limits=TEXT, authority=authority, **ports
        )
        config.write_text(told)
        url = f"https://127.0.0.1:{public_port or port}/acme/directory"
        binding = functools.partial(new_binding, config)
        yield AcmeServer(url, root_pem, http01_port, tls_alpn01_port, txt, binding)


def new_binding(config: Path) -> tuple[str, str]:
    """Have the running server make a key for one account, as an administrator does."""
    command = [CERTEASY, "eab", "create", "-f", config, "--max-uses", "1", "--json"]
    made = msgspec.json.decode(run(command, cwd=config.parent))
    return made["kid"], made["hmac_key"]
