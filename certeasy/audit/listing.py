"""Lists for an auditor: the nodes and their keys, the log's head, the events about something.

From the database where there is one, else from the journals. Neither proves anything.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from certeasy.audit import show as showing
from certeasy.audit.columns import LINES, NODE_KEYS
from certeasy.audit.database import Database, ServerRow
from certeasy.audit.verifying import Given
from events.envelope import BrokenLine, Record, parse
from events.registry import NewerSchema, UndecodableEvent
from events.signing import PublicKey
from journal.breaks import JournalBroken, Line
from journal.file import last_line
from journal.heads import Head, head_of
from journal.lines import read_journal
from journal.trust import TRUST_TYPES
from projections.fold import apply
from projections.nodes import NODE_KEYS as KEYS
from projections.nodes import NODES
from projections.tables import Contradiction, WorkingRows

_TELLING = tuple(f'"type":"{name}"'.encode() for name in TRUST_TYPES)


class Key(msgspec.Struct, frozen=True):
    """A node and one of its public keys; `first_seen` is when the node registered."""

    server_id: str
    hostname: str
    kid: str
    x: str
    first_seen: str
    endorsed: bool


@contextmanager
def _database(given: Given) -> Iterator[Database | None]:
    if given.database is None or not given.database.exists():
        yield None
        return
    database = Database(given.database)
    try:
        yield database
    finally:
        database.close()


def keys(given: Given) -> list[Key]:
    """Return all keys that the nodes had, the nodes in the order in which they registered.

    Raises JournalBroken where their keys are none.
    """
    with _database(given) as database:
        if database is None:
            return _checked(keys_of(_lines(given)), str(given.journals[0][-1]))
        rows = database.typed(
            NODE_KEYS,
            "SELECT k.server_id, n.hostname, k.kid, k.x, n.first_seen, n.endorsed"
            " FROM node_keys k JOIN nodes n ON n.server_id = k.server_id"
            " ORDER BY n.first_seen, k.server_id, k.first_seq",
        )
    found = [
        Key(server_id, hostname, kid, x, first_seen, endorsed=endorsed == 1)
        for server_id, hostname, kid, x, first_seen, endorsed in rows
    ]
    return _checked(found, given.database.name if given.database else "")


def _checked(keys: list[Key], file: str) -> list[Key]:
    """Return the keys; raises JournalBroken for one that is none, or not of its id."""
    for node in keys:
        try:
            kid = PublicKey(node.x).kid
        except ValueError:
            raise JournalBroken(f"node {node.server_id} has no public key", file=file) from None
        if kid != node.kid:
            reason = f"node {node.server_id} has the public key {kid}, but the key id {node.kid}"
            raise JournalBroken(reason, file=file)
    return keys


def tells_of_nodes(data: bytes) -> bool:
    """Return whether a line may be about a node and its key."""
    return any(mark in data for mark in _TELLING)


def _folded(lines: Iterable[Line]) -> WorkingRows:
    """Return what lines say of nodes, as rows: what is not readable counts for nothing."""
    rows = WorkingRows(lambda _table, _key: None)
    telling = (_parsed(line) for line in lines if tells_of_nodes(line.data))
    for record in sorted(telling, key=lambda record: record.envelope.position):
        try:
            apply(record.event, record.envelope, rows)
        except (NewerSchema, UndecodableEvent, Contradiction):
            continue
    return rows


def keys_of(lines: Iterable[Line]) -> list[Key]:
    """Return the keys that nodes have in these lines, in the order in which these tell them."""
    rows = _folded(lines)
    found = []
    for key in rows.changes().get(KEYS, {}).values():
        node = rows.get(NODES, key.server_id)
        if node is not None:
            found.append(
                Key(
                    node.server_id,
                    node.hostname,
                    key.kid,
                    key.x,
                    node.first_seen,
                    endorsed=node.endorsed == 1,
                )
            )
    return found


def head(given: Given) -> Head | None:
    """Return the log's last line as a head, None for an empty log."""
    with _database(given) as database:
        if database is None:
            ends = [record for files in given.journals if (record := _end(files))]
            last = max(ends, key=lambda record: record.envelope.position, default=None)
            return head_of(last) if last else None
        return _head_of(database)


def _head_of(database: Database) -> Head | None:
    standing = database.standing()
    if standing.trouble:
        raise JournalBroken(standing.trouble, file=database.name)
    rows = database.typed(
        LINES, "SELECT position, line FROM events WHERE position = ?", (standing.position,)
    )
    for position, line in rows:
        return head_of(_parsed(Line(database.name, 0, 0, line), position))
    return None


def servers(given: Given) -> list[ServerRow]:
    """Return the nodes, the one seen last first; from journals, as they were seen in them."""
    with _database(given) as database:
        if database is not None:
            return database.servers()
    ends = {
        end.envelope.server_id: end.envelope for files in given.journals if (end := _end(files))
    }
    found = [
        ServerRow(
            node.server_id,
            node.hostname,
            node.kid,
            node.x,
            node.first_seen,
            ends[node.server_id].at,
            ends[node.server_id].seq,
            endorsed=node.endorsed == 1,
            retired=node.retired,
        )
        for node in _folded(_lines(given)).changes().get(NODES, {}).values()
        if node.server_id in ends
    ]
    return sorted(found, key=lambda server: server.last_seen, reverse=True)


def show(given: Given, kind: str, value: str) -> list[showing.Entry]:
    """Return the events about something, by position; ValueError as `show.wanted` raises it."""
    with _database(given) as database:
        if database is None:
            return [
                showing.entry(record)
                for record in showing.from_journals(lambda: _lines(given), kind, value)
            ]
        open_ = showing.opener(database)
        records = showing.from_database(database, kind, value)
        return [showing.entry(record, open_) for record in records]


def _lines(given: Given) -> Iterator[Line]:
    """Yield the log's lines; orphaned ones are no part of it, as they are none in the database."""
    for files in given.journals:
        yield from (line for line in read_journal(files) if not line.orphaned)


def _end(files: list[Path]) -> Record | None:
    """Return a journal's last whole line."""
    line = last_line(files)
    return None if line is None else _parsed(line)


def _parsed(line: Line, position: int = 0) -> Record:
    try:
        return parse(line.data)
    except BrokenLine as error:
        raise JournalBroken(
            str(error), file=line.file, line=line.number, position=position
        ) from None
