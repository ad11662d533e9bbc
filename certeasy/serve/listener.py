"""One listening address, from start to close: the handle that the rest of Certeasy holds.

listener = start(app, "0.0.0.0:8443", Limits(), certificates)
...
listener.stop_accepting()      # no new connections, none kept after its next answer
listener.drain(30.0)           # every request that has begun gets its answer
listener.close()
"""

import socket
import threading
from collections.abc import Callable
from typing import Any, Self

from certeasy.log import logger
from certeasy.serve.contexts import Certificates
from certeasy.serve.descriptors import allow_descriptors
from certeasy.serve.limits import Limits
from certeasy.serve.server import Server
from certeasy.serve.workers import Workers

log = logger("http-server")

BACKLOG = 4096
"""Connections that the system keeps for us, where it lets us: more than come in a bad second. One
that it has no room for comes again after a second, then after three, then after seven.
"""
CLOSING_TIME = 5.0
"""Seconds that threads get to end at `close`."""


def start(
    application: Callable[..., Any],
    listen: str,
    limits: Limits,
    tls: Certificates | None = None,
    *,
    name: str = "http",
) -> "Listener":
    """Serve a WSGI application on `listen` ("host:port", "[::]:port") until the handle is closed.

    Under TLS if certificates are given, else in clear. `name` names the threads. Raises OSError if
    the address cannot be listened on, ValueError if it is none.
    """
    listening = open_socket(listen)
    allow_descriptors(limits.connection_limit)
    workers = Workers(limits.threads, name)
    return Listener(Server(application, listening, limits, workers, tls), workers, name)


class Listener:
    """A running listener. All methods may be called from any thread, and more than once."""

    def __init__(self, server: Server, workers: Workers, name: str) -> None:
        self._server = server
        self._workers = workers
        self.address: tuple[str, int] = server.socket.getsockname()[:2]
        self._thread = threading.Thread(target=self._run, name=f"{name}-loop", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether the loop is alive: False after `close`, or if it died of a fault of ours."""
        return self._thread.is_alive()

    def stop_accepting(self) -> None:
        """Accept no more connections, and end each that exists after its next answer."""
        self._ask(self._server.stop_accepting)

    def drain(self, timeout: float) -> bool:
        """Wait until no request is in flight; return whether that came within `timeout` seconds."""
        self.stop_accepting()
        return self._server.drained.wait(timeout if self.running else 0.0)

    def close(self) -> None:
        """Close every connection and end the threads, whatever they are at."""
        self._ask(self._server.stop_now)
        self._thread.join(CLOSING_TIME)
        if not self._workers.shutdown(CLOSING_TIME):
            log.warning("requests still run in threads of a listener that is closed")

    def __enter__(self) -> Self:
        """Return the listener itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def _ask(self, function: Callable[[], None]) -> None:
        if self.running:
            self._server.call_soon(function)

    def _run(self) -> None:
        try:
            self._server.run()
        except Exception:
            # `running` tells whoever started it; without its loop nothing here can go on.
            log.critical("the listener on %s:%d has died", *self.address, exc_info=True)


def open_socket(listen: str) -> socket.socket:
    """Return a listening socket for "host:port"; "[::]:port" takes IPv4 too where that is possible.

    Raises OSError, naming the address, if it cannot be had; ValueError if the text is no address.
    """
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdecimal():
        raise ValueError(f"{listen!r} is not host:port")
    host = host.removeprefix("[").removesuffix("]")
    family, _, _, _, address = socket.getaddrinfo(
        host or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    both = family == socket.AF_INET6 and address[0] == "::" and socket.has_dualstack_ipv6()
    return socket.create_server(address, family=family, backlog=BACKLOG, dualstack_ipv6=both)
