"""Writing an answer: in one piece, and as JSON also where no application was asked.

Waitress sends headers and body one after the other, each a system call and under TLS a record;
here they leave together. It also ends the connection after every answer without a body, which
would cost a client of newNonce (204, RFC 8555 section 7.2) a handshake each time; here it stays.
Refusals that never reach the application are problem documents (RFC 7807) like all others,
because ACME clients parse every error as JSON.
"""

import functools
from http import HTTPStatus
from typing import Any

import msgspec
from waitress.task import (  # type: ignore[import-untyped] # waitress carries no types
    ErrorTask,
    WSGITask,
)
from waitress.utilities import (  # type: ignore[import-untyped] # waitress carries no types
    Error,
    InternalServerError,
    RequestEntityTooLarge,
    RequestHeaderFieldsTooLarge,
    build_http_date,
)

from certeasy.decide.problems import Problem, Refused
from certeasy.log import logger
from certeasy.serve.limits import MAX_HEADER_BYTES
from certeasy.serve.requests import NoRoom

MAX_DETAIL = 200
"""Characters of a parser's complaint that are repeated; it may quote what the client sent."""


class Answer(WSGITask):  # type: ignore[misc] # waitress carries no types
    """The application's answer to one request."""

    logger = logger("http-server")
    wrote_header: bool

    def get_environment(self) -> dict[str, Any]:
        """Return the WSGI environment; text also where waitress, told no name, has None."""
        environment: dict[str, Any] = super().get_environment()
        environment["SERVER_SOFTWARE"] = "certeasy"
        return environment

    def set_close_on_finish(self) -> None:
        """End the connection after this answer; the header that says so leaves with the rest."""
        self.close_on_finish = True

    def write(self, data: bytes) -> None:
        """Send `data`, and the headers with it if they have not left yet."""
        if not self.complete:
            raise RuntimeError("start_response was not called before the body was written")
        head = b""
        if not self.wrote_header:
            head = self.build_response_header()
            self.wrote_header = True
        self.channel.write_soon(head + self._framed(data))

    def build_response_header(self) -> bytes:
        """Return status line and headers, and settle how the body ends and whether we go on."""
        headers = [f"{name}: {value}" for name, value in self.response_headers if self._keeps(name)]
        if not self._bodiless and not self._has_length():
            if self.content_length is not None:
                headers.append(f"Content-Length: {self.content_length}")
            elif self.version == "1.1":
                headers.append("Transfer-Encoding: chunked")
                self.chunked_response = True
            else:
                self.close_on_finish = True
        if self.close_on_finish or self._last_of_connection():
            self.close_on_finish = True
            headers.append("Connection: close")
        elif self.version == "1.0":
            headers.append("Connection: keep-alive")
        headers.append(http_date(int(self.start_time)))
        return "\r\n".join((f"HTTP/{self.version} {self.status}", *headers, "\r\n")).encode(
            "latin-1"
        )

    @property
    def _bodiless(self) -> bool:
        return self.request.command == "HEAD" or not self.has_body

    def _keeps(self, header: str) -> bool:
        # RFC 9110 section 8.6: no Content-Length where the status leaves no room for a body.
        return self.has_body or header.lower() != "content-length"

    def _has_length(self) -> bool:
        return any(name.lower() == "content-length" for name, _ in self.response_headers)

    def _last_of_connection(self) -> bool:
        if self.channel.server.draining:
            return True
        wishes = self.request.headers.get("CONNECTION")
        if wishes is None:
            return bool(self.version == "1.0")
        tokens = {token.strip().lower() for token in wishes.split(",")}
        return "close" in tokens or (self.version == "1.0" and "keep-alive" not in tokens)

    def _framed(self, data: bytes) -> bytes:
        if not data or self._bodiless:
            return b""
        if self.chunked_response:
            return b"%X\r\n%b\r\n" % (len(data), data)
        if self.content_length is not None:
            # What an application writes beyond its own length would pass for the next answer.
            data = data[: self.content_length - self.content_bytes_written]
        self.content_bytes_written += len(data)
        return data


class Refusal(ErrorTask):  # type: ignore[misc] # waitress carries no types
    """Our own answer to a request that the application never saw, or did not survive."""

    def execute(self) -> None:
        """Write the problem document and end the connection, once the client has read it."""
        if isinstance(self.request.error, NoRoom):
            server = self.channel.server
            server.warn("no room for a large request: %d bytes are held", server.bodies.held)
        refused = refusal(self.request.error, self.channel.adj.max_request_body_size - 1)
        body = msgspec.json.encode(refused.document())
        self.status = f"{refused.status} {HTTPStatus(refused.status).phrase}"
        self.response_headers.append(("Content-Type", "application/problem+json"))
        self.response_headers.append(("Cache-Control", "no-store"))
        if refused.retry_after is not None:
            self.response_headers.append(("Retry-After", str(refused.retry_after)))
        self.content_length = len(body)
        self.set_close_on_finish()
        self.channel.linger_after_answer = True
        self.write(body)


def refusal(error: Error, max_body_bytes: int) -> Refused:
    """Return what waitress found wrong with a request as the refusal that a client gets."""
    if isinstance(error, InternalServerError):
        return Refused(Problem.SERVER_INTERNAL, "the server failed on this request; it is logged")
    if isinstance(error, NoRoom):
        detail = "there is no room for this request beside those of others; try again in a moment"
        return Refused(Problem.SERVICE_UNAVAILABLE, detail)
    if isinstance(error, RequestEntityTooLarge):
        detail = f"the body of a request may have {max_body_bytes} bytes at most"
    elif isinstance(error, RequestHeaderFieldsTooLarge):
        detail = f"the headers of a request may have {MAX_HEADER_BYTES} bytes at most"
    else:
        detail = f"this is not a valid HTTP request: {error.body[:MAX_DETAIL]}"
    return Refused(Problem.MALFORMED, detail, status=error.code)


@functools.lru_cache(maxsize=2)
def http_date(second: int) -> str:
    """Return the Date header for a second since 1970; many answers share one."""
    return f"Date: {build_http_date(second)}"
