"""A journal's lines, one after the other, however long the file is.

A journal is one file, or a folder with its closed segments `audit.<first>-<last>.log` and the
active `audit.log`. Only what makes a line at all is looked at here: a newline at its end, a bounded
length, no NUL, UTF-8. What a line says is for others.
"""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from events.envelope import MAX_LINE, BrokenLine, parse
from events.recovery import LogForked
from events.registry import NewerSchema, UndecodableEvent, UnknownEvent
from journal.breaks import JournalBroken, Line, TornLine
from journal.segments import ACTIVE, bounds_of, closed_segments

CHUNK = 1024 * 1024
_NEWLINE = b"\n"
_FORKED = b'"type":"log.forked"'
_PATIENCE = 20  # times that a live file's unfinished last line is looked at again
_PAUSE = 0.05  # seconds between two looks; an append takes far less


class NoJournal(Exception):
    """There is no journal at a path: neither a file nor a folder that holds one."""


def segments(path: Path) -> list[Path]:
    """Return the files of the journal at `path`, oldest first.

    `path` is a folder; or the active file, to which the closed segments beside it belong (right
    after a rotation it may be missing); or one closed segment, which is taken alone.
    Raises NoJournal where there is none, OSError where the folder cannot be read.
    """
    if path.is_dir():
        files = _with_closed(path / ACTIVE)
        if not files:
            raise NoJournal(
                f"{path} holds no journal: neither {ACTIVE} nor audit.<first>-<last>.log"
            )
        return files
    files = [path] if bounds_of(path.name) and path.is_file() else _with_closed(path)
    if not files:
        what = "is neither a file nor a folder" if path.exists() else "does not exist"
        raise NoJournal(f"{path} {what}")
    return files


def _with_closed(active: Path) -> list[Path]:
    closed = closed_segments(active)
    if active.is_file():
        return [*closed, active]
    return closed_segments(active)  # again: it may have become one of them in this moment


def read_journal(files: Iterable[Path], *, live: bool = False) -> Iterator[Line]:
    """Yield the lines of a journal's files, in order, as one journal; see `read_lines`.

    Raises JournalBroken where the names of closed segments do not follow each other. The active
    file may be closed and renamed meanwhile: what it held is read where it is by then.
    """
    every = list(files)
    disowned = _disowned(every)
    lines = _read_files(every, live=live)
    if not disowned:
        yield from lines
        return
    for number, line in enumerate(lines):
        yield line._replace(orphaned=any(number in run for run in disowned))


def _disowned(files: Sequence[Path]) -> list[range]:
    """Return which lines, counted from 0, a `log.forked` behind them disowns.

    That is what a line says, found without looking at anything else; `merge.Chain` proves it.
    """
    if not any(_has(file, _FORKED) for file in files):
        return []
    found = []
    with suppress(JournalBroken):  # which reading it again will raise
        for number, line in enumerate(_read_files(files, live=True)):
            fork = fork_in(line.data) if _FORKED in line.data else None
            if fork is not None:
                found.append(range(number - (fork.last_seq - fork.first_seq + 1), number))
    return found


def fork_in(line: bytes) -> LogForked | None:
    """Return what a line says of lines that its node disowns, if it is such a line."""
    try:
        fact = parse(line).event
    except (BrokenLine, UnknownEvent, NewerSchema, UndecodableEvent):
        return None
    return fact if isinstance(fact, LogForked) else None


def _has(file: Path, words: bytes) -> bool:
    """Whether a file has these bytes anywhere; False where it has gone meanwhile."""
    with suppress(FileNotFoundError), file.open("rb") as opened:
        before = b""
        while chunk := opened.read(CHUNK):
            if words in before + chunk:
                return True
            before = chunk[-len(words) :]
    return False


def _read_files(files: Sequence[Path], *, live: bool) -> Iterator[Line]:
    last: Path | None = None
    for file in files:
        if bounds_of(file.name) is None:
            yield from _read_active(file, last, live=live)
        else:
            _check_name(file, last)
            yield from _read_closed(file)
            last = file


def _check_name(file: Path, before: Path | None) -> None:
    """Raise JournalBroken unless a closed segment follows the one before it, by their names."""
    bounds = bounds_of(file.name)
    known = bounds_of(before.name) if before else None
    if bounds is None or before is None or known is None:
        return
    if bounds.first <= known.last:
        raise JournalBroken(
            f"it begins with seq {bounds.first}, but {before.name} goes up to seq {known.last}: a"
            " segment is there twice, or a file was renamed",
            file=str(file),
        )
    if bounds.first > known.last + 1:
        raise JournalBroken(
            f"a segment is missing before it: seq {known.last + 1} to {bounds.first - 1}, between"
            f" it and {before.name}",
            file=str(file),
        )


def _read_closed(file: Path) -> Iterator[Line]:
    empty = True
    for line in read_lines(file):
        empty = False
        yield line
    if empty:
        raise JournalBroken("a closed segment without a line", file=str(file))


def _read_active(path: Path, last: Path | None, *, live: bool) -> Iterator[Line]:
    """Yield the active file's lines; before them, those of segments closed since `last`."""
    file, closed = _open_active(path)
    known = bounds_of(last.name) if last else None
    try:
        for segment in closed:
            bounds = bounds_of(segment.name)
            if known is None or (bounds is not None and bounds.first > known.last):
                _check_name(segment, last)
                yield from _read_closed(segment)
                last = segment
        if file is not None:
            yield from _split(path, file, live=live)
    finally:
        if file is not None:
            file.close()


def _open_active(path: Path) -> tuple[BinaryIO | None, list[Path]]:
    """Open the active file, if there is one, with the closed segments as they were by then."""
    while True:
        before = closed_segments(path)
        try:
            file = path.open("rb")
        except FileNotFoundError:
            if not before:
                raise
            file = None
        after = closed_segments(path)
        if after == before:
            return file, before
        if file is not None:  # which of the two files this is nobody knows: look again
            file.close()


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
    left = os.fstat(file.fileno()).st_size
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
        raise TornLine(
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
