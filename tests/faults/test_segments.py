"""Whatever is done to a journal's closed segments afterwards, verification names file and reason.

And whatever is not done to them: segments read in order are the journal that was never cut.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from events.signing import read_key_set
from journal import lines as journal_lines
from journal.breaks import JournalBroken
from journal.lines import read_journal, segments
from journal.verify import Summary, verify
from tests.make.journals import ALog, a_log, a_rotation, write_segments

FIRST, SECOND, THIRD = "audit.1-4.log", "audit.5-7.log", "audit.8-10.log"


def a_segmented_log() -> ALog:
    """Seq 1 to 4, 5 to 7 and 8 to 10 are closed, 11 is the active segment's."""
    log = a_log()
    log.a_start()
    for _ in range(3):
        a_rotation(log)
        log.a_start()
        log.a_start()
    log.nodes[0].records.pop()
    return log


def foreign_log() -> ALog:
    """The log of another installation, cut at the same places, by a node with another id."""
    log = a_log()
    other = a_segmented_log()
    log.nodes[0].server_id = "0badcafe-0000-4000-8000-000000000001"
    log.nodes[0].records, log.head, log.position, log.versions = [], "0" * 64, 0, {}
    for record in other.nodes[0].records:
        log.say(record.event, record.envelope.stream)
    return log


@pytest.fixture
def log() -> ALog:
    return a_segmented_log()


@pytest.fixture
def folder(tmp_path: Path, log: ALog) -> Path:
    node = tmp_path / "node"
    node.mkdir()
    files = write_segments(log.nodes[0], node)
    assert [file.name for file in files] == [FIRST, SECOND, THIRD, "audit.log"]
    return node


def check(path: Path, log: ALog) -> Summary:
    return verify([read_journal(segments(path))], read_key_set(log.key_set()), threads=1)


def test_segments_read_in_order_are_the_journal_that_was_never_cut(folder: Path, log: ALog) -> None:
    lines = list(read_journal(segments(folder)))
    assert [line.data for line in lines] == [record.line for record in log.nodes[0].records]
    assert check(folder, log).lines == len(lines)
    whole = folder.parent / "whole.log"
    whole.write_bytes(b"".join(file.read_bytes() for file in segments(folder)))
    assert check(whole, log) == check(folder, log)


def test_the_active_file_s_name_stands_for_the_closed_segments_beside_it(
    folder: Path, log: ALog
) -> None:
    assert segments(folder / "audit.log") == segments(folder)
    (folder / "audit.log").unlink()
    assert segments(folder / "audit.log") == segments(folder)
    log.nodes[0].records.pop()
    assert check(folder, log).lines == len(log.nodes[0].records)


def test_a_journal_of_another_name_has_segments_of_that_name(folder: Path) -> None:
    for file in segments(folder):
        file.rename(folder / file.name.replace("audit", "node7.journal"))
    files = segments(folder / "node7.journal.log")
    assert [file.name for file in files][1:] == [
        "node7.journal.5-7.log",
        "node7.journal.8-10.log",
        "node7.journal.log",
    ]
    assert len(list(read_journal(files))) == len(a_segmented_log().nodes[0].records)


def test_an_empty_active_file_follows_a_segment_that_was_just_closed(folder: Path) -> None:
    (folder / "audit.log").write_bytes(b"")
    assert [line.file for line in read_journal(segments(folder))][-1] == str(folder / THIRD)


def remove_second(folder: Path) -> None:
    (folder / SECOND).unlink()


def remove_first(folder: Path) -> None:
    (folder / FIRST).unlink()


def remove_last(folder: Path) -> None:
    (folder / THIRD).unlink()


def swap_names(folder: Path) -> None:
    (folder / SECOND).rename(folder / "x")
    (folder / THIRD).rename(folder / SECOND)
    (folder / "x").rename(folder / THIRD)


def duplicate(folder: Path) -> None:
    shutil.copy(folder / SECOND, folder / "audit.6-7.log")


def duplicate_in_the_gap(folder: Path) -> None:
    shutil.copy(folder / FIRST, folder / SECOND)


def rename_the_beginning(folder: Path) -> None:
    (folder / FIRST).rename(folder / "audit.2-4.log")


def rename_the_end(folder: Path) -> None:
    (folder / THIRD).rename(folder / "audit.8-12.log")


def put_lines_behind_the_end(folder: Path) -> None:
    with (folder / THIRD).open("ab") as file:
        file.write((folder / "audit.log").read_bytes())
    (folder / "audit.log").unlink()


def cut_the_end(folder: Path) -> None:
    lines = (folder / THIRD).read_bytes().splitlines(keepends=True)
    (folder / THIRD).write_bytes(b"".join(lines[:-1]))
    (folder / "audit.log").unlink()


def cut_and_rename(folder: Path) -> None:
    cut_the_end(folder)
    (folder / THIRD).rename(folder / "audit.8-9.log")


def cut_the_beginning_of_the_active_one(folder: Path) -> None:
    (folder / "audit.log").write_bytes((folder / THIRD).read_bytes())
    (folder / THIRD).unlink()


def empty(folder: Path) -> None:
    (folder / SECOND).write_bytes(b"")


def change_a_byte(folder: Path) -> None:
    data = (folder / SECOND).read_bytes()
    (folder / SECOND).write_bytes(data.replace(b'"boot-', b'"toob-', 1))


def take_another_installation_s(folder: Path) -> None:
    node = foreign_log().nodes[0]
    other = folder.parent / "other"
    other.mkdir()
    write_segments(node, other)
    shutil.copy(other / SECOND, folder / SECOND)


# what was done, the file and the line that are named, the reason
ATTACKS: dict[str, tuple[Callable[[Path], None], str, int, str]] = {
    "missing": (remove_second, THIRD, 0, "a segment is missing before it: seq 5 to 7"),
    "first missing": (remove_first, SECOND, 1, "begins with seq 5, not 1: .*first segments"),
    "last missing": (remove_last, "audit.log", 1, "5-7.log ends with seq 7, seq 8 is missing: a s"),
    "out of order": (swap_names, SECOND, 1, "begins with seq 8, its name says 5: it was renamed"),
    "twice": (duplicate, "audit.6-7.log", 0, "audit.5-7.log goes up to seq 7: a segment is there"),
    "twice, for another": (duplicate_in_the_gap, SECOND, 1, "begins with seq 1, its name says 5"),
    "renamed": (rename_the_beginning, "audit.2-4.log", 1, "begins with seq 1, its name says 2"),
    "renamed at its end": (rename_the_end, "audit.8-12.log", 3, "its name says seq 12: its end"),
    "grown": (put_lines_behind_the_end, THIRD, 4, "ends with this line, its name says seq 10"),
    "cut": (cut_the_end, THIRD, 2, "ends with this line, its name says seq 10: its end was cut"),
    "cut and renamed": (
        cut_and_rename,
        "audit.8-9.log",
        2,
        "ends with journal.segment-closed, not",
    ),
    "empty": (empty, SECOND, 0, "a closed segment without a line"),
    "byte changed": (change_a_byte, SECOND, 1, "the line was changed"),
    "another installation's": (take_another_installation_s, SECOND, 1, "by node 0badcafe.*another"),
}


@pytest.mark.parametrize(("attack", "file", "line", "reason"), ATTACKS.values(), ids=ATTACKS)
def test_what_is_done_to_a_segment_is_named(
    folder: Path, log: ALog, *, attack: Callable[[Path], None], file: str, line: int, reason: str
) -> None:
    attack(folder)
    with pytest.raises(JournalBroken, match=reason) as broken:
        check(folder, log)
    assert (broken.value.file, broken.value.line) == (str(folder / file), line)
    assert "\n" not in str(broken.value)


def test_another_node_s_segment_is_named(tmp_path: Path) -> None:
    log = a_log(nodes=2)
    for by in (0, 1, 0, 1):
        log.a_start(by=by)
        a_rotation(log, by=by)
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder, node in zip(folders, log.nodes, strict=True):
        folder.mkdir()
        write_segments(node, folder)
    second = segments(folders[1])[1]
    shutil.copy(second, folders[0] / "audit.8-9.log")
    with pytest.raises(JournalBroken, match=f"by node {log.nodes[1].server_id}, but .*one/audit"):
        verify([read_journal(segments(each)) for each in folders], threads=1)


def test_an_active_file_that_was_not_renamed_goes_on_with_its_closing_line_inside(
    tmp_path: Path,
) -> None:
    log = a_segmented_log()
    (tmp_path / "audit.log").write_bytes(log.nodes[0].journal)
    assert check(tmp_path, log).lines == len(log.nodes[0].records)


@pytest.mark.parametrize("when", ["before it is opened", "while it is opened"])
def test_a_segment_closed_while_the_journal_is_read_is_read_where_it_is_by_then(
    folder: Path, log: ALog, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = log.nodes[0]
    a_rotation(log)
    log.a_start()
    closing = folder / f"audit.11-{len(node.records) - 1}.log"

    def rotate() -> None:
        (folder / "audit.log").rename(closing)
        write_segments(node, folder)

    (folder / "audit.log").write_bytes(b"".join(r.line + b"\n" for r in node.records[10:-1]))
    files = segments(folder)
    if when == "before it is opened":
        rotate()
    else:
        look, looks = journal_lines.closed_segments, list[Path]()

        def closed_segments(active: Path) -> list[Path]:
            looks.append(active)
            if len(looks) == 2:
                rotate()
            return look(active)

        monkeypatch.setattr("journal.lines.closed_segments", closed_segments)
    lines = [line.data for line in read_journal(files)]
    assert lines == [record.line for record in node.records]


@pytest.mark.parametrize("when", ["before it is opened", "while it is opened"])
def test_a_journal_whose_active_file_is_being_made_ends_with_its_last_segment(
    folder: Path, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = segments(folder)
    (folder / "audit.log").write_bytes(b"")
    if when == "before it is opened":
        (folder / "audit.log").unlink()
    else:
        look, looks = journal_lines.closed_segments, list[Path]()

        def closed_segments(active: Path) -> list[Path]:
            looks.append(active)
            found = look(active)
            if len(looks) == 1:
                (folder / "audit.log").unlink()
                shutil.copy(folder / THIRD, folder / "audit.11-13.log")
                return found
            (folder / "audit.11-13.log").unlink(missing_ok=True)
            return found

        monkeypatch.setattr("journal.lines.closed_segments", closed_segments)
    assert len(list(read_journal(files))) == 10


def test_a_file_that_becomes_a_closed_segment_while_the_folder_is_listed_is_listed_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "audit.log").write_bytes(b"")

    def closed_segments(active: Path) -> list[Path]:
        found = list(tmp_path.glob("audit.1-*"))
        if active.exists():
            active.rename(tmp_path / "audit.1-9.log")
        return found

    monkeypatch.setattr("journal.lines.closed_segments", closed_segments)
    assert segments(tmp_path) == [tmp_path / "audit.1-9.log"]


def test_a_journal_that_is_gone_when_it_is_read_is_not_read_as_empty(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(read_journal([tmp_path / "audit.log"]))
