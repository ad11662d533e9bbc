"""Statements that are compiled once, on the driver's own cursor: SQLite's."""

import sqlite3

import pytest
import sqlalchemy as sa

from certeasy.store.dialects import upsert
from certeasy.store.statements import MOST_ROWS, Prepared

DIALECT = sa.create_engine("sqlite://").dialect
NUMBERS = sa.Table(
    "numbers", sa.MetaData(), sa.Column("n", sa.Integer, primary_key=True), sa.Column("word")
)


@pytest.fixture
def steps() -> list[str]:
    return []


@pytest.fixture
def cursor(steps: list[str]) -> sqlite3.Cursor:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE numbers (n INTEGER PRIMARY KEY, word TEXT)")
    connection.set_trace_callback(steps.append)
    return connection.cursor()


def rows(count: int, word: str) -> list[dict[str, object]]:
    return [{"n": n, "word": f"{word}-{n}"} for n in range(count)]


def stored(cursor: sqlite3.Cursor) -> list[dict[str, object]]:
    found = cursor.execute("SELECT n, word FROM numbers ORDER BY n").fetchall()
    return [{"n": n, "word": word} for n, word in found]


@pytest.mark.parametrize("count", [1, 2, 3, MOST_ROWS - 1, MOST_ROWS, 2 * MOST_ROWS + 7])
def test_all_rows_are_stored_however_many_there_are(cursor: sqlite3.Cursor, count: int) -> None:
    Prepared(sa.insert(NUMBERS), DIALECT).run_many(cursor, rows(count, "new"))
    assert stored(cursor) == rows(count, "new")


def test_rows_that_are_there_are_replaced_and_others_added(cursor: sqlite3.Cursor) -> None:
    (put,) = [Prepared(step, DIALECT) for step in upsert(DIALECT, NUMBERS, ("n",))]
    put.run_many(cursor, rows(5, "old"))
    put.run_many(cursor, rows(23, "new"))
    assert stored(cursor) == rows(23, "new")


def test_many_rows_are_few_steps(cursor: sqlite3.Cursor, steps: list[str]) -> None:
    Prepared(sa.insert(NUMBERS), DIALECT).run_many(cursor, rows(23, "new"))
    assert len(steps) == 4  # 16, 4, 2 and 1


def test_one_row_that_is_refused_refuses_those_that_come_with_it(cursor: sqlite3.Cursor) -> None:
    insert = Prepared(sa.insert(NUMBERS), DIALECT)
    insert.run(cursor, {"n": 3, "word": "first"})
    with pytest.raises(sqlite3.IntegrityError):
        insert.run_many(cursor, rows(4, "new"))
    assert stored(cursor) == [{"n": 3, "word": "first"}]


def test_rows_are_removed_one_by_one(cursor: sqlite3.Cursor) -> None:
    Prepared(sa.insert(NUMBERS), DIALECT).run_many(cursor, rows(4, "new"))
    gone = Prepared(sa.delete(NUMBERS).where(NUMBERS.c.n == sa.bindparam("k")), DIALECT)
    gone.run_many(cursor, [{"k": 0}, {"k": 2}])
    assert [row["n"] for row in stored(cursor)] == [1, 3]
