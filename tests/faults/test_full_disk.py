"""A full disk: nothing is accepted, nothing is half-written, and it goes on when there is room."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import yaml
from click.testing import CliRunner, Result

from certeasy.app import Application
from certeasy.cli import group
from certeasy.cluster import room
from certeasy.commit import Unavailable
from certeasy.serve.node import Node
from certeasy.serve.stopping import StopRequest
from certeasy.settings import AuditSettings, Settings
from certeasy.store import DatabaseUnavailable
from tests.fakes.faults import before, no_space
from tests.make.checks import check_node
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
    return msgspec.structs.replace(lab_settings(disk / "node"), audit=headroom)


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


def test_a_start_that_waits_for_room_says_so_once(
    small_disk: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many bytes are free at each attempt."""
    monkeypatch.setattr("certeasy.serve.node.WAIT", 0.01)
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

    monkeypatch.setattr(node.application, "open", once_more)
    try:
        assert node.open(StopRequest())
    finally:
        node.close()
    assert attempts == [4]
    said = [each.getMessage() for each in caplog.records]
    [line] = [each for each in said if each.startswith("the node cannot start yet")]
    assert f"for journal and database in {small_disk / 'node'}. Make room there" in line


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
