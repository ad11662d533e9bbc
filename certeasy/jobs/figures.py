"""What was committed, in figures: events by type, and how long clients waited for certificates."""

from datetime import datetime

from certeasy.commit import Committed
from certeasy.metrics import Metrics
from events.certificates import CertificateIssued
from events.envelope import Envelope
from events.registry import NAMES
from projections.orders import ORDERS

ISSUED, _ = NAMES[CertificateIssued]


class Figures:
    """Listens to the committer, in its thread: a few microseconds for an event."""

    def __init__(self, metrics: Metrics) -> None:
        self._events = metrics.events
        self._issuances = metrics.issuances

    def hear(self, committed: Committed) -> None:
        """Count a change."""
        for record in committed.records:
            line = record.envelope
            self._events.labels(line.type).inc()
            if line.type == ISSUED:
                self._issued(line, committed)

    def _issued(self, line: Envelope, committed: Committed) -> None:
        order = committed.get(ORDERS, line.stream.partition("/")[2])
        if order is not None and order.finalized:
            took = datetime.fromisoformat(line.at) - datetime.fromisoformat(order.finalized)
            self._issuances.labels(order.authority).observe(took.total_seconds())
