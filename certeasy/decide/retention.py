"""What leaves the tables: what has been over for long, and of which nothing is open."""

from collections.abc import Sequence

from certeasy.decide.decision import Decision, Reader
from events.retention import RetentionApplied
from projections.retention import may_leave, order_of, revocation_may_leave

STREAM = "retention"


def apply(
    rows: Reader, cutoff: str, *, orders: Sequence[str], revocations: Sequence[str]
) -> Decision:
    """Let those of these orders leave that were over before `cutoff` (RFC 3339 in UTC).

    `revocations` are the ids of all that there are of them; one that is not done keeps its order.
    """
    kept = {order_of(id_) for id_ in revocations if not revocation_may_leave(rows, id_)}
    leaving = tuple(
        order_id
        for order_id in orders
        if order_id not in kept and may_leave(rows, order_id, cutoff)
    )
    if not leaving:
        return Decision()
    along = tuple(id_ for id_ in revocations if order_of(id_) in leaving)
    return Decision(((STREAM, RetentionApplied(cutoff, leaving, along)),))
