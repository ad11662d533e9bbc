"""Leases in the database: for nodes that run together and find the same work."""

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from certeasy.store.schema import job_leases
from certeasy.store.store import Store

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_ID = job_leases.c.job_id == sa.bindparam("id")


class DatabaseLeases:
    """Claims on jobs, as `certeasy.jobs.leases.Leases` promises them, one row each.

    A claim is an UPDATE that counts its rows, or an INSERT that the primary key refuses: of nodes
    that claim at once, one is served. Raises DatabaseUnavailable; then a claim may stand until it
    runs out.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def claim(self, job_id: str, now: datetime, lease: timedelta) -> int | None:
        """Return which attempt this is, or None if the job is claimed or not due yet."""
        until = {"until": _microseconds(now + lease)}
        due = job_leases.c.until <= _microseconds(now)
        attempt = job_leases.c.attempt
        with self._store.aside() as connection:
            again = sa.update(job_leases).where(_ID, due).values(attempt=attempt + 1, **until)
            claimed = connection.execute(again, {"id": job_id}).rowcount == 1
            known = connection.execute(sa.select(attempt).where(_ID), {"id": job_id}).scalar()
        if known is not None:
            return int(known) if claimed else None
        try:
            with self._store.aside() as connection:
                connection.execute(sa.insert(job_leases), {"job_id": job_id, "attempt": 1, **until})
        except sa.exc.IntegrityError:  # another node was quicker
            return None
        return 1

    def postpone(self, job_id: str, attempt: int, until: datetime) -> None:
        """Give a claim back, if it is still the last one."""
        mine = job_leases.c.attempt == attempt
        later = sa.update(job_leases).where(_ID, mine).values(until=_microseconds(until))
        with self._store.aside() as connection:
            connection.execute(later, {"id": job_id})

    def forget(self, job_id: str) -> None:
        """The job is done."""
        with self._store.aside() as connection:
            connection.execute(sa.delete(job_leases).where(_ID), {"id": job_id})


def _microseconds(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND
