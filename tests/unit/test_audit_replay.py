import sqlite3
from contextlib import closing

import msgspec
import pytest

from certeasy.audit.replay import BATCH, Replay, line_time
from certeasy.audit.verifying import Given, verify
from events.certificates import CertificateRevoked
from events.envelope import ZERO_HASH
from events.orders import OrderReady
from journal.breaks import JournalBroken
from projections.fold import TABLES, VERSION
from projections.orders import ORDERS
from tests.make.databases import a_database
from tests.make.journals import ALog, a_log
from tests.make.stories import every_story


def rows_of(path):
    with closing(sqlite3.connect(path)) as connection:
        return {
            table.name: connection.execute(
                f"SELECT {', '.join(c.name for c in table.columns)} FROM {table.name} ORDER BY 1, 2"  # noqa: S608 - declared names
            ).fetchall()
            for table in TABLES
        }


def replayed(log: ALog, folder, **limits):
    """Replay a log's journals into a new file; return its path."""
    number = len(list(folder.iterdir()))
    paths = []
    for node in log.nodes:
        paths.append([folder / f"{number}.{node.hostname}.log"])
        paths[-1][0].write_bytes(node.journal)
    path = folder / f"{number}.sqlite"
    replay = Replay(path, **limits)
    try:
        verify(Given(paths), watch=replay)
        replay.finish()
    finally:
        replay.close()
    return path


def test_a_replay_makes_the_server_s_tables(tmp_path):
    log = a_log(nodes=2)
    every_story(log)
    path = replayed(log, tmp_path)
    assert rows_of(path) == rows_of(a_database(log, tmp_path / "db"))
    with closing(sqlite3.connect(path)) as connection:
        last = log.records[-1]
        row = (log.position, last.hash, last.envelope.at, VERSION)
        assert connection.execute("SELECT * FROM as_of").fetchall() == [row]
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'").fetchall()
        assert ("certificates_serial",) in names


def test_rows_are_found_again_after_they_were_stored(tmp_path, monkeypatch):
    assert BATCH > 1
    monkeypatch.setattr("certeasy.audit.replay.BATCH", 1)
    log = a_log()
    every_story(log)
    assert rows_of(replayed(log, tmp_path)) == rows_of(a_database(log, tmp_path / "db"))


def test_a_replay_can_stop_at_a_position_or_a_time(tmp_path):
    log = a_log()
    log.an_order("web.corp.internal")
    for record in log.records:
        line = record.envelope
        until = a_log()
        until.an_order("web.corp.internal")
        until.records = until.records[: line.position]
        expected = rows_of(a_database(until, tmp_path / f"{line.position}.db"))
        assert rows_of(replayed(log, tmp_path, position=line.position)) == expected
        assert rows_of(replayed(log, tmp_path, at=line.at)) == expected


def test_an_empty_log_makes_empty_tables(tmp_path):
    path = replayed(ALog(), tmp_path)
    assert all(rows == [] for rows in rows_of(path).values())
    with closing(sqlite3.connect(path)) as connection:
        row = (0, ZERO_HASH, "", VERSION)
        assert connection.execute("SELECT * FROM as_of").fetchall() == [row]


def test_a_replay_adds_to_no_file(tmp_path):
    path = tmp_path / "kept"
    path.write_bytes(b"kept")
    with pytest.raises(FileExistsError):
        Replay(path)
    assert path.read_bytes() == b"kept"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda log: log.say(OrderReady(), "order/none"), "order/none before it was created"),
        (
            lambda log: log.say(CertificateRevoked("none", "7", 1, "account"), "certificate/none"),
            "certificate/none is revoked, but was never issued so",
        ),
    ],
    ids=["order", "certificate"],
)
def test_what_cannot_be_folded_is_named_and_leaves_no_file(tmp_path, change, reason):
    log = a_log()
    change(log)
    with pytest.raises(JournalBroken, match=f"cannot be folded: .*{reason}") as broken:
        replayed(log, tmp_path)
    assert broken.value.line == 3
    assert list(tmp_path.glob("*.sqlite")) == []


def test_a_replay_has_the_bodies_that_a_server_reads(tmp_path):
    log = a_log()
    order_id = log.an_order("web.corp.internal")
    with closing(sqlite3.connect(replayed(log, tmp_path))) as connection:
        query = "SELECT body FROM orders WHERE id = ?"
        (body,) = connection.execute(query, (order_id,)).fetchone()
    order = msgspec.json.decode(body, type=ORDERS._struct)
    assert order.id == order_id


def test_a_replay_of_more_than_there_is_is_refused(tmp_path):
    log = a_log()
    with pytest.raises(JournalBroken, match="ends at position 2, position 3 was asked for"):
        replayed(log, tmp_path, position=3)
    assert list(tmp_path.glob("*.sqlite*")) == []


def test_a_state_has_its_name_only_when_it_is_whole(tmp_path):
    path = tmp_path / "state.sqlite"
    first = Replay(path)
    with pytest.raises(FileExistsError, match=r"state\.sqlite\.partial exists already"):
        Replay(path)
    assert not path.exists()
    first.finish()
    assert [file.name for file in tmp_path.iterdir()] == ["state.sqlite"]
    first.close()
    assert path.exists()


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("2026-11-24T18:30:00Z", "2026-11-24T18:30:00.000000Z"),
        ("2026-11-24t18:30:00.25z", "2026-11-24T18:30:00.250000Z"),
        ("2026-11-24T19:30:00+01:00", "2026-11-24T18:30:00.000000Z"),
        ("2026-11-24T18:30:00.123456-00:30", "2026-11-24T19:00:00.123456Z"),
    ],
)
def test_a_time_is_rfc_3339_with_any_offset(typed, line):
    assert line_time(typed) == line


@pytest.mark.parametrize(
    "typed",
    [
        *("yesterday", "", "2026-11-24", "2026-11-24 18:30:00Z", "2026-11-24T18:30:00"),
        *("2026-13-24T18:30:00Z", "2026-11-24T18:30Z", "2026-11-24T18:30:00.1234567Z"),
        *("0001-01-01T00:00:00+23:59", "2026-W48-2T18:30:00Z", "٢٠٢٦-11-24T18:30:00Z"),
    ],
)
def test_another_time_is_refused_with_the_form_that_is_wanted(typed):
    with pytest.raises(ValueError, match="RFC 3339"):
        line_time(typed)


def test_a_full_disk_is_told_and_leaves_no_file(tmp_path):
    log = a_log()
    account = log.an_account()
    for n in range(40):
        log.an_order(f"host{n}.corp.internal", account=account)
    log.write(tmp_path)
    replay = Replay(tmp_path / "state.sqlite")
    replay._state._connection.execute("PRAGMA max_page_count = 1")  # what it has, and no more
    verify(Given([[tmp_path / "node1" / "audit.log"]]), watch=replay)
    with pytest.raises(OSError, match=r"cannot be written: .* full: .*state\.sqlite\.partial"):
        replay.finish()
    replay.close()
    assert list(tmp_path.glob("state*")) == []
