"""Pebble, an ACME server by others, from Debian: it shows that our drivers of clients are right."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from tests.fakes.dns_server import DnsServer
from tests.make.acme_server import ZONE, AcmeServer, free_port, running
from tests.make.tls_files import make_server_certificate


@contextmanager
def pebble(folder: Path) -> Iterator[AcmeServer]:
    """Run Pebble on ports of its own; its files go into `folder`."""
    port, http01_port = free_port(), free_port()
    root_pem = make_server_certificate(folder)
    config = write_config(folder, port, http01_port)
    # No delays and no nonces refused at random: coping with those is not asked here.
    env = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"}
    with DnsServer({f"*.{ZONE}": ["A 127.0.0.1"]}) as dns:
        command = ["pebble", "-config", config, "-dnsserver", dns.endpoint]
        with running(command, port=port, log=folder / "pebble.log", env=env):
            yield AcmeServer(f"https://127.0.0.1:{port}/dir", root_pem, http01_port)


def write_config(folder: Path, port: int, http01_port: int) -> Path:
    """Write Pebble's configuration and return its path."""
    settings = {
        "listenAddress": f"127.0.0.1:{port}",
        "managementListenAddress": f"127.0.0.1:{free_port()}",
        "certificate": str(folder / "tls.pem"),
        "privateKey": str(folder / "tls.key"),
        "httpPort": http01_port,
        "tlsPort": free_port(),
    }
    path = folder / "pebble.json"
    path.write_bytes(msgspec.json.encode({"pebble": settings}))
    return path
