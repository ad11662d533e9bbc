"""Somebody on the line between a DCE/RPC client and its server, who reads and writes packets.

    with man_in_the_middle(port, replies=lambda number, packet: ...) as middle:
        middle.port                 # where the client should go
        middle.requests             # every packet that a client sent, whole
        middle.answers              # and every one that it got

`replies` is given each response (and fault) with its number on its connection, from 1, and says
what the client gets in its place: any bytes, or None, which cuts the line. `bindings` does the same
for what answers a binding.
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

RESPONSE, FAULT = 2, 3
HEAD = 16

Replies = Callable[[int, bytes], bytes | None]


def as_they_are(_number: int, packet: bytes) -> bytes:
    return packet


class Middle:
    """The one on the line: `port` is where he listens."""

    def __init__(
        self,
        to_port: int,
        replies: Replies,
        stall: threading.Event,
        stall_first: threading.Event,
        bindings: Callable[[bytes], bytes],
    ) -> None:
        self._to = to_port
        self._replies = replies
        self._stalls = stall_first, stall
        self._bindings = bindings
        self.answers: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.requests: list[bytes] = []
        self.connections = 0
        self._open: list[socket.socket] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def close(self) -> None:
        """End everything, also what comes in this moment."""
        _end(self._listener)
        self._accepting.join()
        for each in self._open:
            _end(each)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._open.append(client)
                server = _connected(client, self._to)
                if server is None:
                    continue
                self.connections += 1
                self._open.append(server)
                stall = self._stalls[self.connections > 1]
                for work in (self._requests, self._answers):
                    threading.Thread(target=work, args=(client, server, stall), daemon=True).start()

    def _requests(
        self, client: socket.socket, server: socket.socket, stall: threading.Event
    ) -> None:
        with contextlib.suppress(OSError, EOFError):
            while not stall.is_set():
                packet = _packet(client)
                if stall.is_set():
                    return
                self.requests.append(packet)
                server.sendall(packet)
            return
        _end(server)

    def _answers(
        self, client: socket.socket, server: socket.socket, _stall: threading.Event
    ) -> None:
        number = 0
        with contextlib.suppress(OSError, EOFError):
            while True:
                packet = _packet(server)
                if packet[2] in (RESPONSE, FAULT):
                    number += 1
                    changed = self._replies(number, packet)
                    if changed is None:
                        break
                    packet = changed
                else:
                    packet = self._bindings(packet)
                self.answers.append(packet)
                client.sendall(packet)
        _end(client)


def _packet(source: socket.socket) -> bytes:
    data = b""
    length = HEAD
    while len(data) < length:
        more = source.recv(length - len(data))
        if not more:
            raise EOFError
        data += more
        if len(data) == HEAD:
            (length,) = struct.unpack_from("<H", data, 8)
    return data


def _connected(client: socket.socket, port: int) -> socket.socket | None:
    """Return the line to the server; None, and the client's has ended, if there is nobody."""
    try:
        return socket.create_connection(("127.0.0.1", port))
    except OSError:
        _end(client)
        return None


def _end(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@contextmanager
def man_in_the_middle(
    to_port: int,
    replies: Replies = as_they_are,
    *,
    stall: threading.Event | None = None,
    stall_first: threading.Event | None = None,
    bindings: Callable[[bytes], bytes] = bytes,
) -> Iterator[Middle]:
    """Stand before a port of 127.0.0.1.

    Once `stall` is set, nothing is taken from clients; `stall_first`: from the first of them.
    """
    stall = stall or threading.Event()
    middle = Middle(to_port, replies, stall, stall_first or stall, bindings)
    try:
        yield middle
    finally:
        middle.close()


class Cutter:
    """A line that carries so many bytes each way (None: all), and is cut then."""

    def __init__(self, to_port: int, up: int | None, down: int | None) -> None:
        self._to = to_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = []
        self._left = {"up": up, "down": down}
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def close(self) -> None:
        """End everything, also what comes in this moment."""
        _end(self._listener)
        self._accepting.join()
        for each in self._open:
            _end(each)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._open.append(client)
                server = _connected(client, self._to)
                if server is None:
                    continue
                self._open.append(server)
                for way, source, sink in (("up", client, server), ("down", server, client)):
                    threading.Thread(
                        target=self._pass, args=(way, source, sink), daemon=True
                    ).start()

    def _pass(self, way: str, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                left = self._left[way]
                if left is not None:
                    self._left[way] = left - min(left, len(data))
                    if len(data) > left or not self._left[way]:
                        sink.sendall(data[:left])
                        break
                sink.sendall(data)
        for end in (source, sink):
            _end(end)


@contextmanager
def cut_after(to_port: int, *, up: int | None = None, down: int | None = None) -> Iterator[Cutter]:
    """Put a line that will be cut before a port of 127.0.0.1."""
    line = Cutter(to_port, up, down)
    try:
        yield line
    finally:
        line.close()
