"""The journal's file: one signed line per event, appended and synced before anything is answered.

Only the node's committer writes it. `confirmed` is the last offset that a sync has confirmed: after
any error nothing beyond it can be trusted (a second fsync after EIO proves nothing), so the file is
closed, and catching up begins by cutting back to that offset. A file that is shorter than that, or
another one in its place, was touched by somebody else: writing on would hide it.

A segment is closed by giving the file its final name and beginning another one. Whatever fails
there, `reopen` looks which of the two files there is, and goes on from that.
"""

import contextlib
import errno
import os
from collections.abc import Sequence
from pathlib import Path

from journal.breaks import Line
from journal.disk import Disk, OsDisk
from journal.segments import closed_path

TAIL = 4 * 1024 * 1024
NEWLINE = b"\n"


class JournalClosed(Exception):
    """The journal was closed by an earlier error and has not caught up yet."""


class NoRoom(Exception):
    """The journal's disk has less free space than is kept for finishing what was begun."""

    def __init__(self, path: Path, free: int, needed: int) -> None:
        super().__init__(
            f"{path}: {free} bytes free on the journal's disk, {needed} are needed; nothing is"
            " accepted until there is room"
        )


class NotRenamed(Exception):
    """The system refused a closed segment its name; the same file is open again, and goes on."""


class JournalTouched(Exception):
    """Somebody else cut, replaced or removed the journal while it was in use."""


class Tail:
    """The end of a journal: its whole lines, and where each begins.

    `start` is where it begins: 0 if this is all of the file. `torn_at` is the offset behind the
    last newline: what follows there is no whole line.
    """

    def __init__(
        self, lines: list[tuple[int, bytes]], torn_at: int, size: int, start: int = 0
    ) -> None:
        self.lines = lines
        self.torn_at = torn_at
        self.size = size
        self.start = start


class Journal:
    """One node's active journal file. `first` is the seq of its first line, there or to come."""

    def __init__(self, path: Path, *, keep_free: int = 0, disk: Disk | None = None) -> None:
        """Name the file; nothing is touched before `open`. `keep_free` is the headroom in bytes."""
        self.path = path
        self.first = 1
        self.confirmed = 0
        self.disk = disk or OsDisk()
        self._keep_free = keep_free
        self._descriptor: int | None = None
        self._file = 0  # its number in the file system
        self._closing: tuple[Path, int] | None = None  # the name it is being given, its last seq
        self._turning = False  # from one file to the next

    @property
    def is_open(self) -> bool:
        """Whether lines can be appended, or can be in a moment: not after an error."""
        return self._descriptor is not None or self._turning

    def open(self) -> None:
        """Open the file, creating it durably if it is not there. What it holds is confirmed."""
        self._descriptor = descriptor = self.disk.open(self.path)
        try:
            self.disk.sync(descriptor)
            self.disk.sync_folder(self.path.parent)
            found = os.fstat(descriptor)
            self._file, self.confirmed = found.st_ino, found.st_size
        except OSError:
            self.close()
            raise

    def reopen(self) -> None:
        """Open again after an error: everything behind the last confirmed offset is cut away first.

        Where the error came while a segment was being closed, that is gone on with: the next file
        is open then, unless the old one still has its name. Raises OSError while that cannot be
        done, JournalTouched if the file ends before that offset, or is another one.
        """
        self.close()
        if self._closing is not None and self._was_renamed(self._closing[0]):
            self._begin_next(*self._closing)
        else:
            self._open_again()
        self._closing = None

    def _open_again(self) -> None:
        self._descriptor = descriptor = self.disk.open(self.path)
        try:
            self._check_untouched(os.fstat(descriptor), whole=False)
            self.cut(self.confirmed)
        except (OSError, JournalTouched):
            self.close()
            raise

    def close_segment(self, last: int) -> Path:
        """Give the file the name of a closed segment, and begin the next file; return that name.

        The file's last line must be the one with seq `last`, which says that it is closed. Raises
        NotRenamed where the system refuses the name: the same file is open again then. After any
        other error (OSError, JournalTouched) the journal is closed, and `reopen` goes on with it.
        """
        closed = closed_path(self.path, self.first, last)
        self._closing, self._turning = (closed, last), True
        try:
            refusal = self._rename(closed)
            self.reopen()
        finally:
            self._turning = False
        if self.first <= last:
            raise NotRenamed(str(refusal)) from refusal
        return closed

    def _rename(self, closed: Path) -> OSError | None:
        """Try to; what `reopen` finds counts, and not what the system says here."""
        self.close()  # Windows renames no file that is open
        try:
            self.disk.rename(self.path, closed)
        except OSError as refusal:
            return refusal
        return None

    def _was_renamed(self, closed: Path) -> bool:
        return self._is_at(closed) and not self._is_at(self.path)

    def _is_at(self, path: Path) -> bool:
        try:
            return path.stat().st_ino == self._file
        except FileNotFoundError:
            return False

    def _begin_next(self, closed: Path, last: int) -> None:
        self.disk.sync_folder(closed.parent)
        with contextlib.suppress(OSError):  # each start looks whether it can be written
            self.disk.seal(closed)
        self.open()
        if self.confirmed:
            self.close()
            raise JournalTouched(
                f"{self.path} has {self.confirmed} bytes, and was just begun: somebody else wrote"
                " them"
            )
        self.first = last + 1

    def close(self) -> None:
        """Close the file; what was confirmed stays."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            with contextlib.suppress(OSError):  # what matters was synced before
                os.close(descriptor)

    @property
    def free(self) -> int:
        """How many bytes are free on its disk. Raises OSError if that cannot be told."""
        return self.disk.free(self.path)

    @property
    def headroom(self) -> int:
        """How many of them are beyond what is kept free; below 0 nothing is accepted."""
        return self.free - self._keep_free

    def trouble(self) -> str | None:
        """Return why no line can be written now, None if one can. Raises OSError if that cannot be
        told."""
        if not self.is_open:
            return f"{self.path} is closed after an error, and is tried again"
        free = self.free
        return str(NoRoom(self.path, free, self._keep_free)) if free < self._keep_free else None

    def check_room(self, coming: int = 0) -> None:
        """Raise NoRoom unless `coming` bytes and the headroom fit on the disk.

        OSError if it cannot tell; JournalTouched if the open file is no longer the one at the path,
        or not as long as it was left.
        """
        if self._descriptor is not None:
            try:
                self._check_untouched(self.path.stat())
            except FileNotFoundError:
                raise JournalTouched(f"{self.path} was removed while it was in use") from None
        free = self.disk.free(self.path)
        if free < self._keep_free + coming:
            raise NoRoom(self.path, free, self._keep_free + coming)

    def _check_untouched(self, found: os.stat_result, *, whole: bool = True) -> None:
        if found.st_ino != self._file:
            raise JournalTouched(f"{self.path} was replaced by another file while it was in use")
        if found.st_size < self.confirmed or (whole and found.st_size > self.confirmed):
            raise JournalTouched(
                f"{self.path} has {found.st_size} bytes, {self.confirmed} were written:"
                " somebody else changed it"
            )

    def append(self, lines: Sequence[bytes]) -> None:
        """Return once every line is on disk.

        After an error (OSError, JournalClosed) the end of the file is unknown: it is closed, and
        only `reopen` and writing the missing lines again make it whole.
        """
        descriptor = self._descriptor
        if descriptor is None:
            raise JournalClosed(f"{self.path} is closed after an error")
        data = NEWLINE.join(lines) + NEWLINE
        try:
            self._write(descriptor, data)
            self.disk.sync(descriptor)
        except OSError:
            self.close()
            raise
        self.confirmed += len(data)

    def _write(self, descriptor: int, data: bytes) -> None:
        done = 0
        while done < len(data):
            taken = self.disk.write(descriptor, self.confirmed + done, data[done:])
            if taken <= 0:  # no system says this of a disk; asking for ever would be worse
                raise OSError(errno.EIO, "the disk takes nothing", str(self.path))
            done += taken

    def cut(self, offset: int) -> None:
        """Cut the file back to an offset, durably."""
        if self._descriptor is None:
            raise JournalClosed(f"{self.path} is closed")
        self.disk.truncate(self._descriptor, offset)
        self.disk.sync(self._descriptor)
        self.confirmed = offset

    def tail(self, limit: int = TAIL) -> Tail:
        """Read the whole lines in the file's last `limit` bytes, oldest first."""
        return read_tail(self.path, limit)


def read_tail(path: Path, limit: int = TAIL) -> Tail:
    """Read the whole lines in the last `limit` bytes of a journal; opened for reading only."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - limit)
        file.seek(start)
        data = file.read(size - start)
    if start > 0:  # begin with the first line that is whole
        first = data.find(NEWLINE) + 1
        start, data = start + first, data[first:]
    lines = []
    offset = begin = start
    parts = data.split(NEWLINE)
    for line in parts[:-1]:
        lines.append((offset, line))
        offset += len(line) + 1
    return Tail(lines, offset, size, begin)


def last_line(files: Sequence[Path]) -> Line | None:
    """Return the last whole line of a journal's files, None where there is none yet.

    Its number is 0: nobody counted. A file that is gone has been closed meanwhile, and counts as
    empty.
    """
    for file in reversed(files):
        with contextlib.suppress(FileNotFoundError):
            lines = read_tail(file).lines
            if lines:
                return Line(str(file), 0, *lines[-1])
    return None
