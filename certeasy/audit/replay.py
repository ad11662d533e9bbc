"""A log folded into an empty SQLite file: the server's tables, for auditors to ask.

The tables are those that `projections` declares, as of any position or time. The fold watches while
the log is verified, so that one reading proves and folds.
"""

import sqlite3
from pathlib import Path
from typing import TypeVar

import msgspec

from events.envelope import Record
from events.registry import NewerSchema, UndecodableEvent, UnknownEvent
from journal.breaks import Line, broken_at
from projections.fold import TABLES, VERSION, fold
from projections.tables import Key, Table, WorkingRows

S = TypeVar("S", bound=msgspec.Struct)
BATCH = 1000
UNREADABLE = (UnknownEvent, NewerSchema, UndecodableEvent, LookupError)
_TYPES = {"text": "TEXT", "integer": "INTEGER", "bytes": "BLOB"}
_REPLAYED = """CREATE TABLE replayed (position INTEGER, hash TEXT, at TEXT, version INTEGER)"""


class Replay:
    """A new SQLite file that lines are folded into, as a witness of their verification."""

    def __init__(self, path: Path, *, position: int | None = None, at: str | None = None) -> None:
        """Create the file; fold up to and with a position or a time (RFC 3339 as lines have it).

        Raises FileExistsError rather than to add to a file.
        """
        path.open("xb").close()
        self.path = path
        self.folded = 0
        self._position = position
        self._at = at
        self._last: Record | None = None
        self._finished = False
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=OFF")
        self._connection.execute("PRAGMA synchronous=OFF")
        self._connection.execute("BEGIN")
        for table in TABLES:
            for statement in create(table):
                self._connection.execute(statement)
        self._connection.execute(_REPLAYED)
        self._rows = WorkingRows(self._load)

    def see(self, line: Line, record: Record) -> None:
        """Fold the next line; raises JournalBroken for one that this version cannot fold."""
        if self._position is not None and record.envelope.position > self._position:
            return
        if self._at is not None and record.envelope.at > self._at:
            return
        try:
            fold(record, self._rows)
        except UNREADABLE as error:
            raise broken_at(line, record, f"cannot be folded: {error}") from None
        self._last = record
        self.folded += 1
        if self.folded % BATCH == 0:
            self._store()

    def missing(self, position: int) -> str:
        """Say nothing: a fold knows only what it was given."""
        del position
        return ""

    def finish(self) -> None:
        """Store what is left; the file is whole then."""
        self._store()
        if self._last is not None:
            line = self._last.envelope
            self._connection.execute(
                "INSERT INTO replayed VALUES (?, ?, ?, ?)",
                (line.position, self._last.hash, line.at, VERSION),
            )
        self._connection.execute("COMMIT")
        self._finished = True

    def close(self) -> None:
        """Close the file, and remove it if it was not finished."""
        self._connection.close()
        if not self._finished:
            self.path.unlink(missing_ok=True)

    def _load(self, table: Table[S], key: Key, /) -> S | None:
        row = self._connection.execute(select(table), key).fetchone()
        return None if row is None else table.to_state(row)

    def _store(self) -> None:
        for table, rows in self._rows.changes().items():
            put = [tuple(table.to_row(row).values()) for row in rows.values() if row is not None]
            self._connection.executemany(upsert(table), put)
            gone = [key for key, row in rows.items() if row is None]
            self._connection.executemany(delete(table), gone)
        self._rows.forget()


def create(table: Table[msgspec.Struct]) -> list[str]:
    """Return the statements that make a declared table and its indexes."""
    columns = [
        f'"{column.name}" {_TYPES[column.kind]}{"" if column.nullable else " NOT NULL"}'
        for column in table.columns
    ]
    columns.append(f"PRIMARY KEY ({_names(table.key)})")
    statements = [f'CREATE TABLE "{table.name}" ({", ".join(columns)}) WITHOUT ROWID']
    for index in table.indexes:
        name = f"{table.name}_{'_'.join(index)}"
        statements.append(f'CREATE INDEX "{name}" ON "{table.name}" ({_names(index)})')
    return statements


def select(table: Table[S]) -> str:
    """Return the statement that reads a row by its key, in the columns' order."""
    columns = _names(tuple(column.name for column in table.columns))
    return f'SELECT {columns} FROM "{table.name}" WHERE {_is(table.key)}'  # noqa: S608 - declared names


def upsert(table: Table[msgspec.Struct]) -> str:
    """Return the statement that inserts or replaces a row, in the columns' order."""
    columns = tuple(column.name for column in table.columns)
    marks = ", ".join("?" * len(columns))
    return f'INSERT OR REPLACE INTO "{table.name}" ({_names(columns)}) VALUES ({marks})'  # noqa: S608 - declared names


def delete(table: Table[msgspec.Struct]) -> str:
    """Return the statement that removes a row by its key."""
    return f'DELETE FROM "{table.name}" WHERE {_is(table.key)}'  # noqa: S608 - declared names


def _names(columns: tuple[str, ...]) -> str:
    return ", ".join(f'"{name}"' for name in columns)


def _is(key: tuple[str, ...]) -> str:
    return " AND ".join(f'"{name}" = ?' for name in key)
