"""Small files, whole or absent, readable by nobody else (but those that are published); and locks
that die with their process.

What is written is never a symbolic link: a link laid where one of these files belongs would have
this process write, or create, a file of somebody else's choosing.
"""

import errno
import os
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from certeasy.cluster.refusal import BootRefused
from certeasy.log import logger
from journal.disk import sync_folder

OWNER_ONLY = 0o600
OTHERS = 0o077
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_PLAIN = getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
NEWLINE = b"\n"
LONGEST_HOLDER = 300
_LOCKED = 1  # bytes at a lock's beginning that are locked, where a system locks bytes

log = logger("files")


def refuse_link(path: Path) -> None:
    """Raise BootRefused where a symbolic link stands for a file that this node writes or trusts."""
    if path.is_symlink():
        raise BootRefused(
            f"{path} is a symbolic link to {path.readlink()}: this file must stand in its folder"
            " itself; put it there, or name its real place in the configuration"
        )


def openness(path: Path) -> str | None:
    """Return what is wrong with the mode of a private file, in one line, or None if it is private.

    Windows has access lists in the place of modes.
    """
    if not path.exists():
        return None
    if os.name == "nt":
        return _listed(path, "can be used by", reading=True)
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & OTHERS:
        return None
    return f"{path} has mode {mode:04o}: others than its owner can use it; set it to 0600"


def writable_by_others(path: Path) -> str | None:
    """Return who else can change a file or folder, in one line; None: nobody."""
    if not path.exists():
        return None
    if os.name == "nt":
        return _listed(path, "can be changed by", reading=False)
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & _OTHERS_WRITE:
        return None
    return f"{path} has mode {mode:04o}: others than its owner can write there"


def _listed(path: Path, what: str, *, reading: bool) -> str | None:
    """Return whom else an access list lets in, in one line; None: nobody."""
    if sys.platform == "win32":
        from certeasy.cluster import access_lists, sddl  # noqa: PLC0415 - only there

        try:
            others = access_lists.strangers(path, sddl.WRITE | (sddl.READ if reading else 0))
        except OSError as error:
            return f"{path}: who else can use it is not known: {error.strerror}"
        if others:
            return f"{path} {what} {', '.join(others)}"
    return None


def private_folder(path: Path) -> None:
    """Make a folder that nobody else may enter, if there is none: mode 0700.

    On Windows its access list, which all that is in it inherits, lets in the system,
    administrators, the user whom this process runs as, and the service's.
    """
    there = path.is_dir()
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not there:
        _keep_in_private(path)


def keep_private(path: Path) -> None:
    """Where modes mean nothing, on Windows, let nobody else have a file or folder."""
    if sys.platform == "win32":
        from certeasy.cluster.access_lists import keep_to, users  # noqa: PLC0415 - only there

        keep_to(path, users())


def _keep_in_private(path: Path) -> None:
    """Let nobody else have what was made, on Windows; where its folder sees to that, it inherits,
    so that the folder's list goes on to count."""
    if os.name == "nt" and openness(path.parent) is not None:
        keep_private(path)


def write_once(path: Path, content: bytes) -> None:
    """Create a file of mode 0600 with this content, durably; FileExistsError if it is there."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _PLAIN, OWNER_ONLY)
    try:
        with naming(path), os.fdopen(descriptor, "wb") as file:
            _keep_in_private(draft)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:  # also Ctrl-C: half of a key must not lie there
        draft.unlink()
        raise
    if path.exists() or path.is_symlink():
        draft.unlink()
        raise FileExistsError(f"{path} is there already")
    draft.rename(path)
    sync_folder(path.parent)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let what the system says against writing to an open file name it, as it does at opening."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:  # else its text says all
            error.filename = str(path)
        raise


def publish(path: Path, content: bytes) -> None:
    """Lay out a file that others may read, in one step, and only where it says something else."""
    refuse_link(path)
    if not path.exists() or path.read_bytes() != content:
        draft = path.with_name(f".{path.name}.new")
        draft.unlink(missing_ok=True)
        draft.write_bytes(content)
        draft.replace(path)


def create_empty(path: Path) -> None:
    """Create a file of mode 0600 without content, if there is none."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | _PLAIN, OWNER_ONLY))


def append_line(path: Path, line: str) -> None:
    """Append a line to a small file of mode 0600, durably.

    What an interrupted call left behind stays a line of its own.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | _PLAIN, OWNER_ONLY)
    with naming(path), os.fdopen(descriptor, "r+b") as file:
        begun = file.read()
        torn = bool(begun) and not begun.endswith(NEWLINE)
        file.write(NEWLINE * torn + line.encode() + NEWLINE)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


class Held:
    """A lock that the operating system gives back when the process ends, however it ends.

    The file says who holds it, for whoever finds it taken; once it is free, that means nothing.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def release(self) -> None:
        """Give the lock back. The file stays: without it two processes could lock two files."""
        self._file.close()


def hold(path: Path) -> Held | None:
    """Take the lock on this file (created if need be), or return None if another process has it.

    Raises OSError where the file cannot be locked at all, as on some network file systems.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _PLAIN, OWNER_ONLY)
    # Without a buffer: what a full disk has not taken would come up once more at the release.
    file = os.fdopen(descriptor, "r+b", buffering=0)
    try:
        _lock(file)
    except (BlockingIOError, PermissionError):  # POSIX says the one, Windows the other
        file.close()
        return None
    except BaseException:  # of whatever kind: nobody else could close it
        file.close()
        raise
    _sign(file)
    return Held(file)


def holder(path: Path) -> str:
    """Return who says in a lock's file that it holds it, or an empty text: nobody, or not yet."""
    try:
        with path.open("rb") as file:
            file.seek(_LOCKED)  # on Windows nobody else reads what is locked
            return file.read(LONGEST_HOLDER).decode("utf-8", "replace").strip()
    except OSError:
        return ""


def _sign(file: IO[bytes]) -> None:
    """Write who holds a lock into its file; a full disk is no reason not to hold it."""
    try:
        file.truncate(_LOCKED)
        file.seek(_LOCKED)
        file.write(f"pid {os.getpid()} on {socket.gethostname()}\n".encode()[:LONGEST_HOLDER])
        file.flush()
        file.seek(0)
    except OSError:
        log.debug("%s does not say who holds it", file.name)


def _lock(file: IO[bytes]) -> None:
    if os.name == "nt":
        import msvcrt  # noqa: PLC0415 - only there

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        except OSError as error:
            if error.errno:
                raise
            # Wine's C library does not say why.
            raise PermissionError(errno.EACCES, "somebody else has locked it") from None
    else:
        import fcntl  # noqa: PLC0415 - not on Windows

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
