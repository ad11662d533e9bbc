"""How long to wait before asking again, when nobody can tell how long it will take.

A quarter of the time that has passed, within bounds: whoever approves a request within minutes has
it delivered within minutes, one that waits for days costs the authority a question an hour, and
since nothing has to be remembered but when it began, a restart or another node changes nothing.
"""

from datetime import datetime, timedelta

from projections.orders import Order

SHORTEST_POLL = timedelta(seconds=10)
"""Clients that wait at all give up after a minute or two: an officer may be as quick."""
LONGEST_POLL = timedelta(hours=1)


def growing(since: datetime, now: datetime, shortest: timedelta, longest: timedelta) -> timedelta:
    """Return how long to wait for something that began at `since`."""
    return min(max((now - since) / 4, shortest), longest)


def poll(order: Order, now: datetime) -> timedelta | None:
    """Return after how long to ask again whether a person has approved the request of an order;
    None: it does not wait for one."""
    if not order.pending:
        return None
    return growing(datetime.fromisoformat(order.pending), now, SHORTEST_POLL, LONGEST_POLL)
