"""PostgreSQL through psycopg 3: a confirmed commit is on disk, and a stuck node holds up nobody.

A node that is frozen between its UPDATE of the log's head and COMMIT would block the other for
ever: all timeouts of the writing connection are below the lease, so that the server ends it first.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import QueuePool

from certeasy.settings import DatabaseSettings
from certeasy.store.errors import DatabaseUnfit
from certeasy.store.fitness import Fitness, strangers
from certeasy.store.passwords import password_of

OLDEST = 130000  # server_version_num
APPLICATION = "certeasy"

NO_ADDRESS = (
    "database.dsn is no address of a PostgreSQL server: write"
    " postgresql://user@host:5432/database?option=value, and %40 for @, %2F for / and %25 for % in"
    " a user or a password (or use database.password-file)"
)
# libpq's own words (PostgreSQL, "Parameter Key Words"), for what the address leaves open.
CONNECTION = {
    "application_name": APPLICATION,
    "tcp_user_timeout": "10000",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "target_session_attrs": "read-write",
}
EVERY = {"client_encoding": "UTF8", "default_transaction_isolation": "read committed"}
WRITER = EVERY | {
    "idle_in_transaction_session_timeout": "5s",
    "lock_timeout": "5s",
    "statement_timeout": "10s",
}
READER = EVERY | {
    "idle_in_transaction_session_timeout": "60s",
    "statement_timeout": "30s",
    "default_transaction_read_only": "on",
}
# `remote_apply` and `remote_write` are the administrator's choice; less than `on` is not enough.
DURABLE = (
    "SELECT set_config('synchronous_commit', 'on', false)"
    " WHERE current_setting('synchronous_commit') IN ('off', 'local')"
)


# An operator that fits better than PostgreSQL's own, in a schema further on, is not to be run.
ONE_SCHEMA = (
    "SELECT set_config('search_path', quote_ident(current_schema()), false)"
    " WHERE current_schema() IS NOT NULL"
)
OPEN_TO_ALL = (
    "SELECT EXISTS (SELECT FROM pg_namespace n,"
    " aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a"
    " WHERE n.nspname = current_schema() AND a.grantee = 0 AND a.privilege_type = 'CREATE')"
)


def engines(database: DatabaseSettings) -> tuple[sa.Engine, sa.Engine]:
    """Return the engine that writes and the one that reads; nothing is connected yet."""
    address = _address(database)
    writer = _engine(address, WRITER, pool_size=1, max_overflow=2)
    readers = max(1, database.max_conn - 2)
    seconds = database.ping_timeout_sec
    return writer, _engine(
        address,
        READER,
        pool_size=readers,
        max_overflow=0,
        pool_timeout=seconds,
        pool_recycle=int(database.conn_max_lifetime.total_seconds()),
        isolation_level="AUTOCOMMIT",
    )


def _address(database: DatabaseSettings) -> dict[str, str]:
    """Return libpq's parameters: what the address says, and what it leaves open."""
    from psycopg import ProgrammingError  # noqa: PLC0415 - only who uses it needs it installed
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    try:
        said = conninfo_to_dict(database.dsn or "")
    except ProgrammingError:  # what libpq says of it may quote the password
        raise DatabaseUnfit(NO_ADDRESS) from None
    given = {name: str(value) for name, value in said.items() if value is not None}
    _check_not_misread(given)
    if (password := password_of(database)) is not None:
        given["password"] = password
    return {**CONNECTION, "connect_timeout": str(database.ping_timeout_sec), **given}


def _check_not_misread(given: dict[str, str]) -> None:
    """Refuse an address in which a part of the password was taken for a host, a port or a name.

    These are told in messages.
    """
    ports = given.get("port", "").replace(",", "")
    names = "".join(given.get(name, "") for name in ("host", "hostaddr", "dbname"))
    if "@" in names or (ports and not ports.isdecimal()):
        raise DatabaseUnfit(NO_ADDRESS)


def _engine(address: dict[str, str], session: dict[str, str], **options: Any) -> sa.Engine:
    def connect() -> Any:
        import psycopg  # noqa: PLC0415 - only who uses it needs it installed

        connection = psycopg.connect(**address, autocommit=True)  # type: ignore[arg-type]
        with connection.cursor() as cursor:
            for name, value in session.items():
                cursor.execute("SELECT set_config(%s, %s, false)", (name, value))
            cursor.execute(DURABLE)
            cursor.execute(ONE_SCHEMA)
        connection.autocommit = False
        return connection

    return sa.create_engine(
        "postgresql+psycopg://",
        creator=connect,
        poolclass=QueuePool,
        use_native_hstore=False,
        **options,
    )


def place_of(database: DatabaseSettings) -> str:
    """Return server and database, without user and password."""
    address = _address(database)
    host = address.get("host") or address.get("hostaddr") or "the local socket"
    return f"PostgreSQL database {address.get('dbname', 'of the user')} at {host}"


def fitness_of(connection: sa.Connection) -> Fitness:
    """Return what this database is like."""
    asked = connection.exec_driver_sql(
        "SELECT current_schema(), current_setting('server_version_num')::int,"
        " current_setting('server_version'),"
        " current_setting('server_encoding'), current_setting('fsync'),"
        " current_setting('full_page_writes'), pg_is_in_recovery()"
    ).one()
    schema, version, named, encoding, fsync, whole_pages, standby = tuple(asked)
    refusals = [
        (version < OLDEST, "PostgreSQL 13 or later is needed"),
        (encoding != "UTF8", f"its encoding is {encoding}: create the database with ENCODING UTF8"),
        (schema is None, "search_path names no schema that exists: set one for this user"),
        (standby, "it is a standby, which takes no changes: give the address of the primary"),
    ]
    warnings = [
        (fsync != "on", "fsync is off: a power failure can take what was acknowledged"),
        (whole_pages != "on", "full_page_writes is off: a power failure can damage the database"),
    ]
    if connection.exec_driver_sql(OPEN_TO_ALL).scalar():
        anybody = (
            f"every user of the database may put functions and operators into schema {schema},"
            f" which this server would run: REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC"
        )
        refusals.append((True, anybody))
    said = [what for is_so, what in refusals if is_so]
    elsewhere = strangers(connection, str(schema)) if schema else None
    return Fitness(
        tuple([*said, elsewhere] if elsewhere else said),
        tuple(what for is_so, what in warnings if is_so),
        schema or "",
        str(named).partition(" ")[0],
    )
