"""Projection tables aside from those in use, filled by a fold of the whole log."""

from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from certeasy.store import schema
from certeasy.store.dialects import renamed, upsert
from projections.fold import TABLES
from projections.tables import Key, Table

S = TypeVar("S", bound=msgspec.Struct)
PREFIX = "shadow_"
PAGE = 1000


class Shadow:
    """A second set of the projection tables, in any database that the connection writes to."""

    def __init__(self, connection: sa.Connection) -> None:
        """Make the tables, empty; what an interrupted fold left behind is dropped first."""
        self._connection = connection
        self._metadata = sa.MetaData()
        self._tables = {table: schema.declare(table, self._metadata, PREFIX) for table in TABLES}
        self._metadata.drop_all(connection)
        self._metadata.create_all(connection)
        dialect = connection.dialect
        self._upserts = {
            table: upsert(dialect, made, table.key) for table, made in self._tables.items()
        }
        self._selects = {
            table: sa.select(*made.c).where(
                *[made.c[name] == sa.bindparam(name) for name in table.key]
            )
            for table, made in self._tables.items()
        }
        self._deletes = {
            table: sa.delete(made).where(
                *[made.c[name] == sa.bindparam(f"k_{name}") for name in table.key]
            )
            for table, made in self._tables.items()
        }

    def load(self, table: Table[S], key: Key) -> S | None:
        """Return a row by primary key, or None."""
        values = dict(zip(table.key, key, strict=True))
        row = self._connection.execute(self._selects[table], values).one_or_none()
        return None if row is None else table.to_state(tuple(row))

    def store(self, changes: dict[Table[Any], dict[Key, Any]]) -> None:
        """Apply changed rows."""
        for table, rows in changes.items():
            put = [table.to_row(state) for state in rows.values() if state is not None]
            for step in self._upserts[table] if put else ():
                self._connection.execute(step, put)
            gone = [key for key, state in rows.items() if state is None]
            for key in gone:
                values = {f"k_{name}": part for name, part in zip(table.key, key, strict=True)}
                self._connection.execute(self._deletes[table], values)

    def rows(self, table: Table[Any]) -> Iterator[tuple[Any, ...]]:
        """Yield all rows in the order of their keys."""
        return ordered_rows(self._connection, self._tables[table], table.key)

    def swap(self) -> None:
        """Put these tables in the place of those in use, in the connection's open transaction."""
        schema.metadata.drop_all(self._connection, tables=list(schema.projected.values()))
        for table in self._tables.values():
            for index in table.indexes:
                index.drop(self._connection)
            rename = renamed(self._connection.dialect, table, table.name.removeprefix(PREFIX))
            self._connection.exec_driver_sql(rename)
        for table in schema.projected.values():
            for index in table.indexes:
                index.create(self._connection)


def ordered_rows(
    connection: sa.Connection, table: sa.Table, key: tuple[str, ...]
) -> Iterator[tuple[Any, ...]]:
    """Yield all rows of a table in the order of its key, a page at a time."""
    order = [table.c[name] for name in key]
    after: tuple[Any, ...] | None = None
    while True:
        page = sa.select(*table.c).order_by(*order).limit(PAGE)
        if after is not None:
            page = page.where(_behind(order, after))
        rows = [tuple(row) for row in connection.execute(page).all()]
        yield from rows
        if len(rows) < PAGE:
            return
        names = list(table.c.keys())
        after = tuple(rows[-1][names.index(name)] for name in key)


def _behind(order: list[sa.Column[Any]], after: tuple[Any, ...]) -> Any:
    """Return the condition that a key comes after another; not all databases compare tuples.

    The first part is bounded by itself, so that an index leads there.
    """
    first, last = order[0], after[0]
    if len(order) == 1:
        return first > last
    return sa.and_(first >= last, sa.or_(first > last, _behind(order[1:], after[1:])))
