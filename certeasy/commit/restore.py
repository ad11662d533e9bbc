"""A lost log put back: an empty or an older database made whole from the journals of all nodes.

What is put back are the very bytes that the nodes signed; nothing is decided here, and nothing is
signed. On one reading the journals are verified as `audit verify` does it, compared with the lines
that the database still has, and what it lacks is appended and folded.

It is one transaction, however long the log is: a journal that turns out to be broken at its end, a
full disk or a crash leave the database as it was, and the command is run again. So there is no
half-restored database that a server could start on.

What no line tells is not put back: secrets, the keys of the people the log speaks about, nonces
that were used, leases. `Restored` tells how much of that is missing. A key that an older database
still has, and that was destroyed in a line which is put back, is destroyed again.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from certeasy.audit.verifying import Given
from certeasy.audit.versions import DiskVersions
from certeasy.log import logger
from certeasy.store import Head, Server, Store, Transaction
from events.envelope import ZERO_HASH, BrokenLine, Record, parse
from events.nodes import InstallationCreated, LeaseTaken, NodeEndorsed, NodeRegistered, NodeStarted
from events.registry import Event, NewerSchema, UndecodableEvent, UnknownEvent
from journal.breaks import JournalBroken, Line, TornLine, broken_at
from journal.lines import read_journal
from journal.verify import verify
from projections.fold import VERSION, fold
from projections.nodes import NODES
from projections.tables import WorkingRows

PAGE = 1000
UNREADABLE = (UnknownEvent, NewerSchema, UndecodableEvent, LookupError)
TELLING = frozenset(("node.registered", "node.started", "lease.taken"))
NAMING = re.compile(rb'"type":"(?:node\.endorsed|lease\.taken)"')
ERASED = "subject.erased"
SPOKEN_OF, FORGOTTEN = 1, 2
_SUBJECT = re.compile(rb'"subject":"([^"\\]{1,128})"')
_NEW = Head(0, ZERO_HASH, "", 0, "", 0.0, 0, "", VERSION, 0.0)
log = logger("restore")

Progress = Callable[[Line, int], None]


class RestoreRefused(Exception):
    """These journals cannot be put into this database; the message says why and what to do."""


class Restored(msgspec.Struct, frozen=True):
    """What was put back: positions `first` to `last`, none if `first` is behind `last`.

    `hash` is that of the log's last line; `nodes` are the server ids of the journals that were
    read; of `subjects` that the log speaks about, `keyless` have no key in the database.
    """

    installation_id: str
    first: int
    last: int
    hash: str
    nodes: tuple[str, ...]
    subjects: int
    keyless: int

    @property
    def lines(self) -> int:
        """How many lines were put back."""
        return self.last - self.first + 1


def restore(store: Store, given: Given, progress: Progress | None = None) -> Restored:
    """Put back what the database lacks of the log; nobody else may write to it meanwhile.

    Lines of nodes whose journals are not given are taken from the database, as far as it has them.
    Raises RestoreRefused, JournalBroken at the first place where a journal is broken or contradicts
    another one or the database, DatabaseUnavailable; then nothing was changed.
    """
    head = _NEW if store.is_empty() else store.head()
    _check_end(store, head)
    known = {} if head is _NEW else {each.server_id: each for each in store.servers()}
    installation_id = _installation(given.journals, head)
    owners = [_owner(files) for files in given.journals]
    sources: list[Iterable[Line]] = [whole_lines(files) for files in given.journals]
    sources += [
        _stored(store, id_) for id_, each in known.items() if id_ not in owners and each.seq
    ]
    with (
        closing(DiskVersions()) as versions,
        closing(DiskVersions()) as subjects,
        store.restoring(installation_id) as transaction,
    ):
        if head is not _NEW:
            transaction.hold_at(head)
        back = _PuttingBack(store, transaction, head, known, given.journals, subjects)
        summary = verify(
            sources,
            given.keys,
            trusted=given.trusted,
            anchor=given.anchor,
            versions=versions,
            witness=back,
            progress=progress,
        )
        if summary.installation_id != installation_id:
            raise RestoreRefused(
                f"the journals are of installation {summary.installation_id}, not"
                f" {installation_id}, as the first of them says"
            )
        back.finish(installation_id)
    if back.gone:
        store.scrub(back.gone)
    return Restored(
        installation_id,
        head.position + 1,
        back.position,
        back.hash,
        tuple(owners),
        back.subjects,
        back.keyless,
    )


class _PuttingBack:
    """A witness of the verification: each line is compared with the database, or put into it."""

    def __init__(
        self,
        store: Store,
        transaction: Transaction,
        head: Head,
        known: dict[str, Server],
        journals: Sequence[Sequence[Path]],
        subjects: DiskVersions,
    ) -> None:
        self._store = store
        self._transaction = transaction
        self._head = head
        self._known = known
        self._journals = journals
        self._spoken_of = subjects
        self._stored = iter(()) if head.position == 0 else store.lines(0, until=head.position)
        self._rows = WorkingRows(transaction.load)
        self._folds = head.projections == VERSION  # else the next start folds everything anew
        self._page: list[Record] = []
        self._orphans: list[Record] = []
        self._kept_of: dict[str, frozenset[bytes]] = {}
        self._last: Record | None = None
        self._ends: dict[str, Record] = {}
        self._starts: dict[str, NodeStarted] = {}
        self._registered: dict[str, tuple[NodeRegistered, str]] = {}
        self._epoch = head.epoch
        self.position, self.hash = 0, ZERO_HASH
        self.subjects = self.keyless = 0
        self._erased: set[str] = set()
        self.gone: list[bytes] = []  # keys that were destroyed again

    def see(self, line: Line, record: Record) -> None:
        """Take the next line of the log; raises JournalBroken where the database has another."""
        envelope = record.envelope
        self._learn(line, record)
        if envelope.position <= self._head.position:
            self._compare(line, record)
        else:
            self._put(line, record)
        self._count(line, record)
        self._ends[envelope.server_id] = self._last = record
        self.position, self.hash = envelope.position, record.hash

    def orphaned(self, line: Line, record: Record) -> None:
        """Keep a line that its node disowns, unless the database does."""
        envelope = record.envelope
        known = self._known.get(envelope.server_id)
        if known is None or envelope.seq > known.seq:
            self._orphans.append(record)
        elif record.line not in self._kept(envelope.server_id):
            raise broken_at(line, record, "orphaned, but not kept so in the database")

    def _kept(self, server_id: str) -> frozenset[bytes]:
        if server_id not in self._kept_of:
            self._kept_of[server_id] = frozenset(self._store.orphans(server_id))
        return self._kept_of[server_id]

    def missing(self, position: int) -> str:
        """Return what is known of a position that no journal has."""
        if position <= self._head.position:
            return f"in the database it is {self._told_at(position)}"
        strangers = sorted(_nodes_told(self._journals))
        if not strangers:
            return ""
        return "the log tells of these nodes, whose journals were not given: " + ", ".join(
            strangers
        )

    def finish(self, installation_id: str) -> None:
        """Put back what is left, the nodes' rows and the head."""
        if self._last is None:
            raise RestoreRefused("there is nothing to put back: the journals are empty")
        if self.position < self._head.position:
            position = self.position + 1
            raise RestoreRefused(
                f"the database has positions {position} to {self._head.position}, which are in no"
                f" journal given; the first of them is {self._told_at(position)}: give that node's"
                " journal too, or, if it is the journal that was cut, write it again with"
                " 'certeasy journal refill -f config.yml --reason WHY'"
            )
        if self.position == self._head.position:
            return
        self._flush()
        for server_id, record in self._ends.items():
            self._transaction.put_back(self._server(server_id, record))
        self._transaction.end_at(self._last, self._epoch, installation_id)

    def _learn(self, line: Line, record: Record) -> None:
        """Keep what the rows of `servers` and the head are made of."""
        if record.envelope.type not in TELLING:
            return
        fact = _event(line, record)
        server_id = record.envelope.server_id
        match fact:
            case NodeRegistered():
                self._registered[server_id] = fact, record.envelope.at
            case NodeStarted():
                self._starts[server_id] = fact
                self._epoch = max(self._epoch, fact.epoch)
            case LeaseTaken():
                self._epoch = max(self._epoch, fact.epoch)
            case _:
                pass

    def _compare(self, line: Line, record: Record) -> None:
        stored = next(self._stored, None)
        if stored != record.line:
            raise broken_at(
                line,
                record,
                f"the database has another line at this position: {_hash(stored)} there,"
                f" {record.hash} here: 'certeasy audit verify -f config.yml' names all differences",
            )

    def _put(self, line: Line, record: Record) -> None:
        if self._folds:
            try:
                fold(record, self._rows)
            except UNREADABLE as error:
                raise broken_at(line, record, f"cannot be folded: {error}") from None
        self._page.append(record)
        if len(self._page) == PAGE:
            self._flush()

    def _flush(self) -> None:
        self._transaction.append(self._page)
        if self._orphans:
            self._transaction.keep_orphans(self._orphans)
        self._orphans = []
        self._transaction.store(self._rows.changes())
        self._rows.forget()
        self._page = []

    def _count(self, line: Line, record: Record) -> None:
        """Count the people a line speaks about, and those of them whose key is not there."""
        subjects = {found.decode() for found in _SUBJECT.findall(record.line)}
        if record.envelope.type == ERASED:
            subject = _event(line, record).subject
            subjects.discard(subject)
            self._erase(subject, put_back=record.envelope.position > self._head.position)
        for subject in subjects:
            before = self._spoken_of.move(subject, SPOKEN_OF)
            if before != SPOKEN_OF:
                self.subjects += before == 0
                self.keyless += self._is_keyless(subject)

    def _erase(self, subject: str, *, put_back: bool) -> None:
        """Destroy a key that was destroyed in a line that is put back: an older database has it."""
        before = self._spoken_of.move(subject, FORGOTTEN)
        self.subjects += before == 0
        self.keyless -= before == SPOKEN_OF and self._is_keyless(subject)
        if put_back:
            key = None if self._head is _NEW else self._store.subject_key(subject)
            self.gone += [key] if key is not None else []
            self._erased.add(subject)
            self._transaction.drop_subjects([subject])

    def _is_keyless(self, subject: str) -> bool:
        unknown = self._head is _NEW or subject in self._erased
        return unknown or self._store.subject_key(subject) is None

    def _server(self, server_id: str, last: Record) -> Server:
        node = self._transaction.load(NODES, (server_id,))
        told, at = self._registered[server_id]
        start, known = self._starts.get(server_id), self._known.get(server_id)
        return Server(
            server_id=server_id,
            hostname=start.hostname if start else told.hostname,
            kid=node.kid if node else told.kid,
            x=node.x if node else told.x,
            first_seen=known.first_seen if known else at,
            last_seen=last.envelope.at,
            seq=last.envelope.seq,
            hash=last.hash,
            boot_id=start.boot_id if start else "",
            fingerprint=known.fingerprint if known else "",
        )

    def _told_at(self, position: int) -> str:
        """Return whose line the database has at a position, for people."""
        try:
            line = parse(next(self._store.lines(position - 1))).envelope
        except (BrokenLine, StopIteration):
            return "a broken line"
        return f"seq {line.seq} of node {line.server_id}"


def whole_lines(files: Sequence[Path]) -> Iterator[Line]:
    """Yield a journal's lines without a last one that was never finished: a crash left that.

    Nothing about it was ever answered, and the next start of its node cuts it off.
    """
    try:
        yield from read_journal(files)
    except TornLine as torn:
        log.warning("%s; it is left out", torn)


def _stored(store: Store, server_id: str) -> Iterator[Line]:
    kept = frozenset(store.orphans(server_id))
    for line in store.lines_of(server_id, 0):
        yield Line("the database", 0, 0, line, line in kept)


def _check_end(store: Store, head: Head) -> None:
    """Refuse to build on rows that are not what the head says."""
    line = None if head is _NEW else store.last_line()
    end = (0, ZERO_HASH) if line is None else _end_of(line)
    if end != (head.position, head.hash):
        raise RestoreRefused(
            f"the database's log does not end at position {head.position} with hash {head.hash},"
            " as its head says: rows were changed or lost; 'certeasy audit verify -f config.yml'"
            " names them. Restore an older backup, or begin with an empty database"
        )


def _installation(journals: Sequence[Sequence[Path]], head: Head) -> str:
    """Return the installation that all journals and the database are of."""
    found: dict[str, str] = {}
    for files in journals:
        told = _told_installation(files)
        if told:
            found.setdefault(told, str(files[0]))
    if not found:
        raise RestoreRefused(
            "the journals do not begin with the line that tells their installation: the first"
            " segments are missing, or they are empty"
        )
    if len(found) > 1:
        each = " and ".join(f"{file} of {told}" for told, file in found.items())
        raise RestoreRefused(f"the journals are of different installations: {each}")
    [(told, file)] = found.items()
    if head.position and told != head.installation_id:
        raise RestoreRefused(
            f"{file} is of installation {told}, the database of {head.installation_id}: check the"
            " database settings (a wrong database, most likely)"
        )
    return told


def _told_installation(files: Sequence[Path]) -> str:
    fact = _first_event(files)
    return fact.installation_id if isinstance(fact, InstallationCreated | NodeRegistered) else ""


def _first_event(files: Sequence[Path]) -> Event | None:
    try:
        line = next(whole_lines(files), None)
    except JournalBroken:
        return None  # which verification will name
    return None if line is None else _read(line.data)


def _owner(files: Sequence[Path]) -> str:
    """Return the node whose journal this is, as its first line says."""
    try:
        line = next(whole_lines(files), None)
        return "" if line is None else parse(line.data).envelope.server_id
    except (BrokenLine, JournalBroken):
        return ""


def _nodes_told(journals: Sequence[Sequence[Path]]) -> set[str]:
    """Return the nodes that these journals tell of, but are not the journals of."""
    told: set[str] = set()
    for files in journals:
        for line in whole_lines(files):
            if NAMING.search(line.data):
                fact = _read(line.data)
                told |= {fact.server_id} if isinstance(fact, NodeEndorsed) else set()
                told |= {fact.previous or ""} if isinstance(fact, LeaseTaken) else set()
    return told - {_owner(files) for files in journals} - {""}


def _read(line: bytes) -> Event | None:
    try:
        return parse(line).event
    except (BrokenLine, *UNREADABLE):
        return None


def _event(line: Line, record: Record) -> Any:
    try:
        return record.event
    except UNREADABLE as error:
        raise broken_at(line, record, f"cannot be read: {error}") from None


def _end_of(line: bytes) -> tuple[int, str]:
    try:
        record = parse(line)
    except BrokenLine:
        return -1, "of a broken line"
    return record.envelope.position, record.hash


def _hash(line: bytes | None) -> str:
    if line is None:
        return "none"
    try:
        return parse(line).hash
    except BrokenLine:
        return "a broken line"


__all__ = ["RestoreRefused", "Restored", "restore", "whole_lines"]
