"""Counting orders and certificates every now and then, so that a look at the figures costs nothing.

A count grows with the tables: seconds, where there are millions. So it is done aside, and not
again before a hundred times as long has passed: it has a hundredth of a thread, however much there
is. Nothing is decided on it.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from certeasy.clock import Clock
from certeasy.decide import renewal
from certeasy.log import logger
from certeasy.metrics import Metrics
from certeasy.settings import RenewalInfoSettings
from certeasy.store import DatabaseUnavailable, Store
from projections.certificates import Certificate
from projections.orders import INVALID, PENDING, PROCESSING, READY, VALID

COUNT = 60
"""Seconds between two counts, at least."""
REST = 100
"""So many times as long as a count takes is none."""
WITHIN: Mapping[str, timedelta] = {
    "1d": timedelta(days=1),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
"""The times within which certificates expire that are counted."""
STATUSES = (PENDING, READY, PROCESSING, VALID, INVALID)
MOST_OVERDUE = 500

log = logger("counts")


class Counts:
    """Sets the figures that have to be counted."""

    def __init__(
        self, store: Store, clock: Clock, metrics: Metrics, settings: RenewalInfoSettings
    ) -> None:
        self.overdue: tuple[Certificate, ...] = ()
        """Of the certificates that should have been renewed, some: those that expire first."""
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._settings = settings
        self._rest_until = 0.0
        self._counting = threading.Lock()

    def count(self) -> None:
        """Count, unless that took so long the last time that it is too early. Never fails: what
        cannot be counted now is counted at the next time."""
        begun = self._clock.monotonic()
        if begun < self._rest_until or not self._counting.acquire(blocking=False):
            return
        try:
            self._count()
        except DatabaseUnavailable as error:
            log.warning("orders and certificates could not be counted: %s", error)
        finally:
            took = self._clock.monotonic() - begun
            self._metrics.counting.set(took)
            self._rest_until = begun + took * (1 + REST)
            self._counting.release()

    def _count(self) -> None:
        found = self._store.orders_by_status()
        for status in STATUSES:
            self._metrics.orders.labels(status).set(found.get(status, 0))
        now = self._clock.now()
        expiring: Counter[str] = Counter()
        overdue: list[Certificate] = []
        late = 0
        for certificate in self._without_successor(now):
            left = datetime.fromisoformat(certificate.not_after) - now
            expiring.update(name for name, within in WITHIN.items() if left <= within)
            if renewal.window(certificate, None, self._settings).end <= now:
                late += 1
                overdue.extend([certificate] if len(overdue) < MOST_OVERDUE else [])
        for name in WITHIN:
            self._metrics.certificates_expiring.labels(name).set(expiring[name])
        self._metrics.certificates_overdue.set(late)
        self._metrics.servers.set(self._store.seats(now))
        self._metrics.counted_at.set(now.timestamp())
        self.overdue = tuple(overdue)

    def _without_successor(self, now: datetime) -> Iterator[Certificate]:
        """Yield the certificates in force that expire soon and were not renewed, the next ones
        first.

        One is renewed when a successor was issued, or when there is a later certificate for each of
        its names: a client need not say what it replaces, and may order the names in other company.
        """
        for page in self._store.certificates_ending(now, now + max(WITHIN.values())):
            open_ones = [each for each in page if not each.replaced_by]
            names = {name for each in open_ones for name in each.names}
            oldest = min((each.id for each in open_ones), default="")
            latest = self._store.latest_for(sorted(names), oldest)
            for each in open_ones:
                if any(latest.get(name, "") <= each.id for name in each.names):
                    yield each
