"""The end of a server, and other settings for it: who may ask.

SIGTERM, SIGINT and, on Windows, Ctrl-Break ask for an orderly end. A second one means it: the
process ends at once, as the system would have done without us.

A signal's handler runs in the main thread, between any two steps of it, also in the midst of its
waiting. So whoever asks never waits for a lock: an `Event` that is set there would wait for the one
that the interrupted `wait` holds, for ever.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta

from certeasy.settings import Settings

LOOK_AROUND = 0.5
"""Seconds between two looks whether the server still lives; also what lets Windows see Ctrl-C."""


SPARE = timedelta(seconds=15)


def longest_stop(settings: Settings) -> timedelta:
    """Return how long a stop takes at most: what requests have, what jobs have, and some seconds.

    Who manages the service ends what has not ended by then.
    """
    return settings.server.shutdown_timeout + settings.workers.drain_timeout + SPARE


class _Bell:
    """A lock that is held until somebody rings: to release one takes no waiting."""

    def __init__(self) -> None:
        self._silence = threading.Lock()
        self._silence.acquire()

    def ring(self) -> None:
        """Ring it; it may ring already."""
        with contextlib.suppress(RuntimeError):  # a lock that is free
            self._silence.release()

    def silenced(self, seconds: float = 0) -> bool:
        """Return whether it rang within so long; it does not ring any more."""
        return self._silence.acquire(timeout=seconds)


class StopRequest:
    """Somebody wants us to stop. Set by a signal, by the Windows service, or by a test."""

    def __init__(self) -> None:
        self._bell = _Bell()
        self.reason = ""

    def ask(self, reason: str) -> None:
        """Ask for the end; `reason` goes into the log. The first one counts."""
        self.reason = self.reason or reason
        self._bell.ring()

    def asked_within(self, seconds: float) -> bool:
        """Wait for so long; return whether the end was asked for."""
        if not self._bell.silenced(seconds):
            return False
        self._bell.ring()  # it stays asked for
        return True

    def wait(self, alive: Callable[[], bool]) -> bool:
        """Wait until the end is asked for (True), or until `alive()` no longer holds (False)."""
        while not self.asked_within(LOOK_AROUND):
            if not alive():
                return False
        return True


class ReloadRequest:
    """Somebody wants the settings to be read again. Set by SIGHUP, by the Windows service, or by a
    test; several at once are one."""

    def __init__(self) -> None:
        self._bell = _Bell()

    def ask(self) -> None:
        """Ask for it."""
        self._bell.ring()

    def taken(self) -> bool:
        """Return whether it was asked for since the last time."""
        return self._bell.silenced()


@contextlib.contextmanager
def reload_on_hangup(request: ReloadRequest) -> Iterator[None]:
    """Let SIGHUP, where there is one, ask for the settings to be read again. For the main thread
    only."""
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is None:
        yield
        return
    before = signal.signal(hangup, lambda _number, _frame: request.ask())
    try:
        yield
    finally:
        signal.signal(hangup, before)


@contextlib.contextmanager
def stop_on_signals(request: StopRequest) -> Iterator[None]:
    """Let the signals that end a process ask `request` first. For the main thread only."""
    numbers = [signal.SIGTERM, signal.SIGINT]
    if hasattr(signal, "SIGBREAK"):
        numbers.append(signal.SIGBREAK)

    def first(number: int, _: object) -> None:
        # The second one finds what the system does by itself.
        signal.signal(number, signal.SIG_DFL)
        request.ask(signal.Signals(number).name)

    before = {number: signal.signal(number, first) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
