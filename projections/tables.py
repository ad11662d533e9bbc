"""Tables as data: what a projection keeps, told once for every database that will hold it.

A row is a struct. What is looked up stands in columns of its own; the rest of the struct is kept
whole, as JSON, in the column `body`. The server's store and the auditor's small SQLite writer build
the same tables from these declarations.
"""

from collections.abc import Iterable
from typing import Any, Generic, Protocol, TypeVar

import msgspec

S = TypeVar("S", bound=msgspec.Struct)
Key = tuple[str, ...]

_encode = msgspec.json.Encoder().encode


class Contradiction(LookupError):
    """The log says something that cannot follow from what it said before."""

    def __init__(self, position: int, what: str) -> None:
        super().__init__(f"position {position}: {what}")
        self.position = position


class Column(msgspec.Struct, frozen=True):
    """A column: `kind` is text, integer or bytes; `size` bounds a text (characters)."""

    name: str
    kind: str = "text"
    size: int = 255
    nullable: bool = False


class Table(Generic[S]):
    """A projection's table: columns taken from the struct's fields of the same name.

    `key` names the primary key's columns, all texts; `indexes` names further look-ups. With `body`,
    the whole struct is kept as JSON as well, and read back from there.
    """

    def __init__(
        self,
        name: str,
        struct: type[S],
        columns: Iterable[Column],
        *,
        key: tuple[str, ...],
        indexes: Iterable[tuple[str, ...]] = (),
        body: bool = True,
    ) -> None:
        self.name = name
        self.key = key
        self.indexes = tuple(indexes)
        self.body = body
        self.fields = tuple(column.name for column in columns)
        self.columns = (*columns, Column("body", "bytes")) if body else tuple(columns)
        self._struct = struct
        self._decode = msgspec.json.Decoder(struct).decode

    def key_of(self, state: S) -> Key:
        """Return the primary key of a row."""
        return tuple([getattr(state, name) for name in self.key])

    def to_row(self, state: S) -> dict[str, object]:
        """Return the row to store, by column name."""
        row = {name: getattr(state, name) for name in self.fields}
        if self.body:
            row["body"] = _encode(state)
        return row

    def to_state(self, row: tuple[Any, ...]) -> S:
        """Return the struct of a stored row, whose values come in the order of `columns`."""
        if self.body:
            return self._decode(row[-1])
        return self._struct(**dict(zip(self.fields, row, strict=True)))


class Readable(Protocol):
    """Rows by primary key."""

    def get(self, table: Table[S], *key: str) -> S | None:
        """Return the row with this key as it is now, or None."""
        ...


class Rows(Readable, Protocol):
    """What a fold reads and changes: rows by primary key."""

    def put(self, table: Table[S], state: S) -> None:
        """Insert the row, or replace the one with the same key."""
        ...

    def delete(self, table: Table[Any], *key: str) -> None:
        """Remove the row with this key, if there is one."""
        ...


class Load(Protocol):
    """How rows that were not seen yet are fetched."""

    def __call__(self, table: Table[S], key: Key, /) -> S | None:
        """Return the stored row, or None."""
        ...


class WorkingRows:
    """Rows at work: what was read, and what was changed but not stored yet."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._seen: dict[Table[Any], dict[Key, Any]] = {}
        self._changed: dict[Table[Any], dict[Key, Any]] = {}
        self.latest: dict[tuple[Table[Any], Key], Any] = {}  # changed since somebody emptied it

    def get(self, table: Table[S], *key: str) -> S | None:
        """Return the row as it is now: changed, seen or fetched."""
        seen = self._seen.setdefault(table, {})
        if key not in seen:
            seen[key] = self._load(table, key)
        state: S | None = seen[key]
        return state

    def put(self, table: Table[S], state: S) -> None:
        """Insert or replace a row."""
        self._set(table, table.key_of(state), state)

    def delete(self, table: Table[Any], *key: str) -> None:
        """Remove a row."""
        self._set(table, key, None)

    def _set(self, table: Table[Any], key: Key, state: object) -> None:
        self._seen.setdefault(table, {})[key] = state
        self._changed.setdefault(table, {})[key] = state
        self.latest[table, key] = state

    def changes(self) -> dict[Table[Any], dict[Key, Any]]:
        """Return what must be stored, by table and key; None stands for a removed row."""
        return self._changed

    def forget(self) -> None:
        """Forget what was seen and changed, to keep memory flat over a long fold."""
        self._seen = {}
        self._changed = {}
        self.latest = {}
