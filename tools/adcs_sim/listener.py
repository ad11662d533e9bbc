"""Sockets: a thread for each connection, and limits on what any one of them can take.

Nothing that a client does ends anything but its own connection.
"""

import contextlib
import itertools
import logging
import socket
import struct
from collections.abc import Callable, Iterable
from threading import Lock, Thread

from tools.adcs_sim import pdu
from tools.adcs_sim.connection import Connection, Endpoint, LineCut
from tools.adcs_sim.ndr import BadStub

LOG = logging.getLogger(__name__)
MOST_CONNECTIONS = 512
IDLE_SECONDS = 900
_RESET = struct.pack("ii", 1, 0)
_GROUPS = itertools.count(0x1000)


class Listener:
    """Listens on a TCP port of one address, until it is closed; can be deaf for a while."""

    def __init__(self, endpoint: Callable[[int], Endpoint], address: str, port: int = 0) -> None:
        self.address = address
        self._lock = Lock()
        self._connections: set[socket.socket] = set()
        self._threads: set[Thread] = set()
        self._socket: socket.socket | None = _listening(address, port)
        self.port: int = self._socket.getsockname()[1]
        self._endpoint = endpoint(self.port)
        self._accepting = self._accept_on(self._socket)

    def close(self) -> None:
        """Stop listening, and end every connection."""
        with self._lock:
            listening, self._socket = self._socket, None
        if listening:
            _shut(listening)
            self._accepting.join()
            listening.close()
        self.drop()

    def drop(self) -> None:
        """End every connection at once; a call that runs goes on without its client."""
        with self._lock:
            connections = list(self._connections)
        for one in connections:
            _shut(one)

    def reopen(self) -> None:
        """Listen again, on the same port."""
        with self._lock:
            if self._socket is None:
                self._socket = _listening(self.address, self.port)
                self._accepting = self._accept_on(self._socket)

    def _accept_on(self, listening: socket.socket) -> Thread:
        thread = Thread(target=self._accept, args=(listening,), daemon=True, name="adcs-sim")
        thread.start()
        return thread

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connected, _ = listening.accept()
            except OSError:
                return
            with self._lock:
                full = len(self._connections) >= MOST_CONNECTIONS or self._socket is None
                if not full:
                    self._connections.add(connected)
            if full:
                connected.close()
                continue
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            serve = Thread(target=self._serve, args=(connected,), daemon=True, name="adcs-sim")
            serve.start()

    def _serve(self, connected: socket.socket) -> None:
        try:
            serve(connected, self._endpoint, Stream(connected))
        finally:
            with self._lock:
                self._connections.discard(connected)
            connected.close()


class Stream:
    """Messages on a TCP connection: each says in its header how long it is."""

    def __init__(self, connected: socket.socket) -> None:
        connected.settimeout(IDLE_SECONDS)
        self._socket = connected

    def read(self) -> bytes:
        """Return the next message; empty at the end. Raises OSError or BadStub."""
        header = read_exactly(self._socket, pdu.HEADER_LENGTH)
        if not header:
            return b""
        return header + read_exactly(self._socket, pdu.length_of(header) - pdu.HEADER_LENGTH)

    def write(self, messages: Iterable[bytes]) -> None:
        """Send messages. Raises OSError."""
        self._socket.sendall(b"".join(messages))


class Messages:
    """What `serve` reads from and writes to: `Stream`, or the pipe of a Samba."""

    def read(self) -> bytes:
        """Return the next message; empty at the end."""
        raise NotImplementedError

    def write(self, messages: Iterable[bytes]) -> None:
        """Send messages."""
        raise NotImplementedError


def serve(connected: socket.socket, endpoint: Endpoint, line: "Stream | Messages") -> None:
    """Answer until the client goes, or has to go."""
    connection = Connection(endpoint, next(_GROUPS))
    try:
        while raw := line.read():
            answers = connection.receive(raw)
            if answers:
                line.write(answers)
    except LineCut as cut:
        with contextlib.suppress(OSError):
            if cut.rest:
                line.write([cut.rest])
            if cut.reset:
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    except BadStub as error:
        LOG.warning("hung up on a client: %s", error)
    except OSError:
        pass  # it went away
    except Exception:
        LOG.exception("a mistake of the simulator's own ended a connection")


def read_exactly(connected: socket.socket, length: int) -> bytes:
    """Return that many bytes; none if the other end has gone before the first."""
    parts: list[bytes] = []
    missing = length
    while missing:
        part = connected.recv(min(missing, 65536))
        if not part:
            if parts:
                raise BadStub("the client went away in the middle of a message")
            return b""
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _listening(address: str, port: int) -> socket.socket:
    made = socket.socket()
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
        made.listen(64)
    except OSError:
        made.close()
        raise
    return made


def _shut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
