"""Who can write to the database has no key: what he puts there decides nothing."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from certeasy.commit import Command
from certeasy.commit.command import PoisonousCommand
from certeasy.commit.from_log import from_log
from certeasy.commit.vouched import Vouched
from certeasy.decide.decision import Decision, Reader
from certeasy.store import Store
from events.orders import OrderInvalidated, Problem
from events.signing import SigningKey
from projections.orders import ORDERS
from tests.make.checks import check_node
from tests.make.databases import a_database
from tests.make.journals import ALog, a_log
from tests.make.node import SYSTEM, a_node, node_settings
from tests.make.workdirs import refused, sql

FORGED = (  # spelled otherwise
    "UPDATE events SET line = CAST(replace(line, '\"kid\":', '\"kid\" :') AS BLOB)"
    " WHERE type = 'node.key-rotated'"
)
PLANTED = (
    "INSERT INTO events (position, server_id, seq, stream, version, type, at, hash, line)"
    " SELECT 1000000, 'planted', 1000000, stream, 1000, type, at, 'planted', line"
    " FROM events WHERE stream = '?'"
)
STRANGER = SigningKey.from_seed(b"s" * 32)
PROBLEM = Problem("urn:ietf:params:acme:error:dns", "no such name", 400)


def a_key_in_the_tables(log: ALog) -> tuple[str, list[str]]:
    """A line in the name of the first node, signed with a key that only the tables give it."""
    node = log.nodes[0]
    key, node.key = node.key, STRANGER
    order = log.a_new_order("web.lab.test", account=log.an_account())
    node.key = key
    row = f"'{node.server_id}', '{STRANGER.public.kid}', '{STRANGER.public.x}', 1, NULL"
    return order, [f"INSERT INTO node_keys VALUES ({row})"]  # noqa: S608 - ours


def a_node_endorsed_in_the_tables(log: ALog) -> tuple[str, list[str]]:
    """A line by a node that registered and that nobody vouches for, but the tables."""
    log.a_node(endorsed=False)
    order = log.a_new_order("web.lab.test", account=log.an_account(by=1), by=1)
    return order, ["UPDATE nodes SET endorsed = 1"]


def a_node_endorsed_by_itself(log: ALog) -> tuple[str, list[str]]:
    """The same; the node has vouched for itself, and two rows say that another one did."""
    order, statements = a_node_endorsed_in_the_tables(log)
    log.an_endorsement(1, by=1)
    node = log.nodes[1]
    row = f"'{node.server_id}', '{node.key.public.kid}', '{log.nodes[0].server_id}'"
    return order, [*statements, f"INSERT INTO endorsements VALUES ({row})"]  # noqa: S608 - ours


@pytest.mark.parametrize(
    "forged", [a_key_in_the_tables, a_node_endorsed_in_the_tables, a_node_endorsed_by_itself]
)
def test_what_tables_say_of_nodes_makes_no_line_believed(
    tmp_path: Path, forged: Callable[[ALog], tuple[str, list[str]]]
) -> None:
    log = a_log()
    order, statements = forged(log)
    path = a_database(log, tmp_path / "db.sqlite")
    sql(path, *statements)
    store = Store.sqlite(path)
    try:
        keys = Vouched(log.nodes[0].key.public)
        with (
            store.transaction() as transaction,
            pytest.raises(PoisonousCommand, match="which is no endorsed node's key"),
        ):
            from_log(transaction, keys, ORDERS, (order,), (f"order/{order}",))
    finally:
        store.close()


@pytest.mark.parametrize("change", ["retired", "forged"])
def test_lines_about_nodes_count_as_they_were_signed(tmp_path: Path, change: str) -> None:
    log = a_log(nodes=2)
    believed = log.a_new_order("web.lab.test", account=log.an_account(by=1), by=1)
    log.a_key_rotation(by=1)
    log.a_retirement(1)
    behind = log.a_new_order("web.lab.test", account=log.an_account(by=1), by=1)
    path = a_database(log, tmp_path / "db.sqlite")
    if change == "forged":
        sql(path, FORGED)
    store = Store.sqlite(path)
    try:
        with store.transaction() as transaction:

            def made(order: str) -> object:
                keys = Vouched(log.nodes[0].key.public)
                return from_log(transaction, keys, ORDERS, (order,), (f"order/{order}",))

            if change == "forged":
                with pytest.raises(PoisonousCommand, match="what the log says of nodes is broken"):
                    made(believed)
                return
            assert made(believed) is not None
            with pytest.raises(PoisonousCommand, match="was retired before it"):
                made(behind)
    finally:
        store.close()


def test_a_line_signed_for_another_stream_makes_no_row(tmp_path: Path) -> None:
    log = a_log()
    account = log.an_account()
    first, other = (log.a_new_order(f"{n}.lab.test", account=account) for n in ("web", "mail"))
    path = a_database(log, tmp_path / "db.sqlite")
    line = f"(SELECT line FROM events WHERE stream = 'order/{other}')"  # noqa: S608 - ours
    sql(path, f"UPDATE events SET line = {line} WHERE stream = 'order/{first}'")  # noqa: S608 - ours
    store = Store.sqlite(path)
    try:
        keys = Vouched(log.nodes[0].key.public)
        with (
            store.transaction() as transaction,
            pytest.raises(PoisonousCommand, match=f"version 1 of order/{other} stands where"),
        ):
            from_log(transaction, keys, ORDERS, (first,), (f"order/{first}",))
    finally:
        store.close()


def test_rows_behind_the_log_s_end_decide_nothing_and_number_nothing(tmp_path: Path) -> None:
    """A user with INSERT alone: every position in the log is taken, so his rows are behind it."""
    folder = tmp_path / "node"
    folder.mkdir()
    settings = node_settings(folder)

    def decide(rows: Reader, _now: datetime) -> Decision:
        assert rows.get(ORDERS, order) is not None
        return Decision(((f"order/{order}", OrderInvalidated("test", PROBLEM)),))

    with a_node(folder) as node:
        order = node.an_order()
        sql(settings.database.path, PLANTED.replace("?", f"order/{order}"))
        node.committer._hot.clear()
        node.submit(Command(decide, SYSTEM))
    refused(settings, "its head says", "rows were changed")
    sql(settings.database.path, "DELETE FROM events WHERE server_id = 'planted'")
    check_node(folder, acknowledged=node.acknowledged)
