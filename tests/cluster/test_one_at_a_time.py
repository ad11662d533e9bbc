"""With topology single one node runs at a time: whatever else is started says who is in its way."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from certeasy import config
from certeasy.cli import group
from certeasy.cluster.files import hold, holder
from certeasy.settings import Settings
from events.envelope import parse
from tests.make.checks import check_node
from tests.make.configs import a_config
from tests.make.node import a_node, node_settings
from tests.make.served import serving
from tests.make.workdirs import refused, server_id, sql

HOLDER = """
import sys
from pathlib import Path
from tests.make.node import a_node
with a_node(Path(sys.argv[1])):
    print("serving", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    folder = tmp_path / "shared"
    folder.mkdir()
    return folder / "db.sqlite"


def kids(*folders: Path) -> list[str]:
    return [parse((f / "audit.log").read_bytes().splitlines()[0]).kid for f in folders]


def lease_runs_out(database: Path) -> None:
    sql(database, "UPDATE log_head SET lease_until = 0")


def test_a_second_process_on_the_same_workdir_is_refused(tmp_path: Path) -> None:
    with a_node(tmp_path / "node") as node:
        node.an_order()
        workdir = str(tmp_path / "node")
        who = f"(pid {os.getpid()} on "
        refused(node.settings, "another process", workdir, who, "audit.log.lock", "stop it first")
        node.an_order()
    check_node(tmp_path / "node", acknowledged=node.acknowledged)


def test_a_second_server_is_told_of_the_first_and_another_program_of_the_port(
    tmp_path: Path,
) -> None:
    with serving() as listener:
        taken = f"127.0.0.1:{listener.address[1]}"
        path = a_config(tmp_path, admin=f"{{listen: '{taken}'}}")
        settings = config.load(path)
        with a_node(settings.workdir):
            done = CliRunner().invoke(group, ["serve", "-f", str(path)])
            assert done.exit_code == 1
            assert done.stderr.splitlines()[-1] == (
                f"certeasy: another process is using the workdir {settings.workdir} (pid"
                f" {os.getpid()} on {socket.gethostname()} holds"
                f" {settings.workdir / 'audit.log.lock'}): stop it first, or give this node a"
                " workdir of its own"
            )
        done = CliRunner().invoke(group, ["serve", "-f", str(path)])
        assert done.exit_code == 1
        assert done.stderr.splitlines()[-1].startswith(f"certeasy: admin.listen: {taken} cannot be")


def test_a_lock_says_who_holds_it_and_nobody_is_told_of_who_held_it_before(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text("?pid 4711 on a host with quite a long name that held it once")
    held = hold(path)
    assert held is not None
    assert holder(path) == f"pid {os.getpid()} on {socket.gethostname()}"
    assert hold(path) is None
    held.release()
    assert holder(tmp_path / "none") == ""


def test_a_process_that_was_killed_leaves_no_lock_behind(tmp_path: Path) -> None:
    folder = tmp_path / "node"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "serving\n"
        refused(node_settings(folder), "another process", "audit.log.lock")
        os.kill(process.pid, signal.SIGKILL)
    with a_node(folder) as node:  # at once: its own lease is no hindrance
        node.an_order()
    check_node(folder, acknowledged=node.acknowledged)


def test_a_second_node_on_the_same_database_is_refused_and_told_of_the_first(
    tmp_path: Path, database: Path
) -> None:
    one = node_settings(tmp_path / "one", database=database)
    two = node_settings(tmp_path / "two", database=database)
    with a_node(one.workdir, settings=one) as first:
        refused(
            two,
            server_id(one.workdir),
            first.opened.identity.hostname,
            "one node runs at a time",
            "Stop that one first",
        )
        first.an_order()
    assert not (two.workdir / "server_id").exists()
    assert not (two.workdir / "audit.log").exists()


def test_two_names_of_one_database_are_one_database(tmp_path: Path, database: Path) -> None:
    one = node_settings(tmp_path / "one", database=database)
    (tmp_path / "link").symlink_to(database.parent)
    linked = tmp_path / "link" / "db.sqlite"
    with a_node(one.workdir, settings=one):
        refused(node_settings(tmp_path / "two", database=linked), server_id(one.workdir))


def test_a_second_node_takes_over_at_once_from_one_that_stopped(
    tmp_path: Path, database: Path
) -> None:
    """And gives back to it: switching over is stopping one and starting the other."""
    one = node_settings(tmp_path / "one", database=database)
    two = node_settings(tmp_path / "two", database=database)
    known = []
    for settings in (one, two, one):
        with a_node(settings.workdir, settings=settings) as node:
            node.an_order()
        known += node.acknowledged
    trusted = kids(one.workdir, two.workdir)
    proof = check_node(
        one.workdir, two.workdir, database=database, acknowledged=known, trusted=trusted
    )
    assert len(proof.nodes) == 2
    lines = [parse(line).envelope for line in two.audit.path.read_bytes().splitlines()]
    assert [line.type for line in lines][:2] == ["node.registered", "lease.taken"]
    assert server_id(one.workdir).encode() in two.audit.path.read_bytes().splitlines()[1]


def test_a_second_node_waits_for_the_lease_of_one_that_crashed(
    tmp_path: Path, database: Path
) -> None:
    one = node_settings(tmp_path / "one", database=database)
    two = node_settings(tmp_path / "two", database=database)
    with a_node(two.workdir, settings=two) as before:
        before.an_order()
    with a_node(one.workdir, settings=one) as node:
        node.an_order()
        crashed(node)
    said = refused(
        two, server_id(one.workdir), server_id(two.workdir), node.opened.identity.hostname
    )
    assert "has the writer's place for another 1" in said  # some 15 seconds
    lease_runs_out(database)
    with a_node(two.workdir, settings=two) as node:
        node.an_order()
    check_node(
        one.workdir,
        two.workdir,
        database=database,
        trusted=kids(one.workdir, two.workdir),
    )


def test_a_crashed_node_in_another_place_waits_for_its_own_lease(tmp_path: Path) -> None:
    with a_node(tmp_path / "one") as node:
        node.an_order()
        crashed(node)
    shutil.move(tmp_path / "one", tmp_path / "two")
    moved = node_settings(tmp_path / "two")
    refused(moved, server_id(moved.workdir), "last ran in another place", "try again")
    lease_runs_out(moved.database.path)
    with a_node(moved.workdir) as node:
        node.an_order()
    check_node(moved.workdir, acknowledged=node.acknowledged)


def crashed(node) -> None:
    """Let a node end without giving its place back."""
    node.committer._release = lambda: setattr(node.committer, "stopped", "crashed")
    node.abandon()


def test_the_database_s_lock_names_nobody_where_nobody_is_known(
    tmp_path: Path, database: Path
) -> None:
    """Another node is only just setting the database up."""
    settings: Settings = node_settings(tmp_path / "two", database=database)
    held = hold(database.with_name("db.sqlite.lock"))
    assert held is not None
    refused(settings, "in use by another node")
    database.write_bytes(b"rubbish" * 1000)
    refused(settings, "in use by another node")
    held.release()
