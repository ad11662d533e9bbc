"""A node that has lost its place, its history or its journal stops, and commits nothing more."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from certeasy.commit import Unavailable
from certeasy.store import schema
from tests.fakes.faults import after, before, database_error, io_error
from tests.make.checks import check_node
from tests.make.node import ANode, a_node, order_command
from tests.make.waiting import soon

Harm = Callable[[ANode], object]


def sql(statement: str) -> Harm:
    """Change the database behind the node's back."""

    def harm(node: ANode) -> None:
        with closing(sqlite3.connect(node.folder / "db.sqlite")) as connection, connection:
            connection.execute(statement)

    return harm


def cut_the_journal(node: ANode) -> None:
    os.truncate(node.journal.path, node.journal.confirmed - 10)


def write_into_the_journal(node: ANode) -> None:
    with node.journal.path.open("ab") as file:
        file.write(b"{}\n")


def rename_the_journal(node: ANode) -> None:
    node.journal.path.rename(node.journal.path.with_suffix(".1"))


def replace_the_journal(node: ANode) -> None:
    copy = node.journal.path.read_bytes()
    node.journal.path.unlink()
    node.journal.path.with_suffix(".new").write_bytes(b"")  # so that the number is another one
    node.journal.path.write_bytes(copy)


HARM: dict[str, tuple[Harm, str]] = {
    "epoch": (sql("UPDATE log_head SET epoch = epoch + 1"), "no longer holds the writer's place"),
    "writer": (sql("UPDATE log_head SET writer = 'another'"), "no longer holds"),
    "format": (
        sql("UPDATE log_head SET format = format + 1"),
        f"brought to format {schema.FORMAT + 1}",
    ),
    "seq": (sql("UPDATE servers SET seq = seq + 1"), "does not have node"),
    "hash": (sql("UPDATE servers SET hash = 'another'"), "does not have node"),
    "boot": (sql("UPDATE servers SET boot_id = 'another'"), "does not have node"),
    "row": (sql("DELETE FROM servers"), "does not have node"),
    "cut": (cut_the_journal, "somebody else changed it"),
    "grown": (write_into_the_journal, "somebody else changed it"),
    "renamed": (rename_the_journal, "removed while it was in use"),
    "replaced": (replace_the_journal, "replaced by another file"),
}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[ANode]:
    with a_node(tmp_path / "node") as made:
        made.an_order()
        yield made


@pytest.mark.parametrize(("harm", "said"), HARM.values(), ids=HARM)
def test_a_node_that_lost_something_stops_and_commits_nothing_more(
    node: ANode, harm: Harm, said: str
) -> None:
    harm(node)
    lines = node.journal.path.stat().st_size if node.journal.path.exists() else 0
    orders = [node.ids.new() for _ in range(3)]
    for order in orders:
        with pytest.raises(Unavailable, match="stops|" + said):
            node.submit(order_command(order))
    soon(lambda: node.stops)
    assert len(node.stops) == 1
    assert said in node.stops[0]
    assert node.committer.fault == node.committer.stopped == node.committer.trouble()
    assert not node.journal.is_open
    assert not any(node.has(order) for order in orders)
    assert (node.journal.path.stat().st_size if node.journal.path.exists() else 0) == lines
    node.committer.stop()  # which says nothing more


def test_a_node_that_is_not_asked_finds_out_by_its_heartbeat(
    node: ANode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("certeasy.commit.committer.HEARTBEAT", 0.05)
    node.an_order()  # so that the thread takes up the shorter pause
    sql("UPDATE log_head SET epoch = epoch + 1")(node)
    soon(lambda: node.stops)
    assert "no longer holds" in node.stops[0]


def test_a_heartbeat_renews_the_lease_and_is_seen(
    node: ANode, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HEARTBEAT", "SEEN"):
        monkeypatch.setattr(f"certeasy.commit.committer.{name}", 0.05)
    sql("UPDATE log_head SET lease_until = 0")(node)
    sql("UPDATE servers SET last_seen = ''")(node)
    sql("INSERT INTO used_nonces VALUES ('old', 1), ('new', 1 << 40)")(node)
    node.an_order()
    soon(lambda: node.store.servers()[0].last_seen)
    assert node.store.head().lease_until > node.store.head().now + 10
    with closing(sqlite3.connect(node.folder / "db.sqlite")) as connection:
        kept = connection.execute("SELECT nonce FROM used_nonces").fetchall()
    assert kept == [("new",)]


def test_a_late_riser_does_not_undo_what_was_committed_meanwhile(node: ANode) -> None:
    """A commit whose answer was lost, and a node that has taken the place since."""
    node.faults.arm("commit", before(database_error))
    with pytest.raises(Unavailable, match="outcome unknown"):
        node.an_order()
    sql("UPDATE log_head SET epoch = epoch + 1")(node)
    with pytest.raises(Unavailable, match="stops"):
        node.an_order()
    soon(lambda: node.stops)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM events WHERE position = (SELECT max(position) FROM events)",
        "UPDATE events SET line = replace(line, 'order.created', 'order.denied') WHERE seq > 3",
    ],
    ids=["removed", "changed"],
)
def test_a_row_that_was_changed_does_not_get_into_the_journal(node: ANode, statement: str) -> None:
    node.faults.arm("sync", after(io_error))
    node.faults.arm("open", before(io_error), times=2)
    with pytest.raises(Unavailable, match="outcome unknown"):
        node.an_order()
    before_it = node.journal.confirmed
    sql(statement)(node)
    node.faults.disarm()
    with pytest.raises(Unavailable, match="stops"):
        node.an_order()
    soon(lambda: node.stops)
    assert "do not continue the journal" in node.stops[0] or "end at seq" in node.stops[0]
    assert node.journal.confirmed == before_it


@pytest.mark.parametrize(
    "statement", ["DELETE FROM servers", "UPDATE servers SET seq = seq + 1, hash = 'another'"]
)
def test_a_history_that_was_lost_while_the_journal_was_closed_is_noticed(
    node: ANode, statement: str
) -> None:
    node.faults.arm("sync", before(io_error))
    node.faults.arm("open", before(io_error), times=5)
    with pytest.raises(Unavailable, match="outcome unknown"):
        node.an_order()
    sql(statement)(node)
    with pytest.raises(Unavailable, match="stops"):
        node.an_order()
    soon(lambda: node.stops)
    assert "where it was left" in node.stops[0]


def test_a_journal_that_was_cut_while_it_was_closed_is_not_written_on(node: ANode) -> None:
    node.faults.arm("sync", before(io_error))
    node.faults.arm("open", before(io_error))
    with pytest.raises(Unavailable, match="outcome unknown"):
        node.an_order()
    os.truncate(node.journal.path, 100)
    for _ in range(2):
        with pytest.raises(Unavailable):
            node.an_order()
    soon(lambda: node.stops)
    assert "somebody else changed it" in node.stops[0]
    assert node.journal.path.stat().st_size == 100


def test_something_nobody_thought_of_stops_the_node(node: ANode) -> None:
    node.faults.arm("write", before(lambda: MemoryError("made by a test")))
    with pytest.raises(Unavailable, match="stops"):
        node.an_order()
    soon(lambda: node.stops)
    assert "does not know" in node.stops[0]
    known = node.die()
    with a_node(node.folder):
        pass
    check_node(node.folder, acknowledged=known)


def test_a_stop_gives_the_place_back_at_once(node: ANode) -> None:
    node.committer.stop()
    assert node.store.head().lease_until == 0
    assert node.committer.fault is None


def test_a_stop_while_the_database_is_away_lets_the_lease_run_out(node: ANode) -> None:
    node.faults.arm("begin", before(database_error))
    node.committer.stop()
    assert node.store.head().lease_until > 0
    assert node.stops == []
