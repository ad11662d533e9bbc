"""Folding the log anew, aside: to take the place of the tables in use, or to be compared with them.

Live tables are never emptied. The shadow tables are filled in short pages; swapping and comparing
happen when the fold has reached the log's end. Until then both are one thing.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from certeasy.store import Store
from certeasy.store.shadow import Shadow
from events.envelope import parse
from projections.fold import TABLES, VERSION, fold
from projections.tables import Key, Table, WorkingRows

PAGE = 2000
Progress = Callable[[int], None]


class Difference(msgspec.Struct, frozen=True):
    """A row that is not what the log says: `stored` or `folded` is False where there is no such
    row."""

    table: str
    key: Key
    stored: bool
    folded: bool

    def __str__(self) -> str:
        """Return one line for people."""
        where = f"{self.table} {' '.join(self.key)}"
        if not self.stored:
            return f"{where}: missing in the table, the log has it"
        if not self.folded:
            return f"{where}: in the table, but the log does not have it"
        return f"{where}: not what the log says"


def refold(lines: Iterable[bytes], shadow: Shadow, progress: Progress = lambda _done: None) -> int:
    """Fold lines, in order of position, into the shadow tables; return how many there were.

    Raises as `events.parse` and `Record.event` do for a line that is broken or from the future.
    """
    rows = WorkingRows(shadow.load)
    done = 0
    for page in _pages(lines):
        for line in page:
            fold(parse(line), rows)
        shadow.store(rows.changes())
        rows.forget()
        done += len(page)
        progress(done)
    return done


def _pages(lines: Iterable[bytes]) -> Iterator[tuple[bytes, ...]]:
    iterator = iter(lines)
    while page := tuple(itertools.islice(iterator, PAGE)):
        yield page


def rebuild(store: Store, progress: Progress = lambda _done: None) -> int:
    """Fold the whole log into new tables and put them in the place of those in use; return the
    events folded.

    For a node that is not serving: nothing may be committed meanwhile. A crash leaves the old
    tables.
    """
    with store.refolding() as (shadow, lines):
        done = refold(lines, shadow, progress)
        shadow.swap()
    with store.repeatable() as transaction:
        transaction.set_projections(VERSION)
    return done


def check(store: Store, progress: Progress = lambda _done: None) -> tuple[int, list[Difference]]:
    """Fold the whole log aside, as it stands now, and compare; return the events folded and what
    differs.

    Writes nothing to the database, and may be run beside a serving node.
    """
    with store.snapshot() as (shadow, lines, live):
        done = refold(lines, shadow, progress)
        different = [
            difference
            for table in TABLES
            for difference in compare(table, live(table), shadow.rows(table))
        ]
    return done, different


def compare(
    table: Table[Any], stored: Iterator[tuple[Any, ...]], folded: Iterator[tuple[Any, ...]]
) -> Iterator[Difference]:
    """Yield what differs between two sets of rows, both in the order of their keys."""
    names = [column.name for column in table.columns]
    places = [names.index(name) for name in table.key]

    def key(row: tuple[Any, ...] | None) -> Key | None:
        return None if row is None else tuple(row[place] for place in places)

    here, there = next(stored, None), next(folded, None)
    while here is not None or there is not None:
        mine, theirs = key(here), key(there)
        if mine is not None and (theirs is None or mine < theirs):
            yield Difference(table.name, mine, stored=True, folded=False)
            here = next(stored, None)
        elif theirs is not None and (mine is None or theirs < mine):
            yield Difference(table.name, theirs, stored=False, folded=True)
            there = next(folded, None)
        else:
            if here != there and mine is not None:
                yield Difference(table.name, mine, stored=True, folded=True)
            here, there = next(stored, None), next(folded, None)
