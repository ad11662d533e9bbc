"""How much of its clients' requests a listener holds in memory, over all connections.

A body is held from its first byte until its request is answered, and whoever sends it need not be
known to anybody. So there is room for so much of all of them together, and when it is spent, only
small bodies are still taken: ACME requests are small, and no flood of large ones stops them.
"""

import threading

from certeasy.serve.limits import SMALL_BODY


class Bodies:
    """The room for all bodies. The loop fills it, the loop and the workers give it back."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.held = 0
        self._lock = threading.Lock()

    def expect(self, size: int) -> bool:
        """Tell whether a body of so many bytes in all may come. Nothing is set aside for it."""
        return size <= SMALL_BODY or self.held + size <= self.room

    def hold(self, size: int, more: int) -> bool:
        """Count `more` bytes of a body that has `size` by now; tell whether it may go on."""
        with self._lock:
            self.held += more
        return size <= SMALL_BODY or self.held <= self.room

    def release(self, size: int) -> None:
        """Count so many bytes no more."""
        with self._lock:
            self.held -= size
