"""A transaction that takes too long is cut off from outside, whatever the server is doing.

PostgreSQL has no timeout for COMMIT: with synchronous replication and the replica away, it waits
for ever, and so would everybody who waits for the committer. Cutting the connection decides
nothing: the outcome is unknown then, and is looked up under the lock that the server holds until it
has ended.
"""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

LOOK = 0.5  # seconds between two looks


class Deadline:
    """Watches the one writing connection. Its thread begins with the first transaction."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._watched: tuple[float, int] | None = None
        self._thread: threading.Thread | None = None
        self._over = threading.Event()

    @contextmanager
    def over(self, driver: Any) -> Iterator[None]:
        """Let the block take so many seconds; then the connection is shut down under it."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="deadline", daemon=True)
            self._thread.start()
        with self._lock:
            self._watched = time.monotonic() + self._seconds, driver.fileno()
        try:
            yield
        finally:
            with self._lock:
                self._watched = None

    def close(self) -> None:
        """End the thread."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(LOOK):
            with self._lock:
                if self._watched is not None and time.monotonic() > self._watched[0]:
                    _cut(self._watched[1])
                    self._watched = None


def _cut(descriptor: int) -> None:
    """Shut a connection down: whoever reads from it hears of its end."""
    with suppress(OSError), socket.socket(fileno=_copy(descriptor)) as wire:
        wire.shutdown(socket.SHUT_RDWR)


def _copy(descriptor: int) -> int:
    if os.name == "nt":
        return socket.dup(descriptor)  # type: ignore[attr-defined,unused-ignore]
    return os.dup(descriptor)
