"""What is asked of the committer, and what it answers."""

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from certeasy.decide.decision import Decision, Guard, Reader
from events.envelope import Actor, Record
from projections.tables import Key, Table

S = TypeVar("S", bound=msgspec.Struct)
Decide = Callable[[Reader, datetime], Decision]


class UsedNonce(msgspec.Struct, frozen=True):
    """The nonce that a changing request has used up."""

    nonce: str
    expires: datetime


class Command(msgspec.Struct, frozen=True):
    """A change somebody wants: a pure decider, who wants it, and what must be stored beside its
    events.

    The keys of `erased` subjects are destroyed; one that is among `subject_keys`, too, has that key
    from then on. `secrets` are kept by name, wrapped; `dropped` ones are destroyed.
    """

    decide: Decide
    actor: Actor
    nonce: UsedNonce | None = None
    subject_keys: tuple[tuple[str, bytes], ...] = ()
    erased: tuple[str, ...] = ()
    secrets: tuple[tuple[str, bytes], ...] = ()
    dropped: tuple[str, ...] = ()


class GuardFailed(Exception):
    """A guard did not hold at the moment it mattered: decide again, or answer otherwise."""

    def __init__(self, guard: Guard) -> None:
        super().__init__(f"{guard} does not hold")
        self.guard = guard


class NonceUsed(Exception):
    """The request's nonce was stored by an earlier change."""


class Unavailable(Exception):
    """Changes cannot be made now. `reason` is for the log; clients are told to try again."""

    def __init__(self, reason: str, retry_after: int = 5) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


class PoisonousCommand(Exception):
    """The command cannot be stored; it was taken out of its batch and harmed nobody else."""


class Committed:
    """A change that is in the database and on disk in the journal."""

    def __init__(
        self,
        records: tuple[Record, ...],
        states: dict[tuple[Table[Any], Key], Any],
        current: Reader,
    ) -> None:
        self.records = records
        self._states = states
        self._current = current

    def get(self, table: Table[S], *key: str) -> S | None:
        """Return a row as it was right after this change."""
        if (table, key) in self._states:
            state: S | None = self._states[table, key]
            return state
        return self._current.get(table, *key)

    def states(self) -> dict[tuple[Table[Any], Key], Any]:
        """Return the rows that this change made, replaced or (None) removed."""
        return self._states


class Pending:
    """A command on its way: its caller waits here until it was answered."""

    __slots__ = ("_answered", "_error", "_outcome", "command", "decision", "reads", "second")

    def __init__(
        self,
        command: Command,
        decision: Decision | None = None,
        reads: dict[tuple[Table[Any], Key], Any] | None = None,
        second: str = "",
    ) -> None:
        """Take the command and, where it was decided already, that with the rows it read and the
        `second` that it was decided in."""
        self.command = command
        self.decision = decision
        self.second = second
        self.reads = reads or {}
        # A bare lock wakes its one waiter cheaper than an Event does.
        self._answered = threading.Lock()
        self._answered.acquire()
        self._outcome: Committed | None = None
        self._error: BaseException | None = None

    def succeed(self, outcome: Committed) -> None:
        """Answer with what was committed."""
        self._outcome = outcome
        self._answered.release()

    def fail(self, error: BaseException) -> None:
        """Answer with an error; only the first answer counts."""
        if self._outcome is None and self._error is None:
            self._error = error
            self._answered.release()

    def wait(self) -> Committed:
        """Return what was committed, or raise the error that was answered."""
        self._answered.acquire()
        if self._error is not None:
            raise self._error
        if self._outcome is None:
            raise AssertionError("answered without an outcome")
        return self._outcome


class TrackingReader:
    """Rows for a decider outside the lock, each in one state: that which it showed first.

    Under the lock the decision counts if they are all still so. A row that was shown in two states
    could be so in the last of them alone, and one of the decider's rules had seen the other.
    """

    def __init__(self, rows: Reader) -> None:
        self._rows = rows
        self.reads: dict[tuple[Table[Any], Key], Any] = {}

    def get(self, table: Table[S], *key: str) -> S | None:
        """Return the row with this key, or None."""
        if (table, key) not in self.reads:
            self.reads[table, key] = self._rows.get(table, *key)
        state: S | None = self.reads[table, key]
        return state
