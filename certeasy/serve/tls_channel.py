"""One connection under TLS: the handshake, then the same as in clear.

* A handshake is done by the loop, a step whenever bytes arrive: a P-256 one takes it less than a
  millisecond in all, and handing it to threads and back costs more than that.
* The loop watches the socket, not the TLS state behind it. So a read must take a whole record, at
  most 16 KiB of data (RFC 8446 section 5.1), and leave nothing behind that nobody would look for.
* OpenSSL wants a send that could not be finished to be repeated with the same data, or more of it:
  one record's worth at a time keeps that promise, and copies nothing twice.
"""

import socket
import ssl
from typing import Any

import msgspec

from certeasy.decide.problems import Problem, Refused
from certeasy.log import logger
from certeasy.serve.channel import NOT_NOW, Channel
from certeasy.serve.limits import Phase
from certeasy.serve.server_names import NOT_DECODED

log = logger("http-server")

RECORD_BYTES = 16384


class TlsChannel(Channel):
    """A connection whose first bytes are a TLS handshake."""

    def __init__(
        self,
        server: Any,
        sock: socket.socket,
        addr: Any,
        adj: Any,
        map: Any = None,  # noqa: A002 - waitress's name for it
    ) -> None:
        sock.setblocking(False)
        secured = server.certificates.context.wrap_socket(
            sock, server_side=True, do_handshake_on_connect=False
        )
        self.shaking = True
        self.to_send = False
        super().__init__(server, secured, addr, adj, map=map)
        self.sendbuf_len = RECORD_BYTES

    def phase(self) -> Phase:
        """Return what this connection is busy with."""
        if self.shaking and not self.lingering:
            return Phase.HANDSHAKE
        return super().phase()

    def readable(self) -> bool:
        """Tell whether bytes of the client are welcome now."""
        return not self.to_send if self.shaking else super().readable()

    def writable(self) -> bool:
        """Tell whether something is to be sent, or the connection to be ended."""
        return self.to_send if self.shaking else super().writable()

    def take(self) -> None:
        """Take some bytes: of the handshake, or of a request."""
        if self.shaking:
            self.shake()
        else:
            super().take()

    def handle_write(self) -> None:
        """Send what waits: a step of the handshake, or of an answer."""
        if self.shaking:
            self.shake()
        else:
            super().handle_write()

    def shake(self) -> None:
        """Go on with the handshake as far as it goes without waiting."""
        try:
            with self.socket_lock:
                self.socket.do_handshake()
        except ssl.SSLWantReadError:
            self.to_send = False
        except ssl.SSLWantWriteError:
            self.to_send = True
        except ssl.SSLError as error:
            log.debug("handshake with %s failed: %s", self.addr[0], error)
            if error.reason == NOT_DECODED:
                self.server.warn("%s asks for a host whose name is no text", self.addr[0])
            self.give_up(in_clear=error.reason == "HTTP_REQUEST")
        except (OSError, ValueError):
            self.handle_close()
        else:
            self.shaking = False

    def give_up(self, *, in_clear: bool) -> None:
        """End a handshake that failed. Whoever spoke HTTP is told, in HTTP, to speak TLS."""
        self.shaking = False
        if not in_clear:
            self.handle_close()
            return
        try:
            # Past the TLS state, which knows no way to send this.
            socket.socket.send(self.socket, SPEAK_TLS)
        except OSError:
            self.handle_close()
        else:
            self.linger()

    def say_goodbye(self) -> None:
        """Send close_notify, without waiting for the client's (RFC 8446 section 6.1)."""
        try:
            self.socket.unwrap()
        except (*NOT_NOW, OSError, ValueError):
            # The client's own close_notify has not come, or it has gone: both are the usual end.
            return

    def handle_close(self) -> None:
        """Close now, whatever waits; after a handshake, with a word. Only the loop comes here."""
        if self.socket is not None and not self.shaking and not self.lingering:
            with self.socket_lock:
                self.say_goodbye()
        super().handle_close()


def _speak_tls() -> bytes:
    refused = Refused(Problem.MALFORMED, "this port speaks HTTPS, the request came as plain HTTP")
    body = msgspec.json.encode(refused.document())
    head = (
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


SPEAK_TLS = _speak_tls()
