"""How the database finds what the server asks for: the plan of every look-up; nothing changes."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import sqlalchemy as sa

from certeasy.settings import DatabaseSettings
from certeasy.store import Store
from certeasy.store.inventory import CertificatesWanted
from certeasy.store.statements import Prepared
from projections.accounts import ACCOUNTS
from projections.certificates import CERTIFICATES
from projections.fold import TABLES

LARGE = (
    "events",
    "accounts",
    "orders",
    "order_names",
    "preauthorizations",
    "certificates",
    "renewals",
    "name_sets",
    "seats",
    "held_certificates",
    "failed_validations",
    "pending_authorizations",
)
FIRST = 1
WHOLE: dict[str, Callable[[str], bool]] = {
    "sqlite": lambda step: step.startswith("SCAN "),
    "postgresql": lambda step: "Seq Scan on " in step,
}
EXPLAIN = {"sqlite": "EXPLAIN QUERY PLAN ", "postgresql": "EXPLAIN "}


class Plan(msgspec.Struct, frozen=True):
    """A statement and how it is done; `whole` names a large table that is gone through."""

    asked: str
    sql: str
    steps: tuple[str, ...]
    whole: str = ""


def plans(database: DatabaseSettings) -> list[Plan]:
    """Return the plans of what the server looks up, with values that the database has."""
    store = Store.open(database)
    try:
        with recorded(store) as seen:
            _look_up_everything(store)
        found: list[Plan] = []
        with store.reader.connect() as connection:
            for what, sql, values in seen:
                if all(plan.sql != sql for plan in found):
                    found.append(_plan(connection, what, sql, values))
        return found
    finally:
        store.close()


Seen = tuple[str, str, Any]


@contextmanager
def recorded(store: Store) -> Iterator[list[Seen]]:
    """Collect every statement that is sent meanwhile, with its values."""
    seen: list[Seen] = []
    run = Prepared.run

    def noted(self: Prepared, cursor: Any, given: Any) -> Any:
        seen.append((_caller(), self.sql, self.values(given)))
        return run(self, cursor, given)

    def listen(_c: object, _cursor: object, sql: str, values: Any, *_: object) -> None:
        seen.append((_caller(), sql, values))

    sa.event.listen(store.reader, "before_cursor_execute", listen)
    Prepared.run = noted  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        Prepared.run = run  # type: ignore[method-assign]
        sa.event.remove(store.reader, "before_cursor_execute", listen)


def _caller() -> str:
    """Return which of the store's functions asks."""
    frame: Any = sys._getframe(1)  # noqa: SLF001 - a tool that looks at a program
    name = ""
    while frame is not None:
        if frame.f_globals.get("__name__", "") in {
            "certeasy.store.store",
            "certeasy.store.transaction",
        }:
            name = frame.f_code.co_name
        frame = frame.f_back
    return name


def _look_up_everything(store: Store) -> None:
    """Ask all that the server asks in service and at its start."""
    head = store.head()
    servers = store.servers()
    nodes = [f"node/{server.server_id}" for server in servers]
    store.last_line()
    store.last_of_type("settings.loaded", nodes)
    next(store.lines(head.position - FIRST), None)
    for server in servers:
        next(store.lines_of(server.server_id, server.seq - FIRST), None)
    store.jobs()
    store.secret("nonces")
    store.subject_key("nobody")
    for table in TABLES:
        store.get(table, *["x"] * len(table.key))
    store.account_with_key("x")
    store.certificates_with_serial("x")
    store.certificate_with_sha256("x")
    with store.reader.connect() as connection:
        account = _any(connection, ACCOUNTS.name, "id")
        serial = _any(connection, CERTIFICATES.name, "serial")
    store.orders_of(account)
    store.orders_of_name(account, "x.test", "2026-01-01T00:00:00Z", 10)
    store.issuers_of("x")
    store.run_out("pending", "2026-01-01T00:00:00Z", 10)
    store.over("2026-01-01T00:00:00Z", 10)
    store.revocations_among(["x"])
    store.revocations_of("x")
    for wanted in (
        CertificatesWanted("x", account_id="x"),
        CertificatesWanted("x", name="x"),
        CertificatesWanted("x", serial="x"),
    ):
        next(store.certificates_wanted(wanted), None)
    store.certificates_with_serial(serial)
    next(store.certificates("x"), None)
    next(store.campaign("x"), None)
    next(store.orders_for("x"), None)
    with store.transaction() as transaction:
        transaction.version_of(f"account/{account}")
        transaction.stream(f"account/{account}")
        transaction.lines_about_nodes()
        transaction.account_with_key("x")
        for table in TABLES:
            transaction.load(table, tuple("x" for _ in table.key))


def _any(connection: sa.Connection, table: str, column: str) -> str:
    return str(connection.exec_driver_sql(f"SELECT min({column}) FROM {table}").scalar() or "x")  # noqa: S608 - ours


def _plan(connection: sa.Connection, what: str, sql: str, values: Any) -> Plan:
    name = connection.dialect.name
    rows = connection.exec_driver_sql(EXPLAIN[name] + sql, values).all()
    steps = tuple(str(row[-1]).strip() for row in rows)
    whole = next(
        (table for step in steps if WHOLE[name](step) for table in LARGE if _is_of(step, table)), ""
    )
    return Plan(what, sql, steps, "" if _is_first_page(sql, steps) else whole)


def _is_of(step: str, table: str) -> bool:
    return f" {table} " in f"{step} "


def _is_first_page(sql: str, steps: tuple[str, ...]) -> bool:
    """Whether it goes along the primary key and stops by itself, as the end of the log is found."""
    return "LIMIT" in sql and "WHERE" not in sql and all("TEMP B-TREE" not in s for s in steps)
