"""When the journal's active file has become a segment to be closed.

A closed segment ends with an event that says so, `journal.segment-closed`: it is committed and
written like any other, and then the file gets its final name. What a crash leaves of that (the line
only in the database, or the file not renamed) every start makes good, as it does with any other
line: `finish` is the one place where a file that ends in such a line is given its name.
"""

from contextlib import suppress
from datetime import datetime

from msgspec.structs import replace

from certeasy.commit.command import Command, Pending
from certeasy.decide.decision import Decision
from certeasy.log import logger
from certeasy.settings import RotateSettings
from events.envelope import Actor, Record
from events.nodes import JournalSegmentClosed
from events.registry import NewerSchema, UndecodableEvent
from journal.file import Journal, NotRenamed
from journal.segments import CLOSING

MEGABYTE = 1 << 20
log = logger("journal")


class NothingToClose(Exception):
    """The active file has no line yet."""


class Closing(Pending):
    """Somebody asks for the active segment to be closed; the committer fills in what it says."""

    __slots__ = ()

    def __init__(self, actor: Actor, subject_keys: tuple[tuple[str, bytes], ...] = ()) -> None:
        super().__init__(Command(lambda _rows, _now: Decision(), actor, subject_keys=subject_keys))

    def tell(self, stream: str, fact: JournalSegmentClosed) -> None:
        """Say what is to be recorded."""
        closed = Decision(((stream, fact),))
        self.command = replace(self.command, decide=lambda _rows, _now: closed)


class Rotation:
    """How large the active file is and how old its first line, held against what is allowed."""

    def __init__(self, rules: RotateSettings, began: str = "") -> None:
        """`began` is the `at` of the active file's first line; empty where it has none yet."""
        self._rules = rules
        self._began = began
        self._counted = 0  # bytes that an attempt has covered which the system refused

    def due(self, size: int, now: datetime) -> str | None:
        """Return the reason for which the active file of this many bytes is to be closed, or
        None."""
        most = self._rules.max_size_mb * MEGABYTE
        if most and size - self._counted >= most:
            return "size"
        age = self._rules.max_age
        if age is not None and self._began and now - datetime.fromisoformat(self._began) >= age:
            return "age"
        return None

    def wrote(self, at: str) -> None:
        """Lines of this time were written: the first ones, if the file was empty."""
        self._began = self._began or at

    def begin(self) -> None:
        """Another file has begun."""
        self._began, self._counted = "", 0

    def put_off(self, size: int, at: str) -> None:
        """The file goes on as it is: count anew from here, or every batch would try again."""
        self._began, self._counted = at, size


def closing_in(record: Record) -> JournalSegmentClosed | None:
    """Return what a line says of the segment that it closes; None where it closes none."""
    if record.envelope.type != CLOSING:
        return None
    with suppress(NewerSchema, UndecodableEvent):
        fact = record.event
        return fact if isinstance(fact, JournalSegmentClosed) else None
    return None


def finish(journal: Journal, last: Record) -> bool:
    """Give the journal's active file its final name if its last line closes it; whether it did.

    Where the system refuses that name, the file goes on, and is closed later under a longer one.
    Raises OSError and JournalTouched as `Journal.close_segment`.
    """
    closing = closing_in(last)
    if closing is None or closing.first_seq != journal.first:
        return False
    try:
        closed = journal.close_segment(closing.last_seq)
    except NotRenamed as refusal:
        log.warning(
            "the journal goes on in %s: it was closed at seq %d, but the system does not let it be"
            " renamed (%s)",
            journal.path,
            closing.last_seq,
            refusal,
        )
        return False
    log.info("the journal's segment %s was closed (%s)", closed, closing.reason)
    return True
