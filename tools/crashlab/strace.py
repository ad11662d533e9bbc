"""Errors and kills at named system calls, which `strace` puts into a server that runs. Linux only.

For a while `strace` holds the process and lets one kind of call on one file fail, or kills the
process as it enters the call: before the database's sync, before the journal's write, before its
sync. Faults are functions as `faults` describes them.
"""

import contextlib
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.crashlab.lab import Lab, lab
from tools.crashlab.server import Server
from tools.crashlab.trouble import LeftOut, NotHeld

RED_SECONDS = 60.0
GREEN_SECONDS = 60.0
ATTACH_SECONDS = 5.0
DIE_SECONDS = 30.0
FIRST_CALLS = 40
SYNCS = "fsync,fdatasync,rename"
Prepare = Callable[[Server], None]
ERRORS = (
    ("journal", "fdatasync", "EIO"),
    ("journal", "pwrite64", "EIO"),
    ("journal", "pwrite64", "ENOSPC"),
    ("wal", "fdatasync", "EIO"),
    ("wal", "pwrite64", "EIO"),
    ("wal", "pwrite64", "ENOSPC"),
)
KILLS = (
    ("wal", "pwrite64"),
    ("wal", "fdatasync"),
    ("journal", "pwrite64"),
    ("journal", "fdatasync"),
)


def errors(folder: Path, clients: int, seed: str) -> str:
    """Every write or sync of one file fails for a while; then the disk is well again."""
    said = []
    with lab(Server(folder), clients, seed) as at:
        for file, call, error in ERRORS:
            at.issue(5)
            with injected(at.server, file, call, f"error={error}:when=3+"):
                red = at.server.wait_red(RED_SECONDS)
                at.look()
                time.sleep(1)
            at.recover(GREEN_SECONDS)
            said.append(f"{error} at {call} of the {file}: {red}")
            at.issue(5)
            at.verify()
        at.settle()
    return "; ".join(said)


def now_and_then(folder: Path, clients: int, seed: str) -> str:
    """One call in so many fails, of each kind in turn."""
    with lab(Server(folder), clients, seed) as at:
        for file, call, error in ERRORS:
            at.crew.begin()
            with injected(at.server, file, call, f"error={error}:when=5+23"):
                time.sleep(4)
            at.recover(GREEN_SECONDS)
            at.look()
        at.settle()
        caught = at.server.log.read_text().count("caught up")
    return f"{len(ERRORS)} kinds of errors; the journal was caught up {caught} times"


def steps(folder: Path, clients: int, seed: str, times: int = 3) -> str:
    """kill -9 as the server enters a call: the steps of a commit, one by one."""
    chance, behind = random.Random(seed), []  # noqa: S311 - repeatable
    with lab(Server(folder), clients, seed) as at:
        for file, call in KILLS * times:
            at.issue(3)
            when = chance.randrange(1, FIRST_CALLS)
            with injected(at.server, file, call, f"signal=KILL:when={when}"):
                _wait_dead(at)
            kept = at.look()
            behind.append(f"{call} of the {file}: journal behind by {kept.behind}")
            at.restart()
            at.verify()
        at.settle()
    return "; ".join(behind)


def starts(folder: Path, _clients: int, _seed: str) -> str:
    """kill -9 at every sync and every rename of a first start, and of the start after it."""
    killed = 0
    for kind, prepare in (("first", _nothing), ("next", _one_start)):
        for file in ("", "journal", "wal"):
            number = 1
            while _killed_start(folder / f"{kind}-{file}-{number}", prepare, file, number):
                number += 1
            killed += number - 1
    return f"{killed} starts were killed, each at another call; the next one always succeeded"


def _nothing(_server: Server) -> None:
    pass


def _one_start(server: Server) -> None:
    server.start()
    server.wait_ready()
    server.kill()


def _killed_start(folder: Path, prepare: Prepare, file: str, number: int) -> bool:
    """Kill a start at its nth call on a file, or on any, and start again; False if it came up."""
    server = Server(folder)
    try:
        prepare(server)
        server.start(*_strace(server, file, SYNCS, f"signal=KILL:when={number}"), "-D")
        killed = _dies_before_it_is_ready(server)
        server.kill()
        server.start()
        server.wait_ready()
        server.check_command("audit", "verify")
        server.check_command("projections", "check")
        server.stop()
    finally:
        server.kill()
    if surprises := server.surprises():
        raise NotHeld(f"killed at call {number} on {file or 'any file'}: {surprises[0]}")
    return killed


def _dies_before_it_is_ready(server: Server) -> bool:
    try:
        server.wait_ready()
    except NotHeld:
        if server.process is not None and server.process.poll() == -signal.SIGKILL:
            return True
        raise
    return False


def _wait_dead(at: Lab) -> None:
    process = at.server.process
    assert process is not None
    at.crew.begin()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(DIE_SECONDS)
        at.server.process = None
        return
    raise NotHeld("the server makes none of the calls it was to be killed at")


@contextmanager
def injected(server: Server, file: str, call: str, what: str) -> Iterator[None]:
    """Let `strace` do something to calls on a file until the end of the block. Raises LeftOut."""
    words = [*_strace(server, file, call, what), "-p", str(server.pid)]
    process = subprocess.Popen(  # noqa: S603 - a program of the system, our own words
        words, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    try:
        _wait_attached(process, server.pid)
        yield
    finally:
        process.terminate()
        _, said = process.communicate()
    if process.returncode not in (0, 143, -15) and b"attach" in said:
        raise LeftOut(f"strace may not: {said.decode().strip()}")


def _strace(server: Server, file: str, call: str, what: str) -> list[str]:
    """Return the command that does something to calls, on one file if it is named."""
    program = shutil.which("strace")
    if program is None:
        raise LeftOut("there is no strace here: apt-get install strace")
    path = {"journal": server.journal, "wal": Path(f"{server.database}-wal")}.get(file)
    only = [] if path is None else ["-P", str(path)]
    traced = ["-e", f"trace={call}", "-e", f"inject={call}:{what}"]
    return [program, "-f", "-q", *only, *traced, "-o", str(server.folder / "strace.log")]


def _wait_attached(process: "subprocess.Popen[bytes]", pid: int) -> None:
    status = Path(f"/proc/{pid}/status")
    ends = time.monotonic() + ATTACH_SECONDS
    while time.monotonic() < ends:
        if f"TracerPid:\t{process.pid}\n" in status.read_text():
            return
        if process.poll() is not None:
            said = process.stderr.read().decode().strip() if process.stderr else ""
            raise LeftOut(f"strace may not: {said}")
        time.sleep(0.02)
    raise LeftOut("strace does not get hold of the server")
