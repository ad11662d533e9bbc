"""The database's disk is full: nothing is accepted, nothing is lost, and it goes on by itself."""

import contextlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from certeasy.commit import Unavailable
from tests.make.checks import check_node
from tests.make.node import a_node, node_settings
from tests.make.postgres import Postgres, settings_of
from tests.make.waiting import soon
from tools.crashlab.mounts import fill, small_disk
from tools.crashlab.trouble import LeftOut

SIZE = 160 << 20


@pytest.fixture
def small() -> Iterator[Postgres]:
    """A server whose disk is small."""
    if sys.platform != "linux":
        pytest.skip("a tmpfs is Linux's")
    folder = Path(mkdtemp(prefix="certeasy-postgres-"))
    folder.chmod(0o755)
    try:
        with small_disk(folder / "disk", SIZE) as disk:
            server = Postgres(disk).make("--wal-segsize=1").start()
            yield server
            server.stop()
    except LeftOut as reason:
        pytest.skip(str(reason))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_a_full_database_accepts_nothing_and_goes_on_when_there_is_room(tmp_path, small):
    database = settings_of(small.a_database())
    folder = tmp_path / "node"
    with a_node(folder, settings=node_settings(folder, server=database)) as node:
        node.an_order()
        ballast = fill(small.folder)
        refused = list[str]()

        def is_refused() -> bool:
            try:
                node.submit(node.some_orders(50))
            except Unavailable as error:
                refused.append(str(error))
            return bool(refused)

        soon(is_refused, 30)
        assert "out of service" in refused[0] or "outcome unknown" in refused[0]
        assert node.committer.trouble()
        ballast.unlink()

        def is_accepted() -> bool:
            with contextlib.suppress(Unavailable):
                node.an_order()
                return True
            if small.process is not None and small.process.poll() is not None:
                small.start()  # an administrator would
            return False

        soon(is_accepted, 40)
        node.close()
    check_node(folder, database=database, acknowledged=node.acknowledged)
