"""Where the rows of a database come from: a SQLite file, read here; or whatever the server lends.

An auditor needs no server: a file is read with the standard library. What PostgreSQL or SQL Server
holds is asked for by `certeasy.store`, which speaks their languages; the questions are the same.
"""

import sqlite3
from collections.abc import Collection
from pathlib import Path
from typing import Any, Protocol

from certeasy.audit import objects

BUSY_SECONDS = 5.0
MAX_VALUE = 1 << 20  # bytes; far more than any line has, so that no row can fill the memory

Row = tuple[Any, ...]


class NoDatabase(Exception):
    """There is no database of a server at a place."""


class QueryFailed(Exception):
    """The database did not answer; the text is its own."""


class Asked(Protocol):
    """A database that was opened for reading."""

    def all(self, query: str, values: Collection[object] = ()) -> list[Row]:
        """Return the rows of a SELECT whose values are `?`, with `LIMIT ?`; QueryFailed."""
        ...

    def strange(self) -> str | None:
        """Return what is there and not the server's, in one line, or None; QueryFailed."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


class Source(Protocol):
    """A database by its name; `clock` is SQL for its own time, in seconds since 1970."""

    name: str
    clock: str

    def exists(self) -> bool:
        """Whether there is anything at all; where only asking tells, yes."""
        ...

    def open(self) -> Asked:
        """Open it; raises NoDatabase where it is none of ours."""
        ...


class SqliteSource:
    """A server's SQLite file."""

    clock = "(julianday('now') - 2440587.5) * 86400"

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path

    def exists(self) -> bool:
        """Whether there is a file."""
        return self._path.exists()

    def open(self) -> "SqliteRows":
        """Open the file; raises NoDatabase where it is none of ours."""
        if not self._path.is_file():
            raise NoDatabase(
                f"there is no database at {self._path}: put it back, or, if it was lost, 'certeasy"
                " journal restore -f config.yml' makes it again from the journals"
            )
        try:
            return SqliteRows(_connect(self._path))
        except sqlite3.Error as error:
            what = f"{self._path} cannot be read as a server's database: {error}"
            raise NoDatabase(what) from None


class SqliteRows:
    """A server's SQLite file, opened for reading only."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def all(self, query: str, values: Collection[object] = ()) -> list[Row]:
        """Return the rows of a SELECT."""
        try:
            return self._connection.execute(query, tuple(values)).fetchall()
        except sqlite3.Error as error:
            raise QueryFailed(str(error)) from None

    def strange(self) -> str | None:
        """Return what is there and not the server's."""
        return objects.strange(self.all(objects.QUERY))

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    """Open a file for reading, and look whether it has a log's head."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    try:
        return _probed(uri)
    except sqlite3.OperationalError:
        # A folder that cannot be written to holds evidence, not a server at work: where no write is
        # left to be taken in, SQLite need not put its files beside the database to read it.
        wal = path.with_name(f"{path.name}-wal")
        if wal.exists() and wal.stat().st_size > 0:
            raise
        return _probed(f"{uri}&immutable=1")


def _probed(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE)
    try:
        connection.execute("SELECT count(*) FROM log_head").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection
