"""Who, when and why: the events about an order, a serial, a name, an account, a key for external
account bindings, or the license.

From journals in two readings: the first finds the orders and accounts that are meant, the second
shows their lines. From a database by its look-up columns. Neither proves anything: that is `audit
verify`.
"""

from collections.abc import Callable, Iterable

import msgspec

from certeasy.audit.columns import LINES, SUBJECT_KEYS, Columns, Row
from certeasy.audit.database import Database
from certeasy.audit.stories import story
from events.accounts import AccountCreated
from events.certificates import CertificateIssued, CertificateMismatched, CertificateTwinFound
from events.envelope import BrokenLine, Record, parse
from events.orders import OrderCreated
from events.recovery import AccountRecovered
from events.registry import Event, NewerSchema, UndecodableEvent, UnknownEvent
from events.retention import RetentionApplied
from events.sealing import Sealed, Subject, Unreadable
from journal.breaks import JournalBroken, Line

ORDER, SERIAL, NAME, ACCOUNT, EAB = "order", "serial", "name", "account", "eab"
LICENSE = "license"
"""There is one in an installation: its kind is its stream, and no value is needed."""
KINDS = (ORDER, SERIAL, NAME, ACCOUNT, EAB, LICENSE)
_LOOKED_UP = (SERIAL, NAME, ACCOUNT)  # by a table, whose rows may have left it
_ITSELF = (ACCOUNT, EAB)  # what has a stream of its own
_ISSUED, _CAMPAIGN, _RETENTION = "certificate/", "renewal/", "retention"
_REFUSALS, _BEHIND_REFUSALS, _LIMITS = "refusals/", "refusals0", "limits/"
_TELLING = (
    "order.created",
    "certificate.issued",
    "certificate.mismatched",
    "certificate.twin-found",
    "account.created",
    "account.recovered",
)
UNREADABLE = (UnknownEvent, NewerSchema, UndecodableEvent)

Open = Callable[[Sealed], str | None]


class Who(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who did it. `clear` is what was sealed about them (JSON), if its key is at hand."""

    kind: str
    id: str = ""
    sealed: bool = False
    clear: str | None = None


class Entry(msgspec.Struct, frozen=True):
    """One event as it is shown; `at` is RFC 3339 in UTC."""

    position: int
    at: str
    server_id: str
    seq: int
    stream: str
    type: str
    actor: Who
    what: str


def keep_sealed(sealed: Sealed) -> str | None:
    """Open nothing: the keys are in the database."""
    del sealed
    return None


def wanted(kind: str, value: str) -> str:
    """Return a value as the log spells it; raises ValueError for a serial that is no number."""
    value = value.strip().lower()
    if kind == SERIAL:
        digits = f"{int(value.replace(':', ''), 16):x}"
        return digits.zfill(len(digits) + len(digits) % 2)
    return value.rstrip(".")


def from_journals(read: Callable[[], Iterable[Line]], kind: str, value: str) -> list[Record]:
    """Return the records about something, by position; each call of `read` reads all journals.

    Raises JournalBroken at a line that cannot be read, ValueError as `wanted` does.
    """
    value = wanted(kind, value)
    if kind == LICENSE:
        every = (_parsed(line) for line in read() if _stream_of(line.data) == LICENSE)
        return sorted(_naming(every, value), key=lambda record: record.envelope.position)
    telling = (_parsed(line) for line in read() if value.encode() in line.data)
    streams = _streams(kind, value, telling)
    meant = [stream.partition("/")[2].encode() for stream in streams if stream.startswith(_ISSUED)]
    refused = _quoted(value) if kind == NAME else b""
    found = [_parsed(line) for line in read() if _is_shown(line.data, streams, meant, refused)]
    return sorted(found, key=lambda record: record.envelope.position)


def _naming(records: Iterable[Record], value: str) -> list[Record]:
    """Return those of the license's records that have a word in them; "": all."""
    return [record for record in records if value.encode() in bytes(record.envelope.data)]


def _is_shown(line: bytes, streams: set[str], certificates: list[bytes], refused: bytes) -> bool:
    """Whether a line is in one of the streams, or of a campaign for one of the certificates, or
    tells that one of them left the tables, or that a name was refused to somebody."""
    stream = _stream_of(line)
    if stream in streams:
        return True
    if refused and stream.startswith(_REFUSALS):
        return refused in line
    names_some = stream.startswith(_CAMPAIGN) or stream == _RETENTION
    return names_some and any(_quoted(each.decode()) in line for each in certificates)


def _quoted(word: str) -> bytes:
    """Return a word as a line has it: names and ids have nothing that JSON would escape."""
    return b'"%b"' % word.encode()


def _own(kind: str, value: str) -> set[str]:
    """Return the streams that are about this alone: of an account also what it was refused, and
    that its limits were reset."""
    if kind == ACCOUNT:
        return {f"{each}{value}" for each in ("account/", _REFUSALS, _LIMITS)}
    return {f"{kind}/{value}"} if kind in _ITSELF else set()


def _stream_of(line: bytes) -> str:
    """Return a line's stream without reading the rest: nothing before it holds such text."""
    return line.partition(b'"stream":"')[2].partition(b'"')[0].decode(errors="replace")


def _streams(kind: str, value: str, records: Iterable[Record]) -> set[str]:
    """Return the streams that are about something, from records that may tell."""
    if kind == ORDER:
        return _streams_of(value)
    streams = _own(kind, value)
    for record in records:
        if record.envelope.type not in _TELLING:
            continue
        fact = _fact(record)
        if isinstance(fact, AccountCreated | AccountRecovered):
            bound = kind == EAB and fact.eab == value
            streams |= {f"account/{fact.account_id}"} if bound else set()
        elif fact is not None and _is_about(fact, kind, value):
            streams |= _streams_of(record.envelope.stream.partition("/")[2])
    return streams


def _streams_of(order_id: str) -> set[str]:
    return {f"order/{order_id}", f"certificate/{order_id}"}


def _is_about(fact: Event, kind: str, value: str) -> bool:
    if isinstance(fact, CertificateIssued | CertificateMismatched | CertificateTwinFound):
        return kind == SERIAL and fact.serial == value
    if isinstance(fact, OrderCreated):
        if kind == ACCOUNT:
            return fact.account_id == value
        return kind == NAME and any(name.value == value for name in fact.identifiers)
    return False


def from_database(database: Database, kind: str, value: str) -> list[Record]:
    """Return the records about something, by position.

    Raises JournalBroken where the file is damaged, ValueError as `wanted` does.
    """
    value = wanted(kind, value)
    if kind == LICENSE:
        rows = database.typed(LINES, _LINES, (LICENSE,))
        every = [_parsed(Line(database.name, 0, 0, line), at) for at, line in sorted(rows)]
        return _naming(every, value)
    streams = _own(kind, value)
    if kind == EAB:
        streams |= {f"account/{row[0]}" for row in database.typed(*_BOUND, (value,))}
    retained = database.typed(LINES, _LINES, (_RETENTION,))
    orders = {*_orders(database, kind, value), *_left(database, retained, kind, value)}
    for order_id in orders:
        streams |= _streams_of(order_id)
        streams |= {f"{_CAMPAIGN}{row[0]}" for row in database.typed(*_RENEWALS, (order_id,))}
    found = [row for stream in streams for row in database.typed(LINES, _LINES, (stream,))]
    quoted = [_quoted(order_id) for order_id in orders]
    found += [row for row in retained if any(each in row[1] for each in quoted)]
    if kind == NAME:
        refused = database.typed(LINES, _BETWEEN, (_REFUSALS, _BEHIND_REFUSALS))
        found += [row for row in refused if _quoted(value) in row[1]]
    return [_parsed(Line(database.name, 0, 0, line), position) for position, line in sorted(found)]


def _left(database: Database, retained: list[Row], kind: str, value: str) -> set[str]:
    """Return which orders that have left the tables are meant: their own lines are read for it."""
    meant: set[str] = set()
    for position, line in retained if kind in _LOOKED_UP else ():
        fact = _fact(_parsed(Line(database.name, 0, 0, line), position))
        for order_id in fact.orders if isinstance(fact, RetentionApplied) else ():
            streams = _streams_of(order_id)
            rows = [row for each in streams for row in database.typed(LINES, _LINES, (each,))]
            told = (_parsed(Line(database.name, 0, 0, data), at) for at, data in rows)
            if streams & _streams(kind, value, told):
                meant.add(order_id)
    return meant


_LINES = "SELECT position, line FROM events WHERE stream = ?"
_BETWEEN = "SELECT position, line FROM events WHERE stream >= ? AND stream < ?"
_RENEWALS = (
    Columns("renewals", campaign=str),
    "SELECT campaign FROM renewals WHERE certificate_id = ?",
)
_ORDERS = {
    ORDER: (Columns("orders", id=str), "SELECT ?"),
    SERIAL: (
        Columns("certificates", id=str),
        (
            "SELECT id FROM certificates WHERE serial = ?1"
            " UNION SELECT order_id FROM revocations WHERE serial = ?1"
        ),
    ),
    NAME: (Columns("order_names", order_id=str), "SELECT order_id FROM order_names WHERE name = ?"),
    ACCOUNT: (Columns("orders", id=str), "SELECT id FROM orders WHERE account_id = ?"),
}


_BOUND = (Columns("accounts", id=str), "SELECT id FROM accounts WHERE eab = ?")


def _orders(database: Database, kind: str, value: str) -> list[str]:
    if kind not in _ORDERS:
        return []
    columns, query = _ORDERS[kind]
    return [row[0] for row in database.typed(columns, query, (value,))]


def opener(database: Database) -> Open:
    """Return how sealed data is opened with the subjects' keys that the database has."""

    def open_(sealed: Sealed) -> str | None:
        query = "SELECT key FROM subject_keys WHERE subject = ?"
        rows = database.typed(SUBJECT_KEYS, query, (sealed.subject,))
        if not rows:
            return None
        try:
            return Subject(sealed.subject, rows[0][0]).open(sealed).decode()
        except (Unreadable, ValueError):
            return None

    return open_


def entry(record: Record, open_: Open = keep_sealed) -> Entry:
    """Return a record as it is shown; what this version cannot read is shown by its type."""
    line = record.envelope
    fact = _fact(record)
    what = _told(fact, open_) if fact else f"{line.type} (a newer version wrote it)"
    return Entry(
        line.position,
        line.at,
        line.server_id,
        line.seq,
        line.stream,
        line.type,
        _who(record, open_),
        what,
    )


def _told(fact: Event, open_: Open) -> str:
    """Return what happened, with what is sealed in it."""
    members = (getattr(fact, name, None) for name in ("contact", "address"))
    sealed = [open_(each) or "sealed" for each in members if isinstance(each, Sealed)]
    return ": ".join([story(fact), *sealed])


def _who(record: Record, open_: Open) -> Who:
    try:
        actor = record.actor
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return Who("unreadable")
    clear = open_(actor.sealed) if actor.sealed else None
    return Who(actor.kind, actor.id, actor.sealed is not None, clear)


def _fact(record: Record) -> Event | None:
    try:
        return record.event
    except UNREADABLE:
        return None


def _parsed(line: Line, position: int = 0) -> Record:
    try:
        return parse(line.data)
    except BrokenLine as error:
        raise JournalBroken(
            str(error), file=line.file, line=line.number, position=position
        ) from None
