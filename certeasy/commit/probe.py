"""The probe: before a node goes into service, its journal and the database must tell one story.

With j the journal's last seq and d the database's for this node, the cases are DESIGN's boot table,
row by row. `check` only looks, and refuses what must not run, naming both sides; what a crash can
have left behind, and what hides nothing by being mended, is left to `heal`.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from certeasy.commit import segments
from certeasy.commit.batch import LINES
from certeasy.commit.chain import BrokenChain, after
from certeasy.commit.committer import Standing
from certeasy.commit.keys import NodeKeys
from certeasy.commit.rotation import finish
from certeasy.commit.segments import Closed
from certeasy.log import logger
from certeasy.store import Head, Server, Store
from events.counting import counted
from events.envelope import MAX_LINE, ZERO_HASH, BrokenLine, Record, parse
from events.nodes import InstallationCreated, NodeRegistered
from events.registry import NewerSchema, UndecodableEvent, UnknownEvent
from events.signing import BadSignature, SigningKey
from journal.file import Journal, Tail, read_tail
from journal.segments import closed_segments

PAGE = 1000
REFILL = "certeasy journal refill -f config.yml --reason WHY"
REFILL_CLOSED = "certeasy journal refill --closed -f config.yml --reason WHY"
log = logger("probe")


class ProbeRefused(Exception):
    """Journal and database do not tell the same story; the message names both and the remedy."""


class Found(msgspec.Struct, frozen=True):
    """What the probe looked at: the node, the end of the log, and the node's row, if it has one.

    `keys` are those that the node had, `key` the one it has.
    """

    server_id: str
    key: SigningKey
    keys: NodeKeys
    boots: tuple[str, ...]
    head: Head
    server: Server | None


class Mending(msgspec.Struct, frozen=True):
    """What brings the journal level: its active file's whole lines end at `end`, and its last line
    has `seq` and `hash`. `closed` are the segments before that file.

    `accepted` is the time of the log that an administrator let stand before a clock behind it, or
    empty."""

    end: int
    seq: int
    hash: str
    closed: Closed
    accepted: str


class Story(msgspec.Struct, frozen=True):
    """The journal's last lines: what was written whole, and what stands behind the first break."""

    told: list[Record]
    beyond: list[Record]
    end: int
    size: int


def check(
    found: Found, store: Store, path: Path, *, most: int = LINES, reconciling: bool = False
) -> Mending:
    """Refuse what must not run, before a byte is touched; return what `heal` has to do.

    At most `most` lines may be missing. Above `LINES`, which a crash can lose, an active file that
    is gone or cut short is let through, to be refilled. Raises ProbeRefused, or SegmentRefused for
    what is wrong with a closed segment.
    """
    _check_head(found, store)
    check_registration(found)
    tail = read_tail(path) if path.exists() else Tail([], 0, 0)
    _check_owner(found, tail, path)
    story = _story(tail, found.keys)
    files = closed_segments(path)
    last, where = (story.told + story.beyond)[-1:], path
    if files and not last:
        last, where = _last_of(files[-1]), files[-1]
        segments.check_owner(where, last, found.server_id)
    if last:
        server = _check_known(found, last[0], [*files, path][0])
        _check_not_ahead(found, server, story.told + story.beyond or last, where)
    if not reconciling:
        _check_reconciled(found, store, path)
    closed = _check_closed(found, store, path, most)
    if story.told or story.beyond:
        _check_same(found, store, story, path)
    elif tail.size and (
        tail.start or found.server is None or found.server.seq > closed.end[0] + LINES
    ):
        raise ProbeRefused(
            f"{path} holds {tail.size} bytes and, in its last ones, no line of node"
            f" {found.server_id}; it is kept as it is. 'certeasy audit verify -f config.yml' looks"
            " at all of it; if it is worthless, move it away and run 'certeasy journal refill -f"
            " config.yml --reason WHY'"
        )
    return _check_missing(found, store, story, closed, path, most=most)


def heal(found: Found, mending: Mending, store: Store, journal: Journal) -> Standing:
    """Bring the open journal level with the database: cut what is torn, append what is missing.

    An active file that ends with the line that closes it gets its final name.
    """
    size = journal.confirmed
    journal.first = mending.closed.end[0] + 1
    segments.warn(mending.closed)
    segments.seal(mending.closed, journal.disk)
    if mending.end < size:
        journal.cut(mending.end)
        torn = size - mending.end
        log.warning("the journal's last %d bytes were no whole signed lines; they were cut", torn)
    if found.server is None:
        return Standing(0, ZERO_HASH, at=found.head.at)
    missing = found.server.seq - mending.seq
    for page in _pages(store.lines_of(found.server_id, mending.seq)):
        journal.append(page)
    if missing:
        lines = counted(missing, "line; it was", "lines; they were")
        log.warning("the journal lacked its last %s written again", lines)
    last = _last_of(journal.path)
    if last:
        finish(journal, last[0])
    first = segments.first_record(journal.path)
    return Standing(
        found.server.seq,
        found.server.hash,
        mending.accepted,
        began="" if first is None else first.envelope.at,
        mended=missing,
        at=found.head.at,
    )


def _last_of(file: Path) -> list[Record]:
    """Return a file's last whole line, if it has one that can be read."""
    lines = read_tail(file, MAX_LINE + 2).lines
    record = _parsed(lines[-1][1]) if lines else None
    return [] if record is None else [record]


def _pages(lines: Iterator[bytes]) -> Iterator[list[bytes]]:
    page: list[bytes] = []
    for line in lines:
        page.append(line)
        if len(page) == PAGE:
            yield page
            page = []
    if page:
        yield page


def _accepted_clock(store: Store) -> str:
    nodes = [f"node/{server.server_id}" for server in store.servers()]
    line = store.last_of_type("clock.set-back", nodes)
    try:
        return "" if line is None else parse(line).envelope.at
    except BrokenLine as error:
        raise ProbeRefused(
            f"the last clock.set-back in the database is no line of a log: {error}. Rows were"
            " changed: restore the database from a backup; 'certeasy audit verify -f config.yml'"
            " names all differences"
        ) from None


# -- the database alone --------------------------------------------------------------------------


def _check_head(found: Found, store: Store) -> None:
    """The end that the next line will be chained to must be the end of what is stored."""
    line = store.last_line()
    ends = (0, ZERO_HASH) if line is None else _place(line)
    if ends != (found.head.position, found.head.hash):
        raise ProbeRefused(
            f"the database's log ends at position {ends[0]} with hash {ends[1]}, but its head says"
            f" {found.head.position} and {found.head.hash}: rows were changed or lost. Restore the"
            " database from a backup; 'certeasy audit verify -f config.yml' names all differences"
        )


def _place(line: bytes) -> tuple[int, str]:
    try:
        record = parse(line)
    except BrokenLine:
        return -1, "of a broken line"
    return record.envelope.position, record.hash


def check_registration(found: Found) -> None:
    """Refuse another key than this node's, and a workdir that is not the one that ran last."""
    server = found.server
    if server is None:
        return
    if server.kid != found.key.public.kid:
        raise ProbeRefused(
            f"the signing key in this workdir has kid {found.key.public.kid}, but node"
            f" {found.server_id} is known with kid {server.kid}: put the node's own key back (if it"
            " was rotated since, the database is older than that: restore a newer backup), or start"
            " a new node in a workdir of its own"
        )
    if server.boot_id and server.boot_id not in found.boots:
        raise ProbeRefused(
            f"node {found.server_id} was last started as {server.boot_id} on {server.hostname},"
            " which this workdir's boot_ids does not have: this is a copy, and the other one has"
            " run since, or that file was lost. Put it back if so; else give this node a workdir"
            " of its own"
        )


# -- the journal ---------------------------------------------------------------------------------


def _check_closed(found: Found, store: Store, path: Path, most: int) -> Closed:
    """The closed segments are those that the log tells of; none is lost, and no active file is."""
    closed = segments.look(store, found.server_id, path)
    seq = found.server.seq if found.server is not None else 0
    if not path.exists() and not closed.there and seq > 0 and (most <= LINES or closed.lost):
        again = REFILL_CLOSED if closed.lost else REFILL
        raise ProbeRefused(
            f"the journal {path} is gone, the database has {counted(seq, 'line')} of node"
            f" {found.server_id}."
            f" If you know why, run '{again}', which writes it again"
        )
    if closed.lost:
        raise ProbeRefused(
            f"beside {path} is missing what was closed as {segments.named(closed.lost)} (seq"
            f" {closed.lost[0].first} to {closed.lost[-1].last}): put it back from where it went."
            " If it is lost and you know why, 'certeasy journal refill --closed -f config.yml"
            " --reason WHY' writes it again from the database"
        )
    if not path.exists() and seq > closed.end[0] and most <= LINES:
        raise ProbeRefused(
            f"the journal's active file {path} is gone, the database has lines of node"
            f" {found.server_id} from seq {closed.end[0] + 1} to {seq} that stood in it. If you"
            " know why, run 'certeasy journal refill -f config.yml --reason WHY', which writes it"
            " again"
        )
    return closed


def _check_owner(found: Found, tail: Tail, path: Path) -> None:
    """Every line that can be read must name this node and a key of its own."""
    mine = (found.server_id, found.key.public.kid)
    for _, line in reversed(tail.lines):
        record = _parsed(line)
        if record is None:
            continue
        if record.envelope.server_id == found.server_id and record.kid not in found.keys:
            raise ProbeRefused(
                f"{path} has lines signed with {record.kid}, and the log does not tell that node"
                f" {found.server_id} had that key before its present one, {mine[1]}: this is not"
                " its key, or rows were changed ('certeasy audit verify -f config.yml' names them)"
            )
        if record.envelope.server_id != found.server_id:
            raise ProbeRefused(
                f"{path} is the journal of node {record.envelope.server_id}, signed with"
                f" {record.kid}; this workdir is node {mine[0]} with key {mine[1]}: give each node"
                " a workdir of its own"
            )


def _story(tail: Tail, keys: NodeKeys) -> Story:
    """Read the tail up to the first thing that is no line, and what is signed behind it.

    Only the last of the whole lines has its signature looked at: those before it are compared with
    the database, byte for byte.
    """
    records = [_parsed(line) for _, line in tail.lines]
    whole = next((n for n, record in enumerate(records) if record is None), len(records))
    told = [record for record in records[:whole] if record is not None]
    while told and not _is_signed(told[-1], keys):
        told.pop()
    beyond = [r for r in records[len(told) :] if r is not None and _is_signed(r, keys)]
    end = tail.lines[len(told)][0] if len(told) < len(tail.lines) else tail.torn_at
    return Story(told, beyond, end, tail.size)


def _parsed(line: bytes) -> Record | None:
    try:
        return parse(line)
    except BrokenLine:
        return None


def _is_signed(record: Record, keys: NodeKeys) -> bool:
    try:
        keys.check(record)
    except BadSignature:
        return False
    return True


# -- both ----------------------------------------------------------------------------------------


def empty_database(journal: Path, installation: str | None, database: str) -> str:
    """Return what to say of a database without one line, beside a journal that has some."""
    return (
        f"{database} is empty, but the journal {journal} belongs to installation"
        f" {installation or 'unknown'}: check the database settings (a wrong database, most"
        " likely); if the database was lost, 'certeasy journal restore -f config.yml' makes it"
        " again from the journals"
    )


def _check_known(found: Found, last: Record, path: Path) -> Server:
    theirs = installation_of(path)
    ours = found.head.installation_id
    if not found.head.position:
        raise ProbeRefused(empty_database(path, theirs, "the database"))
    if theirs is not None and theirs != ours:
        raise ProbeRefused(
            f"{path} (up to seq {last.envelope.seq}) belongs to installation {theirs}, the"
            f" database is of installation {ours}: check the database settings (a wrong database,"
            " most likely)"
        )
    if found.server is None:
        raise ProbeRefused(
            f"{path} has {counted(last.envelope.seq, 'line')} of node {found.server_id}, which the"
            f" database of installation {ours} does not know: check the database settings (a wrong"
            " database, most likely); if the database was lost, 'certeasy journal restore -f"
            " config.yml' puts the lines back"
        )
    return found.server


def installation_of(path: Path) -> str | None:
    """Return the installation that the journal's first lines name, or None."""
    with path.open("rb") as file:
        first = [file.readline(MAX_LINE + 1).rstrip(b"\n") for _ in range(2)]
    for line in first:
        try:
            fact = parse(line).event if line else None
        except (BrokenLine, UnknownEvent, NewerSchema, UndecodableEvent):
            return None
        if isinstance(fact, InstallationCreated | NodeRegistered):
            return fact.installation_id
    return None


def _check_not_ahead(found: Found, server: Server, records: list[Record], path: Path) -> None:
    last = records[-1]
    if last.envelope.seq <= server.seq:
        return
    lost_at = [r.envelope.position for r in records if r.envelope.seq > server.seq]
    lost = (
        f"{path} ends at seq {last.envelope.seq}, the database has this node's lines only up to seq"
        f" {server.seq}"
    )
    if lost_at[0] > found.head.position:
        raise ProbeRefused(
            f"{lost}: the database lost what was committed (an older one was restored, most"
            " likely). 'certeasy journal restore -f config.yml' puts the lines back"
        )
    raise ProbeRefused(
        f"{lost}, and another node has taken their positions since (the log is at"
        f" {found.head.position}): 'certeasy journal reconcile -f config.yml' keeps both and"
        " records the fork"
    )


def _check_reconciled(found: Found, store: Store, path: Path) -> None:
    """A reconcile that was interrupted has kept the lost lines, and not recorded the fork."""
    if found.server is None:
        return
    last = next(store.lines_of(found.server_id, found.server.seq - 1), None)
    if last is not None and last in set(store.orphans(found.server_id)):
        raise ProbeRefused(
            f"{path} ends, at seq {found.server.seq}, with lines whose positions another node has"
            " taken, and the log has no line about that yet: 'certeasy journal reconcile -f"
            " config.yml' was interrupted; run it again"
        )


def _check_same(found: Found, store: Store, story: Story, path: Path) -> None:
    """Every signed line must be in the database, byte for byte."""
    records = story.told + story.beyond
    at = records[0].envelope.seq - 1
    stored = store.lines_of(found.server_id, at)
    for record in records:
        seq, line = record.envelope.seq, None
        while at < seq:
            at, line = at + 1, next(stored, None)
        if line != record.line:
            raise ProbeRefused(
                f"seq {seq} of node {found.server_id} is not the same in {path} and in the"
                f" database: hash {record.hash} here, {_hash(line, seq)} there. If both are"
                " signed, a copy of this node has run; 'certeasy audit verify -f config.yml' names"
                " all differences"
            )


def _hash(line: bytes | None, seq: int) -> str:
    record = None if line is None else _parsed(line)
    if line is None or (record is not None and record.envelope.seq != seq):
        return "no such line"
    return "of a broken line" if record is None else record.hash


def _check_missing(
    found: Found, store: Store, story: Story, closed: Closed, path: Path, *, most: int
) -> Mending:
    """What the journal lacks must be few enough, and be this node's own chain."""
    seq, hash_ = closed.end
    if story.told:
        seq, hash_ = story.told[-1].envelope.seq, story.told[-1].hash
    mending = Mending(story.end, seq, hash_, closed, _accepted_clock(store))
    if found.server is None:
        return mending
    missing = found.server.seq - seq
    if story.beyond and missing > LINES:
        raise ProbeRefused(
            f"{path} is broken behind seq {seq} (at byte {story.end}), and signed lines follow up"
            f" to seq {story.beyond[-1].envelope.seq}: no crash leaves that. 'certeasy audit"
            " verify -f config.yml' names it; keep the file for the investigation, and run"
            " 'certeasy journal refill -f config.yml --reason WHY' without it"
        )
    if missing > most:
        raise ProbeRefused(
            f"{path} ends at seq {seq}, the database has this node's lines up to seq"
            f" {found.server.seq}: {missing} lines are missing, more than a crash can lose"
            f" ({most}). If you know why, run 'certeasy journal refill -f config.yml --reason"
            " WHY'; if not, somebody cut the journal: keep both for the investigation"
        )
    lines = store.lines_of(found.server_id, seq)
    try:
        ends = after((seq, mending.hash), lines, found.server_id, found.keys)
    except BrokenChain as error:
        raise ProbeRefused(f"{_damaged(found, path, seq)}: {error}") from None
    if ends != (found.server.seq, found.server.hash):
        raise ProbeRefused(
            f"{_damaged(found, path, seq)}: they end at seq {ends[0]} with hash {ends[1]}, the"
            f" node's row says {found.server.seq} and {found.server.hash}"
        )
    return mending


def _damaged(found: Found, path: Path, seq: int) -> str:
    return (
        f"the database's lines of node {found.server_id} do not continue {path}, which ends at seq"
        f" {seq} (rows were changed; 'certeasy audit verify -f config.yml' names them, restore"
        " them from a backup)"
    )
