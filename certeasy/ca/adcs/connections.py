"""Connections that are kept: a pool for one CA and one identity.

Each does one call at a time and belongs to whoever borrowed it until he gives it back. One that has
failed in any way, that has ended, that has been idle for a minute, or is ten minutes old is not
used again. There is room on it for nothing that belongs to an order.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from certeasy.ca.adcs.deadline import Deadline
from certeasy.ca.adcs.dialing import Connection
from certeasy.ca.adcs.errors import NotReached
from certeasy.clock import Clock

MOST_AGE = 600
MOST_IDLE = 60
"""In seconds."""


class Connections:
    """The pool. `most` is how many there may be at once: as many as there are workers."""

    def __init__(self, open_one: Callable[[Deadline], Connection], most: int, clock: Clock) -> None:
        self._open_one = open_one
        self._clock = clock
        self._most = most
        self._free = threading.Condition()
        self._idle: list[Connection] = []
        self._lent = 0
        self._closed = False

    @contextmanager
    def borrowed(self, deadline: Deadline, *, fresh: bool = False) -> Iterator[Connection]:
        """Lend a connection: one that is kept, or a new one. `fresh`: keep none of the old ones.

        Raises what opening raises, NotReached if all are lent until the deadline.
        """
        connection = self._take(deadline, fresh=fresh)
        try:
            if connection is None:
                connection = self._open_one(deadline)
            yield connection
        finally:
            self._give_back(connection)

    def _take(self, deadline: Deadline, *, fresh: bool) -> Connection | None:
        with self._free:
            while self._lent >= self._most and not self._closed:
                if not self._free.wait(deadline.remaining()):
                    raise NotReached("connect", f"all {self._most} connections are in use")
            if self._closed:
                raise NotReached("connect", "this server is shutting down")
            self._lent += 1
            kept, self._idle = self._idle, []
            found = None
            for each in kept:  # the one that was used last is the last of them
                if fresh or self._old(each) or not each.usable:
                    each.close()
                else:
                    self._idle.append(each)
            if self._idle:
                found = self._idle.pop()
            return found

    def _old(self, connection: Connection) -> bool:
        now = self._clock.monotonic()
        return now - connection.opened > MOST_AGE or now - connection.used > MOST_IDLE

    def _give_back(self, connection: Connection | None) -> None:
        with self._free:
            self._lent -= 1
            self._free.notify()
            if connection is None:
                return
            connection.used = self._clock.monotonic()
            if self._closed or self._old(connection) or not connection.usable:
                connection.close()
            else:
                self._idle.append(connection)

    def close(self) -> None:
        """End those that are idle now, and the others when they come back."""
        with self._free:
            self._closed = True
            self._free.notify_all()
            for each in self._idle:
                each.close()
            self._idle.clear()
