"""A node on its way into service. A start after a crash and any other start are the same.

(1) The workdir's lock: one process per workdir.
(2) The database's lock (SQLite is for one host): one node at a time on its file.
(3) The identity, the database's format, the key that unwraps secrets.
(4) The probe: journal and database tell the same story, or nothing is touched.
(5) The journal is brought level, projections of another version are folded anew.
(6) The writer's place is taken: a new epoch. Only then can anything be committed.
(7) The facts of this start are committed: the node serves.
"""

import getpass
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from certeasy import __version__
from certeasy.clock import Clock
from certeasy.cluster import identity, secrets
from certeasy.cluster.database import MakeStore, named, shared_database
from certeasy.cluster.files import Held, hold, holder, private_folder, refuse_link
from certeasy.cluster.identity import Identity
from certeasy.cluster.refusal import BootRefused, WorkdirTaken
from certeasy.cluster.secrets import Secrets
from certeasy.commit import Command, Committer, Place, Standing, segments
from certeasy.commit import probe as probing
from certeasy.commit.batch import LINES
from certeasy.commit.committer import SYSTEM
from certeasy.commit.keys import NodeKeys, has_rotated, read_keys, retirement
from certeasy.commit.rebuild import rebuild
from certeasy.commit.segments import Segment, SegmentRefused
from certeasy.decide.decision import Decision, Reader
from certeasy.ids import Ids
from certeasy.log import logger
from certeasy.settings import Settings
from certeasy.store import PlaceLost, Server, Store
from certeasy.store.migrations import pending
from certeasy.store.schema import FORMAT
from events.counting import counted
from events.envelope import ZERO_HASH, Actor, BrokenLine, parse, timestamp
from events.nodes import (
    InstallationCreated,
    LeaseTaken,
    NodeRegistered,
    NodeStarted,
    NodeStopped,
    SettingsLoaded,
)
from events.registry import Event, NewerSchema, UndecodableEvent, UnknownEvent
from events.sealing import KEY_LENGTH, NONCE_LENGTH, Subject
from journal.disk import Disk
from journal.file import Journal
from journal.segments import closed_segments
from projections.fold import VERSION
from projections.nodes import ENDORSEMENTS, INSTALLATION, NODES

log = logger("node")


class Opened:
    """A node that holds its locks and knows who it is; nothing has been written to the log yet."""

    def __init__(
        self,
        who: Identity,
        store: Store,
        journal: Journal,
        kept: Secrets,
        settings: Settings,
        locks: list[Held],
    ) -> None:
        self.identity = who
        self.store = store
        self.journal = journal
        self.secrets = kept
        self.topology = settings.topology
        self.noddl = settings.database.noddl
        self.epoch = 0
        self.boot_id = ""
        self.previous: str | None = None
        self.turned = False  # a key rotation that had been broken off was completed
        self._locks = locks

    def close(self) -> None:
        """Give everything back, in the order that lets the next process in last."""
        self.journal.close()
        self.store.close()
        for lock in reversed(self._locks):
            lock.release()


def open_node(
    settings: Settings,
    ids: Ids,
    *,
    make_store: MakeStore = Store.open,
    disk: Disk | None = None,
) -> Opened:
    """Do steps (1) to (3). `make_store` and `disk` are what the database and the journal stand on.

    Raises BootRefused with what is wrong and what to do, DatabaseUnavailable while the database
    cannot be asked, OSError where the workdir cannot be used.
    """
    private_folder(settings.workdir)
    journal = Journal(settings.audit.path, keep_free=settings.audit.min_free_bytes, disk=disk)
    locks: list[Held] = []
    database = shared_database(settings.database, make_store)
    store = database.store
    try:
        locks.append(workdir_lock(settings))
        locks.extend(database.lock())
        fresh = database.is_empty()
        if fresh:
            _refuse_empty_database(journal.path, database.name)
        who = identity.find(settings.workdir, journal.path, ids)
        if fresh:
            database.make(ids.uuid())
        bring_to_format(store, may_change=not settings.database.noddl)
        _check_place(store, who)
        kept = secrets.unlock(store, settings.secrets.key_file, ids)
    except BaseException:  # also Ctrl-C: no lock is kept by a node that is none
        store.close()
        for lock in reversed(locks):
            lock.release()
        raise
    return Opened(who, store, journal, kept, settings, locks)


def look(node: Opened) -> probing.Found:
    """Return what the probe looks at. Raises BootRefused where the node was retired."""
    who = node.identity
    server = node.store.server(who.server_id)
    _refuse_retired(node)
    _follow_key(node)
    return probing.Found(
        who.server_id, who.key, _keys(node), tuple(who.boots), node.store.head(), server
    )


def level(node: Opened, *, most: int = LINES, reconciling: bool = False) -> Standing:
    """Do steps (4) and (5): the end of this node's own history, journal and database level.

    `reconciling` lets a node through whose last lines are orphaned and not told of yet. Raises
    BootRefused where the probe refuses.
    """
    found = look(node)
    try:
        mending = probing.check(
            found, node.store, node.journal.path, most=most, reconciling=reconciling
        )
    except (probing.ProbeRefused, SegmentRefused) as refusal:
        raise BootRefused(str(refusal)) from None
    node.journal.open()
    standing = probing.heal(found, mending, node.store, node.journal)
    _settle_key(node)
    if node.store.head().projections != VERSION:
        if node.noddl:
            raise BootRefused(
                "the projections are of another version, and database.noddl is true: run 'certeasy"
                " projections rebuild -f config.yml' with the configuration of a user that may"
                " make tables"
            )
        _fold_anew(node.store)
    _check_topology(node)
    return standing


def _follow_key(node: Opened) -> None:
    """Go on with the next key if the log has a rotation to it: the files come later, `settle`."""
    who = node.identity
    stream = node.store.stream(f"node/{who.server_id}")
    if who.next_key is not None and has_rotated(stream, who.server_id, who.next_key.public.kid):
        who.follow()


def _settle_key(node: Opened) -> None:
    """Complete a rotation that the log has; forget the next key of one that was never recorded."""
    who = node.identity
    if who.next_key is None:
        return
    if who.settle():
        node.turned = True
        log.warning("a key rotation was completed: node %s signs with key %s", *_mine(who))
    else:
        log.warning(
            "a key rotation ended before it was recorded and is forgotten: node %s signs with"
            " key %s as before",
            *_mine(who),
        )


def _mine(who: Identity) -> tuple[str, str]:
    return who.server_id, who.key.public.kid


def _keys(node: Opened) -> NodeKeys:
    """Return the keys that this node has signed with."""
    who = node.identity
    return read_keys(node.store.stream(f"node/{who.server_id}"), who.server_id, who.key.public)


def _refuse_retired(node: Opened) -> None:
    """Refuse a node that another has retired, by the log: its table may be of another version."""
    server_id = node.identity.server_id
    line = retirement(node.store.stream(f"node/{server_id}"), server_id)
    if line is not None:
        by, at = line.envelope.server_id, line.envelope.at
        raise BootRefused(_retired(node.store, server_id, by, at))


def _retired(store: Store, server_id: str, by: str, at: str) -> str:
    return (
        f"node {server_id} was retired by {named(store, by)} at {at}: it never writes again. Give"
        " this host a new node, in a workdir of its own"
    )


def _check_topology(node: Opened) -> None:
    installation = node.store.get(INSTALLATION, node.store.head().installation_id)
    if installation is not None and installation.topology != node.topology:
        raise BootRefused(
            f"this node is configured for topology {node.topology}, the installation"
            f" {installation.installation_id} was set up as {installation.topology}: all its nodes"
            " have the same; correct the configuration"
        )


def _fold_anew(store: Store) -> None:
    log.warning("the projections are of another version; they are folded anew")
    try:
        rebuild(store)
    except (BrokenLine, UnknownEvent, NewerSchema, UndecodableEvent, LookupError) as error:
        raise BootRefused(
            f"the projections are of another version, and the log cannot be folded anew: {error};"
            " run the version that wrote it, or a newer one"
        ) from error


def take_place(node: Opened, clock: Clock, ids: Ids) -> Place:
    """Do step (6): record this start, in the workdir first, and become the writer."""
    who = node.identity
    boot_id = ids.uuid()
    who.record_start(boot_id)
    now = timestamp(clock.now())
    public = who.key.public
    _check_place(node.store, who)
    if ended := node.store.end_stuck():
        stuck = counted(ended, "transaction was", "transactions were")
        log.warning("%s ended that held the log beyond the lease", stuck)
    with node.store.repeatable() as transaction:
        head = transaction.head()
        if node.store.server(who.server_id) is None:
            transaction.register(
                Server(
                    who.server_id,
                    who.hostname,
                    public.kid,
                    public.x,
                    now,
                    now,
                    0,
                    ZERO_HASH,
                    boot_id,
                    who.fingerprint,
                )
            )
        transaction.started(who.server_id, boot_id, who.hostname, who.fingerprint, now)
        try:
            node.epoch = transaction.take_place(who.server_id, head.epoch)
        except PlaceLost as error:
            raise BootRefused(f"{error}; this is node {who.server_id} on {who.hostname}") from None
        row = transaction.load(NODES, (who.server_id,))
        if row is not None and row.retired:  # since the journal was levelled
            raise BootRefused(_retired(node.store, who.server_id, row.retired_by, row.retired))
    node.boot_id = boot_id
    node.previous = head.writer if head.writer not in {"", who.server_id} else None
    return Place(who.server_id, boot_id, node.epoch, who.key)


def announce(
    node: Opened, committer: Committer, settings: Settings, redacted: SettingsLoaded
) -> None:
    """Do step (7): commit the facts of this start. Raises what `Committer.submit` raises."""
    committer.submit(Command(_facts_of_start(node, settings, redacted), SYSTEM))
    if (wanting := not_endorsed(node.store, node.identity.server_id)) is not None:
        log.warning("%s", wanting)


def check_endorsed(node: Opened) -> None:
    """Refuse to serve with a node that nobody vouches for: no other node would believe its lines.

    The first node of an installation needs nobody. Raises BootRefused before anything is written.
    """
    store, who = node.store, node.identity
    kid = who.key.public.kid
    if store.get(INSTALLATION, store.head().installation_id) is None:
        return
    row = store.get(NODES, who.server_id)
    vouched = row.endorsed if row else store.get(ENDORSEMENTS, who.server_id, kid) is not None
    if not vouched:
        raise BootRefused(
            f"node {who.server_id} with key {kid} is not endorsed, so nothing that it writes would"
            f" count: type 'certeasy node endorse {who.server_id} {kid} -f config.yml' on an"
            f" endorsed node ({_endorsed(store)}), or 'certeasy node join -f config.yml' here,"
            " with a token of one. If none of them is left, 'certeasy serve --unendorsed -f"
            f" config.yml' starts it all the same; auditors then have to add '--trust {kid}'"
            " when they verify"
        )


def _endorsed(store: Store) -> str:
    """Return the nodes that can vouch for another, as an administrator knows them."""
    able = [
        named(store, server.server_id)
        for server in store.servers()
        if (row := store.get(NODES, server.server_id)) and row.endorsed and not row.retired
    ]
    return ", ".join(able) or "there is none"


def not_endorsed(store: Store, server_id: str) -> str | None:
    """Return what to type on which node where this one is not endorsed, in one line, or None."""
    row = store.get(NODES, server_id)
    if row is None or row.endorsed:
        return None
    return (
        f"node {server_id} is not endorsed, and 'certeasy audit verify -f config.yml' fails"
        f" because of it: type 'certeasy node endorse {server_id} {row.kid} -f config.yml' on an"
        f" endorsed node ({_endorsed(store)})"
    )


def is_known(node: Opened) -> bool:
    """Whether the log tells of this node: before, it has no line of its own."""
    return node.store.get(NODES, node.identity.server_id) is not None


def farewell(node: Opened, committer: Committer) -> None:
    """Commit that the node leaves service in good order."""
    server_id = node.identity.server_id
    fact = (f"node/{server_id}", NodeStopped(boot_id=node.boot_id))
    committer.submit(Command(lambda _rows, _now: Decision((fact,)), SYSTEM))


def missing_segments(node: Opened) -> list[Segment]:
    """Return the closed segments that are not beside the journal: moved away, or lost.

    Raises BootRefused where one that is there is not what the log says.
    """
    try:
        closed = segments.look(node.store, node.identity.server_id, node.journal.path)
    except SegmentRefused as refusal:
        raise BootRefused(str(refusal)) from None
    return closed.away + closed.lost


def write_again(node: Opened, missing: Sequence[Segment]) -> Iterator[Segment]:
    """Write closed segments from the database, each whole or not at all; yield each when it is
    there.

    Raises BootRefused where the database does not have what this node signed.
    """
    who = node.identity
    try:
        yield from segments.write_again(
            missing, node.store, who.server_id, _keys(node), node.journal.disk
        )
    except SegmentRefused as refusal:
        raise BootRefused(str(refusal)) from None


def operator(node: Opened, ids: Ids) -> Actor:
    """Return the administrator at the keyboard, whose key is stored by now."""
    actor, key = administrator(own_user(), ids)
    with node.store.repeatable() as transaction:
        transaction.keep_subjects(key)
    return actor


def administrator(name: str, ids: Ids) -> tuple[Actor, tuple[tuple[str, bytes], ...]]:
    """Return a user of the system as the one who acts, sealed as personal data, and the key.

    The key is to be stored with the first change that this one makes.
    """
    key = ids.random(KEY_LENGTH)
    subject = Subject(f"administrator/{ids.new()}", key)
    sealed = subject.seal(name.encode(), ids.random(NONCE_LENGTH))
    return Actor("administrator", sealed=sealed), ((subject.subject, key),)


def own_user() -> str:
    """Return the user whom this process runs as, as people know it."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user id without a name, as in some containers
        return f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown"


def settings_in(line: bytes | None) -> SettingsLoaded | None:
    """Return what a line settings.loaded tells. None: there is no line, or it was changed and
    cannot be read, which is a verify's to tell."""
    try:
        event = None if line is None else parse(line).event
    except (BrokenLine, UnknownEvent, NewerSchema, UndecodableEvent):
        return None
    return event if isinstance(event, SettingsLoaded) else None


def _facts_of_start(
    node: Opened, settings: Settings, redacted: SettingsLoaded
) -> Callable[[Reader, datetime], Decision]:
    who, head = node.identity, node.store.head()
    public = who.key.public
    stream = f"node/{who.server_id}"
    known = settings_in(node.store.last_of_type("settings.loaded", [stream]))

    def decide(rows: Reader, _now: datetime) -> Decision:
        facts: list[tuple[str, Event]] = []
        if rows.get(INSTALLATION, head.installation_id) is None:
            created = InstallationCreated(head.installation_id, public.kid, settings.topology)
            facts.append(("installation", created))
        if rows.get(NODES, who.server_id) is None:
            registered = NodeRegistered(
                head.installation_id, who.server_id, who.hostname, public.kid, public.x
            )
            facts.append((stream, registered))
        if node.previous is not None:
            facts.append((stream, LeaseTaken(node.epoch, node.previous)))
        if known is None or known.sha256 != redacted.sha256:
            facts.append((stream, redacted))
        facts.append((stream, NodeStarted(node.boot_id, who.hostname, __version__, node.epoch)))
        return Decision(tuple(facts))

    return decide


def workdir_lock(settings: Settings) -> Held:
    """Take the lock of a workdir; raises WorkdirTaken while another process has it."""
    path = _lock_file(settings)
    refuse_link(path)
    held = hold(path)
    if held is None:
        who = holder(path) or "it"
        raise WorkdirTaken(
            f"another process is using the workdir {settings.workdir} ({who} holds {path}): stop it"
            " first, or give this node a workdir of its own"
        )
    return held


def refuse_used_workdir(settings: Settings) -> None:
    """Raise BootRefused while another process has the lock of a workdir; make no file."""
    if _lock_file(settings).exists():
        workdir_lock(settings).release()


def _lock_file(settings: Settings) -> Path:
    return settings.audit.path.with_name(f"{settings.audit.path.name}.lock")


def _check_place(store: Store, who: Identity) -> None:
    """Refuse while the lease of another node, or of this one in another place, still runs."""
    head = store.head()
    left = head.lease_until - head.now
    if left <= 0 or not head.writer:
        return
    if head.writer != who.server_id:
        raise BootRefused(
            f"{named(store, head.writer)} has the writer's place for another {left:.0f} s; this"
            f" is node {who.server_id} on {who.hostname}, and with topology single one node runs"
            " at a time. Stop that one (in good order it gives the place back at once), or wait"
            " until it runs out"
        )
    known = store.server(who.server_id)
    if known is not None and known.fingerprint != who.fingerprint:
        raise BootRefused(
            f"node {who.server_id} last ran in another place (on {known.hostname}) and has the"
            f" writer's place there for another {left:.0f} s; this is {who.workdir} on"
            f" {who.hostname}. Stop that one; if it is gone, try again when that time is over"
        )


def _refuse_empty_database(audit_log: Path, name: str) -> None:
    journal = [*closed_segments(audit_log), audit_log][0]
    if journal.exists() and journal.stat().st_size:
        installation = probing.installation_of(journal)
        raise BootRefused(probing.empty_database(audit_log, installation, f"the database {name}"))


def bring_to_format(store: Store, *, may_change: bool) -> None:
    """Take the steps to this version's format that an older version could live with."""
    found = store.head().format
    if found > FORMAT:
        raise BootRefused(
            f"the database has format {found}, this version ({__version__}) writes format"
            f" {FORMAT}: run the version that wrote it, or a newer one"
        )
    steps = pending(found)
    waiting = [step for step in steps if step.breaking or not may_change]
    if waiting:
        raise BootRefused(
            f"the database has format {found}, this version ({__version__}) needs {FORMAT}:"
            " run 'certeasy migrate -f config.yml' ('--sql' prints the statements for a DBA) first"
        )
    if steps:
        store.migrate(steps)
        log.warning("the database was brought from format %d to %d", found, FORMAT)


__all__ = [
    "SYSTEM",
    "BootRefused",
    "Opened",
    "PlaceLost",
    "announce",
    "bring_to_format",
    "farewell",
    "is_known",
    "level",
    "look",
    "open_node",
    "refuse_used_workdir",
    "take_place",
    "workdir_lock",
]
