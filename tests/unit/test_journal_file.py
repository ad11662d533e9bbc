"""The journal's file and the disk below it: what is true after each call, and after each error."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from journal.disk import OsDisk, sync_folder
from journal.file import Journal, JournalClosed, JournalTouched, NoRoom, NotRenamed, read_tail
from tests.fakes.faults import Action, Faults, FaultyDisk, after, before, io_error, no_space


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def journal(tmp_path: Path, faults: Faults) -> Iterator[Journal]:
    made = Journal(tmp_path / "audit.log", keep_free=100, disk=FaultyDisk(faults))
    made.open()
    yield made
    made.close()


def test_what_was_appended_is_there_line_by_line(journal: Journal) -> None:
    journal.append([b"one"])
    journal.append([b"two", b"three"])
    assert journal.path.read_bytes() == b"one\ntwo\nthree\n"
    assert journal.confirmed == 14


def test_every_append_is_written_once_and_synced_once(journal: Journal, faults: Faults) -> None:
    steps: list[str] = []
    for step in ("write", "sync"):
        faults.arm(step, lambda action, step=step: (steps.append(step), action())[1], times=9)
    journal.append([b"x" * 1000] * 50)
    assert steps == ["write", "sync"]


def test_a_short_write_is_gone_on_with(journal: Journal, faults: Faults) -> None:
    faults.arm("write", lambda action: action(action.data[:2]), times=3)
    journal.append([b"a line"])
    assert journal.path.read_bytes() == b"a line\n"


def test_a_disk_that_takes_nothing_is_not_asked_for_ever(journal: Journal, faults: Faults) -> None:
    faults.arm("write", lambda _action: 0)
    with pytest.raises(OSError, match="takes nothing"):
        journal.append([b"a line"])


@pytest.mark.parametrize("step", ["write", "sync"])
@pytest.mark.parametrize("kept", [True, False], ids=["but it was kept", "and nothing was kept"])
def test_after_an_error_only_what_was_confirmed_counts(
    journal: Journal, faults: Faults, step: str, *, kept: bool
) -> None:
    journal.append([b"one"])
    faults.arm(step, (after if kept else before)(io_error))
    with pytest.raises(OSError, match="input/output error"):
        journal.append([b"two"])
    assert not journal.is_open
    assert journal.confirmed == 4
    with pytest.raises(JournalClosed, match="closed after an error"):
        journal.append([b"three"])
    journal.reopen()
    assert journal.path.read_bytes() == b"one\n"
    journal.append([b"two"])
    assert journal.path.read_bytes() == b"one\ntwo\n"


@pytest.mark.parametrize("step", ["truncate", "sync"])
def test_reopening_that_fails_may_be_tried_again(
    journal: Journal, faults: Faults, step: str
) -> None:
    journal.append([b"one"])
    faults.arm("write", after(io_error))
    with pytest.raises(OSError, match="input/output error"):
        journal.append([b"two"])
    faults.arm(step, before(io_error), times=2)
    for _ in range(2):
        with pytest.raises(OSError, match="input/output error"):
            journal.reopen()
        assert not journal.is_open
    journal.reopen()
    assert journal.path.read_bytes() == b"one\n"


def test_reopening_refuses_a_file_that_lost_what_was_confirmed(journal: Journal) -> None:
    journal.append([b"one"])
    journal.close()
    os.truncate(journal.path, 3)
    with pytest.raises(JournalTouched, match="has 3 bytes, 4 were written"):
        journal.reopen()
    assert not journal.is_open
    assert journal.path.read_bytes() == b"one"


def test_opening_takes_what_is_there_for_confirmed(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    path.write_bytes(b"one\n")
    journal = Journal(path)
    journal.open()
    journal.append([b"two"])
    journal.close()
    assert path.read_bytes() == b"one\ntwo\n"


def test_opening_that_fails_leaves_nothing_open(tmp_path: Path, faults: Faults) -> None:
    journal = Journal(tmp_path / "audit.log", disk=FaultyDisk(faults))
    faults.arm("sync", before(io_error))
    with pytest.raises(OSError, match="input/output error"):
        journal.open()
    assert not journal.is_open


def test_a_new_file_is_this_user_s_alone(journal: Journal) -> None:
    assert journal.path.stat().st_mode & 0o777 == 0o600


def test_a_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"somebody else's\n")
    (tmp_path / "audit.log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        Journal(tmp_path / "audit.log").open()
    assert (tmp_path / "elsewhere").read_bytes() == b"somebody else's\n"


def test_closing_twice_is_closing_once(journal: Journal) -> None:
    journal.close()
    journal.close()


def test_a_close_that_fails_takes_nothing_back(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.append([b"one"])
    really = os.close

    def close(descriptor: int) -> None:
        really(descriptor)
        raise io_error()

    with monkeypatch.context() as patched:
        patched.setattr("journal.file.os.close", close)
        journal.close()
    assert not journal.is_open


def test_cutting_is_durable_and_needs_an_open_file(journal: Journal) -> None:
    journal.append([b"one", b"two"])
    journal.cut(4)
    assert journal.path.read_bytes() == b"one\n"
    journal.close()
    with pytest.raises(JournalClosed):
        journal.cut(0)


# -- closing a segment ---------------------------------------------------------------------------


def test_a_closed_segment_gets_its_name_and_the_next_file_begins(journal: Journal) -> None:
    journal.append([b"one", b"two"])
    closed = journal.close_segment(2)
    assert closed == journal.path.with_name("audit.1-2.log")
    assert closed.read_bytes() == b"one\ntwo\n"
    assert closed.stat().st_mode & 0o777 == 0o400
    assert (journal.first, journal.confirmed, journal.is_open) == (3, 0, True)
    journal.append([b"three"])
    assert journal.path.read_bytes() == b"three\n"
    assert journal.path.stat().st_mode & 0o777 == 0o600
    assert journal.close_segment(3).name == "audit.3-3.log"


def test_the_steps_of_closing_come_in_an_order_that_a_power_loss_survives(
    journal: Journal, faults: Faults
) -> None:
    """The old file's new name is on the disk before the new file has the old name."""
    journal.append([b"one"])
    steps: list[str] = []
    for step in ("rename", "sync folder", "seal", "open", "sync", "write", "truncate"):
        faults.arm(step, lambda action, step=step: (steps.append(step), action())[1], times=9)
    journal.close_segment(1)
    assert steps == ["rename", "sync folder", "seal", "open", "sync", "sync folder"]


def test_a_journal_that_turns_to_the_next_file_is_not_told_to_be_closed(
    journal: Journal, faults: Faults
) -> None:
    """Or the node would be out of service for a moment, to whoever asks just then."""
    journal.append([b"one"])
    told: list[bool] = []
    for step in ("rename", "seal", "open"):
        faults.arm(step, lambda action: (told.append(journal.is_open), action())[1])
    journal.close_segment(1)
    assert told == [True, True, True]


def test_a_name_that_the_system_refuses_leaves_the_same_file_open(
    journal: Journal, faults: Faults
) -> None:
    journal.append([b"one"])
    faults.arm("rename", before(io_error))
    with pytest.raises(NotRenamed, match="input/output error"):
        journal.close_segment(1)
    assert (journal.first, journal.confirmed, journal.is_open) == (1, 4, True)
    journal.append([b"two"])
    assert journal.close_segment(2).read_bytes() == b"one\ntwo\n"


@pytest.mark.parametrize("how", ["a file", "the journal itself", "a link to nothing"])
def test_a_name_that_is_taken_takes_nothing_away(journal: Journal, how: str) -> None:
    journal.append([b"one"])
    taken = journal.path.with_name("audit.1-1.log")
    match how:
        case "a file":
            taken.write_bytes(b"evidence\n")
        case "the journal itself":
            taken.hardlink_to(journal.path)
        case _:
            taken.symlink_to("nothing")
    with pytest.raises(NotRenamed, match="taken"):
        journal.close_segment(1)
    journal.append([b"two"])
    assert journal.path.read_bytes() == b"one\ntwo\n"
    assert how != "a file" or taken.read_bytes() == b"evidence\n"


def test_a_rename_that_is_told_to_have_failed_is_looked_for(
    journal: Journal, faults: Faults
) -> None:
    journal.append([b"one"])
    faults.arm("rename", after(io_error))
    assert journal.close_segment(1).read_bytes() == b"one\n"
    assert (journal.first, journal.path.read_bytes()) == (2, b"")


@pytest.mark.parametrize("kept", [True, False], ids=["but it was kept", "and nothing was kept"])
@pytest.mark.parametrize("step", ["sync folder", "open", "sync"])
def test_reopening_goes_on_with_a_segment_half_closed(
    journal: Journal, faults: Faults, step: str, *, kept: bool
) -> None:
    journal.append([b"one"])
    faults.arm(step, (after if kept else before)(io_error), times=2)
    with pytest.raises(OSError, match="input/output error"):
        journal.close_segment(1)
    assert not journal.is_open
    with pytest.raises(OSError, match="input/output error"):
        journal.reopen()
    assert not journal.is_open
    journal.reopen()
    journal.append([b"two"])
    assert (journal.first, journal.path.read_bytes()) == (2, b"two\n")
    assert journal.path.with_name("audit.1-1.log").read_bytes() == b"one\n"


def test_a_segment_that_cannot_be_sealed_is_closed_all_the_same(
    journal: Journal, faults: Faults
) -> None:
    journal.append([b"one"])
    faults.arm("seal", before(io_error))
    assert journal.close_segment(1).exists()
    assert journal.is_open


def test_a_file_that_somebody_else_began_is_not_written_on(
    journal: Journal, faults: Faults
) -> None:
    journal.append([b"one"])

    def meanwhile(action: Action) -> object:
        journal.path.write_bytes(b"mine\n")
        return action()

    faults.arm("seal", meanwhile)
    with pytest.raises(JournalTouched, match="has 5 bytes, and was just begun"):
        journal.close_segment(1)
    assert not journal.is_open
    assert journal.path.read_bytes() == b"mine\n"


def test_a_file_that_is_gone_when_it_is_to_be_renamed_is_not_begun_anew(journal: Journal) -> None:
    journal.append([b"one"])
    journal.path.unlink()
    with pytest.raises(JournalTouched, match=r"replaced|somebody else"):  # by the number it gets
        journal.close_segment(1)


# -- room ----------------------------------------------------------------------------------------


def test_there_is_room_for_the_headroom_and_what_is_coming(
    journal: Journal, faults: Faults
) -> None:
    faults.arm("free", lambda _action: 150, times=2)
    journal.check_room(50)
    with pytest.raises(NoRoom, match=r"150 bytes free.*151 are needed"):
        journal.check_room(51)
    journal.check_room()


def test_a_disk_that_cannot_tell_its_room_is_an_error(journal: Journal, faults: Faults) -> None:
    faults.arm("free", before(no_space))
    with pytest.raises(OSError, match="no space left"):
        journal.check_room()


def test_room_is_told_before_the_file_is_opened_too(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    path.touch()
    Journal(path, keep_free=1).check_room()
    with pytest.raises(NoRoom):
        Journal(path, keep_free=1 << 62).check_room()


def test_a_file_that_somebody_else_touched_is_not_written_on(journal: Journal) -> None:
    journal.append([b"one"])
    journal.check_room()
    with journal.path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(JournalTouched, match="has 8 bytes, 4 were written"):
        journal.check_room()
    os.truncate(journal.path, 0)
    with pytest.raises(JournalTouched, match="has 0 bytes"):
        journal.check_room()
    journal.path.rename(journal.path.with_suffix(".1"))
    with pytest.raises(JournalTouched, match="removed"):
        journal.check_room()
    journal.path.write_bytes(b"one\n")
    with pytest.raises(JournalTouched, match="replaced"):
        journal.check_room()


# -- the tail ------------------------------------------------------------------------------------

LINES = [b"line %d" % n for n in range(100)]


def test_the_tail_is_all_of_a_short_file(journal: Journal) -> None:
    journal.append([b"one", b"two"])
    tail = journal.tail()
    assert tail.lines == [(0, b"one"), (4, b"two")]
    assert (tail.start, tail.torn_at, tail.size) == (0, 8, 8)


def test_the_tail_begins_with_a_whole_line(journal: Journal) -> None:
    journal.append(LINES)
    tail = journal.tail(limit=50)
    assert [line for _, line in tail.lines] == LINES[-6:]
    assert tail.start == tail.lines[0][0] > 0


def test_a_tail_without_a_newline_has_no_line(journal: Journal) -> None:
    journal.append([b"one", b"x" * 100])
    journal.cut(60)
    tail = journal.tail(limit=20)
    assert (tail.lines, tail.start, tail.torn_at, tail.size) == ([], 40, 40, 60)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 790), limit=st.integers(1, 900))
def test_any_cut_reads_back_whole_lines_and_where_they_stand(
    tmp_path: Path, cut: int, limit: int
) -> None:
    data = b"".join([line + b"\n" for line in LINES])[:cut]
    path = tmp_path / "audit.log"
    path.write_bytes(data)
    tail = read_tail(path, limit)
    assert all(data[at : at + len(line) + 1] == line + b"\n" for at, line in tail.lines)
    last = max(data.rfind(b"\n") + 1, tail.start)
    assert tail.torn_at == last
    assert [line for _, line in tail.lines] == data[tail.start : last].split(b"\n")[:-1]
    assert {line for _, line in tail.lines} <= set(LINES)


# -- the operating system's disk -----------------------------------------------------------------


def test_a_system_without_pwrite_writes_at_the_offset_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows."""
    monkeypatch.delattr(os, "pwrite")
    disk = OsDisk()
    descriptor = disk.open(tmp_path / "file")
    assert disk.write(descriptor, 0, b"one two") == 7
    assert disk.write(descriptor, 4, b"2") == 1
    os.close(descriptor)
    assert (tmp_path / "file").read_bytes() == b"one 2wo"


def test_a_system_without_statvfs_tells_its_room_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    here = OsDisk().free(tmp_path / "file")
    monkeypatch.delattr(os, "statvfs")
    monkeypatch.setattr("journal.disk.shutil.disk_usage", lambda path: _Usage(here, path))
    assert OsDisk().free(tmp_path / "file") == here


class _Usage:
    def __init__(self, free: int, path: Path) -> None:
        assert path.is_dir()
        self.free = free


def test_a_system_without_fdatasync_syncs_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "fdatasync")
    synced: list[int] = []
    monkeypatch.setattr("journal.disk.os.fsync", synced.append)
    OsDisk().sync(7)
    assert synced == [7]


def test_folders_are_synced_where_the_system_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync_folder(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "missing")
    with monkeypatch.context() as patched:
        patched.setattr("journal.disk.os.name", "nt")
        sync_folder("no folder is opened there")  # type: ignore[arg-type]


def test_an_error_of_the_system_keeps_its_number(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="directory") as caught:
        OsDisk().open(tmp_path)
    assert caught.value.errno == errno.EISDIR


def test_why_nothing_can_be_written_is_told_in_a_sentence(journal: Journal, faults: Faults) -> None:
    assert journal.trouble() is None
    faults.arm("free", lambda _action: 99, times=3)
    assert (journal.free, journal.headroom) == (99, -1)
    told = journal.trouble()
    assert told is not None
    assert "99 bytes free on the journal's disk, 100 are needed" in told
    journal.close()
    assert journal.trouble() == f"{journal.path} is closed after an error, and is tried again"
