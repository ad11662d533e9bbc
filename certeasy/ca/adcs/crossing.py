"""The moment from which a call may have been executed.

A submission that nobody executed can be made again, one that may have been executed must not. The
rule, which holds whatever else happens:

- A server executes a request when it has the whole of its last packet, and not before: with less,
  it can neither decrypt nor verify it.
- Before the first byte of that packet is handed to the network, we cross. If less than all of the
  packet was handed over in the end, we are back.
- Who waits for a call may give up. Then it crosses no more, or it has crossed: never both.
"""

import threading

from certeasy.ca.adcs.deadline import Late


class Crossing:
    """Of one call. It is crossed by the thread that makes it, and closed by whoever waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._crossed = False
        self._closed = False

    @property
    def crossed(self) -> bool:
        """Whether it may have been executed."""
        with self._lock:
            return self._crossed

    def cross(self) -> None:
        """Be about to send what may be executed. Raises Late if nobody waits any more."""
        with self._lock:
            if self._closed:
                raise Late("nobody waits for this call any more")
            self._crossed = True

    def go_back(self) -> None:
        """Not all of it was sent after all."""
        with self._lock:
            self._crossed = False

    def close(self) -> bool:
        """Let nothing cross from now on. Return whether something has."""
        with self._lock:
            self._closed = True
            return self._crossed
