"""The shared database, as the rest of the server sees it.

The log, its projections, and what is durable beside them.
"""

import heapq
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from certeasy.settings import DatabaseSettings
from certeasy.store import counts, inventory, outdated, schema
from certeasy.store.databases import engines, fitness_of
from certeasy.store.deadline import Deadline
from certeasy.store.dialects import (
    POSTGRES,
    begin,
    begin_snapshot,
    end_stuck,
    exclusively,
    unhurried,
)
from certeasy.store.errors import CommitUnknown, DatabaseUnavailable, reported
from certeasy.store.fitness import Fitness
from certeasy.store.migrations import (
    Migration,
    creation_script,
    grants,
    script,
    upgrade_script,
)
from certeasy.store.readers import ask, quietly, readers_of
from certeasy.store.replication import Replication, replication_of
from certeasy.store.rights import Rights, rights_of
from certeasy.store.scrub import Scrubber
from certeasy.store.shadow import Shadow, ordered_rows
from certeasy.store.sqlite import make_file, sqlite_reader, sqlite_writer
from certeasy.store.statements import LEASE_SECONDS, Prepared, Statements
from certeasy.store.transaction import Head, Server, Transaction, as_line
from projections.accounts import ACCOUNTS, Account
from projections.certificates import CERTIFICATES, ISSUERS, Certificate, Issuer
from projections.eab import EAB_KEYS, EabKey
from projections.fold import VERSION
from projections.jobs import JOBS, Job
from projections.orders import ORDER_NAMES, ORDERS, PROCESSING, Order
from projections.renewals import RENEWALS
from projections.revocations import FAILED, RECORDED, REVOCATIONS, WAITING, Revocation
from projections.suspects import SUSPECTS, Suspect
from projections.tables import Key, Table

S = TypeVar("S", bound=msgspec.Struct)
PAGE = 1000
UNAVAILABLE, COMMIT_UNKNOWN = "unavailable", "commit-unknown"
"""The kinds of errors that are counted."""
TRANSACTION_SECONDS = 10.0  # less than the lease: whoever is stuck stops before another begins


class Store:
    """One database. Reading is for every thread; `transaction` is for the committer alone."""

    def __init__(self, writer: sa.Engine, reader: sa.Engine) -> None:
        self.writer = writer
        self.reader = reader
        self._statements = Statements(writer.dialect)
        self._lock = threading.Lock()  # around the one writing connection
        self._readers = readers_of(reader)
        self._writer_connection: sa.Connection | None = None
        name = writer.url.database if writer.dialect.name == "sqlite" else None
        self._file = Path(name) if name else None
        self._scrubber = Scrubber(self._file) if self._file is not None else None
        self._deadline = Deadline(TRANSACTION_SECONDS) if writer.dialect.name == POSTGRES else None
        self.on_error: Callable[[str], None] = lambda _kind: None
        """Told of each error of the database: UNAVAILABLE, or COMMIT_UNKNOWN."""
        self._driver_error: type[Exception] = writer.dialect.loaded_dbapi.Error
        orders = schema.projected[ORDERS]
        self._orders_of = (
            sa.select(*orders.c)
            .where(
                orders.c.account_id == sa.bindparam("account"), orders.c.id > sa.bindparam("after")
            )
            .order_by(orders.c.id)
            .limit(sa.bindparam("most"))
        )
        names = schema.projected[ORDER_NAMES]
        self._orders_of_name = (
            sa.select(orders.c.id)
            .select_from(names.join(orders, names.c.order_id == orders.c.id))
            .where(
                names.c.name == sa.bindparam("name"),
                orders.c.account_id == sa.bindparam("account"),
                orders.c.expires > sa.bindparam("t"),
            )
            .order_by(orders.c.id.desc())
            .limit(sa.bindparam("most"))
        )
        issuers = schema.projected[ISSUERS]
        self._issuers_of = (
            sa.select(*issuers.c)
            .where(issuers.c.authority == sa.bindparam("value"))
            .order_by(issuers.c.sha256)
        )
        self._authorities = sa.select(issuers.c.authority).distinct().order_by(issuers.c.authority)
        self._run_out = (
            sa.select(orders.c.id)
            .where(orders.c.status == sa.bindparam("status"), orders.c.expires <= sa.bindparam("t"))
            .order_by(orders.c.expires)
            .limit(sa.bindparam("most"))
        )

    @classmethod
    def sqlite(cls, path: Path) -> "Store":
        """Open (or create, empty) the SQLite file. Nothing is read or written yet."""
        return cls(sqlite_writer(path), sqlite_reader(path))

    @classmethod
    def open(cls, database: DatabaseSettings) -> "Store":
        """Open the database that is configured. Nothing is asked of it yet.

        Raises DatabaseUnfit where its driver is not installed, or its address is none.
        """
        return cls(*engines(database))

    def close(self) -> None:
        """Close every connection."""
        if self._deadline is not None:
            self._deadline.close()
        self._readers.close()
        if self._writer_connection is not None:
            self._writer_connection.close()
            self._writer_connection = None
        self.writer.dispose()
        if self._scrubber is not None:
            self._scrubber.close()

    # -- making ----------------------------------------------------------------------------------

    def create(self, installation_id: str) -> None:
        """Make the tables and the head of an empty log, all or nothing, if they are not there."""
        self._make_file()
        with reported(self._failed), self._lock, self.writer.begin() as connection:
            for statement in exclusively(connection.dialect):
                connection.exec_driver_sql(statement)
            schema.metadata.create_all(connection)
            if connection.execute(sa.select(schema.log_head.c.id)).first() is None:
                connection.execute(sa.insert(schema.log_head), _empty_head(installation_id))

    def is_empty(self) -> bool:
        """Whether this database has no tables of ours yet."""
        if self._file is not None and not self._file.exists():
            return True
        with reported(self._failed):
            return not sa.inspect(self.reader).has_table(schema.log_head.name)

    def _make_file(self) -> None:
        if self._file is not None:
            make_file(self._file)

    def migrate(self, steps: Sequence[Migration]) -> None:
        """Bring the durable tables to a later format, all or nothing; nobody commits meanwhile.

        On every database that Certeasy knows, changes of tables are rolled back like any other.
        """
        head = schema.log_head
        with reported(self._failed), self._lock, self.writer.begin() as connection:
            for statement in unhurried(connection.dialect):
                connection.exec_driver_sql(statement)
            for step in steps:
                before = sa.and_(head.c.id == 1, head.c.format == step.to - 1)
                moved = connection.execute(sa.update(head).where(before).values(format=step.to))
                if moved.rowcount != 1:
                    raise DatabaseUnavailable("another node is changing the database's format")
                for statement in step.statements(connection.dialect):
                    connection.exec_driver_sql(statement)

    def script(self, installation_id: str, role: str | None) -> str:
        """Return, as SQL, what this database still lacks; empty where it lacks nothing.

        `installation_id` is that of a new installation, where there is none. `role` is granted what
        the server needs. Nothing is changed.
        """
        dialect = self.writer.dialect
        if self.is_empty():
            todo = creation_script(dialect, _empty_head(installation_id))
        else:
            todo = upgrade_script(self.head().format, dialect)
        if role is not None:
            todo += grants(dialect, role, self.fitness().schema)
        return script(todo)

    def fitness(self) -> Fitness:
        """Return why this database must not be used, and what is unwise about it."""
        with reported(self._failed):
            return ask(self._readers, fitness_of)

    def rights(self) -> Rights:
        """Return what the database's user may do with the log."""
        with reported():
            return ask(self._readers, rights_of)

    def replication(self) -> Replication:
        """Return which copies follow the database."""
        with reported():
            return ask(self._readers, replication_of)

    # -- writing ---------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Open the writing transaction, committed at the end of the block.

        Raises DatabaseUnavailable where nothing was stored, CommitUnknown where only COMMIT failed.
        Any other exception from inside the block rolls back and goes on its way. There is one
        writing connection: a second thread waits until it is free.
        """
        with self._lock:
            with reported(self._failed):
                driver = self._writing()
            with self._deadline.over(driver) if self._deadline else nullcontext():
                yield from self._transaction(driver)

    def _transaction(self, driver: Any) -> Iterator[Transaction]:
        cursor = driver.cursor()
        try:
            with reported(self._failed):
                for statement in begin(self.writer.dialect):
                    cursor.execute(statement)
                yield Transaction(cursor, self._statements)
        except BaseException:
            # First: SQLite keeps a connection, and its locks, while a statement has rows left.
            quietly(cursor.close)
            self._roll_back(driver)
            raise
        quietly(cursor.close)
        try:
            driver.commit()
        except self._driver_error as error:
            self._roll_back(driver)
            self.on_error(COMMIT_UNKNOWN)
            raise CommitUnknown(f"COMMIT failed: {error}") from error

    def _failed(self) -> None:
        self.on_error(UNAVAILABLE)

    @contextmanager
    def repeatable(self) -> Iterator[Transaction]:
        """Open the writing transaction for what is done anew where it is not known to be done.

        As `transaction`; but where only COMMIT failed, DatabaseUnavailable is raised as well.
        """
        try:
            with self.transaction() as transaction:
                yield transaction
        except CommitUnknown as error:
            raise DatabaseUnavailable(f"{error}; whether it was kept is not known") from error

    def _writing(self) -> Any:
        """Return the driver's own writing connection, which is kept."""
        if self._writer_connection is None:
            self._writer_connection = self.writer.connect()
        return self._writer_connection.connection.dbapi_connection

    def _roll_back(self, driver: Any) -> None:
        """Roll back; a connection that cannot even do that is given up."""
        try:
            driver.rollback()
        except self._driver_error:
            connection, self._writer_connection = self._writer_connection, None
            if connection is not None:
                connection.invalidate()
                quietly(connection.close)

    def scrub(self, gone: Sequence[bytes], *, anew: bool = False) -> None:
        """See to it that the bytes of destroyed keys are in no file of an SQLite database any more.

        `anew`: write the file anew in any case, which takes room for all of it once more. On other
        databases that is their administrator's (docs/privacy.md). Raises DatabaseUnavailable where
        it cannot be done.
        """
        if self._scrubber is None:
            return
        with reported(self._failed), self._lock:
            self._scrubber.scrub(self._writing(), gone, anew=anew)

    @contextmanager
    def aside(self) -> Iterator[sa.Connection]:
        """Open a writing transaction for what is no decision: leases, and nonces used at the door.

        Committed at the end of the block. Raises DatabaseUnavailable; then it may be stored or not.
        """
        with reported(self._failed), self._lock, self.writer.begin() as connection:
            yield connection

    @contextmanager
    def restoring(self, installation_id: str) -> Iterator[Transaction]:
        """Open the one transaction that puts a lost log back; it makes the tables if there are
        none.

        Committed at the end of the block; whatever is raised inside leaves everything as it was.
        """
        self._make_file()
        with reported(self._failed), self._lock, self.writer.begin() as connection:
            dialect = connection.dialect
            for statement in (*exclusively(dialect), *unhurried(dialect)):
                connection.exec_driver_sql(statement)
            schema.metadata.create_all(connection)
            if connection.execute(sa.select(schema.log_head.c.id)).first() is None:
                connection.execute(sa.insert(schema.log_head), _empty_head(installation_id))
            cursor = connection.connection.cursor()
            try:
                yield Transaction(cursor, self._statements)
            finally:
                quietly(cursor.close)

    @contextmanager
    def refolding(self) -> Iterator[tuple[Shadow, Iterator[bytes]]]:
        """Open shadow tables in this database and all lines to fold into them: one transaction.

        It holds the log's head: nobody commits meanwhile, and no node takes the writer's place.
        """
        head = schema.log_head
        with reported(self._failed), self._lock, self.writer.begin() as connection:
            for statement in unhurried(connection.dialect):
                connection.exec_driver_sql(statement)
            connection.execute(sa.update(head).values(id=head.c.id))
            yield Shadow(connection), self.lines(0)

    @contextmanager
    def snapshot(
        self,
    ) -> Iterator[
        tuple[Shadow, Iterator[bytes], Callable[[Table[Any]], Iterator[tuple[Any, ...]]]]
    ]:
        """Open shadow tables in a file of their own, and this database as it is at this moment."""
        with (
            reported(self._failed),
            TemporaryDirectory(prefix="certeasy-check-") as folder,
            self._frozen() as live,
        ):
            aside = sqlite_writer(Path(folder, "shadow.sqlite"), durable=False)
            try:
                with aside.begin() as connection:
                    yield (
                        Shadow(connection),
                        self._all_lines(live),
                        lambda table: ordered_rows(live, schema.projected[table], table.key),
                    )
            finally:
                aside.dispose()

    @contextmanager
    def projected(self) -> Iterator[tuple[Head, Callable[[Table[Any]], Iterator[tuple[Any, ...]]]]]:
        """Open the projections as they are at this moment, and the head that they are as of."""
        with reported(self._failed), self._frozen() as live:
            head = _as_head(_first(live, self._statements.head, {}))
            yield head, lambda table: ordered_rows(live, schema.projected[table], table.key)

    @contextmanager
    def _frozen(self) -> Iterator[sa.Connection]:
        """Open a connection that sees this database as it is at this moment, and goes on to."""
        with self.reader.connect() as live:
            for statement in begin_snapshot(live.dialect):
                live.exec_driver_sql(statement)
            try:
                yield live
            finally:
                live.exec_driver_sql("ROLLBACK")

    def _all_lines(self, connection: sa.Connection) -> Iterator[bytes]:
        table = schema.events
        page = sa.select(table.c.position, table.c.line).order_by(table.c.position).limit(PAGE)
        after = 0
        while rows := connection.execute(page.where(table.c.position > after)).all():
            for _position, line in rows:
                yield as_line(line)
            after = rows[-1][0]

    def end_stuck(self) -> int:
        """End transactions that hold the log's head though their lease is over; return how many.

        For who finds the writer's place free, and would wait for a node that sleeps.
        """
        statement = end_stuck(self.reader.dialect, LEASE_SECONDS)
        if statement is None:
            return 0
        return int(self._all(sa.text(statement), {})[0][0])

    # -- reading ---------------------------------------------------------------------------------

    def get(self, table: Table[S], *key: str) -> S | None:
        """Return a projected row by primary key, or None."""
        row = self._look_up(self._statements.rows[table], dict(zip(table.key, key, strict=True)))
        return None if row is None else table.to_state(row)

    def account_with_key(self, thumbprint: str) -> Account | None:
        """Return the account with this key, or None."""
        row = self._look_up(self._statements.by_thumbprint, {"value": thumbprint})
        return None if row is None else ACCOUNTS.to_state(row)

    def certificates_with_serial(self, serial: str) -> list[Certificate]:
        """Return the certificates with this serial (lower-case hex), one of each issuer."""
        rows = self._look_up_all(self._statements.by_serial, {"value": serial})
        return [CERTIFICATES.to_state(row) for row in rows]

    def certificate_with_sha256(self, fingerprint: str) -> Certificate | None:
        """Return the certificate with this SHA-256 (lower-case hex), or None."""
        row = self._look_up(self._statements.by_sha256, {"value": fingerprint})
        return None if row is None else CERTIFICATES.to_state(row)

    def certificates(self, now: str) -> Iterator[Certificate]:
        """Yield the certificates that are valid beyond now (RFC 3339) and not revoked, by id."""
        columns = schema.projected[CERTIFICATES].c
        wanted = (columns.not_after > now) & (columns.revoked == "")
        yield from map(CERTIFICATES.to_state, self._pages(sa.select(*columns).where(wanted)))

    def campaign(self, campaign: str) -> Iterator[str]:
        """Yield the ids of the certificates that a campaign was the last to ask for."""
        columns = schema.projected[RENEWALS].c
        asked = sa.select(columns.certificate_id).where(columns.campaign == campaign)
        for (certificate_id,) in self._pages(asked):
            yield certificate_id

    def orders_for(self, name: str) -> Iterator[str]:
        """Yield the ids of the orders for a name, oldest first."""
        columns = schema.projected[ORDER_NAMES].c
        placed = sa.select(columns.order_id).where(columns.name == name)
        for (order_id,) in self._pages(placed):
            yield order_id

    def certificates_wanted(
        self, wanted: inventory.CertificatesWanted, after: str = ""
    ) -> Iterator[Certificate]:
        """Yield the certificates that are wanted, by id, from behind the id `after`."""
        asked = inventory.certificates(wanted)
        yield from map(CERTIFICATES.to_state, self._pages(asked, after))

    def accounts_wanted(
        self, wanted: inventory.AccountsWanted, after: str = ""
    ) -> Iterator[Account]:
        """Yield the accounts that are wanted, by id, from behind the id `after`."""
        yield from map(ACCOUNTS.to_state, self._pages(inventory.accounts(wanted), after))

    def revocations_of(self, order_id: str) -> list[Revocation]:
        """Return what is to be revoked, or was, of an order."""
        columns = schema.projected[REVOCATIONS].c
        wanted = sa.select(*columns).where(columns.order_id == order_id).order_by(columns.id)
        return [REVOCATIONS.to_state(row) for row in self._all(wanted, {})]

    def _pages(self, statement: "sa.Select[Any]", after: str = "") -> Iterator[tuple[Any, ...]]:
        """Yield all rows of a statement in bounded pages, in the order of the first column that it
        selects, a text that no two rows share, from behind `after`."""
        by = statement.selected_columns[0]
        page = statement.order_by(by).limit(PAGE)
        while rows := self._all(page.where(by > after), {}):
            yield from rows
            after = rows[-1][0]

    def certificate_count(self) -> int:
        """Return how many certificates there are."""
        table = schema.projected[CERTIFICATES]
        row = self._one(sa.select(sa.func.count()).select_from(table), {})
        return 0 if row is None else int(row[0])

    def orders_by_status(self) -> dict[str, int]:
        """Return how many orders there are of each status: a look at all of an index."""
        return {str(status): int(count) for status, count in self._all(counts.orders_by_status())}

    def certificates_ending(self, now: datetime, until: datetime) -> Iterator[list[Certificate]]:
        """Yield the certificates in force that end by then, those that end first first, in
        pages."""
        after = ("", "")
        while rows := self._all(counts.ending(_second(now), _second(until), after, PAGE)):
            page = [CERTIFICATES.to_state(row) for row in rows]
            yield page
            after = (page[-1].not_after, page[-1].id)

    def latest_for(self, names: Sequence[str], after: str) -> dict[str, str]:
        """Return the id of the latest certificate for each of some names that has one behind the id
        `after`, and is not revoked."""
        found: dict[str, str] = {}
        for first in range(0, len(names), counts.NAMES_AT_ONCE):
            some = names[first : first + counts.NAMES_AT_ONCE]
            found.update(
                (str(name), str(id_)) for name, id_ in self._all(counts.latest_for(some, after))
            )
        return found

    def orders_of(self, account_id: str, after: str = "", most: int = 200) -> list[Order]:
        """Return an account's orders, oldest first, from behind the id `after`."""
        values = {"account": account_id, "after": after, "most": most}
        return [ORDERS.to_state(row) for row in self._all(self._orders_of, values)]

    def orders_of_name(self, account_id: str, name: str, at: str, most: int) -> list[str]:
        """Return ids of an account's orders for a name that run out after `at`, the newest
        first."""
        values = {"account": account_id, "name": name, "t": at, "most": most}
        return [str(row[0]) for row in self._all(self._orders_of_name, values)]

    def run_out(self, status: str, at: str, most: int) -> list[str]:
        """Return ids of orders in this status whose time ends at `at` or before, that first."""
        return [
            str(row[0])
            for row in self._all(self._run_out, {"status": status, "t": at, "most": most})
        ]

    def over(self, cutoff: str, most: int) -> list[str]:
        """Return ids of orders that were over before `cutoff`, with their certificates, and of
        which nothing is open; at most so many."""
        found = [
            str(row[0])
            for question in (outdated.with_certificate, outdated.without_certificate)
            for row in self._all(question(cutoff, most), {})
        ]
        return found[:most]

    def revocations_among(self, order_ids: Sequence[str]) -> list[str]:
        """Return the ids of all revocations of these orders, published or not."""
        return [str(row[0]) for row in self._all(outdated.revocations_among(order_ids), {})]

    def issuers_of(self, authority: str) -> list[Issuer]:
        """Return the certificates that an authority's chains may be built from."""
        return [ISSUERS.to_state(row) for row in self._all(self._issuers_of, {"value": authority})]

    def authorities(self) -> list[str]:
        """Return the names of all authorities that the log knows certificates of."""
        return [str(row[0]) for row in self._all(self._authorities, {})]

    def jobs(self) -> list[Job]:
        """Return all work that is left to do, oldest first."""
        table = schema.projected[JOBS]
        rows = self._all(sa.select(*table.c).order_by(table.c.position), {})
        return [JOBS.to_state(row) for row in rows]

    def processing(self) -> list[Order]:
        """Return the orders that wait for their authority, by id."""
        columns = schema.projected[ORDERS].c
        wanted = sa.select(*columns).where(columns.status == PROCESSING).order_by(columns.id)
        return [ORDERS.to_state(row) for row in self._all(wanted, {})]

    def suspects(self) -> list[Suspect]:
        """Return the attempts of which a certificate may exist that nobody has, oldest first."""
        table = schema.projected[SUSPECTS]
        rows = self._all(sa.select(*table.c).order_by(table.c.position), {})
        return [SUSPECTS.to_state(row) for row in rows]

    def unpublished(self) -> list[Revocation]:
        """Return the certificates that are to be revoked, and that their authority has not
        revoked, oldest first."""
        columns = schema.projected[REVOCATIONS].c
        wanted = sa.select(*columns).where(columns.state.in_((WAITING, FAILED, RECORDED)))
        rows = self._all(wanted.order_by(columns.position), {})
        return [REVOCATIONS.to_state(row) for row in rows]

    def seats(self, now: datetime) -> int:
        """Return how many accounts are managed servers, by the license's count."""
        row = self._look_up(self._statements.seats, {"value": _second(now)})
        return 0 if row is None else int(row[0])

    def eab_keys(self) -> list[EabKey]:
        """Return all keys for external account bindings, oldest first."""
        table = schema.projected[EAB_KEYS]
        rows = self._all(sa.select(*table.c).order_by(table.c.kid), {})
        return [EAB_KEYS.to_state(row) for row in rows]

    def accounts_bound(self) -> dict[str, int]:
        """Return how many accounts each key for external account bindings has bound."""
        eab = schema.projected[ACCOUNTS].c.eab
        counted = sa.select(eab, sa.func.count()).where(eab != "").group_by(eab)
        return {str(kid): int(count) for kid, count in self._all(counted, {})}

    def head(self) -> Head:
        """Return the end of the log; raises DatabaseUnavailable."""
        return _as_head(self._look_up(self._statements.head, {}))

    def server(self, server_id: str) -> Server | None:
        """Return a node's row, or None."""
        return next((server for server in self.servers() if server.server_id == server_id), None)

    def servers(self) -> list[Server]:
        """Return all nodes, the one seen last first."""
        table = schema.servers
        rows = self._all(sa.select(*table.c).order_by(table.c.last_seen.desc()), {})
        return [Server(*row) for row in rows]

    def secret(self, name: str) -> bytes | None:
        """Return a secret as it was wrapped, or None."""
        table = schema.secrets
        row = self._one(sa.select(table.c.wrapped).where(table.c.name == name), {})
        return None if row is None else row[0]

    def has_secrets(self) -> bool:
        """Whether any secret is kept."""
        return self._one(sa.select(schema.secrets.c.name).limit(1), {}) is not None

    def subject_key(self, subject: str) -> bytes | None:
        """Return a subject's key, or None if there is none or it was erased."""
        row = self._look_up(self._statements.subject_key, {"value": subject})
        return None if row is None else row[0]

    def lines(self, after: int, *, until: int | None = None) -> Iterator[bytes]:
        """Yield lines in order of position, from behind `after` up to and with `until`."""
        table = schema.events
        most = PAGE if until is None else max(1, min(PAGE, until - after))
        page = sa.select(table.c.position, table.c.line).order_by(table.c.position).limit(most)
        while rows := self._all(page.where(table.c.position > after), {}):
            for position, line in rows:
                if until is not None and position > until:
                    return
                yield as_line(line)
            after = rows[-1][0]

    def lines_of(self, server_id: str, after_seq: int) -> Iterator[bytes]:
        """Yield one node's lines in order of seq, from behind `after_seq`, as its journal has them.

        Orphaned lines are among them: a journal is a chain with these in it.
        """
        both = [
            self._of_node(table, server_id, after_seq)
            for table in (schema.events, schema.orphaned_lines)
        ]
        for _seq, line in heapq.merge(*both, key=lambda row: row[0]):
            yield line

    def orphans(self, server_id: str) -> Iterator[bytes]:
        """Yield a node's lines whose positions another node has taken, in order of seq."""
        for _seq, line in self._of_node(schema.orphaned_lines, server_id, 0):
            yield line

    def _of_node(
        self, table: sa.Table, server_id: str, after_seq: int
    ) -> Iterator[tuple[int, bytes]]:
        page = (
            sa.select(table.c.seq, table.c.line)
            .where(table.c.server_id == server_id)
            .order_by(table.c.seq)
            .limit(PAGE)
        )
        while rows := self._all(page.where(table.c.seq > after_seq), {}):
            for seq, line in rows:
                yield seq, as_line(line)
            after_seq = rows[-1][0]

    def stream(self, stream: str) -> list[bytes]:
        """Return all lines of a stream, in the order of their versions."""
        table = schema.events
        query = sa.select(table.c.line).where(table.c.stream == stream).order_by(table.c.version)
        return [as_line(row[0]) for row in self._all(query, {})]

    def last_line(self) -> bytes | None:
        """Return the line with the highest position, or None if the log is empty."""
        table = schema.events
        row = self._one(sa.select(table.c.line).order_by(table.c.position.desc()).limit(1), {})
        return None if row is None else as_line(row[0])

    def has_stream(self, stream: str) -> bool:
        """Whether the log has an event of this stream."""
        row = self._look_up(self._statements.version, {"stream": stream})
        return row is not None and row[0] is not None

    def lines_in(self, stream: str, kind: str) -> Iterator[bytes]:
        """Yield the lines of one event type in one stream, in order of version."""
        table = schema.events
        query = (
            sa.select(table.c.line)
            .where(table.c.stream == stream, table.c.type == kind)
            .order_by(table.c.version)
        )
        for (line,) in self._all(query, {}):
            yield as_line(line)

    def last_of_type(self, kind: str, streams: Sequence[str]) -> bytes | None:
        """Return the newest line of an event type in these streams, or None.

        In streams that are known it is found by an index; there is none for types.
        """
        table = schema.events
        query = (
            sa.select(table.c.line)
            .where(table.c.stream.in_(streams), table.c.type == kind)
            .order_by(table.c.position.desc())
            .limit(1)
        )
        row = self._one(query, {})
        return None if row is None else as_line(row[0])

    def _look_up(self, statement: Prepared, values: dict[str, object]) -> tuple[Any, ...] | None:
        """Run a prepared statement that finds at most one row."""
        with reported(self._failed):
            return ask(self._readers, lambda reading: _first(reading, statement, values))

    def _look_up_all(self, statement: Prepared, values: dict[str, object]) -> list[tuple[Any, ...]]:
        """Run a prepared statement that finds a few rows."""
        with reported(self._failed):
            return ask(self._readers, lambda reading: _every(reading, statement, values))

    def _one(self, statement: Any, values: dict[str, object]) -> tuple[Any, ...] | None:
        with reported(self._failed):
            row = ask(
                self._readers, lambda connection: connection.execute(statement, values).first()
            )
        return None if row is None else tuple(row)

    def _all(
        self, statement: Any, values: dict[str, object] | None = None
    ) -> list[tuple[Any, ...]]:
        with reported(self._failed):
            rows = ask(
                self._readers, lambda connection: connection.execute(statement, values or {}).all()
            )
        return [tuple(row) for row in rows]


def _second(at: datetime) -> str:
    """Return a time as certificates have it: RFC 3339, whole seconds."""
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def _first(
    connection: sa.Connection, statement: Prepared, values: dict[str, object]
) -> tuple[Any, ...] | None:
    with _reading(connection) as cursor:
        row: tuple[Any, ...] | None = statement.run(cursor, values).fetchone()
    return row if row is None else tuple(row)


def _every(
    connection: sa.Connection, statement: Prepared, values: dict[str, object]
) -> list[tuple[Any, ...]]:
    with _reading(connection) as cursor:
        return [tuple(row) for row in statement.run(cursor, values).fetchall()]


@contextmanager
def _reading(connection: sa.Connection) -> Iterator[Any]:
    driver = connection.connection.dbapi_connection
    if driver is None:
        raise DatabaseUnavailable("the reading connection is gone")
    cursor = driver.cursor()
    try:
        yield cursor
    finally:
        cursor.close()


def _as_head(row: tuple[Any, ...] | None) -> Head:
    if row is None:
        raise DatabaseUnavailable(
            "the database has no log head: it was never set up, or is damaged"
        )
    return Head(*row)


def _empty_head(installation_id: str) -> dict[str, object]:
    return {
        "id": 1,
        "position": 0,
        "hash": "0" * 64,
        "at": "",
        "epoch": 0,
        "writer": "",
        "lease_until": 0.0,
        "format": schema.FORMAT,
        "installation_id": installation_id,
        "projections": VERSION,
    }


__all__ = ["Head", "Key", "Server", "Store", "Transaction"]
