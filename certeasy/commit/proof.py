"""A database held against itself: every line signed and in its place, every table what they say.

For a backup, beside which there is no journal. What only journals can show stays unseen: lines that
a whole database lacks at its end.
"""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from certeasy.audit.database import Database, DatabaseWitness
from certeasy.audit.sources import NoDatabase
from certeasy.audit.versions import DiskVersions
from certeasy.commit.rebuild import check
from certeasy.store import Store
from certeasy.store.backup import damage as damage_of
from journal.breaks import JournalBroken, Line
from journal.verify import verify

Progress = Callable[[Line, int], None]


def of_file(path: Path, *, thorough: bool) -> list[str]:
    """Return what is wrong with a database file, its kinds of tables, and its log's end."""
    if damage := damage_of(path, thorough=thorough):
        return [f"{path}: {each}" for each in damage]
    try:
        with closing(Database(path)) as database:
            database.check_objects()
            trouble = database.standing().trouble
    except (JournalBroken, NoDatabase) as broken:
        return [str(broken)]
    return [f"{path}: {trouble}"] if trouble else []


def of_log(path: Path, progress: Progress | None = None) -> list[str]:
    """Return what is wrong with the log in a database file, and with its tables."""
    try:
        _prove(path, progress)
    except (JournalBroken, NoDatabase) as broken:
        return [str(broken)]
    store = Store.sqlite(path)
    try:
        _folded, different = check(store)
    finally:
        store.close()
    return [str(difference) for difference in different]


def _prove(path: Path, progress: Progress | None) -> None:
    with closing(Database(path)) as database, closing(DiskVersions()) as versions:
        database.check_objects()
        standing = database.standing()
        witness = DatabaseWitness(database, standing)
        sources = [database.lines_of(*end) for end in standing.ends.items()]
        summary = verify(sources, versions=versions, witness=witness, progress=progress)
        witness.finish(summary, {})
