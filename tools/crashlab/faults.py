"""What else can happen to a server: each fault by real means, in a lab of its own.

A fault is a function of (folder, clients, seed) that returns a sentence about what was seen. It
raises NotHeld if a promise was broken, LeftOut where this machine cannot do it. All of them end
alike: the clients get what they ordered, and `Lab.settle` finds nothing wrong.
"""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from tools.crashlab import disks, processes, strace, tails
from tools.crashlab.trouble import LeftOut, NotHeld

HELD, LEFT_OUT, NOT_HELD = "held", "left out", "NOT HELD"
Fault = Callable[[Path, int, str], str]

FAULTS: dict[str, Fault] = {
    "birth": processes.birth,
    "stutter": processes.stutter,
    "frozen": processes.frozen,
    "second": processes.second,
    "crowd": processes.crowd,
    "torn": tails.torn,
    "thief": tails.thief,
    "full": disks.full,
    "neighbour": disks.neighbour,
    "limit": disks.limit,
    "readonly": disks.readonly,
    "database": disks.database,
}
BY_STRACE: dict[str, Fault] = {
    "errors": strace.errors,
    "now-and-then": strace.now_and_then,
    "steps": strace.steps,
    "starts": strace.starts,
}


class Outcome(msgspec.Struct):
    """What came of a fault: `held`, `left out` or `NOT HELD`, and a sentence about it."""

    fault: str
    outcome: str
    said: str
    seconds: float

    def __str__(self) -> str:
        """Return it on one line."""
        return f"{self.fault}: {self.outcome} ({self.seconds:.0f} s): {self.said}"


def run(name: str, folder: Path, *, clients: int, seed: str) -> Outcome:
    """Do a fault in a new folder, which is removed if everything held."""
    fault, begun = (FAULTS | BY_STRACE)[name], time.monotonic()
    folder.mkdir()
    try:
        outcome, said = HELD, fault(folder, clients, seed)
        shutil.rmtree(folder)
    except LeftOut as reason:
        outcome, said = LEFT_OUT, str(reason)
    except NotHeld as broken:
        outcome, said = NOT_HELD, f"{broken}; everything is left as it was in {folder}"
    return Outcome(name, outcome, said, round(time.monotonic() - begun, 1))
