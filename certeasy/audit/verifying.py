"""What an auditor gives, and the verification of all of it together.

With a database, the journal of the configured node is proven first-hand; lines of nodes whose
journals are not at hand are taken from the database and verified like any other.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from certeasy.audit.database import Database, DatabaseWitness, Standing
from certeasy.audit.replay import Replay
from certeasy.audit.sources import Source, SqliteSource
from certeasy.audit.versions import DiskVersions
from certeasy.audit.workdir import Workdir, look
from events.counting import counted
from events.envelope import BrokenLine, Record, parse
from events.signing import PublicKey
from journal.breaks import JournalBroken, Line
from journal.file import last_line
from journal.heads import Head
from journal.lines import NoJournal, read_journal, segments
from journal.verify import Summary
from journal.verify import verify as verify_journals

CATCH_UP = (
    5.0  # seconds that a running server has for writing to its journal what is in the database
)
_LOOK = 0.05
UNREADABLE = "?"

Progress = Callable[[Line, int], None]


def distinct(journals: Iterable[list[Path]]) -> list[list[Path]]:
    """Return journals without those that are the same files as an earlier one, however named."""
    by_place: dict[tuple[Path, ...], list[Path]] = {}
    for files in journals:
        by_place.setdefault(tuple(file.resolve() for file in files), files)
    return list(by_place.values())


class Given:
    """Journals, each a list of files; keys and heads; perhaps a node with its database."""

    def __init__(self, journals: Sequence[list[Path]] = ()) -> None:
        self.journals = distinct(journals)
        self.keys: Mapping[str, PublicKey] = {}
        self.trusted: Collection[str] = ()
        self.anchor = ""
        self.pinned: Sequence[Head] = ()
        self.partial = False
        self.database: Source | None = None
        self.workdir = Workdir()

    @property
    def anchored(self) -> bool:
        """Whether the log's beginning was held against a key given by hand."""
        return bool(self.keys or self.anchor)

    def add_node(self, workdir: Path, journal: Path, database: Path | Source) -> None:
        """Add a configured node: its journal, first of all, and its database.

        What the workdir knows of its node is held against both. Raises NoJournal where there is
        neither, JournalBroken where the journal alone is gone, or the workdir's key is none.
        """
        source = SqliteSource(database) if isinstance(database, Path) else database
        try:
            files = segments(journal)
        except NoJournal:
            if not source.exists():
                raise NoJournal(
                    f"there is no journal at {journal}, nor a database: no server has run with this"
                    " configuration yet ('certeasy serve -f config.yml' begins a log), or it is"
                    " not the one that is meant"
                ) from None
            raise JournalBroken(
                f"there is no journal, but there is a database, {source.name}: put the journal"
                " back; if it is lost and you know why, 'certeasy journal refill -f config.yml"
                " --reason WHY' writes it again",
                file=str(journal),
            ) from None
        self.journals = distinct([files, *self.journals])
        self.database = source
        self.workdir = look(workdir)

    def size(self) -> int:
        """Return the journals' bytes."""
        return sum(file.stat().st_size for files in self.journals for file in files)


def verify(
    given: Given, *, progress: Progress | None = None, watch: Replay | None = None
) -> Summary:
    """Return what was proven; raises JournalBroken at the first place that is not so.

    Raises NoDatabase where the configured database is none, OSError where a file cannot be read.
    """
    with ExitStack() as stack:
        versions = DiskVersions()
        stack.callback(versions.close)
        if given.database is None:
            sources: list[Iterable[Line]] = [read_journal(files) for files in given.journals]
            return _verify(given, sources, versions, watch, progress)
        database = Database(given.database)
        stack.callback(database.close)
        database.check_objects()
        standing = database.standing()
        if standing.served:
            _wait(given.journals, standing)
        owners = _owners(given, standing)
        sources = [read_journal(files, live=standing.served) for files in given.journals]
        for server_id, seq in standing.ends.items():
            if server_id not in owners:
                sources.append(database.lines_of(server_id, seq))
        witness = DatabaseWitness(database, standing, given.workdir)
        both = witness if watch is None else _Both(witness, watch)
        summary = _verify(given, sources, versions, both, progress)
        witness.finish(summary, owners)
        _check_own_key(given, summary, next(iter(owners)))
        return summary


def _check_own_key(given: Given, summary: Summary, server_id: str) -> None:
    """Raise JournalBroken where the node's lines are signed with another key than its workdir's.

    Whoever writes a log anew needs a key, and has to put it in the place of this one as well.
    """
    own = given.workdir
    node = next((node for node in summary.nodes if node.server_id == server_id), None)
    if node is not None and own.kid and node.kid not in (own.kid, own.next_kid):
        raise JournalBroken(
            f"signed with key {node.kid}, but the key of this workdir ({own.key_file}) is"
            f" {own.kid}: the log was written anew with another key, or is another node's",
            file=str(given.journals[0][0]),
            line=1,
        )


def _verify(
    given: Given,
    sources: Sequence[Iterable[Line]],
    versions: DiskVersions,
    witness: "DatabaseWitness | Replay | _Both | None",
    progress: Progress | None,
) -> Summary:
    return verify_journals(
        sources,
        given.keys,
        trusted=given.trusted,
        anchor=given.anchor,
        pinned=given.pinned,
        partial=given.partial,
        versions=versions,
        witness=witness,
        progress=progress,
    )


class _Both:
    """A database that is held against the log, and a fold that watches."""

    def __init__(self, database: DatabaseWitness, watch: Replay) -> None:
        self._database = database
        self._watch = watch

    def see(self, line: Line, record: Record) -> None:
        self._database.see(line, record)
        self._watch.see(line, record)

    def orphaned(self, line: Line, record: Record) -> None:
        self._database.orphaned(line, record)

    def missing(self, position: int) -> str:
        return self._database.missing(position)


def _owners(given: Given, standing: Standing) -> dict[str, str]:
    """Return the node that each journal is of, with the journal's last file."""
    owners: dict[str, str] = {}
    for number, files in enumerate(given.journals):
        name = str(files[-1])
        server_id = _first_server_id(files)
        configured = given.workdir.server_id if number == 0 else ""
        if configured and server_id not in ("", UNREADABLE, configured):
            raise JournalBroken(
                f"the journal is of node {server_id}, this workdir is of node {configured}",
                file=str(files[0]),
                line=1,
            )
        owner = server_id or configured
        if not owner and standing.position:
            raise JournalBroken(
                f"the journal is empty, the database has {counted(standing.position, 'line')}",
                file=name,
            )
        owners[owner] = name
    return owners


def _first_server_id(files: Iterable[Path]) -> str:
    """Return the node of a journal's first line; an empty text where there is none to be read."""
    try:
        first = next(read_journal(files), None)
        return parse(first.data).envelope.server_id if first else ""
    except (JournalBroken, BrokenLine):
        return UNREADABLE  # which verification will name


def _wait(journals: Sequence[list[Path]], standing: Standing) -> None:
    """Give a running server the moment between its commit and its journal's sync."""
    deadline = time.monotonic() + CATCH_UP
    for files in journals:
        while _is_behind(files, standing) and time.monotonic() < deadline:
            time.sleep(_LOOK)


def _is_behind(files: Sequence[Path], standing: Standing) -> bool:
    line = last_line(files)
    if line is None:
        return True
    try:
        envelope = parse(line.data).envelope
    except BrokenLine:
        return False
    return envelope.seq < standing.ends.get(envelope.server_id, 0)
