"""Which authorities are better not asked just now, as far as this process knows.

An authority that cannot be used rests: for fifteen seconds, and twice as long after every further
failure, up to five minutes. When its rest is over it is asked once; while that request is under way
the others still keep away from it, so that a CA that answers nobody holds up one worker, not all of
them. What answers is in use again at once.

A probe that succeeds ends the rest of an authority that did not answer the probe before. Where it
was a request that failed, it only ends the rest: one that can be reached may still be unable to
sign, and the next request tells.

Answers overtake each other. What a call has to say that began before the last change is old: a
failure of that time is the one that is known, and an answer only ends the rest, as a probe does.

This is a matter of speed alone: a wrong guess costs a detour, never a second certificate.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import timedelta

from msgspec import Struct

from certeasy.clock import Clock
from certeasy.log import logger

FIRST_REST = timedelta(seconds=15)
LONGEST_REST = timedelta(minutes=5)

log = logger("authority")


class Sickness(Struct, frozen=True):
    """Why an authority rests; `code` is its own, if it gave one."""

    reason: str
    code: str = ""


class _Rest(Struct):
    """Failures in a row, until when (monotonic) nobody asks, and why; and whether the last one was
    a probe's."""

    failures: int
    until: float
    why: Sickness
    of_probe: bool = False

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
        self._answered: dict[str, float] = {}
        self._changes: Counter[str] = Counter()
        self.changed: Callable[[str], None] = lambda _name: None
        """Told of an authority that begins to rest, or answers again; by whoever noticed."""

    def available(self, name: str) -> bool:
        """Whether an authority is worth asking: nothing speaks against it, or its rest is over."""
        with self._lock:
            rest = self._resting.get(name)
            return rest is None or rest.until <= self._clock.monotonic()

    def rest(self, names: Iterable[str]) -> timedelta:
        """Return how long it is until the first of some authorities is worth asking."""
        now = self._clock.monotonic()
        with self._lock:
            ends = [rest.until if (rest := self._resting.get(name)) else now for name in names]
        return timedelta(seconds=max(0.0, min(ends, default=now) - now))

    def sickness(self, name: str) -> Sickness | None:
        """Return why an authority could not be used when it was last asked; None: it is well."""
        with self._lock:
            rest = self._resting.get(name)
            return None if rest is None else rest.why

    def answered_within(self, name: str, time: timedelta) -> bool:
        """Whether an authority has answered so short a time ago."""
        with self._lock:
            last = self._answered.get(name)
            return last is not None and self._clock.monotonic() - last < time.total_seconds()

    def asking(self, name: str) -> int:
        """Note that an authority is about to be asked: if it rested, by this call alone. Return
        when that was, in changes; its outcome is told with it."""
        with self._lock:
            if (rest := self._resting.get(name)) is not None:
                rest.until = self._clock.monotonic() + rest.length
            return self._changes[name]

    def probed(self, name: str, asked: int) -> None:
        """Note that an authority answered a probe."""
        with self._lock:
            rest = self._resting.get(name)
            if rest is not None and not rest.of_probe:
                rest.until = min(rest.until, self._clock.monotonic())
                return
        self.answered(name, asked)

    def failed(
        self, name: str, asked: int, reason: str, code: str | None = None, *, of_probe: bool = False
    ) -> None:
        """Note that an authority could not be used, or did not answer."""
        with self._lock:
            if asked != self._changes[name]:
                return
            self._changes[name] += 1
            why = Sickness(reason, code or "")
            known = name in self._resting
            rest = self._resting.setdefault(name, _Rest(0, 0.0, why))
            rest.failures += 1
            rest.why, rest.of_probe = why, of_probe
            rest.until = self._clock.monotonic() + rest.length
            length = rest.length
        log.warning("authority %s is left alone for %d s: %s", name, length, reason)
        if not known:
            self.changed(name)

    def answered(self, name: str, asked: int) -> None:
        """Note that an authority answered, whatever it said."""
        with self._lock:
            rest = self._resting.get(name)
            if rest is not None and asked != self._changes[name]:
                rest.until = min(rest.until, self._clock.monotonic())
                return
            self._answered[name] = self._clock.monotonic()
            if rest is not None:
                del self._resting[name]
                self._changes[name] += 1
        if rest is not None:
            log.info("authority %s answers again", name)
            self.changed(name)
