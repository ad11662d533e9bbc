"""Whatever is done to a journal afterwards, verification fails and names the place."""

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.signing import PublicKey, read_key_set
from journal.breaks import JournalBroken, Line
from journal.heads import Head, head_of
from journal.lines import read_lines
from journal.verify import Summary, verify
from tests.make.journals import ALog, a_log

NEWLINE = ord("\n")


@cache
def one_node() -> ALog:
    log = a_log()
    log.an_order("web.corp.internal")
    return log


@cache
def two_nodes() -> ALog:
    log = a_log(nodes=2)
    account = log.an_account(by=1)
    for by in (0, 1, 1, 0):
        log.an_order(f"web{by}.corp.internal", account=account, by=by)
    return log


@cache
def keys(log: ALog) -> dict[str, PublicKey]:
    return read_key_set(log.key_set())


def check(log: ALog, journals: Sequence[bytes], folder, pinned: Iterable[Head] = ()) -> Summary:
    """Verify these bytes in place of the log's journals; file names are `1` and `2`."""
    sources = []
    for number, data in enumerate(journals, start=1):
        path = folder / str(number)
        path.write_bytes(data)
        sources.append(read_lines(path))
    return verify(
        sources, keys(log), pinned=sorted(pinned, key=lambda head: head.position), threads=1
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tampered")


def assert_breaks_at(error: JournalBroken, folder, file: int, line: int) -> None:
    assert (error.file, error.line) == (str(folder / str(file)), line), str(error)
    assert "\n" not in str(error)
    assert str(error).startswith(f"{folder}/{file}:{line}: ")


def test_an_untouched_journal_is_good(folder):
    summary = check(one_node(), [one_node().nodes[0].journal], folder)
    assert summary.lines == len(one_node().records)
    summary = check(two_nodes(), [node.journal for node in two_nodes().nodes], folder)
    assert summary.complete


@pytest.mark.parametrize("mask", [0x01, 0x80])
def test_one_changed_byte_anywhere_is_found_in_its_line(folder, mask):
    log = a_log()
    log.a_start()
    journal = log.nodes[0].journal
    for offset in range(len(journal)):
        changed = bytearray(journal)
        changed[offset] ^= mask
        with pytest.raises(JournalBroken) as broken:
            check(log, [bytes(changed)], folder)
        assert_breaks_at(broken.value, folder, 1, journal.count(b"\n", 0, offset) + 1)


@given(st.data())
def test_one_changed_byte_in_any_of_two_journals_is_found_in_its_line(folder, data):
    log = two_nodes()
    journals = [node.journal for node in log.nodes]
    file = data.draw(st.integers(0, 1))
    offset = data.draw(st.integers(0, len(journals[file]) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != journals[file][offset]))
    line = journals[file].count(b"\n", 0, offset) + 1
    journals[file] = journals[file][:offset] + bytes([byte]) + journals[file][offset + 1 :]
    with pytest.raises(JournalBroken) as broken:
        check(log, journals, folder)
    assert_breaks_at(broken.value, folder, file + 1, line)


def changed_lines(change):
    """Apply a change to the list of one journal's lines."""
    lines = one_node().nodes[0].journal.splitlines(keepends=True)
    change(lines)
    return b"".join(lines)


def remove(lines):
    del lines[6]


def swap(lines):
    lines[6], lines[7] = lines[7], lines[6]


def duplicate(lines):
    lines.insert(7, lines[6])


def insert_an_old_line(lines):
    lines.insert(6, lines[2])


def cut_the_beginning(lines):
    del lines[:6]


def insert_an_empty_line(lines):
    lines.insert(6, b"\n")


def change_the_line_ending(lines):
    lines[6] = lines[6].replace(b"\n", b"\r\n")


@pytest.mark.parametrize(
    ("change", "line", "reason"),
    [
        (remove, 7, "seq 7 is missing"),
        (swap, 7, "seq 7 is missing"),
        (duplicate, 8, "seq 7 after seq 7"),
        (insert_an_old_line, 7, "seq 3 after seq 6"),
        (cut_the_beginning, 1, "begins with seq 7, not 1"),
        (insert_an_empty_line, 7, "does not end with a signature"),
        (change_the_line_ending, 7, "does not end with a signature"),
    ],
)
def test_a_line_moved_removed_or_added_is_found(folder, change, line, reason):
    with pytest.raises(JournalBroken, match=reason) as broken:
        check(one_node(), [changed_lines(change)], folder)
    assert_breaks_at(broken.value, folder, 1, line)


def test_a_line_signed_anew_with_the_nodes_own_key_breaks_the_next_one(folder):
    # Who has the key can sign another past, but not what other lines and nodes have signed since.
    log = a_log()
    log.a_start()
    log.a_start()
    other = a_log()
    other.an_account()
    forged = other.nodes[0].records[2].line + b"\n"
    lines = log.nodes[0].journal.splitlines(keepends=True)
    lines[2] = forged
    with pytest.raises(JournalBroken, match="prev does not match the hash of line 3") as broken:
        check(log, [b"".join(lines)], folder)
    assert_breaks_at(broken.value, folder, 1, 4)


def test_a_past_rewritten_to_its_end_contradicts_the_other_node(folder):
    log = a_log(nodes=2)
    log.a_start(by=0)
    log.a_start(by=1)
    other = a_log(nodes=2)
    other.an_issuer(by=0)
    with pytest.raises(JournalBroken, match="head does not match the hash of") as broken:
        check(log, [other.nodes[0].journal, log.nodes[1].journal], folder)
    assert_breaks_at(broken.value, folder, 2, 2)


def test_a_cut_tail_is_found_by_a_pinned_head(folder):
    log = one_node()
    lines = log.nodes[0].journal.splitlines(keepends=True)
    pin = head_of(log.records[-1])
    assert check(log, [b"".join(lines)], folder, [pin]).pinned == 1
    with pytest.raises(JournalBroken, match="cut off or rolled back") as broken:
        check(log, [b"".join(lines[:-1])], folder, [pin])
    assert_breaks_at(broken.value, folder, 1, len(lines) - 1)


def test_a_journal_that_vanished_whole_is_found_by_a_pinned_head(folder):
    with pytest.raises(JournalBroken, match="the log: is empty, but a head was pinned"):
        check(one_node(), [b""], folder, [head_of(one_node().records[-1])])


def test_a_log_rewritten_from_its_beginning_contradicts_a_pinned_head(folder):
    log, other = a_log(), a_log()
    log.an_order("web.corp.internal")
    other.an_order("evil.corp.internal")
    with pytest.raises(JournalBroken, match="another line was pinned at position 5") as broken:
        check(log, [other.nodes[0].journal], folder, [head_of(log.records[4])])
    assert_breaks_at(broken.value, folder, 1, 5)


def test_a_missing_journal_is_found(folder):
    log = two_nodes()
    with pytest.raises(JournalBroken, match="position 3 is in no journal given") as broken:
        check(log, [log.nodes[0].journal], folder)
    assert_breaks_at(broken.value, folder, 1, 3)


def test_the_earliest_of_many_changes_is_named_however_the_checks_are_spread(folder):
    log = a_log()
    for _ in range(1200):
        log.a_start()
    lines = log.nodes[0].journal.splitlines(keepends=True)
    for number in (900, 500, 300):
        lines[number - 1] = lines[number - 1].replace(b'"boot-', b'"toob-')
    path = folder / "1"
    path.write_bytes(b"".join(lines))
    with pytest.raises(JournalBroken, match="the line was changed") as broken:
        verify([read_lines(path)], keys(log), threads=3)
    assert_breaks_at(broken.value, folder, 1, 300)


def test_any_cut_of_a_journal_reads_back_a_prefix(folder):
    log = a_log()
    log.a_start()
    journal = log.nodes[0].journal
    whole = list(read_all(folder, journal))
    for cut in range(len(journal)):
        whole_lines = journal.count(b"\n", 0, cut)
        lines = iter(read_all(folder, journal[:cut]))
        assert list(islice(lines, whole_lines)) == whole[:whole_lines]
        if cut == 0 or journal[cut - 1] == NEWLINE:
            assert list(lines) == []
        else:
            with pytest.raises(JournalBroken, match="no newline at its end"):
                next(lines)


def read_all(folder, data: bytes) -> Iterable[Line]:
    path = folder / "cut"
    path.write_bytes(data)
    return read_lines(path)
