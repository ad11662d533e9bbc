"""Rows that were changed lately, kept in memory.

True only while this node alone has the writer's place: every change passes through its committer,
which puts rows here after COMMIT and never before. Bounded per table; what falls out is read from
the database.
"""

from typing import Any, TypeVar

import msgspec

from projections.tables import Key, Table

S = TypeVar("S", bound=msgspec.Struct)
ROWS_PER_TABLE = 1000


class HotRows:
    """The newest rows of every table. Written by the committer's thread, read by all."""

    def __init__(self, most: int = ROWS_PER_TABLE) -> None:
        self._most = most
        self._tables: dict[Table[Any], dict[Key, Any]] = {}
        self.versions: dict[str, int] = {}  # of the streams that were written lately

    def get(self, table: Table[S], key: Key) -> S | None:
        """Return the row if it was changed lately; None says nothing."""
        rows = self._tables.get(table)
        state: S | None = rows.get(key) if rows else None
        return state

    def update(self, changes: dict[Table[Any], dict[Key, Any]], versions: dict[str, int]) -> None:
        """Take over what was committed; the oldest rows make room."""
        _renew(self.versions, versions, self._most)
        for table, changed in changes.items():
            rows = self._tables.setdefault(table, {})
            for key, state in changed.items():
                rows.pop(key, None)
                if state is not None:
                    rows[key] = state
            while len(rows) > self._most:
                del rows[next(iter(rows))]

    def clear(self) -> None:
        """Forget everything: what the database holds is not known any more."""
        self._tables = {}
        self.versions = {}


def _renew(kept: dict[str, int], newer: dict[str, int], most: int) -> None:
    for name, version in newer.items():
        kept.pop(name, None)
        kept[name] = version
    while len(kept) > most:
        del kept[next(iter(kept))]
