r"""Windows for a test, as far as Debian's wine is it: a Windows Python with this checkout in it.

    with windows(folder) as machine:
        machine.python("-m", "certeasy", "--version")         # what it wrote
        with machine.running("-m", "certeasy", "serve", ...) as program:
            ...                                               # program.said, until its end
        machine.path(file)                                    # Z:\..., how Windows names a file

The Python, official Windows binaries from a package, and everything for it come by hash
(requirements/wine*.txt) into `.venv/windows`, once. Each machine has a registry, services and
drives of its own, and is gone with its block. `make interop` installs wine and a C compiler.

What wine 8 lacks is put beside it: `ProcessPrng`, which cryptography asks for randomness.
"""

import fcntl
import hashlib
import os
import select
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.make.acme_client import QUIET_ENV, program
from tests.make.waiting import soon

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".venv/windows"
WHEELS = ROOT / "requirements/wine.txt"
SOURCES = ROOT / "requirements/wine-sources.txt"  # what is published as source alone
LOOK = 50  # milliseconds
PRIVATE = 0o077  # wine makes modes of access lists, as far as these bits let it
WITHIN = 120.0  # of a machine that does much else
FOR_WINDOWS = "--platform win_amd64 --python-version 3.11 --implementation cp --only-binary :all:"
PRNG = """\
#include <stddef.h>
__declspec(dllimport) unsigned char __stdcall SystemFunction036(void *, unsigned long);
__declspec(dllexport) int __stdcall ProcessPrng(unsigned char *data, size_t length) {
  return SystemFunction036(data, (unsigned long)length);
}
"""
PATHS = ["python311.zip", ".", "win32", r"win32\lib", "import site"]

# Nobody can press Ctrl-Break here: the end of its input does it for a program.
UNTIL_END_OF_INPUT = """\
import signal, sys, threading
def wait():
    sys.stdin.read()
    signal.raise_signal(signal.SIGBREAK)
threading.Thread(target=wait, daemon=True).start()
from certeasy.cli import main
main()
"""


class Running:
    """A program under wine; `said` grows while it runs.

    What it has said ends with the program, not with the pipe: wine starts programs of its own
    when one first needs them (a console, a desktop, services), which keep a hold of what was the
    first one's stderr, for as long as they please.
    """

    def __init__(self, command: Sequence[str], env: dict[str, str]) -> None:
        self._heard = bytearray()
        # Windows' Python wants pipes: it cannot make anything of a Unix file for its output.
        self.process = subprocess.Popen(
            command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, umask=PRIVATE,
        )  # fmt: skip
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()

    @property
    def said(self) -> str:
        """What it has written so far."""
        return self._heard.decode("utf-8", "replace").replace("\r\n", "\n")

    def _listen(self) -> None:
        assert self.process.stdout
        with self.process.stdout as written:
            look = select.poll()
            look.register(written, select.POLLIN)
            while True:
                over = self.process.poll() is not None  # before the look: all it said is there then
                if look.poll(0 if over else LOOK):
                    if not (more := os.read(written.fileno(), 1 << 16)):
                        return
                    self._heard += more
                elif over:
                    return

    def ended(self, within: float = WITHIN) -> int:
        """End its input, wait for its end and return its exit code."""
        assert self.process.stdin
        self.process.stdin.close()
        try:
            code = self.process.wait(within)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"it did not end:\n{self.said}") from None
        self._listening.join()
        return code


class Windows:
    """A machine. `inside` makes of a command line that of a process in another network."""

    def __init__(
        self, folder: Path, inside: Callable[..., list[str]] | None = None, **env: str
    ) -> None:
        self._inside = inside or (lambda *words: list(words))
        self._env = QUIET_ENV | {
            "HOME": str(folder),
            "WINEPREFIX": str(folder / "prefix"),
            "WINEARCH": "win64",
            "WINEDEBUG": "-all",
            "WINEDLLOVERRIDES": "mscoree,mshtml=",  # else it offers to download .NET and a browser
            **env,
        }
        self._folder = folder
        nowhere = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        self._quietly: dict[str, Any] = {"env": self._env, **nowhere}

    def start(self) -> None:
        """Start a program that stays: the first one has wine make the machine, and its services end
        with the last one.

        Wine has words of its own before that one's. Who began then would make the machine beside
        it, and its services would have that one's output.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        code = "import sys; print('up', flush=True); sys.stdin.read()"
        python = [program("wine"), str(HOME / "python.exe")]
        self._staying = Running(self._inside(*python, "-c", code), self._env)
        soon(lambda: self._staying.said.endswith("up\n"), 2 * WITHIN)

    def stop(self) -> None:
        """End every program there is."""
        end = self._inside(program("wineserver"), "-k")
        subprocess.run(end, **self._quietly, check=False, timeout=WITHIN)
        self._staying.ended()

    def path(self, file: Path) -> str:
        """Return how Windows names a file of this machine's."""
        return "Z:" + str(file.absolute()).replace("/", "\\")

    def wine(self, *words: str, ends_with: Sequence[int] = (0,), **env: str) -> str:
        """Run a program and return what it wrote."""
        run = Running(self._inside(program("wine"), *words), {**self._env, **env})
        code = run.ended(2 * WITHIN)
        assert code in ends_with, f"{words} ended with {code}:\n{run.said}"
        return run.said

    def python(self, *words: str, ends_with: Sequence[int] = (0,), **env: str) -> str:
        """Run Windows' Python and return what it wrote."""
        return self.wine(str(HOME / "python.exe"), *words, ends_with=ends_with, **env)

    def certeasy(self, *words: str, ends_with: Sequence[int] = (0,)) -> str:
        """Run a command of ours."""
        return self.python("-m", "certeasy", *words, ends_with=ends_with)

    @contextmanager
    def running(self, *words: str) -> Iterator[Running]:
        """Run a command of ours that serves, until the end of the block; then it must end well."""
        command = [program("wine"), str(HOME / "python.exe"), "-c", UNTIL_END_OF_INPUT, *words]
        run = Running(self._inside(*command), self._env)
        try:
            yield run
        finally:
            code = run.ended()
        assert code == 0, f"{words} ended with {code}:\n{run.said}"


@contextmanager
def windows(
    folder: Path, inside: Callable[..., list[str]] | None = None, **env: str
) -> Iterator[Windows]:
    """Run a machine whose registry and drive C: are in a folder."""
    install()
    machine = Windows(folder, inside, **env)
    machine.start()
    try:
        yield machine
    finally:
        machine.stop()


def install() -> None:
    """Put Windows' Python and its packages in place, unless they are."""
    HOME.parent.mkdir(exist_ok=True)
    with HOME.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run side by side
        own = "\n".join([PRNG, *PATHS, FOR_WINDOWS]).encode()
        made_of = [WHEELS.read_bytes(), SOURCES.read_bytes(), own]
        digest = hashlib.sha256(b"\0".join(made_of)).hexdigest()
        stamp = HOME / "installed"
        if stamp.exists() and stamp.read_text() == digest:
            return
        shutil.rmtree(HOME, ignore_errors=True)
        _pip("--no-build-isolation", "--requirement", str(SOURCES))
        _pip(*FOR_WINDOWS.split(), "--requirement", str(WHEELS))
        for dll in HOME.glob("pywin32_system32/*.dll"):
            shutil.copy(dll, HOME)
        _compile(PRNG, HOME / "bcryptprimitives.dll")
        here = "Z:" + str(ROOT).replace("/", "\\")
        (HOME / "python311._pth").write_text("\n".join([*PATHS[:2], here, *PATHS[2:]]) + "\n")
        stamp.write_text(digest)


def _pip(*words: str) -> None:
    command = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    command += ["--no-deps", "--require-hashes", "--root-user-action=ignore"]
    subprocess.run([*command, "--target", str(HOME), *words], check=True, timeout=300)


def _compile(source: str, dll: Path) -> None:
    compiler = program("x86_64-w64-mingw32-gcc")
    command = [compiler, "-shared", "-x", "c", "-o", str(dll), "-", "-ladvapi32"]
    subprocess.run(command, input=source.encode(), check=True, timeout=60)
