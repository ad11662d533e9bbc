"""Instructions about the node's journal: to close its active file."""

from typing import ClassVar

import msgspec

from certeasy.admin.desk import Desk
from certeasy.admin.instructions import Instruction
from certeasy.commit import Command
from certeasy.decide.decision import Decision
from events.nodes import JournalSegmentClosed
from journal.segments import closed_path


class Rotated(msgspec.Struct, frozen=True, omit_defaults=True):
    """The file that was closed, with the first and the last seq in it; 0: it had no line.

    `renamed` is false where the system refuses the closed file its name.
    """

    path: str
    closed: str = ""
    first: int = 0
    last: int = 0
    renamed: bool = False


class RotateJournal(Instruction[Rotated], frozen=True, tag="journal-rotate"):
    """Close the journal's active file, and begin another."""

    result: ClassVar = Rotated

    def carry_out(self, desk: Desk) -> Rotated:
        """Have it closed, and tell of it once it has its name."""
        journal = desk.office.journal
        path = str(journal.path)
        if not journal.confirmed:
            return Rotated(path)
        committer = desk.office.committer()
        [record] = committer.close_segment(desk.actor, desk.actor_key).records
        # The file gets its name before anything else is stored; so once this is, it has it.
        committer.submit(Command(lambda _rows, _now: Decision(), desk.actor))
        fact = msgspec.convert(record.event, JournalSegmentClosed, from_attributes=True)
        closed = closed_path(journal.path, fact.first_seq, fact.last_seq)
        return Rotated(path, str(closed), fact.first_seq, fact.last_seq, closed.exists())
