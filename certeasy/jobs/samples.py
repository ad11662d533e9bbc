"""How each node last found each authority: a record that nodes share, and no decision.

In this process for one node; `certeasy.store.samples` keeps the same in the database, for nodes
that run together.
"""

import threading
from typing import Protocol

from certeasy.store.samples import Sample


class Samples(Protocol):
    """The latest sample of every authority and node."""

    def put(self, sample: Sample) -> None:
        """Replace the node's last sample of the authority."""
        ...

    def all(self) -> list[Sample]:
        """Return the latest samples, by authority and node."""
        ...


class MemorySamples:
    """The samples of one node."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest: dict[tuple[str, str], Sample] = {}

    def put(self, sample: Sample) -> None:
        """Replace the node's last sample of the authority."""
        with self._lock:
            self._latest[sample.authority, sample.server_id] = sample

    def all(self) -> list[Sample]:
        """Return the latest samples, by authority and node."""
        with self._lock:
            return [self._latest[key] for key in sorted(self._latest)]
