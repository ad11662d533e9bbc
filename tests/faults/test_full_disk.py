"""A full disk: nothing is accepted, nothing is half-written, and it goes on when there is room."""

import os
import subprocess
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import msgspec
import pytest
import yaml
from click.testing import CliRunner, Result

from certeasy.app import Application
from certeasy.cli import group
from certeasy.cluster import boot, room
from certeasy.cluster.boot import BootRefused
from certeasy.commit import Unavailable
from certeasy.serve.node import Node
from certeasy.serve.stopping import StopRequest
from certeasy.settings import AdminSettings, AuditSettings, Settings
from certeasy.store import DatabaseUnavailable
from tests.fakes.faults import before, no_space
from tests.make.checks import check_node
from tests.make.configs import a_config
from tests.make.node import HEADROOM, ANode, a_node, node_settings
from tests.make.server import lab_settings
from tests.make.waiting import soon

LAB = Path(__file__).resolve().parents[2] / "docs/examples/init-lab.yml"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[ANode]:
    with a_node(tmp_path / "node") as made:
        made.an_order()
        yield made


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk; a disk that says it is full is asked too")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def submit_much(node: ANode) -> None:
    for _ in range(1000):
        node.submit(node.some_orders(20))


def test_without_headroom_nothing_is_accepted_and_nothing_was_begun(node: ANode) -> None:
    position = node.store.head().position
    node.faults.arm("free", lambda _action: HEADROOM - 1, times=3)
    for _ in range(2):
        with pytest.raises(Unavailable, match=f"{HEADROOM} are needed"):
            node.an_order()
    assert node.store.head().position == position
    assert "until there is room" in str(node.committer.trouble())
    soon(lambda: node.committer.trouble() is None)
    node.an_order()
    node.close()
    check_node(node.folder, acknowledged=node.acknowledged)


def test_a_disk_that_cannot_say_how_full_it_is_counts_as_full(node: ANode) -> None:
    node.faults.arm("free", before(no_space))
    with pytest.raises(Unavailable, match="no space left"):
        node.an_order()
    node.an_order()


def test_a_journal_that_fills_up_between_commit_and_writing_is_finished_later(node: ANode) -> None:
    node.faults.arm("write", before(no_space), times=3)
    for told in ("outcome unknown", "cannot catch up", "cannot catch up"):
        with pytest.raises(Unavailable, match=told):
            node.an_order()
    node.an_order()
    node.close()
    check_node(node.folder, acknowledged=node.acknowledged)


def test_a_full_disk_is_told_once_however_many_bytes_are_free(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fewer = count(HEADROOM - 1, -1)  # every time that is asked for
    with a_node(tmp_path / "node") as node:
        node.faults.arm("free", lambda _action: next(fewer), times=1 << 16)
        for _ in range(3):
            with pytest.raises(Unavailable, match="bytes free"):
                node.an_order()
        node.faults.disarm()
        node.an_order_at_last()
    said = [each.getMessage() for each in caplog.records]
    [told] = [text for text in said if "nothing is accepted" in text]
    assert f"{HEADROOM - 1} bytes free" in told


@pytest.mark.parametrize("everything", [True, False], ids=["everything", "the journal alone"])
def test_a_really_full_disk_refuses_and_a_freed_one_goes_on(
    tmp_path: Path, small_disk: Path, caplog: pytest.LogCaptureFixture, *, everything: bool
) -> None:
    settings = node_settings(small_disk / "node" if everything else tmp_path / "node")
    if not everything:
        audit = AuditSettings(path=small_disk / "audit.log", min_free_bytes=HEADROOM)
        settings = msgspec.structs.replace(settings, audit=audit)
    ballast = small_disk / "ballast"
    with a_node(settings.workdir, settings=settings) as node:
        node.an_order()
        space = os.statvfs(small_disk)
        ballast.write_bytes(bytes(space.f_bavail * space.f_frsize - 2 * HEADROOM))
        with pytest.raises(Unavailable):
            submit_much(node)
        with pytest.raises(Unavailable):
            node.an_order()
        ballast.unlink()
        node.an_order()
    said = [each.getMessage() for each in caplog.records]
    assert said.index("changes are accepted again") > min(
        place for place, line in enumerate(said) if line.startswith("nothing is accepted: ")
    )
    database, journal = settings.database.path, settings.audit.path.parent
    check_node(journal, database=database, acknowledged=node.acknowledged)


def test_a_crash_on_a_full_disk_is_survived(small_disk: Path) -> None:
    with a_node(small_disk / "node") as node:
        ballast = small_disk / "ballast"
        node.an_order()
        node.faults.arm("free", lambda _action: 1 << 40, times=1 << 16)  # nothing warns
        space = os.statvfs(small_disk)
        ballast.write_bytes(bytes(space.f_bavail * space.f_frsize - HEADROOM))
        with pytest.raises(Unavailable):
            submit_much(node)
        ballast.unlink()
        known = node.die()
    with a_node(small_disk / "node") as again:
        again.an_order()
    check_node(small_disk / "node", acknowledged=[*known, *again.acknowledged])


# -- a start, and what comes before it ------------------------------------------------------------


def fill_up(folder: Path, left: int) -> Path:
    """Leave so many bytes free on the disk of a folder; return the file that has the others."""
    ballast = folder / "ballast"
    space = os.statvfs(folder)
    ballast.write_bytes(bytes(max(space.f_bavail * space.f_frsize - left, 0)))
    return ballast


def settings_on(disk: Path) -> Settings:
    """Return those of a server whose work directory is on a small disk."""
    headroom = AuditSettings(path=disk / "node/audit.log", min_free_bytes=1 << 20)
    lab, free = lab_settings(disk / "node"), "127.0.0.1:0"
    return msgspec.structs.replace(
        lab,
        audit=headroom,
        admin=AdminSettings(listen=free),
        server=msgspec.structs.replace(lab.server, listen=free),
    )


@pytest.mark.parametrize("left", [0, 40 << 10, 200 << 10])
def test_a_start_on_a_full_disk_names_it_and_goes_on_when_there_is_room(
    small_disk: Path, left: int
) -> None:
    """Whatever is met first: a folder that cannot be made, the database, the journal."""
    ballast = fill_up(small_disk, left)
    application = Application(settings_on(small_disk))
    with pytest.raises((OSError, DatabaseUnavailable, Unavailable)) as refused:
        application.open()
    said = str(refused.value)
    assert f" in {small_disk}" in said
    assert "the disk is full, or nearly: " in said
    assert said.endswith(". Make room there, at least 1 MiB")
    ballast.unlink()
    application.open()
    application.close()


def open_in_turns(node: Node, attempt: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the node and end it, where each attempt to open its application is this one."""
    monkeypatch.setattr("certeasy.serve.node.WAIT", 0.01)
    monkeypatch.setattr(node.application, "open", attempt)
    try:
        assert node.open(StopRequest())
    finally:
        node.close()


def test_a_start_that_waits_for_room_says_so_once(
    small_disk: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many bytes are free at each attempt."""
    ballast = fill_up(small_disk, 200 << 10)
    node = Node(settings_on(small_disk))
    attempts, begin = [0], node.application.open

    def once_more() -> None:
        attempts[0] += 1
        if attempts[0] <= 3:
            os.truncate(ballast, ballast.stat().st_size - (8 << 10))
        else:
            ballast.unlink()
        begin()

    open_in_turns(node, once_more, monkeypatch)
    assert attempts == [4]
    said = [each.getMessage() for each in caplog.records]
    [line] = [each for each in said if each.startswith("the node cannot start yet")]
    assert f"for journal and database in {small_disk / 'node'}. Make room there" in line


def test_a_start_that_waits_lets_a_command_have_the_workdir_for_a_moment(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on waiting; only at the first attempt another process is a reason to end."""
    ballast, settings = fill_up(small_disk, 200 << 10), settings_on(small_disk)
    node = Node(settings)
    attempts, begin = [0], node.application.open

    def once_more() -> None:
        attempts[0] += 1
        if attempts[0] == 2:
            ballast.unlink()
            held = boot.workdir_lock(settings)
            try:
                begin()
            finally:
                held.release()
        begin()

    open_in_turns(node, once_more, monkeypatch)
    assert attempts == [3]
    held, late = boot.workdir_lock(settings), Node(settings)
    try:
        with pytest.raises(BootRefused, match="another process is using the workdir"):
            late.open(StopRequest())
    finally:
        late.close()
        held.release()


# -- commands --------------------------------------------------------------------------------------


def typed(settings: Settings, *arguments: object) -> Result:
    """Run a command on a node's configuration; it ends without a traceback, and in one line."""
    config = settings.workdir.parent / "config.yml"
    result = CliRunner().invoke(group, [*map(str, arguments), "-f", str(config)])
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.stderr.count("\n") == 1
    return result


def tree(folder: Path) -> dict[str, bytes]:
    """What is in a folder, but for locks, which anybody may take, and starts that were begun."""
    kept = [each for each in folder.rglob("*") if each.is_file() and each.suffix != ".lock"]
    passing = ("boot_ids", "db.sqlite", "db.sqlite-shm", "db.sqlite-wal", "ballast")
    return {str(each): each.read_bytes() for each in kept if each.name not in passing}


def stopped_in(folder: Path) -> Settings:
    """Return a node that has run there."""
    settings = node_settings(folder / "node")
    with a_node(settings.workdir, settings=settings) as node:
        node.an_order()
    least = f"{{min-free-bytes: {HEADROOM}}}"
    a_config(folder, workdir=f'"{settings.workdir}"', audit=least)
    return settings


@pytest.fixture
def stopped(small_disk: Path) -> Settings:
    """A node on a small disk that does not run."""
    return stopped_in(small_disk)


@pytest.mark.parametrize(
    "command",
    [
        ["node", "rotate-key"],
        ["node", "invite"],
        ["node", "endorse", "11111111-1111-4111-8111-111111111111", "K" * 43],
    ],
    ids=lambda command: command[1],
)
def test_a_command_without_any_room_names_the_disk_and_that_nothing_was_changed(
    stopped: Settings, small_disk: Path, command: list[str]
) -> None:
    was, ballast = tree(small_disk), fill_up(small_disk, 0)
    result = typed(stopped, *command)
    assert result.exit_code == 1
    assert f"0 KiB free for journal and database in {stopped.workdir}" in result.stderr
    assert "; nothing was changed\n" in result.stderr
    assert "Errno" not in result.stderr
    assert tree(small_disk) == was
    ballast.unlink()
    with a_node(stopped.workdir, settings=stopped) as again:
        again.an_order()


@pytest.mark.parametrize("file", ["boot_ids", "keys/signing.next.pem"])
def test_a_file_that_a_full_disk_does_not_take_is_named_and_nothing_is_left_of_it(
    stopped: Settings, small_disk: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    """The disk fills up just then: the file is there, its bytes are not taken."""
    was, sync, parts = tree(small_disk), os.fsync, tuple(Path(file).name.split(".pem"))

    def full_there(descriptor: int) -> None:
        if parts[0] in Path(f"/proc/self/fd/{descriptor}").readlink().name:
            raise no_space()
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full_there)
    result = typed(stopped, "node", "rotate-key")
    monkeypatch.undo()
    assert result.exit_code == 1
    assert f"{stopped.workdir / file} cannot be written: no space left" in result.stderr
    assert result.stderr.endswith("; nothing was changed\n")
    assert tree(small_disk) == was
    with a_node(stopped.workdir, settings=stopped) as again:
        again.an_order()


def test_a_backup_that_finds_no_room_names_itself_and_not_what_it_copies(
    stopped: Settings, small_disk: Path
) -> None:
    out = small_disk / "monday.backup"
    fill_up(small_disk, 64 << 10)
    result = typed(stopped, "backup", "create", "--output", out)
    assert result.exit_code == 1
    assert f"{out} cannot be written: " in result.stderr
    assert f" free in {small_disk}, a copy of {stopped.database.path} takes up to" in result.stderr
    assert "; no backup was made. Make room there, or choose another disk\n" in result.stderr
    assert not list(small_disk.glob("*monday*"))


def test_a_backup_that_finds_no_room_to_be_put_back_changes_nothing(
    tmp_path: Path, stopped: Settings, small_disk: Path
) -> None:
    out = tmp_path / "monday.backup"
    config = str(small_disk / "config.yml")
    made = CliRunner().invoke(group, ["backup", "create", "-f", config, "--output", str(out)])
    assert made.exit_code == 0, made.output
    was = stopped.database.path.read_bytes()
    fill_up(small_disk, 64 << 10)
    result = typed(stopped, "backup", "restore", "--replace", "--input", out)
    assert result.exit_code == 1
    assert f"{stopped.database.path} cannot be written: " in result.stderr
    assert "; nothing was changed. Make room there" in result.stderr
    assert stopped.database.path.read_bytes() == was
    assert not list(stopped.workdir.glob(".*.new"))


@pytest.mark.parametrize("out", ["evidence.zip", "evidence"])
def test_evidence_that_finds_no_room_is_named_and_nothing_is_left_of_it(
    tmp_path: Path, small_disk: Path, out: str
) -> None:
    stopped = stopped_in(tmp_path)
    fill_up(small_disk, 0)
    result = typed(stopped, "audit", "export", "--out", small_disk / out)
    assert result.exit_code == 1
    assert f"{small_disk / out}: cannot be written: No space left on device; " in result.stderr
    assert "nothing is left of it. Make room there, or choose another disk\n" in result.stderr
    assert not list(small_disk.glob("evidence*"))


def test_a_state_that_finds_no_room_is_named_and_nothing_is_left_of_it(
    tmp_path: Path, small_disk: Path
) -> None:
    stopped = stopped_in(tmp_path)
    fill_up(small_disk, 0)
    journal, out = str(stopped.audit.path), str(small_disk / "state.sqlite")
    asked = ["audit", "replay", "--journal", journal, "--out", out]
    result = CliRunner().invoke(group, asked)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert f"{out}.partial: cannot be written: database or disk is full; " in result.stderr
    assert "nothing is left of it. Make room there, or choose another disk\n" in result.stderr
    assert not list(small_disk.glob("state*"))


def test_a_quota_that_is_used_up_is_told_with_the_file_that_it_is_for(tmp_path: Path) -> None:
    """The disk itself has room."""
    settings = node_settings(tmp_path)
    assert room.explained("COMMIT failed: database or disk is full", settings) == (
        "COMMIT failed: database or disk is full; that of"
        f" {settings.database.path}. Make room there"
    )
    assert room.explained("out of service: locked", settings) == "out of service: locked"


def initialised(folder: Path, workdir: Path, *words: str) -> Result:
    answers = yaml.safe_load(LAB.read_text()) | {"workdir": str(workdir)}
    command = ["init", "--script", "-", "-o", str(folder / "config.yml"), *words]
    return CliRunner().invoke(group, command, input=yaml.safe_dump(answers))


def test_a_drive_that_is_not_there_hides_no_reason(tmp_path: Path) -> None:
    """As a drive letter of Windows without a drive: no folder above is there."""
    audit = AuditSettings(path=Path("/"))
    settings = msgspec.structs.replace(lab_settings(tmp_path), audit=audit)
    with pytest.raises(FileNotFoundError):
        room.rooms(settings)
    assert room.explained("the database is not reached", settings) == "the database is not reached"


def test_init_refuses_a_disk_on_which_a_server_would_accept_nothing(
    tmp_path: Path, small_disk: Path
) -> None:
    work = small_disk / "work"
    refused = initialised(tmp_path, work)
    assert refused.exit_code == 1
    [line] = refused.stderr.splitlines()
    assert line.endswith(
        f"free for journal and database in {small_disk}, and a server accepts nothing with less"
        " than 64 MiB (audit.min-free-bytes): make room there, or answer with folders on another"
        " disk; nothing was written"
    )
    assert not work.exists()
    assert not (tmp_path / "config.yml").exists()
    # For a machine that is prepared elsewhere it is a word, and no more.
    prepared = initialised(tmp_path, work, "--offline")
    assert prepared.exit_code == 0, prepared.output
    assert f"free for journal and database in {small_disk}, and a server" in prepared.stderr
