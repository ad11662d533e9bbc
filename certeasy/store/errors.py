"""What can go wrong between us and the database, by what it means for the caller."""

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from projections.fold import TABLES

# Primary result codes of SQLite (sqlite.org/rescode.html): the statement was fine, the database is
# not.
_SQLITE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOTADB,
}
# Classes of SQLSTATE (PostgreSQL, appendix A) in which the values that were sent are at fault. All
# others tell of the server, the connection, a lock, a right or a table that is missing: the next
# command would meet the same.
_VALUES = {"21", "22", "23", "44"}
_NO_RIGHT, _NO_TABLE, _NO_COLUMN = "42501", "42P01", "42703"
# SQLite has no code of its own for these.
_SQLITE_LACKS = re.compile("no such (table|column): |table .+ has no column named ")
_PROJECTED = {table.name for table in TABLES}
_REFUSED_VALUES = {"DataError", "IntegrityError"}  # PEP 249
_DRIVERS = {"sqlite3", "psycopg", "mssql_python"}


class DatabaseUnavailable(Exception):
    """The database cannot be asked now; nothing was stored. The same may succeed later."""


class CommitUnknown(Exception):
    """COMMIT was sent and its answer is not known: it was stored, or it was not."""


class DatabaseUnfit(Exception):
    """The database must not be used as it is set up; the message says what to change."""


class PlaceLost(Exception):
    """Another node (or another start of this one) has taken the writer's place."""


class HistoryLost(Exception):
    """The database's record of this node's journal is not what this node stored last."""


class NonceStored(Exception):
    """A nonce is in the database already: an earlier change has used it."""


def is_out_of_service(error: BaseException) -> bool:
    """Tell a database that is away, full or locked from values that it refuses."""
    if isinstance(error, sa.exc.TimeoutError):
        return True
    if isinstance(error, sa.exc.DBAPIError):
        return error.connection_invalidated or _is_out_of_service(error.orig)
    return _is_out_of_service(error)


def _is_out_of_service(error: BaseException | None) -> bool:
    kind = type(error)
    match kind.__module__.partition(".")[0]:
        case "sqlite3":
            code = getattr(error, "sqlite_errorcode", None)
            lacks = _SQLITE_LACKS.match(str(error)) is not None
            return lacks or (isinstance(code, int) and code & 0xFF in _SQLITE)
        case "psycopg":
            state = getattr(error, "sqlstate", None)  # None: the driver itself lost the connection
            return not (state and state[:2] in _VALUES) and kind.__name__ not in _REFUSED_VALUES
        case "mssql_python":
            return kind.__name__ not in _REFUSED_VALUES
        case _:
            return False


def is_from_database(error: BaseException) -> bool:
    """Whether a driver, or SQLAlchemy, raised this."""
    module = type(error).__module__.partition(".")[0]
    return isinstance(error, sa.exc.SQLAlchemyError) or module in _DRIVERS


def _lacking(said: str) -> str:
    remedy = "restore it from a backup (docs, recovery)"
    if _PROJECTED.intersection(re.findall(r"\w+", said)):
        remedy = "'certeasy projections rebuild -f config.yml' makes this one anew from the log"
    return (
        f"the database lacks what belongs to it: {said}. Somebody has changed its tables: {remedy}"
    )


def _said(cause: BaseException | None) -> str:
    said = " ".join(str(cause).split())
    state = getattr(cause, "sqlstate", None)
    if state in {_NO_TABLE, _NO_COLUMN} or _SQLITE_LACKS.match(said):
        return _lacking(said.partition(" LINE ")[0])
    if getattr(cause, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_CANTOPEN:
        said += " (is it there, and may this user read and write it, and make files beside it?)"
    if state != _NO_RIGHT:
        return f"the database is out of service: {said}"
    return (
        f"the database's user has not the rights for this: {said.partition(' LINE ')[0]}. Give them"
        " to it, or run this with the configuration of a user who has them (docs, databases)"
    )


def _uncounted() -> None:
    pass


@contextmanager
def reported(failed: Callable[[], None] = _uncounted) -> Iterator[None]:
    """Turn errors of a database that is out of service into DatabaseUnavailable; `failed` is told
    of each."""
    try:
        yield
    except Exception as error:
        if is_from_database(error) and is_out_of_service(error):
            cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
            failed()
            raise DatabaseUnavailable(_said(cause)) from error
        raise
