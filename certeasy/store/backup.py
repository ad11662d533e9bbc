"""A copy of a SQLite database in use, and a look at whether a copy is one of ours.

`VACUUM INTO` writes one moment's state into a new file while the server goes on. The copy holds
what the database holds: the log, the tables, secrets as they were wrapped, the keys of the people
the log speaks about. So it is as private as the database, and made readable by its owner only.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from certeasy.store import schema
from certeasy.store.errors import DatabaseUnavailable
from certeasy.store.shadow import PREFIX
from journal.disk import sync_folder

PATIENCE = 30.0  # seconds that a moment without a writer is waited for
OWNER_ONLY = 0o600
DEFINITIONS = "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"


class BackupRefused(Exception):
    """No copy was made, or the file is none; the message says why."""


class Contents(msgspec.Struct, frozen=True):
    """What a copy holds: the installation, the log's end, how many secrets and subject keys."""

    installation_id: str
    position: int
    hash: str
    at: str
    secrets: int
    subject_keys: int


def copy(database: Path, draft: Path) -> None:
    """Write the database as it is at this moment into a new file, durably.

    Raises BackupRefused, with no file left, where it cannot be read or written.
    """
    if not database.is_file():
        raise BackupRefused(f"there is no database at {database} to copy: the first start makes it")
    _create(draft)
    try:
        with _reported(database), closing(_reading(database)) as connection:
            connection.execute("VACUUM INTO ?", (str(draft),))
        _sync(draft)
    except BaseException:
        draft.unlink(missing_ok=True)
        draft.with_name(f"{draft.name}-journal").unlink(missing_ok=True)  # SQLite's own
        raise


def place(draft: Path, path: Path) -> None:
    """Give a whole file its name, durably. Raises BackupRefused rather than to overwrite."""
    if path.exists() or path.is_symlink():
        raise BackupRefused(
            f"{path} is there already; a backup never overwrites: give another name"
        )
    draft.rename(path)
    sync_folder(path.parent)


def write_copy(source: Path, draft: Path) -> None:
    """Copy a file that nobody writes to, durably, readable by its owner only."""
    _create(draft)
    try:
        with source.open("rb") as read, draft.open("r+b") as written:
            while chunk := read.read(1 << 20):
                written.write(chunk)
        _sync(draft)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def contents(path: Path) -> Contents:
    """Return what a database file holds. Raises BackupRefused where it is none of ours."""
    if not path.is_file():
        raise BackupRefused(f"there is no file {path}")
    with _reported(path), closing(_reading(path)) as connection:
        head = connection.execute(
            "SELECT installation_id, position, hash, at, format FROM log_head"
        ).fetchone()
        if head is None:
            raise BackupRefused(f"{path} has no log head: it is no server's database")
        if head[4] != schema.FORMAT:
            raise BackupRefused(
                f"{path} has format {head[4]}, this version reads format {schema.FORMAT}"
            )
        counted = [
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - ours
            for table in ("secrets", "subject_keys")
        ]
        return Contents(*head[:4], *counted)


def damage(path: Path, *, thorough: bool) -> list[str]:
    """Return what SQLite itself finds wrong with a file: nothing, or sentences."""
    check = "integrity_check" if thorough else "quick_check"
    try:
        with closing(_reading(path)) as connection:
            rows = connection.execute(f"PRAGMA {check}").fetchall()
    except sqlite3.Error as error:
        return [str(error)]
    return [str(text) for (text,) in rows if text != "ok"]


def foreign_schema(path: Path) -> list[str]:
    """Return where a file's tables and indexes are not those that this version makes."""
    engine = sa.create_engine("sqlite://")
    with engine.connect() as made:
        schema.metadata.create_all(made)
        ours = _definitions(made.exec_driver_sql(DEFINITIONS).all())
    engine.dispose()
    with _reported(path), closing(_reading(path)) as connection:
        theirs = _definitions(connection.execute(DEFINITIONS).fetchall())
    missing = [f"{name} is missing" for name in sorted(ours.keys() - theirs.keys())]
    strange = [f"{name} is not the server's" for name in sorted(theirs.keys() - ours.keys())]
    shared = sorted(ours.keys() & theirs.keys())
    other = [f"{name} is defined otherwise" for name in shared if ours[name] != theirs[name]]
    return missing + strange + other


def _definitions(rows: Iterable[Sequence[Any]]) -> dict[str, str]:
    """Return what stands in a database, by kind and name; spelled without white space."""
    return {
        f"{kind} {name}": "".join(sql.split()).replace('"', "")
        for kind, name, sql in rows
        if not name.startswith(PREFIX)  # what a rebuild that was broken off left behind
    }


def _create(draft: Path) -> None:
    with suppress(FileNotFoundError):
        draft.unlink()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    os.close(os.open(draft, flags, OWNER_ONLY))


def _sync(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _reading(path: Path) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=ro"
    return sqlite3.connect(uri, uri=True, timeout=PATIENCE, isolation_level=None)


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise DatabaseUnavailable(f"{path}: {error}") from None
    except sqlite3.Error as error:
        raise BackupRefused(f"{path} cannot be read as a server's database: {error}") from None
