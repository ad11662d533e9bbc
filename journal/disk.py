"""The few things the journal asks of a disk, so that a test can make each of them fail."""

import errno
import os
import shutil
from pathlib import Path
from typing import Protocol

SEALED = 0o400


class Disk(Protocol):
    """File operations as the journal needs them; every one may raise OSError."""

    def open(self, path: Path) -> int:
        """Open for reading and writing, creating the file with mode 0600; return the descriptor.

        A symbolic link is refused: what it points to is not this node's to write.
        """
        ...

    def write(self, descriptor: int, offset: int, data: bytes) -> int:
        """Write at the offset; return how many bytes were taken."""
        ...

    def sync(self, descriptor: int) -> None:
        """Return once everything written is on the disk."""
        ...

    def truncate(self, descriptor: int, length: int) -> None:
        """Cut the file."""
        ...

    def rename(self, old: Path, new: Path) -> None:
        """Give a file another name in its folder; FileExistsError where that name is taken.

        The file must not be open here: Windows refuses to rename what anybody has open.
        """
        ...

    def seal(self, path: Path) -> None:
        """Let nobody write to the file any more, its owner included, as far as modes do that."""
        ...

    def sync_folder(self, folder: Path) -> None:
        """Return once the names in the folder are on the disk."""
        ...

    def free(self, path: Path) -> int:
        """Return how many bytes an unprivileged process may still write beside this file."""
        ...


class OsDisk:
    """The operating system's disk."""

    def open(self, path: Path) -> int:
        """Open for reading and writing, creating the file with mode 0600."""
        flags = os.O_RDWR | os.O_CREAT
        for name in ("O_CLOEXEC", "O_NOFOLLOW", "O_BINARY"):  # as far as the system knows them
            flags |= getattr(os, name, 0)
        return os.open(path, flags, 0o600)

    def write(self, descriptor: int, offset: int, data: bytes) -> int:
        """Write at the offset; return how many bytes were taken."""
        if hasattr(os, "pwrite"):
            return os.pwrite(descriptor, data, offset)
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        """Return once everything written is on the disk (the data and the file's length)."""
        getattr(os, "fdatasync", os.fsync)(descriptor)

    def truncate(self, descriptor: int, length: int) -> None:
        """Cut the file."""
        os.ftruncate(descriptor, length)

    def rename(self, old: Path, new: Path) -> None:
        """Give a file another name in its folder; FileExistsError where that name is taken."""
        # POSIX would put the one in the place of the other, and nothing of evidence goes that way.
        # Nobody else makes such files here while the workdir's lock is held.
        if new.exists() or new.is_symlink():
            raise FileExistsError(errno.EEXIST, "this name is taken", str(new))
        old.rename(new)

    def seal(self, path: Path) -> None:
        """Take away the right to write: mode 0400; on Windows, the attribute read-only."""
        path.chmod(SEALED)

    def sync_folder(self, folder: Path) -> None:
        """Return once the names in the folder are on the disk."""
        sync_folder(folder)

    def free(self, path: Path) -> int:
        """Return how many bytes may still be written beside this file."""
        if hasattr(os, "statvfs"):
            space = os.statvfs(path)
            return space.f_bavail * space.f_frsize
        return shutil.disk_usage(path.parent).free


def sync_folder(folder: Path) -> None:
    """Make names in a folder durable: a new file is only safe once its folder is.

    Windows has no such call, and needs none.
    """
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
