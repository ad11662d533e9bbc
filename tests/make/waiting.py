"""Waiting for something to come to pass."""

import time
from collections.abc import Callable
from pathlib import Path


def soon(
    condition: Callable[[], object], seconds: float = 10.0, *, told: Path | None = None
) -> None:
    """Return once something is so; fail after that many seconds, with what a log file tells."""
    ends = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > ends:
            raise AssertionError("it did not come to pass" if told is None else told.read_text())
        time.sleep(0.01)
