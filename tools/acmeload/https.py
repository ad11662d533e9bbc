"""One kept HTTPS connection, with as little between the socket and the caller as will do."""

import contextlib
import socket
import ssl

from msgspec import Struct

READ_SIZE = 64 * 1024
MAX_ANSWER = 1 << 20
NO_CONTENT = 204
AGENT = "certeasy-acmeload"


class CutOff(ConnectionAbortedError):
    """An answer broke off in its middle."""


class Reply(Struct, frozen=True):
    """An HTTP answer; header names are in lower case, of repeated ones the last counts."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """Asks one server, one request at a time, over one connection while that lasts."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext, timeout: float) -> None:
        self._host = host
        self._port = port
        self._context = context
        self._timeout = timeout
        self._socket: ssl.SSLSocket | None = None
        self._buffer = b""
        self._begun = False  # an answer is being read
        self.opened = 0
        """How often a connection had to be opened."""

    def ask(self, method: str, target: str, body: bytes = b"") -> Reply:
        """Send a request and return its answer. Raises OSError; the next call connects anew."""
        try:
            connection = self._socket or self._open()
            self._begun = False
            connection.sendall(self._request(method, target, body))
            return self._reply(connection, bodiless=method == "HEAD")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
        self._socket, self._buffer = None, b""

    def _open(self) -> ssl.SSLSocket:
        plain = socket.create_connection((self._host, self._port), self._timeout)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket = self._context.wrap_socket(plain, server_hostname=self._host)
        except BaseException:
            plain.close()
            raise
        self.opened += 1
        return self._socket

    def _request(self, method: str, target: str, body: bytes) -> bytes:
        head = f"{method} {target} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
        head += f"User-Agent: {AGENT}\r\n"
        if method == "POST":
            head += f"Content-Type: application/jose+json\r\nContent-Length: {len(body)}\r\n"
        return head.encode("ascii") + b"\r\n" + body

    def _reply(self, connection: ssl.SSLSocket, *, bodiless: bool) -> Reply:
        first, *lines = self._until(connection, b"\r\n\r\n").decode("latin-1").split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        status = int(first.split(" ", 2)[1])
        body = b""
        if not bodiless and status != NO_CONTENT:
            body = self._body(connection, headers)
        if headers.get("connection", "").lower() == "close":
            self.close()
        return Reply(status, headers, body)

    def _body(self, connection: ssl.SSLSocket, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return self._exactly(connection, int(headers.get("content-length", "0")))
        body = b""
        while length := int(self._until(connection, b"\r\n").partition(b";")[0], 16):
            body += self._exactly(connection, length)
            self._exactly(connection, 2)
        self._until(connection, b"\r\n")
        return body

    def _until(self, connection: ssl.SSLSocket, end: bytes) -> bytes:
        while end not in self._buffer:
            self._more(connection)
        found, _, self._buffer = self._buffer.partition(end)
        return found

    def _exactly(self, connection: ssl.SSLSocket, length: int) -> bytes:
        while len(self._buffer) < length:
            self._more(connection)
        found, self._buffer = self._buffer[:length], self._buffer[length:]
        return found

    def _more(self, connection: ssl.SSLSocket) -> None:
        try:
            data = connection.recv(READ_SIZE)
        except ConnectionError as error:
            raise CutOff("the answer broke off") if self._begun else error from None
        if not data or len(self._buffer) > MAX_ANSWER:
            broken = CutOff if self._begun else ConnectionAbortedError
            raise broken("the answer broke off, or is too long")
        self._begun = True
        self._buffer += data
