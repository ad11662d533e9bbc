"""A primary dies, its replica is promoted, and the node goes on without a restart; or, where the
replica lacks what was acknowledged, it stops and says so."""

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from certeasy import config
from certeasy.cli import group
from certeasy.cluster.boot import BootRefused
from certeasy.commit import Unavailable
from certeasy.settings import DatabaseSettings
from certeasy.store import LEASE_SECONDS
from tests.make.checks import check_node
from tests.make.configs import a_config
from tests.make.node import ANode, a_node, node_settings, order_command
from tests.make.postgres_pair import STREAMED, Pair
from tests.make.waiting import soon


@pytest.fixture
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    pair = Pair(synchronous=request.param == "synchronous")
    yield pair
    pair.close()


def an_order_soon(node: ANode) -> float:
    begun = time.monotonic()

    def ordered() -> bool:
        with contextlib.suppress(Unavailable):
            node.an_order()
            return True
        return False

    soon(ordered, 30)
    return time.monotonic() - begun


@pytest.mark.parametrize("pair", ["synchronous"], indirect=True)
def test_a_replica_that_is_away_stops_nobody_for_ever(tmp_path, pair, monkeypatch):
    """PostgreSQL's COMMIT waits for the replica, without an end."""
    monkeypatch.setattr("certeasy.store.store.TRANSACTION_SECONDS", 2.0)
    with a_node(tmp_path / "node", settings=settings(tmp_path / "node", pair.database)) as node:
        node.an_order()
        pair.standby.stop(signal.SIGINT)
        order, begun = node.ids.new(), time.monotonic()
        with pytest.raises(Unavailable, match="outcome unknown"):
            node.submit(order_command(order))
        assert time.monotonic() - begun < LEASE_SECONDS
        assert node.committer.trouble()
        pair.standby.start(*STREAMED)
        an_order_soon(node)
        assert node.has(order)
        node.close()
    check_node(tmp_path / "node", database=pair.database, acknowledged=node.acknowledged)


def an_order_or_nothing(node: ANode) -> None:
    """Order again and again while the database is away, until something else is said."""
    while True:
        try:
            return node.an_order() and None
        except Unavailable as error:
            if "out of service" not in str(error):
                raise


def settings(folder: Path, database: DatabaseSettings):
    return node_settings(folder, server=database)


@pytest.mark.parametrize("pair", ["synchronous"], indirect=True)
def test_a_fail_over_to_a_synchronous_replica_loses_nothing(tmp_path, pair):
    with a_node(tmp_path / "node", settings=settings(tmp_path / "node", pair.database)) as node:
        for _ in range(20):
            node.an_order()
        pair.fail_over()
        an_order_soon(node)
        assert node.stops == []
        node.close()
    check_node(tmp_path / "node", database=pair.survivor, acknowledged=node.acknowledged)


@pytest.mark.parametrize("pair", ["asynchronous"], indirect=True)
def test_a_fail_over_to_a_replica_that_had_everything_goes_on(tmp_path, pair):
    with a_node(tmp_path / "node", settings=settings(tmp_path / "node", pair.database)) as node:
        node.an_order()
        pair.primary.wait(lambda: _is_level(pair))
        pair.fail_over()
        an_order_soon(node)
        node.close()
    check_node(tmp_path / "node", database=pair.survivor, acknowledged=node.acknowledged)


def _is_level(pair: Pair) -> bool:
    asked = "SELECT pg_current_wal_lsn() = replay_lsn FROM pg_stat_replication"
    return pair.primary.ask(asked) == [(True,)]


# -- asynchronous, and something was lost ---------------------------------------------------------


def run(*words: object):
    return CliRunner().invoke(group, [str(word) for word in words])


def a_place(folder: Path, database: DatabaseSettings, key_file: Path) -> Path:
    """Write the configuration of a node on this database."""
    folder.mkdir()
    section = f"{{driver: postgres, dsn: '{database.dsn}'}}"
    return a_config(folder, database=section, secrets=f"{{key-file: {key_file}}}")


@contextlib.contextmanager
def serving(config_file: Path) -> Iterator[ANode]:
    loaded = config.load(config_file)
    with a_node(loaded.workdir, settings=loaded) as node:
        yield node


def lose_the_last(pair: Pair, node: ANode) -> list[str]:
    """Have orders acknowledged that the promoted replica does not know; the node stops."""
    node.an_order()
    pair.primary.wait(lambda: _is_level(pair))
    pair.stop_streaming()
    lost = [node.an_order() for _ in range(5)]
    pair.fail_over()
    with pytest.raises(Unavailable, match="stops"):
        an_order_or_nothing(node)
    soon(lambda: node.stops)
    assert "the database does not have node" in node.stops[0]
    assert not node.has(lost[-1])
    return lost


@pytest.mark.parametrize("pair", ["asynchronous"], indirect=True)
def test_what_the_replica_lacks_is_put_back_from_the_journal(tmp_path, pair):
    one = a_place(tmp_path / "one", pair.database, tmp_path / "secret.key")
    with serving(one) as node:
        lost = lose_the_last(pair, node)
    journal = config.load(one).audit.path
    before = journal.read_bytes()
    with pytest.raises(BootRefused, match="journal restore"), serving(one):
        pass
    assert journal.read_bytes() == before

    restored = run("journal", "restore", "-f", one)
    assert restored.exit_code == 0, restored.output
    with serving(one) as again:
        assert all(again.has(order) for order in lost)
        again.an_order()
    acknowledged = [*node.acknowledged, *again.acknowledged]
    check_node(journal.parent, database=pair.survivor, acknowledged=acknowledged)
    assert run("audit", "verify", "-f", one).exit_code == 0


@pytest.mark.parametrize("pair", ["asynchronous"], indirect=True)
def test_what_another_node_has_overtaken_is_kept_beside_the_log(tmp_path, pair):
    key = tmp_path / "secret.key"
    one = a_place(tmp_path / "one", pair.database, key)
    two = a_place(tmp_path / "two", pair.database, key)
    with serving(one):
        pass
    token = tmp_path / "token"
    token.write_text(run("node", "invite", "-f", one).stdout)
    joined = run("node", "join", token, "-f", two)
    assert joined.exit_code == 0, joined.output
    with serving(one) as node:
        lost = lose_the_last(pair, node)
        lines = [r.line for r in node.acknowledged if r.envelope.stream.endswith(tuple(lost))]
    soon(lambda: _is_free(pair), 20)
    with serving(two) as other:
        for _ in range(7):
            other.an_order()
    with pytest.raises(BootRefused, match="journal reconcile"), serving(one):
        pass

    reconciled = run("journal", "reconcile", "-f", one)
    assert reconciled.exit_code == 0, reconciled.output
    with serving(one) as again:
        again.an_order()
    verified = run("audit", "verify", "-f", one, "--journal", config.load(two).audit.path)
    assert verified.exit_code == 0, verified.output
    assert run("projections", "check", "-f", one).exit_code == 0
    kept = pair.standby.ask("SELECT line FROM orphaned_lines", pair.name)
    assert set(lines) <= {bytes(line) for (line,) in kept}
    journal = config.load(one).audit.path.read_bytes()
    assert all(line in journal for line in lines)


def _is_free(pair: Pair) -> bool:
    """Whether the lease of the node that stopped has run out."""
    asked = "SELECT lease_until < extract(epoch FROM clock_timestamp()) FROM log_head"
    return pair.standby.ask(asked, pair.name) == [(True,)]
