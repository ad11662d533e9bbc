"""Connections to the database, set up so that a commit that was confirmed is on disk.

On SQLite only the committer writes: the writing engine has one connection, which takes the write
lock with the first statement of every transaction; readers have connections of their own that
cannot write. No connection makes the file: where it is away for a moment, SQLite would take an
empty one for what the write-ahead log beside it is not of, and remove that log.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import NullPool, StaticPool

BUSY_MS = 5000


def sqlite_writer(path: Path, *, durable: bool = True) -> sa.Engine:
    """Return the engine of the one writing connection: WAL, synchronous=FULL, BEGIN IMMEDIATE.

    `durable=False` is for files that are thrown away; it makes them.
    """
    connect = _connecting(path, "rw" if durable else "rwc")
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=StaticPool, creator=connect)
    sa.event.listen(engine, "connect", _set_up_writer if durable else _set_up_scratch)
    sa.event.listen(engine, "begin", _begin_immediate)
    return engine


def sqlite_reader(path: Path) -> sa.Engine:
    """Return an engine whose connections only read: what was committed when a statement starts.

    Every thread keeps a connection of its own, so there is no pool between them.
    """
    engine = sa.create_engine(
        f"sqlite:///{path}",
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        creator=_connecting(path, "rw"),
    )
    sa.event.listen(engine, "connect", _set_up_reader)
    return engine


def make_file(path: Path) -> None:
    """Make an empty file that only its owner reads, if there is none."""
    if not path.exists():
        path.touch(0o600)


def _connecting(path: Path, mode: str) -> Callable[[], sqlite3.Connection]:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    return lambda: sqlite3.connect(uri, uri=True, check_same_thread=False)


def _set_up_writer(connection: Any, _record: object) -> None:
    connection.isolation_level = (
        None  # transactions begin where we say so, not where the driver guesses
    )
    for pragma in (
        f"busy_timeout={BUSY_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "wal_autocheckpoint=2000",
        "secure_delete=ON",  # keys of erased subjects are overwritten, not only let go
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def _set_up_scratch(connection: Any, _record: object) -> None:
    connection.isolation_level = None
    for pragma in ("journal_mode=OFF", "synchronous=OFF"):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def _set_up_reader(connection: Any, _record: object) -> None:
    for pragma in (f"busy_timeout={BUSY_MS}", "query_only=ON"):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def _begin_immediate(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
