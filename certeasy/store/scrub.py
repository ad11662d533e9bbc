"""Bytes that must be in no file of an SQLite database any more.

What is deleted is overwritten in its page (`secure_delete`). But the page as it was may stand in
the write-ahead log until that is emptied, and an old copy of a row may stand in the unused part of
a page that was split long ago. Only a look at the file's bytes can tell.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from certeasy.store.errors import DatabaseUnavailable

CHUNK = 1 << 20


def scrub(driver: Any, path: Path, gone: Sequence[bytes], *, anew: bool) -> None:
    """Empty the write-ahead log, and write the whole file anew where it holds one of these, or if
    it is to be written `anew` in any case.

    Raises DatabaseUnavailable where another process holds the log open, or where one of them is
    still there.
    """
    cursor = driver.cursor()
    try:
        _empty_log(cursor)
        if anew or holds(path, gone):
            cursor.execute("VACUUM")
            _empty_log(cursor)
    finally:
        cursor.close()
    if holds(path, gone):
        raise DatabaseUnavailable(f"{path} still holds the bytes of a key that was destroyed")


def _empty_log(cursor: Any) -> None:
    busy = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    if busy:
        raise DatabaseUnavailable(
            "the key was destroyed, but its bytes may still be in the database's -wal file, which"
            " another process is reading: stop that one and run the command again"
        )


def holds(path: Path, wanted: Sequence[bytes]) -> bool:
    """Whether a file's bytes have one of these in them."""
    keep = max((len(each) for each in wanted), default=1) - 1
    tail = b""
    with path.open("rb") as file:
        while wanted and (chunk := file.read(CHUNK)):
            window = tail + chunk
            if any(each in window for each in wanted):
                return True
            tail = window[-keep:] if keep else b""
    return False
