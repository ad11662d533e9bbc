import msgspec
import pytest

from projections.tables import Column, Table, WorkingRows


class Door(msgspec.Struct, frozen=True):
    id: str
    open: int
    colour: str = "green"


DOORS = Table("doors", Door, [Column("id"), Column("open", "integer")], key=("id",))
PLAIN = Table(
    "plain",
    Door,
    [Column("id"), Column("open"), Column("colour")],
    key=("id", "colour"),
    body=False,
)


@pytest.mark.parametrize("table", [DOORS, PLAIN], ids=["body", "columns"])
def test_a_row_is_read_back(table):
    door = Door("front", 1, "red")
    assert table.to_state(tuple(table.to_row(door).values())) == door


def test_the_key_is_of_the_columns_that_it_names():
    assert DOORS.key_of(Door("front", 1)) == ("front",)
    assert PLAIN.key_of(Door("front", 1, "red")) == ("front", "red")


def test_a_row_is_loaded_once():
    loaded = []

    def load(table, key):
        loaded.append(key)
        return Door(*key, 1) if key == ("front",) else None

    rows = WorkingRows(load)
    assert rows.get(DOORS, "front") == rows.get(DOORS, "front") == Door("front", 1)
    assert rows.get(DOORS, "back") is rows.get(DOORS, "back") is None
    assert loaded == [("front",), ("back",)]
    assert rows.changes() == {}


def test_changes_are_read_back_and_handed_over():
    rows = WorkingRows(lambda _table, key: Door(*key, 0))
    rows.put(DOORS, Door("front", 1))
    rows.delete(DOORS, "back")
    assert rows.get(DOORS, "front") == Door("front", 1)
    assert rows.get(DOORS, "back") is None
    assert rows.changes() == {DOORS: {("front",): Door("front", 1), ("back",): None}}
    rows.forget()
    assert rows.changes() == {}
    assert rows.get(DOORS, "back") == Door("back", 0)
