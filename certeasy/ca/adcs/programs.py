"""Windows' own programs for a CA, certreq and certutil, run one at a time and to an end.

What holds whatever is run:

1. No shell. Every argument is a word of its own; whatever comes from settings or requests stands
   behind the option it belongs to, or is refused if it could be taken for one.
2. An end: a program that has not ended at the deadline is killed.
3. Files: a folder of its own for each run, that nobody else can read, and nothing of it stays.
4. Only codes count: the exit code, and the codes and numbers in what was printed. Its texts are in
   Windows' language.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from msgspec import Struct

from certeasy.ca.adcs.deadline import Deadline, Late
from certeasy.ca.adcs.errors import AnswerLost, NotReached
from certeasy.settings.adcs import AdcsCliSettings

SYSTEM = Path(r"C:\Windows\System32")
MOST_PRINTED = 1 << 16
KILLED_WITHIN = 5
_CODE = re.compile(r"\b0x([89a-f][0-9a-f]{7})\b", re.IGNORECASE)
_NUMBER = re.compile(r'^[^:\r\n]*:\s*"?(\d{1,10})"?\s*$', re.MULTILINE)
_SEVERE = 0x8000_0000


class Ended(Struct, frozen=True):
    """A program that came to its end. `exit_code` is without a sign; `printed` is for people."""

    exit_code: int
    printed: str

    @property
    def code(self) -> int | None:
        """The HRESULT that it ended with: its exit code, or the last one it printed; None: none."""
        if self.exit_code & _SEVERE:
            return self.exit_code
        found = _CODE.findall(self.printed)
        return int(found[-1], 16) if found else None

    @property
    def request_id(self) -> int:
        """The number of the request: the first number that stands alone behind a colon; 0: none."""
        found = _NUMBER.search(self.printed)
        return int(found[1]) if found else 0


class Programs:
    """Runs them, in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def files(self) -> Iterator[Path]:
        """Have a folder for one run; what is left of earlier ones is nobody's. Raises NotReached
        where there is no room for one."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            place = Path(tempfile.mkdtemp(prefix="run-", dir=self._folder))
        except OSError as error:
            raise _no_room(self._folder, error) from None
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def clear(self) -> None:
        """Throw away what runs left behind that a crash has ended."""
        for left in self._folder.glob("run-*"):
            shutil.rmtree(left, ignore_errors=True)

    def run(self, program: Path, words: Sequence[str], place: Path, deadline: Deadline) -> Ended:
        """Run a program to its end, in a folder.

        Raises NotReached if it cannot be started, AnswerLost if it had to be killed.
        """
        try:
            limit = deadline.remaining()
        except Late as late:
            raise NotReached("connect", f"{program.name} was not run: {late}") from None
        output = place / "printed"
        running = _started([str(program), *words], output, place)
        try:
            exit_code = running.wait(limit)
        except subprocess.TimeoutExpired:
            _end(running)
            what = f"{program.name} did not end within {deadline.seconds:g} s, and was ended"
            raise AnswerLost("rpc", what) from None
        except BaseException:
            _end(running)
            raise
        try:
            with output.open("rb") as printed:
                # Of Windows' code pages only ASCII is needed.
                text = printed.read(MOST_PRINTED).decode("ascii", "replace")
        except OSError as error:
            what = f"what {program.name} printed cannot be read: {error.strerror}"
            raise AnswerLost("rpc", what) from None
        return Ended(exit_code & 0xFFFF_FFFF, text)


def _started(words: Sequence[str], output: Path, place: Path) -> "subprocess.Popen[bytes]":
    """Return a program that runs. Raises NotReached if it does not."""
    try:
        with output.open("wb") as printed:
            return subprocess.Popen(  # noqa: S603 - (1): no shell, and words of our own
                words,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                cwd=place,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
    except OSError as error:
        raise NotReached("connect", f"{words[0]} cannot be run: {error.strerror}") from None


def _end(running: "subprocess.Popen[bytes]") -> None:
    """Kill a program; one that does not even end by that is left behind."""
    running.kill()
    with suppress(subprocess.TimeoutExpired):
        running.wait(KILLED_WITHIN)


def _no_room(path: Path, error: OSError) -> NotReached:
    return NotReached("connect", f"{path} cannot be written: {error.strerror}; nothing was run")


def programs_of(settings: AdcsCliSettings) -> tuple[Path, Path]:
    """Return where certreq and certutil are."""
    certreq = settings.certreq_path or SYSTEM / "certreq.exe"
    return certreq, settings.certutil_path or SYSTEM / "certutil.exe"


def write_private(path: Path, data: bytes) -> None:
    """Write a new file that nobody else can read. Raises NotReached if it cannot be written."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
    except OSError as error:
        raise _no_room(path, error) from None


def word(value: str) -> str:
    """Return a value from outside as an argument. Raises ValueError if it might be an option."""
    if value.startswith(("-", "/")) or not value.isprintable():
        raise ValueError(f"{value!r} would be an option to a program")
    return value
