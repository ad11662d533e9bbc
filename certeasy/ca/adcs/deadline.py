"""A moment by which something has to be over, whoever is at fault.

What is called on the way may know no limit of time at all: a look-up of a name, a library that
waits for a socket as long as the socket likes. `Bounded.run` has it done by a thread of its own and
goes away at the deadline; the thread is left behind, and may end when it can. So that a network
that swallows everything does not fill the process with such threads, they are counted, and nothing
is begun while there are too many.
"""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

LEFT_BEHIND = 32
"""How many threads may be left behind before nothing is begun any more."""


class Late(Exception):
    """It is later than the deadline."""


class Deadline:
    """The moment `seconds` from now. It stays where it is, however often it is asked."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """Return how many seconds are left, more than 0. Raises Late if none are."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise Late(f"no answer within {self.seconds:g} s")
        return left

    def within(self, seconds: float) -> "Deadline":
        """Return the deadline of a part: `seconds` from now, but no later than this one."""
        part = Deadline(seconds)
        return part if part._end < self._end else self


class _Work(Generic[T]):
    """What a thread was given to do, and what came of it."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self.over = threading.Event()
        self.result: T
        self.error: BaseException | None = None

    def do(self) -> None:
        """Do it, in the thread that is there for it."""
        try:
            self.result = self._work()
        except BaseException as error:  # noqa: BLE001 - it is raised again where it is waited for
            self.error = error
        finally:
            self.over.set()


class Bounded:
    """Does things within their deadlines, each in a thread of its own."""

    def __init__(self, left_behind: int = LEFT_BEHIND) -> None:
        self._most = left_behind
        self._lock = threading.Lock()
        self._behind: set[_Work[object]] = set()

    @property
    def left_behind(self) -> int:
        """How many threads are still at something that nobody waits for any more."""
        with self._lock:
            self._behind = {work for work in self._behind if not work.over.is_set()}
            return len(self._behind)

    def run(self, deadline: Deadline, work: Callable[[], T]) -> T:
        """Return what `work` returns, or raise what it raises.

        Raises Late if it is not over by then: it may go on, and what becomes of it nobody learns.
        """
        if self.left_behind >= self._most:
            raise Late(
                f"{self._most} earlier calls still hang; none is begun before some have ended"
            )
        job = _Work(work)
        limit = deadline.remaining()
        threading.Thread(target=job.do, name="adcs-call", daemon=True).start()
        if not job.over.wait(limit):
            with self._lock:
                self._behind.add(job)  # type: ignore[arg-type] # what it returns is nobody's
            raise Late(f"no answer within {deadline.seconds:g} s")
        if job.error is not None:
            raise job.error
        return job.result
