"""A state: the server's tables as of one position, in a SQLite file of their own.

A replay of journals writes one, and so does an export of the tables in use: in the same shape, so
that the two can be compared (`certeasy.audit.diff`). Besides the tables that `projections` declares
it has `as_of`, with one row: the position, hash and time of the last line that is in it (0, zeros
and nothing for an empty log), and the version of the fold.
"""

import errno
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec

from events.envelope import ZERO_HASH, Record
from projections.fold import TABLES
from projections.tables import Key, Table

S = TypeVar("S", bound=msgspec.Struct)
PARTIAL = ".partial"
AS_OF = "as_of"
_MAKE_AS_OF = """CREATE TABLE as_of (
 position INTEGER NOT NULL, hash TEXT NOT NULL, at TEXT NOT NULL, projections INTEGER NOT NULL)"""
_TYPES = {"text": "TEXT", "integer": "INTEGER", "bytes": "BLOB"}


class AsOf(msgspec.Struct, frozen=True):
    """What a state is of: the last line's position, hash and time; `projections` is the version of
    the fold."""

    position: int
    hash: str
    at: str
    projections: int


def new_file(path: Path) -> BinaryIO:
    """Make a file that nobody else may read; raises FileExistsError where there is one."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, 0o600), "wb")


def check_new(path: Path) -> None:
    """Raise, with the name, where a file cannot be made: it is there, or its folder is not."""
    if path.exists() or path.is_symlink():
        raise FileExistsError(f"{path} exists already")
    if not path.parent.is_dir():
        raise NotADirectoryError(
            f"{path.parent} is no folder: make it first, or give --out another one"
        )


def as_of(record: Record | None, projections: int) -> AsOf:
    """Return what a state is of whose last line is this; None stands for an empty log."""
    if record is None:
        return AsOf(0, ZERO_HASH, "", projections)
    line = record.envelope
    return AsOf(line.position, record.hash, line.at, projections)


class State:
    """A new state, filled under another name, `<name>.partial`: the file itself is always whole.

    Everything may raise OSError, with the name, where the disk is full or fails.
    """

    def __init__(self, path: Path) -> None:
        """Make the tables, empty.

        Raises FileExistsError, with the name, rather than to write over a file.
        """
        check_new(path)
        self.path = path
        self._partial = path.with_name(path.name + PARTIAL)
        try:
            new_file(self._partial).close()
        except FileExistsError:
            raise FileExistsError(
                f"{self._partial} exists already: it is being written, or was broken off and can be"
                " removed"
            ) from None
        self._finished = False
        self._connection = sqlite3.connect(self._partial, isolation_level=None)
        with self._writing() as connection:
            connection.execute("PRAGMA journal_mode=OFF")
            connection.execute("PRAGMA synchronous=OFF")
            connection.execute("BEGIN")
            for table in TABLES:
                for statement in create(table):
                    connection.execute(statement)
            connection.execute(_MAKE_AS_OF)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        try:
            yield self._connection
        except sqlite3.Error as error:
            full = error.sqlite_errorcode == sqlite3.SQLITE_FULL
            raise OSError(
                errno.ENOSPC if full else errno.EIO,
                f"cannot be written: {error}",
                str(self._partial),
            ) from None

    def load(self, table: Table[S], key: Key, /) -> S | None:
        """Return a row by its primary key, or None."""
        row = self._connection.execute(select(table), key).fetchone()
        return None if row is None else table.to_state(row)

    def store(self, changes: dict[Table[Any], dict[Key, Any]]) -> None:
        """Apply changed rows."""
        for table, rows in changes.items():
            put = [tuple(table.to_row(row).values()) for row in rows.values() if row is not None]
            self.add(table, put)
            gone = [key for key, row in rows.items() if row is None]
            with self._writing() as connection:
                connection.executemany(delete(table), gone)

    def add(self, table: Table[Any], rows: Iterable[tuple[Any, ...]]) -> None:
        """Insert or replace rows, whose values come in the order of the columns."""
        with self._writing() as connection:
            connection.executemany(upsert(table), rows)

    def finish(self, of: AsOf) -> None:
        """Write what it is of, and give the file its name."""
        with self._writing() as connection:
            connection.execute(
                f"INSERT INTO {AS_OF} VALUES (?, ?, ?, ?)",  # noqa: S608 - ours
                (of.position, of.hash, of.at, of.projections),
            )
            connection.execute("COMMIT")
            connection.close()
        self._partial.rename(self.path)
        self._finished = True

    def close(self) -> None:
        """Close the file, and remove it if it was not finished."""
        self._connection.close()
        if not self._finished:
            self._partial.unlink(missing_ok=True)


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
