"""What a test needs to know of an ACME server that is running, and how it starts one.

Whichever server it is, it resolves every name below `lab.test` to 127.0.0.1, validates http-01 and
tls-alpn-01 there on ports of its own, and sees the TXT records that are in a folder; so no client
and no resolver of this machine has to be told anything.
"""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ZONE = "lab.test"
START_SECONDS = 20


@dataclass(frozen=True)
class AcmeServer:
    """A running server, as its clients see it."""

    directory_url: str
    root_pem: Path
    """What to trust to speak to it."""
    http01_port: int
    """Where, on 127.0.0.1, it validates http-01."""
    tls_alpn01_port: int
    """Where, on 127.0.0.1, it validates tls-alpn-01."""
    txt: Path
    """The folder of TXT records: NAME/VALUE is a file."""
    new_binding: Callable[[], tuple[str, str]]
    """Makes an external account binding and returns its key id and key, base64url."""

    def name(self, label: str) -> str:
        """Return a DNS name that this server resolves to 127.0.0.1."""
        return f"{label}.{ZONE}"


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def running(
    command: Sequence[str | Path], *, port: int, log: Path, env: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the end of the block; enter it when `port` accepts connections.

    Raises AssertionError with what the program wrote if it ends, or takes too long, before that.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=dict(env)
        )
    try:
        wait_for(port, process, log)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when something listens on the port; raise AssertionError if the process does not."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"{process.args!r} does not listen on {port}:\n{log.read_text()}")
