"""A line's place, and where a journal is broken and why: the one exception of verifying."""

from typing import NamedTuple

from events.envelope import Record


class Line(NamedTuple):
    """A line without its newline; its number is from 1, 0 stands for a row of a database.

    `orphaned` tells that a later line of its node disowns it (`log.forked`): where it stands, the
    log has a line of another node.
    """

    file: str
    number: int
    offset: int
    data: bytes
    orphaned: bool = False


class JournalBroken(Exception):
    """A journal, or the database beside it, is not what its nodes signed.

    `file` and `line` (from 1; 0 where there is no line) tell where to look, `seq` and `position`
    which event it is, as far as they are known. The text is one line: `audit.log:17: seq 17:
    <reason>`.
    """

    def __init__(
        self, reason: str, *, file: str, line: int = 0, seq: int = 0, position: int = 0
    ) -> None:
        super().__init__(printable(_place(file, line, seq, position) + reason))
        self.reason = reason
        self.file = file
        self.line = line
        self.seq = seq
        self.position = position


class TornLine(JournalBroken):
    """A file's last line has no newline: a crash, or a full disk, left it unfinished."""


def printable(text: str) -> str:
    """Return the text on one line, with every character that could steer a terminal spelled out."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _place(file: str, line: int, seq: int, position: int) -> str:
    place = f"{file}:{line}: " if line else f"{file}: "
    if seq and position and seq != position:
        return f"{place}seq {seq}, position {position}: "
    if seq:
        return f"{place}seq {seq}: "
    return f"{place}position {position}: " if position else place


def broken_at(line: Line, record: Record, reason: str) -> JournalBroken:
    """Return the break at a line that could be read."""
    envelope = record.envelope
    return JournalBroken(
        reason, file=line.file, line=line.number, seq=envelope.seq, position=envelope.position
    )
