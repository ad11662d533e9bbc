"""Another process frozen in mid-transaction: readers read, changes wait, then all goes on."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from certeasy.commit import Unavailable
from certeasy.store import Store
from tests.make.checks import check_node
from tests.make.node import ANode, a_node
from tests.make.waiting import soon

HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE log_head SET lease_until = lease_until + 1")
print("held", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
connection.close()
"""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[ANode]:
    with a_node(tmp_path / "node") as made:
        Store._writing(made.store).execute("PRAGMA busy_timeout=100")
        yield made


@pytest.fixture
def holder(node: ANode) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the database's write lock, and is stopped."""
    command = [sys.executable, "-c", HOLDER, str(node.folder / "db.sqlite")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        os.kill(process.pid, signal.SIGSTOP)
        yield process
        if process.poll() is None:
            process.kill()


def test_a_process_frozen_in_mid_transaction_holds_up_changes_and_nothing_else(
    node: ANode, holder: subprocess.Popen[str]
) -> None:
    for _ in range(2):
        with pytest.raises(Unavailable, match="locked"):
            node.an_order()
    assert node.store.head().position == 4
    assert len(node.store.servers()) == 1
    os.kill(holder.pid, signal.SIGCONT)
    holder.communicate("\n")
    node.an_order()
    soon(lambda: node.committer.trouble() is None)
    node.close()
    check_node(node.folder, acknowledged=node.acknowledged)


def test_a_process_killed_in_mid_transaction_holds_up_nothing(
    node: ANode, holder: subprocess.Popen[str]
) -> None:
    with pytest.raises(Unavailable, match="locked"):
        node.an_order()
    holder.kill()
    holder.wait()
    node.an_order()
    node.close()
    check_node(node.folder, acknowledged=node.acknowledged)
