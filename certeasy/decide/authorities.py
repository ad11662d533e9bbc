"""What is recorded of an authority, once each, whichever node notices first: its certificates, and
changes of its health. And when one may be taken out."""

import hashlib
from collections.abc import Collection, Iterable

from certeasy.decide.decision import Decision, Reader
from events.authorities import AuthorityFailed, AuthorityRecovered
from events.nodes import AuthorityCertificateSeen
from projections.authorities import TROUBLES
from projections.certificates import ISSUERS
from projections.orders import Order

_LONGEST = 1000
_LISTED = 20
"""Orders that are named where an authority cannot be taken out because of them."""


def failed(rows: Reader, authority: str, reason: str, code: str = "") -> Decision:
    """Record that an authority cannot be used any more, unless that is known."""
    if rows.get(TROUBLES, authority) is not None:
        return Decision()
    fact = AuthorityFailed(authority, reason[:_LONGEST], code)
    return Decision(((f"authority/{authority}", fact),))


def recovered(rows: Reader, authority: str) -> Decision:
    """Record that an authority answers again, if it had failed."""
    trouble = rows.get(TROUBLES, authority)
    if trouble is None:
        return Decision()
    return Decision(((f"authority/{authority}", AuthorityRecovered(authority, trouble.failed)),))


def seen(rows: Reader, authority: str, certificate: bytes) -> Decision:
    """Record a certificate (DER) of an authority, unless the log has it."""
    sha256 = hashlib.sha256(certificate).hexdigest()
    if rows.get(ISSUERS, sha256) is not None:
        return Decision()
    fact = AuthorityCertificateSeen(authority, sha256, certificate)
    return Decision(((f"authority/{authority}", fact),))


def needed(authorities: Collection[str], processing: Iterable[Order]) -> str | None:
    """Return why these authorities cannot be taken out, or None. One that has begun with orders is
    kept until they have their certificates."""
    waiting = [order for order in processing if order.authority in authorities]
    if not waiting:
        return None
    names = ", ".join(sorted({f'"{order.authority}"' for order in waiting}))
    orders = ", ".join(order.id for order in waiting[:_LISTED])
    more = f" and {len(waiting) - _LISTED} more" if len(waiting) > _LISTED else ""
    return (
        f"the authority {names} cannot be taken out while these orders wait for it:"
        f" {orders}{more}; leave it in, without a binding, until they are done"
    )
