"""A node closes segments of its journal, and whatever fails or dies meanwhile, nothing is lost.

The line that says so is committed and written as any other, then the file gets its final name, and
another one begins. Each step fails before and after it took effect, here and in a crash.
"""

import stat
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from certeasy.commit import Unavailable
from certeasy.commit.rotation import Closing, NothingToClose, Rotation
from certeasy.settings import RotateSettings, Settings
from events.envelope import Record, parse, timestamp
from journal.lines import segments
from tests.fakes.clocks import HeldClock
from tests.fakes.faults import Action, Fault, after, before, database_error, io_error, no_space
from tests.make.checks import check_node
from tests.make.node import SYSTEM, ANode, a_node, node_settings
from tests.make.waiting import soon

NOON = datetime(2026, 11, 2, 12, 0, tzinfo=UTC)
CLOSING = "journal.segment-closed"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[ANode]:
    with a_node(tmp_path / "node") as made:
        made.an_order()
        yield made


def in_use() -> OSError:
    return PermissionError(13, "the file is being used by another process")


def names(folder: Path) -> list[str]:
    return [file.name for file in segments(folder)]


def lines(path: Path) -> list[Record]:
    return [parse(line) for line in path.read_bytes().splitlines()]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def rotating(folder: Path, rules: RotateSettings) -> Settings:
    settings = node_settings(folder)
    return msgspec.structs.replace(
        settings, audit=msgspec.structs.replace(settings.audit, rotate=rules)
    )


# -- what a closed segment is ----------------------------------------------------------------------


def test_a_closed_segment_ends_with_the_line_that_says_so_and_another_file_begins(
    node: ANode,
) -> None:
    closed = node.close_segment()
    soon(lambda: node.journal.first > 1)
    last = lines(closed)[-1]
    assert closed.name == f"audit.1-{last.envelope.seq}.log"
    assert last.envelope.type == CLOSING
    told = last.event
    assert (told.first_seq, told.last_seq, told.last_hash, told.reason) == (
        1,
        last.envelope.seq,
        last.envelope.prev,
        "asked",
    )
    assert mode(closed) == 0o400
    assert (node.folder / "audit.log").read_bytes() == b""
    assert mode(node.folder / "audit.log") == 0o600
    node.an_order()
    [first] = lines(node.folder / "audit.log")
    assert (first.envelope.seq, first.envelope.prev) == (last.envelope.seq + 1, last.hash)
    node.close()
    check_node(node.folder, acknowledged=node.acknowledged)


def test_segments_follow_each_other_over_starts(tmp_path: Path) -> None:
    acknowledged = []
    for _ in range(3):
        with a_node(tmp_path / "node") as node:
            node.an_order()
            node.close_segment()
            node.an_order()
            node.close_segment()
        acknowledged += node.acknowledged
    assert len(names(tmp_path / "node")) == 7
    check_node(tmp_path / "node", acknowledged=acknowledged)


def test_an_empty_file_is_not_closed(node: ANode) -> None:
    node.close_segment()
    for _ in range(2):
        with pytest.raises(NothingToClose, match="no line that could be closed"):
            node.close_segment()
    node.an_order()
    node.close()
    assert len(names(node.folder)) == 2
    check_node(node.folder, acknowledged=node.acknowledged)


def test_a_stopped_node_closes_nothing(node: ANode) -> None:
    node.committer.stop()
    with pytest.raises(Unavailable, match="stopping"):
        node.close_segment()


def test_changes_that_wait_with_the_request_are_in_the_file_that_is_closed(node: ANode) -> None:
    """Whatever is stored in the same turn comes before the line that closes it."""
    with node.together() as waiting:
        waiting.extend(node.some_orders(2) for _ in range(5))
        closing = node.committer._enqueue(Closing(SYSTEM))
    seq = closing.wait().records[0].envelope.seq
    soon(lambda: node.journal.first == seq + 1)
    assert all(r.envelope.seq < seq for r in node.acknowledged)
    node.close()
    check_node(node.folder, acknowledged=node.acknowledged)


# -- when ------------------------------------------------------------------------------------------


def test_a_file_is_closed_once_it_is_large_enough(tmp_path: Path) -> None:
    settings = rotating(tmp_path / "node", RotateSettings(max_size_mb=1))
    with a_node(settings.workdir, settings=settings) as node:
        for _ in range(4):
            node.submit(node.some_orders(450))
    closed = segments(settings.workdir)[:-1]
    assert len(closed) in (1, 2)
    for file in closed:
        assert 1 << 20 <= file.stat().st_size < 3 << 20
        assert lines(file)[-1].event.reason == "size"
        assert lines(file)[-1].actor.kind == "system"
    check_node(settings.workdir, acknowledged=node.acknowledged)


def test_a_file_is_closed_once_its_first_line_is_old_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while nothing is asked of the node, and over a start; an empty file has no age."""
    monkeypatch.setattr("certeasy.commit.committer.HEARTBEAT", 0.05)
    settings = rotating(tmp_path / "node", RotateSettings(max_age=timedelta(hours=1)))
    clock = HeldClock(NOON)
    with a_node(settings.workdir, settings=settings, clock=clock) as node:
        clock.set_to(NOON + timedelta(minutes=59))
        node.an_order()
        assert len(names(settings.workdir)) == 1
    with a_node(settings.workdir, settings=settings, clock=clock) as node:
        clock.set_to(NOON + timedelta(minutes=60))
        soon(lambda: len(names(settings.workdir)) == 2)
        clock.set_to(NOON + timedelta(hours=9))
        node.an_order()
        node.an_order()
        assert len(names(settings.workdir)) == 2
        clock.set_to(NOON + timedelta(hours=10))
        soon(lambda: len(names(settings.workdir)) == 3)
    assert [lines(file)[-1].event.reason for file in segments(settings.workdir)[:2]] == ["age"] * 2
    check_node(settings.workdir)


def test_by_default_nothing_is_ever_closed() -> None:
    rotation = Rotation(RotateSettings(), timestamp(NOON))
    assert rotation.due(1 << 50, NOON + timedelta(days=36500)) is None


def test_a_file_that_cannot_be_renamed_is_tried_again_when_it_has_grown_by_as_much() -> None:
    """Or each batch would close it once more."""
    rotation = Rotation(RotateSettings(max_size_mb=2, max_age=timedelta(hours=1)), timestamp(NOON))
    assert rotation.due(2 << 20, NOON) == "size"
    rotation.put_off(2 << 20, timestamp(NOON))
    assert rotation.due((4 << 20) - 1, NOON + timedelta(minutes=59)) is None
    assert rotation.due(4 << 20, NOON) == "size"
    assert rotation.due(1 << 20, NOON + timedelta(minutes=60)) == "age"
    rotation.begin()
    assert rotation.due(0, NOON + timedelta(days=9)) is None


def test_a_refused_name_is_not_asked_for_with_every_batch(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = rotating(tmp_path / "node", RotateSettings(max_size_mb=1))
    with a_node(settings.workdir, settings=settings) as node:
        node.faults.arm("rename", before(in_use), times=99)
        for _ in range(4):
            node.submit(node.some_orders(450))
        for _ in range(20):
            node.an_order()
        closings = sum(r.envelope.type == CLOSING for r in lines(node.journal.path))
        assert 1 <= closings == len(node.faults.met) == caplog.text.count("the journal goes on in")
        assert closings <= node.journal.path.stat().st_size >> 20
    assert names(settings.workdir) == ["audit.log"]
    check_node(settings.workdir, acknowledged=node.acknowledged)


def test_a_closing_that_cannot_be_stored_is_not_tried_with_every_batch(tmp_path: Path) -> None:
    settings = rotating(tmp_path / "node", RotateSettings(max_size_mb=1))
    with a_node(settings.workdir, settings=settings) as node:
        for _ in range(2):
            node.submit(node.some_orders(450))
        first = node.journal.first
        node.faults.arm("move", lambda action: action())
        node.faults.arm("move", before(lambda: ValueError("made by a test")), times=9)
        node.submit(node.some_orders(450))
        soon(lambda: len(node.faults.met) == 2)
        for _ in range(9):
            node.faults.disarm()
            node.an_order()
        assert (node.journal.first, node.committer.fault) == (first, None)
    check_node(settings.workdir, acknowledged=node.acknowledged)


# -- each step fails -------------------------------------------------------------------------------


def nth(number: int, fault: Fault) -> list[Fault]:
    """The fault at the step's so many-th time."""
    return [lambda action: action()] * (number - 1) + [fault]


def torn(action: Action) -> None:
    """Half of it reaches the file, then the disk fails."""
    action(action.data[: len(action.data) // 2])
    raise io_error()


# step, which time, how it fails, whether it is told to who asked, whether the file is closed by it
STEPS: dict[str, tuple[str, int, Fault, bool, bool]] = {
    "commit, and nothing was kept": ("commit", 1, before(database_error), True, False),
    "commit, but it was kept": ("commit", 1, after(database_error), True, True),
    "journal refused": ("write", 1, before(no_space), True, True),
    "journal torn": ("write", 1, torn, True, True),
    "journal refused, but it was kept": ("write", 1, after(io_error), True, True),
    "sync, and nothing was kept": ("sync", 1, before(io_error), True, True),
    "sync, but it was kept": ("sync", 1, after(io_error), True, True),
    "rename refused": ("rename", 1, before(in_use), False, False),
    "rename told to have failed": ("rename", 1, after(io_error), False, True),
    "folder not synced": ("sync folder", 1, before(io_error), False, True),
    "folder synced, and told not": ("sync folder", 1, after(io_error), False, True),
    "not sealed": ("seal", 1, before(in_use), False, True),
    "next file not made": ("open", 1, before(no_space), False, True),
    "next file made, and told not": ("open", 1, after(io_error), False, True),
    "next file not synced": ("sync", 2, before(io_error), False, True),
    "next file's name not synced": ("sync folder", 2, before(io_error), False, True),
}


def arm(node: ANode, step: str, number: int, fault: Fault) -> None:
    for each in nth(number, fault):
        node.faults.arm(step, each)


def close(node: ANode) -> bool:
    """Ask for the segment to be closed; return whether the answer was an error."""
    try:
        node.close_segment()
    except Unavailable:
        return True
    return False


@pytest.mark.parametrize(("step", "number", "fault", "told", "closed"), STEPS.values(), ids=STEPS)
def test_a_step_that_fails_is_made_good_and_the_node_goes_on(
    node: ANode, *, step: str, number: int, fault: Fault, told: bool, closed: bool
) -> None:
    arm(node, step, number, fault)
    assert close(node) is told
    order = node.an_order_at_last()
    assert node.faults.met == [step] * number
    assert len(names(node.folder)) == (2 if closed else 1)
    assert node.has(order)
    node.close_segment()
    node.close()
    assert len(names(node.folder)) == (3 if closed else 2)
    with a_node(node.folder):  # it knows the segments by the names they have now
        pass
    check_node(node.folder, acknowledged=node.acknowledged)


@pytest.mark.parametrize("when", ["in", "before"])
@pytest.mark.parametrize(("step", "number", "fault", "_told", "_closed"), STEPS.values(), ids=STEPS)
def test_a_crash_in_a_step_is_made_good_by_the_next_start(
    node: ANode, *, step: str, number: int, fault: Fault, _told: bool, _closed: bool, when: str
) -> None:
    def die(action: Action) -> object:
        if when == "before":
            node.freeze()
        try:
            return fault(action)
        finally:
            node.freeze()

    arm(node, step, number, die)
    close(node)
    node.an_order_at_last()
    known = node.die()
    with a_node(node.folder) as again:
        order = again.an_order()
        again.close_segment()
        assert again.has(order)
    committed = sum(r.envelope.type == CLOSING for f in segments(node.folder) for r in lines(f))
    assert len(names(node.folder)) == committed + 1
    assert [mode(file) for file in segments(node.folder)] == [0o400] * committed + [0o600]
    check_node(node.folder, acknowledged=[*known, *again.acknowledged])


@pytest.mark.parametrize("step", ["rename", "seal", "open", "sync", "sync folder"])
def test_what_a_dead_node_left_half_closed_is_mended_though_the_start_dies_there_too(
    node: ANode, step: str
) -> None:
    """The start that mends it dies in the same place, and another one follows."""
    node.crash_before("rename")
    node.close_segment()
    node.an_order()
    known = node.die()
    with pytest.raises(MemoryError):
        ANode(node_settings(node.folder), faults={step: before(lambda: MemoryError("dead"))})
    with a_node(node.folder) as again:
        again.an_order()
    assert len(names(node.folder)) == 2
    check_node(node.folder, acknowledged=[*known, *again.acknowledged])


FAILURES = st.lists(
    st.tuples(
        st.sampled_from(sorted(STEPS)),
        st.sampled_from(["here", "crash", "twice"]),
        st.sampled_from(["close", "order"]),
    ),
    min_size=1,
    max_size=5,
)


@hypothesis_settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(failures=FAILURES)
def test_no_row_of_failures_loses_or_repeats_anything(
    tmp_path_factory: pytest.TempPathFactory, failures: list[tuple[str, str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("row") / "node"
    known: list[Record] = []
    node = ANode(node_settings(folder))
    for name, how, what in failures:
        step, number, fault, _told, _closed = STEPS[name]
        if how == "crash":
            node.crash_at(step, fault)
        else:
            for _ in range(2 if how == "twice" else 1):
                arm(node, step, number, fault)
        for _ in range(2):
            with suppress(Unavailable, NothingToClose):
                node.an_order() if what == "order" else node.close_segment()
        if how == "crash":
            node.an_order_at_last()  # and at rest
            known += node.die()
            node = ANode(node_settings(folder))
        else:
            node.faults.disarm()
    node.an_order_at_last()
    node.close()
    check_node(folder, acknowledged=[*known, *node.acknowledged])
    assert [file.name for file in folder.iterdir() if file.name.startswith(".")] == []
