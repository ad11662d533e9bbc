"""What can go wrong between us and the database, by what it means for the caller."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

# Primary result codes (sqlite.org/rescode.html): the statement was fine, the database is not.
_OUT_OF_SERVICE = {
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


class DatabaseUnavailable(Exception):
    """The database cannot be asked now; nothing was stored. The same may succeed later."""


class CommitUnknown(Exception):
    """COMMIT was sent and its answer is not known: it was stored, or it was not."""


class PlaceLost(Exception):
    """Another node (or another start of this one) has taken the writer's place."""


class HistoryLost(Exception):
    """The database's record of this node's journal is not what this node stored last."""


class NonceStored(Exception):
    """A nonce is in the database already: an earlier change has used it."""


def is_out_of_service(error: BaseException) -> bool:
    """Tell a database that is away, full or locked from a statement that it refuses."""
    if isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated:
        return True
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    if isinstance(error, sa.exc.TimeoutError):
        return True
    code = getattr(cause, "sqlite_errorcode", None)
    return isinstance(code, int) and code & 0xFF in _OUT_OF_SERVICE


@contextmanager
def reported() -> Iterator[None]:
    """Turn errors of a database that is out of service into DatabaseUnavailable."""
    try:
        yield
    except (sa.exc.SQLAlchemyError, sqlite3.Error) as error:
        if is_out_of_service(error):
            cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
            raise DatabaseUnavailable(f"the database is out of service: {cause}") from error
        raise
