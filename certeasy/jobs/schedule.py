"""What happens by the clock: looking around for work, summing up refusals, ending what ran out,
the server's own certificate."""

from collections.abc import Callable
from datetime import UTC

from apscheduler.schedulers.background import (  # type: ignore[import-untyped] # it has no types
    BackgroundScheduler,
)

from certeasy.clock import SystemClock

LOOK_AROUND = 30  # seconds
SUMMARIZE = 60
EXPIRE = 60
RETAIN = 600
CERTIFICATES = 3600


class Schedule:
    """Periodic work of one node, on threads of its own."""

    def __init__(self) -> None:
        self._scheduler = BackgroundScheduler(timezone=UTC)

    def every(self, seconds: float, work: Callable[[], None], *, at_once: bool = False) -> None:
        """Do something periodically, for the first time after so many seconds or `at_once`; a run
        that takes too long is followed by the next, not overtaken."""
        # No job that runs but once: taking it out would fail while the scheduler is being stopped.
        first = {"next_run_time": SystemClock().now()} if at_once else {}
        self._scheduler.add_job(
            work,
            "interval",
            seconds=seconds,
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
            **first,
        )

    def start(self) -> None:
        """Begin."""
        self._scheduler.start()

    def stop(self) -> None:
        """End, after what is running."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=True)
