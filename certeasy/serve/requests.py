"""Reading a request: waitress's parser, and what it lets through or trips over.

A request whose end two parties could see in different places is refused, because behind a proxy
it could smuggle a second one (RFC 9112 section 6.1). Whatever the parser cannot read becomes a
400; left alone, some of it (a length of 5,000 digits, an unclosed bracket in the URI) raises out
of the parser and ends the connection without an answer. A body for which there is no room among
all others (`bodies`) is refused as soon as that is known. So is one in chunks whose sizes stand in
long lines, or that has a long trailer: with each piece that comes, the parser reads such a line
from its beginning, and a client that sends it byte by byte would keep the loop busy.
"""

from typing import Any

from waitress.parser import (  # type: ignore[import-untyped] # waitress carries no types
    HTTPRequestParser,
    ParsingError,
)
from waitress.receiver import (  # type: ignore[import-untyped] # waitress carries no types
    ChunkedReceiver,
)
from waitress.utilities import (  # type: ignore[import-untyped] # waitress carries no types
    BadRequest,
    Error,
)

MAX_CHUNK_LINE_BYTES = 4096
"""Of the line with a chunk's size and extensions, and of all trailers, while they are not whole."""


class NoRoom(Error):  # type: ignore[misc] # waitress carries no types
    """The reason for refusing a body that might be taken a little later."""

    code = 503
    reason = "Service Unavailable"


class Request(HTTPRequestParser):  # type: ignore[misc] # waitress carries no types
    """One request, fed with bytes until it is complete or wrong."""

    error: Error | None

    def __init__(self, adj: Any) -> None:
        super().__init__(adj)
        self.held = 0

    def received(self, data: bytes) -> int:
        """Take bytes of this request and return how many were its own."""
        taken: int = super().received(data)
        if self.body_rcv is not None and self.error is None:
            if not self._finds_room():
                self._refuse(NoRoom("no room"))
            elif self._awaits_a_long_line():
                size = MAX_CHUNK_LINE_BYTES
                self._refuse(BadRequest(f"a chunk's line or trailer has more than {size} bytes"))
        if self.completed:
            # "100 Continue" would reopen a request that is refused, or that has no body.
            self.expect_continue = False
        return taken

    def _refuse(self, error: Error) -> None:
        self.error = error
        self.completed = True
        self.close()

    def _awaits_a_long_line(self) -> bool:
        receiver = self.body_rcv
        if self.completed or not isinstance(receiver, ChunkedReceiver):
            return False
        return len(receiver.control_line) + len(receiver.trailer) > MAX_CHUNK_LINE_BYTES

    def _finds_room(self) -> bool:
        size = self.body_bytes_received
        if not size:
            return bool(self.adj.bodies.expect(self.content_length))
        more, self.held = size - self.held, size
        return bool(self.adj.bodies.hold(size, more))

    def close(self) -> None:
        """Let go of the body, and of the room that it took. Twice is no harm."""
        held, self.held = self.held, 0
        self.adj.bodies.release(held)
        super().close()

    def parse_header(self, header_plus: bytes) -> None:
        """Read the request line and the headers. Raises ParsingError."""
        try:
            super().parse_header(header_plus)
        except ValueError as error:
            raise ParsingError("the request line or a number in the headers is invalid") from error
        if self.chunked and "CONTENT_LENGTH" in self.headers:
            raise ParsingError("the length of the body is given in two ways")
        if "TRANSFER_ENCODING" in self.headers:  # in HTTP/1.1 it has been taken out by now
            raise ParsingError("HTTP/1.0 knows no Transfer-Encoding")
        host = self.headers.get("HOST")
        if (host is None and self.version == "1.1") or (host is not None and "," in host):
            raise ParsingError("there must be one Host header")  # RFC 9112 section 3.2
