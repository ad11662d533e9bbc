"""What databases spell differently; the statements themselves are written once.

What locks alike everywhere is an UPDATE as the first statement, which waits for the commit of
whoever has updated that row. There is no `FOR UPDATE`: SQL Server's dialect drops it silently.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mssql, postgresql, sqlite

SQLITE, POSTGRES, SQLSERVER = "sqlite", "postgresql", "mssql"

SECONDS_PER_DAY = 86400.0
UNIX_EPOCH_AS_JULIAN_DAY = 2440587.5
BINARY = "Latin1_General_100_BIN2"
_LONG: sa.types.TypeEngine[bytes] = mssql.VARBINARY("max")  # type: ignore[no-untyped-call]
_APPLOCK = (
    "EXEC sp_getapplock @Resource = 'certeasy', @LockMode = 'Exclusive', @LockOwner = 'Transaction'"
)


def text_of(size: int) -> sa.types.TypeEngine[str]:
    """Return the type of a text of so many characters, compared and sorted byte by byte.

    On SQL Server a parameter is NVARCHAR, and a VARCHAR column held against one loses its index.
    """
    return (
        sa.String(size)
        .with_variant(sa.String(size, collation="C"), POSTGRES)
        .with_variant(sa.Unicode(size, collation=BINARY), SQLSERVER)
    )


def bytes_of() -> sa.types.TypeEngine[bytes]:
    """Return the type of bytes of any length; SQL Server's own choice, IMAGE, is deprecated."""
    return sa.LargeBinary().with_variant(_LONG, SQLSERVER)


def database_seconds(dialect: sa.Dialect) -> sa.ColumnElement[float]:
    """Return the database's own clock, as seconds since 1970: all nodes read leases by it.

    It moves on within a transaction: one that waited for a lock must not live in the past.
    """
    match dialect.name:
        case "sqlite":
            days: sa.ColumnElement[float] = sa.func.julianday("now", type_=sa.Float)
            return (days - UNIX_EPOCH_AS_JULIAN_DAY) * SECONDS_PER_DAY
        case "postgresql":
            clock = sa.func.clock_timestamp(type_=sa.DateTime(timezone=True))
            return sa.cast(sa.extract("epoch", clock), sa.Float(53))
        case "mssql":
            passed: sa.ColumnElement[Any] = sa.literal_column(
                "DATEDIFF_BIG(microsecond, '1970-01-01', SYSUTCDATETIME())"
            )
            return sa.cast(passed, sa.Float(53)) * sa.literal_column("0.000001", sa.Float(53))
        case _:
            raise NotImplementedError(f"no clock known for {dialect.name}")


def begin(dialect: sa.Dialect) -> tuple[str, ...]:
    """Return what opens the committer's transaction; most drivers begin by themselves."""
    return ("BEGIN IMMEDIATE",) if dialect.name == SQLITE else ()


def begin_snapshot(dialect: sa.Dialect) -> tuple[str, ...]:
    """Return what makes a connection in autocommit see one moment, until it says ROLLBACK."""
    match dialect.name:
        case "postgresql":
            return ("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY",)
        case "mssql":
            return ("SET TRANSACTION ISOLATION LEVEL SNAPSHOT", "BEGIN TRANSACTION")
        case _:
            return ("BEGIN",)


def exclusively(dialect: sa.Dialect) -> tuple[str, ...]:
    """Return what lets one node at a time make the tables, until its transaction ends."""
    match dialect.name:
        case "postgresql":
            return ("SELECT pg_advisory_xact_lock(4841352706)",)
        case "mssql":
            return (_APPLOCK,)
        case _:
            return ()


def unhurried(dialect: sa.Dialect) -> tuple[str, ...]:
    """Return what lets the statements of one transaction take as long as they need."""
    if dialect.name != POSTGRES:
        return ()
    return (
        "SET LOCAL statement_timeout = 0",
        "SET LOCAL idle_in_transaction_session_timeout = 0",
        "SET LOCAL application_name = 'certeasy at length'",  # so that it is not taken for stuck
    )


def end_stuck(dialect: sa.Dialect, seconds: float) -> str | None:
    """Return what ends our own transactions that have held the log's head for longer than a lease.

    Their node is suspended, or its host is gone, in the middle of a message: there the server's own
    timeouts do not count. Only sessions of the same user can be ended.
    """
    if dialect.name != POSTGRES:
        return None
    return (
        "SELECT count(pg_terminate_backend(a.pid)) FROM pg_stat_activity a"  # noqa: S608 - ours
        " WHERE a.application_name = current_setting('application_name')"
        " AND a.usename = current_user"
        f" AND a.xact_start < clock_timestamp() - interval '{seconds:.0f} s'"
        " AND EXISTS (SELECT 1 FROM pg_locks l WHERE l.pid = a.pid AND l.granted"
        " AND l.relation = 'log_head'::regclass AND l.mode = 'RowExclusiveLock')"
    )


def renamed(dialect: sa.Dialect, table: sa.Table, name: str) -> str:
    """Return the statement that gives a table another name."""
    preparer = dialect.identifier_preparer
    if dialect.name == SQLSERVER:
        return f"EXEC sp_rename '{table.name}', '{name}'"
    return f"ALTER TABLE {preparer.format_table(table)} RENAME TO {preparer.quote(name)}"


def upsert(dialect: sa.Dialect, table: sa.Table, key: tuple[str, ...]) -> list[Any]:
    """Return the statements that insert a row, or replace the one with the same key.

    They are run one after the other with the same values, each for all rows at once, under the lock
    of the log's head. SQL Server's MERGE has conditions of its own: there the row goes and comes.
    """
    names = [column.name for column in table.c]
    if dialect.name == SQLSERVER:
        gone = sa.delete(table).where(*[table.c[name] == sa.bindparam(name) for name in key])
        return [gone, sa.insert(table)]
    insert = postgresql.insert(table) if dialect.name == POSTGRES else sqlite.insert(table)
    rest = {name: insert.excluded[name] for name in names if name not in key}
    if not rest:
        return [insert.on_conflict_do_nothing(index_elements=list(key))]
    return [insert.on_conflict_do_update(index_elements=list(key), set_=rest)]
