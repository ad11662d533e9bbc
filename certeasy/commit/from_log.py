"""A row made anew from the lines of its streams, each held against its signature."""

from typing import TypeVar

import msgspec

from certeasy.commit.command import PoisonousCommand
from certeasy.store import Transaction
from events.envelope import BrokenLine, Record, parse
from events.registry import NewerSchema, UndecodableEvent, UnknownEvent
from events.signing import BadSignature, PublicKey
from projections import fold
from projections.nodes import NODE_KEYS, NODES
from projections.tables import Contradiction, Key, Table, WorkingRows

S = TypeVar("S", bound=msgspec.Struct)
UNREADABLE = (BrokenLine, BadSignature, UnknownEvent, NewerSchema, UndecodableEvent, Contradiction)


def from_log(
    transaction: Transaction, own: PublicKey, table: Table[S], key: Key, streams: tuple[str, ...]
) -> S | None:
    """Return the row that these streams make, or None if they make none.

    Raises PoisonousCommand where a line is not what was signed, or cannot follow from those before
    it: then nothing is decided on it, and `certeasy audit verify` names what was changed.
    """
    rows = WorkingRows(_nothing)
    try:
        records = [parse(line) for stream in streams for line in transaction.stream(stream)]
        for record in sorted(records, key=lambda record: record.envelope.position):
            record.verify(_signer(transaction, own, record))
            fold.apply(record.event, record.envelope, rows)
    except (*UNREADABLE, ValueError) as error:
        raise PoisonousCommand(
            f"{table.name} {' '.join(key)}: the log cannot be believed ({error}): run "
            "'certeasy audit verify'"
        ) from error
    return rows.get(table, *key)


def _nothing(_table: Table[S], _key: Key) -> S | None:
    return None


def _signer(transaction: Transaction, own: PublicKey, record: Record) -> PublicKey:
    """Return the key that signed a line: this node's, an endorsed one's, now or when it did."""
    if record.kid == own.kid:
        return own
    line = record.envelope
    node = transaction.load(NODES, (line.server_id,))
    key = transaction.load(NODE_KEYS, (line.server_id, record.kid))
    ours = transaction.load(NODE_KEYS, (line.server_id, own.kid)) is not None
    if node is None or key is None or not (node.endorsed or ours):
        raise BadSignature(f"signed with {record.kid}, which is no endorsed node's key")
    if key.last_seq is not None and line.seq > key.last_seq:
        raise BadSignature(f"signed with {record.kid}, given up at seq {key.last_seq} of its node")
    return PublicKey(key.x)
