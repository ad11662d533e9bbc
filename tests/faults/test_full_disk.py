"""A full disk: nothing is accepted, nothing is half-written, and it goes on when there is room."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from certeasy.commit import Unavailable
from certeasy.settings import AuditSettings
from tests.fakes.faults import before, no_space
from tests.make.checks import check_node
from tests.make.node import HEADROOM, ANode, a_node, node_settings
from tests.make.waiting import soon


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
