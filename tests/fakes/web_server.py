"""A small TCP server on loopback that answers HTTP exactly as a test says, rightly or wrongly.

    with WebServer(lambda request: [page(b"hello")]) as web:
        ...  # web.port, web.requests

The answer to a request is a sequence of bytes to send and of numbers: seconds to wait in between.
After the last one the connection is closed. `tls` is a server context to speak HTTPS with.
"""

import re
import socket
import ssl
from collections.abc import Callable, Iterable

from tests.fakes.tcp_server import TcpServer

Answer = Callable[[bytes], Iterable[bytes | float]]


class WebServer(TcpServer):
    """Answers a request on each connection between `with` and its end."""

    def __init__(
        self,
        answer: Answer,
        *,
        address: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__("web", address=address, port=port)
        self._answer = answer
        self._tls = tls
        self.requests: list[bytes] = []
        """Every request so far: its line and header, as it came."""
        self.bodies: list[bytes] = []
        """What came behind each of them, as long as its Content-Length says."""

    def targets(self) -> list[str]:
        """Return the path and query of every request so far."""
        return [request.split(b" ", 2)[1].decode() for request in self.requests]

    def hosts(self) -> list[str]:
        """Return the Host header of every request so far."""
        lines = [line for request in self.requests for line in request.split(b"\r\n")]
        return [line[6:].decode() for line in lines if line.startswith(b"Host: ")]

    def serve(self, connection: socket.socket) -> None:
        if self._tls is None:
            self._talk(connection)
        else:
            with self.secured(connection, self._tls) as secured:
                self._talk(secured)

    def _talk(self, connection: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            data = connection.recv(4096)
            if not data:
                return
            request += data
        head, _, body = request.partition(b"\r\n\r\n")
        announced = re.search(rb"(?i)\r\ncontent-length: *([0-9]+)", head)
        while announced and len(body) < int(announced[1]):
            if not (data := connection.recv(4096)):
                return
            body += data
        self.bodies.append(body)
        self.requests.append(head + b"\r\n\r\n")
        for piece in self._answer(request):
            if self.closing.is_set():
                return
            if isinstance(piece, bytes):
                connection.sendall(piece)
            else:
                self.closing.wait(piece)


def page(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """Return a plain, correct HTTP answer."""
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(head).encode("latin-1") + body


def redirect(location: str, status: str = "302 Found") -> bytes:
    """Return a redirect to `location`."""
    return page(b"", status, f"Location: {location}")
