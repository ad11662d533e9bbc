"""Connections that only read, for any number of threads."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Protocol, TypeVar
from weakref import WeakSet

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

T = TypeVar("T")


class Readers(Protocol):
    """Lends a reading connection to the thread that asks."""

    def lend(self) -> AbstractContextManager[sa.Connection]:
        """Lend a connection for as long as the block runs."""
        ...

    def close(self) -> None:
        """Close every connection."""
        ...


def readers_of(engine: sa.Engine) -> Readers:
    """Return who lends an engine's connections: those of a pool, or each thread its own."""
    return OwnReaders(engine) if isinstance(engine.pool, NullPool) else PooledReaders(engine)


class PooledReaders:
    """Connections of the engine's pool. What a server closed while it lay there is replaced."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def lend(self) -> AbstractContextManager[sa.Connection]:
        """Lend one of the pool; raises sqlalchemy.exc.TimeoutError where none comes free."""
        return self._engine.connect()

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


class OwnReaders:
    """A connection per thread, kept: on SQLite to open one costs more than to read."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._local = threading.local()
        self._lent: WeakSet[_Lent] = WeakSet()

    @contextmanager
    def lend(self) -> Iterator[sa.Connection]:
        """Lend this thread's own connection."""
        lent: _Lent | None = getattr(self._local, "lent", None)
        if lent is None or lent.connection.closed or lent.connection.invalidated:
            self._local.lent = lent = _Lent(self._engine.connect())
            self._lent.add(lent)
        yield lent.connection

    def close(self) -> None:
        """Close every connection, whosever it is."""
        for lent in list(self._lent):
            lent.close()
        self._engine.dispose()


class _Lent:
    """A thread's reading connection; it is closed when its thread has ended."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection

    def close(self) -> None:
        quietly(self.connection.close)

    __del__ = close


def ask(readers: Readers, question: Callable[[sa.Connection], T]) -> T:
    """Return what a question to the database is answered; it is asked again where its connection
    was gone, as after a restart of the server."""
    try:
        with readers.lend() as connection:
            return _asked(connection, question)
    except _Gone:
        with readers.lend() as connection:
            return question(connection)


class _Gone(Exception):
    """The connection was dead before the question was asked, or died of it."""


def _asked(connection: sa.Connection, question: Callable[[sa.Connection], T]) -> T:
    try:
        return question(connection)
    except Exception as error:
        if not is_gone(connection, error):
            raise
        connection.invalidate()
        connection.engine.pool.dispose()  # the others met the same end
        raise _Gone from error


def is_gone(connection: sa.Connection, error: BaseException) -> bool:
    """Whether an error, the driver's own or SQLAlchemy's, says that the connection is dead."""
    if isinstance(error, sa.exc.DBAPIError):
        return error.connection_invalidated
    if connection.invalidated:
        return True
    driver: Any = connection.connection.dbapi_connection
    said: Any = error
    return isinstance(error, Exception) and connection.dialect.is_disconnect(said, driver, None)


def quietly(close: Callable[[], object]) -> None:
    """Leave a broken connection behind: what matters was raised already."""
    with suppress(Exception):
        close()
