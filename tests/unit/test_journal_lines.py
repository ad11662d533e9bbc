import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.envelope import MAX_LINE
from journal.breaks import JournalBroken, Line
from journal.lines import CHUNK, NoJournal, read_journal, read_lines, segments


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("lines") / "audit.log"


@given(st.lists(st.text(st.characters(exclude_characters="\n\0", codec="utf-8"), max_size=20)))
def test_lines_come_with_number_and_offset(path, texts):
    lines = [text.encode() for text in texts]
    data = b"".join(line + b"\n" for line in lines)
    path.write_bytes(data)
    read = list(read_lines(path))
    assert [line.data for line in read] == lines
    assert [line.number for line in read] == list(range(1, len(lines) + 1))
    assert all(data[line.offset :].startswith(line.data + b"\n") for line in read)


def test_lines_are_whole_across_chunks(path):
    lines = [bytes([97 + n % 26]) * (MAX_LINE - n * 7919) for n in range(3 * CHUNK // MAX_LINE)]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    assert path.stat().st_size > 2 * CHUNK
    assert [line.data for line in read_lines(path)] == lines


def broken(path, data: bytes) -> JournalBroken:
    path.write_bytes(data)
    with pytest.raises(JournalBroken) as error:
        list(read_lines(path))
    return error.value


@pytest.mark.parametrize(
    ("data", "line", "reason"),
    [
        (b"one\ntwo", 2, "no newline at its end"),
        (b"torn", 1, "no newline at its end"),
        (b"one\nt\0o\nthree\n", 2, "NUL bytes"),
        (b"one\n" + b"\0" * 5000, 2, "NUL bytes"),
        (b"one\n" + b"\0" * (CHUNK + MAX_LINE), 2, "NUL bytes"),
        (b"one\n" + b"x" * (MAX_LINE + 1) + b"\n", 2, "longer than 262144 bytes"),
        (b"one\n" + b"x" * (2 * CHUNK), 2, "longer than 262144 bytes"),
        (b"one\ntwo\n\xff\xfe\n", 3, "not UTF-8 at byte 0"),
        (b"one\nab\xc3\n", 2, "not UTF-8 at byte 2"),
    ],
    ids=range(9),
)
def test_what_is_no_line_is_named(path, data, line, reason):
    error = broken(path, data)
    assert (error.file, error.line) == (str(path), line)
    assert reason in error.reason
    assert str(error) == f"{path}:{line}: {error.reason}"


def test_an_empty_file_has_no_lines(path):
    path.write_bytes(b"")
    assert list(read_lines(path)) == []
    assert list(read_lines(path, live=True)) == []


def test_a_file_that_grows_is_read_as_far_as_it_was(path):
    path.write_bytes(b"one\ntwo\n")
    lines = read_lines(path)
    first = next(lines)
    with path.open("ab") as file:
        file.write(b"three\n")
    assert [first.data, *(line.data for line in lines)] == [b"one", b"two"]


def test_a_live_file_s_last_line_may_be_finished_while_it_is_read(path):
    path.write_bytes(b"one\ntw")

    def finish():
        time.sleep(0.1)
        with path.open("ab") as file:
            file.write(b"o\nthree\n")

    writer = threading.Thread(target=finish)
    writer.start()
    lines = [line.data for line in read_lines(path, live=True)]
    writer.join()
    assert lines == [b"one", b"two"]


def test_a_live_file_s_torn_line_is_torn_in_the_end(path, monkeypatch):
    monkeypatch.setattr("journal.lines._PAUSE", 0)
    path.write_bytes(b"one\ntw")
    with pytest.raises(JournalBroken, match="no newline") as error:
        list(read_lines(path, live=True))
    assert error.value.line == 2


def test_a_journal_is_a_file_or_a_folder_with_segments(tmp_path):
    for name in ("audit.log", "audit.10-12.log", "audit.1-9.log"):
        (tmp_path / name).write_bytes(name.encode() + b"\n")
    for other in (
        "audit.log.lock",
        "audit.x-9.log",
        "audit.01-9.log",
        "audit.1-9.log.gz",
        "audit.1-9.txt",
        "server_id",
    ):
        (tmp_path / other).write_bytes(b"\0")
    (tmp_path / "audit.3-4.log").mkdir()
    names = ["audit.1-9.log", "audit.10-12.log", "audit.log"]
    files = segments(tmp_path)
    assert [file.name for file in files] == names
    assert segments(tmp_path / "audit.log") == files
    assert segments(tmp_path / "audit.10-12.log") == [tmp_path / "audit.10-12.log"]
    assert list(read_journal(files)) == [
        Line(str(tmp_path / name), 1, 0, name.encode()) for name in names
    ]
    (tmp_path / "audit.log").unlink()
    assert [file.name for file in segments(tmp_path)] == names[:2]


def test_where_there_is_no_journal_that_is_said(tmp_path):
    with pytest.raises(NoJournal, match=r"holds no journal: neither audit\.log nor"):
        segments(tmp_path)
    with pytest.raises(NoJournal, match="does not exist"):
        segments(tmp_path / "nothing")
    with pytest.raises(NoJournal, match="does not exist"):
        segments(tmp_path / "nothing" / "audit.log")
    with pytest.raises(NoJournal, match="neither a file nor a folder"):
        segments(tmp_path.__class__("/dev/null"))


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ({"line": 17, "seq": 17, "position": 17}, "a.log:17: seq 17: why"),
        ({"line": 17, "seq": 17, "position": 30}, "a.log:17: seq 17, position 30: why"),
        ({"position": 30}, "a.log: position 30: why"),
        ({"line": 3}, "a.log:3: why"),
        ({}, "a.log: why"),
    ],
    ids=range(5),
)
def test_a_break_tells_its_place_in_one_line(place, text):
    assert str(JournalBroken("why", file="a.log", **place)) == text


def test_a_break_does_not_steer_the_terminal():
    error = JournalBroken("type '\x1b[2J\n\x07é'", file="a.log")
    assert str(error) == r"a.log: type '\x1b[2J\n\x07é'"
