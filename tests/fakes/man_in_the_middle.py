"""Somebody on the line between a DCE/RPC client and its server, who reads and writes packets.

    with man_in_the_middle(port, replies=lambda number, packet: ...) as middle:
        middle.port                 # where the client should go
        middle.requests             # every packet that a client sent, whole

`replies` is given each response (and fault) with its number on its connection, from 1, and says
what the client gets in its place: any bytes, or None, which cuts the line. Bindings pass untouched.
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

    def __init__(self, to_port: int, replies: Replies) -> None:
        self._to = to_port
        self._replies = replies
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.requests: list[bytes] = []
        self.connections = 0
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End everything."""
        for each in (self._listener, *self._open):
            _end(each)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
                self.connections += 1
                self._open += [client, server]
                for work in (self._requests, self._answers):
                    threading.Thread(target=work, args=(client, server), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError):
            while True:
                packet = _packet(client)
                self.requests.append(packet)
                server.sendall(packet)
        _end(server)

    def _answers(self, client: socket.socket, server: socket.socket) -> None:
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


def _end(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@contextmanager
def man_in_the_middle(to_port: int, replies: Replies = as_they_are) -> Iterator[Middle]:
    """Stand before a port of 127.0.0.1."""
    middle = Middle(to_port, replies)
    try:
        yield middle
    finally:
        middle.close()
