"""A node's closed segments, as its log says they are, held against the files beside the active one.

The log has an event for each segment that was closed; so from the database alone it is known which
files there must be, what they are called, and which line each of them ends with. The probe looks at
names, modes and last lines; whole contents are for `certeasy audit verify`.

The oldest ones may have been moved to an archive: the node says so at each start, and goes on, as
the database still has every line. A hole between them, or in front of the active file, is refused:
no archive is made that way.
"""

import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

import msgspec

from certeasy.commit.chain import BrokenChain, after
from certeasy.commit.keys import NodeKeys
from certeasy.commit.rotation import closing_in
from certeasy.log import logger
from certeasy.store import Store
from events.envelope import MAX_LINE, ZERO_HASH, BrokenLine, Record, parse
from journal.disk import Disk
from journal.file import Journal, read_tail
from journal.segments import CLOSING, bounds_of, closed_path, closed_segments

LAST_LINE = 16 * 1024  # bytes in which the line that closes a segment stands
PAGE = 1000
WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
log = logger("journal")


class SegmentRefused(Exception):
    """The closed segments are not those that the log tells of."""


class Segment(msgspec.Struct, frozen=True):
    """A closed segment as the log tells of it: it follows the line with hash `prev`, and ends with
    `line`, whose hash is `hash`."""

    path: Path
    first: int
    last: int
    prev: str
    hash: str
    line: bytes


class Closed(msgspec.Struct, frozen=True):
    """The closed segments that are there, those that were moved away, those that are lost."""

    there: list[Segment]
    away: list[Segment]
    lost: list[Segment]

    @property
    def end(self) -> tuple[int, str]:
        """The seq and the hash of the line before the active file's first one."""
        last = (self.away + self.there)[-1:]
        return (last[0].last, last[0].hash) if last else (0, ZERO_HASH)


def told(store: Store, server_id: str, active: Path) -> list[Segment]:
    """Return the segments that a node's log says were closed, in order of their lines.

    One that the system refused to rename is left out once it was closed under a longer name.
    Raises SegmentRefused where one is missing between them.
    """
    segments: list[Segment] = []
    for line in store.lines_in(f"node/{server_id}", CLOSING):
        record = _read(line)
        fact = closing_in(record) if record is not None else None
        if record is None or fact is None or record.envelope.server_id != server_id:
            continue  # a row that somebody changed: what it told of is unknown then
        while segments and segments[-1].first >= fact.first_seq:
            segments.pop()
        last = record.envelope.seq
        path = closed_path(active, fact.first_seq, last)
        prev = segments[-1].hash if segments else ZERO_HASH
        segments.append(Segment(path, fact.first_seq, last, prev, record.hash, line))
    _check_no_gap(segments, server_id)
    return segments


def _check_no_gap(segments: Sequence[Segment], server_id: str) -> None:
    """A segment that the database forgot could be taken away, and nobody would miss it."""
    end = 0
    for each in segments:
        if each.first != end + 1:
            raise SegmentRefused(
                f"the log of node {server_id} in the database tells of a segment from seq"
                f" {each.first} on ({each.path.name}), and of none that ends at seq"
                f" {each.first - 1}: rows were changed or lost. 'certeasy audit verify -f"
                " config.yml' names them, restore them from a backup"
            )
        end = each.last


def look(store: Store, server_id: str, active: Path) -> Closed:
    """Hold the closed segments beside the active file against the log; nothing is changed.

    Raises SegmentRefused, naming file and reason, where one is not what the log says. Those that
    are lost are for the caller to refuse, or to have written again.
    """
    first = first_record(active)
    begins = first.envelope.seq if first is not None else None
    segments = told(store, server_id, active)
    if begins is not None:  # closed, but not renamed: these lines stand in the active file
        segments = [each for each in segments if each.last < begins]
    names = {each.path.name for each in segments}
    files = {file.name: file for file in closed_segments(active)}
    for file in files.values():
        if file.name not in names:
            _check_unknown(file, server_id, begins)
    there = [each for each in segments if each.path.name in files]
    for each in there:
        _check_last_line(each, server_id)
    _check_beginning(first, segments, active)
    oldest = there[0].first if there else begins
    gone = [each for each in segments if each.path.name not in files]
    away = [each for each in gone if oldest is not None and each.last < oldest]
    return Closed(there, away, gone[len(away) :])


def _check_last_line(segment: Segment, server_id: str) -> None:
    tail = read_tail(segment.path, LAST_LINE)
    line = tail.lines[-1][1] if tail.lines and tail.torn_at == tail.size else b""
    if line == segment.line:
        return
    check_owner(segment.path, _last(line), server_id)
    raise SegmentRefused(
        f"{segment.path} does not end with the line that closed it, seq {segment.last} of node"
        f" {server_id} with hash {segment.hash}: it was changed or cut, or is another file."
        " 'certeasy audit verify -f config.yml' looks at all of it; put the right one back, or"
        " move it away and run 'certeasy journal refill --closed -f config.yml --reason WHY'"
    )


def _check_unknown(file: Path, server_id: str, begins: int | None) -> None:
    """Refuse a file that is called like a closed segment, and that the log does not tell of."""
    lines = read_tail(file, LAST_LINE).lines
    check_owner(file, _last(lines[-1][1] if lines else b""), server_id)
    bounds = bounds_of(file.name)
    if begins is not None and bounds is not None and bounds.last >= begins:
        raise SegmentRefused(
            f"{file} has lines that are also in the active file, which begins with seq {begins}: a"
            " segment is there twice. Move the one away that was put there"
        )
    raise SegmentRefused(
        f"{file} is called like a closed segment, but the log of node {server_id} tells of none"
        " with these lines: it was renamed, or is there twice. Give it its own name again, or move"
        " it away"
    )


def check_owner(file: Path, last: Sequence[Record], server_id: str) -> None:
    """Raise SegmentRefused where a closed segment's last line names another node."""
    for record in last:
        if record.envelope.server_id == server_id:
            continue
        raise SegmentRefused(
            f"{file} is a segment of node {record.envelope.server_id}, this workdir is node"
            f" {server_id}: give each node a workdir of its own"
        )


def _check_beginning(first: Record | None, segments: Sequence[Segment], active: Path) -> None:
    """The active file must go on where the last closed segment ended, by the log."""
    if first is None:
        return
    seq, prev = first.envelope.seq, first.envelope.prev
    end = (segments[-1].last, segments[-1].hash) if segments else (0, ZERO_HASH)
    if (seq - 1, prev) != end:
        raise SegmentRefused(
            f"{active} begins with seq {seq} behind the hash {prev}, but by the log what stands"
            f" before it ends with seq {end[0]} and hash {end[1]}: its beginning was cut off, or"
            " changed. Keep it for the investigation, and run 'certeasy journal refill -f"
            " config.yml --reason WHY' without it"
        )


def first_record(active: Path) -> Record | None:
    """Return the first line of a file, or None where there is no whole one."""
    with suppress(FileNotFoundError), active.open("rb") as file:
        line = file.readline(MAX_LINE + 2)
        if line.endswith(b"\n"):
            return _read(line[:-1])
    return None


def warn(closed: Closed) -> None:
    """Say which segments were moved away."""
    if closed.away:
        log.warning(
            "seq 1 to %d of this node's journal are not in its folder: %s; the database has these"
            " lines, 'certeasy audit verify -f config.yml' needs the files",
            closed.away[-1].last,
            named(closed.away),
        )


def seal(closed: Closed, disk: Disk) -> None:
    """Take the right to write from the segments that are there, where somebody has it."""
    for each in closed.there:
        mode = stat.S_IMODE(each.path.stat().st_mode)
        if not mode & WRITABLE:
            continue
        try:
            disk.seal(each.path)
        except OSError as error:
            log.warning("the closed segment %s can be written: %s", each.path, error)
        else:
            log.warning(
                "the closed segment %s could be written (mode %04o); now nobody can, as after"
                " every closing that is not broken off",
                each.path,
                mode,
            )


def named(segments: Sequence[Segment]) -> str:
    """Return the names of segments, the first and the last of many."""
    first, last = segments[0].path.name, segments[-1].path.name
    return first if first == last else f"{first} to {last} ({len(segments)} segments)"


def write_again(
    segments: Sequence[Segment], store: Store, server_id: str, keys: NodeKeys, disk: Disk
) -> Iterator[Segment]:
    """Write lost segments from the database, whole or not at all; yield each when it is there.

    Raises SegmentRefused where the database's lines are not what this node signed, OSError where
    they cannot be written.
    """
    for each in segments:
        draft = each.path.with_name(f".{each.path.name}.new")
        draft.unlink(missing_ok=True)
        writing = Journal(draft, disk=disk)
        writing.open()
        try:
            _copy(each, store, server_id, keys, writing)
        finally:
            writing.close()
        disk.rename(draft, each.path)
        disk.sync_folder(each.path.parent)
        disk.seal(each.path)  # last: Windows removes no draft that is sealed
        yield each


def _copy(segment: Segment, store: Store, server_id: str, keys: NodeKeys, to: Journal) -> None:
    end = (segment.first - 1, segment.prev)
    lines = store.lines_of(server_id, segment.first - 1)
    while end[0] < segment.last:
        page = list(islice(lines, min(PAGE, segment.last - end[0])))
        if not page:
            break
        try:
            end = after(end, page, server_id, keys)
        except BrokenChain as error:
            raise SegmentRefused(f"{segment.path.name} cannot be written again: {error}") from None
        to.append(page)
    if end != (segment.last, segment.hash):
        raise SegmentRefused(
            f"{segment.path.name} cannot be written again: the database's lines of node"
            f" {server_id} do not lead to seq {segment.last} with hash {segment.hash}"
        )


def _last(line: bytes) -> list[Record]:
    record = _read(line)
    return [] if record is None else [record]


def _read(line: bytes) -> Record | None:
    try:
        return parse(line)
    except BrokenLine:
        return None
