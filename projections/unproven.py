"""How many authorizations of an account are still to be proven, and until when.

An authorization is pending as long as its order is, and nothing has come of it: also while it is
being looked at. One that is opened ahead of any order is one of them.
"""

import msgspec

from projections.tables import Column, Rows, Table

MOST = 1000
"""So many orders are kept of one account, those that run out last: the largest limit that can be
told."""


class Unproven(msgspec.Struct, frozen=True, array_like=True):
    """An order that has so many pending authorizations; they run out with it."""

    order_id: str
    authorizations: int
    expires: str


class PendingAuthorizations(msgspec.Struct, frozen=True):
    """The orders of an account that have pending authorizations."""

    account_id: str
    orders: tuple[Unproven, ...]


PENDING_AUTHORIZATIONS = Table(
    "pending_authorizations",
    PendingAuthorizations,
    [Column("account_id", size=26)],
    key=("account_id",),
)


def count(rows: Rows, account_id: str, now: Unproven) -> None:
    """An order of the account has so many pending authorizations now."""
    known = rows.get(PENDING_AUTHORIZATIONS, account_id)
    before = known.orders if known is not None else ()
    orders = tuple(each for each in before if each.order_id != now.order_id)
    if now.authorizations:
        orders = (*orders, now)
    if len(orders) > MOST:
        first = min(orders, key=lambda each: each.expires)
        orders = tuple(each for each in orders if each is not first)
    if orders:
        rows.put(PENDING_AUTHORIZATIONS, PendingAuthorizations(account_id, orders))
    elif known is not None:
        rows.delete(PENDING_AUTHORIZATIONS, account_id)
