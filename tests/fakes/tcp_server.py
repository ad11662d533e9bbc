"""A small TCP server on loopback: each connection has a thread, and none outlives the server."""

import contextlib
import socket
import ssl
import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

SECONDS = 10
"""How long a peer may say nothing."""


class TcpServer(ABC):
    """Serves each connection between `with` and its end; what is said there, `serve` says."""

    def __init__(self, name: str, *, address: str = "127.0.0.1", port: int = 0) -> None:
        self._name = name
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = socket.create_server((address, port), family=family)
        self.port: int = self._listener.getsockname()[1]
        self.closing = threading.Event()
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, name=f"{name}-server")]

    @abstractmethod
    def serve(self, connection: socket.socket) -> None:
        """Talk with a peer until one of the two has enough. An OSError ends it too: one who gives
        up in mid-answer is what many a test is about."""

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            thread = threading.Thread(
                target=self._serve, args=(connection,), name=f"{self._name}-peer"
            )
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(SECONDS)
            self.serve(connection)

    def secured(self, connection: socket.socket, tls: ssl.SSLContext) -> ssl.SSLSocket:
        """Go on under TLS; like the connection itself, it ends with the server."""
        secured = tls.wrap_socket(connection, server_side=True)
        self._connections.append(secured)
        return secured
