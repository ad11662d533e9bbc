"""Whatever kind of value somebody puts into the database, it is named, and nothing stumbles."""

import pytest

from tests.make.installations import Installation
from tests.make.journals import a_log


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    log = a_log()
    log.an_order("web.corp.internal")
    return Installation(tmp_path_factory.mktemp("made"), log)


@pytest.fixture
def single(made, tmp_path):
    return made.copied(tmp_path)


WRONG_TYPES = [
    *((column, value) for column in ("seq", "version") for value in ("abc", b"5", 1.5, None)),
    *(
        (column, value)
        for column in ("server_id", "stream", "type", "at", "hash")
        for value in (b"abc", None)
    ),
    *(("line", value) for value in ("x", 7, 1.5, None)),
]
KINDS = {str: "text", int: "an integer", float: "a number", bytes: "bytes", type(None): "nothing"}


@pytest.mark.parametrize(("column", "value"), WRONG_TYPES)
def test_a_value_of_another_type_is_named(single, column, value):
    single.allow_null()
    single.sql(f"UPDATE events SET {column} = ? WHERE position = 5", value)  # noqa: S608 - ours
    broken = single.breaks(f"column {column} of events is {KINDS[type(value)]}, not ")
    assert (broken.file, broken.position) == (str(single.database), 5)


def test_a_line_that_was_made_text_is_named(single):
    single.sql("UPDATE events SET line = CAST(line AS TEXT) WHERE position = 5")
    assert single.breaks("column line of events is text, not bytes").position == 5


@pytest.mark.parametrize("value", ["abc", b"5", 4.5, None])
def test_a_position_of_another_type_is_named(single, value):
    single.allow_null()
    single.sql("UPDATE events SET position = ? WHERE position = 5", value)
    broken = single.breaks(r"column position of events is|the row is missing")
    assert broken.position == (1 if value is None else 5)


def test_text_that_is_no_text_is_named(single):
    single.sql("UPDATE events SET at = CAST(x'ff' AS TEXT) WHERE position = 5")
    assert single.breaks("the row behind position 4 cannot be read").position == 5


def test_a_row_too_large_to_be_read_is_named(single):
    single.sql("UPDATE events SET line = zeroblob(2000000) WHERE position = 5")
    assert single.breaks("the row behind position 4 cannot be read").position == 5


def test_a_row_at_the_least_position_of_all_is_named(single):
    single.sql(
        "INSERT INTO events SELECT ?, server_id, 99, stream, 99, type, at, hash, line"
        " FROM events WHERE position = 5",
        -(1 << 63),
    )
    assert single.breaks("the row in events is in no journal").position == -(1 << 63)


def test_another_node_s_line_that_was_made_text_is_named(tmp_path):
    log = a_log(nodes=2)
    for by in (1, 0, 1):
        log.an_order(f"web{by}.corp.internal", by=by)
    shared = Installation(tmp_path, log)
    position = shared.log.nodes[1].records[3].envelope.position
    shared.sql("UPDATE events SET line = CAST(line AS TEXT) WHERE position = ?", position)
    assert shared.breaks("column line of events is text").position == position


BESIDE = {
    "log_head": ("position", "hash", "at", "installation_id"),
    "servers": (
        *("server_id", "hostname", "kid", "x", "first_seen", "last_seen", "seq", "hash"),
        *("boot_id", "fingerprint"),
    ),
}
BESIDE_THE_LOG = [
    (table, column, value)
    for table, columns in BESIDE.items()
    for column in columns
    for value in (b"5", None, *(("abc", 1.5) if column in ("position", "seq") else ()))
]


@pytest.mark.parametrize(("table", "column", "value"), BESIDE_THE_LOG)
def test_tables_beside_the_log_have_their_types(single, table, column, value):
    single.allow_null()
    single.sql(f"UPDATE {table} SET {column} = ?", value)  # noqa: S608 - ours
    broken = single.breaks(f"column {column} of {table} is {KINDS[type(value)]}, not ")
    assert broken.file == str(single.database)
