"""Two lines at one position: only where the node of one of them disowns it, signed, as it must."""

from collections.abc import Callable
from pathlib import Path

import pytest

from events.recovery import LogForked
from journal.breaks import JournalBroken
from journal.lines import read_journal
from journal.verify import Summary, verify
from tests.make.journals import ALog, a_log, a_rotation, write_segments
from tests.make.stories import a_fork_told, a_loss


def a_forked_log(*, lost: int = 3, taken: int = 1, told: int = 0) -> ALog:
    """Node two loses lines, node one takes places, node two comes back."""
    log = a_log(nodes=2)
    a_loss(log, lambda: [log.a_start(by=1) for _ in range(lost)])
    for _ in range(taken):
        log.a_start()
    a_fork_told(log, told or lost, by=1)
    log.a_start()
    log.a_start(by=1)
    return log


def proven(log: ALog, folder: Path) -> Summary:
    journals = []
    for number, node in enumerate(log.nodes):
        (folder / str(number)).mkdir()
        journals.append(write_segments(node, folder / str(number)))
    return verify([read_journal(files) for files in journals], threads=1)


@pytest.mark.parametrize("taken", [1, 2, 3, 5])
def test_lines_that_their_node_disowns_are_no_part_of_the_log(tmp_path: Path, taken: int) -> None:
    """Whether fewer or more places were taken than lines were lost."""
    log = a_forked_log(taken=taken)
    summary = proven(log, tmp_path)
    assert (summary.lines, summary.complete) == (log.position, True)
    assert [node.lines for node in summary.nodes] == [len(node.records) for node in log.nodes]


def test_a_node_may_lose_lines_more_than_once(tmp_path: Path) -> None:
    log = a_forked_log()
    a_loss(log, lambda: log.a_start(by=1))
    log.a_start()
    a_fork_told(log, 1, by=1)
    assert proven(log, tmp_path).complete


def test_a_fork_reaches_over_segments(tmp_path: Path) -> None:
    log = a_log(nodes=2)
    a_loss(log, lambda: [log.a_start(by=1), a_rotation(log, by=1), log.a_start(by=1)])
    log.a_start()
    a_fork_told(log, 3, by=1)
    assert proven(log, tmp_path).complete


def test_a_promise_of_trust_in_a_lost_line_does_not_count(tmp_path: Path) -> None:
    log = a_log(nodes=2)
    a_loss(log, lambda: log.a_node(endorsed=True))
    log.nodes.pop()  # whose registration was lost with the promise
    log.a_start(by=1)
    a_fork_told(log, 1)
    assert proven(log, tmp_path).complete


@pytest.mark.parametrize("told", [1, 2, 4])
def test_what_is_told_must_be_exactly_what_was_lost(tmp_path: Path, told: int) -> None:
    with pytest.raises(JournalBroken):
        proven(a_forked_log(told=told), tmp_path)


def test_a_fork_told_by_another_node_does_not_count(tmp_path: Path) -> None:
    log = a_log(nodes=2)
    a_loss(log, lambda: log.a_start(by=1))
    log.a_start()
    last = log.nodes[1].records[-1]
    fact = LogForked(log.nodes[1].server_id, last.envelope.seq, last.envelope.seq, last.hash)
    log.say(fact, "log")
    with pytest.raises(JournalBroken):
        proven(log, tmp_path)


def test_a_disowned_line_is_still_held_to_its_signature(tmp_path: Path) -> None:
    log = a_forked_log()
    path = log.write(tmp_path)[1]
    lines = path.read_bytes().splitlines(keepends=True)
    at = next(n for n, line in enumerate(lines) if b"log.forked" in line) - 1
    lines[at] = lines[at][:-20] + bytes([lines[at][-20] ^ 1]) + lines[at][-19:]
    path.write_bytes(b"".join(lines))
    with pytest.raises(JournalBroken):
        verify([read_journal([tmp_path / f"node{n}" / "audit.log"]) for n in (1, 2)], threads=1)


def test_orphaned_lines_need_their_fork_behind_them(tmp_path: Path) -> None:
    """As rows of a database may be, from which the line that tells of them was taken."""
    log = a_forked_log()
    paths = log.write(tmp_path)
    lines = list(read_journal([paths[1]]))
    first = next(n for n, line in enumerate(lines) if line.orphaned)
    for rest in (lines[: first + 2], [*lines[: first + 2], *lines[first + 4 :]]):
        with pytest.raises(JournalBroken):
            verify([read_journal([paths[0]]), rest], threads=1)


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line.replace(b'"log.forked","schema":1', b'"log.forked","schema":9'),
        lambda line: line.replace(b'"first_seq"', b'"first_sep"'),
        lambda line: line[:-9] + b"\n",
    ],
    ids=["newer", "other members", "torn"],
)
def test_a_line_that_only_looks_like_a_fork_marks_nothing(
    tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    path = a_forked_log().write(tmp_path)[1]
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([change(x) if b"log.forked" in x else x for x in lines]))
    assert not any(line.orphaned for line in read_journal([path]))


def test_words_inside_another_line_mark_nothing(tmp_path: Path) -> None:
    log = a_log()
    node = log.nodes[0]
    text = b'{"type":"log.forked"}\n'
    (tmp_path / "audit.log").write_bytes(text + node.journal)
    assert [line.orphaned for line in read_journal([tmp_path / "audit.log"])] == [False] * 3


def test_a_file_that_has_gone_is_told_by_who_reads_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(read_journal([tmp_path / "audit.log"]))
