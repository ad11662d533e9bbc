"""SQL Server through Microsoft's mssql-python: what it must be set to, and what it cannot promise.

It has no timeout for an idle transaction. A lock is waited for 5 s; a node that is suspended
between its UPDATE of the log's head and COMMIT keeps the others out until it goes on or is ended,
and can commit nothing out of turn when it does: they have not taken its place.
"""

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import sqlalchemy as sa
from sqlalchemy.pool import QueuePool

from certeasy.settings import DatabaseSettings
from certeasy.store.errors import DatabaseUnfit
from certeasy.store.fitness import Fitness, strangers
from certeasy.store.passwords import password_of

OLDEST = 14  # SQL Server 2017
PORT = 1433
SESSION = (
    "SET LOCK_TIMEOUT 5000",
    "SET XACT_ABORT ON",  # a statement that fails takes its transaction along
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
)


NO_ADDRESS = (
    "database.dsn is no address of a SQL Server: write sqlserver://user@host:1433/database?option="
    "value, and %40 for @, %2F for / and %25 for % in a user or a password (or use"
    " database.password-file)"
)


def engines(database: DatabaseSettings) -> tuple[sa.Engine, sa.Engine]:
    """Return the engine that writes and the one that reads; nothing is connected yet."""
    url = url_of(database.dsn or "")
    if (password := password_of(database)) is not None:
        url = url.set(password=password)
    readers = max(1, database.max_conn - 2)
    return _engine(url, pool_size=1, max_overflow=2), _engine(
        url,
        pool_size=readers,
        max_overflow=0,
        pool_timeout=database.ping_timeout_sec,
        pool_recycle=int(database.conn_max_lifetime.total_seconds()),
        isolation_level="AUTOCOMMIT",
    )


def url_of(dsn: str) -> sa.URL:
    """Return SQLAlchemy's URL for `sqlserver://user:password@host:port/database?option=value`.

    The database may also be given as `?database=`. Raises DatabaseUnfit for anything else.
    """
    try:
        parts = urlsplit(dsn)
        port = parts.port or PORT
    except ValueError:  # what it says may quote the password
        raise DatabaseUnfit(NO_ADDRESS) from None
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    name = parts.path.strip("/") or options.pop("database", "")
    misread = "@" in f"{parts.username or ''}{parts.hostname or ''}{name}"  # a part of the password
    known = parts.scheme in {"sqlserver", "mssql"}
    if not known or not parts.hostname or not name or misread:
        raise DatabaseUnfit(NO_ADDRESS)
    return sa.URL.create(
        "mssql+mssqlpython",
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        host=parts.hostname,
        port=port,
        database=unquote(name),
        query=options,
    )


def _engine(url: sa.URL, **options: Any) -> sa.Engine:
    engine = sa.create_engine(url, poolclass=QueuePool, **options)
    sa.event.listen(engine, "connect", _set_up)
    return engine


def _set_up(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for statement in SESSION:
        cursor.execute(statement)
    cursor.close()
    connection.commit()


def place_of(database: DatabaseSettings) -> str:
    """Return server and database, without user and password."""
    url = url_of(database.dsn or "")
    return f"SQL Server database {url.database} at {url.host}"


FITNESS = (
    "SELECT SCHEMA_NAME(), CAST(SERVERPROPERTY('ProductMajorVersion') AS int), d.name,"
    " d.is_read_committed_snapshot_on, d.snapshot_isolation_state, d.delayed_durability_desc"
    " FROM sys.databases d WHERE d.database_id = DB_ID()"
)
TRIGGERS = (
    "SELECT g.name, OBJECT_NAME(g.parent_id) FROM sys.triggers g"
    " WHERE g.is_disabled = 0 AND OBJECT_NAME(g.parent_id) = 'log_head'"
)


def fitness_of(connection: sa.Connection) -> Fitness:
    """Return what this database is like."""
    asked = connection.exec_driver_sql(FITNESS).one()
    schema, version, name, read_committed, snapshot, durability = tuple(asked)
    alter = f"ALTER DATABASE [{name}] SET"
    durable = f"what was committed could be lost: {alter} DELAYED_DURABILITY = DISABLED"
    blocking = f"readers would wait for writers: {alter} READ_COMMITTED_SNAPSHOT ON"
    torn = f"a check could not see one moment: {alter} ALLOW_SNAPSHOT_ISOLATION ON"
    refusals = [
        (version < OLDEST, "SQL Server 2017 or later is needed"),
        (not read_committed, blocking),
        (snapshot != 1, torn),
        (durability == "FORCED", durable),
    ]
    said = [what for is_so, what in refusals if is_so]
    said += [
        f"the trigger {trigger} on {table} forbids the OUTPUT that locking needs: disable it"
        for trigger, table in connection.exec_driver_sql(TRIGGERS)
    ]
    elsewhere = strangers(connection, str(schema))
    refused = tuple([*said, elsewhere] if elsewhere else said)
    return Fitness(refused, (), str(schema), str(version))
