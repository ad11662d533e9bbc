"""Pebble, an ACME server by others, from Debian: it shows that our drivers of clients are right."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from tests.fakes.dns_server import DnsServer
from tests.fakes.txt_folder import TxtFolder
from tests.make.acme_server import ZONE, AcmeServer, free_port, running
from tests.make.tls_files import make_server_certificate

BINDING = ("kid-of-pebble", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W")


@contextmanager
def pebble(folder: Path, *, nonces_refused: int = 0) -> Iterator[AcmeServer]:
    """Run Pebble on ports of its own; its files go into `folder`. `nonces_refused`: so many in a
    hundred, at random."""
    port, http01_port, tls_alpn01_port = free_port(), free_port(), free_port()
    root_pem = make_server_certificate(folder)
    config = write_config(folder, port, http01_port, tls_alpn01_port)
    txt = folder / "txt"
    txt.mkdir()
    # No delays: coping with those is not asked here.
    refused = str(nonces_refused)
    env = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": refused, "PEBBLE_AUTHZREUSE": "0"}
    with DnsServer({}) as dns:
        dns.records = TxtFolder(txt, {f"*.{ZONE}": ["A 127.0.0.1"]})
        command = ["pebble", "-config", config, "-dnsserver", dns.endpoint]
        with running(command, port=port, log=folder / "pebble.log", env=env):
            url = f"https://127.0.0.1:{port}/dir"
            yield AcmeServer(url, root_pem, http01_port, tls_alpn01_port, txt, lambda: BINDING)


def write_config(folder: Path, port: int, http01_port: int, tls_alpn01_port: int) -> Path:
    """Write Pebble's configuration and return its path."""
    settings = {
        "listenAddress": f"127.0.0.1:{port}",
        "managementListenAddress": f"127.0.0.1:{free_port()}",
        "certificate": str(folder / "tls.pem"),
        "privateKey": str(folder / "tls.key"),
        "httpPort": http01_port,
        "tlsPort": tls_alpn01_port,
        "externalAccountMACKeys": dict([BINDING]),
    }
    path = folder / "pebble.json"
    path.write_bytes(msgspec.json.encode({"pebble": settings}))
    return path
