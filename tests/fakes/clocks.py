"""Clocks that a test moves."""

from datetime import UTC, datetime, timedelta

from certeasy.clock import SystemClock


class HeldClock:
    """A real `Clock` whose hands only a test moves; `monotonic` moves with `pass_by` alone."""

    def __init__(self, start: datetime = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)) -> None:
        self._now = start
        self._monotonic = 0.0

    def now(self) -> datetime:
        """Return the time that was set."""
        return self._now

    def monotonic(self) -> float:
        """Return how many seconds have passed by."""
        return self._monotonic

    def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds

    def set_to(self, now: datetime) -> None:
        """Set the time of day, as an operator or NTP would; no time passes."""
        self._now = now


class MovedClock:
    """The system's clock, ahead by as much as a test has let pass by."""

    def __init__(self) -> None:
        self._system = SystemClock()
        self._ahead = 0.0

    def now(self) -> datetime:
        """Return the time of day."""
        return self._system.now() + timedelta(seconds=self._ahead)

    def monotonic(self) -> float:
        """Return how many seconds have passed by."""
        return self._system.monotonic() + self._ahead

    def pass_by(self, seconds: float) -> None:
        """Let time pass at once."""
        self._ahead += seconds
