"""Rows in memory, and what is known not to be there: never what the database does not say."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certeasy.commit import Committer, Unavailable
from certeasy.commit.hot import HotRows
from certeasy.store import DatabaseUnavailable
from projections.name_sets import NAME_SETS, NameSet
from projections.orders import ORDERS
from tests.fakes.faults import Action, Fault, after, before, database_error
from tests.make.node import ANode, a_node, order_command

A, B = "a" * 64, "b" * 64


def a_set(id_: str) -> NameSet:
    return NameSet(id_, ())


@pytest.fixture
def node(tmp_path: Path):
    with a_node(tmp_path / "node") as made:
        yield made


def unreadable(node: ANode) -> None:
    node.faults.arm("look up", before(lambda: DatabaseUnavailable("away")), times=50)


def test_a_row_that_is_not_there_is_looked_for_once(node: ANode) -> None:
    order = node.ids.new()
    assert node.committer.get(ORDERS, order) is None
    unreadable(node)
    assert node.committer.get(ORDERS, order) is None
    with pytest.raises(DatabaseUnavailable):
        node.committer.get(ORDERS, node.ids.new())


def test_a_row_that_was_not_there_is_found_once_it_is(node: ANode) -> None:
    order = node.ids.new()
    assert node.committer.get(ORDERS, order) is None
    node.submit(order_command(order))
    found = node.committer.get(ORDERS, order)
    assert found is not None
    assert found.id == order


def test_a_node_that_does_not_write_remembers_nothing_of_what_it_did_not_find(node: ANode) -> None:
    standby = Committer(node.store, node.journal, node.clock)
    order = node.ids.new()
    assert standby.get(ORDERS, order) is None
    node.submit(order_command(order))
    assert standby.get(ORDERS, order) is not None


def outcome_unknown(node: ANode, order: str, fault: Fault) -> None:
    """Have COMMIT answered by nobody, and the database away for whoever wants to write again."""

    def and_away(action: Action) -> None:
        node.faults.arm("begin", before(database_error), times=1000)
        fault(action)

    node.faults.arm("commit", and_away)
    with pytest.raises(Unavailable, match="outcome unknown"):
        node.submit(order_command(order))


def test_after_an_unanswered_commit_a_row_is_not_said_to_be_missing(node: ANode) -> None:
    order = node.ids.new()
    assert node.committer.get(ORDERS, order) is None
    outcome_unknown(node, order, after(database_error))
    assert node.committer.get(ORDERS, order) is not None
    node.faults.disarm()


def test_while_a_commit_is_unanswered_nothing_is_known_to_be_missing(node: ANode) -> None:
    order = node.ids.new()
    outcome_unknown(node, order, before(database_error))
    assert node.committer.get(ORDERS, order) is None  # it may be there in a moment
    unreadable(node)
    with pytest.raises(DatabaseUnavailable):
        node.committer.get(ORDERS, order)
    node.faults.disarm()


def test_what_was_looked_for_before_a_change_says_nothing_after_it() -> None:
    hot = HotRows()
    looked = hot.changes
    hot.update({NAME_SETS: {(A,): a_set(A)}}, {})
    hot.missed(NAME_SETS, (A,), looked)
    assert not hot.is_missing(NAME_SETS, (A,))
    looked = hot.changes
    hot.clear()
    hot.missed(NAME_SETS, (B,), looked)
    assert not hot.is_missing(NAME_SETS, (B,))


def test_a_removed_row_is_known_not_to_be_there() -> None:
    hot = HotRows()
    hot.update({NAME_SETS: {(A,): a_set(A)}}, {})
    hot.update({NAME_SETS: {(A,): None}}, {})
    assert hot.get(NAME_SETS, (A,)) is None
    assert hot.is_missing(NAME_SETS, (A,))


def test_no_more_is_remembered_than_there_is_room_for() -> None:
    hot = HotRows(most=3)
    for number in range(10):
        hot.missed(NAME_SETS, (f"gone {number}",), hot.changes)
        hot.update({NAME_SETS: {(f"there {number}",): a_set(f"there {number}")}}, {})
    missing = [n for n in range(10) if hot.is_missing(NAME_SETS, (f"gone {n}",))]
    there = [n for n in range(10) if hot.get(NAME_SETS, (f"there {n}",)) is not None]
    assert missing == there == [7, 8, 9]


KEYS = st.sampled_from("abcd")
CHANGES = st.dictionaries(KEYS, st.booleans(), max_size=3)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("commit"), CHANGES),
            st.tuples(st.just("look"), KEYS),
            st.tuples(st.just("tell"), st.none()),
            st.tuples(st.just("forget"), st.none()),
        ),
        max_size=40,
    )
)
def test_whatever_happens_memory_says_nothing_that_the_database_does_not(steps) -> None:
    """A reader looks, and says later what it did not find; the committer commits meanwhile."""
    hot, database = HotRows(most=2), dict[str, bool]()
    looked: list[tuple[str, int, bool]] = []
    for step, what in steps:
        match step:
            case "commit":
                database |= what
                rows = {(key,): a_set(key) if there else None for key, there in what.items()}
                hot.update({NAME_SETS: rows}, {})
            case "look":
                looked.append((what, hot.changes, database.get(what, False)))
            case "tell" if looked:
                key, changes, there = looked.pop()
                if not there:
                    hot.missed(NAME_SETS, (key,), changes)
            case "forget":
                hot.clear()
        for key in "abcd":
            there = database.get(key, False)
            assert hot.get(NAME_SETS, (key,)) is None or there
            assert not (hot.is_missing(NAME_SETS, (key,)) and there)
