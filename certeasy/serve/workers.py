"""The threads that run the application, one request at a time each.

Waitress's own dispatcher writes a warning for every request that has to wait and builds a lock
for every wait; a queue made in C does the same work at a fraction of the cost.
"""

import threading
import time
from queue import SimpleQueue
from typing import Protocol

from certeasy.log import logger

log = logger("http-server")


class Task(Protocol):
    """What waitress hands over: a connection with a request to answer."""

    def service(self) -> None:
        """Answer it."""
        ...

    def cancel(self) -> None:
        """Give it up, because nobody will answer it any more."""
        ...


class Workers:
    """A fixed number of threads and the queue before them."""

    def __init__(self, count: int, name: str) -> None:
        self._queue: SimpleQueue[Task | None] = SimpleQueue()
        # Daemons: an application that never returns must not keep the process from ending.
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def add_task(self, task: Task) -> None:
        """Have a thread answer `task` as soon as one is free."""
        self._queue.put(task)

    def shutdown(self, timeout: float) -> bool:
        """End the threads when they have answered what they hold; cancel what still waits.

        Return whether all have ended within `timeout` seconds.
        """
        waiting = []
        while not self._queue.empty():
            waiting.append(self._queue.get())
        for task in waiting:
            if task is not None:
                task.cancel()
        for _ in self._threads:
            self._queue.put(None)
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while (task := self._queue.get()) is not None:
            try:
                task.service()
            except Exception:
                # Whatever one request did, the next ones still need this thread.
                log.exception("a request ended outside its own error handling")
