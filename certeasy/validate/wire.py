"""One HTTP/1.1 request over a connection to a stranger, who may answer anything, or nothing, for
ever.

The standard client trusts its peer with time and memory; this one reads little, and bounds all of
it: the head, the body, every line of a chunked body, and the time in which the whole answer must
have arrived. Nothing is decompressed. Nothing that it says is repeated, not even a status text:
whoever orders a certificate may have us redirected to any page that this machine can reach, and
must not read it in our answer.
"""

import codecs
import re
import socket
import ssl
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec

from certeasy.decide.problems import Problem

MAX_HEAD = 16 * 1024
MAX_BODY = 8 * 1024
MAX_CHUNK_LINE = 256
MAX_INTERIM = 4
READ_SIZE = 16 * 1024

STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?")
FIELD_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HTTP = b"HTTP/1."
END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;.*)?")
TLS_ALERT = b"\x15\x03"
HTML = re.compile(rb"\s*<(?:!doctype html|html)\b", re.IGNORECASE)
CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")
NO_BODY = (204, 304)
OK, REDIRECTED = 200, 300
A = TypeVar("A")


class Unanswered(Exception):
    """No whole, proper answer came. `str()` is the end of a sentence that begins with the peer."""

    def __init__(self, problem: Problem, detail: str, *, transient: bool = False) -> None:
        super().__init__(detail)
        self.problem = problem
        self.transient = transient


class Answer(msgspec.Struct, frozen=True):
    """An HTTP answer. A body of more bytes than were wanted was `cut`; `headers` are by lower-case
    name."""

    status: int
    body: bytes
    headers: dict[str, str] = {}
    cut: bool = False

    @property
    def location(self) -> str:
        """Where it leads on."""
        return self.headers.get("location", "")

    @property
    def encoding(self) -> str:
        """What was done to the body."""
        return self.headers.get("content-encoding", "")


class Deadline:
    """A point in time that everything here keeps to."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds

    def left(self, at_most: float = 3600.0) -> float:
        """Return the seconds left, at most `at_most`. Raises TimeoutError when none are."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return min(left, at_most)


def get(connection: socket.socket, host: str, target: str, deadline: Deadline) -> Answer:
    """Ask for `target` (path and query) with the Host header `host`, and return the answer.

    The caller opens and closes the connection, and has made sure that neither text holds a space or
    a control character. Raises Unanswered.
    """
    request = (
        f"GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: certeasy\r\nAccept: */*\r\n"
        "Accept-Encoding: identity\r\nConnection: close\r\n\r\n"
    )
    return exchange(connection, request.encode("ascii"), deadline)


def exchange(
    connection: socket.socket, request: bytes, deadline: Deadline, most: int = MAX_BODY
) -> Answer:
    """Send a request as it is, and return the answer with at most so many bytes of its body.

    The request says `Connection: close`, and is not for HEAD. Raises Unanswered.
    """
    return _asked(_Reader(connection, deadline, most), request, _answer)


def tunnel(connection: socket.socket, place: str, deadline: Deadline) -> int:
    """Ask a proxy for a way to `place`, and return the status that it answers with (RFC 9110
    section 9.3.6). After a 2xx the connection is that way. Raises Unanswered."""
    request = f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\nUser-Agent: certeasy\r\n\r\n"
    return _asked(_Reader(connection, deadline, 0), request.encode("ascii"), _opened)


def _asked(reader: "_Reader", request: bytes, read: "Callable[[_Reader], A]") -> A:
    """Send a request, and return what is read of the answer."""
    try:
        reader.connection.settimeout(reader.deadline.left())
        reader.connection.sendall(request)
        return read(reader)
    except TimeoutError:
        raise _late(reader.received) from None
    except ssl.SSLError as error:
        raise Unanswered(Problem.TLS, f"broke the TLS connection ({words(error)})") from error
    except OSError as error:
        raise Unanswered(
            Problem.CONNECTION, f"broke the connection ({words(error)})", transient=True
        ) from error


def words(error: Exception) -> str:
    """Return what the system or OpenSSL calls an error, without numbers: "Connection refused"."""
    if isinstance(error, ssl.SSLError):
        return error.reason or "TLS error"
    said = error.strerror if isinstance(error, OSError) else None
    return said or type(error).__name__


def kind(data: bytes, *, cut: bool = False) -> str:
    """Return what sort of thing a body is, without a word of it: "an HTML page of 512 bytes".

    A body that was `cut` has more bytes than these.
    """
    size = f"{'more than ' if cut else ''}{len(data)} bytes"
    if not data:
        return "empty"
    if HTML.match(data):
        return f"an HTML page of {size}"
    return f"{size} of text" if is_text(data) else f"{size} that are no text"


def is_text(data: bytes) -> bool:
    """Tell whether bytes are UTF-8 without control characters; a last letter may be cut short."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError:
        return False
    return CONTROL.search(data) is None


class _Reader:
    """The bytes a peer sends, buffered, never waited for beyond the deadline."""

    def __init__(self, connection: socket.socket, deadline: Deadline, most: int) -> None:
        self.connection = connection
        self.deadline = deadline
        self.most = most
        """Bytes of a body that are wanted."""
        self.buffer = b""
        self.received = 0

    def more(self) -> bool:
        """Wait for some bytes and add them to the buffer; False at the end of the stream."""
        self.connection.settimeout(self.deadline.left())
        data = self.connection.recv(READ_SIZE)
        self.buffer += data
        self.received += len(data)
        return bool(data)

    def take(self, length: int) -> bytes:
        """Remove and return up to `length` bytes that are in the buffer."""
        taken, self.buffer = self.buffer[:length], self.buffer[length:]
        return taken

    def exactly(self, length: int) -> bytes:
        """Remove and return `length` bytes. Raises Unanswered if the stream ends before."""
        while len(self.buffer) < length:
            if not self.more():
                raise _ended(self.received)
        return self.take(length)

    def line(self) -> bytes:
        """Remove and return one short line without its end."""
        while b"\n" not in self.buffer[:MAX_CHUNK_LINE]:
            if len(self.buffer) >= MAX_CHUNK_LINE:
                raise _garbage("sent a chunk header without end")
            if not self.more():
                raise _ended(self.received)
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.removesuffix(b"\r")


def _answer(reader: _Reader) -> Answer:
    for _ in range(MAX_INTERIM):
        status, headers = _head(reader)
        if status >= OK:
            body, cut = _body(reader, status, headers)
            named = {name.decode(): value.decode("latin-1") for name, value in headers.items()}
            return Answer(status, body, named, cut)
    raise Unanswered(Problem.INCORRECT_RESPONSE, f"sent {MAX_INTERIM} interim answers and no other")


def _opened(reader: _Reader) -> int:
    """Read the answer to a CONNECT. Behind a 2xx nobody speaks before he is asked."""
    for _ in range(MAX_INTERIM):
        status, _headers = _head(reader)
        if OK <= status < REDIRECTED and reader.buffer:
            raise _garbage("sent something of its own into a way that it had opened")
        if status >= OK:
            return status
    raise Unanswered(Problem.INCORRECT_RESPONSE, f"sent {MAX_INTERIM} interim answers and no other")


def _head(reader: _Reader) -> tuple[int, dict[bytes, bytes]]:
    """Read status line and header. Bare line feeds are taken for line ends, as browsers do."""
    looked = 0
    while (end := END_OF_HEAD.search(reader.buffer, looked)) is None:
        if not HTTP.startswith(reader.buffer[: len(HTTP)]):
            raise _no_http(reader.buffer)
        if len(reader.buffer) > MAX_HEAD:
            break
        looked = max(0, len(reader.buffer) - len(b"\r\n\r"))
        if not reader.more():
            raise _ended(reader.received)
    if end is None or end.start() > MAX_HEAD:
        raise _garbage(f"sent a header of more than {MAX_HEAD} bytes")
    first, *lines = reader.take(end.end())[: end.start()].split(b"\n")
    status = STATUS_LINE.fullmatch(first.removesuffix(b"\r"))
    if status is None:
        raise _no_http(first)
    return int(status[1]), _headers(lines)


def _headers(lines: list[bytes]) -> dict[bytes, bytes]:
    """Return the header fields by lower-case name; two that contradict each other are refused."""
    headers: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.removesuffix(b"\r").partition(b":")
        if not colon or FIELD_NAME.fullmatch(name) is None:
            raise _garbage("sent a broken header line")
        name, value = name.lower(), value.strip(b" \t")
        if name in (b"content-length", b"location") and headers.get(name, value) != value:
            raise _garbage(f"sent two different {name.decode()} headers")
        headers[name] = value
    return headers


def _body(reader: _Reader, status: int, headers: dict[bytes, bytes]) -> tuple[bytes, bool]:
    """Read a body as RFC 9112 section 6.3 finds its end; return it and whether it was cut."""
    if status in NO_BODY:
        return b"", False
    coding = headers.get(b"transfer-encoding", b"").lower()
    if coding == b"chunked":
        return _chunked(reader)
    if coding:
        raise _garbage("used an unknown transfer-encoding")
    length = headers.get(b"content-length")
    if length is None:
        return _until_the_end(reader)
    if not length.isdigit() or len(length) > len(str(2**63)):
        raise _garbage("sent a broken content-length")
    return reader.exactly(min(int(length), reader.most)), int(length) > reader.most


def _until_the_end(reader: _Reader) -> tuple[bytes, bool]:
    while len(reader.buffer) <= reader.most and reader.more():
        pass
    return reader.take(reader.most), bool(reader.buffer)


def _chunked(reader: _Reader) -> tuple[bytes, bool]:
    """Read a chunked body. Its trailer is left unread: the connection ends here."""
    body = bytearray()
    while True:
        header = reader.line()
        size = CHUNK_SIZE.fullmatch(header)
        if size is None:
            raise _garbage("sent a broken chunk")
        length = int(size[1], 16)
        if length == 0:
            return bytes(body), False
        if len(body) + length > reader.most:
            body += reader.exactly(reader.most - len(body))
            return bytes(body), True
        body += reader.exactly(length)
        if reader.line():
            raise _garbage("sent a chunk that is longer than it says")


def _ended(received: int) -> Unanswered:
    return Unanswered(
        Problem.CONNECTION,
        f"closed the connection in mid-answer, after {received} bytes"
        if received
        else "closed the connection without an answer",
        transient=True,
    )


def _late(received: int) -> Unanswered:
    detail = (
        f"did not finish its answer in time ({received} bytes came)"
        if received
        else ("accepted the connection but did not answer in time")
    )
    return Unanswered(Problem.CONNECTION, detail, transient=True)


def _garbage(what: str) -> Unanswered:
    return Unanswered(Problem.INCORRECT_RESPONSE, what)


def _no_http(data: bytes) -> Unanswered:
    if data.startswith(TLS_ALERT):
        return _garbage("answers TLS where plain HTTP is expected")
    sent = "text" if is_text(data) else "what is no text"
    return _garbage(f"does not answer in HTTP/1.1 but sends {sent}")
