"""Where the time comes from: every part is handed a clock, so that tests can hold it."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tell the time of day, and a time that only grows."""

    def now(self) -> datetime:
        """Return the current time: aware, UTC, microseconds."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back, for measuring how long something took."""
        ...


class SystemClock:
    """The operating system's clock."""

    def now(self) -> datetime:
        """Return the current time: aware, UTC, microseconds."""
        return datetime.now(UTC)  # noqa: TID251 - this is the one place that may ask

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()
