"""The operator's log: what a line has, which lines there are, and where they go."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest

import certeasy
from certeasy import log
from certeasy.log import Rotation, logger, set_up
from certeasy.settings import Service

SOURCE = Path(certeasy.__file__).parent
NAMED = re.compile(r'\blogger\("([^"]+)"\)')


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Leave logging as it was found: other tests listen to it."""
    root = logging.getLogger(log.ROOT)
    before = root.handlers[:], root.level, root.propagate
    yield
    for handler in set(root.handlers) - set(before[0]):
        handler.close()
    set_up("info", "json", "stderr")
    root.handlers[:], root.level, root.propagate = before
    log.in_request("")


def lines(file: Path) -> list[dict[str, object]]:
    return [msgspec.json.decode(line) for line in file.read_text().splitlines()]


def test_the_services_that_can_be_set_are_those_that_lines_come_from():
    used = {
        name
        for file in SOURCE.rglob("*.py")
        for name in NAMED.findall(file.read_text(encoding="utf-8"))
    }
    assert set(get_args(Service)) == used


def test_each_service_has_its_own_level_or_the_one_of_all(tmp_path: Path):
    file = tmp_path / "x.log"
    set_up("info", "json", "file", file, services={"tls": "debug", "worker": "error"})
    for name in ("tls", "worker", "main"):
        logger(name).debug("a detail")
        logger(name).info("a thing")
        logger(name).error("a fault")
    seen = [(line["service"], line["level"]) for line in lines(file)]
    assert seen == [
        *(("tls", level) for level in ("debug", "info", "error")),
        ("worker", "error"),
        ("main", "info"),
        ("main", "error"),
    ]
    set_up("info", "json", "file", file)
    logger("tls").debug("what was set before does not count any more")
    assert len(lines(file)) == 6


def test_every_line_has_the_tags(tmp_path: Path):
    tags = {"site": "north", "stage": "test"}
    file = tmp_path / "x.log"
    set_up("info", "json", "file", file, tags=tags)
    logger("main").info("one")
    assert lines(file)[0]["tags"] == tags
    set_up("info", "text", "file", file, tags=tags)
    logger("main").info("two")
    assert file.read_text().endswith("main: two site=north stage=test\n")


def test_a_line_of_a_request_says_which(tmp_path: Path):
    file = tmp_path / "x.log"
    set_up("info", "json", "file", file)
    logger("main").info("before")
    log.in_request("0b7d")
    logger("main").info("in it")
    log.in_request("")
    logger("main").info("after")
    assert [line.get("request") for line in lines(file)] == [None, "0b7d", None]
    set_up("info", "text", "file", file)
    log.in_request("0b7d")
    logger("main").info("in it")
    assert file.read_text().endswith("main: in it request=0b7d\n")


def test_journald_is_told_how_bad_each_line_is(capfd: pytest.CaptureFixture[str]):
    set_up("debug", "text", "journald")
    try:
        raise ValueError("of our own")
    except ValueError:
        logger("main").exception("it failed")
    for level in (logging.CRITICAL, logging.WARNING, logging.INFO, logging.DEBUG):
        logger("main").log(level, "a line")
    told = [line[:3] for line in capfd.readouterr().err.splitlines()]
    assert told[-4:] == ["<2>", "<4>", "<6>", "<7>"]
    assert set(told[:-4]) == {"<3>"}
    assert len(told) > 6  # each line of a traceback, too


# -- the Event Log ------------------------------------------------------------------------------


class Entries:
    """What was put into an Event Log: kind, number, text. A full one takes no more."""

    def __init__(self) -> None:
        self.taken: list[tuple[int, int, str]] = []
        self.full = False

    def write(self, kind: int, number: int, text: str) -> None:
        if self.full:
            raise OSError(0, "The event log file is full.")
        self.taken.append((kind, number, text))


def entries(tmp_path: Path, **tags: str) -> Entries:
    """Have the log go into an Event Log too."""
    found = Entries()
    set_up("debug", "text", "file", tmp_path / "x.log", beside=[log.EventLog(found.write, tags)])
    return found


def test_the_event_log_has_warnings_errors_start_and_stop_and_nothing_else(tmp_path: Path):
    found = entries(tmp_path, site="north")
    for name in ("main", "tls"):
        logger(name).debug("a detail")
        logger(name).info("a thing")
        logger(name).warning("a doubt")
    log.in_request("0b7d")
    logger("tls").error("a fault")
    assert found.taken == [
        (4, 1, "main: a thing site=north"),
        (2, 2, "main: a doubt site=north"),
        (2, 2, "tls: a doubt site=north"),
        (1, 3, "tls: a fault request=0b7d site=north"),
    ]


def test_an_entry_is_no_pattern_has_no_end_within_and_is_bounded(tmp_path: Path):
    """The viewer puts an entry's first text where it finds %1, also in that text."""
    found = entries(tmp_path)
    logger("main").error("fe80::1%%1 is 100%% %s", "\0" + "x" * 40_000)
    [(_, _, text)] = found.taken
    assert text.startswith("main: fe80::1% 1 is 100% ?xxx")
    assert len(text) == 31_839


def test_a_traceback_is_in_the_entry(tmp_path: Path):
    found = entries(tmp_path)
    try:
        raise ValueError("of our own")
    except ValueError:
        logger("main").exception("it failed")
    assert found.taken[0][2].endswith("ValueError: of our own")


def test_a_full_event_log_is_told_once_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    found = entries(tmp_path)
    found.full = True
    logger("main").error("one")
    logger("main").error("two")
    found.full = False
    logger("main").error("three")
    told = capsys.readouterr().err.splitlines()
    assert told == ["the Event Log cannot be written: The event log file is full."]
    assert found.taken == [(1, 3, "main: three")]
    assert len((tmp_path / "x.log").read_text().splitlines()) == 3


def test_a_system_without_event_log_says_so():
    with pytest.raises(OSError, match="on Windows only"):
        set_up("info", "text", "eventlog")


# -- rotation -----------------------------------------------------------------------------------

NAME = re.compile(r"certeasy\.[0-9]{8}T[0-9]{6}Z\.ms[0-9]{3}\.log")


def rotated(folder: Path, kept: int = 5, size: int = 1000) -> None:
    set_up("info", "text", "file", folder / "certeasy.log", rotate=Rotation(size, kept))


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def say(number: int) -> str:
    words = f"line {number:04} " + "x" * 80
    logger("main").info(words)
    return words


def test_a_file_that_is_full_is_followed_by_another_and_none_is_renamed(tmp_path: Path):
    rotated(tmp_path, kept=-1)
    first = say(0)
    [begun] = files(tmp_path)
    said = [first, *map(say, range(1, 50))]
    found = files(tmp_path)
    assert found[0] == begun
    assert len(found) > 3
    assert all(NAME.fullmatch(file.name) for file in found)
    assert all(file.stat().st_size <= 1000 for file in found)
    whole = "".join(file.read_text() for file in found).splitlines()
    assert [line.partition("main: ")[2] for line in whole] == said


@pytest.mark.parametrize("kept", [0, 2])
def test_only_so_many_files_are_kept_and_nothing_else_is_touched(tmp_path: Path, kept: int):
    mine = tmp_path / "certeasy.20261130T080000Z.ms000.log.gz"
    mine.write_text("an administrator's")
    rotated(tmp_path, kept=kept)
    last = [say(number) for number in range(60)][-1]
    found = [file for file in files(tmp_path) if file != mine]
    assert len(found) == kept + 1
    assert found[-1].read_text().endswith(f"{last}\n")
    assert mine.read_text() == "an administrator's"


def test_a_start_goes_on_in_the_newest_file(tmp_path: Path):
    rotated(tmp_path)
    say(1)
    rotated(tmp_path)
    say(2)
    [file] = files(tmp_path)
    assert len(file.read_text().splitlines()) == 2


def test_a_clock_that_goes_back_takes_no_line_for_an_old_one(tmp_path: Path):
    (tmp_path / "certeasy.20991231T235959Z.ms999.log").write_text("z" * 1000)
    (tmp_path / "certeasy.99999999T999999Z.ms999.log").write_text("no time at all")
    rotated(tmp_path, kept=0)
    say(1)
    assert [file.name for file in files(tmp_path)] == [
        "certeasy.21000101T000000Z.ms000.log",
        "certeasy.99999999T999999Z.ms999.log",
    ]


def test_a_line_larger_than_a_file_has_one_of_its_own(tmp_path: Path):
    rotated(tmp_path)
    say(1)
    logger("main").info("y" * 5000)
    say(2)
    assert [len(file.read_text().splitlines()) for file in files(tmp_path)] == [1, 1, 1]


def test_a_folder_that_is_gone_is_told_once_and_the_log_comes_back_with_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    folder = tmp_path / "logs"
    rotated(folder)
    say(1)
    say(2)
    told = capfd.readouterr().err.splitlines()
    assert told == [f"{folder / 'certeasy.log'}: the log cannot be written: {NO_SUCH}"]
    folder.mkdir()
    say(3)
    [file] = files(folder)
    assert "line 0003" in file.read_text()


NO_SUCH = "No such file or directory"


def test_without_a_size_the_file_is_the_one_that_is_named(tmp_path: Path):
    rotated(tmp_path, size=0)
    say(1)
    assert files(tmp_path) == [tmp_path / "certeasy.log"]
