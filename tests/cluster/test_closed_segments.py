"""What a start may find of closed segments; what is refused names the file, and touches nothing.

The database tells which segments were closed. That the oldest ones were moved to an archive is said
and allowed, a hole is not; and what is lost is written again only when somebody asks for it.
"""

import logging
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from certeasy.cli import group
from certeasy.settings import Settings
from events.envelope import parse
from journal.lines import segments
from tests.fakes.faults import before, io_error
from tests.make.checks import check_node
from tests.make.configs import a_config
from tests.make.node import ANode, a_node, node_settings
from tests.make.workdirs import contents, cut_lines, installation, refused, server_id, sql

ONE, TWO, THREE, ACTIVE = "audit.1-6.log", "audit.7-8.log", "audit.9-10.log", "audit.log"
CLOSED = (ONE, TWO, THREE)


@pytest.fixture
def past(tmp_path: Path) -> Settings:
    return a_past(tmp_path / "node")


def a_past(folder: Path, *, database: Path | None = None) -> Settings:
    """A node that closed three segments, and wrote seq 11 and 12 since."""
    settings = node_settings(folder, database=database)
    with a_node(folder, settings=settings) as node:
        for _ in CLOSED:
            node.an_order()
            node.close_segment()
        node.an_order()
    return settings


def whole(settings: Settings) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in segments(settings.workdir)}


def starts(settings: Settings) -> None:
    with a_node(settings.workdir, settings=settings) as node:
        node.an_order()
    check_node(settings.workdir, acknowledged=node.acknowledged)


def journal(tmp_path: Path, settings: Settings, *command: str) -> tuple[int, str]:
    """Run a command of the administrator's on the node's journal."""
    config = a_config(tmp_path, workdir=f'"{settings.workdir}"')
    result = CliRunner().invoke(group, ["journal", *command, "-f", str(config)])
    return result.exit_code, result.output


def refilled(settings: Settings) -> list[tuple[int, int]]:
    """Return which lines the log says were put back."""
    lines = [parse(line) for data in whole(settings).values() for line in data.splitlines()]
    facts = [line.event for line in lines if line.envelope.type == "journal.refilled"]
    return [(fact.first_seq, fact.last_seq) for fact in facts]


def test_whole_segments_are_gone_on_with(past: Settings) -> None:
    before = whole(past)
    assert list(before) == [*CLOSED, ACTIVE]
    starts(past)
    after = whole(past)
    assert [after[name] for name in CLOSED] == [before[name] for name in CLOSED]
    assert after[ACTIVE].startswith(before[ACTIVE])


# -- moved away, or lost ---------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_oldest_ones_may_be_in_an_archive_and_each_start_says_so(
    past: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture, count: int
) -> None:
    (tmp_path / "archive").mkdir()
    for name in CLOSED[:count]:
        (past.workdir / name).rename(tmp_path / "archive" / name)
    for _ in range(2):
        caplog.clear()
        with a_node(past.workdir) as node, caplog.at_level(logging.WARNING):
            node.an_order()
            node.close_segment()
        told = [each for each in caplog.records if each.levelno >= logging.WARNING]
        [said] = [each.getMessage() for each in told if each.name.endswith("journal")]
        assert f"seq 1 to {(6, 8, 10)[count - 1]} of this node's journal" in said
        assert ONE in said
    for file in (tmp_path / "archive").iterdir():
        file.rename(past.workdir / file.name)
    check_node(past.workdir)


def test_an_archived_segment_may_leave_a_link(past: Settings, tmp_path: Path) -> None:
    (past.workdir / ONE).rename(tmp_path / ONE)
    (past.workdir / ONE).symlink_to(tmp_path / ONE)
    starts(past)


LOST: dict[str, tuple[list[str], str]] = {
    "one in the middle": ([TWO], TWO),
    "the last one": ([THREE], THREE),
    "the last two": ([TWO, THREE], f"{TWO} to {THREE} (2 segments)"),
    "the last one and the active file": ([THREE, ACTIVE], THREE),
    "all but the first": ([TWO, THREE, ACTIVE], f"{TWO} to {THREE}"),
    "the first and the third": ([ONE, THREE], THREE),
}


@pytest.mark.parametrize(("gone", "named"), LOST.values(), ids=LOST)
def test_a_hole_is_refused_until_it_is_filled_or_refilled(
    past: Settings, tmp_path: Path, gone: list[str], named: str
) -> None:
    before = whole(past)
    for name in gone:
        (past.workdir / name).unlink()
    refused(past, f"was closed as {named}", "put it back", "journal refill --closed")
    code, said = journal(tmp_path, past, "refill", "--reason", "a disk was replaced")
    assert (code, refilled(past)) == (1, []), said
    assert "refill --closed" in said
    code, said = journal(tmp_path, past, "refill", "--closed", "--reason", "a disk was replaced")
    assert code == 0, said
    assert all(f"{past.workdir / name}: seq" in said for name in gone)
    after = whole(past)
    assert [after[name] for name in CLOSED] == [before[name] for name in CLOSED]
    assert after[ACTIVE].startswith(before[ACTIVE])
    assert all(mode(past.workdir / name) == 0o400 for name in CLOSED)
    assert refilled(past) == ranges(before, gone)
    assert "nothing is missing" in journal(tmp_path, past, "refill", "--reason", "again")[1]
    starts(past)


def ranges(files: dict[str, bytes], names: list[str]) -> list[tuple[int, int]]:
    """Return from which seq to which these files go, those that follow each other as one."""
    found: list[tuple[int, int]] = []
    for name in names:
        seqs = [parse(line).envelope.seq for line in files[name].splitlines()]
        if found and found[-1][1] + 1 == seqs[0]:
            found[-1] = (found[-1][0], seqs[-1])
        else:
            found.append((seqs[0], seqs[-1]))
    return found


def test_a_journal_that_is_gone_as_a_whole_is_written_again_as_the_files_it_had(
    past: Settings, tmp_path: Path
) -> None:
    files = whole(past)
    for name in files:
        (past.workdir / name).unlink()
    refused(past, "audit.log is gone", "12 lines", "journal refill --closed")
    code, said = journal(tmp_path, past, "refill", "--reason", "a disk was replaced")
    assert code == 1, said
    code, said = journal(tmp_path, past, "refill", "--closed", "--reason", "a disk was replaced")
    assert code == 0, said
    after = whole(past)
    assert {name: after[name] for name in CLOSED} == {name: files[name] for name in CLOSED}
    assert after[ACTIVE].startswith(files[ACTIVE])
    assert refilled(past) == [(1, 12)]
    starts(past)


def test_an_active_file_that_is_gone_is_refused_until_it_is_refilled(
    past: Settings, tmp_path: Path
) -> None:
    files = whole(past)
    (past.workdir / ACTIVE).unlink()
    refill = "'certeasy journal refill -f config.yml --reason WHY'"
    refused(past, "active file", "seq 11 to 12", refill)
    code, said = journal(tmp_path, past, "refill", "--reason", "a disk was replaced")
    assert (code, refilled(past)) == (0, [(11, 12)]), said
    assert whole(past)[ACTIVE].startswith(files[ACTIVE])
    starts(past)


@pytest.mark.parametrize("lines", [1, 2])
def test_lines_that_a_crash_left_out_behind_a_closed_segment_are_written_again(
    past: Settings, lines: int
) -> None:
    before = cut_lines(past.audit.path, lines)
    starts(past)
    assert past.audit.path.read_bytes().startswith(before)


@pytest.mark.parametrize("how", ["empty", "absent", "torn"])
def test_right_behind_a_closed_segment_the_active_file_may_be(tmp_path: Path, how: str) -> None:
    settings = node_settings(tmp_path / "node")
    node = ANode(settings)
    node.an_order()
    node.close_segment()
    node.abandon()
    match how:
        case "absent":
            settings.audit.path.unlink()
        case "torn":
            settings.audit.path.write_bytes(b'{"v":1,"pos')
    starts(settings)
    assert len(whole(settings)) == 2


def test_an_id_is_never_made_anew_beside_closed_segments(past: Settings) -> None:
    past.audit.path.unlink()
    (past.workdir / "server_id").unlink()
    refused(past, "server_id", "never made anew")


def test_an_empty_database_beside_closed_segments_is_refused(past: Settings) -> None:
    mine = installation(past.workdir)
    past.database.path.unlink()
    past.audit.path.unlink()
    refused(past, mine, "is empty", "wrong database, most likely")


def test_a_database_from_before_a_segment_was_closed_is_refused(tmp_path: Path) -> None:
    settings = node_settings(tmp_path / "node")
    with a_node(settings.workdir):
        pass
    backup = tmp_path / "backup"
    shutil.copy(settings.database.path, backup)
    node = ANode(settings)
    node.close_segment()
    node.abandon()
    backup.replace(settings.database.path)
    refused(settings, "audit.1-7.log ends at seq 7", "only up to seq 5", "lost what was committed")


def test_closed_segments_beside_another_installation_s_database_are_refused(
    past: Settings, tmp_path: Path
) -> None:
    past.audit.path.unlink()
    two = a_past(tmp_path / "two")
    mixed = msgspec.structs.replace(past, database=two.database, secrets=two.secrets)
    refused(mixed, installation(past.workdir), installation(two.workdir), "wrong database")


# -- what is there, and not what it should be ------------------------------------------------------


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def rewrite(path: Path, data: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(data)


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def rename(folder: Path) -> None:
    (folder / TWO).rename(folder / "audit.6-8.log")


def swap(folder: Path) -> None:
    (folder / TWO).rename(folder / "x")
    (folder / THREE).rename(folder / TWO)
    (folder / "x").rename(folder / THREE)


def double(folder: Path) -> None:
    shutil.copy(folder / TWO, folder / "audit.8-8.log")


def close_a_copy(folder: Path) -> None:
    shutil.copy(folder / ACTIVE, folder / "audit.11-12.log")


def cut(folder: Path) -> None:
    rewrite(folder / THREE, b"".join(lines_of(folder / THREE)[:-1]))


def tear(folder: Path) -> None:
    rewrite(folder / THREE, (folder / THREE).read_bytes()[:-5])


def grow(folder: Path) -> None:
    rewrite(folder / THREE, (folder / THREE).read_bytes() + lines_of(folder / ACTIVE)[0])


def change(folder: Path) -> None:
    data = (folder / THREE).read_bytes()
    rewrite(folder / THREE, data.replace(b'"asked"', b'"taken"'))


def empty(folder: Path) -> None:
    rewrite(folder / TWO, b"")


def cut_the_beginning(folder: Path) -> None:
    rewrite(folder / ACTIVE, b"".join(lines_of(folder / ACTIVE)[1:]))


def begin_earlier(folder: Path) -> None:
    rewrite(folder / ACTIVE, (folder / THREE).read_bytes() + (folder / ACTIVE).read_bytes())


ATTACKS: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "renamed": (rename, ["audit.6-8.log is called like a closed segment", "renamed"]),
    "swapped": (swap, [f"{TWO} does not end with the line that closed it, seq 8"]),
    "twice": (double, ["audit.8-8.log is called like a closed segment", "there twice"]),
    "the active one, twice": (
        close_a_copy,
        ["audit.11-12.log has lines that are also in", "twice"],
    ),
    "cut": (cut, [f"{THREE} does not end with the line", "refill --closed"]),
    "torn": (tear, [f"{THREE} does not end with the line"]),
    "grown": (grow, [f"{THREE} does not end with the line"]),
    "changed": (change, [f"{THREE} does not end with the line"]),
    "empty": (empty, [f"{TWO} does not end with the line"]),
    "the active one's beginning cut": (
        cut_the_beginning,
        ["audit.log begins with seq 12", "seq 10"],
    ),
    "joined to the active one": (begin_earlier, [f"{THREE} has lines that are also in", "seq 9"]),
}


@pytest.mark.parametrize(("attack", "words"), ATTACKS.values(), ids=ATTACKS)
def test_a_segment_that_is_not_what_the_log_says_is_refused(
    past: Settings, attack: Callable[[Path], None], words: list[str]
) -> None:
    attack(past.workdir)
    refused(past, *words)


@pytest.mark.parametrize("name", [TWO, "audit.20-30.log"])
def test_another_node_s_segment_is_refused(past: Settings, tmp_path: Path, name: str) -> None:
    two = a_past(tmp_path / "two")
    (past.workdir / name).unlink(missing_ok=True)
    shutil.copy(two.workdir / TWO, past.workdir / name)
    refused(past, name, f"a segment of node {server_id(two.workdir)}", server_id(past.workdir))


def test_the_newest_segment_of_another_node_is_refused(past: Settings, tmp_path: Path) -> None:
    two = a_past(tmp_path / "two")
    past.audit.path.unlink()
    shutil.copy(two.workdir / THREE, past.workdir / "audit.90-99.log")
    refused(past, "audit.90-99.log", server_id(two.workdir), "a workdir of its own")


FORGOTTEN = {
    "removed": "DELETE FROM events WHERE seq = ?",
    "broken": "UPDATE events SET line = 'x' WHERE seq = ?",
    "another": "UPDATE events SET line = (SELECT line FROM events WHERE seq = 4) WHERE seq = ?",
}


@pytest.mark.parametrize("gone", [True, False], ids=["file too", "file there"])
@pytest.mark.parametrize(("seq", "name"), [(6, ONE), (8, TWO)])
@pytest.mark.parametrize("statement", FORGOTTEN.values(), ids=FORGOTTEN)
def test_a_segment_that_the_database_forgot_is_missed(
    past: Settings, statement: str, seq: int, name: str, *, gone: bool
) -> None:
    sql(past.database.path, statement.replace("?", str(seq)))
    if gone:
        (past.workdir / name).unlink()
    refused(past, f"of none that ends at seq {seq}", "rows were changed or lost")


@pytest.mark.parametrize("statement", FORGOTTEN.values(), ids=FORGOTTEN)
def test_the_newest_segment_is_unknown_to_a_database_that_forgot_it(
    past: Settings, statement: str
) -> None:
    sql(past.database.path, statement.replace("?", "10"))
    refused(past, THREE, "tells of none with these lines")
    (past.workdir / THREE).unlink()
    refused(past, "audit.log begins with seq 11", "ends with seq 8")


def test_a_segment_that_can_be_written_again_is_sealed_and_named(
    past: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    (past.workdir / ONE).chmod(0o644)
    with caplog.at_level(logging.WARNING):
        starts(past)
    assert f"{past.workdir / ONE} could be written (mode 0644)" in caplog.text
    assert mode(past.workdir / ONE) == 0o400


def test_a_segment_that_cannot_be_sealed_is_named(
    past: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    (past.workdir / TWO).chmod(0o600)
    node = ANode(past, faults={"seal": before(io_error)})
    node.close()
    assert f"{past.workdir / TWO} can be written: " in caplog.text
    starts(past)


# -- writing lost ones again -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET line = replace(line, 'web.lab', 'wob.lab') WHERE seq = 7",
        "DELETE FROM events WHERE seq = 7",
    ],
    ids=["changed", "removed"],
)
def test_a_segment_is_only_written_again_from_what_this_node_signed(
    past: Settings, tmp_path: Path, statement: str
) -> None:
    (past.workdir / TWO).unlink()
    (past.workdir / ONE).unlink()
    sql(past.database.path, statement)
    code, said = journal(tmp_path, past, "refill", "--closed", "--reason", "lost")
    assert code == 1
    assert "cannot be written again" in said
    assert not (past.workdir / TWO).exists()


def test_a_half_written_segment_is_never_taken_for_a_closed_one(
    past: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (past.workdir / TWO).unlink()
    with monkeypatch.context() as patched:
        patched.setattr("journal.disk.OsDisk.rename", lambda *_: before(io_error)(None))  # type: ignore[arg-type]
        code, said = journal(tmp_path, past, "refill", "--closed", "--reason", "lost")
    assert (code, "input/output error" in said) == (1, True)
    refused(past, TWO, "refill --closed")
    code, said = journal(tmp_path, past, "refill", "--closed", "--reason", "lost")
    assert code == 0, said
    assert [each.name for each in past.workdir.iterdir() if each.name.startswith(".")] == []
    starts(past)


# -- the administrator closes a segment ------------------------------------------------------------


def test_an_administrator_closes_the_active_file(past: Settings, tmp_path: Path) -> None:
    code, said = journal(tmp_path, past, "rotate")
    assert code == 0, said
    closed = past.workdir / "audit.11-13.log"
    assert f"{closed}: seq 11 to 13 are closed" in said
    last = parse(lines_of(closed)[-1].rstrip())
    assert (last.event.reason, last.actor.kind) == ("asked", "administrator")
    assert mode(closed) == 0o400
    code, said = journal(tmp_path, past, "rotate")
    assert (code, "nothing to close" in said) == (0, True)
    config = a_config(tmp_path, workdir=f'"{past.workdir}"')
    proof = CliRunner().invoke(group, ["audit", "verify", "-f", str(config)])
    assert proof.exit_code == 0, proof.output
    starts(past)


def test_a_segment_is_not_closed_beside_a_running_server(past: Settings, tmp_path: Path) -> None:
    with a_node(past.workdir):
        before = contents(past.workdir)
        code, said = journal(tmp_path, past, "rotate")
        assert (code, "another process is using the workdir" in said) == (1, True)
        assert contents(past.workdir) == before


def test_a_rename_that_the_system_refuses_is_told(
    past: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, while another program has the file open."""
    with monkeypatch.context() as patched:
        patched.setattr("journal.disk.OsDisk.rename", lambda *_: before(io_error)(None))  # type: ignore[arg-type]
        code, said = journal(tmp_path, past, "rotate")
    assert code == 1
    assert "could not be renamed to audit.11-13.log" in said
    assert list(whole(past)) == [*CLOSED, ACTIVE]
    starts(past)
    assert list(whole(past)) == [*CLOSED, "audit.11-13.log", ACTIVE]
