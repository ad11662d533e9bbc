"""A node between its runs, on which an administrator has something recorded."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from certeasy.admin.desk import Desk, Office
from certeasy.cli.options import fail, no_database, read
from certeasy.clock import SystemClock
from certeasy.cluster import boot, room
from certeasy.commit import Committer
from certeasy.commit.subjects import Subjects
from certeasy.decide.decision import Decision, Reader
from certeasy.decide.nodes import NodeRefused
from certeasy.ids import RandomIds
from certeasy.settings import DatabaseSettings, Settings
from certeasy.store import Store
from projections.fold import VERSION


def refuse_root(settings: Settings) -> None:
    """End a command that root gives for another user's node between its runs: what it made in the
    workdir would be root's, and the server could not use it."""
    made = settings.workdir / "server_id"
    place = made if made.exists() else settings.workdir
    if os.name == "nt" or os.geteuid() != 0 or not place.exists():
        return
    if owner := place.stat().st_uid:
        fail(
            f"{place} is of user {_named(owner)}, who could not use what root makes in"
            f" {settings.workdir}: while the server is stopped, give this command as that user"
            f" (sudo -u {_named(owner)} …)"
        )


def _named(user: int) -> str:
    import pwd  # noqa: PLC0415 - not on Windows

    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"#{user}"  # as sudo takes it


def existing_store(database: DatabaseSettings) -> Store:
    """Open the configured database, beside a server or without one; end the command if there is
    none."""
    if database.driver == "sqlite" and not database.path.exists():
        no_database(database.path)
    return Store.open(database)


@contextmanager
def tables_of(database: DatabaseSettings) -> Iterator[Store]:
    """Open the configured database, beside a server or without one, to show what its tables have;
    end the command where there is none, or where they are of another version."""
    store = existing_store(database)
    try:
        if store.is_empty() or store.head().projections != VERSION:
            fail("the database's tables are of another version, or none: start the server once")
        yield store
    finally:
        store.close()


class AtRest:
    """This node between its runs: its locks are held, its journal is level."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = SystemClock()
        self.ids = RandomIds(self.clock)
        refuse_root(settings)
        with room.explaining(settings, room.UNCHANGED):
            self.node = boot.open_node(settings, self.ids)
        self._committer: Committer | None = None
        try:
            with room.explaining(settings, room.UNCHANGED):
                self._standing = boot.level(self.node)
        except BaseException:  # of whatever kind: the locks are not kept
            self.node.close()
            raise
        self.store = self.node.store
        self.server_id = self.node.identity.server_id

    def committer(self) -> Committer:
        """Become the one who commits, unless we are."""
        if self._committer is None:
            committer = Committer(self.store, self.node.journal, self.clock)
            with room.explaining(self.settings, room.UNCHANGED):
                place = boot.take_place(self.node, self.clock, self.ids)
            committer.start(place, self._standing)
            self._committer = committer
        return self._committer

    def desk(self) -> Desk:
        """Return what instructions are carried out with, for the administrator at the keyboard."""
        office = Office(
            settings=self.settings,
            clock=self.clock,
            ids=self.ids,
            store=self.store,
            journal=self.node.journal,
            secrets=self.node.secrets,
            subjects=Subjects(self.store, self.ids),
            server_id=self.server_id,
            committer=self.committer,
            told=self._is_told,
        )
        return Desk(office, *boot.administrator(boot.own_user(), self.ids))

    def _is_told(self, authority: str) -> bool:
        """Whether an authority is told what is revoked, when the server runs again; one that is not
        there (any more) will be, should it come back."""
        found = [each for each in self.settings.authorities if each.name == authority]
        return all(each.revokes for each in found)

    def would(self, decide: Callable[[Reader, datetime], Decision]) -> bool:
        """Whether there is anything to do; raises NodeRefused before a place is taken for it."""
        return bool(decide(self.store, self.clock.now()).facts)

    def commit(self, decide: Callable[[Reader, datetime], Decision]) -> bool:
        """Have it recorded, by the administrator at the keyboard; return whether it was."""
        return self.desk().commit(decide) is not None

    def close(self) -> None:
        """Give everything back."""
        if self._committer is not None:
            self._committer.stop()
        self.node.close()


@contextmanager
def at_rest(config_file: Path, *, known: bool = True) -> Iterator[AtRest]:
    """Open the configured node while it does not run.

    Raises NodeRefused if it is to be `known` and has no workdir yet; else as `boot.open_node` and
    `boot.level` do.
    """
    settings = read(config_file)
    if known:
        check_workdir(settings)
    here = AtRest(settings)
    try:
        with room.explaining(settings):
            yield here
    finally:
        here.close()


def check_workdir(settings: Settings) -> None:
    """Raise NodeRefused where the workdir has never been a node's."""
    if not (settings.workdir / "server_id").exists():
        raise NodeRefused(
            f"{settings.workdir} is no node's workdir yet: start the server in it once, or let it"
            " join ('certeasy node join -f config.yml')"
        )
