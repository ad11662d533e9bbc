"""What a server has kept, read without its help: the lines of its journal and its database.

The lines are read with the parser of the auditor's kit, the database with nothing but `sqlite3`, or
`psycopg`.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from certeasy.commit.batch import LINES
from events.accounts import AccountCreated
from events.certificates import CertificateIssued, CertificateRevoked
from events.envelope import BrokenLine, Record, parse
from events.orders import (
    ChallengeAccepted,
    ChallengeValidated,
    IssuanceSubmitted,
    OrderCreated,
    OrderFinalized,
    OrderInvalidated,
    OrderReady,
)
from events.registry import Event
from tools.crashlab.ledger import (
    ACCEPTED,
    ACCOUNT,
    FINALIZED,
    INVALID,
    ISSUED,
    ORDER,
    PROVEN,
    READY,
    REVOKED,
    VALID,
    Fact,
    Known,
)

BUSY_SECONDS = 10.0
TRIES = 5
NEWLINE = b"\n"


class Kept(msgspec.Struct):
    """Journals and database at one moment; `torn` counts bytes behind a journal's last newline."""

    journal: list[bytes]
    torn: int
    database: list[bytes]
    rows: set[Fact]

    @property
    def behind(self) -> int:
        """How many lines the journal lacks."""
        return len(self.database) - len(self.journal)


def read(journals: Sequence[Path], database: Path | str) -> Kept:
    """Read all, the journals first: they are never ahead. Raises OSError, sqlite3.Error,
    psycopg.Error."""
    lines, torn = _lines(journals)
    with closing(_connect(database)) as connection:
        stored = connection.execute("SELECT line FROM events ORDER BY position")
        return Kept(lines, torn, [bytes(line) for (line,) in stored], _rows(connection))


def mended(kept: Kept, server_id: str, promised: frozenset[Fact]) -> Kept:
    """Return what is kept once a node that was killed has started again.

    It writes what was stored behind the end of its journal: one batch at most, and nothing of it
    was `promised` to anybody when it was killed. What is neither is left missing.
    """
    written, lacking = set(kept.journal), list[bytes]()
    for line in kept.database:
        if parse(line).envelope.server_id != server_id:
            continue
        if line in written:
            lacking.clear()  # a hole is not behind the end
        else:
            lacking.append(line)
    if len(lacking) > LINES or promised & set(Story(lacking).facts):
        return kept
    return msgspec.structs.replace(kept, journal=sorted([*kept.journal, *lacking], key=_position))


def lease_until(database: Path | str) -> float:
    """Return until when the writer's place is held; 0: it is free."""
    with closing(_connect(database)) as connection:
        [(until,)] = connection.execute("SELECT lease_until FROM log_head")
        return float(until)


def _lines(journals: Sequence[Path]) -> tuple[list[bytes], int]:
    """Return the lines of several nodes' journals, by position where they can be read."""
    lines: list[bytes] = []
    torn = 0
    for journal in journals:
        if not journal.exists():  # a node that has not run yet
            continue
        whole, newline, rest = journal.read_bytes().rpartition(NEWLINE)
        lines += whole.split(NEWLINE) if newline else []
        torn += len(rest)
    return (sorted(lines, key=_position) if len(journals) > 1 else lines), torn


def _position(line: bytes) -> int:
    try:
        return parse(line).envelope.position
    except BrokenLine:
        return 0


def _connect(database: Path | str) -> Any:
    """Open a database for reading, as it is at this moment."""
    if isinstance(database, Path):
        return _file(database)
    import psycopg  # noqa: PLC0415 - only for PostgreSQL

    connection = psycopg.connect(database)
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    return connection


def _file(database: Path) -> sqlite3.Connection:
    """Open a SQLite file; one that is hard at work may have to be asked more than once."""
    for patience in reversed(range(TRIES)):
        file = sqlite3.connect(
            f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS
        )
        try:
            file.execute("BEGIN")
            file.execute("SELECT count(*) FROM log_head")
        except sqlite3.OperationalError as error:
            file.close()
            if error.sqlite_errorcode != sqlite3.SQLITE_PROTOCOL or not patience:
                raise
        else:
            return file
    raise AssertionError("unreachable")


def _rows(connection: Any) -> set[Fact]:
    """Return what the tables that requests are answered from tell."""
    facts: set[Fact] = {
        (ACCOUNT, name) for (name,) in connection.execute("SELECT id FROM accounts")
    }
    for name, status in connection.execute("SELECT id, status FROM orders"):
        facts.add((ORDER, name))
        facts.add((f"order.{status}", name))
    for name, sha256, revoked in connection.execute("SELECT id, sha256, revoked FROM certificates"):
        facts.add((ISSUED, name, sha256))
        if revoked:
            facts.add((REVOKED, sha256))
    return facts


IN_ROWS = (ACCOUNT, ORDER, VALID, INVALID, ISSUED, REVOKED)
"""The kinds of facts that a row tells as long as it lives."""


class Story:
    """What lines tell: facts, and how often each."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        """Read lines in order of position; what is no line is told by `troubles`."""
        self.facts: Counter[Fact] = Counter()
        self.troubles: list[str] = []
        self._places: Counter[Fact] = Counter()
        self._certificates: dict[str, str] = {}
        for number, line in enumerate(lines, 1):
            try:
                self._take(parse(line), number)
            except BrokenLine as error:
                self.troubles.append(f"line {number}: {error}")

    def _take(self, record: Record, number: int) -> None:
        envelope = record.envelope
        if envelope.position != number:
            self.troubles.append(f"line {number} has position {envelope.position}")
        self._places[("position", str(envelope.position))] += 1
        self._places[("seq", envelope.server_id, str(envelope.seq))] += 1
        self._places[("version", envelope.stream, str(envelope.version))] += 1
        self.facts.update(self._facts(record.event, envelope.stream.rpartition("/")[2]))

    def _facts(self, event: Event, name: str) -> list[Fact]:  # noqa: C901, PLR0911 - a table
        match event:
            case AccountCreated():
                return [(ACCOUNT, event.account_id), ("account.key", event.thumbprint)]
            case OrderCreated():
                return [(ORDER, event.order_id)]
            case ChallengeAccepted():
                return [(ACCEPTED, f"{name}-{event.authorization}-{event.challenge}")]
            case ChallengeValidated():
                return [(PROVEN, f"{name}-{event.authorization}-{event.challenge}")]
            case OrderReady():
                return [(READY, name)]
            case OrderFinalized():
                return [(FINALIZED, name)]
            case OrderInvalidated():
                return [(INVALID, name)]
            case IssuanceSubmitted():
                return [("issuance.submitted", name, str(event.attempt))]
            case CertificateIssued():
                self._certificates[event.order_id] = event.sha256
                issued = (ISSUED, event.order_id, event.sha256)
                return [issued, (VALID, event.order_id), ("certificate.serial", event.serial)]
            case CertificateRevoked():
                return [(REVOKED, self._certificates.get(event.order_id, event.order_id))]
            case _:
                return []

    def twice(self) -> list[str]:
        """Return what may be there once and is there more often."""
        every = [*self.facts.items(), *self._places.items()]
        return [f"{' '.join(fact)} is there {count} times" for fact, count in every if count > 1]


def contradictions(
    known: Known, kept: Kept, *, level: frozenset[Fact] = frozenset(), at_rest: bool = False
) -> list[str]:
    """Return every promise that journal and database break, in words.

    `level`: what was known when the server was last ready, and so must be in the journal too.
    `at_rest`: no change is on its way and nothing has crashed since, so both must be level.
    """
    story, written = Story(kept.database), Story(kept.journal)
    audited = known.all if at_rest else known.promised | level
    return [
        *(f"database: {trouble}" for trouble in [*story.troubles, *story.twice()]),
        *(f"journal: {trouble}" for trouble in [*written.troubles, *written.twice()]),
        *_missing("the database's log", known.all, set(story.facts)),
        *_missing("the journal", audited, set(written.facts)),
        *_missing("the tables", {fact for fact in known.all if fact[0] in IN_ROWS}, kept.rows),
        *_differences(kept, 0 if at_rest else LINES),
        *([f"{kept.torn} bytes of a torn line at rest"] if at_rest and kept.torn else []),
    ]


def _missing(where: str, known: Iterable[Fact], found: set[Fact]) -> list[str]:
    return [
        f"{' '.join(fact)} was acknowledged, and is not in {where}"
        for fact in sorted(set(known) - found)
    ]


def _differences(kept: Kept, most: int) -> list[str]:
    if kept.behind < 0:
        return [f"the journal has {-kept.behind} lines more than the database"]
    if kept.behind > most:
        return [f"the journal lacks {kept.behind} lines, where {most} may be on their way"]
    for number, (ours, theirs) in enumerate(zip(kept.journal, kept.database, strict=False), 1):
        if ours != theirs:
            return [f"line {number} of the journal is not what the database has at this position"]
    return []
