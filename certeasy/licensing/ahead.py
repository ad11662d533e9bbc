"""The log's time is ahead of the clock: by how much, and which event brought that.

No time of the log is earlier than the one before it. So the first event that is later than the
clock is found by halving, and whatever was recorded since stands at that time or later.
"""

from datetime import UTC, datetime, timedelta

import msgspec

from certeasy.decide.license import second
from certeasy.store import Store
from events.counting import counted
from events.envelope import BrokenLine, Envelope, parse

HELD = timedelta(seconds=5)
"""So far the log may be ahead of the clock without a word: it is waited for."""
_DAY, _HOUR, _MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


class Ahead(msgspec.Struct, frozen=True):
    """The log's latest time and the clock's, to the second; `position`, `type`, `node` and `at` are
    those of the first event ahead of the clock.

    Where a line that tells cannot be read, `position` is the first that it may be, and the others
    are empty.
    """

    latest: str
    clock: str
    by: timedelta
    position: int
    type: str = ""
    node: str = ""
    at: str = ""

    @property
    def span(self) -> str:
        """Return by how much, in words."""
        for unit, name in ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute")):
            if self.by >= 2 * unit:
                return counted(self.by // unit, name)
        return counted(int(self.by.total_seconds()), "second")

    @property
    def event(self) -> str:
        """Return which event it was."""
        if not self.type:
            return (
                f"one from {self.position} on, of lines that cannot be read: 'certeasy audit verify"
                " -f config.yml' names what was changed"
            )
        return f"event {self.position}, {self.type}, of node {self.node} at {self.at}"


def ahead(store: Store, here: datetime) -> Ahead | None:
    """Return how far the log is ahead of a clock; None where it is not worth a word."""
    head = store.head()
    latest = datetime.fromisoformat(head.at) if head.at else here
    if latest - here <= HELD:
        return None
    before, found = 0, head.position
    line = _line(store, found)
    while line is not None and found - before > 1:
        middle = (before + found) // 2
        looked = _line(store, middle)
        if looked is not None and looked[1] <= here:
            before = middle
        else:
            found, line = middle, looked
    known = Ahead(second(latest), second(here), latest - here, before + 1)
    if line is None:
        return known
    envelope, at = line
    return msgspec.structs.replace(
        known, type=envelope.type, node=envelope.server_id, at=second(at)
    )


def _line(store: Store, position: int) -> tuple[Envelope, datetime] | None:
    """Return what a line says, and its time; None: it is not there, or not what a server writes."""
    line = next(store.lines(position - 1, until=position), None)
    try:
        envelope = parse(line or b"").envelope
        return envelope, datetime.fromisoformat(envelope.at).astimezone(UTC)
    except (BrokenLine, ValueError):
        return None
