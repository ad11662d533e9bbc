"""A row made anew from the lines of its streams, each held against its signature."""

from typing import TypeVar

import msgspec

from certeasy.commit.command import PoisonousCommand
from certeasy.commit.vouched import Vouched
from certeasy.store import Transaction
from events.envelope import BrokenLine, Record, parse
from events.registry import NewerSchema, UndecodableEvent, UnknownEvent
from events.signing import BadSignature
from projections import fold
from projections.tables import Contradiction, Key, Table, WorkingRows

S = TypeVar("S", bound=msgspec.Struct)
UNREADABLE = (BrokenLine, BadSignature, UnknownEvent, NewerSchema, UndecodableEvent, Contradiction)


def from_log(
    transaction: Transaction, keys: Vouched, table: Table[S], key: Key, streams: tuple[str, ...]
) -> S | None:
    """Return the row that these streams make, or None if they make none.

    Raises PoisonousCommand where a line is not what was signed, or cannot follow from those before
    it: then nothing is decided on it, and `certeasy audit verify` names what was changed.
    """
    rows = WorkingRows(_nothing)
    try:
        records = [record for stream in streams for record in _records(transaction, stream)]
        for record in sorted(records, key=lambda record: record.envelope.position):
            record.verify(keys.key_of(transaction, record))
            fold.apply(record.event, record.envelope, rows)
    except (*UNREADABLE, ValueError) as error:
        raise PoisonousCommand(
            f"{table.name} {' '.join(key)}: the log cannot be believed ({error}): run "
            "'certeasy audit verify -f config.yml'"
        ) from error
    return rows.get(table, *key)


def _records(transaction: Transaction, stream: str) -> list[Record]:
    """Return a stream's lines; one of another stream, or another place in it, is none of them."""
    records = [parse(line) for line in transaction.stream(stream)]
    for version, record in enumerate(records, start=1):
        line = record.envelope
        if (line.stream, line.version) != (stream, version):
            raise ValueError(
                f"version {line.version} of {line.stream} stands where version {version} of"
                f" {stream} belongs"
            )
    return records


def _nothing(_table: Table[S], _key: Key) -> S | None:
    return None
