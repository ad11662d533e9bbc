"""What is too large, or no HTTP, is refused at little cost: a table, on a whole server under TLS.

Each client sends on and on, whatever it is told. It is answered with a problem document, the
connection ends, what the server takes of it is bounded, its memory does not grow, and the next
client is served. docs/operations.md has the table.
"""

import itertools
import re
import socket
import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from tests.make.acme_client import QUIET_ENV
from tests.make.acme_server import free_port, running
from tests.make.certeasy_server import CERTEASY, MEASURED, configured
from tests.make.pages import DOCS

MIB = 1 << 20
TAKEN = 32 * MIB
"""What a client can get rid of: 16 MiB are thrown away, the rest is in the kernels' buffers."""
GROWTH = 16 * MIB

POST = b"POST /acme/new-order HTTP/1.1\r\nHost: acme.corp.example\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
GET = b"GET /acme/directory HTTP/1.1\r\nHost: acme.corp.example\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Much:
    """What a client sends: the beginning, so many bytes in pieces, and the end."""

    beginning: bytes
    piece: bytes = b"x"
    size: int = 0
    end: bytes = b""

    def __iter__(self) -> Iterator[bytes]:
        yield self.beginning
        yield from itertools.repeat(self.piece, self.size // len(self.piece))
        yield self.end


LARGE = b"x" * 65536
BODY, HEADERS = "1048576 bytes at most", "32768 bytes at most"
LONG_LINE = "4096 bytes"
REFUSED: dict[str, tuple[Much, int, str]] = {
    "a body of 100 MB": (
        Much(POST + b"Content-Length: %d\r\n\r\n" % (100 * MIB), LARGE, 100 * MIB), 413, BODY),
    "a body of 100 MB in chunks": (
        Much(CHUNKED, b"10000\r\n" + LARGE + b"\r\n", 100 * MIB), 413, BODY),
    "one chunk of 2^64 bytes": (
        Much(CHUNKED + b"10000000000000000\r\n", LARGE, 100 * MIB), 413, BODY),
    "10,000 headers": (Much(POST, b"A: b\r\n", 60_000, b"\r\n"), 431, HEADERS),
    "a header of 1 MB": (Much(POST + b"A: ", LARGE, MIB, b"\r\n\r\n"), 431, HEADERS),
    "a request line of 1 MB": (
        Much(b"GET /", LARGE, MIB, b" HTTP/1.1\r\nHost: a\r\n\r\n"), 431, HEADERS),
    "a chunk's size of 1 MB": (Much(CHUNKED, b"0" * 65536, MIB), 400, LONG_LINE),
    "a chunk's extension of 1 MB": (Much(CHUNKED + b"1;", LARGE, MIB), 400, LONG_LINE),
    "a trailer of 1 MB": (Much(CHUNKED + b"0\r\nA: ", LARGE, MIB), 400, LONG_LINE),
    "a chunk's size that is no number": (Much(CHUNKED + b"wide\r\n"), 400, "chunk size"),
    "a chunk that ends elsewhere": (Much(CHUNKED + b"1\r\nxyz\r\n0\r\n\r\n"), 400, "terminated"),
    "a negative length": (Much(POST + b"Content-Length: -1\r\n\r\n"), 400, "Content-Length"),
    "two lengths": (
        Much(POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n"), 400, "Content-Length"),
    "a length, and chunks": (
        Much(POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"), 400, "two ways"),
    "another transfer coding": (
        Much(POST + b"Transfer-Encoding: gzip\r\n\r\n"), 501, "Transfer-Encoding"),
    "no Host": (Much(b"GET / HTTP/1.1\r\n\r\n"), 400, "one Host"),
    "a NUL in a header": (Much(POST + b"A: \0\r\n\r\n"), 400, "Invalid header"),
    "no HTTP, without an end": (Much(b"", LARGE, MIB), 431, HEADERS),
}  # fmt: skip


@dataclass(frozen=True)
class Server:
    """A process that serves."""

    pid: int
    port: int
    context: ssl.SSLContext

    def dial(self) -> ssl.SSLSocket:
        """Connect."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        return self.context.wrap_socket(plain, server_hostname="acme.corp.example")

    def largest(self) -> int:
        """Return how large it has ever been, in bytes; 0 where no system tells."""
        status = Path(f"/proc/{self.pid}/status")
        if not status.exists():
            return 0
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0]) * 1024

    def serves(self) -> bool:
        """Tell whether another client is shown the directory."""
        with self.dial() as connection:
            connection.sendall(GET)
            return heard(connection).startswith(b"HTTP/1.1 200 ")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    command = [CERTEASY, "serve", "-f", folder / "config.yml"]
    log = folder / "certeasy.log"
    with (
        configured(folder, port) as known,
        running(command, port=port, log=log, env=QUIET_ENV | MEASURED) as process,
    ):
        yield Server(process.pid, port, ssl.create_default_context(cafile=known.root_pem))


def heard(connection: ssl.SSLSocket) -> bytes:
    """Return all that is said until the connection ends."""
    said = b""
    while piece := connection.recv(65536):
        said += piece
    return said


def sent(connection: ssl.SSLSocket, pieces: Iterable[bytes]) -> tuple[int, bytes]:
    """Send all that is taken; return how much that was, and what was said meanwhile."""
    count, said = 0, b""
    for piece in pieces:
        try:
            connection.sendall(piece)
            connection.setblocking(False)
            said += connection.recv(65536)
        except (ssl.SSLWantReadError, BlockingIOError):
            pass
        except OSError:
            return count, said
        finally:
            connection.settimeout(30)
        count += len(piece)
    return count, said + heard(connection)


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_at_little_cost(server: Server, name: str) -> None:
    pieces, status, words = REFUSED[name]
    assert server.serves()
    before = server.largest()
    with server.dial() as connection:
        count, said = sent(connection, pieces)
    head, _, body = said.partition(b"\r\n\r\n")
    assert re.match(rb"HTTP/1\.[01] %d " % status, head), said[:200]
    assert b"Connection: close" in head
    problem = msgspec.json.decode(body)
    assert problem["type"] == "urn:ietf:params:acme:error:malformed"
    assert words in problem["detail"]
    assert count <= TAKEN
    assert server.largest() - before <= GROWTH
    assert server.serves()


def test_the_documents_have_the_same_table() -> None:
    page = (DOCS / "operations.md").read_text(encoding="utf-8")
    for name, (_, status, _) in REFUSED.items():
        assert f"| {name} | {status} |" in page
