"""The log, which is the journals merged by position, and what must hold from one line to the next.

 (4) `position` counts 1, 2, 3 without a gap, and none comes twice: no journal is missing
     (orphaned lines, which their node disowns, are no part of the log);
 (5) `head` is the hash of the line at the position before;
 (6) `at` never goes back, and the versions of each stream count 1, 2, 3;
 (8) what heads pinned elsewhere say of a position is so.
With some journals only (`partial`), they hold as far as lines stand beside each other.
"""

import re
from collections.abc import Sequence
from typing import Protocol

from events.envelope import ZERO_HASH, Record
from journal.breaks import JournalBroken, Line, broken_at
from journal.heads import Head, head_of

_AT = re.compile(r"\d{4}-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-5]\d\.\d{6}Z")


class Versions(Protocol):
    """The version that each stream has reached."""

    def move(self, stream: str, version: int) -> int:
        """Note that the stream has this version now; return the one it had before, 0 at first."""
        ...


class MemoryVersions:
    """Versions in a dictionary: for logs whose streams fit into memory."""

    def __init__(self) -> None:
        self._versions: dict[str, int] = {}

    def move(self, stream: str, version: int) -> int:
        """Note that the stream has this version now; return the one it had before, 0 at first."""
        before = self._versions.get(stream, 0)
        self._versions[stream] = version
        return before


class Witness(Protocol):
    """Something the log is held against, line by line: the database."""

    def see(self, line: Line, record: Record) -> None:
        """Take the next line by position; raises JournalBroken where it is known otherwise."""
        ...

    def orphaned(self, line: Line, record: Record) -> None:
        """Take a line that is no part of the log, being disowned by its node."""
        ...

    def missing(self, position: int) -> str:
        """Return what is known of a position that no journal has, or an empty text."""
        ...


class Log:
    """What was read so far: the last line, and what must come next."""

    def __init__(
        self,
        pinned: Sequence[Head],
        partial: bool,
        versions: Versions,
        witness: Witness | None,
    ) -> None:
        self.lines = 0
        self._pinned = iter(pinned)
        self._pin = next(self._pinned, None)
        self.pins_seen = 0
        self._partial = partial
        self._versions = versions
        self._witness = witness
        self.last: tuple[Line, Record] | None = None
        self.first: Record | None = None
        self._position = 0
        self._hash = ZERO_HASH
        self._at = ""

    def take(self, line: Line, record: Record) -> None:
        """Take the next line by position."""
        envelope = record.envelope
        position = envelope.position
        if position != self._position + 1:
            self._gap(line, record)
        elif envelope.head != self._hash:
            raise broken_at(line, record, self._head_reason())
        if envelope.at < self._at or not _AT.fullmatch(envelope.at):
            raise broken_at(line, record, self._at_reason(envelope.at))
        if not self._partial:
            before = self._versions.move(envelope.stream, envelope.version)
            if envelope.version != before + 1:
                raise broken_at(
                    line,
                    record,
                    f"stream {envelope.stream} has version {envelope.version} after {before}",
                )
        if self._pin is not None and position >= self._pin.position:
            self._check_pins(line, record)
        self._position, self._hash, self._at = position, record.hash, envelope.at
        self.first = self.first or record
        self.last = line, record
        self.lines += 1

    def check_end(self) -> None:
        """Raise JournalBroken where a head was pinned behind the end."""
        if self._pin is None:
            return
        pin = self._pin
        if self.last is None:
            raise JournalBroken(
                f"is empty, but a head was pinned at position {pin.position}", file="the log"
            )
        line, record = self.last
        raise broken_at(
            line,
            record,
            f"this is the last line, but a head was pinned at position {pin.position}"
            f" (seq {pin.seq} of node {pin.server_id}): the log's end was cut off or rolled back",
        )

    def _gap(self, line: Line, record: Record) -> None:
        position = record.envelope.position
        if position == self._position and self.last:
            other = self.last[0]
            raise broken_at(
                line, record, f"position {position} is taken by {other.file}:{other.number} already"
            )
        if self._partial:
            return
        missing = self._position + 1
        many = (
            f"positions {missing} to {position - 1} are"
            if position > missing + 1
            else f"position {missing} is"
        )
        told = self._witness.missing(missing) if self._witness else ""
        known = f"; {told}" if told else ""
        raise broken_at(
            line,
            record,
            f"{many} in no journal given: a node's journal, or its end, is missing{known}",
        )

    def _head_reason(self) -> str:
        if self.last is None:
            return "head of the first line is not 64 zeros"
        line = self.last[0]
        place = (
            f"{line.file}:{line.number}"
            if line.number
            else f"the line at position {self._position}"
        )
        return f"head does not match the hash of {place}: the nodes' journals contradict each other"

    def _at_reason(self, at: str) -> str:
        if not _AT.fullmatch(at):
            return f"at is {at!r}, not a time in UTC with microseconds"
        return f"at is {at}, earlier than {self._at} at position {self._position}"

    def _check_pins(self, line: Line, record: Record) -> None:
        position = record.envelope.position
        while self._pin is not None and self._pin.position <= position:
            if self._pin.position < position:
                raise broken_at(
                    line,
                    record,
                    f"a head was pinned at position {self._pin.position}"
                    f" (node {self._pin.server_id}), which is in no journal given",
                )
            if head_of(record) != self._pin:
                raise broken_at(
                    line,
                    record,
                    f"another line was pinned at position {position}: seq {self._pin.seq} of node"
                    f" {self._pin.server_id}, hash {self._pin.hash}: the log was rewritten",
                )
            self.pins_seen += 1
            self._pin = next(self._pinned, None)
