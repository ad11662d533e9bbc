"""How each node last found each authority, in the database: for nodes that run together."""

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from msgspec import Struct

from certeasy.store.schema import authority_samples
from certeasy.store.store import Store

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LONGEST = 1000
_MINE = sa.and_(
    authority_samples.c.authority == sa.bindparam("of"),
    authority_samples.c.server_id == sa.bindparam("by"),
)


class Sample(Struct, frozen=True):
    """What a node found when it last looked at an authority.

    `at` is aware; `milliseconds` is how long it took to answer, or to fail. `reason` is empty where
    it is well.
    """

    authority: str
    server_id: str
    at: datetime
    milliseconds: int
    reason: str = ""


class DatabaseSamples:
    """Samples, one row an authority and node, as `certeasy.jobs.samples.Samples` promises them.

    Raises DatabaseUnavailable; then the sample may or may not be there.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(self, sample: Sample) -> None:
        """Replace the node's last sample of the authority."""
        values = {
            "at": (sample.at - _EPOCH) // _MICROSECOND,
            "milliseconds": sample.milliseconds,
            "reason": sample.reason[:_LONGEST],
        }
        mine = {"of": sample.authority, "by": sample.server_id}
        with self._store.aside() as connection:
            again = sa.update(authority_samples).where(_MINE).values(values)
            if connection.execute(again, mine).rowcount == 0:
                row = {"authority": sample.authority, "server_id": sample.server_id, **values}
                connection.execute(sa.insert(authority_samples), row)

    def all(self) -> list[Sample]:
        """Return the latest samples, by authority and node."""
        columns = authority_samples.c
        with self._store.aside() as connection:
            found = connection.execute(
                sa.select(authority_samples).order_by(columns.authority, columns.server_id)
            ).all()
        return [
            Sample(
                row.authority,
                row.server_id,
                _EPOCH + row.at * _MICROSECOND,
                row.milliseconds,
                row.reason,
            )
            for row in found
        ]
