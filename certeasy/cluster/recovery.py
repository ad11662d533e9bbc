"""A database taken in hand while no server uses it, by whoever mends it, node or not.

The locks are those that a starting node takes, so neither can begin beside the other. Nothing is
made: no identity, no database, no table.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from certeasy.cluster import boot
from certeasy.cluster.database import SharedDatabase, named, shared_database
from certeasy.cluster.files import private_folder
from certeasy.cluster.refusal import BootRefused
from certeasy.settings import Settings
from certeasy.store import Store


@contextmanager
def in_hand(settings: Settings) -> Iterator[SharedDatabase]:
    """Hold the locks of the workdir and of the database, and lend the database.

    Raises BootRefused while a server runs on either, or if the database is of another format.
    """
    private_folder(settings.workdir)
    with ExitStack() as stack:
        database = shared_database(settings.database, Store.open)
        stack.callback(database.store.close)
        stack.callback(boot.workdir_lock(settings).release)
        for held in database.lock():
            stack.callback(held.release)
        if not database.is_empty():
            boot.bring_to_format(database.store, may_change=not settings.database.noddl)
            if settings.database.driver != "sqlite":  # where the lock has told already
                _check_lease(database, server_id(settings))
        yield database


def _check_lease(database: SharedDatabase, own: str) -> None:
    """Refuse while another node's lease runs; this one does not run, for its workdir is locked."""
    head = database.store.head()
    left = head.lease_until - head.now
    if head.writer not in ("", own) and left > 0:
        raise BootRefused(
            f"{named(database.store, head.writer)} has the writer's place in {database.name} for"
            f" another {left:.0f} s: stop it; if it is gone, try again when that time is over"
        )


def server_id(settings: Settings) -> str:
    """Return the id of the node whose workdir this is; an empty text where it is none yet."""
    path = settings.workdir / "server_id"
    return path.read_text("ascii", "replace").strip() if path.exists() else ""
