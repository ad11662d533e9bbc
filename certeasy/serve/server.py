"""The loop: one thread that owns all sockets of a listener and waits for any of them.

Everything that changes what the loop looks at is done in its own thread; others ask for it through
`call_soon`. An error on one connection ends that connection; none may end the listener, so
accepting has error handling of its own (waitress would close the listening socket).
"""

import contextlib
import errno
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from waitress import wasyncore  # type: ignore[import-untyped] # waitress carries no types
from waitress.adjustments import (  # type: ignore[import-untyped] # waitress carries no types
    Adjustments,
)
from waitress.server import (  # type: ignore[import-untyped] # waitress carries no types
    TcpWSGIServer,
)

from certeasy.log import logger
from certeasy.serve.bodies import Bodies
from certeasy.serve.channel import Channel
from certeasy.serve.contexts import Certificates
from certeasy.serve.limits import (
    IN_FLIGHT,
    MAX_HEADER_BYTES,
    Limits,
    connections_allowed,
    seconds_allowed,
    share_of_one_address,
)
from certeasy.serve.places import Places, quiet
from certeasy.serve.proxy_header import Ahead
from certeasy.serve.server_names import undecodable_names_dropped
from certeasy.serve.tls_channel import RECORD_BYTES, TlsChannel
from certeasy.serve.workers import Workers

log = logger("http-server")

SWEEP = 0.25
"""Seconds between two looks for connections that have taken too long."""

AT_ONCE = 16
"""Connections accepted before those that exist get their turn."""

NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

WARN_EVERY = 60.0
"""Seconds between two warnings of one kind that clients can cause as often as they like."""

WAIT = wasyncore.poll2 if hasattr(select, "poll") else wasyncore.poll
"""select() ends at 1,024 descriptors, at 512 on Windows, which has nothing else."""


class Server(TcpWSGIServer):  # type: ignore[misc] # waitress carries no types
    """A waitress server on a socket that listens already, in clear or under TLS."""

    logger = log

    def __init__(
        self,
        application: Callable[..., Any],
        listening: socket.socket,
        limits: Limits,
        workers: Workers,
        certificates: Certificates | None,
    ) -> None:
        self.certificates = certificates
        self.channel_class = TlsChannel if certificates else Channel
        self.allowed = seconds_allowed(limits)
        self.bodies = Bodies(max(limits.bodies_bytes, limits.max_body_bytes))
        self.places = Places(share_of_one_address(limits), limits.trusted_proxies)
        self.proxy_protocol = limits.proxy_protocol
        self.turned_at = time.monotonic()
        self.draining = False
        self.drained = threading.Event()
        self._stopping = False
        self._next_sweep = self._pause_until = 0.0
        self._next_warning: dict[str, float] = {}
        self._to_close = AT_ONCE
        self._called = False
        self._wake_lock = threading.Lock()
        self._awake = self._closed = False
        super().__init__(
            application,
            map={},
            _sock=listening,
            dispatcher=workers,
            adj=_adjustments(limits, self.bodies, secured=certificates is not None),
            sockinfo=(listening.family, listening.type, listening.proto, listening.getsockname()),
            bind_socket=False,
        )

    def set_reuse_addr(self) -> None:
        """Leave the socket as it was opened: on Windows this option lets others take our port."""

    # The loop

    def run(self) -> None:
        """Serve until told to stop, then close every connection."""
        try:
            with undecodable_names_dropped() if self.certificates else contextlib.nullcontext():
                while not self._stopping:
                    self.turn()
        finally:
            for channel in list(self.active_channels.values()):
                channel.handle_close()
            self.close()

    def turn(self) -> None:
        """Wait for anything to happen, and see to it."""
        # Whoever calls from here on wakes the loop again; what was done before is about to be seen.
        self._awake = False
        WAIT(SWEEP, self._map)
        self.turned_at = time.monotonic()
        if self._called:
            self._called = False
            self._accept()
        if self.turned_at >= self._next_sweep:
            self._next_sweep = self.turned_at + SWEEP
            self.sweep(self.turned_at)
        if self.draining and self.is_quiet():
            self.drained.set()

    def sweep(self, now: float) -> None:
        """Close the connections that have taken too long for what they are at."""
        for channel in list(self.active_channels.values()):
            if channel.overdue(now, self.allowed):
                log.debug("%s took too long: %s", channel.addr[0], channel.phase().name)
                channel.handle_close()
        if self.in_connection_overflow:
            self._make_room(now)
        else:
            self._to_close = AT_ONCE

    def _make_room(self, now: float) -> None:
        for channel in quiet(self.active_channels.values(), now, self._to_close):
            channel.handle_close()
        # A few, for a client or two too many; up to a quarter of all while that does not help.
        self._to_close = min(2 * self._to_close, max(self.adj.connection_limit // 4, AT_ONCE))

    def call_soon(self, function: Callable[[], None]) -> None:
        """Have the loop's thread call `function` in its next turn; nothing if it has ended."""
        with self._wake_lock:
            if not self._closed:
                self.trigger.pull_trigger(function)

    def pull_trigger(self) -> None:
        """Have the loop look at all connections again; nothing if it is about to, or has ended."""
        if self._awake:
            return
        with self._wake_lock:
            # Once the trigger is closed its descriptor may already be somebody else's file.
            if not self._closed and not self._awake:
                self._awake = True
                self.trigger.pull_trigger()

    # Accepting

    def readable(self) -> bool:
        """Tell whether there is room for another connection."""
        if not self.accepting or self.turned_at < self._pause_until:
            return False
        limit = self.adj.connection_limit
        full = len(self.active_channels) >= limit
        if full:
            self.warn("%s connections are open, as many as may be: others wait", limit)
        self.in_connection_overflow = full
        return not full

    def handle_accept(self) -> None:
        """Note that connections wait. They are taken once this turn is over for all others.

        A newcomer may cost another connection its place, and its descriptor would be given out
        anew: what the turn still holds for the one must not reach the other.
        """
        self._called = True

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            if not self.readable() or not self._accept_one():
                return

    def _accept_one(self) -> bool:
        try:
            connection, address = self.socket.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            self._failed_to_accept(error)
            return False
        try:
            self._welcome(connection, address)
        except (OSError, ValueError):
            # The client has gone already; this is about it alone.
            connection.close()
        return True

    def _welcome(self, connection: socket.socket, address: Any) -> None:
        origin = self.places.origin(address[0])
        if not self._has_place(origin):
            connection.close()
            return
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        channel = self.channel_class(self, connection, address, self.adj, map=self._map)
        channel.origin = origin
        if self.proxy_protocol and origin is None:
            channel.ahead = Ahead()
        self.places.enter(channel)

    def settle(self, channel: Channel) -> None:
        """Give a connection the place of the client whose it turned out to be, if there is one."""
        origin = self.places.origin(channel.addr[0])
        if self._has_place(origin):
            self.places.leave(channel)
            channel.origin = origin
            self.places.enter(channel)
        else:
            channel.handle_close()

    def _has_place(self, origin: str | None) -> bool:
        if origin is None or not self.places.is_full(origin):
            return True
        text = "%s has %d connections, as many as an address may that is no trusted proxy"
        self.warn(text, origin, self.places.share)
        weakest = self.places.weakest(origin, self.turned_at)
        if weakest is not None:
            weakest.handle_close()
        return weakest is not None

    def _failed_to_accept(self, error: OSError) -> None:
        if error.errno in NO_DESCRIPTORS:
            # The connection stays in the queue and would wake the loop again at once.
            self.warn("no connection can be accepted for now: %s", error)
            self._pause_until = self.turned_at + SWEEP

    def warn(self, text: str, *what: object) -> None:
        """Log what clients can cause as often as they like: each such text once a minute."""
        if self.turned_at >= self._next_warning.get(text, 0.0):
            self._next_warning[text] = self.turned_at + WARN_EVERY
            log.warning(text, *what)

    # Ending

    def stop_accepting(self) -> None:
        """Close the listening socket, and keep no connection after its next answer."""
        if not self.draining:
            self.draining = True
            self.accepting = False
            self.del_channel()
            self.socket.close()

    def stop_now(self) -> None:
        """Make this turn of the loop the last one."""
        self._stopping = True

    def close(self) -> None:
        """Close what the loop itself stands on; nobody can call it any more."""
        with self._wake_lock:
            self._closed = True
            super().close()

    def is_quiet(self) -> bool:
        """Tell whether no request is being read, worked on or answered."""
        return not any(channel.phase() in IN_FLIGHT for channel in self.active_channels.values())


def _adjustments(limits: Limits, bodies: Bodies, *, secured: bool) -> Adjustments:
    settings = Adjustments(
        url_scheme="https" if secured else "http",
        ident=None,
        recv_bytes=RECORD_BYTES,
        connection_limit=connections_allowed(limits),
        max_request_header_size=MAX_HEADER_BYTES,
        max_request_body_size=limits.max_body_bytes + 1,  # waitress refuses from here on
        # Requests carry personal data: they never spill into a temporary file.
        inbuf_overflow=limits.max_body_bytes + 1,
        log_socket_errors=False,
        # Who may be believed about the client's address is decided by `decide.client_address`.
        clear_untrusted_proxy_headers=False,
    )
    settings.listen = []
    settings.bodies = bodies  # all that a request is handed, when it begins, is these
    return settings
