"""The committer's transaction: lock the head, check, insert, move the head.

One statement per table, however many rows. The head's row is locked by an UPDATE that returns it,
as the first statement: the one pattern that locks alike on every database.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from certeasy.store.errors import HistoryLost, NonceStored, PlaceLost
from certeasy.store.statements import Prepared, Statements
from events.envelope import Record
from projections.tables import Key, Table

S = TypeVar("S", bound=msgspec.Struct)
# Streams of the lines that tell of nodes, from the first name up to the second, which is not one.
ABOUT_NODES = (
    ("installation", "installation!"),
    ("invitation/", "invitation0"),
    ("node/", "node0"),
)


class Head(msgspec.Struct, frozen=True):
    """The end of the log, and who may append to it. Times of the lease are the database's."""

    position: int
    hash: str
    at: str
    epoch: int
    writer: str
    lease_until: float
    format: int
    installation_id: str
    projections: int
    now: float


class Server(msgspec.Struct, frozen=True):
    """A node as the database knows it: `seq` and `hash` are those of its last line."""

    server_id: str
    hostname: str
    kid: str
    x: str
    first_seen: str
    last_seen: str
    seq: int
    hash: str
    boot_id: str
    fingerprint: str


class Transaction:
    """One transaction of the writing connection; nothing in it is true before it was committed."""

    def __init__(self, cursor: Any, statements: Statements) -> None:
        self._cursor = cursor
        self._statements = statements

    def _run(self, statement: Prepared, values: Mapping[str, object]) -> Any:
        return statement.run(self._cursor, values)

    # -- the place -----------------------------------------------------------------------------

    def lock(self, server_id: str, epoch: int) -> Head:
        """Lock the log's head and renew the lease; raises PlaceLost if this node no longer holds
        it."""
        row = self._run(self._statements.lock, {"mine": epoch, "me": server_id}).fetchone()
        if row is None:
            raise PlaceLost(f"node {server_id} no longer holds the writer's place of epoch {epoch}")
        return Head(*row)

    def take_place(self, server_id: str, old_epoch: int) -> int:
        """Become the writer; returns the new epoch.

        Raises PlaceLost if somebody was quicker, or another node's lease still runs.
        """
        row = self._run(self._statements.take, {"old": old_epoch, "me": server_id}).fetchone()
        if row is None:
            raise PlaceLost("another node took the writer's place in this moment")
        return int(row[0])

    def release_place(self, server_id: str, epoch: int) -> None:
        """Let the next node take the place at once."""
        self._run(self._statements.release, {"mine": epoch, "me": server_id})

    def head(self) -> Head:
        """Return the head, which nobody else moves or takes until this transaction ends."""
        return Head(*self._run(self._statements.hold, {}).fetchone())

    def hold_at(self, head: Head) -> None:
        """Lock the log's head for who has no writer's place; PlaceLost if it has moved since."""
        values = {"old_position": head.position, "old_hash": head.hash}
        if self._run(self._statements.hold_at, values).rowcount != 1:
            raise PlaceLost(f"the log's head is no longer at position {head.position}")

    # -- nodes ---------------------------------------------------------------------------------

    def register(self, server: Server) -> None:
        """Insert a node's row; its journal begins empty."""
        self._run(self._statements.register, msgspec.structs.asdict(server))

    def started(
        self, server_id: str, boot_id: str, hostname: str, fingerprint: str, at: str
    ) -> None:
        """Record a start of a node."""
        values = {
            "me": server_id,
            "boot": boot_id,
            "host": hostname,
            "print": fingerprint,
            "at_now": at,
        }
        self._run(self._statements.boot, values)

    def use_key(self, server_id: str, kid: str, x: str) -> None:
        """Record the key that a node signs with from here on."""
        self._run(self._statements.use_key, {"me": server_id, "kid": kid, "x": x})

    def seen(self, server_id: str, at: str) -> None:
        """Record that the node is alive."""
        self._run(self._statements.seen, {"me": server_id, "at": at})

    def put_back(self, server: Server) -> None:
        """Insert a node's row as the log tells it, or replace the one that is there."""
        for step in self._statements.put_back:
            self._run(step, msgspec.structs.asdict(server))

    # -- the log -------------------------------------------------------------------------------

    def load(self, table: Table[S], key: Key) -> S | None:
        """Return a projected row as it stands under the lock."""
        row = self._run(
            self._statements.rows[table], dict(zip(table.key, key, strict=True))
        ).fetchone()
        return None if row is None else table.to_state(row)

    def version_of(self, stream: str) -> int:
        """Return how many events a stream has."""
        return int(self._run(self._statements.version, {"stream": stream}).fetchone()[0] or 0)

    def stream(self, stream: str) -> list[bytes]:
        """Return all lines of a stream, in the order of their versions."""
        rows = self._run(self._statements.stream, {"stream": stream}).fetchall()
        return [as_line(row[0]) for row in rows]

    def lines_about_nodes(self) -> list[bytes]:
        """Return the lines that tell which keys count, in the order of their positions."""
        found: list[tuple[int, bytes]] = []
        for low, high in ABOUT_NODES:
            values = {"low": low, "high": high}
            rows = self._run(self._statements.about_nodes, values).fetchall()
            found += [(int(position), as_line(line)) for position, line in rows]
        return [line for _position, line in sorted(found)]

    def account_with_key(self, thumbprint: str) -> str | None:
        """Return the id of the account with this key, or None."""
        row = self._run(self._statements.account, {"thumbprint": thumbprint}).fetchone()
        return None if row is None else str(row[0])

    def seats(self, at: str) -> int:
        """Return how many accounts are managed servers at a second, as they are stored."""
        return int(self._run(self._statements.seats, {"value": at}).fetchone()[0])

    def append(self, records: Sequence[Record]) -> None:
        """Insert lines."""
        self._statements.append.run_many(self._cursor, [event_row(r) for r in records])

    def keep_orphans(self, records: Sequence[Record]) -> None:
        """Keep lines whose positions another node has taken."""
        rows = [
            {
                "server_id": record.envelope.server_id,
                "seq": record.envelope.seq,
                "position": record.envelope.position,
                "hash": record.hash,
                "line": record.line,
            }
            for record in records
        ]
        self._statements.orphans.run_many(self._cursor, rows)

    def store(self, changes: dict[Table[Any], dict[Key, Any]]) -> None:
        """Apply changed rows: one upsert and one delete per table at most."""
        for table, rows in changes.items():
            put = [table.to_row(state) for state in rows.values() if state is not None]
            for step in self._statements.upserts[table] if put else ():
                step.run_many(self._cursor, put)
            gone = [_delete_key(table, key) for key, state in rows.items() if state is None]
            if gone:
                self._statements.deletes[table].run_many(self._cursor, gone)

    def keep_nonces(self, nonces: Iterable[tuple[str, int]]) -> None:
        """Store used nonces, each with the second of its expiry; NonceStored if one of them is
        there."""
        rows = [{"nonce": nonce, "expires": expires} for nonce, expires in nonces]
        if rows:
            try:
                self._statements.nonces.run_many(self._cursor, rows)
            except self._statements.integrity_error as error:
                raise NonceStored("one of the nonces was used for an earlier change") from error

    def drop_nonces(self, before: int) -> None:
        """Forget nonces that expired before this second."""
        self._run(self._statements.old_nonces, {"before": before})

    def keep_subjects(self, keys: Iterable[tuple[str, bytes]]) -> None:
        """Store keys of subjects that are spoken of for the first time."""
        rows = [{"subject": subject, "key": key} for subject, key in keys]
        if rows:
            self._statements.keys.run_many(self._cursor, rows)

    def drop_subjects(self, subjects: Iterable[str]) -> None:
        """Destroy keys of subjects; one that has none is left alone."""
        rows = [{"value": subject} for subject in subjects]
        if rows:
            self._statements.erase.run_many(self._cursor, rows)

    def advance(
        self, server_id: str, boot_id: str, old: tuple[int, str], new: tuple[int, str]
    ) -> None:
        """Move this node's own end from `old` (seq, hash) to `new`; raises HistoryLost if it was
        not at `old`."""
        values = {
            "me": server_id,
            "boot": boot_id,
            "old_seq": old[0],
            "old_hash": old[1],
            "new_seq": new[0],
            "new_hash": new[1],
        }
        if self._run(self._statements.advance, values).rowcount != 1:
            raise HistoryLost(
                f"the database does not have node {server_id} (boot {boot_id}) at seq {old[0]}, "
                f"hash {old[1]}"
            )

    def move_head(self, record: Record) -> None:
        """Make this record the last of the log."""
        line = record.envelope
        values = {"new_position": line.position, "new_hash": record.hash, "new_at": line.at}
        self._run(self._statements.move, values)

    def end_at(self, record: Record, epoch: int, installation_id: str) -> None:
        """Make this record the last of a log that was put back; the writer's place is free."""
        line = record.envelope
        values = {
            "new_position": line.position,
            "new_hash": record.hash,
            "new_at": line.at,
            "new_epoch": epoch,
            "new_writer": line.server_id,
            "new_installation": installation_id,
        }
        self._run(self._statements.end_at, values)

    def set_projections(self, version: int) -> None:
        """Record which version of the folds the stored rows are of."""
        self._run(self._statements.projections, {"version": version})

    def keep_secret(self, name: str, wrapped: bytes) -> None:
        """Store a wrapped secret under a name that is not in use yet."""
        self._run(self._statements.secret, {"name": name, "wrapped": wrapped})

    def drop_secret(self, name: str) -> None:
        """Destroy a secret; nothing happens if it is not there."""
        self._run(self._statements.drop_secret, {"value": name})


def event_row(record: Record) -> dict[str, object]:
    """Return the row of `events` for a line: what is looked up by, and the line itself."""
    line = record.envelope
    return {
        "position": line.position,
        "server_id": line.server_id,
        "seq": line.seq,
        "stream": line.stream,
        "version": line.version,
        "type": line.type,
        "at": line.at,
        "hash": record.hash,
        "line": record.line,
    }


def as_line(stored: object) -> bytes:
    """Return a line as bytes: who changes a row by hand may leave a text, to be found as such."""
    return stored if isinstance(stored, bytes) else str(stored).encode("utf-8", "replace")


def _delete_key(table: Table[Any], key: Key) -> dict[str, str]:
    return {f"k_{name}": part for name, part in zip(table.key, key, strict=True)}
