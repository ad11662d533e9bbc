"""A wire to a database server that is cut where a test says, byte by byte.

    with cut_proxy(port) as wire:
        wire.cut(before=b"COMMIT")      # the client's bytes never arrive
        wire.cut(behind=b"COMMIT")      # they arrive, and the answer is lost
        wire.cut(within=b"COMMIT")      # half of them arrive

Each cut is made once, on the connection that comes there first, and in both directions.
"""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

CHUNK = 65536


class Wire:
    """The proxy: `port` is where it listens."""

    def __init__(self, to_port: int) -> None:
        self._to = to_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.cuts: list[str] = []
        self._armed: tuple[str, bytes] | None = None
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._deaf = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, *, before: bytes = b"", behind: bytes = b"", within: bytes = b"") -> None:
        """Cut the wire the next time that a client sends these bytes."""
        [(kind, mark)] = [
            (kind, mark)
            for kind, mark in (("before", before), ("behind", behind), ("within", within))
            if mark
        ]
        self._armed = kind, mark

    def cut_now(self) -> None:
        """Cut every connection that is open."""
        with self._lock:
            for each in list(self._open):
                _end(each)

    def go_silent(self, silent: bool = True) -> None:
        """Accept no further connections that lead anywhere, as a network that is gone."""
        self._deaf = silent

    def close(self) -> None:
        """End everything."""
        _end(self._listener)
        self.cut_now()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._deaf:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                client.close()
                continue
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open |= {client, server}
            for source, sink, check in ((client, server, True), (server, client, False)):
                threading.Thread(
                    target=self._pass, args=(source, sink), kwargs={"check": check}, daemon=True
                ).start()

    def _pass(self, source: socket.socket, sink: socket.socket, *, check: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                armed = self._armed
                if check and armed is not None and armed[1] in data:
                    self._armed = None
                    self._sever(source, sink, armed[0], data, armed[1])
                    break
                sink.sendall(data)
        for end in (source, sink):
            _end(end)
        with self._lock:
            self._open -= {source, sink}

    def _sever(
        self, client: socket.socket, server: socket.socket, kind: str, data: bytes, mark: bytes
    ) -> None:
        self.cuts.append(kind)
        if kind == "before":
            return
        if kind == "within":
            server.sendall(data[: data.index(mark) + len(mark) // 2])
            return
        _end(client)  # first, so that no answer finds its way
        server.sendall(data)
        server.settimeout(5)
        with contextlib.suppress(OSError):
            server.recv(CHUNK)  # it has done what it was asked


def _end(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@contextmanager
def cut_proxy(to_port: int) -> Iterator[Wire]:
    """Open a wire to a port of 127.0.0.1."""
    wire = Wire(to_port)
    try:
        yield wire
    finally:
        wire.close()
