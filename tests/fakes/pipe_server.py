"""A file server with one pipe, \\pipe\\cert, which leads to a TCP port: impacket's own server.

    with pipe_server(port, user, nt_hash) as server:
        server.port

It passes on one fragment of an answer at a time, which is enough for an answer that is short.
"""

import configparser
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from impacket.smbserver import SMBSERVER

NO_LM_HASH = "aad3b435b51404eeaad3b435b51404ee"
SETTINGS = {
    "global": {
        "server_name": "DC1",
        "server_os": "none",
        "server_domain": "LAB",
        "log_file": "None",
        "rpc_apis": "yes",
        "credentials_file": "",
        "challenge": "A" * 16,
        "SMB2Support": "True",
    },
    "IPC$": {"comment": "", "read only": "yes", "share type": "3", "path": ""},
}


def serve(to_port: int, user: str, nt_hash: str) -> None:
    """Serve until the process ends; print the port first."""
    settings = configparser.ConfigParser()
    settings.read_dict(SETTINGS)
    server = SMBSERVER(("127.0.0.1", 0), config_parser=settings)
    server.processConfigFile()
    server.addCredential(user, 0, NO_LM_HASH, nt_hash)
    server.registerNamedPipe("cert", ("127.0.0.1", to_port))
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()


class PipeServer:
    """The server, in a process of its own, which takes with it what it never closes."""

    def __init__(self, to_port: int, user: str, nt_hash: bytes) -> None:
        words = [sys.executable, "-m", "tests.fakes.pipe_server"]
        self._process = subprocess.Popen(
            [*words, str(to_port), user, nt_hash.hex()],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def close(self) -> None:
        """Be gone."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def pipe_server(to_port: int, user: str, nt_hash: bytes) -> Iterator[PipeServer]:
    """Serve a pipe that leads to a port of 127.0.0.1."""
    server = PipeServer(to_port, user, nt_hash)
    try:
        yield server
    finally:
        server.close()


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2], sys.argv[3])
