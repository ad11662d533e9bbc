"""The local socket where there are Unix sockets: `<workdir>/admin.sock`, mode 0600.

Who may use it: the user whom the server runs as, and root. The folder keeps others out (0700), the
socket's mode does, and whoever is connected is asked of the kernel, which also tells whose name
goes into the log.

Whom a command speaks with: root, the owner of the workdir, or its own user. Where others may write
in the workdir, one of them could put a socket of his own there, so (1) what stands there is a
socket, no link; (2) its owner is one of these; (3) so is the user who listens, as the kernel tells.

A socket's address has room for about a hundred bytes of path. Where the workdir's is longer, Linux
lets the folder be named by an open descriptor; elsewhere that is refused, with a word about it.

The file stays behind when a server is killed. Whoever opens the doorway holds the workdir's lock,
so nobody else serves in it, and the file may be replaced; if somebody answers all the same, it is
not.
"""

import errno
import os
import pwd
import select
import socket
import stat
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from certeasy.cluster.files import OWNER_ONLY, refuse_link
from certeasy.cluster.refusal import BootRefused

NAME = "admin.sock"
WAITING = 8  # connections that wait until one of those being served has ended
LONGEST = 107 if sys.platform == "linux" else 103  # bytes of path in a socket's address
_BY_DESCRIPTOR = Path("/proc/self/fd")
_CREDENTIALS = struct.Struct("3i")  # struct ucred of Linux: process, user, group
_XUCRED = (0, 1, struct.Struct("=2I"))  # SOL_LOCAL, LOCAL_PEERCRED; version and user of a BSD
_REMEDY = "remove it, and let nobody else write in that folder (mode 0700)"
_GONE = frozenset({errno.ECONNREFUSED, errno.ENOENT})


class UnixConnection:
    """A connected socket; each message may take so many seconds."""

    def __init__(self, connected: socket.socket, seconds: float) -> None:
        self._socket = connected
        self._seconds = seconds

    def receive(self, length: int) -> bytes:
        """Return so many bytes, fewer only where the other side has ended."""
        until = time.monotonic() + self._seconds
        received = bytearray()
        while len(received) < length:
            self._socket.settimeout(max(until - time.monotonic(), 0.001))
            part = self._socket.recv(min(length - len(received), 1 << 16))
            if not part:
                break
            received += part
        return bytes(received)

    def send(self, data: bytes) -> None:
        """Return once all of it is on its way."""
        self._socket.settimeout(self._seconds)
        self._socket.sendall(data)

    def user(self) -> str:
        """Return who is at the other end; PermissionError for anybody but our own user and root."""
        uid = _peer(self._socket)
        name = user_name(uid)
        if uid not in (0, os.geteuid()):
            raise PermissionError(
                f"user {name} may give no instructions: the server runs as"
                f" {user_name(os.geteuid())}; run the command as that user, or as root"
            )
        return name

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


class UnixDoorway:
    """Where a server waits for connections."""

    def __init__(self, listening: socket.socket, path: Path, seconds: float) -> None:
        self._listening = listening
        self._path = path
        self._seconds = seconds
        self._wake, self._woken = socket.socketpair()

    def accept(self) -> UnixConnection | None:
        """Return the next connection; None once `close` was called. Raises OSError."""
        ready, _, _ = select.select([self._listening, self._woken], [], [])
        if self._woken in ready:
            return None
        connected, _ = self._listening.accept()
        return UnixConnection(connected, self._seconds)

    def close(self) -> None:
        """Let nobody in any more; whoever waits in `accept` returns."""
        self._path.unlink(missing_ok=True)
        self._wake.close()

    def release(self) -> None:
        """Give the descriptors back, once nobody waits in `accept` any more."""
        for each in (self._listening, self._wake, self._woken):
            each.close()


def open_doorway(workdir: Path, seconds: float) -> UnixDoorway:
    """Begin to wait for connections. The caller holds the workdir's lock.

    Raises BootRefused where something else stands there, OSError.
    """
    path = workdir / NAME
    _make_way(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _address(path) as address:
            listening.bind(address)
        path.chmod(OWNER_ONLY)
        listening.listen(WAITING)  # nobody gets in before its mode is right
        listening.setblocking(False)  # whoever hung up before it was accepted holds up nobody
    except BaseException:  # of whatever kind: nobody else could close it
        listening.close()
        raise
    return UnixDoorway(listening, path, seconds)


def connect(workdir: Path, seconds: float) -> UnixConnection | None:
    """Return a connection to the server of this workdir, or None where none runs.

    Raises OSError where it cannot be reached: a PermissionError for who is not its user or root,
    and where it is not the server's.
    """
    path = workdir / NAME
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    owner = workdir.stat().st_uid
    trusted = {0, os.geteuid(), owner}
    whose = f"root, the owner of the workdir ({user_name(owner)}), or you"
    if not stat.S_ISSOCK(found.st_mode):  # (1)
        what = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "no socket"
        raise PermissionError(
            f"{path} is {what} (of user {user_name(found.st_uid)}), and not the server's socket:"
            f" {_REMEDY}"
        )
    if found.st_uid not in trusted:  # (2)
        raise PermissionError(
            f"{path} belongs to user {user_name(found.st_uid)}, and not to {whose}: if the server"
            f" runs as that user, run the command as that user; else {_REMEDY}"
        )
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connected.settimeout(seconds)
    try:
        with _address(path) as address:
            connected.connect(address)
    except OSError as error:
        connected.close()
        if error.errno in _GONE:
            return None
        if isinstance(error, PermissionError):
            raise PermissionError(
                f"{path} may be used by the user whom the server runs as, and by root: run the"
                " command as one of them"
            ) from None
        raise
    listening = _peer(connected)
    if listening not in trusted:  # (3)
        connected.close()
        raise PermissionError(
            f"user {user_name(listening)} listens at {path}, and not {whose}: {_REMEDY}"
        )
    return UnixConnection(connected, seconds)


def user_name(uid: int) -> str:
    """Return a user as people know it; one without a name, as in some containers, by its number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _make_way(path: Path) -> None:
    """Remove what a server that was killed has left; refuse where anything else stands."""
    refuse_link(path)
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise BootRefused(
            f"{path} is no socket; the server makes one of that name: move the file elsewhere"
        )
    if (other := connect(path.parent, 1.0)) is not None:
        other.close()
        raise BootRefused(
            f"another process answers at {path}: stop it first, or give this node a workdir of its"
            " own"
        )
    path.unlink()


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """Yield what a socket at this path is called by; it is short enough."""
    if len(os.fsencode(path)) <= LONGEST:
        yield str(path)
        return
    if not _BY_DESCRIPTOR.is_dir():
        raise OSError(
            errno.ENAMETOOLONG,
            f"{path} has more than {LONGEST} bytes, and no socket can be called so here: use a"
            " workdir with a shorter path",
        )
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"{_BY_DESCRIPTOR}/{folder}/{path.name}"
    finally:
        os.close(folder)


def _peer(connected: socket.socket) -> int:
    """Return the user at the other end, as the kernel noted when the connection was made."""
    if hasattr(socket, "SO_PEERCRED"):
        told = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        uid: int = _CREDENTIALS.unpack(told)[1]
        return uid
    level, option, shape = _XUCRED
    told = connected.getsockopt(level, option, 256)
    return int(shape.unpack_from(told)[1])
