"""Who is at work on a job, until when, and how often it was tried.

That is no decision, and so not in the log. In this process for one node; `certeasy.store.leases`
keeps the same in the database, for nodes that run together.
"""

import threading
from datetime import datetime, timedelta
from typing import Protocol


class Leases(Protocol):
    """Claims on jobs. A claim that is not given back runs out by itself."""

    def claim(self, job_id: str, now: datetime, lease: timedelta) -> int | None:
        """Return which attempt this is (1, 2, …), or None if the job is claimed or not due yet."""
        ...

    def postpone(self, job_id: str, attempt: int, until: datetime) -> None:
        """Give a claim back: the job is not due before `until`.

        Nothing happens if the claim ran out and another has been made since.
        """
        ...

    def forget(self, job_id: str) -> None:
        """The job is done."""
        ...


class MemoryLeases:
    """Leases of one process, for one node."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, tuple[int, datetime]] = {}

    def claim(self, job_id: str, now: datetime, lease: timedelta) -> int | None:
        """Return which attempt this is, or None if the job is claimed or not due yet."""
        with self._lock:
            attempt, until = self._held.get(job_id, (0, now))
            if until > now:
                return None
            self._held[job_id] = (attempt + 1, now + lease)
            return attempt + 1

    def postpone(self, job_id: str, attempt: int, until: datetime) -> None:
        """Give a claim back, if it is still the last one."""
        with self._lock:
            if self._held.get(job_id, (0, until))[0] == attempt:
                self._held[job_id] = (attempt, until)

    def forget(self, job_id: str) -> None:
        """The job is done."""
        with self._lock:
            self._held.pop(job_id, None)
