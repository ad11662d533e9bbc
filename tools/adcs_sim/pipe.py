r"""The named pipe \pipe\cert, behind a Samba: its smbd hands over what arrives there.

For a pipe that it does not know itself, smbd connects to a Unix socket of that name below its
`ncalrpc dir`. It introduces the client (a "named pipe auth request", of which only the level
matters here, for RPC authenticates again), wants an answer of the same level, and then passes on
messages, each with its length before it.
"""

import contextlib
import logging
import socket
import struct
from collections.abc import Iterable
from pathlib import Path
from threading import Lock, Thread

from tools.adcs_sim import pdu
from tools.adcs_sim.connection import Endpoint
from tools.adcs_sim.listener import IDLE_SECONDS, Messages, read_exactly, serve
from tools.adcs_sim.ndr import BadStub

LOG = logging.getLogger(__name__)
NAME = "\\PIPE\\cert"
_MAGIC = b"NPAM"
_MESSAGE_MODE, _DEVICE_STATE, _ALLOCATION = 2, 0x05FF, 4096
_MOST_INTRODUCTION = 1024 * 1024


class PipeListener:
    """Listens on the socket that a Samba will look for."""

    def __init__(self, endpoint: Endpoint, path: Path) -> None:
        self._endpoint = endpoint
        self._path = path
        self._lock = Lock()
        self._connections: set[socket.socket] = set()
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        path.chmod(0o600)
        self._socket.listen(64)
        self._accepting = Thread(target=self._accept, daemon=True, name="adcs-sim-pipe")
        self._accepting.start()

    def close(self) -> None:
        """Stop listening, and end every connection."""
        self.drop()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def drop(self) -> None:
        """End every connection at once."""
        with self._lock:
            connections = list(self._connections)
        for one in connections:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                connected, _ = self._socket.accept()
            except OSError:
                return
            with self._lock:
                self._connections.add(connected)
            Thread(target=self._serve, args=(connected,), daemon=True, name="adcs-sim-pipe").start()

    def _serve(self, connected: socket.socket) -> None:
        try:
            connected.settimeout(IDLE_SECONDS)
            greet(connected)
            serve(connected, self._endpoint, _Framed(connected))
        except (OSError, BadStub) as error:
            LOG.warning("a pipe was not opened: %s", error)
        finally:
            with self._lock:
                self._connections.discard(connected)
            connected.close()


class _Framed(Messages):
    """Messages with their length before them; several RPC messages may share one, or be split."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._rest = b""

    def read(self) -> bytes:
        while len(self._rest) < pdu.HEADER_LENGTH or len(self._rest) < pdu.length_of(self._rest):
            prefix = read_exactly(self._socket, 2)
            if not prefix:
                return b""
            self._rest += read_exactly(self._socket, int.from_bytes(prefix, "little"))
        length = pdu.length_of(self._rest)
        message, self._rest = self._rest[:length], self._rest[length:]
        return message

    def write(self, messages: Iterable[bytes]) -> None:
        self._socket.sendall(b"".join(struct.pack("<H", len(one)) + one for one in messages))


def greet(connected: socket.socket) -> int:
    """Let smbd introduce its client; return the level that it speaks. Raises OSError, BadStub."""
    length = int.from_bytes(read_exactly(connected, 4), "big")
    if not len(_MAGIC) + 4 <= length <= _MOST_INTRODUCTION:
        raise BadStub("this is no Samba")
    introduction = read_exactly(connected, length)
    if introduction[:4] != _MAGIC:
        raise BadStub("this is no Samba")
    (level,) = struct.unpack_from("<I", introduction, 4)
    connected.sendall(greeting(level))
    return int(level)


def greeting(level: int) -> bytes:
    """Return a "named pipe auth reply": message mode. It is aligned from its length on."""
    body = bytearray(bytes(4) + _MAGIC + struct.pack("<II", level, level))
    for size, value in ((8, b""), (2, _MESSAGE_MODE), (2, _DEVICE_STATE), (8, _ALLOCATION), (4, 0)):
        body += bytes(-len(body) % size)
        body += value.to_bytes(size, "little") if isinstance(value, int) else value
    return struct.pack(">I", len(body) - 4) + bytes(body[4:])
