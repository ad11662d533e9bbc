"""A workdir's files: nobody else's to read, no links, whole or absent wherever a start ends."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from certeasy.cli import group
from certeasy.clock import SystemClock
from certeasy.cluster import boot
from certeasy.cluster.files import append_line, create_empty, hold, write_once
from certeasy.ids import RandomIds
from tests.fakes.faults import before, io_error
from tests.make.checks import check_node
from tests.make.configs import a_config
from tests.make.node import ANode, a_node, node_settings
from tests.make.workdirs import contents, refused, sql


@pytest.fixture
def open_umask() -> Iterator[None]:
    mask = os.umask(0)
    yield
    os.umask(mask)


def modes(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode)
        for path in folder.rglob("*")
    }


def test_no_file_is_readable_by_others(tmp_path: Path, open_umask: None) -> None:
    folder = tmp_path / "node"
    with a_node(folder) as node:
        node.an_order()
        found = modes(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert found.pop("keys") == 0o700
    assert set(found.values()) == {0o600}
    assert {
        "server_id",
        "keys/signing.pem",
        "boot_ids",
        "secret.key",
        "audit.log",
        "db.sqlite",
        "db.sqlite-wal",
        "db.sqlite-shm",
    } <= set(found)


LINKS = [
    "audit.log",
    "server_id",
    "keys/signing.pem",
    "boot_ids",
    "audit.log.lock",
    "db.sqlite.lock",
]


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize("known", [True, False], ids=["to a file", "to nothing"])
def test_a_link_in_a_file_s_place_is_refused(tmp_path: Path, name: str, *, known: bool) -> None:
    settings = node_settings(tmp_path / "node")
    with a_node(settings.workdir):
        pass
    path, elsewhere = settings.workdir / name, tmp_path / "elsewhere"
    if known:
        elsewhere.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(elsewhere)
    refused(settings, name, str(elsewhere), "symbolic link")
    assert elsewhere.exists() is known


def test_a_link_to_nothing_gets_no_secret_key(tmp_path: Path) -> None:
    settings = node_settings(tmp_path / "node")
    settings.workdir.mkdir()
    settings.secrets.key_file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(boot.BootRefused, match="symbolic link"):
        ANode(settings)
    assert not (tmp_path / "elsewhere").exists()


def test_a_secret_key_may_be_a_link_to_one_that_is_mounted(tmp_path: Path) -> None:
    (tmp_path / "mounted").write_bytes(bytes(32))
    settings = node_settings(tmp_path / "node")
    settings.workdir.mkdir()
    settings.secrets.key_file.symlink_to(tmp_path / "mounted")
    with a_node(settings.workdir) as node:
        node.an_order()


def test_a_folder_that_is_a_link_is_as_good_as_any(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with a_node(tmp_path / "link") as node:
        node.an_order()
    with a_node(tmp_path / "real") as node:  # the same place, by another name
        node.an_order()
    check_node(tmp_path / "real")


# -- secrets -------------------------------------------------------------------------------------


def with_a_secret(folder: Path) -> None:
    with a_node(folder) as node:
        node.committer.stop()
        assert node.opened.secrets.get_or_make("nonces", b"first") == b"first"
        assert node.opened.secrets.get_or_make("nonces", b"second") == b"first"
        assert node.opened.secrets.get("another") is None


def test_a_missing_secret_key_is_refused_beside_secrets(tmp_path: Path) -> None:
    with_a_secret(tmp_path / "node")
    (tmp_path / "node" / "secret.key").unlink()
    refused(node_settings(tmp_path / "node"), "secret.key", "backup", "another node")


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_secret_key_of_another_length_is_refused(tmp_path: Path, length: int) -> None:
    with_a_secret(tmp_path / "node")
    (tmp_path / "node" / "secret.key").write_bytes(bytes(length))
    refused(node_settings(tmp_path / "node"), "secret.key", f"{length} bytes", "32")


def test_another_secret_key_opens_nothing(tmp_path: Path) -> None:
    with_a_secret(tmp_path / "node")
    (tmp_path / "node" / "secret.key").write_bytes(bytes(32))
    with (
        a_node(tmp_path / "node") as node,
        pytest.raises(boot.BootRefused, match=r"'nonces'.*secret\.key"),
    ):
        node.opened.secrets.get("nonces")


def test_a_secret_cannot_be_put_in_another_s_place(tmp_path: Path) -> None:
    with_a_secret(tmp_path / "node")
    sql(tmp_path / "node" / "db.sqlite", "UPDATE secrets SET name = 'another'")
    with (
        a_node(tmp_path / "node") as node,
        pytest.raises(boot.BootRefused, match="'another'"),
    ):
        node.opened.secrets.get("another")


# -- a first start that ends early ---------------------------------------------------------------


def without(*names: str) -> Callable[[Path], None]:
    def remove(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return remove


EARLY: dict[str, Callable[[Path], None]] = {
    "a key": without("server_id", "audit.log", "boot_ids", "secret.key", "db.sqlite"),
    "an id": without("audit.log", "boot_ids", "secret.key", "db.sqlite"),
    "an empty database": without("audit.log", "boot_ids", "secret.key", "db.sqlite"),
    "tables": without("audit.log", "boot_ids", "secret.key"),
    "a secret key": without("audit.log", "boot_ids"),
    "a journal": without("boot_ids"),
    "a start written down": without(),
}


@pytest.mark.parametrize(("state", "take_away"), EARLY.items(), ids=EARLY)
def test_a_first_start_may_end_anywhere(
    tmp_path: Path, state: str, take_away: Callable[[Path], None]
) -> None:
    folder = tmp_path / "node"
    settings, ids = node_settings(folder), RandomIds(SystemClock())
    node = boot.open_node(settings, ids)
    boot.level(node)
    node.identity.record_start(ids.uuid())
    node.close()
    take_away(folder)
    if state == "an empty database":
        (folder / "db.sqlite").touch()
    with a_node(folder) as again:
        again.an_order()
    check_node(folder, acknowledged=again.acknowledged)


def test_a_start_that_ends_before_its_first_line_may_be_tried_again(tmp_path: Path) -> None:
    """The place was taken, nothing committed: what stands there is this node's own."""
    settings, ids = node_settings(tmp_path / "node"), RandomIds(SystemClock())
    for _ in range(3):
        node = boot.open_node(settings, ids)
        boot.level(node)
        boot.take_place(node, SystemClock(), ids)
        node.close()
    with a_node(settings.workdir) as again:
        again.an_order()
    check_node(settings.workdir, acknowledged=again.acknowledged)


# -- small files ---------------------------------------------------------------------------------


def test_a_file_is_written_once(tmp_path: Path) -> None:
    write_once(tmp_path / "file", b"first")
    with pytest.raises(FileExistsError, match="is there already"):
        write_once(tmp_path / "file", b"second")
    assert contents(tmp_path) == {tmp_path / "file": b"first"}


def test_a_draft_that_was_left_behind_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / ".file.new").write_bytes(b"half")
    write_once(tmp_path / "file", b"whole")
    assert contents(tmp_path) == {tmp_path / "file": b"whole"}


def test_lines_are_appended_behind_whole_lines(tmp_path: Path) -> None:
    for line in ("one", "two"):
        append_line(tmp_path / "file", line)
    (tmp_path / "file").write_bytes(b"one\ntw")
    append_line(tmp_path / "file", "three")
    assert (tmp_path / "file").read_bytes() == b"one\ntw\nthree\n"


def test_an_empty_file_is_made_where_there_is_none(tmp_path: Path) -> None:
    create_empty(tmp_path / "file")
    (tmp_path / "file").write_bytes(b"content")
    create_empty(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"content"


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    first = hold(tmp_path / "lock")
    assert first is not None
    assert hold(tmp_path / "lock") is None
    first.release()
    second = hold(tmp_path / "lock")
    assert second is not None
    second.release()


def test_a_file_that_cannot_be_locked_at_all_is_no_other_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a network file system without locks."""
    monkeypatch.setattr("certeasy.cluster.files._lock", lambda _file: before(io_error)(None))
    with pytest.raises(OSError, match="input/output error"):
        hold(tmp_path / "lock")


def test_a_workdir_that_cannot_be_made_says_which(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        ANode(node_settings(tmp_path / "file"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can")
@pytest.mark.parametrize(
    "words",
    [
        ("eab", "create"),
        ("journal", "rotate"),
        ("journal", "refill", "--reason", "why"),
        ("journal", "restore"),
        ("journal", "reconcile"),
        ("node", "rotate-key"),
        ("projections", "rebuild"),
        ("backup", "restore", "--replace"),
    ],
    ids=" ".join,
)
def test_root_leaves_no_file_of_its_own_in_another_user_s_workdir(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    settings = node_settings(tmp_path / "node")
    with a_node(settings.workdir):
        pass
    config = a_config(tmp_path, workdir=f'"{settings.workdir}"')
    copied = tmp_path / "a.backup"
    made = CliRunner().invoke(
        group, ["backup", "create", "--output", str(copied), "-f", str(config)]
    )
    assert made.exit_code == 0, made.output
    os.chown(settings.workdir / "server_id", 65534, 65534)
    before = contents(settings.workdir)
    given = ["--input", str(copied)] if words[0] == "backup" else []
    refused = CliRunner().invoke(group, [*words, *given, "-f", str(config)])
    assert refused.exit_code == 1
    assert "give this command as that user (sudo -u nobody" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert contents(settings.workdir) == before
