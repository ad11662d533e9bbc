"""The other half of http-01: a tiny web server that answers every client's challenges rightly.

A client is told from the name it orders (`c3-17-0.lab.test` is the third's), so nobody has to tell
the responder about tokens: the answer is the token in the path and the thumbprint of that client's
key.
"""

import contextlib
import re
import socket
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

LOOPBACK = "127.0.0.1"
BACKLOG = 256
PATIENCE = 2.0
MAX_REQUEST = 8192
CHALLENGE = re.compile(rb"GET /\.well-known/acme-challenge/([A-Za-z0-9_-]+) HTTP/1\.[01]\r\n")
CLIENT = re.compile(rb"\r\n[Hh]ost: ?c([0-9]+)-")
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def name_of(client: int, order: int, index: int, domain: str) -> str:
    """Return the name that a client orders; the responder knows the client from it."""
    return f"c{client}-{order}-{index}.{domain}"


class Responder:
    """Answers on loopback from one thread between `with` and its end."""

    def __init__(self, port: int, thumbprints: Sequence[str]) -> None:
        self._thumbprints = [thumbprint.encode("ascii") for thumbprint in thumbprints]
        self._listener = socket.create_server((LOOPBACK, port), backlog=BACKLOG)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, name="http-01", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            # A validator that went away is no concern of ours: the server will report it.
            with connection, contextlib.suppress(OSError):
                connection.settimeout(PATIENCE)
                connection.sendall(self._answer(_request(connection)))

    def _answer(self, request: bytes) -> bytes:
        challenge, client = CHALLENGE.match(request), CLIENT.search(request)
        if challenge is None or client is None or int(client[1]) >= len(self._thumbprints):
            return NOT_FOUND
        body = challenge[1] + b"." + self._thumbprints[int(client[1])]
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (
            len(body),
            body,
        )


def _request(connection: socket.socket) -> bytes:
    request = b""
    while b"\r\n\r\n" not in request and len(request) < MAX_REQUEST:
        data = connection.recv(MAX_REQUEST)
        if not data:
            break
        request += data
    return request
