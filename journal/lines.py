"""A journal's lines, one after the other, however long the file is.

A journal is one file, or a folder with its closed segments `audit.<first>-<last>.log` and the
active `audit.log`. Only what makes a line at all is looked at here: a newline at its end, a bounded
length, no NUL, UTF-8. What a line says is for others.
"""

import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from events.envelope import MAX_LINE
from journal.breaks import JournalBroken, Line

CHUNK = 1024 * 1024
ACTIVE = "audit.log"
SEGMENT = re.compile(r"audit\.(\d{1,19})-(\d{1,19})\.log")
_NEWLINE = b"\n"
_PATIENCE = 20  # times that a live file's unfinished last line is looked at again
_PAUSE = 0.05  # seconds between two looks; an append takes far less


class NoJournal(Exception):
    """There is no journal at a path: neither a file nor a folder that holds one."""


def segments(path: Path) -> list[Path]:
    """Return the files of the journal at `path` (a file or a folder), oldest first.

    Raises NoJournal where there is none, OSError where the folder cannot be read.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        what = "is neither a file nor a folder" if path.exists() else "does not exist"
        raise NoJournal(f"{path} {what}")
    closed = [(int(found[1]), file) for file in path.iterdir() if (found := _is_segment(file))]
    files = [file for _first, file in sorted(closed)]
    if (path / ACTIVE).is_file():
        files.append(path / ACTIVE)
    if not files:
        raise NoJournal(f"{path} holds no journal: neither {ACTIVE} nor audit.<first>-<last>.log")
    return files


def _is_segment(file: Path) -> re.Match[str] | None:
    return SEGMENT.fullmatch(file.name) if file.is_file() else None


def read_journal(files: Iterable[Path], *, live: bool = False) -> Iterator[Line]:
    """Yield the lines of a journal's files, in order; see `read_lines`."""
    for file in files:
        yield from read_lines(file, live=live)


def read_lines(path: Path, *, live: bool = False) -> Iterator[Line]:
    """Yield the lines that the file has now, in memory that does not grow with it.

    A `live` file is being written: its last line gets a moment to be finished. Raises JournalBroken
    at the first thing that is no line, OSError where the file cannot be read.
    """
    with path.open("rb") as file:
        yield from _split(path, file, live=live)


def _split(path: Path, file: BinaryIO, *, live: bool) -> Iterator[Line]:
    name = str(path)
    number, offset, rest = 0, 0, b""
    left = path.stat().st_size
    while chunk := file.read(min(CHUNK, left)):
        left -= len(chunk)
        whole, newline, last = (rest + chunk).rpartition(_NEWLINE)
        if newline:
            for data in whole.split(_NEWLINE):
                number += 1
                _check(name, number, data)
                yield Line(name, number, offset, data)
                offset += len(data) + 1
        rest = last
        if len(rest) > MAX_LINE:
            _check(name, number + 1, rest)
    if rest and live:
        rest = _finish(file, rest)
    if rest:
        yield from _last(name, number + 1, offset, rest)


def _finish(file: BinaryIO, rest: bytes) -> bytes:
    """Return the unfinished line, with its newline if that came in time."""
    for _look in range(_PATIENCE):
        rest += file.readline(MAX_LINE)
        if rest.endswith(_NEWLINE):
            break
        time.sleep(_PAUSE)
    return rest


def _last(name: str, number: int, offset: int, rest: bytes) -> Iterator[Line]:
    data = rest.removesuffix(_NEWLINE)
    _check(name, number, data)
    if data == rest:
        raise JournalBroken(
            "the last line has no newline at its end: it was torn or cut", file=name, line=number
        )
    yield Line(name, number, offset, data)


def _check(name: str, number: int, data: bytes) -> None:
    """Raise JournalBroken for what cannot be a line whatever it says."""
    if b"\0" in data:
        raise JournalBroken(
            "NUL bytes: the disk lost what was written here, or it was overwritten",
            file=name,
            line=number,
        )
    if len(data) > MAX_LINE:
        raise JournalBroken(f"longer than {MAX_LINE} bytes", file=name, line=number)
    if not data.isascii():
        _check_utf8(name, number, data)


def _check_utf8(name: str, number: int, data: bytes) -> None:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise JournalBroken(
            f"not UTF-8 at byte {error.start} of the line", file=name, line=number
        ) from None
