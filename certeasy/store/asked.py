"""PostgreSQL and SQL Server, read for an audit: the questions are `certeasy.audit`'s.

Nothing is changed: the connections are the store's reading ones.
"""

from collections.abc import Callable, Collection
from typing import Any

import sqlalchemy as sa

from certeasy.audit.sources import NoDatabase, QueryFailed, Row
from certeasy.settings import DatabaseSettings
from certeasy.store.databases import place_of
from certeasy.store.dialects import POSTGRES, SQLSERVER, database_seconds
from certeasy.store.errors import DatabaseUnavailable, DatabaseUnfit, is_from_database
from certeasy.store.schema import metadata
from certeasy.store.store import Store

ROWS = "OFFSET 0 ROWS FETCH NEXT ? ROWS ONLY"  # T-SQL's LIMIT ?, which needs an ORDER BY
TRIGGERS = {
    POSTGRES: "SELECT t.tgname, c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
    " WHERE NOT t.tgisinternal AND c.relnamespace = current_schema()::regnamespace"
    " UNION ALL SELECT rulename, tablename FROM pg_rules WHERE schemaname = current_schema()",
    SQLSERVER: "SELECT name, OBJECT_NAME(parent_id) FROM sys.triggers WHERE parent_id <> 0",
}


class ServerSource:
    """A database on a server."""

    def __init__(self, database: DatabaseSettings) -> None:
        try:
            self.name = place_of(database)
            self._store = Store.open(database)
        except DatabaseUnfit as error:
            raise NoDatabase(str(error)) from None
        dialect = self._store.reader.dialect
        self.clock = str(database_seconds(dialect).compile(dialect=dialect))

    def exists(self) -> bool:
        """Only asking tells."""
        return True

    def open(self) -> "ServerRows":
        """Connect; raises NoDatabase where there is no log."""
        rows = ServerRows(self._store)
        try:
            if self._store.is_empty():
                raise NoDatabase(f"{self.name} has no tables of a server")
        except DatabaseUnavailable as error:
            rows.close()
            raise NoDatabase(f"{self.name} cannot be read: {error}") from None
        except NoDatabase:
            rows.close()
            raise
        return rows


class ServerRows:
    """One reading connection, used by one thread."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self, query: str, values: Collection[object] = ()) -> list[Row]:
        """Return the rows of a SELECT."""
        return self._run(lambda connection: _rows(connection, query, tuple(values)))

    def strange(self) -> str | None:
        """Return a trigger or a rule on one of the server's tables; other tables are others'."""
        ours = {table.name for table in metadata.sorted_tables}
        query = TRIGGERS[self._store.reader.dialect.name]
        for name, table in self._run(lambda connection: _rows(connection, query, ())):
            if table in ours:
                return f"the database has the trigger {name} on {table}, which is not the server's"
        return None

    def close(self) -> None:
        """Close every connection."""
        self._store.close()

    def _run(self, question: Callable[[sa.Connection], list[Row]]) -> list[Row]:
        try:
            with self._store.reader.connect() as connection:
                return question(connection)
        except Exception as error:
            if not is_from_database(error):
                raise
            raise QueryFailed(" ".join(str(error).split())) from None


def _rows(connection: sa.Connection, query: str, values: tuple[object, ...]) -> list[Row]:
    dialect = connection.dialect.name
    spelled = query.replace("LIMIT ?", ROWS) if dialect == SQLSERVER else query
    parts = spelled.split("?")
    names = [f"v{number}" for number in range(len(parts) - 1)]
    text = parts[0] + "".join(f":{name}{part}" for name, part in zip(names, parts[1:], strict=True))
    binds: dict[str, Any] = dict(zip(names, values, strict=True))
    return [tuple(row) for row in connection.execute(sa.text(text), binds).all()]
