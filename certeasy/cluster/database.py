"""The shared database before a node goes into service: whose it is, and whether it is there at all.

A SQLite file is for one host, and a lock beside it keeps others out. PostgreSQL and SQL Server are
shared by nature: there only the writer's place, with its lease, says whose turn it is.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from certeasy.cluster.files import Held, create_empty, hold, refuse_link
from certeasy.cluster.mounts import network_file_system
from certeasy.cluster.refusal import BootRefused
from certeasy.log import logger
from certeasy.settings import DatabaseSettings
from certeasy.store import DatabaseUnavailable, DatabaseUnfit, Store
from certeasy.store.databases import place_of

log = logger("database")
MakeStore = Callable[[DatabaseSettings], Store]


class SharedDatabase(Protocol):
    """Where the log is stored; `name` is how an administrator knows it."""

    name: str
    store: Store

    def lock(self) -> list[Held]:
        """Take what keeps other nodes of this host out; raises BootRefused where one is in."""
        ...

    def is_empty(self) -> bool:
        """Whether nothing of ours is there yet."""
        ...

    def make(self, installation_id: str) -> None:
        """Make the tables of a new installation."""
        ...


def shared_database(settings: DatabaseSettings, make_store: MakeStore) -> SharedDatabase:
    """Return the configured database. Nothing is asked of it yet.

    Raises BootRefused where its driver is missing or its address is none.
    """
    try:
        if settings.driver == "sqlite":
            return SqliteFile(settings.path.resolve(), make_store(settings))
        return DatabaseServer(settings, make_store(settings))
    except DatabaseUnfit as error:
        raise BootRefused(str(error)) from None


class SqliteFile:
    """A file on this host. Two names of one file meet at one lock: the path is the real one."""

    def __init__(self, path: Path, store: Store) -> None:
        self.name = str(path)
        self.store = store
        self._path = path

    def lock(self) -> list[Held]:
        """Take the lock beside the file."""
        kind = network_file_system(self._path)
        if kind is not None:
            raise BootRefused(
                f"the database {self._path} is on a network file system ({kind}): its locks cannot"
                " be relied on, and SQLite is for one host. Use a local disk, or PostgreSQL or SQL"
                " Server (database.driver) for several nodes"
            )
        path = self._path.with_name(f"{self._path.name}.lock")
        refuse_link(path)
        held = hold(path)
        if held is None:
            raise BootRefused(
                f"the database {self._path} is in use by {self._writer()}: with topology single one"
                " node runs at a time. Stop that one first; nodes on several hosts need PostgreSQL"
                " or SQL Server (database.driver)"
            )
        return [held]

    def is_empty(self) -> bool:
        """Whether nothing of ours is there yet."""
        return self.store.is_empty()

    def make(self, installation_id: str) -> None:
        """Make the file, readable by nobody else, and the tables of a new installation."""
        create_empty(self._path)
        self.store.create(installation_id)

    def _writer(self) -> str:
        try:
            head = None if self.is_empty() else self.store.head()
        except DatabaseUnavailable:
            head = None
        return named(self.store, head.writer) if head and head.writer else "another node"


class DatabaseServer:
    """A server, PostgreSQL or SQL Server, that several nodes reach."""

    def __init__(self, settings: DatabaseSettings, store: Store) -> None:
        self.name = place_of(settings)
        self.store = store
        self._settings = settings

    def lock(self) -> list[Held]:
        """Look whether the server is fit for a log; the lease in it does the locking."""
        fitness = self.store.fitness()
        if fitness.refusals:
            raise BootRefused(f"{self.name} cannot be used: {'; '.join(fitness.refusals)}")
        for warning in fitness.warnings:
            log.warning("%s: %s", self.name, warning)
        log.info("%s, schema %s", self.name, fitness.schema)
        return []

    def is_empty(self) -> bool:
        """Whether nothing of ours is there yet."""
        return self.store.is_empty()

    def make(self, installation_id: str) -> None:
        """Make the tables of a new installation, unless that is the DBA's."""
        if self._settings.noddl:
            raise BootRefused(
                f"{self.name} has no tables, and database.noddl is true: have the DBA run what"
                " 'certeasy migrate --sql -f config.yml' prints"
            )
        self.store.create(installation_id)


def named(store: Store, server_id: str) -> str:
    """Return a node as an administrator knows it: its id and its host."""
    server = store.server(server_id)
    return f"node {server_id}" + (f" on {server.hostname}" if server else "")
