"""What the log says of each node, against what the table `servers` says of it.

A node's row is written when it takes its place, a moment before the log tells of the start; and an
administrator's command takes the place without telling of one. So a start that the log does not
know is good if the workdir wrote it down after the last one that is known, or there was such a
command since (`administered`).
"""

from collections.abc import Iterable, Sequence

import msgspec

from events.envelope import Record
from events.nodes import (
    ClockSetBack,
    JournalRefilled,
    JournalSegmentClosed,
    NodeEndorsed,
    NodeInvited,
    NodeKeyRotated,
    NodeRegistered,
    NodeRetired,
    NodeStarted,
)
from events.recovery import LogForked, LogRestored
from events.registry import NewerSchema, UndecodableEvent
from events.signing import thumbprint

TELLING = frozenset(
    (
        "node.registered",
        "node.started",
        "node.key-rotated",
        "node.invited",
        "node.endorsed",
        "node.retired",
        "journal.refilled",
        "journal.segment-closed",
        "clock.set-back",
        "log.forked",
        "log.restored",
    )
)


class Kept(msgspec.Struct, frozen=True):
    """A row of `servers`, as far as the log can tell whether it is right."""

    server_id: str
    hostname: str
    kid: str
    x: str
    seq: int
    boot_id: str


class _Told:
    """A node in the log: its registration, its last start, whether it was
    administered since, and its key."""

    def __init__(self) -> None:
        self.registered: NodeRegistered | None = None
        self.kid = ""
        self.started: NodeStarted | None = None
        self.administered = False


class Nodes:
    """The rows as they were at one moment, and the lines that each node had written by then."""

    def __init__(self, rows: Iterable[Kept]) -> None:
        self._rows = {row.server_id: row for row in rows}
        self._told: dict[str, _Told] = {server_id: _Told() for server_id in self._rows}

    def see(self, record: Record) -> None:
        """Take the next line of the log."""
        line = record.envelope
        if line.type not in TELLING:
            return
        row = self._rows.get(line.server_id)
        if row is None or line.seq > row.seq:
            return  # it was written after the look at the rows
        told = self._told[line.server_id]
        try:
            fact = record.event
        except (NewerSchema, UndecodableEvent):
            told.administered = True  # of which nothing is known
            return
        match fact:
            case NodeRegistered():
                told.administered = told.registered is not None  # a node that joined later
                told.registered, told.kid = fact, fact.kid
            case NodeKeyRotated():
                told.kid, told.administered = fact.kid, True
            case NodeStarted():
                told.started, told.administered = fact, False
            case (
                JournalRefilled()
                | ClockSetBack()
                | JournalSegmentClosed(reason="asked")
                | LogForked()
                | LogRestored()
                | NodeInvited()
                | NodeEndorsed()
                | NodeRetired()
            ):
                told.administered = True
            case _:
                pass

    def kid(self, server_id: str) -> str | None:
        """Return the id of a node's key, as its row has it."""
        row = self._rows.get(server_id)
        return row.kid if row else None

    def told_kid(self, server_id: str) -> str:
        """Return the id of the key that the log gives a node up to its row's line, or nothing."""
        told = self._told.get(server_id)
        return told.kid if told else ""

    def fault(self, own: str, boots: Sequence[str]) -> str | None:
        """Return what a row has that the log says otherwise, as a sentence; None if none has.

        `boots` are the starts that the workdir of the node `own` wrote down.
        """
        for server_id, row in self._rows.items():
            told = self._told[server_id]
            if told.registered is None:
                continue  # its first start was broken off before it told anything
            listed = boots if server_id == own else ()
            wrong = _key_fault(row) or _start_fault(row, told.registered, told, listed)
            if wrong:
                return f"servers has {wrong}"
        return None


def _key_fault(row: Kept) -> str | None:
    found = thumbprint(row.x)
    if found == row.kid:
        return None
    return f"for node {row.server_id} a public key with id {found}, not {row.kid}"


def _start_fault(
    row: Kept, registered: NodeRegistered, told: _Told, boots: Sequence[str]
) -> str | None:
    started = told.started
    if _is_untold(row.boot_id, told, boots):
        return None
    if started is None:
        if row.hostname == registered.hostname:
            return None
        return (
            f"host {row.hostname} for node {row.server_id}, which registered on"
            f" {registered.hostname}"
        )
    last = f"whose last start in the log is {started.boot_id} on {started.hostname}"
    if row.boot_id != started.boot_id:
        return f"start {row.boot_id} for node {row.server_id}, {last}"
    if row.hostname != started.hostname:
        return f"host {row.hostname} for node {row.server_id}, {last}"
    return None


def _is_untold(boot_id: str, told: _Told, boots: Sequence[str]) -> bool:
    """Tell whether there was such a start without a line about it."""
    if not boots:
        return told.administered and (told.started is None or boot_id != told.started.boot_id)
    last = told.started.boot_id if told.started else ""
    since = boots[boots.index(last) + 1 :] if last in boots else boots
    return boot_id in since
