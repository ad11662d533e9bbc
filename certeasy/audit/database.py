"""The server's SQLite file held against its nodes' journals, byte for byte, without writing to it.

The journal is the proof and the database is what is checked: by the time a row is compared, the
journal's line has been verified. The server may be running. A line is in the database before it is
in the journal, so every line of the journal must have its row; and every row that was there when
the check began must have its line (`Standing`, taken first).

Every value's kind is looked at before it is relied on (`columns`), and nothing may stand in the
file but the server's own tables (`objects`).
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import msgspec

from certeasy.audit.columns import EVENTS, HEAD, LINES, SERVERS, Columns, Row
from certeasy.audit.nodes import Kept, Nodes
from certeasy.audit.sources import QueryFailed, Source, SqliteSource
from certeasy.audit.workdir import Workdir
from events.counting import counted
from events.envelope import Record
from journal.breaks import JournalBroken, Line, broken_at
from journal.verify import Summary

PAGE = 200
WITH_ORPHANS = 2  # the format from which on there is a table of orphaned lines
_COLUMNS = EVENTS.names[:7]
_NOWHERE = Workdir()
_HEAD = (
    "SELECT h.position, h.hash, h.at, h.installation_id,"
    " CASE WHEN h.lease_until > $clock THEN 1 ELSE 0 END, e.hash, e.at,"
    " (SELECT max(position) FROM events)"
    " FROM log_head h LEFT JOIN events e ON e.position = h.position WHERE h.id = 1"
)


class Standing(msgspec.Struct, frozen=True):
    """The end of the log when the check began; `served` tells whether a server was at work.

    `trouble` tells where the tables contradicted each other: `log_head` and `servers` must name the
    last row of `events`, and the last one of each node. Only the rows' own check can say which is
    wrong, so it is reported after that.
    """

    position: int
    installation_id: str
    served: bool
    servers: tuple[Kept, ...]
    trouble: str = ""

    @property
    def ends(self) -> dict[str, int]:
        """Each node's last seq."""
        return {row.server_id: row.seq for row in self.servers}


class ServerRow(msgspec.Struct, frozen=True):
    """A node as the database keeps it; times are RFC 3339 in UTC.

    `kid` is its key's fingerprint (RFC 7638), `retired` the time at which another node told that it
    is gone, empty before.
    """

    server_id: str
    hostname: str
    kid: str
    x: str
    first_seen: str
    last_seen: str
    seq: int
    endorsed: bool = False
    retired: str = ""


class Database:
    """A server's database, opened for reading only."""

    def __init__(self, source: Path | Source) -> None:
        """Open it, a SQLite file by its path; raises NoDatabase where it is none of ours."""
        self.source = SqliteSource(source) if isinstance(source, Path) else source
        self.name = self.source.name
        self._asked = self.source.open()

    def close(self) -> None:
        """Close it."""
        self._asked.close()

    def all(self, query: str, values: Collection[object] = ()) -> list[Row]:
        """Return the rows of a SELECT; raises JournalBroken where the database is damaged."""
        try:
            return self._asked.all(query, values)
        except QueryFailed as error:
            raise JournalBroken(f"the database cannot be read: {error}", file=self.name) from None

    def typed(self, columns: Columns, query: str, values: Collection[object] = ()) -> list[Row]:
        """Return rows whose columns are of their kinds; raises JournalBroken where one is not."""
        rows = self.all(query, values)
        for row in rows:
            self._check_kinds(columns, row)
        return rows

    def _check_kinds(self, columns: Columns, row: Row, behind: int = 0) -> None:
        """Raise JournalBroken, with the row's position or that behind the last one's."""
        if fault := columns.fault(row):
            position = row[0] if isinstance(row[0], int) else behind + 1
            in_log = columns.table == EVENTS.table
            raise JournalBroken(fault, file=self.name, position=position if in_log else 0)

    def servers(self) -> list[ServerRow]:
        """Return the nodes, the one seen last first."""
        rows = self.typed(
            SERVERS,
            "SELECT s.server_id, s.hostname, s.kid, s.x, s.first_seen, s.last_seen, s.seq, s.hash,"
            " s.boot_id, s.fingerprint, n.endorsed, n.retired"
            " FROM servers s LEFT JOIN nodes n ON n.server_id = s.server_id"
            " ORDER BY s.last_seen DESC, s.server_id",
        )
        return [ServerRow(*(*row[:7], row[10] == 1, str(row[11] or ""))) for row in rows]

    def check_objects(self) -> None:
        """Raise JournalBroken where the file has a table, a trigger, ... that is not ours."""
        try:
            strange = self._asked.strange()
        except QueryFailed as error:
            raise JournalBroken(f"the database cannot be read: {error}", file=self.name) from None
        if strange:
            raise JournalBroken(strange, file=self.name)

    def standing(self) -> Standing:
        """Return where the log ends now; raises JournalBroken where there is no head."""
        rows = self.typed(HEAD, _HEAD.replace("$clock", self.source.clock))
        if not rows:
            raise JournalBroken("log_head has no row", file=self.name)
        position, hash_, at, installation_id, served, row_hash, row_at, last = rows[0]
        trouble = ""
        if position != (last or 0):
            trouble = f"log_head is at position {position}, but events ends at position {last or 0}"
        elif position and (hash_, at) != (row_hash, row_at):
            trouble = (
                f"log_head has hash {hash_} and time {at}, but the row in events at position"
                f" {position} has {row_hash} and {row_at}"
            )
        servers, others = self._ends()
        return Standing(position, installation_id, bool(served), servers, trouble or others)

    def _ends(self) -> tuple[tuple[Kept, ...], str]:
        servers, trouble = [], ""
        for row in self.typed(
            SERVERS,
            "SELECT s.server_id, s.hostname, s.kid, s.x, s.first_seen, s.last_seen, s.seq, s.hash,"
            " s.boot_id, s.fingerprint, e.hash,"
            " (SELECT max(seq) FROM events WHERE server_id = s.server_id)"
            " FROM servers s LEFT JOIN events e ON e.server_id = s.server_id AND e.seq = s.seq",
        ):
            server_id, hostname, kid, x, _, _, seq, hash_, boot_id, _, row_hash, last = row
            if seq != (last or 0) or (seq and hash_ != row_hash):
                trouble = (
                    f"servers has node {server_id} at seq {seq}, hash {hash_}, but events ends at"
                    f" its seq {last or 0}, hash {row_hash}"
                )
            servers.append(Kept(server_id, hostname, kid, x, seq, boot_id))
        return tuple(servers), trouble

    def rows(self) -> Iterator[Row]:
        """Yield the rows of `events` by position, in short reads, as they are by then.

        Raises JournalBroken at a row that cannot be read, or has a value of a wrong kind.
        """
        last: int | None = None
        while page := self._page(last):
            for row in page:
                self._check_kinds(EVENTS, row, last or 0)
                last = row[0]
                yield row

    def _page(self, last: int | None, size: int = PAGE) -> list[Row]:
        """Return the next rows; where one of them cannot be read, the next one alone."""
        where, values = ("", (size,)) if last is None else ("WHERE position > ?", (last, size))
        query = (
            "SELECT position, server_id, seq, stream, version, type, at, hash, line"  # noqa: S608 - ours
            f" FROM events {where} ORDER BY position LIMIT ?"
        )
        try:
            return self._asked.all(query, values)
        except QueryFailed as error:
            if size == 1:
                raise self._unreadable(last or 0, error) from None
            return self._page(last, 1)

    def _unreadable(self, last: int, error: QueryFailed) -> JournalBroken:
        reason = f"the row behind position {last} cannot be read: {error}"
        return JournalBroken(reason, file=self.name, position=last + 1)

    def lines_of(self, server_id: str, until: int) -> Iterator[Line]:
        """Yield one node's lines up to a seq, for a node whose journal is not at hand."""
        where = "WHERE server_id = ? AND seq > ? AND seq <= ?"
        tables = ["SELECT position, line, seq, 0 FROM events"]
        if self._keeps_orphans():
            tables.append("SELECT position, line, seq, 1 FROM orphaned_lines")
        query = " UNION ALL ".join(f"{each} {where}" for each in tables) + " ORDER BY seq LIMIT ?"
        after = 0
        while page := self.typed(LINES, query, (server_id, after, until) * len(tables) + (PAGE,)):
            for _position, line, _seq, orphaned in page:
                yield Line(self.name, 0, 0, line, bool(orphaned))
            after = page[-1][2]

    def _keeps_orphans(self) -> bool:
        """Whether there is a table of orphaned lines: databases of the first format have none."""
        rows = self.all("SELECT format FROM log_head")
        return any(isinstance(row[0], int) and row[0] >= WITH_ORPHANS for row in rows)

    def orphans(self) -> int:
        """Return how many orphaned lines are kept."""
        query = "SELECT count(*) FROM orphaned_lines"
        return int(self.all(query)[0][0]) if self._keeps_orphans() else 0

    def orphan(self, server_id: str, seq: int) -> Row:
        """Return an orphaned line as it is kept: position, hash, bytes; empty if it is not."""
        query = "SELECT position, hash, line FROM orphaned_lines WHERE server_id = ? AND seq = ?"
        rows = self.all(query, (server_id, seq)) if self._keeps_orphans() else []
        return tuple(rows[0]) if rows else ()


class DatabaseWitness:
    """Every line of the log against its row in `events`."""

    def __init__(self, database: Database, standing: Standing, own: Workdir = _NOWHERE) -> None:
        """Hold the log against a database that stood so; `own` is the workdir of its node."""
        self._database = database
        self._standing = standing
        self._own = own
        self._nodes = Nodes(standing.servers)
        self._rows = database.rows()
        self._position = 0
        self._orphans = 0

    def see(self, line: Line, record: Record) -> None:
        """Take the next line by position; raises JournalBroken unless its row says the same."""
        position = record.envelope.position
        row = next(self._rows, None)
        if row is None:
            raise self._broken(
                f"{line.file} has an event here, but the database ends at position"
                f" {self._position}: it was rolled back, or is not this journal's",
                position,
            )
        if row[0] != position:
            if row[0] > position:
                raise self._broken("the row is missing from events: it was removed", position)
            raise self._broken("the row in events is in no journal: it was inserted", row[0])
        if row[8] != record.line:
            raise self._broken(f"the row in events is not the line {_place(line)}", position)
        self._check_columns(row, record, position)
        self._nodes.see(record)
        self._position = position

    def orphaned(self, line: Line, record: Record) -> None:
        """Take an orphaned line; raises JournalBroken unless the database keeps it as such."""
        envelope = record.envelope
        kept = self._database.orphan(envelope.server_id, envelope.seq)
        if kept != (envelope.position, record.hash, record.line):
            raise broken_at(line, record, "orphaned, but not kept so in orphaned_lines")
        self._orphans += 1

    def _check_columns(self, row: tuple[Any, ...], record: Record, position: int) -> None:
        if row[7] != record.hash:
            raise self._broken(f"column hash is {row[7]}, the line's is {record.hash}", position)
        for name, value in zip(_COLUMNS, row[:7], strict=True):
            told = getattr(record.envelope, name)
            if value != told:
                raise self._broken(f"column {name} is {value!r}, the line says {told!r}", position)

    def missing(self, position: int) -> str:
        """Return what the database knows of a position that no journal has."""
        rows = self._database.all(
            "SELECT server_id, seq FROM events WHERE position = ?", (position,)
        )
        if not rows:
            return "the database does not have it either"
        return f"in the database it is seq {rows[0][1]} of node {rows[0][0]}"

    def finish(self, summary: Summary, journals: dict[str, str]) -> None:
        """Raise JournalBroken where the database had more when the check began, or other keys.

        `journals` tells the file that each node's lines came from.
        """
        for server_id, seq in self._standing.ends.items():
            node = next((node for node in summary.nodes if node.server_id == server_id), None)
            lines = node.lines if node else 0
            if lines < seq:
                raise JournalBroken(
                    f"the journal of node {server_id} ends at seq {lines}, the database has it up"
                    f" to seq {seq}: its end was cut off, or the server was killed and not started"
                    " since",
                    file=journals.get(server_id) or next(iter(journals.values()), "-"),
                    line=0,
                    seq=lines,
                )
        if self._standing.trouble:
            raise JournalBroken(self._standing.trouble, file=self._database.name)
        if self._position < self._standing.position:
            raise self._broken(
                f"the row in events is in no journal: the journals end at position"
                f" {self._position}",
                self._position + 1,
            )
        self._check_orphans()
        self._check_keys(summary)

    def _check_orphans(self) -> None:
        kept = self._database.orphans()
        if kept != self._orphans:
            raise JournalBroken(
                f"orphaned_lines has {counted(kept, 'line')}, the journals have {self._orphans}",
                file=self._database.name,
            )

    def _check_keys(self, summary: Summary) -> None:
        for node in summary.nodes:
            kid = self._nodes.kid(node.server_id)
            told = self._nodes.told_kid(node.server_id) or node.kid
            if kid != told:
                raise JournalBroken(
                    f"servers has key {kid} for node {node.server_id}, which signs with {told}",
                    file=self._database.name,
                )
        if fault := self._nodes.fault(self._own.server_id, self._own.boots):
            raise JournalBroken(fault, file=self._database.name)
        if summary.installation_id not in ("", self._standing.installation_id):
            raise JournalBroken(
                f"the database is of installation {self._standing.installation_id}, the journals"
                f" of {summary.installation_id}",
                file=self._database.name,
            )

    def _broken(self, reason: str, position: int) -> JournalBroken:
        return JournalBroken(reason, file=self._database.name, position=position)


def _place(line: Line) -> str:
    return f"{line.file}:{line.number}" if line.number else "of this position"
