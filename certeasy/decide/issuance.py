"""What follows from what an authority was asked and answered."""

from certeasy.decide.decision import Decision, Reader
from certeasy.decide.orders import stream
from events.certificates import CertificateIssued, CertificateMismatched, CertificateReplaced
from events.orders import IssuanceFailed, IssuanceSubmitted, OrderInvalidated, Problem
from events.registry import Event
from projections.certificates import CERTIFICATES
from projections.orders import ORDERS, PROCESSING, Order


def certificate_stream(order_id: str) -> str:
    """Return the stream of the facts about an order's certificate."""
    return f"certificate/{order_id}"


def submit(rows: Reader, order_id: str, authority: str, *, after: int) -> Decision:
    """Record that the request is about to be handed over: from here on a certificate may exist.

    `after` is how many submissions are known to have ended, or been given up by their authority;
    if there was another one meanwhile, nothing is recorded, and nothing may be handed over.
    """
    order = _processing(rows, order_id)
    if order is None or order.attempt != after:
        return Decision()
    fact = IssuanceSubmitted(order.attempt + 1, authority, order.csr_sha256)
    return Decision(((stream(order_id), fact),))


def issued(rows: Reader, held: Order, fact: CertificateIssued) -> Decision:
    """Record a certificate that is what was ordered, and that its predecessor is replaced.

    `held` is the order as the certificate was held against it; if it is another one, nothing is
    recorded.
    """
    order_id = held.id
    order = _processing(rows, order_id)
    if order is None or _ordered(order) != _ordered(held):
        return Decision()
    facts: list[tuple[str, Event]] = [(certificate_stream(order_id), fact)]
    before = rows.get(CERTIFICATES, order.replaces) if order.replaces else None
    if before is not None and not before.replaced_by:
        replaced = CertificateReplaced(before.id, before.serial, order_id, fact.serial)
        facts.append((certificate_stream(before.id), replaced))
    return Decision(tuple(facts))


def mismatched(
    rows: Reader, order_id: str, fact: CertificateMismatched, error: Problem
) -> Decision:
    """Record a certificate that is not what was ordered: it is kept as evidence, and the order has
    failed."""
    if _processing(rows, order_id) is None:
        return Decision()
    return Decision(
        (
            (certificate_stream(order_id), fact),
            (stream(order_id), OrderInvalidated("authority", error)),
        )
    )


def attempt_failed(
    rows: Reader, order_id: str, authority: str, reason: str, *, attempt: int
) -> Decision:
    """Record that an attempt surely made no certificate, and that another will follow."""
    return _ended(rows, order_id, authority, reason, None, attempt)


def refused(
    rows: Reader, order_id: str, authority: str, reason: str, error: Problem, *, attempt: int
) -> Decision:
    """Record that there will be no certificate. `reason` is everything, `error` what the client is
    told."""
    return _ended(rows, order_id, authority, reason, error, attempt)


def _ended(
    rows: Reader, order_id: str, authority: str, reason: str, error: Problem | None, attempt: int
) -> Decision:
    """Record the end of one attempt. If there is a later one by now, this one has been told apart
    already, and says nothing about the other."""
    order = _processing(rows, order_id)
    if order is None or order.attempt != attempt:
        return Decision()
    failed = IssuanceFailed(attempt, authority, reason, final=error is not None)
    facts: list[tuple[str, Event]] = [(stream(order_id), failed)]
    if error is not None:
        facts.append((stream(order_id), OrderInvalidated("authority", error)))
    return Decision(tuple(facts))


def _ordered(order: Order) -> tuple[object, ...]:
    """Return what a certificate is held against."""
    return order.account_id, order.policy, order.profile, order.identifiers, order.csr_sha256


def _processing(rows: Reader, order_id: str) -> Order | None:
    order = rows.get(ORDERS, order_id)
    return order if order is not None and order.status == PROCESSING else None
