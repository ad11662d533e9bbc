"""Which authorities are better not asked just now, as far as this process knows.

An authority that cannot be used rests: for fifteen seconds, and twice as long after every further
failure, up to five minutes. When its rest is over it is asked once; while that request is under way
the others still keep away from it, so that a CA that answers nobody holds up one worker, not all of
them. What answers is in use again at once.

This is a matter of speed alone: a wrong guess costs a detour, never a second certificate.
"""

import threading
from datetime import timedelta

from msgspec import Struct

from certeasy.clock import Clock
from certeasy.log import logger

FIRST_REST = timedelta(seconds=15)
LONGEST_REST = timedelta(minutes=5)

log = logger("authority")


class _Rest(Struct):
    """Failures in a row, and until when (monotonic) nobody asks."""

    failures: int
    until: float

    @property
    def length(self) -> float:
        doubled: float = FIRST_REST.total_seconds() * 2 ** min(self.failures - 1, 8)
        return min(doubled, LONGEST_REST.total_seconds())


class Breakers:
    """The authorities' health as this process has met it. Threads share it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._resting: dict[str, _Rest] = {}

    def available(self, name: str) -> bool:
        """Whether an authority is worth asking: nothing speaks against it, or its rest is over."""
        with self._lock:
            rest = self._resting.get(name)
            return rest is None or rest.until <= self._clock.monotonic()

    def asking(self, name: str) -> None:
        """Note that an authority is about to be asked: if it rested, by this request alone."""
        with self._lock:
            if (rest := self._resting.get(name)) is not None:
                rest.until = self._clock.monotonic() + rest.length

    def failed(self, name: str, reason: str) -> None:
        """Note that an authority could not be used, or did not answer."""
        with self._lock:
            rest = self._resting.setdefault(name, _Rest(0, 0.0))
            rest.failures += 1
            rest.until = self._clock.monotonic() + rest.length
            length = rest.length
        log.warning("authority %s is left alone for %d s: %s", name, length, reason)

    def answered(self, name: str) -> None:
        """Note that an authority answered, whatever it said."""
        with self._lock:
            rest = self._resting.pop(name, None)
        if rest is not None:
            log.info("authority %s answers again", name)
