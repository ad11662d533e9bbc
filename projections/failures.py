"""Names that an account could not prove, and when it was seen that it could not.

The law of a row: it has the newest `MOST` failures whose orders have not left the tables. So no
limit on them may be larger than that. An account that ever failed has a row more, under the name
`ANY`: with its last failure, of whatever name. So who has not failed lately is told by one look-up,
however many names there are to be looked at.
"""

import msgspec

from projections.tables import Column, Rows, Table

ANY = ""
MOST = 100
"""So many failures are kept of one name: the largest limit that can be told."""


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """A challenge of this order failed at this time."""

    order_id: str
    at: str


class Failures(msgspec.Struct, frozen=True):
    """The failures of an account to prove a name, a wildcard's without its `*.`, in their order.
    Under `ANY`: the last of all."""

    account_id: str
    name: str
    failed: tuple[Failure, ...]


FAILURES = Table(
    "failed_validations",
    Failures,
    [Column("account_id", size=26), Column("name", size=255)],
    key=("account_id", "name"),
)


def failed(rows: Rows, account_id: str, name: str, failure: Failure) -> None:
    """A failure more."""
    known = rows.get(FAILURES, account_id, name)
    before = known.failed if known is not None else ()
    rows.put(FAILURES, Failures(account_id, name, (*before, failure)[-MOST:]))
    rows.put(FAILURES, Failures(account_id, ANY, (failure,)))


def taken_out(rows: Rows, account_id: str, name: str, order_id: str) -> None:
    """An order leaves the tables, and its failure with it."""
    for each in (name, ANY):
        known = rows.get(FAILURES, account_id, each)
        failed = () if known is None else known.failed
        others = tuple(failure for failure in failed if failure.order_id != order_id)
        if not others and failed:
            rows.delete(FAILURES, account_id, each)
        elif others != failed:
            rows.put(FAILURES, Failures(account_id, each, others))
