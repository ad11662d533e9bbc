"""A clock that stands still until it is told to move."""

from datetime import UTC, datetime, timedelta


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
