"""A database that is not what its nodes signed is named by position, whatever was done to it."""

import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

import pytest

from certeasy.audit.database import Database
from certeasy.audit.sources import NoDatabase
from certeasy.audit.verifying import Given, verify
from journal.breaks import JournalBroken
from journal.lines import NoJournal
from tests.make.databases import a_database
from tests.make.installations import Installation
from tests.make.journals import ALog, a_log

NOBODY = 65534


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    log = a_log()
    log.an_order("web.corp.internal")
    return Installation(tmp_path_factory.mktemp("made"), log)


@pytest.fixture
def single(made, tmp_path):
    return made.copied(tmp_path)


@pytest.fixture
def shared(tmp_path):
    """Two nodes on one database, and the first one's journal."""
    log = a_log(nodes=2)
    for by in (1, 0, 1, 1):
        log.an_order(f"web{by}.corp.internal", by=by)
    return Installation(tmp_path, log)


def test_a_database_that_holds_what_was_signed_is_good(single):
    before = single.database.read_bytes()
    assert single.verify().lines == len(single.log.records)
    assert single.database.read_bytes() == before


def test_lines_of_a_node_whose_journal_is_elsewhere_are_taken_from_the_database(shared):
    summary = shared.verify()
    assert summary.complete
    assert [node.lines for node in summary.nodes] == [len(n.records) for n in shared.log.nodes]
    other = shared.folder / "other" / "audit.log"
    other.parent.mkdir()
    other.write_bytes(shared.log.nodes[1].journal)
    given = Given([[other]])
    given.add_node(shared.folder, shared.journal, shared.database)
    assert verify(given).lines == summary.lines


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("server_id", "another"),
        ("seq", 99),
        ("stream", "order/another"),
        ("version", 99),
        ("type", "order.ready"),
        ("at", "2026-11-23T12:00:00.000000Z"),
        ("hash", "0" * 64),
    ],
)
def test_a_changed_column_is_named(single, column, value):
    single.sql(f"UPDATE events SET {column} = ? WHERE position = 5", value)  # noqa: S608 - ours
    broken = single.breaks(f"column {column} is .*{value}")
    assert (broken.file, broken.position) == (str(single.database), 5)


def test_a_changed_line_in_the_database_is_named_beside_the_journal_s(single):
    line = single.log.records[4].line
    single.sql("UPDATE events SET line = ? WHERE position = 5", line.replace(b"schema", b"Schema"))
    broken = single.breaks(r"the row in events is not the line .*audit\.log:5")
    assert (broken.file, broken.position) == (str(single.database), 5)


def test_a_changed_line_in_the_journal_is_named_beside_the_database(single):
    journal = single.journal.read_bytes()
    lines = journal.splitlines(keepends=True)
    lines[5] = lines[5].replace(b"test", b"tesT")
    single.journal.write_bytes(b"".join(lines))
    broken = single.breaks("the line was changed")
    assert (broken.file, broken.line) == (str(single.journal), 6)


def test_a_changed_line_of_another_node_is_found_in_the_database(shared):
    position = shared.log.nodes[1].records[3].envelope.position
    line = shared.log.records[position - 1].line
    changed = line.replace(b'"schema":1', b'"schema":2')
    shared.sql("UPDATE events SET line = ? WHERE position = ?", changed, position)
    broken = shared.breaks("the line was changed")
    assert (broken.file, broken.position) == (str(shared.database), position)


def test_a_removed_row_is_named(single):
    single.sql("DELETE FROM events WHERE position = 5")
    assert single.breaks("the row is missing from events").position == 5


def test_a_removed_row_of_another_node_is_named(shared):
    position = shared.log.nodes[1].records[3].envelope.position
    shared.sql("DELETE FROM events WHERE position = ?", position)
    broken = shared.breaks("seq 4 is missing")
    assert broken.position == shared.log.nodes[1].records[4].envelope.position


def test_an_inserted_row_is_named(single):
    single.sql(
        "INSERT INTO events SELECT 0, server_id, 99, stream, 99, type, at, hash, line"
        " FROM events WHERE position = 5"
    )
    assert single.breaks("the row in events is in no journal: it was inserted").position == 0


def test_a_row_appended_behind_the_head_contradicts_it(single):
    last = len(single.log.records)
    single.sql(
        "INSERT INTO events SELECT position + 1, server_id, 99, stream, 99, type, at, hash, line"
        " FROM events WHERE position = ?",
        last,
    )
    single.breaks(f"log_head is at position {last}, but events ends at position {last + 1}")


@pytest.mark.parametrize(
    ("statement", "match"),
    [
        ("UPDATE log_head SET position = 4", "log_head is at position 4, but events ends at"),
        ("UPDATE log_head SET hash = 'x'", "log_head has hash x and time 2026"),
        ("UPDATE log_head SET at = 'x'", "log_head has hash .* and time x"),
        ("DELETE FROM log_head", "log_head has no row"),
        ("UPDATE log_head SET installation_id = 'x'", "the database is of installation x, the jou"),
        ("UPDATE servers SET seq = 4", "servers has node .* at seq 4"),
        ("UPDATE servers SET hash = 'x'", "servers has node .*hash x, but events"),
        ("UPDATE servers SET kid = 'x'", "servers has key x for node .*, which signs with"),
        ("DELETE FROM servers", "servers has key None for node"),
    ],
)
def test_tables_beside_the_log_must_agree_with_it(single, statement, match):
    single.sql(statement)
    assert single.breaks(match).file == str(single.database)


def test_a_database_that_was_rolled_back_is_named(single, tmp_path):
    shorter = tmp_path / "shorter"
    shorter.mkdir()
    for count in (1, 5):
        log = a_log()
        log.an_order("web.corp.internal")
        log.records = log.records[:-count]
        log.nodes[0].records = log.records
        a_database(log, shorter / f"{count}.sqlite")
        single.database = shorter / f"{count}.sqlite"
        broken = single.breaks("has an event here, but the database ends at position")
        assert broken.position == len(single.log.records) - count + 1


def test_an_empty_database_is_named(single):
    log = ALog()
    single.database = a_database(log, single.folder / "empty.sqlite")
    assert (
        "it was rolled back, or is not this journal's" in single.breaks("ends at position 0").reason
    )


def test_a_cut_journal_is_named(single):
    lines = single.journal.read_bytes().splitlines(keepends=True)
    for keep in (len(lines) - 1, 3):
        single.journal.write_bytes(b"".join(lines[:keep]))
        broken = single.breaks(f"ends at seq {keep}, the database has it up to seq {len(lines)}")
        assert (broken.file, broken.seq) == (str(single.journal), keep)


def test_a_cut_journal_is_named_beside_other_nodes(shared):
    lines = shared.journal.read_bytes().splitlines(keepends=True)
    shared.journal.write_bytes(b"".join(lines[:-2]))
    cut = shared.log.nodes[0].records[-2].envelope
    broken = shared.breaks(f"in the database it is seq {cut.seq} of node {cut.server_id}")
    assert broken.position > cut.position


def test_an_emptied_journal_is_named(single):
    single.journal.write_bytes(b"")
    broken = single.breaks("ends at seq 0, the database has it up to seq")
    assert broken.file == str(single.journal)
    (single.folder / "server_id").unlink()
    single.breaks("the journal is empty, the database has")


def test_a_missing_journal_is_named(single):
    single.journal.unlink()
    with pytest.raises(JournalBroken, match="there is no journal, but there is a database"):
        single.given()
    single.database.unlink()
    with pytest.raises(NoJournal, match=r"there is no journal at .*, nor a database: no server"):
        single.given()


def test_a_journal_of_another_node_s_workdir_is_named(single):
    (single.folder / "server_id").write_text("another")
    assert single.breaks("the journal is of node 00000001-.*, this workdir is of node").line == 1


def test_a_journal_that_begins_with_rubbish_is_named_by_its_line(single):
    single.journal.write_bytes(b"rubbish\n" + single.journal.read_bytes())
    assert single.breaks("does not end with a signature").line == 1
    (single.folder / "server_id").unlink()
    assert single.breaks("does not end with a signature").line == 1


@pytest.mark.parametrize("content", [None, b"", b"rubbish" * 999, b"SQLite format 3\0" + b"x" * 99])
def test_what_is_no_database_is_refused(tmp_path, content):
    path = tmp_path / "db.sqlite"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(
        NoDatabase, match=r"there is no database|cannot be read as a server's database"
    ):
        Database(path)


def test_a_damaged_database_is_a_break(single):
    data = bytearray(single.database.read_bytes())
    data[8192:] = b"\xa5" * (len(data) - 8192)
    single.database.write_bytes(bytes(data))
    with pytest.raises((JournalBroken, NoDatabase), match=r"malformed|not a database"):
        single.verify()


@pytest.fixture
def evidence():
    """A folder that can be read, and not written to, by whoever runs this test."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    os.seteuid(os.getuid())
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_a_database_is_read_from_where_nothing_can_be_written(evidence):
    log = a_log()
    log.an_order("web.corp.internal")
    (evidence / "audit.log").write_bytes(log.nodes[0].journal)
    (evidence / "audit.log").chmod(0o444)
    a_database(log, evidence / "db.sqlite").chmod(0o444)
    evidence.chmod(0o555)
    if os.getuid() == 0:
        os.seteuid(NOBODY)
    given = Given()
    given.add_node(evidence, evidence / "audit.log", evidence / "db.sqlite")
    assert verify(given).lines == log.position
    os.seteuid(os.getuid())
    evidence.chmod(0o755)
    (evidence / "db.sqlite-wal").write_bytes(b"what was not taken in yet")
    evidence.chmod(0o555)
    if os.getuid() == 0:
        os.seteuid(NOBODY)
    with pytest.raises(NoDatabase, match=r"readonly|unable to open"):
        Database(evidence / "db.sqlite")


def test_a_server_at_work_may_be_about_to_write_what_it_has_committed(single):
    whole = single.journal.read_bytes()
    single.sql("UPDATE log_head SET lease_until = 9e9")
    single.journal.write_bytes(whole[: whole[:-1].rindex(b"\n") + 1])

    def write():
        time.sleep(0.2)
        single.journal.write_bytes(whole)

    server = threading.Thread(target=write)
    server.start()
    try:
        assert single.verify().lines == len(single.log.records)
    finally:
        server.join()


@pytest.mark.parametrize("torn", [b"", b"rubbish\n"])
def test_a_server_at_work_does_not_excuse_a_cut_journal(single, torn, monkeypatch):
    monkeypatch.setattr("certeasy.audit.verifying.CATCH_UP", 0.1)
    single.sql("UPDATE log_head SET lease_until = 9e9")
    lines = single.journal.read_bytes().splitlines(keepends=True)
    single.journal.write_bytes(b"".join(lines[:4]) + torn)
    single.breaks("does not end with a signature" if torn else "ends at seq 4")
    single.journal.write_bytes(b"")
    single.breaks("ends at seq 0")
