"""What leaves the tables when it has been over for long: orders, with all that is about them.

Named one by one by the event, and each looked at once more: nothing leaves that is still open.
"""

from events.envelope import Envelope
from events.retention import RetentionApplied
from projections import failures, name_sets, seats
from projections.certificates import CERTIFICATES
from projections.orders import (
    INVALID,
    ORDER_NAMES,
    ORDERS,
    PREAUTHORIZATIONS,
    VALID,
    Order,
)
from projections.renewals import RENEWALS
from projections.revocations import PUBLISHED, REVOCATIONS, revocation_id
from projections.suspects import SUSPECTS, suspect_id
from projections.tables import Contradiction, Readable, Rows


def applied(fact: RetentionApplied, line: Envelope, rows: Rows) -> None:
    """Orders, their names and certificates leave, and revocations that are done."""
    if fact.cutoff >= line.at:
        raise Contradiction(line.position, f"{line.type} of what is not over before {fact.cutoff}")
    for order_id in fact.orders:
        if not may_leave(rows, order_id, fact.cutoff):
            what = f"{line.type} for order {order_id}, which was not over before {fact.cutoff}"
            raise Contradiction(line.position, what)
    for id_ in fact.revocations:
        if order_of(id_) not in fact.orders or not revocation_may_leave(rows, id_):
            raise Contradiction(line.position, f"{line.type} for revocation {id_}, which is open")
        rows.delete(REVOCATIONS, order_of(id_), id_)
    for order_id in fact.orders:
        _leave(rows, order_id)


def may_leave(rows: Readable, order_id: str, cutoff: str) -> bool:
    """Whether an order was over before `cutoff`, its certificate, too, and nothing of it is
    open."""
    order, certificate = rows.get(ORDERS, order_id), rows.get(CERTIFICATES, order_id)
    if certificate is not None:
        if certificate.not_after >= cutoff:
            return False
        own = rows.get(REVOCATIONS, order_id, revocation_id(order_id, certificate.certificate))
        if own is not None and own.state != PUBLISHED:
            return False
    if order is None:
        return certificate is not None
    return (
        order.status in (VALID, INVALID)
        and order.expires < cutoff
        and not any(rows.get(SUSPECTS, suspect_id(order_id, n)) for n in order.abandoned)
    )


def order_of(id_: str) -> str:
    """Return the order of a revocation."""
    return id_.partition("-")[0]


def revocation_may_leave(rows: Readable, id_: str) -> bool:
    """Whether a revocation is done: its authority has published it."""
    row = rows.get(REVOCATIONS, order_of(id_), id_)
    return row is not None and row.state == PUBLISHED


def _leave(rows: Rows, order_id: str) -> None:
    order, certificate = rows.get(ORDERS, order_id), rows.get(CERTIFICATES, order_id)
    names = [] if order is None else [each.value for each in order.identifiers]
    names += [] if certificate is None else certificate.names
    for name in dict.fromkeys(names):
        rows.delete(ORDER_NAMES, name, order_id)
    if order is not None:
        _forget_failures(rows, order)
    if order is not None and order.preauthorization:
        _forget_proof(rows, order)
    if certificate is not None:
        name_sets.taken_out(rows, certificate.names, order_id)
        seats.left(rows, certificate.account_id, order_id)
    rows.delete(ORDERS, order_id)
    rows.delete(CERTIFICATES, order_id)
    rows.delete(RENEWALS, order_id)


def _forget_failures(rows: Rows, order: Order) -> None:
    """Forget which names could not be proven in an order."""
    for each in order.authorizations:
        if each.status == INVALID:
            failures.taken_out(rows, order.account_id, each.identifier.value, order.id)


def _forget_proof(rows: Rows, order: Order) -> None:
    """Forget a proof ahead of any order, unless there is a later one."""
    key = (order.account_id, order.identifiers[0].value)
    proof = rows.get(PREAUTHORIZATIONS, *key)
    if proof is not None and proof.order_id == order.id:
        rows.delete(PREAUTHORIZATIONS, *key)
