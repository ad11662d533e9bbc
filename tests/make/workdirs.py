"""What stands in a workdir, and what a start that is refused says and leaves alone."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from certeasy.clock import Clock
from certeasy.cluster.refusal import BootRefused
from certeasy.settings import Settings
from tests.make.node import ANode

PASSING = (".lock", "-wal", "-shm")


def contents(*folders: Path) -> dict[Path, bytes | str]:
    """Return every file below the folders with what it holds, links with where they lead."""
    found: dict[Path, bytes | str] = {}
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_symlink():
                found[path] = f"-> {path.readlink()}"
            elif path.is_file() and not path.name.endswith(PASSING):
                found[path] = path.read_bytes()
    return found


def refused(settings: Settings, *words: str, clock: Clock | None = None) -> str:
    """Return in which words a start is refused; it says all of these, and nothing was touched."""
    folders = (settings.workdir, settings.database.path.parent, settings.audit.path.parent)
    before = contents(*folders)
    with pytest.raises(BootRefused) as caught:
        ANode(settings, clock)
    said = str(caught.value)
    missing = [word for word in words if word not in said]
    assert not missing, f"not said: {missing} in {said}"
    assert "\n" not in said
    assert contents(*folders) == before
    return said


def sql(database: Path, *statements: str) -> list[tuple[object, ...]]:
    """Change, or ask, a database that no node has open; return what the last statement finds."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        found: list[tuple[object, ...]] = []
        for statement in statements:
            found = connection.execute(statement).fetchall()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return found


def server_id(folder: Path) -> str:
    """Return the id of the node whose workdir this is."""
    return (folder / "server_id").read_text().strip()


def installation(folder: Path) -> str:
    """Return the id of the installation whose database is in this folder."""
    return str(sql(folder / "db.sqlite", "SELECT installation_id FROM log_head")[0][0])


def cut_lines(journal: Path, count: int) -> bytes:
    """Cut so many lines off a journal's end; return what it held before."""
    whole = journal.read_bytes()
    lines = whole.splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[: len(lines) - count]))
    return whole
