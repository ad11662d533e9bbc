"""Bytes that must be in no file of an SQLite database any more.

What is deleted is overwritten in its page (`secure_delete`). But the page as it was may stand in
the write-ahead log until that is emptied, and an old copy of a row may stand in the unused part of
a page that was split long ago. Only a look at the file's bytes can tell.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from certeasy.store.errors import DatabaseUnavailable

CHUNK = 1 << 20


class Scrubber:
    """Looks at a database's file beside the connections that this process has to it.

    It opens the file once and keeps it open for as long as they are: a process that closes any
    descriptor of a file loses all its POSIX locks there, SQLite's too (fcntl(2);
    sqlite.org/howtocorrupt.html, 2.2). Whoever opened the database next, a backup program or
    another command, would take itself for the only one and remove the write-ahead log when it
    leaves, and what this process commits from then on would be lost when it is killed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    def scrub(self, driver: Any, gone: Sequence[bytes], *, anew: bool) -> None:
        """Empty the write-ahead log, and write the whole file anew where it holds one of these, or
        if it is to be written `anew` in any case.

        Raises DatabaseUnavailable where another process holds the log open, or where one of them is
        still there.
        """
        cursor = driver.cursor()
        try:
            _empty_log(cursor)
            if anew or self._holds(gone):
                cursor.execute("VACUUM")
                _empty_log(cursor)
        finally:
            cursor.close()
        if self._holds(gone):
            raise DatabaseUnavailable(
                f"{self._path} still holds the bytes of a key that was destroyed"
            )

    def close(self) -> None:
        """Close the file, once every connection to it is closed."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _holds(self, wanted: Sequence[bytes]) -> bool:
        if self._file is None:
            self._file = self._path.open("rb", buffering=0)
        self._file.seek(0)
        return holds(self._file, wanted)


def _empty_log(cursor: Any) -> None:
    busy = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    if busy:
        raise DatabaseUnavailable(
            "the key was destroyed, but its bytes may still be in the database's -wal file, which"
            " another process is reading: stop that one and run the command again"
        )


def holds(file: BinaryIO, wanted: Sequence[bytes]) -> bool:
    """Whether a file's bytes, from where it is read, have one of these in them."""
    keep = max((len(each) for each in wanted), default=1) - 1
    tail = b""
    while wanted and (chunk := file.read(CHUNK)):
        window = tail + chunk
        if any(each in window for each in wanted):
            return True
        tail = window[-keep:] if keep else b""
    return False
