"""The statements of the committer and of single look-ups, built and compiled once."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.compiler import SQLCompiler

from certeasy.store import schema
from certeasy.store.dialects import POSTGRES, SQLITE, database_seconds, upsert
from journal.trust import TRUST_TYPES
from projections.accounts import ACCOUNTS
from projections.certificates import CERTIFICATES
from projections.seats import SEATS

LEASE_SECONDS = 15.0
HEAD = (
    "position",
    "hash",
    "at",
    "epoch",
    "writer",
    "lease_until",
    "format",
    "installation_id",
    "projections",
)


_ROW = re.compile(r" VALUES (\([?, ]+\))")
MOST_ROWS = 16
"""So many rows are inserted by one step of SQLite; 32,766 values would be its limit."""


class Prepared:
    """A statement compiled once, run on the driver's own cursor.

    SQLAlchemy's way from a statement to the cursor costs several times what a short statement does.
    """

    def __init__(self, statement: sa.ClauseElement, dialect: sa.Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        if not isinstance(compiled, SQLCompiler):
            raise TypeError(f"not a statement with values: {statement}")
        self.sql = str(compiled)
        binds = compiled.binds
        self._fixed = {
            name: value for name, value in compiled.params.items() if not binds[name].required
        }
        self._order = tuple(compiled.positiontup or ()) if compiled.positional else None
        self._names = frozenset(compiled.params)
        self._one_by_one = dialect.name == POSTGRES
        row = _ROW.search(self.sql) if dialect.name == SQLITE and not self._fixed else None
        self._row = row and (self.sql[: row.end()], ", " + row[1], self.sql[row.end() :])

    def values(self, given: Mapping[str, object]) -> Any:
        """Return the driver's parameters for one run."""
        if self._order is None:
            every = {**self._fixed, **given}
            if len(every) == len(self._names):
                return every
            return {name: every[name] for name in self._names}
        if not self._fixed:
            return tuple([given[name] for name in self._order])
        every = {**self._fixed, **given}
        return tuple([every[name] for name in self._order])

    def run(self, cursor: Any, given: Mapping[str, object]) -> Any:
        """Execute once; return the cursor."""
        cursor.execute(self.sql, self.values(given))
        return cursor

    def run_many(self, cursor: Any, rows: Sequence[Mapping[str, object]]) -> None:
        """Execute once per row: with one call of the driver, unless that would hide where it is.

        To SQLite many rows are given as one. Its driver lets go of Python's lock for each step, and
        takes it again: with other threads at work, that takes longer than the step itself.

        psycopg sends many rows as a pipeline. While a server waits for the rest of one, no timeout
        of a transaction counts: a node that is suspended then would hold its locks for ever.
        """
        if self._one_by_one or len(rows) == 1:
            for row in rows:
                cursor.execute(self.sql, self.values(row))
        elif self._row is not None:
            first, more, rest = self._row
            for part in _parts(rows):
                values = [value for row in part for value in self.values(row)]
                cursor.execute(first + more * (len(part) - 1) + rest, values)
        else:
            cursor.executemany(self.sql, [self.values(row) for row in rows])


def _parts(rows: Sequence[Mapping[str, object]]) -> Iterator[Sequence[Mapping[str, object]]]:
    """Yield the rows, as many at once as a power of two: few statements, and each known before."""
    at, size = 0, MOST_ROWS
    while at < len(rows):
        while size > len(rows) - at:
            size //= 2
        yield rows[at : at + size]
        at += size


class Statements:
    """Every statement the committer uses, built and compiled once for one dialect."""

    def __init__(self, dialect: sa.Dialect) -> None:
        def made(statement: sa.ClauseElement) -> Prepared:
            return Prepared(statement, dialect)

        head, servers = schema.log_head, schema.servers
        now = database_seconds(dialect)
        every = [head.c[name] for name in HEAD]
        self.head = made(sa.select(*every, now))
        self.hold = made(sa.update(head).values(id=head.c.id).returning(*every, now))
        self.lock = made(
            sa.update(head)
            .where(head.c.epoch == sa.bindparam("mine"), head.c.writer == sa.bindparam("me"))
            .values(lease_until=now + LEASE_SECONDS)
            .returning(*every, now)
        )
        self.take = made(
            sa.update(head)
            .where(
                head.c.epoch == sa.bindparam("old"),
                sa.or_(
                    head.c.lease_until <= now,
                    head.c.writer == sa.bindparam("me"),
                    head.c.writer == "",
                ),
            )
            .values(
                epoch=head.c.epoch + 1,
                writer=sa.bindparam("me"),
                lease_until=now + LEASE_SECONDS,
            )
            .returning(head.c.epoch)
        )
        self.release = made(
            sa.update(head)
            .where(head.c.epoch == sa.bindparam("mine"), head.c.writer == sa.bindparam("me"))
            .values(lease_until=0.0)
        )
        self.move = made(
            sa.update(head).values(
                position=sa.bindparam("new_position"),
                hash=sa.bindparam("new_hash"),
                at=sa.bindparam("new_at"),
            )
        )
        self.advance = made(
            sa.update(servers)
            .where(
                servers.c.server_id == sa.bindparam("me"),
                servers.c.seq == sa.bindparam("old_seq"),
                servers.c.hash == sa.bindparam("old_hash"),
                servers.c.boot_id == sa.bindparam("boot"),
            )
            .values(seq=sa.bindparam("new_seq"), hash=sa.bindparam("new_hash"))
        )
        self.seen = made(
            sa.update(servers)
            .where(servers.c.server_id == sa.bindparam("me"))
            .values(last_seen=sa.bindparam("at"))
        )
        self.use_key = made(
            sa.update(servers)
            .where(servers.c.server_id == sa.bindparam("me"))
            .values(kid=sa.bindparam("kid"), x=sa.bindparam("x"))
        )
        self.boot = made(
            sa.update(servers)
            .where(servers.c.server_id == sa.bindparam("me"))
            .values(
                boot_id=sa.bindparam("boot"),
                hostname=sa.bindparam("host"),
                fingerprint=sa.bindparam("print"),
                last_seen=sa.bindparam("at_now"),
            )
        )
        # Who may only insert can put rows behind the log's end alone: each place before is taken.
        in_log = schema.events.c.position <= sa.select(head.c.position).scalar_subquery()
        self.version = made(
            sa.select(sa.func.max(schema.events.c.version)).where(
                schema.events.c.stream == sa.bindparam("stream"), in_log
            )
        )
        self.stream = made(
            sa.select(schema.events.c.line)
            .where(schema.events.c.stream == sa.bindparam("stream"), in_log)
            .order_by(schema.events.c.version)
        )
        self.about_nodes = made(
            sa.select(schema.events.c.position, schema.events.c.line).where(
                schema.events.c.stream >= sa.bindparam("low"),
                schema.events.c.stream < sa.bindparam("high"),
                sa.or_(*[schema.events.c.type == kind for kind in sorted(TRUST_TYPES)]),
                in_log,
            )
        )
        self.append = made(sa.insert(schema.events))
        self.orphans = made(sa.insert(schema.orphaned_lines))
        self.nonces = made(sa.insert(schema.used_nonces))
        self.old_nonces = made(
            sa.delete(schema.used_nonces).where(
                schema.used_nonces.c.expires < sa.bindparam("before")
            )
        )
        self.register = made(sa.insert(servers))
        self.hold_at = made(
            sa.update(head)
            .where(
                head.c.position == sa.bindparam("old_position"),
                head.c.hash == sa.bindparam("old_hash"),
            )
            .values(position=head.c.position)
        )
        self.put_back = [made(step) for step in upsert(dialect, servers, ("server_id",))]
        self.end_at = made(
            sa.update(head).values(
                position=sa.bindparam("new_position"),
                hash=sa.bindparam("new_hash"),
                at=sa.bindparam("new_at"),
                epoch=sa.bindparam("new_epoch"),
                writer=sa.bindparam("new_writer"),
                lease_until=0.0,
                installation_id=sa.bindparam("new_installation"),
            )
        )
        self.projections = made(sa.update(head).values(projections=sa.bindparam("version")))
        self.secret = made(sa.insert(schema.secrets))
        self.drop_secret = made(sa.delete(schema.secrets).where(_equal(schema.secrets.c.name)))
        self.keys = made(sa.insert(schema.subject_keys))
        self.erase = made(
            sa.delete(schema.subject_keys).where(_equal(schema.subject_keys.c.subject))
        )
        self.account = made(
            sa.select(schema.projected[ACCOUNTS].c.id).where(
                schema.projected[ACCOUNTS].c.thumbprint == sa.bindparam("thumbprint")
            )
        )
        seats = schema.projected[SEATS]
        self.seats = made(
            sa.select(sa.func.count())
            .select_from(seats)
            .where(seats.c.until > sa.bindparam("value"))
        )
        self.upserts = {
            table: [made(step) for step in upsert(dialect, columns, table.key)]
            for table, columns in schema.projected.items()
        }
        self.deletes = {
            table: made(
                sa.delete(columns).where(
                    *[columns.c[name] == sa.bindparam(f"k_{name}") for name in table.key]
                )
            )
            for table, columns in schema.projected.items()
        }
        self.rows = {
            table: made(
                sa.select(*columns.c).where(
                    *[columns.c[name] == sa.bindparam(name) for name in table.key]
                )
            )
            for table, columns in schema.projected.items()
        }
        accounts, certificates = schema.projected[ACCOUNTS], schema.projected[CERTIFICATES]
        self.by_thumbprint = made(sa.select(*accounts.c).where(_equal(accounts.c.thumbprint)))
        self.by_serial = made(sa.select(*certificates.c).where(_equal(certificates.c.serial)))
        self.by_sha256 = made(sa.select(*certificates.c).where(_equal(certificates.c.sha256)))
        self.subject_key = made(
            sa.select(schema.subject_keys.c.key).where(_equal(schema.subject_keys.c.subject))
        )
        self.integrity_error: type[Exception] = dialect.loaded_dbapi.IntegrityError


def _equal(column: sa.Column[Any]) -> sa.ColumnElement[bool]:
    return column == sa.bindparam("value")
