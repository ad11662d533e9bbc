"""Whether the disks that a node writes to have room, in words that name them."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from certeasy.commit.command import Unavailable
from certeasy.settings import Settings
from certeasy.store import CommitUnknown, DatabaseUnavailable

FULL = (errno.ENOSPC, errno.EDQUOT)
UNCHANGED = "; nothing was changed"
_REMEDY = ". Make room there"


class Room(msgspec.Struct, frozen=True):
    """A disk: what is on it, a folder there, and how many bytes are free."""

    what: str
    folder: Path
    free: int

    @property
    def said(self) -> str:
        """Return it in words."""
        return f"{amount(self.free)} free for {self.what} in {self.folder}"


def rooms(settings: Settings) -> list[Room]:
    """Return the disks of journal, SQLite database and log, each once. Raises OSError, also for a
    drive that is not there."""
    places = {"journal": settings.audit.path}
    if settings.database.driver == "sqlite":
        places["database"] = settings.database.path
    if settings.logs.output == "file" and settings.logs.file is not None:
        places["log"] = settings.logs.file
    by_disk: dict[int, tuple[list[str], Path]] = {}
    for what, path in places.items():
        folder = next((parent for parent in path.parents if parent.exists()), None)
        if folder is None:  # a drive of Windows
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path.anchor)
        by_disk.setdefault(folder.stat().st_dev, ([], folder))[0].append(what)
    return [
        Room(" and ".join(names), folder, shutil.disk_usage(folder).free)
        for names, folder in by_disk.values()
    ]


def lacking(settings: Settings) -> list[Room]:
    """Return the disks that have less room than is kept free."""
    return [each for each in rooms(settings) if each.free < settings.audit.min_free_bytes]


def is_full(error: OSError) -> bool:
    """Whether a disk is full, or a quota there."""
    return error.errno in FULL


def explained(reason: str, settings: Settings) -> str:
    """Return why something cannot be written, and with it which disk is full, if that is so."""
    if _REMEDY in reason:
        return reason
    try:
        short = [each for each in lacking(settings) if str(each.folder) not in reason]
    except OSError:
        return reason
    if short:
        return reason + _which(short, settings)
    file = settings.database.path
    if settings.database.driver == "sqlite" and "disk is full" in reason:  # a quota is, perhaps
        return f"{reason}; that of {file}{_REMEDY}"
    return reason


def unwritten(error: OSError, settings: Settings) -> str:
    """Return which file a full disk, or a quota, did not take, and where there must be room."""
    file = error.filename or "a file"
    reason = f"{file} cannot be written: {error.strerror}"
    try:
        short = lacking(settings)
    except OSError:
        short = []
    return reason + (_which(short, settings) if short else _REMEDY)


def _which(short: list[Room], settings: Settings) -> str:
    full = "; ".join(each.said for each in short)
    need = amount(settings.audit.min_free_bytes)
    return f"; the disk is full, or nearly: {full}. Make room there, at least {need}"


@contextmanager
def explaining(settings: Settings, meaning: str = "") -> Iterator[None]:
    """Where a disk is full, let what is raised say which, and `meaning`: what has become of it.

    Whether that is so is not known of a COMMIT whose answer is not, nor of what a committer ended.
    """
    try:
        yield
    except DatabaseUnavailable as error:
        said = explained(str(error), settings)
        known = said != str(error) and not isinstance(error.__cause__, CommitUnknown)
        raise DatabaseUnavailable(said + meaning * known) from error
    except Unavailable as error:
        raise Unavailable(explained(error.reason, settings), error.retry_after) from error
    except OSError as error:
        if not is_full(error):
            raise
        raise OSError(unwritten(error, settings) + meaning) from error


def amount(size: int) -> str:
    """Return a number of bytes as people say it."""
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"
