"""Used nonces in the database: for nodes that run together, a nonce is good once on all of them."""

import threading
from contextlib import suppress
from datetime import datetime, timedelta

import sqlalchemy as sa

from certeasy.clock import Clock
from certeasy.store.schema import redeemed_nonces
from certeasy.store.store import Store

HORIZON = ""  # the row of this name tells up to which second of expiry nonces were forgotten
KEPT_LONGER = timedelta(minutes=1)  # than they live, for the clocks of other nodes
BETWEEN_CLEANINGS = timedelta(minutes=1)


class DatabaseRedeemedNonces:
    """Nonces that were used, one row each; what was forgotten is refused by its time of expiry.

    It keeps the promise of `certeasy.acme.nonces.RedeemedNonces`: one caller per nonce is served,
    by the primary key. Raises DatabaseUnavailable; then the nonce may or may not be used up.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._cleaned: datetime | None = None

    def redeem(self, nonce: str, expires: datetime) -> bool:
        """Return True to exactly one caller per nonce, ever; to all others False."""
        if nonce == HORIZON:
            return False
        second = int(expires.timestamp())
        self._clean()
        try:
            with self._store.aside() as connection:
                if second < _horizon(connection):
                    return False
                connection.execute(sa.insert(redeemed_nonces), {"nonce": nonce, "expires": second})
        except sa.exc.IntegrityError:
            return False
        return True

    def _clean(self) -> None:
        """Forget what has expired on any node, now and then; the horizon only grows."""
        now = self._clock.now()
        with self._lock:
            if self._cleaned is not None and now - self._cleaned < BETWEEN_CLEANINGS:
                return
            self._cleaned = now
        before = int((now - KEPT_LONGER).timestamp())
        old = sa.delete(redeemed_nonces).where(redeemed_nonces.c.expires < before)
        horizon = {"nonce": HORIZON, "expires": before}
        with suppress(sa.exc.IntegrityError), self._store.aside() as connection:
            # The horizon's row is among the old ones. That it cannot be put back means that another
            # node has just done the same.
            if before > _horizon(connection):
                connection.execute(old)
                connection.execute(sa.insert(redeemed_nonces), horizon)


def _horizon(connection: sa.Connection) -> int:
    found = sa.select(redeemed_nonces.c.expires).where(redeemed_nonces.c.nonce == HORIZON)
    return int(connection.execute(found).scalar() or 0)
