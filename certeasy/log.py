"""Logging: one line per event of the server's life, as text or as JSON, never with a secret in
it.

A line says when, how bad, from which part of the server, what happened, and in which request, where
it was in one. A log that goes on in another file never renames one: each has the time of its first
line in its name.
"""

import contextlib
import logging
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, TextIO

import msgspec

ROOT = "certeasy"
LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "off": logging.CRITICAL + 1,
    "none": logging.CRITICAL + 1,
}
_request: ContextVar[str] = ContextVar("request", default="")


class Rotation(NamedTuple):
    """When another file is begun (bytes; 0: never), and how many are kept beside it (-1: all)."""

    size: int = 0
    kept: int = 5


def logger(name: str) -> logging.Logger:
    """Return the logger of one part of the server."""
    return logging.getLogger(f"{ROOT}.{name}")


def in_request(name: str) -> None:
    """Have each line of this thread, from now on, say in which request it was; "": in none."""
    _request.set(name)


def request() -> str:
    """Return in which request this thread is; "": in none."""
    return _request.get()


class JsonLines(logging.Formatter):
    """One JSON object per line: at, level, service, message, request, an error's last line,
    tags."""

    def __init__(self, tags: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._tags = dict(tags or {})

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "at": _at(record),
            "level": record.levelname.lower(),
            "service": record.name.removeprefix(f"{ROOT}."),
            "message": record.getMessage(),
        }
        if name := request():
            line["request"] = name
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        if self._tags:
            line["tags"] = self._tags
        return msgspec.json.encode(line).decode()


class TextLines(logging.Formatter):
    """A line for people."""

    def __init__(self, tags: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._tags = "".join(f" {name}={text}" for name, text in (tags or {}).items())

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and a traceback where the program itself is at fault."""
        service = record.name.removeprefix(f"{ROOT}.")
        line = f"{_at(record)} {record.levelname.lower():7} {service}: {record.getMessage()}"
        line += f" request={name}" if (name := request()) else ""
        line += self._tags
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JournaldLines(logging.Formatter):
    """Another form's lines, each with its level in front as sd-daemon(3) has it."""

    def __init__(self, form: logging.Formatter) -> None:
        super().__init__()
        self._form = form

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines."""
        level = record.levelno
        priority = next(number for least, number in _PRIORITIES if level >= least)
        return "\n".join(f"<{priority}>{line}" for line in self._form.format(record).split("\n"))


_PRIORITIES = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
    (logging.NOTSET, 7),
)


class EventLog(logging.Handler):
    """Puts warnings, errors, the start and the end of the server into Windows' Event Log.

    What it does not take is told once on stderr. `write`: kind, number and text of an entry.
    """

    def __init__(
        self, write: Callable[[int, int, str], None], tags: Mapping[str, str] | None = None
    ) -> None:
        super().__init__()
        self._write = write
        self._tags = "".join(f" {name}={text}" for name, text in (tags or {}).items())
        self._told = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write an entry, if it is one for it."""
        level = record.levelno
        least = logging.INFO if record.name == f"{ROOT}.main" else logging.WARNING
        if level < least:
            return
        kind, number = next(entry for lowest, entry in _ENTRIES if level >= lowest)
        try:
            self._write(kind, number, _in_the_event_log(self._text(record)))
            self._told = False
        except OSError as error:
            if not self._told:
                self._told = True
                told = error.strerror or str(error)
                sys.stderr.write(f"the Event Log cannot be written: {told}\n")

    def _text(self, record: logging.LogRecord) -> str:
        service = record.name.removeprefix(f"{ROOT}.")
        line = f"{service}: {record.getMessage()}"
        line += f" request={name}" if (name := request()) else ""
        line += self._tags
        if record.exc_info:
            line += "\n" + logging.Formatter().formatException(record.exc_info)
        return line


_ENTRIES = (
    (logging.ERROR, (1, 3)),
    (logging.WARNING, (2, 2)),
    (logging.NOTSET, (4, 1)),
)
"""From which level on: an entry's kind, as Windows counts them, and its number, which is ours."""
_MOST_OF_AN_ENTRY = 31_839  # characters, ReportEventW


def _in_the_event_log(text: str) -> str:
    """Return a text as an entry can have it: no NUL, and no %1, where the viewer would put its
    first text in once more."""
    return re.sub(r"%(?=\d)", "% ", text.replace("\0", "?"))[:_MOST_OF_AN_ENTRY]


def without_figures(reason: str) -> str:
    """Return a reason to compare by: how many bytes are free changes, and is no news."""
    return re.sub(r"\d+", "", reason)


class RotatedFile(logging.Handler):
    """Writes to files of bounded size, named after one and the time of their first line.

    A start goes on in the newest one. What cannot be written is told once on stderr: the server
    goes on without its log.
    """

    def __init__(self, base: Path, rotation: Rotation) -> None:
        super().__init__()
        self._base = base
        self._rotation = rotation
        self._open: TextIO | None = None
        self._size = 0
        self._told = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line; logging calls this for one thread at a time."""
        try:
            line = self.format(record) + "\n"
            self._write(line, record.created)
            self._told = False
        except OSError as error:
            self._close()
            if not self._told:
                self._told = True
                told = error.strerror or str(error)
                sys.stderr.write(f"{self._base}: the log cannot be written: {told}\n")

    def close(self) -> None:
        """Close the file."""
        with self.lock or contextlib.nullcontext():
            self._close()
        super().close()

    def _close(self) -> None:
        file, self._open = self._open, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()

    def _write(self, line: str, at: float) -> None:
        coming = len(line.encode(errors="surrogatepass"))
        if self._open is None:
            self._go_on(at)
        if self._size and self._size + coming > self._rotation.size:
            self._close()
            self._begin(at)
        assert self._open is not None
        self._open.write(line)
        self._open.flush()
        self._size += coming

    def _go_on(self, at: float) -> None:
        """Open the newest file, or the first."""
        newest = max(self._files(), default=None)
        if newest is None:
            self._begin(at)
        else:
            self._use(newest[1])

    def _begin(self, at: float) -> None:
        """Open a new file, and remove those that are too many."""
        newest = max(self._files(), default=(0, self._base))[0]
        self._use(self._named(max(round(at * 1000), newest + 1)))  # also where the clock went back
        if self._rotation.kept >= 0:
            others = sorted(self._files())[:-1]
            for _stamp, old in others[: len(others) - self._rotation.kept]:
                old.unlink(missing_ok=True)

    def _use(self, path: Path) -> None:
        self._open = path.open("a", encoding="utf-8", errors="backslashreplace", newline="\n")
        self._size = path.stat().st_size

    def _named(self, stamp: int) -> Path:
        seconds, rest = divmod(stamp, 1000)
        time = datetime.fromtimestamp(seconds, UTC)
        name = f"{self._base.stem}.{time:%Y%m%dT%H%M%SZ}.ms{rest:03}{self._base.suffix}"
        return self._base.with_name(name)

    def _files(self) -> Iterator[tuple[int, Path]]:
        """Yield the files that there are, each with its time in milliseconds."""
        stem, suffix = re.escape(self._base.stem), re.escape(self._base.suffix)
        form = re.compile(rf"{stem}\.([0-9]{{8}}T[0-9]{{6}})Z\.ms([0-9]{{3}}){suffix}")
        for each in self._base.parent.iterdir():
            if found := form.fullmatch(each.name):
                with contextlib.suppress(ValueError):  # a name like ours that tells no time
                    begun = datetime.strptime(found[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
                    yield round(begun.timestamp()) * 1000 + int(found[2]), each


def set_up(
    level: str,
    style: str,
    output: str,
    file: Path | None = None,
    *,
    services: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
    rotate: Rotation = Rotation(),  # noqa: B008 - it is a constant
    beside: Sequence[logging.Handler] = (),
) -> None:
    """Send the server's log where the settings say: `output` is stderr, stdout, file, journald, or
    eventlog, which only Windows has.

    `services` are levels of single parts that differ from `level`; what is `beside` gets it too.
    """
    handler: logging.Handler
    if output == "file" and file is not None and rotate.size:
        handler = RotatedFile(file, rotate)
    elif output == "file" and file is not None:
        handler = logging.FileHandler(file, encoding="utf-8", delay=True)
    elif output == "eventlog":
        handler = event_log(tags)
    else:
        handler = logging.StreamHandler(sys.stdout if output == "stdout" else sys.stderr)
    form = JsonLines(tags) if style == "json" else TextLines(tags)
    handler.setFormatter(JournaldLines(form) if output == "journald" else form)
    root = logging.getLogger(ROOT)
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    for each in (handler, *beside):
        root.addHandler(each)
    root.setLevel(LEVELS[level])
    root.propagate = False
    for name in list(logging.Logger.manager.loggerDict):
        if name.startswith(f"{ROOT}."):
            logging.getLogger(name).setLevel(logging.NOTSET)
    for name, other in (services or {}).items():
        logger(name).setLevel(LEVELS[other])
    logging.getLogger("apscheduler").setLevel(logging.CRITICAL)  # a late look around is no news


def event_log(tags: Mapping[str, str] | None = None) -> EventLog:
    """Return what writes into the Event Log of this machine. Raises OSError where it has none."""
    if sys.platform == "win32":
        from certeasy import eventlog  # noqa: PLC0415 - only there

        return EventLog(eventlog.write, tags)
    raise OSError("there is an Event Log on Windows only")


def _at(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
