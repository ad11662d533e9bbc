"""What a start may find, row by row of the design's boot table.

With j the journal's last seq and d the database's for this node. What is refused names both sides
and the remedy, and has touched nothing.
"""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from certeasy.cli import group
from certeasy.clock import SystemClock
from certeasy.commit import Unavailable
from certeasy.commit.batch import LINES
from certeasy.settings import Settings
from certeasy.store import DatabaseUnavailable, Store
from certeasy.store.schema import FORMAT
from events.envelope import parse, timestamp
from projections.fold import VERSION
from tests.fakes.clocks import HeldClock
from tests.fakes.faults import Action, Fault, after, before, database_error
from tests.make.checks import check_node
from tests.make.configs import a_config
from tests.make.node import ANode, a_node, node_settings
from tests.make.waiting import soon
from tests.make.workdirs import (
    contents,
    cut_lines,
    installation,
    refused,
    server_id,
    sql,
)


@pytest.fixture
def one(tmp_path: Path) -> Settings:
    """A node that has served, and was stopped in good order."""
    return a_past(tmp_path / "one")


def a_past(folder: Path, *, database: Path | None = None, orders: int = 5) -> Settings:
    settings = node_settings(folder, database=database)
    with a_node(folder, settings=settings) as node:
        for _ in range(orders):
            node.an_order()
    return settings


def a_long_past(folder: Path) -> Settings:
    """A node that has more lines than one batch can have."""
    settings = node_settings(folder)
    with a_node(folder) as node:
        for _ in range(4):
            node.submit(node.some_orders(400))
    return settings


def starts(settings: Settings) -> None:
    """Let a node start, work and stop; then look at everything."""
    with a_node(settings.workdir, settings=settings) as node:
        node.an_order()
    check_node(settings.workdir, acknowledged=node.acknowledged)


def kid_of(folder: Path) -> str:
    return parse((folder / "audit.log").read_bytes().splitlines()[0]).kid


# -- the database cannot be asked ----------------------------------------------------------------


def test_an_unreachable_database_is_no_verdict(one: Settings) -> None:
    database = one.database.path
    away = database.with_suffix(".away")
    database.rename(away)
    database.write_bytes(b"this is no database" * 100)
    before = contents(one.workdir)
    with pytest.raises(DatabaseUnavailable, match="out of service"):
        ANode(one)
    assert contents(one.workdir) == before
    away.replace(database)
    starts(one)


@pytest.mark.parametrize("lost", [before, after])
def test_a_start_whose_commit_was_not_answered_is_tried_again(
    one: Settings, lost: Callable[..., Fault]
) -> None:
    """As where the database cannot be asked: a server waits then, a command tells it."""
    with pytest.raises(DatabaseUnavailable, match="whether it was kept is not known"):
        ANode(one, faults={"commit": lost(database_error)})
    starts(one)


# -- whose journal, whose key --------------------------------------------------------------------


def test_the_journal_of_another_node_is_refused(one: Settings, tmp_path: Path) -> None:
    two = a_past(tmp_path / "two")
    shutil.copy(two.audit.path, one.audit.path)
    refused(one, server_id(one.workdir), server_id(two.workdir), "workdir of its own")


def test_lines_of_another_node_in_the_journal_are_refused(one: Settings, tmp_path: Path) -> None:
    two = a_past(tmp_path / "two")
    with one.audit.path.open("ab") as file:
        file.write(two.audit.path.read_bytes().splitlines(keepends=True)[-1])
    refused(one, server_id(one.workdir), server_id(two.workdir))


def test_a_journal_of_another_installation_is_refused(one: Settings, tmp_path: Path) -> None:
    """The same workdir against the database of another installation."""
    two = a_past(tmp_path / "two")
    mixed = msgspec.structs.replace(one, database=two.database, secrets=two.secrets)
    refused(
        mixed,
        installation(one.workdir),
        installation(two.workdir),
        "wrong database, most likely",
    )


def test_a_missing_signing_key_is_refused(one: Settings) -> None:
    (one.workdir / "keys" / "signing.pem").unlink()
    refused(one, "signing.pem", server_id(one.workdir), "put it back", "new identity")


@pytest.mark.parametrize("content", [b"", b"rubbish", b"-----BEGIN PRIVATE KEY-----\n"])
def test_a_signing_key_that_is_none_is_refused(one: Settings, content: bytes) -> None:
    (one.workdir / "keys" / "signing.pem").write_bytes(content)
    refused(one, "signing.pem", "is not a signing key", "put the node's own key back")


def test_the_signing_key_of_another_node_is_refused(one: Settings, tmp_path: Path) -> None:
    two = a_past(tmp_path / "two")
    shutil.copy(two.workdir / "keys" / "signing.pem", one.workdir / "keys" / "signing.pem")
    refused(one, kid_of(one.workdir), kid_of(two.workdir), "put the node's own key back")


def test_a_missing_server_id_beside_a_journal_is_refused(one: Settings) -> None:
    (one.workdir / "server_id").unlink()
    refused(one, "server_id", "audit.log", "never made anew", "put the file back")
    assert not (one.workdir / "server_id").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"not an id",
        b"00000000-0000-1000-8000-000000000000\n",
        b"F47AC10B-58CC-4372-A567-0E02B2C3D479\n",
    ],
    ids=["empty", "binary", "words", "another version", "upper case"],
)
def test_a_server_id_that_is_none_is_refused(one: Settings, content: bytes) -> None:
    (one.workdir / "server_id").write_bytes(content)
    refused(one, "server_id", "no UUID v4", "put the node's own id back")


# -- level, or nearly so -------------------------------------------------------------------------


def test_neither_journal_nor_rows_makes_a_new_node(tmp_path: Path) -> None:
    with a_node(tmp_path / "new") as node:
        node.an_order()
    proof = check_node(tmp_path / "new", acknowledged=node.acknowledged)
    assert [each.server_id for each in proof.nodes] == [server_id(tmp_path / "new")]


def test_equal_ends_go_on_where_they_were(one: Settings) -> None:
    before = one.audit.path.read_bytes()
    starts(one)
    assert one.audit.path.read_bytes().startswith(before)


@pytest.mark.parametrize("lines", [1, 2, 7, 10])
def test_lines_that_a_crash_left_out_are_written_again(one: Settings, lines: int) -> None:
    """Up to one batch; ten are all of them, with an empty journal left."""
    whole = cut_lines(one.audit.path, lines)
    starts(one)
    assert one.audit.path.read_bytes().startswith(whole)


def test_a_whole_batch_that_a_crash_left_out_is_written_again(tmp_path: Path) -> None:
    long = a_long_past(tmp_path / "long")
    whole = cut_lines(long.audit.path, LINES)
    starts(long)
    assert long.audit.path.read_bytes().startswith(whole)


@pytest.mark.parametrize("lines", [LINES + 1, LINES + 500])
def test_a_journal_that_lacks_more_than_a_batch_is_refused_until_it_is_refilled(
    tmp_path: Path, lines: int
) -> None:
    long = a_long_past(tmp_path / "long")
    whole = cut_lines(long.audit.path, lines)
    refused(long, f"{lines} lines are missing", "audit.log", "database", "journal refill")
    refill(tmp_path, long)
    assert long.audit.path.read_bytes().startswith(whole)
    starts(long)


def test_a_journal_that_is_gone_is_refused_until_it_is_refilled(
    one: Settings, tmp_path: Path
) -> None:
    whole = one.audit.path.read_bytes()
    one.audit.path.unlink()
    refused(one, "audit.log is gone", server_id(one.workdir), "journal refill")
    assert not one.audit.path.exists()
    refill(tmp_path, one)
    assert one.audit.path.read_bytes().startswith(whole)
    starts(one)


def test_a_cut_journal_with_a_torn_end_is_refilled_behind_its_last_whole_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a user without a name, as in some containers."""
    nobody = before(lambda: KeyError("no such user"))
    monkeypatch.setattr("getpass.getuser", lambda: nobody(Action(str)))
    long = a_long_past(tmp_path / "long")
    whole = cut_lines(long.audit.path, LINES + 7)
    lines = long.audit.path.read_bytes().count(b"\n")
    with long.audit.path.open("ab") as file:
        file.write(b'{"v":1,"position":\n{"v')
    refused(long, "lines are missing")
    refill(tmp_path, long)
    assert long.audit.path.read_bytes().startswith(whole)
    told = parse(long.audit.path.read_bytes().splitlines()[-1]).event
    assert (told.first_seq, told.last_seq) == (lines + 1, whole.count(b"\n"))


def refill(tmp_path: Path, settings: Settings) -> None:
    """Have the administrator refill the journal; the log says that it was done, and by whom."""
    config = a_config(tmp_path, workdir=f'"{settings.workdir}"')
    command = ["journal", "refill", "-f", str(config), "--reason", "a disk was replaced"]
    result = CliRunner().invoke(group, command)
    assert result.exit_code == 0, result.output
    last = parse(settings.audit.path.read_bytes().splitlines()[-1])
    assert last.envelope.type == "journal.refilled"
    assert last.actor.kind == "administrator"
    assert last.event.reason == "a disk was replaced"
    again = CliRunner().invoke(group, command)
    assert "nothing is missing" in again.output


# -- a torn tail ---------------------------------------------------------------------------------

Damage = Callable[[bytes], bytes]


def hole(data: bytes) -> bytes:
    """Zeros over the end of one line and the beginning of the next, with whole lines behind."""
    lines = data.splitlines(keepends=True)
    last = len(b"".join(lines[-3:]))
    end = len(b"".join(lines[-2:]))
    return data[: -end - 100] + bytes(200) + data[-end + 100 :] if last > end else data


TORN: dict[str, Damage] = {
    "half a line": lambda data: data[:-200],
    "no newline": lambda data: data[:-1],
    "one byte of a line more": lambda data: data + b"{",
    "zeros behind the end": lambda data: data + bytes(4096),
    "zeros for the last lines": lambda data: data[:-1500] + bytes(1500),
    "zeros and a newline": lambda data: data + bytes(50) + b"\n",
    "a hole": hole,
    "rubbish": lambda data: data + b"\xff\xfe\xfd" * 99 + b"\n\n{}\n",
    "another signature": lambda data: data[:-20] + b"AAAA" + data[-16:],
    "another word in the last line": lambda data: data[:-300] + b"x" + data[-299:],
    "nothing but rubbish": lambda data: b"\0" * len(data),
}


@pytest.mark.parametrize("damage", TORN.values(), ids=TORN)
def test_a_torn_tail_is_cut_and_written_again(one: Settings, damage: Damage) -> None:
    whole = one.audit.path.read_bytes()
    one.audit.path.write_bytes(damage(whole))
    starts(one)
    assert one.audit.path.read_bytes().startswith(whole)


@hypothesis_settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_cut_and_any_rubbish_behind_it_is_made_good(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    settings = a_past(tmp_path_factory.mktemp("cut") / "node", orders=2)
    whole = settings.audit.path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    rubbish = data.draw(st.binary(max_size=300))
    settings.audit.path.write_bytes(whole[:cut] + rubbish)
    starts(settings)
    assert settings.audit.path.read_bytes().startswith(whole)


def test_a_broken_line_deeper_than_a_batch_is_refused(tmp_path: Path) -> None:
    """No crash leaves that: signed lines follow it, more than one batch has."""
    long = a_long_past(tmp_path / "long")
    data = bytearray(long.audit.path.read_bytes())
    data[3000] = 0
    long.audit.path.write_bytes(data)
    refused(long, "is broken behind seq", "audit verify", "no crash leaves that")


def test_a_tail_without_a_line_is_refused_beyond_a_batch(tmp_path: Path) -> None:
    long = a_long_past(tmp_path / "long")
    long.audit.path.write_bytes(bytes(5 << 20))
    refused(long, "no line of node", server_id(long.workdir), "kept as it is")


def test_a_line_that_was_changed_is_refused(one: Settings) -> None:
    """It can be read, and lines follow: this is no tear."""
    data = one.audit.path.read_bytes()
    one.audit.path.write_bytes(data.replace(b"web.lab.test", b"wob.lab.test", 1))
    refused(one, "not the same in", "in the database", "audit verify")


# -- the journal is ahead ------------------------------------------------------------------------


def test_a_database_that_was_rolled_back_is_refused(one: Settings) -> None:
    backup = one.database.path.with_suffix(".backup")
    shutil.copy(one.database.path, backup)
    starts(one)
    backup.replace(one.database.path)
    refused(one, "ends at seq 13", "only up to seq 10", "lost what was committed", "restore")


def test_a_rolled_back_database_that_went_on_with_another_node_is_refused(tmp_path: Path) -> None:
    database = tmp_path / "shared" / "db.sqlite"
    database.parent.mkdir()
    one = a_past(tmp_path / "one", database=database)
    backup = database.with_suffix(".backup")
    shutil.copy(database, backup)
    with a_node(one.workdir, settings=one) as node:
        node.an_order()
    backup.replace(database)
    a_past(tmp_path / "two", database=database)
    refused(one, "ends at seq 13", "only up to seq 10", "another node has taken", "reconcile")


def test_a_database_from_before_a_node_joined_is_refused(tmp_path: Path) -> None:
    database = tmp_path / "shared" / "db.sqlite"
    database.parent.mkdir()
    a_past(tmp_path / "one", database=database)
    backup = database.with_suffix(".backup")
    shutil.copy(database, backup)
    two = a_past(tmp_path / "two", database=database)
    backup.replace(database)
    refused(two, server_id(two.workdir), "does not know", installation(database.parent))


@pytest.mark.parametrize("first", [b"", b"rubbish", b'{"v":1}'], ids=["empty", "rubbish", "json"])
def test_a_journal_that_does_not_say_whose_it_is_is_refused_too(
    one: Settings, tmp_path: Path, first: bytes
) -> None:
    """Its first line is lost, and the database is another one."""
    two = a_past(tmp_path / "two")
    lines = one.audit.path.read_bytes().splitlines(keepends=True)
    one.audit.path.write_bytes(b"".join([first + b"\n", *lines[2:]]))
    mixed = msgspec.structs.replace(one, database=two.database, secrets=two.secrets)
    refused(mixed, server_id(one.workdir), installation(two.workdir))


def test_an_empty_database_beside_a_journal_is_refused(one: Settings) -> None:
    mine = installation(one.workdir)
    one.database.path.unlink()
    refused(one, mine, "is empty", "wrong database, most likely", "restore")
    assert not one.database.path.exists()


def test_tables_without_a_line_beside_a_journal_are_an_empty_database(one: Settings) -> None:
    """As a DBA's script leaves them, where the server may make none."""
    mine = installation(one.workdir)
    one.database.path.unlink()
    store = Store.open(one.database)
    store.create("11111111-2222-4333-8444-555555555555")
    store.close()
    refused(one, mine, "is empty", "wrong database, most likely", "certeasy journal restore")


def test_two_lines_at_one_seq_are_proof_of_a_copy(one: Settings, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(one.workdir, copy)
    starts(node_settings(copy))
    starts(one)
    shutil.copy(copy / "audit.log", one.audit.path)
    said = refused(one, "not the same", "here", "there", "a copy of this node has run")
    assert "seq 11" in said


def test_a_workdir_whose_copy_has_run_is_refused(tmp_path: Path) -> None:
    database = tmp_path / "shared" / "db.sqlite"
    database.parent.mkdir()
    one = a_past(tmp_path / "one", database=database)
    shutil.copytree(one.workdir, tmp_path / "copy")
    a_past(tmp_path / "copy", database=database)
    boot = sql(database, "SELECT boot_id, hostname FROM servers")[0]
    refused(one, server_id(one.workdir), *map(str, boot), "a copy", "workdir of its own")


def test_missing_boot_ids_are_refused_as_a_copy_would_be(one: Settings) -> None:
    (one.workdir / "boot_ids").unlink()
    refused(one, "boot_ids", server_id(one.workdir), "Put it back")


def test_a_start_that_was_written_down_in_half_does_not_spoil_the_next(one: Settings) -> None:
    with (one.workdir / "boot_ids").open("ab") as file:
        file.write(b"0f1e2d3c-torn")
    starts(one)
    starts(one)


# -- the database alone --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE log_head SET hash = 'other'", ["head says 10 and other", "restore"]),
        ("UPDATE log_head SET position = 9", ["position 10", "head says 9"]),
        ("DELETE FROM events WHERE position = 10", ["position 9", "head says 10"]),
        ("UPDATE events SET line = 'x' WHERE position = 10", ["of a broken line"]),
        ("DELETE FROM events WHERE position = 8", ["no such line", "not the same"]),
        ("UPDATE servers SET hash = 'other'", ["the node's row says 10 and other"]),
    ],
)
def test_a_database_that_contradicts_itself_is_refused(
    one: Settings, statement: str, words: list[str]
) -> None:
    sql(one.database.path, statement)
    refused(one, *[word for word in words if word != "restore"])


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET line = replace(line, 'web.lab', 'wob.lab') WHERE position = 9",
        "DELETE FROM events WHERE position = 9",
    ],
    ids=["changed", "removed"],
)
def test_what_is_missing_is_only_taken_from_a_chain_that_this_node_signed(
    one: Settings, statement: str
) -> None:
    cut_lines(one.audit.path, 3)
    sql(one.database.path, statement)
    refused(one, "do not continue", "seq 9", "audit verify")


# -- the clock -----------------------------------------------------------------------------------

NOON = datetime(2026, 11, 2, 12, 0, tzinfo=UTC)


def test_a_clock_a_little_behind_holds_the_log_s_time(tmp_path: Path) -> None:
    clock = HeldClock(NOON)
    with a_node(tmp_path / "node", clock=clock) as node:
        clock.set_to(NOON - timedelta(seconds=5))
        node.an_order()
        clock.set_to(NOON + timedelta(seconds=1))
        node.an_order()
    check_node(tmp_path / "node")
    times = [r.envelope.at for r in node.acknowledged]
    assert times == [timestamp(NOON), timestamp(NOON + timedelta(seconds=1))]


def test_a_clock_far_behind_lets_nothing_be_committed_until_time_has_passed(
    tmp_path: Path,
) -> None:
    with a_node(tmp_path / "node", clock=HeldClock(NOON)):
        pass
    clock = HeldClock(NOON - timedelta(seconds=6))
    with pytest.raises(
        Unavailable, match=r"more than 5 s behind the log's latest time.*clock accept"
    ):
        ANode(node_settings(tmp_path / "node"), clock)
    clock.pass_by(1)
    with a_node(tmp_path / "node", clock=clock) as node:
        node.an_order()
    check_node(tmp_path / "node", acknowledged=node.acknowledged)


def test_a_clock_that_falls_behind_is_waited_for(tmp_path: Path) -> None:
    clock = HeldClock(NOON)
    with a_node(tmp_path / "node", clock=clock) as node:
        clock.set_to(NOON - timedelta(hours=1))
        with pytest.raises(Unavailable, match="more than 5 s behind"):
            node.an_order()
        assert "behind" in str(node.committer.trouble())
        clock.set_to(NOON)
        soon(lambda: node.committer.trouble() is None)
        node.an_order()
    check_node(tmp_path / "node", acknowledged=node.acknowledged)


def test_a_clock_that_stays_behind_costs_one_line_of_log_and_one_when_it_is_right(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = HeldClock(NOON)
    with a_node(tmp_path / "node", clock=clock) as node:
        for seconds in range(3):
            clock.set_to(NOON - timedelta(hours=1, seconds=seconds))
            with pytest.raises(Unavailable, match="more than 5 s behind"):
                node.an_order()
        clock.set_to(NOON)
        soon(lambda: node.committer.trouble() is None)
    assert caplog.text.count("nothing is accepted") == 1
    assert caplog.text.count("changes are accepted again") == 1


def test_a_log_from_the_future_goes_on_once_an_administrator_accepts_it(tmp_path: Path) -> None:
    ahead = SystemClock().now() + timedelta(hours=1)
    settings = node_settings(tmp_path / "node")
    with a_node(settings.workdir, clock=HeldClock(ahead)):
        pass
    with pytest.raises(Unavailable, match="behind the log's latest time"):
        ANode(settings)
    config = a_config(tmp_path, workdir=f'"{settings.workdir}"')
    accepted = CliRunner().invoke(group, ["clock", "accept", "-f", str(config)])
    assert accepted.exit_code == 0, accepted.output
    for _ in range(2):  # it is remembered over a start
        with a_node(settings.workdir) as node:
            node.an_order()
        assert node.acknowledged[-1].envelope.at == timestamp(ahead)
    later = HeldClock(ahead + timedelta(hours=2))
    with a_node(settings.workdir, clock=later):
        pass
    with pytest.raises(Unavailable, match="behind"):  # accepted was the other time, not any
        ANode(settings)
    types = [parse(line).envelope.type for line in settings.audit.path.read_bytes().splitlines()]
    assert types.count("clock.set-back") == 1
    check_node(settings.workdir)


def test_a_clock_that_was_accepted_in_a_line_that_was_changed_is_refused(tmp_path: Path) -> None:
    """It stands before the lines that a start compares: in a closed segment."""
    settings = a_past(tmp_path / "one")
    config = a_config(tmp_path, workdir=f'"{settings.workdir}"')
    closed = CliRunner().invoke(group, ["journal", "rotate", "-f", str(config)])
    assert closed.exit_code == 0, closed.output
    sql(
        settings.database.path,
        "UPDATE events SET type = 'clock.set-back', line = x'7b7d' WHERE position = 4",
    )
    refused(
        settings,
        "the last clock.set-back in the database is no line of a log",
        "restore the database from a backup",
    )


@pytest.mark.parametrize(
    "change", ["line = x'7b7d'", "line = replace(line, '\"sha256\"', '\"s\"')"]
)
def test_settings_of_the_start_before_that_cannot_be_read_are_recorded_anew(
    one: Settings, tmp_path: Path, change: str
) -> None:
    """What was changed is told by a verify; it keeps nobody from starting."""
    config = a_config(tmp_path, workdir=f'"{one.workdir}"')
    closed = CliRunner().invoke(group, ["journal", "rotate", "-f", str(config)])
    assert closed.exit_code == 0, closed.output
    sql(one.database.path, f"UPDATE events SET {change} WHERE position = 3")  # noqa: S608 - ours
    with a_node(one.workdir, settings=one) as node:
        node.an_order()
        written = node.store.last_of_type("settings.loaded", [f"node/{server_id(one.workdir)}"])
        assert written in one.audit.path.read_bytes().splitlines()
    verified = CliRunner().invoke(group, ["audit", "verify", "-f", str(config)])
    assert verified.exit_code == 1
    assert "position 3" in verified.output


# -- format, projections, topology ---------------------------------------------------------------


def test_a_database_of_a_newer_format_is_refused(one: Settings) -> None:
    sql(one.database.path, "UPDATE log_head SET format = format + 1")
    refused(one, f"format {FORMAT + 1}", f"writes format {FORMAT}", "run the version that wrote it")


def test_projections_of_another_version_are_folded_anew(one: Settings) -> None:
    sql(
        one.database.path,
        "UPDATE log_head SET projections = projections + 1",
        "DELETE FROM orders",
        "UPDATE nodes SET hostname = 'wrong'",
    )
    starts(one)
    assert sql(one.database.path, "SELECT projections FROM log_head") == [(VERSION,)]


def test_a_log_that_cannot_be_folded_is_refused_and_the_old_tables_stay(one: Settings) -> None:
    sql(
        one.database.path,
        "UPDATE log_head SET projections = 0",
        "UPDATE events SET line = CAST(replace(line, 'order.created', 'order.invented') AS BLOB)"
        " WHERE position = 5",
    )
    cut = one.audit.path.read_bytes()
    one.audit.path.write_bytes(cut.replace(b"order.created", b"order.invented", 1))
    refused(one, "order.invented", "newer")
    assert sql(one.database.path, "SELECT count(*) FROM orders") == [(5,)]


def test_another_topology_than_the_installation_s_is_refused(one: Settings) -> None:
    sql(one.database.path, "UPDATE installation SET topology = 'active-active'")
    refused(one, "topology single", "set up as active-active", installation(one.workdir))
