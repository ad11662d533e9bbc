"""Rows that were changed lately, kept in memory; and keys that are known to have no row.

True only while this node alone has the writer's place: every change passes through its committer,
which puts rows here after COMMIT and never before. Bounded per table; what falls out is read from
the database.
"""

import threading
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from projections.tables import Key, Table

K = TypeVar("K")
V = TypeVar("V")
S = TypeVar("S", bound=msgspec.Struct)
ROWS_PER_TABLE = 1000


class HotRows:
    """The newest rows of every table, and keys without one. Rows come from the committer's thread;
    everybody reads, and says what was looked for in vain."""

    def __init__(self, most: int = ROWS_PER_TABLE) -> None:
        self._most = most
        self._tables: dict[Table[Any], dict[Key, Any]] = {}
        self._missing: dict[Table[Any], dict[Key, None]] = {}
        self._lock = threading.Lock()
        self.versions: dict[str, int] = {}  # of the streams that were written lately
        self.changes = 0
        """Grows with every change: what was seen in the database before one may be wrong after."""

    def get(self, table: Table[S], key: Key) -> S | None:
        """Return the row if it was changed lately; None says nothing."""
        rows = self._tables.get(table)
        state: S | None = rows.get(key) if rows else None
        return state

    def is_missing(self, table: Table[Any], key: Key) -> bool:
        """Whether it is known that there is no such row."""
        missing = self._missing.get(table)
        return missing is not None and key in missing

    def missed(self, table: Table[Any], key: Key, changes: int) -> None:
        """The database had no such row. `changes` is what it was before that was looked up: if it
        is not any more, nothing is known."""
        with self._lock:
            if changes == self.changes:
                _renew(self._missing.setdefault(table, {}), {key: None}, self._most)

    def update(self, changes: dict[Table[Any], dict[Key, Any]], versions: dict[str, int]) -> None:
        """Take over what was committed; the oldest rows make room."""
        with self._lock:
            self.changes += 1
            _renew(self.versions, versions, self._most)
            for table, changed in changes.items():
                there = {key: state for key, state in changed.items() if state is not None}
                gone = {key: None for key, state in changed.items() if state is None}
                _change(self._missing.setdefault(table, {}), gone, there, self._most)
                _change(self._tables.setdefault(table, {}), there, gone, self._most)

    def clear(self) -> None:
        """Forget everything: what the database holds is not known any more."""
        with self._lock:
            self.changes += 1
            self._tables = {}
            self._missing = {}
            self.versions = {}


def _change(kept: dict[K, V], newer: Mapping[K, V], gone: Iterable[K], most: int) -> None:
    for key in gone:
        kept.pop(key, None)
    _renew(kept, newer, most)


def _renew(kept: dict[K, V], newer: Mapping[K, V], most: int) -> None:
    for key, value in newer.items():
        kept.pop(key, None)
        kept[key] = value
    while len(kept) > most:
        del kept[next(iter(kept))]
