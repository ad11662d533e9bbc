"""One connection: requests in, answers out, and never a wait for the other side.

Rules that keep the loop and the workers apart:

* Only the loop's thread closes a connection. A worker that cannot send sets `will_close`.
* A worker runs while `requests` holds one; the loop does not read meanwhile, so one request of a
  connection is worked on at a time and what a client sends ahead waits in the kernel.
* How long something has lasted is not kept up to date by whoever works, but noticed by the loop's
  sweep: `overdue` compares with what it saw last time. That costs a request nothing, and bytes
  trickling in do not push a deadline away.
"""

import socket
import ssl
import threading
from typing import Any

from waitress.channel import HTTPChannel  # type: ignore[import-untyped] # waitress carries no types

from certeasy.log import logger
from certeasy.serve.limits import LINGER_BYTES, Phase
from certeasy.serve.proxy_header import Ahead
from certeasy.serve.requests import Request
from certeasy.serve.responses import Answer, Refusal

NOT_NOW = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""No failure: the socket has nothing to give, or no room to take."""


class Channel(HTTPChannel):  # type: ignore[misc] # waitress carries no types
    """A connection in clear, and what it shares with one under TLS."""

    logger = logger("http-server")  # waitress's own is in nobody's configuration
    task_class = Answer
    error_task_class = Refusal
    parser_class = Request

    def __init__(
        self,
        server: Any,
        sock: socket.socket,
        addr: Any,
        adj: Any,
        map: Any = None,  # noqa: A002 - waitress's name for it
    ) -> None:
        # A worker sends while the loop may read or close: one at a time, TLS state is shared.
        self.socket_lock = threading.Lock()
        self.answered = 0
        self.heard = False
        self.linger_after_answer = False
        self.lingering = False
        self.discarded = 0
        self.origin: str | None = None
        self.ahead: Ahead | None = None
        """What a proxy has to say before anything else; None: it has, or there is none."""
        self.opened_at: float = server.turned_at
        super().__init__(server, sock, addr, adj, map=map)
        self.addr: tuple[Any, ...] = addr
        self.seen = (self.phase(), 0)
        self.seen_at: float = server.turned_at

    # What the loop asks

    def phase(self) -> Phase:
        """Return what this connection is busy with."""
        if self.lingering:
            return Phase.LINGERING
        if self.ahead is not None:
            return Phase.HANDSHAKE
        if self.total_outbufs_len:
            return Phase.WRITING
        return Phase.WORKING if self.requests else self._reading()

    def _reading(self) -> Phase:
        request = self.request
        if request is None:
            return Phase.IDLE
        if request.headers_finished:
            return Phase.BODY
        # Some clients send an empty line after a body: nothing has begun yet.
        return Phase.HEADER if request.header_plus.strip() else Phase.IDLE

    def overdue(self, now: float, allowed: dict[Phase, float]) -> bool:
        """Tell whether one phase of one request has lasted longer than allowed (seconds)."""
        sight = (self.phase(), self.answered)
        if sight != self.seen:
            self.seen, self.seen_at = sight, now
            return False
        return now - self.seen_at > allowed.get(sight[0], float("inf"))

    def readable(self) -> bool:
        """Tell whether bytes of the client are welcome now."""
        return self.lingering or bool(super().readable())

    def writable(self) -> bool:
        """Tell whether something is to be sent, or the connection to be ended."""
        if self.lingering:
            return False
        if self.will_close or self.close_when_flushed:
            return True
        # While a worker sends, the socket has room and the loop would turn and turn for nothing.
        return self.total_outbufs_len > 0 and not self._worker_is_sending()

    def _worker_is_sending(self) -> bool:
        if self.outbuf_lock.acquire(blocking=False):
            self.outbuf_lock.release()
            return False
        return True

    # What the loop does

    def handle_read(self) -> None:
        """Take what has arrived."""
        self.heard = True
        if self.ahead is not None:
            self.hear_the_proxy(self.ahead)
        else:
            self.take()

    def hear_the_proxy(self, ahead: Ahead) -> None:
        """Take what a proxy says about who is behind it; from then on it is that client's."""
        try:
            header = ahead.take(self.socket)
        except NOT_NOW:
            return
        except ValueError as error:
            text = "%s is a trusted proxy and sends no PROXY header that can be read: %s"
            self.server.warn(text, self.addr[0], error)
            self.handle_close()
        except (OSError, EOFError):
            self.handle_close()
        else:
            if header is not None:
                self.ahead = None
                if header.client is not None:
                    self.addr = header.client
                    self.server.settle(self)

    def take(self) -> None:
        """Take some bytes of a request."""
        try:
            with self.socket_lock:
                data = self.socket.recv(self.adj.recv_bytes)
        except NOT_NOW:
            return
        except OSError:
            data = b""
        if not data:
            self.handle_close()
        elif not self.lingering:
            self.received(data)
        else:
            self.discarded += len(data)
            if self.discarded > LINGER_BYTES:
                self.handle_close()

    def handle_write(self) -> None:
        """Send what waits; when a refusal has left, hear the client out before closing."""
        if self.linger_after_answer and self.close_when_flushed and not self.will_close:
            self._flush_exception(self._flush_some)
            if not self.total_outbufs_len and not self.will_close:
                self.linger()
                return
        super().handle_write()

    def linger(self) -> None:
        """Say that no more will come, and read on for a moment without listening.

        Closing with bytes unread makes the kernel reset the connection, and the client, still
        sending, would lose the very answer that says why it should not.
        """
        self.close_when_flushed = False
        self.lingering = True
        try:
            with self.socket_lock:
                self.say_goodbye()
                self.socket.shutdown(socket.SHUT_WR)
        except (OSError, ValueError):
            self.will_close, self.lingering = True, False

    def say_goodbye(self) -> None:
        """Tell the other side, by the means of the protocol, that no more will come."""

    def handle_expt(self) -> None:
        """Close: urgent data has no meaning in HTTP, and unread it would keep the loop awake."""
        self.handle_close()

    def handle_close(self) -> None:
        """Close now, whatever waits. Only the loop's thread comes here."""
        if self.socket is not None:
            super().handle_close()
        if self.request is not None:
            self.request.close()

    def del_channel(self, map: Any = None) -> None:  # noqa: A002 - waitress's name for it
        """Leave the loop, and the place to others."""
        super().del_channel(map)
        self.server.places.leave(self)

    # What the loop and the workers do

    def send(self, data: bytes, do_close: bool = True) -> int:  # noqa: ARG002 - never closes here
        """Send some of `data` and return how much; 0 if the socket takes none now."""
        try:
            with self.socket_lock:
                sent: int = self.socket.send(data)
        except NOT_NOW:
            return 0
        except (OSError, ValueError, AttributeError):
            # ValueError, AttributeError: closed by the loop between the worker's look and this.
            self.will_close = True
            return 0
        return sent

    def write_soon(self, data: bytes) -> int:
        """Send `data`, or leave to the loop what the socket does not take now. For workers."""
        taken: int = super().write_soon(data)
        if self.total_outbufs_len:
            # The loop may have looked while this worker was at it, and have passed on.
            self.server.pull_trigger()
        return taken

    def service(self) -> None:
        """Answer the first of the waiting requests. Runs in a worker."""
        super().service()
        self.answered += 1
