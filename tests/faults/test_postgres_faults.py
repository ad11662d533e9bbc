"""PostgreSQL goes away in every way, while a node commits: nothing acknowledged is lost, nothing is
there twice, and nobody has to restart the node."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator

import psycopg
import pytest

from certeasy.commit import Unavailable
from certeasy.settings import DatabaseSettings
from certeasy.store import LEASE_SECONDS
from tests.fakes.cut_proxy import Wire, cut_proxy
from tests.fakes.faults import after, before
from tests.make.checks import check_node
from tests.make.node import ANode, a_node, node_settings, order_command
from tests.make.postgres import Postgres, a_postgres, gone, settings_of
from tests.make.waiting import soon


@pytest.fixture
def own() -> Iterator[Postgres]:
    """A server of this test's own, to be stopped and started."""
    server = a_postgres()
    yield server
    gone(server)


@pytest.fixture
def wire(postgres: Postgres) -> Iterator[Wire]:
    with cut_proxy(postgres.port) as wire:
        yield wire


@pytest.fixture
def direct(postgres: Postgres) -> DatabaseSettings:
    """The database without the wire between."""
    return settings_of(postgres.a_database())


@pytest.fixture
def node(tmp_path, direct: DatabaseSettings, wire: Wire) -> Iterator[ANode]:
    address = str(direct.dsn).replace(str(port_of(direct)), str(wire.port))
    settings = node_settings(tmp_path / "node", server=settings_of(address))
    with a_node(tmp_path / "node", settings=settings) as node:
        yield node


def port_of(database: DatabaseSettings) -> int:
    return int(str(database.dsn).rpartition(":")[2].partition("/")[0])


def check(node: ANode, database: DatabaseSettings) -> None:
    """Look at everything, with the node at rest."""
    node.close()
    check_node(node.folder, database=database, acknowledged=node.acknowledged)


def an_order_soon(node: ANode, seconds: float = 30.0) -> None:
    """The node goes on by itself."""

    def ordered() -> bool:
        with contextlib.suppress(Unavailable):
            node.an_order()
            return True
        return False

    soon(ordered, seconds)


def out_of_service() -> Exception:
    return psycopg.OperationalError("made by a test")


STREAM = b"(the row of the event)"
STEPS = ["lock", "insert", "rows", "advance", "move"]


@pytest.mark.parametrize("when", [before, after])
@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_fails_has_stored_nothing(node, direct, step, when):
    node.an_order()
    node.faults.arm(step, when(out_of_service))
    order = node.ids.new()
    with pytest.raises(Unavailable):
        node.submit(order_command(order))
    assert not node.has(order)
    node.an_order()
    check(node, direct)


@pytest.mark.parametrize(("when", "kept"), [(before, False), (after, True)])
def test_a_commit_that_fails_is_looked_up(node, direct, when, kept):
    node.an_order()
    node.faults.arm("commit", when(out_of_service))
    order = node.ids.new()
    with pytest.raises(Unavailable, match="outcome unknown"):
        node.submit(order_command(order))
    an_order_soon(node)
    assert node.has(order) is kept
    check(node, direct)


@pytest.mark.parametrize(
    ("cut", "kept"),
    [
        ({"before": b"COMMIT"}, False),
        ({"within": b"COMMIT"}, False),
        ({"behind": b"COMMIT"}, True),
        ({"before": STREAM}, False),
        ({"within": STREAM}, False),
        ({"behind": STREAM}, False),
    ],
    ids=str,
)
def test_a_wire_that_is_cut_leaves_no_doubt(node, direct, wire, cut, kept):
    node.an_order()
    order = node.ids.new()
    wire.cut(**{where: mark.replace(STREAM, order.encode()) for where, mark in cut.items()})
    with pytest.raises(Unavailable):
        node.submit(order_command(order))
    assert wire.cuts == list(cut)
    an_order_soon(node)
    assert node.has(order) is kept
    check(node, direct)


def test_cuts_at_random_under_load_lose_nothing(node, direct, wire):
    over, lost = threading.Event(), list[str]()

    def work() -> None:
        while not over.is_set():
            try:
                node.an_order()
            except Unavailable:
                time.sleep(0.01)
            except Exception as error:  # noqa: BLE001 - told to the test's own thread
                lost.append(repr(error))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for number in range(20):
        time.sleep(0.05 + 0.01 * number)
        wire.cut_now()
    over.set()
    for thread in threads:
        thread.join()
    an_order_soon(node)
    assert lost == []
    assert len(node.acknowledged) > 20
    check(node, direct)


def test_a_server_that_is_restarted_is_taken_up_again(tmp_path, own):
    database = settings_of(own.a_database())
    settings = node_settings(tmp_path / "node", server=database)
    with a_node(tmp_path / "node", settings=settings) as node:
        for how in (signal.SIGINT, signal.SIGQUIT):
            node.an_order()
            own.stop(how)
            with pytest.raises(Unavailable):
                node.an_order()
            soon(node.committer.trouble)
            own.start()
            an_order_soon(node)
            soon(lambda: node.committer.trouble() is None)
        check(node, database)


def test_a_database_that_is_slow_costs_answers_and_no_events(node, direct):
    """Somebody holds the log's head for longer than the committer waits for it."""
    node.an_order()
    with psycopg.connect(str(direct.dsn)) as other:
        other.execute("UPDATE log_head SET id = id")
        begun = time.monotonic()
        with pytest.raises(Unavailable):
            node.an_order()
        assert time.monotonic() - begun < LEASE_SECONDS
        assert node.committer.trouble() is not None
        other.rollback()
    an_order_soon(node)
    check(node, direct)


def test_a_queue_that_does_not_move_is_bounded(node, direct, monkeypatch):
    monkeypatch.setattr(node.committer._queue, "maxsize", 3)
    node.an_order()
    with psycopg.connect(str(direct.dsn)) as other:
        other.execute("UPDATE log_head SET id = id")
        said = list[str]()

        def order() -> None:
            try:
                node.an_order()
            except Unavailable as error:
                said.append(str(error))

        threads = [threading.Thread(target=order) for _ in range(12)]
        for thread in threads:
            thread.start()
        soon(lambda: sum("changes are waiting to be stored" in each for each in said) >= 4)
        other.rollback()
        for thread in threads:
            thread.join()
    an_order_soon(node)
    check(node, direct)


def test_rows_that_are_gone_stop_the_node(node, direct):
    """As after a fail-over to a replica that lacked the last commits."""
    node.an_order()
    node.an_order()
    with psycopg.connect(str(direct.dsn), autocommit=True) as other:
        other.execute("UPDATE servers SET seq = seq - 1, hash = repeat('0', 64)")
    with pytest.raises(Unavailable):
        node.an_order()
    soon(lambda: node.stops)
    assert "the database does not have node" in node.stops[0]
