"""Waiting for something to come to pass."""

import time
from collections.abc import Callable


def soon(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Return once something is so; fail after that many seconds."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not come to pass"
        time.sleep(0.01)
