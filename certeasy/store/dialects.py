"""What databases spell differently."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

SECONDS_PER_DAY = 86400.0
UNIX_EPOCH_AS_JULIAN_DAY = 2440587.5


def database_seconds(dialect: sa.Dialect) -> sa.ColumnElement[float]:
    """Return the database's own clock, as seconds since 1970: all nodes read leases by it."""
    if dialect.name != "sqlite":
        raise NotImplementedError(f"no clock known for {dialect.name}")
    days: sa.ColumnElement[float] = sa.func.julianday("now", type_=sa.Float)
    return (days - UNIX_EPOCH_AS_JULIAN_DAY) * SECONDS_PER_DAY


def begin(dialect: sa.Dialect) -> tuple[str, ...]:
    """Return what opens the committer's transaction; most drivers begin by themselves."""
    return ("BEGIN IMMEDIATE",) if dialect.name == "sqlite" else ()


def upsert(dialect: sa.Dialect, table: sa.Table, key: tuple[str, ...]) -> Any:
    """Return the statement that inserts a row, or replaces the one with the same key."""
    if dialect.name != "sqlite":
        raise NotImplementedError(f"no upsert known for {dialect.name}")
    insert = sqlite.insert(table)
    rest = {
        column.name: insert.excluded[column.name] for column in table.c if column.name not in key
    }
    if not rest:
        return insert.on_conflict_do_nothing(index_elements=list(key))
    return insert.on_conflict_do_update(index_elements=list(key), set_=rest)
