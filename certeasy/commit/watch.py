"""Waiting for an order to end: a finalize is held while the authority is quick."""

import threading

from certeasy.commit.command import Committed
from projections.orders import ORDERS, PROCESSING, Order


class Watch:
    """Who waits for which order."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, list[threading.Event]] = {}
        self._released = False

    def tell(self, committed: Committed) -> None:
        """Wake those whose order is no longer processing."""
        if not self._waiting:
            return
        for (table, _key), state in committed.states().items():
            if table is ORDERS and isinstance(state, Order) and state.status != PROCESSING:
                with self._lock:
                    waiting = self._waiting.pop(state.id, [])
                for event in waiting:
                    event.set()

    def register(self, order_id: str) -> threading.Event:
        """Return an event, set when the order ends; register before what will end it begins."""
        event = threading.Event()
        with self._lock:
            self._waiting.setdefault(order_id, []).append(event)
            if self._released:
                event.set()
        return event

    def release(self) -> None:
        """Let nobody wait any more: the node stops, and answers as things are."""
        with self._lock:
            self._released = True
            for waiting in self._waiting.values():
                for event in waiting:
                    event.set()

    def forget(self, order_id: str, event: threading.Event) -> None:
        """Wait no longer."""
        with self._lock:
            waiting = self._waiting.get(order_id, [])
            if event in waiting:
                waiting.remove(event)
            if not waiting:
                self._waiting.pop(order_id, None)
