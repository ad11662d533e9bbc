"""A log folded into an empty SQLite file: the server's tables, for auditors to ask.

As of any position or time. The fold watches while the log is verified, so that one reading proves
and folds; what comes behind the asked position is still proven, and not folded.
"""

import re
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from certeasy.audit.state import AsOf, State, as_of
from events.envelope import Record, timestamp
from events.registry import NewerSchema, UndecodableEvent, UnknownEvent
from journal.breaks import JournalBroken, Line, broken_at
from projections.fold import VERSION, fold
from projections.tables import WorkingRows

BATCH = 1000
UNREADABLE = (UnknownEvent, NewerSchema, UndecodableEvent, LookupError)
WANTED_TIME = "2026-11-24T18:30:00Z"
_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


class Replayed(msgspec.Struct, frozen=True):
    """What a replay folded, and what its state is of."""

    folded: int
    as_of: AsOf


class Replay:
    """A new state that lines are folded into, as a witness of their verification."""

    def __init__(self, path: Path, *, position: int | None = None, at: str | None = None) -> None:
        """Make the file; fold up to and with a position or a time (`line_time` makes one).

        Raises FileExistsError rather than to write over a file.
        """
        self.folded = 0
        self._position = position
        self._at = at
        self._last: Record | None = None
        self._state = State(path)
        self._rows = WorkingRows(self._state.load)

    def see(self, line: Line, record: Record) -> None:
        """Fold the next line; raises JournalBroken for one that this version cannot fold."""
        if self._position is not None and record.envelope.position > self._position:
            return
        if self._at is not None and record.envelope.at > self._at:
            return
        try:
            fold(record, self._rows)
        except UNREADABLE as error:
            raise broken_at(line, record, f"cannot be folded: {error}") from None
        self._last = record
        self.folded += 1
        if self.folded % BATCH == 0:
            self._store()

    def orphaned(self, line: Line, record: Record) -> None:
        """Fold nothing: the line is no part of the log."""

    def missing(self, position: int) -> str:
        """Say nothing: a fold knows only what it was given."""
        del position
        return ""

    def finish(self) -> Replayed:
        """Store what is left; the file has its name then.

        Raises JournalBroken where the log ends before the position that was asked for.
        """
        self._store()
        found = as_of(self._last, VERSION)
        if self._position is not None and found.position < self._position:
            raise JournalBroken(
                f"ends at position {found.position}, position {self._position} was asked for",
                file="the log",
            )
        self._state.finish(found)
        return Replayed(self.folded, found)

    def close(self) -> None:
        """Close the file, and remove it if it was not finished."""
        self._state.close()

    def _store(self) -> None:
        self._state.store(self._rows.changes())
        self._rows.forget()


def line_time(text: str) -> str:
    """Return a time as lines have it: RFC 3339, with any offset, to UTC with six decimals.

    Raises ValueError, with the form that is wanted, for anything else.
    """
    try:
        if not _RFC3339.fullmatch(text):
            raise ValueError(text)
        return timestamp(datetime.fromisoformat(text.upper()).astimezone(UTC))
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is no time with a zone (RFC 3339), such as {WANTED_TIME} or"
            " 2026-11-24T19:30:00+01:00"
        ) from None
