"""How much a database grows with each order, and what retention takes back.

    python -m tools.growth -f config.yml --orders 5000

The workdir and the database are new. Orders of one name are written as `tools.history` does, by the
committer, with made-up certificates of a usual size; then a year passes, and retention is applied.
Prints JSON: rows and bytes of each table before and after, and how long the steps took, each of
which is one transaction.
"""

import sqlite3
import time
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import click
import msgspec

from certeasy import config
from certeasy.clock import SystemClock
from certeasy.cluster import boot
from certeasy.commit import Command, Committed, Committer
from certeasy.ids import RandomIds
from certeasy.jobs.retention import AT_ONCE, Retention
from certeasy.settings import Settings
from certeasy.store import Store
from tools.history import Historian

_TABLES = ("events", "orders", "order_names", "certificates", "renewals", "jobs", "accounts")
_BYTES = {
    "sqlite": "SELECT sum(pgsize) FROM dbstat WHERE name = '{0}' OR name LIKE '{0}\\_%' ESCAPE '\\'"
    " OR name LIKE 'sqlite_autoindex_{0}_%'",
    "postgresql": "SELECT pg_total_relation_size('{0}')",
}


class LaterClock:
    """The system's clock, some days ahead."""

    def __init__(self) -> None:
        self._real = SystemClock()
        self.ahead = timedelta()

    def now(self) -> datetime:
        """Return the time."""
        return self._real.now() + self.ahead

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return self._real.monotonic()


class Timed:
    """A committer's door that notes how long each step took."""

    def __init__(self, committer: Committer) -> None:
        self._committer = committer
        self.seconds: list[float] = []

    def submit(self, command: Command) -> Committed:
        """Submit."""
        begun = time.perf_counter()
        committed = self._committer.submit(command)
        self.seconds.append(time.perf_counter() - begun)
        return committed


def sizes(store: Store) -> dict[str, dict[str, int]]:
    """Return rows and bytes of each table, its indexes among them."""
    found = {}
    with store.reader.connect() as connection:
        query = _BYTES[connection.dialect.name]
        for table in _TABLES:
            rows = connection.exec_driver_sql(f"SELECT count(*) FROM {table}")  # noqa: S608 - ours
            size = connection.exec_driver_sql(query.format(table).replace("%", _percent(store)))
            found[table] = {"rows": int(rows.scalar_one()), "bytes": int(size.scalar_one() or 0)}
    return found


def _percent(store: Store) -> str:
    return "%" if store.reader.dialect.name == "sqlite" else "%%"


def compact(store: Store) -> None:
    """Give the room back that deleted rows leave, as an administrator would."""
    if store.writer.dialect.name == "sqlite":
        with closing(sqlite3.connect(str(store.writer.url.database))) as file:
            file.execute("VACUUM")
        return
    engine = store.writer.execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("VACUUM FULL")


def measure(settings: Settings, orders: int) -> dict[str, object]:
    """Write so many orders, apply retention, and return the figures."""
    clock = LaterClock()
    ids = RandomIds(clock)
    node = boot.open_node(settings, ids)
    standing = boot.level(node)
    committer = Committer(node.store, node.journal, clock)
    committer.start(boot.take_place(node, clock, ids), standing)
    try:
        before = sizes(node.store)
        Historian(committer, ids).write(orders, lambda _done: None)
        written = sizes(node.store)
        journal = node.journal.path.stat().st_size
        clock.ahead = timedelta(days=365)
        timed = Timed(committer)
        retention = Retention(timed, clock, settings.retention.keep, node.store)
        retention.apply()
        left = sizes(node.store)
    finally:
        committer.stop()
    compact(node.store)
    compacted = sizes(node.store)
    node.close()
    steps = sorted(timed.seconds)
    return {
        "orders": orders,
        "journal_bytes_per_order": round(journal / orders),
        "written": _per_order(before, written, orders),
        "after_retention": _per_order(before, left, orders),
        "after_retention_compacted": _per_order(before, compacted, orders),
        "steps": len(steps),
        "orders_a_step": AT_ONCE,
        "step_ms_median": round(steps[len(steps) // 2] * 1000, 1),
        "step_ms_longest": round(steps[-1] * 1000, 1),
    }


def _per_order(
    before: dict[str, dict[str, int]], after: dict[str, dict[str, int]], orders: int
) -> dict[str, dict[str, float]]:
    return {
        table: {
            what: round((after[table][what] - before[table][what]) / orders, 2)
            for what in ("rows", "bytes")
        }
        for table in _TABLES
    }


@click.command()
@click.option("-f", "--config", "config_file", required=True, type=click.Path(path_type=Path))
@click.option("--orders", default=5000, show_default=True, type=click.IntRange(1, 10_000))
def main(config_file: Path, orders: int) -> None:
    """Measure how a new database grows, and shrinks."""
    figures = measure(config.load(config_file), orders)
    click.echo(msgspec.json.format(msgspec.json.encode(figures), indent=2))


if __name__ == "__main__":
    main()
