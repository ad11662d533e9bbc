"""One batch made into lines and rows: decided, numbered, chained, signed and folded, in memory.

Nothing here touches the store but to load rows under the lock. A batch that cannot be stored leaves
no trace: the chain's end and the rows are handed in, and copies are handed back.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from certeasy.commit.command import (
    Command,
    Committed,
    GuardFailed,
    NonceUsed,
    Pending,
    PoisonousCommand,
)
from certeasy.decide.decision import Decision, KeyUnused, Reader, SeatFree
from certeasy.decide.license import is_taken, second
from certeasy.decide.problems import Refused
from certeasy.store import Transaction
from certeasy.store.errors import is_out_of_service
from events.envelope import VERSION, Actor, Envelope, Record, encode, seal_line, second_of
from events.registry import encode_data, name_of
from events.signing import SigningKey
from projections import fold
from projections.accounts import ACCOUNTS, Account
from projections.seats import SEATS
from projections.tables import Key, Table, WorkingRows

LINES = 1024  # in one transaction, and so at most what a crash leaves out of the journal


class TooManyLines(Exception):
    """The commands make more lines than the probe would put back: halve them."""


class HalfRecorded(Exception):
    """A command failed when some of its lines were numbered: store the batch without it."""


class End(msgspec.Struct, frozen=True):
    """Where the log ends, and where this node's own journal does."""

    position: int
    head: str
    seq: int
    prev: str


class Batch:
    """Commands on their way into one transaction."""

    def __init__(
        self,
        transaction: Transaction,
        rows: WorkingRows,
        end: End,
        *,
        server_id: str,
        key: SigningKey,
        at: str,
        current: Reader,
        versions: Mapping[str, int],
    ) -> None:
        self.end = end
        self.rows = rows
        self.records: list[Record] = []
        self.answers: list[tuple[Pending, Committed | Exception]] = []
        self.nonces: dict[str, int] = {}
        self.subject_keys: list[tuple[str, bytes]] = []
        self.erased: set[str] = set()
        self.secrets: dict[str, bytes] = {}
        self.dropped: list[str] = []
        self._transaction = transaction
        self._server_id = server_id
        self._key = key
        self._at = at
        self._now = datetime.fromisoformat(at)
        self._current = current
        self.versions: dict[str, int] = {}
        self._known_versions = versions
        self._stored: int | None = None  # seats that were taken before this batch
        self._before: dict[Key, bool] = {}  # whether a seat that it changed was one of them
        self._new_keys: dict[str, str] = {}  # keys that accounts got in this batch

    def run(self, commands: Sequence[Pending]) -> None:
        """Decide every command on the rows under the lock; one that is refused is refused alone."""
        for pending in commands:
            try:
                outcome: Committed | Exception = self._one(pending)
            except (Refused, GuardFailed, NonceUsed, PoisonousCommand) as refusal:
                outcome = refusal
            self.answers.append((pending, outcome))

    def _one(self, pending: Pending) -> Committed:
        command = pending.command
        nonce = command.nonce
        if nonce is not None and nonce.nonce in self.nonces:
            raise NonceUsed("the nonce was used for an earlier change")
        decision = self._decision(pending)
        self._check_guards(decision)
        try:
            records, states = self._record(decision, command.actor)
        except PoisonousCommand as error:  # half of it is numbered or folded: the batch is lost
            raise HalfRecorded(str(error)) from error
        if nonce is not None:
            self.nonces[nonce.nonce] = int(nonce.expires.timestamp()) + 1
        if records:  # a subject that nothing is said about needs no key
            self._forget(command.erased)
            self.subject_keys.extend(command.subject_keys)
            self._keep_secrets(command)
        return Committed(records, states, self._current)

    def _keep_secrets(self, command: Command) -> None:
        """Have secrets destroyed, those that this batch would keep, too; and others kept, under the
        same name perhaps."""
        for name in command.dropped:
            self.secrets.pop(name, None)
            self.dropped.append(name)
        self.secrets.update(command.secrets)

    def _forget(self, erased: Sequence[str]) -> None:
        """Have keys destroyed: those that are stored, and those that this batch would store."""
        if erased:
            self.erased.update(erased)
            self.subject_keys = [kept for kept in self.subject_keys if kept[0] not in erased]

    def _decision(self, pending: Pending) -> Decision:
        """Return what was decided before if the second and the rows it was based on are the same;
        else decide.

        What ends by itself (a seat, an order, a license) ends with a whole second. A decision that
        waited beyond one, while the database was slow, might rest on what is over.
        """
        if (
            pending.decision is not None
            and pending.second == second_of(self._at)
            and all(
                self.rows.get(table, *key) == seen for (table, key), seen in pending.reads.items()
            )
        ):
            return pending.decision
        try:
            return pending.command.decide(self.rows, self._now)
        except Refused:
            raise
        except Exception as error:
            if is_out_of_service(error):  # a row could not be loaded: no fault of the command's
                raise
            raise PoisonousCommand(f"the decision failed: {error!r}") from error

    def _check_guards(self, decision: Decision) -> None:
        for guard in decision.guards:
            match guard:
                case KeyUnused(thumbprint):
                    if self._is_used(thumbprint):
                        raise GuardFailed(guard)
                case SeatFree(seats):
                    if self._taken() >= seats:
                        raise GuardFailed(guard)

    def _is_used(self, thumbprint: str) -> bool:
        """Whether an account has a key: one that had it may have given it up in this batch."""
        holders = (
            self._new_keys.get(thumbprint),
            self._transaction.account_with_key(thumbprint),
        )
        found = (self.rows.get(ACCOUNTS, holder) for holder in holders if holder is not None)
        return any(each is not None and each.thumbprint == thumbprint for each in found)

    def _taken(self) -> int:
        """Return how many seats are taken: those that are stored, and what this batch has made of
        them."""
        at = second(self._now)
        if self._stored is None:
            self._stored = self._transaction.seats(at)
        taken = self._stored
        for key, seat in self.rows.changes().get(SEATS, {}).items():
            if key not in self._before:
                self._before[key] = is_taken(self._transaction.load(SEATS, key), at)
            taken += is_taken(seat, at) - self._before[key]
        return taken

    def _record(
        self, decision: Decision, actor: Actor
    ) -> tuple[tuple[Record, ...], dict[tuple[Table[Any], Key], Any]]:
        """Number, chain, sign and fold the facts; the batch's end moves behind them."""
        records = []
        who = encode(actor)
        self.rows.latest = {}
        for stream, fact in decision.facts:
            kind, schema = name_of(fact)
            version = self._version(stream)
            envelope = Envelope(
                v=VERSION,
                position=self.end.position + 1,
                server_id=self._server_id,
                seq=self.end.seq + 1,
                prev=self.end.prev,
                head=self.end.head,
                at=self._at,
                stream=stream,
                version=version,
                type=kind,
                schema=schema,
                actor=who,
                data=msgspec.Raw(encode_data(fact)),
            )
            record = seal_line(envelope, self._key)
            fold.apply(fact, envelope, self.rows)
            self.versions[stream] = version
            self.end = End(envelope.position, record.hash, envelope.seq, record.hash)
            records.append(record)
        self.records.extend(records)
        if len(self.records) > LINES:
            raise TooManyLines(f"more than {LINES} lines in one transaction")
        states = self.rows.latest
        self._new_keys.update(
            (state.thumbprint, state.id) for state in states.values() if isinstance(state, Account)
        )
        return tuple(records), states

    def _version(self, stream: str) -> int:
        last = self.versions.get(stream) or self._known_versions.get(stream)
        return (self._transaction.version_of(stream) if last is None else last) + 1


__all__ = ["Batch", "End"]
