"""Every step of a commit fails twice: before it took effect, and after; here, and in a crash.

Whatever happens, what was acknowledged stays, nothing is there twice, and journal and database tell
the same story.
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certeasy.commit import Command, Unavailable
from certeasy.decide.decision import Decision, Reader
from certeasy.store import Store
from events.orders import ChallengeAccepted, ChallengeValidated, OrderReady
from projections.orders import ORDERS, PROCESSING
from tests.fakes.faults import (
    Action,
    Fault,
    after,
    before,
    database_error,
    io_error,
    no_space,
)
from tests.make.checks import check_node
from tests.make.node import SYSTEM, ANode, a_node, command, node_settings, order_command
from tests.make.waiting import soon

UNKNOWN = "outcome unknown"


def torn(action: Action) -> None:
    """Half of it reaches the file, then the disk fails."""
    action(action.data[: len(action.data) // 2])
    raise io_error()


def zeroed(action: Action) -> None:
    """The file grows, but holds zeros where the data should be."""
    action(bytes(len(action.data)))
    raise io_error()


def holed(action: Action) -> None:
    """A page is missing in the middle: whole, signed lines stand behind the hole."""
    middle = len(action.data) // 3
    action(action.data[:10] + bytes(middle) + action.data[10 + middle :])
    raise io_error()


def rubbish(action: Action) -> None:
    """What reaches the file is something else, with newlines in it."""
    action(b"\xff\xfe\n{}\n" + action.data[20:40])
    raise io_error()


# step, how it fails, whether the events are there afterwards, what the waiting client is told
STEPS: dict[str, tuple[str, Fault, bool, str]] = {
    "begin, and nothing was kept": ("begin", before(database_error), False, "out of service"),
    "begin, but it was kept": ("begin", after(database_error), False, "out of service"),
    "lock, and nothing was kept": ("lock", before(database_error), False, "out of service"),
    "lock, but it was kept": ("lock", after(database_error), False, "out of service"),
    "insert, and nothing was kept": ("insert", before(database_error), False, "out of service"),
    "insert, but it was kept": ("insert", after(database_error), False, "out of service"),
    "rows, and nothing was kept": ("rows", before(database_error), False, "out of service"),
    "rows, but it was kept": ("rows", after(database_error), False, "out of service"),
    "advance, and nothing was kept": ("advance", before(database_error), False, "out of service"),
    "advance, but it was kept": ("advance", after(database_error), False, "out of service"),
    "move, and nothing was kept": ("move", before(database_error), False, "out of service"),
    "move, but it was kept": ("move", after(database_error), False, "out of service"),
    "commit, and nothing was kept": ("commit", before(database_error), False, UNKNOWN),
    "commit, but it was kept": ("commit", after(database_error), True, UNKNOWN),
    "journal refused, and nothing was kept": ("write", before(no_space), True, UNKNOWN),
    "journal refused, but it was kept": ("write", after(io_error), True, UNKNOWN),
    "journal torn": ("write", torn, True, UNKNOWN),
    "journal zeroed": ("write", zeroed, True, UNKNOWN),
    "journal with a hole": ("write", holed, True, UNKNOWN),
    "journal with rubbish": ("write", rubbish, True, UNKNOWN),
    "sync, and nothing was kept": ("sync", before(io_error), True, UNKNOWN),
    "sync, but it was kept": ("sync", after(io_error), True, UNKNOWN),
}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[ANode]:
    with a_node(tmp_path / "node") as made:
        made.an_order()
        yield made


@pytest.mark.parametrize(("step", "fault", "stored", "told"), STEPS.values(), ids=STEPS)
def test_a_failed_step_is_told_and_the_committer_goes_on(
    node: ANode, *, step: str, fault: Fault, stored: bool, told: str
) -> None:
    node.faults.arm(step, fault)
    order = node.ids.new()
    with pytest.raises(Unavailable, match=told):
        node.submit(order_command(order))
    assert node.faults.met == [step]
    another = node.an_order()
    assert node.has(order) is stored
    assert node.has(another)
    soon(lambda: node.committer.trouble() is None)
    node.close()
    check_node(node.folder, acknowledged=node.acknowledged)


@pytest.mark.parametrize(("step", "fault", "stored", "_told"), STEPS.values(), ids=STEPS)
def test_a_crash_in_a_step_is_survived(
    node: ANode, *, step: str, fault: Fault, stored: bool, _told: str
) -> None:
    node.crash_at(step, fault)
    order = node.ids.new()
    with pytest.raises(Unavailable):
        node.submit(order_command(order))
    known = node.die()
    with a_node(node.folder) as again:
        assert again.has(order) is stored
        again.an_order()
    check_node(node.folder, acknowledged=[*known, *again.acknowledged])


@pytest.mark.parametrize("step", ["begin", "lock", "insert", "rows", "advance", "move", "commit"])
def test_a_crash_before_commit_leaves_nothing(node: ANode, step: str) -> None:
    node.crash_before(step)
    order = node.an_order()
    known = node.die()
    with a_node(node.folder) as again:
        assert not again.has(order)
    check_node(node.folder, acknowledged=known)


def test_a_crash_between_commit_and_journal_is_made_good_from_the_database(node: ANode) -> None:
    node.crash_before("write")
    order = node.an_order()
    known = node.die()
    short = (node.folder / "audit.log").read_bytes()
    with a_node(node.folder) as again:
        assert again.has(order)
        assert again.journal.path.read_bytes().startswith(short)
    check_node(node.folder, acknowledged=known)


@pytest.mark.parametrize(("facts", "lost"), [(1, 256), (3, 768), (7, 896)])
def test_a_crash_with_a_full_batch_between_commit_and_journal_is_made_good(
    node: ANode, facts: int, lost: int
) -> None:
    """A batch ends at 256 commands; one of more than 1,024 lines is halved until it has less."""
    with node.together(lambda: node.crash_before("write")) as waiting:
        waiting.extend(node.some_orders(facts) for _ in range(300))
    known = node.die()
    journalled = (node.folder / "audit.log").read_bytes().count(b"\n")
    with a_node(node.folder) as again:
        again.an_order()
    started_order_and_stopped = 3
    proof = check_node(node.folder, acknowledged=known)
    assert proof.lines == journalled + lost + started_order_and_stopped


def test_a_short_write_is_finished(node: ANode) -> None:
    node.faults.arm("write", lambda action: action(action.data[:7]))
    node.an_order()
    node.close()
    check_node(node.folder, acknowledged=node.acknowledged)


@pytest.mark.parametrize("step", ["lock", "insert"])
def test_a_failed_rollback_gives_the_connection_up(node: ANode, step: str) -> None:
    """And the locks that it holds, also where a statement's rows were not all fetched."""
    node.faults.arm(step, after(database_error))
    node.faults.arm("rollback", before(database_error))
    with pytest.raises(Unavailable, match="out of service"):
        node.an_order()
    node.an_order()
    node.close()
    check_node(node.folder, acknowledged=node.acknowledged)


@pytest.mark.parametrize("step", ["open", "truncate", "sync", "write"])
def test_catching_up_is_tried_until_it_succeeds(node: ANode, step: str) -> None:
    node.faults.arm("write", torn)
    node.faults.arm(step, before(io_error), times=3)
    for _ in range(4):
        with pytest.raises(Unavailable):
            node.an_order()
    node.an_order()
    node.close()
    check_node(node.folder, acknowledged=node.acknowledged)


def test_catching_up_needs_nobody_to_ask(node: ANode) -> None:
    node.faults.arm("sync", before(io_error))
    with pytest.raises(Unavailable, match=UNKNOWN):
        node.an_order()
    assert not node.journal.is_open
    assert "journal" in str(node.committer.trouble())
    soon(lambda: node.committer.trouble() is None)
    node.close()
    check_node(node.folder, acknowledged=node.acknowledged)


def test_a_commit_found_kept_late_is_still_journalled(node: ANode) -> None:
    """COMMIT is kept and its answer lost; then the database is away for a while."""
    node.faults.arm("commit", after(database_error))
    node.faults.arm("begin", lambda action: action())
    node.faults.arm("begin", before(database_error), times=3)
    order = node.ids.new()
    with pytest.raises(Unavailable, match=UNKNOWN):
        node.submit(order_command(order))
    for _ in range(3):
        with pytest.raises(Unavailable, match="out of service"):
            node.an_order()
    node.an_order()
    assert node.has(order)
    node.close()
    check_node(node.folder, acknowledged=node.acknowledged)


def test_a_commit_that_takes_effect_late_is_found_under_the_lock(node: ANode) -> None:
    """Asked too early, the database would say that nothing was stored."""

    def late(action: Action) -> object:
        Store._writing(node.store).commit()
        return action()

    node.faults.arm("begin", lambda action: action())
    node.faults.arm("commit", before(database_error))
    node.faults.arm("rollback", lambda _action: None)
    node.faults.arm("begin", late)
    order = node.ids.new()
    with pytest.raises(Unavailable, match=UNKNOWN):
        node.submit(order_command(order))
    node.an_order()
    assert node.has(order)
    node.close()
    check_node(node.folder, acknowledged=node.acknowledged)


def test_a_change_whose_answer_was_lost_is_what_the_next_decision_sees(node: ANode) -> None:
    order = node.an_order()
    stream = f"order/{order}"
    node.faults.arm("commit", after(database_error))
    with pytest.raises(Unavailable, match=UNKNOWN):
        node.submit(command((stream, ChallengeAccepted(0, 0))))
    seen: list[str] = []

    def decide(rows: Reader, _now: datetime) -> Decision:
        row = rows.get(ORDERS, order)
        assert row is not None
        seen.append(row.authorizations[0].challenges[0].status)
        return Decision(((stream, ChallengeValidated(0, 0, {})), (stream, OrderReady())))

    node.submit(Command(decide, SYSTEM))
    assert seen[-1] == PROCESSING
    node.close()
    check_node(node.folder, acknowledged=node.acknowledged)


def test_all_who_wait_for_a_lost_batch_are_told(node: ANode) -> None:
    with node.together(lambda: node.faults.arm("sync", before(io_error))) as waiting:
        waiting.extend(order_command(node.ids.new()) for _ in range(20))
    outcomes = [type(outcome) for outcome in waiting.outcomes]
    assert outcomes == [Unavailable] * 20
    node.close()
    check_node(node.folder, acknowledged=node.acknowledged)


def test_a_stop_in_the_middle_of_trouble_is_made_good_at_the_next_start(node: ANode) -> None:
    node.faults.arm("write", torn)
    node.faults.arm("open", before(io_error), times=100)
    order = node.ids.new()
    with pytest.raises(Unavailable):
        node.submit(order_command(order))
    node.abandon()
    with a_node(node.folder) as again:
        assert again.has(order)
    check_node(node.folder, acknowledged=node.acknowledged)


FAILURES = st.lists(
    st.tuples(st.sampled_from(sorted(STEPS)), st.sampled_from(["here", "crash", "twice"])),
    min_size=1,
    max_size=6,
)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(failures=FAILURES)
def test_no_row_of_failures_loses_or_repeats_anything(
    tmp_path_factory: pytest.TempPathFactory, failures: list[tuple[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("row") / "node"
    known = []
    node = ANode(node_settings(folder))
    for name, how in failures:
        step, fault, _stored, _told = STEPS[name]
        if how == "crash":
            node.crash_at(step, fault)
        else:
            node.faults.arm(step, fault, times=2 if how == "twice" else 1)
        for _ in range(2):
            try:
                node.an_order()
            except Unavailable:
                continue
        if how == "crash":
            known += node.die()
            node = ANode(node_settings(folder))
        else:
            node.faults.disarm()
    node.an_order()
    node.close()
    check_node(folder, acknowledged=[*known, *node.acknowledged])
    assert [each.name for each in folder.parent.iterdir()] == ["node"]
