"""What befalls disks: full, filled and freed by others, limited, read-only.

Faults are functions as `faults` describes them.
"""

import random
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.crashlab.lab import Lab, lab
from tools.crashlab.mounts import fill, read_only, small_disk
from tools.crashlab.server import Server

MIN_FREE = 1 << 16
DISK = 24 << 20
NOTHING_GROWS = 4096
RED_SECONDS = 60.0
GREEN_SECONDS = 60.0
NEIGHBOUR_SECONDS = 10.0


def full(folder: Path, clients: int, seed: str) -> str:
    """The journal's disk fills up, and has room again later."""
    with small_disk(folder / "disk", DISK) as disk:
        server = Server(folder / "lab", journal=disk / "audit.log", min_free_bytes=MIN_FREE)
        with lab(server, clients, seed) as at:
            at.issue(5)
            ballast = fill(disk, leave=MIN_FREE // 2)
            said = server.wait_red(RED_SECONDS)
            at.look()
            time.sleep(1)
            ballast.unlink()
            green = at.recover(GREEN_SECONDS)
            at.issue(10)
            at.settle()
    return f"red ({said}), green {green:.1f} s after there was room"


def neighbour(folder: Path, clients: int, seed: str) -> str:
    """Somebody else fills the journal's disk and frees it, many times a second."""
    chance = random.Random(seed)  # noqa: S311 - repeatable
    with small_disk(folder / "disk", DISK) as disk:
        server = Server(folder / "lab", journal=disk / "audit.log", min_free_bytes=MIN_FREE)
        with lab(server, clients, seed) as at:
            at.crew.begin()
            ends, times = time.monotonic() + NEIGHBOUR_SECONDS, 0
            while time.monotonic() < ends:
                ballast = fill(disk)
                time.sleep(chance.uniform(0, 0.01))
                ballast.unlink()
                time.sleep(chance.uniform(0, 0.03))
                times += 1
            at.recover(GREEN_SECONDS)
            at.issue(10)
            at.settle()
            caught = server.log.read_text().count("caught up")
    return f"full {times} times; the journal was caught up {caught} times"


def limit(folder: Path, clients: int, seed: str) -> str:
    """RLIMIT_FSIZE in the middle of a line: the journal is torn while the server runs."""
    torn_off, said = 0, ""
    with lab(Server(folder), clients, seed) as at:
        _outgrow(at)
        for more in (1, 700, 5000):
            with _file_size(at.server.pid, at.server.journal.stat().st_size + more):
                said = at.server.wait_red(RED_SECONDS)
                torn_off += at.look().torn
                time.sleep(1)
            at.recover(GREEN_SECONDS)
            at.issue(5)
        at.settle()
    return f"3 times torn ({torn_off} bytes), each time caught up; red: {said}"


def _outgrow(at: Lab) -> None:
    """Make the journal longer than the database's write-ahead log will be for a while."""
    at.issue(60)
    at.crew.rest()
    at.server.stop()
    at.restart()
    at.crew.begin()


@contextmanager
def _file_size(pid: int, size: int) -> Iterator[None]:
    """Let a process write no file beyond `size` bytes; Python ignores SIGXFSZ: it gets EFBIG."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


def database(folder: Path, clients: int, seed: str) -> str:
    """No file can grow at all: the database refuses first, and nobody is told anything but 503."""
    with lab(Server(folder), clients, seed) as at:
        at.issue(5)
        with _file_size(at.server.pid, NOTHING_GROWS):
            said = at.server.wait_red(RED_SECONDS)
            at.look()
            time.sleep(2)
        at.recover(GREEN_SECONDS)
        at.issue(10)
        at.settle()
    return f"red: {said}"


def readonly(folder: Path, clients: int, seed: str) -> str:
    """The journal's folder becomes read-only, with the journal open, and after an error."""
    with small_disk(folder / "disk", DISK) as disk:
        server = Server(folder / "lab", journal=disk / "audit.log", min_free_bytes=MIN_FREE)
        with lab(server, clients, seed) as at:
            _outgrow(at)
            with read_only(disk):
                with _file_size(server.pid, server.journal.stat().st_size + 100):
                    server.wait_red(RED_SECONDS)
                time.sleep(2)
                said = server.wait_red(1)
                at.look()
            at.recover(GREEN_SECONDS)
            at.issue(5)
            server.kill()
            with read_only(disk):
                words = server.refused()
            at.restart()
            at.issue(5)
            at.settle()
    return f"red: {said}; a start on it: {words}"
