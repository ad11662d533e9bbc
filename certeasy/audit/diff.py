"""Two states compared, table by table and row by row, in memory that does not grow with them.

It compares what is in the files, whatever tables these have, and asks nothing of the log: that two
states agree proves that whoever folded them did so alike. Rows are walked in the order of their
keys, one of each file at a time.
"""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from certeasy.audit.state import AS_OF, AsOf

BODY = "body"
PROGRESS_ROWS = 1024
_NONE = (
    "does not say what it is a state of: give one that `audit replay` or `projections export` wrote"
)
Row = tuple[Any, ...]
_RANKS: dict[type, int] = {type(None): 0, int: 1, float: 1, str: 2, bytes: 3}  # as SQLite sorts


class NoState(Exception):
    """A file is not a state, or the two cannot be compared."""


class Difference(msgspec.Struct, frozen=True, omit_defaults=True):
    """A table or a row (`key`, its primary key) that is not the same in both.

    `only_in` names the one file that has it; else `columns` are those that differ, the members of
    a JSON body as `body.<member>`.
    """

    table: str
    key: tuple[str, ...] = ()
    only_in: str = ""
    columns: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return one line for people."""
        where = f"{self.table} {' '.join(self.key)}" if self.key else f"table {self.table}"
        if self.only_in:
            return f"{where}: only in {self.only_in}"
        return f"{where}: differs in {', '.join(self.columns)}"


class StateFile:
    """A state, opened for reading only."""

    def __init__(self, path: Path) -> None:
        """Open the file; raises NoState where it is none."""
        self.name = str(path)
        if not path.is_file():
            raise NoState(f"there is no file {path}")
        uri = f"{path.absolute().as_uri()}?mode=ro"
        self._connection = sqlite3.connect(uri, uri=True, isolation_level=None)
        self._connection.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
        try:
            self.as_of = self._read_as_of()
        except NoState:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def all(self, query: str) -> list[Row]:
        """Return the rows of a SELECT; raises NoState where the file is damaged."""
        return list(self._rows(query))

    def _rows(self, query: str) -> Iterator[Row]:
        try:
            yield from self._connection.execute(query)
        except sqlite3.Error as error:
            raise NoState(f"{self.name} cannot be read as a state: {error}") from None

    def _read_as_of(self) -> AsOf:
        kinds = self.all(f"SELECT type FROM sqlite_master WHERE name = '{AS_OF}'")  # noqa: S608 - ours
        if kinds != [("table",)]:  # a view could go on for ever
            raise NoState(f"{self.name} {_NONE}")
        rows = self.all(f"SELECT position, hash, at, projections FROM {AS_OF} LIMIT 2")  # noqa: S608 - ours
        try:
            [row] = rows
            return msgspec.convert(dict(zip(AsOf.__struct_fields__, row, strict=True)), AsOf)
        except (ValueError, msgspec.ValidationError):
            raise NoState(f"{self.name} {_NONE}") from None

    def tables(self) -> list[str]:
        """Return the names of the tables, without `as_of`."""
        rows = self.all("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        return [str(name) for (name,) in rows if name != AS_OF]

    def columns(self, table: str) -> list[tuple[str, int]]:
        """Return a table's columns, each with its place in the primary key, 0 if it has none."""
        return [(str(row[1]), int(row[5])) for row in self.all(f"PRAGMA table_info({_q(table)})")]

    def count(self, table: str) -> int:
        """Return how many rows a table has."""
        return int(self.all(f"SELECT count(*) FROM {_q(table)}")[0][0])  # noqa: S608 - quoted

    def ordered(self, table: str, columns: list[str], key: list[str]) -> Iterator[Row]:
        """Yield a table's rows in the order of its key."""
        names, order = ", ".join(map(_q, columns)), ", ".join(map(_q, key))
        return self._rows(f"SELECT {names} FROM {_q(table)} ORDER BY {order}")  # noqa: S608 - quoted


def check_comparable(one: StateFile, other: StateFile, *, ignore_position: bool) -> None:
    """Raise NoState unless both are folded alike, and as of the same position."""
    mine, theirs = one.as_of, other.as_of
    if mine.projections != theirs.projections:
        raise NoState(
            f"{one.name} has projections of version {mine.projections}, {other.name} of"
            f" {theirs.projections}: make both with the same version of Certeasy"
        )
    if mine.position != theirs.position and not ignore_position:
        raise NoState(
            f"{one.name} is as of position {mine.position}, {other.name} of {theirs.position};"
            " --ignore-position compares them all the same"
        )


def compare(
    one: StateFile, other: StateFile, progress: Callable[[int], None] = lambda _done: None
) -> Iterator[Difference]:
    """Yield what is not the same; `progress` hears now and then how many rows were looked at."""
    if one.as_of.position == other.as_of.position and one.as_of != other.as_of:
        yield Difference(AS_OF, columns=_differing(AsOf.__struct_fields__, _of(one), _of(other)))
    mine, theirs = set(one.tables()), set(other.tables())
    done = 0
    for table in sorted(mine | theirs):
        if table not in theirs or table not in mine:
            yield Difference(table, only_in=one.name if table in mine else other.name)
            continue
        columns = one.columns(table)
        if columns != other.columns(table):
            changed = sorted({name for name, _ in {*columns} ^ {*other.columns(table)}})
            yield Difference(table, columns=tuple(changed))
            continue
        for difference in _compare_rows(table, columns, one, other):
            done += 1
            if done % PROGRESS_ROWS == 0:
                progress(done)
            if difference is not None:
                yield difference
    progress(done)


def _compare_rows(
    table: str, columns: list[tuple[str, int]], one: StateFile, other: StateFile
) -> Iterator[Difference | None]:
    """Yield for each key what differs, None where nothing does."""
    names = [name for name, _ in columns]
    key = [name for _, name in sorted((place, name) for name, place in columns if place)] or names
    places = [names.index(name) for name in key]
    here, there = one.ordered(table, names, key), other.ordered(table, names, key)
    mine, theirs = next(here, None), next(there, None)
    while mine is not None or theirs is not None:
        order = _order(mine, theirs, places)
        if order == 0 and mine is not None and theirs is not None:
            same = mine == theirs
            differing = () if same else _differing(names, mine, theirs)
            yield None if same else Difference(table, _shown(mine, places), columns=differing)
        elif order < 0 and mine is not None:
            yield Difference(table, _shown(mine, places), only_in=one.name)
        elif theirs is not None:
            yield Difference(table, _shown(theirs, places), only_in=other.name)
        mine = next(here, None) if order <= 0 else mine
        theirs = next(there, None) if order >= 0 else theirs


def _order(mine: Row | None, theirs: Row | None, places: list[int]) -> int:
    """Return which key comes first: -1 mine, 1 theirs, 0 both."""
    if mine is None or theirs is None:
        return 1 if mine is None else -1
    first, second = ([(_RANKS[type(row[n])], row[n]) for n in places] for row in (mine, theirs))
    return (first > second) - (first < second)


def _differing(names: list[str] | tuple[str, ...], mine: Row, theirs: Row) -> tuple[str, ...]:
    found: list[str] = []
    for name, one, other in zip(names, mine, theirs, strict=True):
        if one != other:
            found.extend(_members(one, other) if name == BODY else [name])
    return tuple(found)


def _members(one: object, other: object) -> list[str]:
    """Return the members of two JSON objects that differ, or `body` where that tells nothing."""
    try:
        mine, theirs = (msgspec.json.decode(body, type=dict) for body in (one, other))  # type: ignore[call-overload]
    except (msgspec.MsgspecError, TypeError, RecursionError):
        return [BODY]
    absent = object()
    names = [n for n in {**mine, **theirs} if mine.get(n, absent) != theirs.get(n, absent)]
    return [f"{BODY}.{name}" for name in names] or [BODY]


def _shown(row: Row, places: list[int]) -> tuple[str, ...]:
    values = [row[place] for place in places]
    return tuple(v.hex() if isinstance(v, bytes) else _text(v) for v in values)


def _text(value: object) -> str:
    """Return a value as text that can be encoded, whatever bytes stood in the file."""
    return str(value).encode("utf-8", "backslashreplace").decode()


def _of(state: StateFile) -> Row:
    of = state.as_of
    return of.position, of.hash, of.at, of.projections


def _q(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
