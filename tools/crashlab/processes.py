"""What befalls processes: stopped for a while, started twice, killed when newborn, crowded.

Faults are functions as `faults` describes them.
"""

import random
import shutil
import signal
import time
from pathlib import Path

from certeasy.store import LEASE_SECONDS
from tools.crashlab.lab import lab
from tools.crashlab.ledger import ISSUED
from tools.crashlab.server import Server
from tools.crashlab.trouble import NotHeld

STOPS = 40
BIRTHS = 12
CROWD = 4


def frozen(folder: Path, clients: int, seed: str) -> str:
    """SIGSTOP for longer than the lease, and a second server that sees its chance meanwhile."""
    with lab(Server(folder / "first"), clients, seed) as at:
        at.issue(10)
        at.server.signal(signal.SIGSTOP)
        begun = time.monotonic()
        said = _second_server(folder / "second", at.server)
        time.sleep(max(0.0, LEASE_SECONDS + 2 - (time.monotonic() - begun)))
        at.server.signal(signal.SIGCONT)
        frozen_for = time.monotonic() - begun
        at.issue(20)
        at.settle()
    return f"frozen for {frozen_for:.0f} s; the second server said: {said}"


def stutter(folder: Path, clients: int, seed: str) -> str:
    """SIGSTOP and SIGCONT at random instants: no answer may overtake what it is about."""
    chance = random.Random(seed)  # noqa: S311 - repeatable
    with lab(Server(folder), clients, seed) as at:
        at.crew.begin()
        for _ in range(STOPS):
            time.sleep(chance.uniform(0.01, 0.15))
            at.server.signal(signal.SIGSTOP)
            at.look()
            time.sleep(chance.uniform(0, 0.1))
            at.server.signal(signal.SIGCONT)
        at.settle()
        return f"stopped {STOPS} times, {at.ledger.counts[ISSUED]} certificates"


def second(folder: Path, clients: int, seed: str) -> str:
    """A second server on the same configuration, workdir or database, and a copied workdir."""
    said: dict[str, str] = {}
    with lab(Server(folder / "first"), clients, seed) as at:
        first = at.server
        at.issue(5)
        same = Server(folder / "same")
        same.config = first.config
        said["is using"] = same.refused()
        other = Server(folder / "other", journal=first.journal, database=first.database)
        other.workdir = first.workdir
        other.configure()
        said["workdir"] = other.refused()
        said["database"] = _second_server(folder / "second", first)
        at.issue(5)
        at.crew.rest()
        first.stop()
        _run_a_copy(folder / "copy", first)
        said["copy"] = first.refused()
    for expected, words in said.items():
        if expected not in words:
            raise NotHeld(f"the refusal does not speak of {expected!r}: {words}")
    return "refused: " + " / ".join(said.values())


def _run_a_copy(folder: Path, first: Server) -> None:
    """Let a copy of the workdir run for a moment, on the same database."""
    copy = Server(folder, database=first.database)
    shutil.copytree(first.workdir, copy.workdir, dirs_exist_ok=True)
    try:
        copy.start()
        copy.wait_ready()
        copy.stop()
    finally:
        copy.kill()


def _second_server(folder: Path, first: Server) -> str:
    """Start a server of another workdir on the first one's database; return its refusal."""
    return Server(folder, database=first.database).refused()


def birth(folder: Path, clients: int, seed: str) -> str:
    """kill -9 in the first start of a workdir, which makes keys, tables and the CA."""
    chance, kills = random.Random(seed), 0  # noqa: S311 - repeatable
    for number in range(BIRTHS):
        server = Server(folder / str(number))
        for _ in range(chance.randrange(1, 4)):
            server.start()
            time.sleep(chance.uniform(0.3, 1.0))
            server.check_alive()
            server.kill()
            kills += 1
        try:
            server.start()
            server.wait_ready()
            server.check_command("audit", "verify")
            server.stop()
        finally:
            server.kill()
    with lab(Server(folder / "last"), clients, seed) as at:
        at.issue(5)
        at.settle()
    return f"{kills} kills in {BIRTHS} first starts"


def crowd(folder: Path, clients: int, seed: str) -> str:
    """Many more clients, and a kill in the middle: big batches."""
    with lab(Server(folder), clients * CROWD, seed) as at:
        at.issue(40)
        at.server.kill()
        at.look()
        at.restart()
        at.issue(40)
        at.settle()
        retries = at.ledger.counts["retries"]
    return f"{clients * CROWD} clients, {retries} retries"
