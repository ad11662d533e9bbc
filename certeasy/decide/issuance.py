"""What follows from what an authority was asked and answered.

Whoever was asked may answer late: after the lease of the worker who waits for it has run out, when
the attempt was told apart by somebody else or given up. Every outcome names its attempt; one of an
attempt that is over changes nothing of its order, and a certificate that it brings is recorded as a
twin: somebody has to revoke it.
"""

import hashlib
from collections.abc import Sequence

from msgspec.structs import replace

from certeasy.decide.decision import Decision, Reader
from certeasy.decide.orders import stream
from certeasy.decide.validation import CLOSED
from events.certificates import (
    CertificateIssued,
    CertificateMismatched,
    CertificateReplaced,
    CertificateTwinFound,
)
from events.orders import (
    IssuanceAbandoned,
    IssuanceFailed,
    IssuanceInDoubt,
    IssuancePending,
    IssuanceSearched,
    IssuanceSubmitted,
    OrderInvalidated,
    Problem,
)
from events.registry import Event
from projections.accounts import ACCOUNTS
from projections.accounts import VALID as ACCOUNT_VALID
from projections.certificates import CERTIFICATES
from projections.marks import MARKS
from projections.orders import ORDERS, PROCESSING, Order
from projections.revocations import REVOCATIONS, revocation_id
from projections.suspects import SUSPECTS, Suspect, suspect_id


def certificate_stream(order_id: str) -> str:
    """Return the stream of the facts about an order's certificate."""
    return f"certificate/{order_id}"


def submit(
    rows: Reader,
    order_id: str,
    authority: str,
    *,
    after: int,
    outcome: str = "",
    abandoned: bool = False,
) -> Decision:
    """Record that the request is about to be handed over: from here on a certificate may exist.

    `after` is how many submissions are known to have ended, or been given up by their authority;
    if there was another one meanwhile, nothing is recorded, and nothing may be handed over.
    `outcome` is what was found out about the last one, where that was in doubt: that it made no
    certificate, or, if it is `abandoned`, that this cannot be told.
    """
    order = _processing(rows, order_id)
    if order is None or order.attempt != after:
        return Decision()
    facts = _over(order, outcome, abandoned=abandoned)
    mark = rows.get(MARKS, authority)
    known = mark.request_id if mark is not None else ""
    facts.append(IssuanceSubmitted(after + 1, authority, order.csr_sha256, known))
    return Decision(tuple((stream(order_id), fact) for fact in facts))


def closed(
    rows: Reader, order_id: str, *, after: int, outcome: str = "", abandoned: bool = False
) -> Decision:
    """Record that an order has ended whose account was closed before the request was handed over,
    or anew; its other members are those of `submit`. RFC 8555 section 7.3.6."""
    order = _processing(rows, order_id)
    if order is None or order.attempt != after:
        return Decision()
    account = rows.get(ACCOUNTS, order.account_id)
    if account is not None and account.status == ACCOUNT_VALID:
        return Decision()
    facts = (*_over(order, outcome, abandoned=abandoned), OrderInvalidated("client", CLOSED))
    return Decision(tuple((stream(order_id), fact) for fact in facts))


def _over(order: Order, outcome: str, *, abandoned: bool) -> list[Event]:
    """Return what is recorded of the last submission, where that was in doubt until now."""
    if not order.in_doubt:
        return []
    attempt, authority, request_id = order.attempt, order.authority, order.request_id
    if abandoned:
        return [IssuanceAbandoned(attempt, authority, outcome, request_id)]
    return [IssuanceFailed(attempt, authority, outcome, final=False, request_id=request_id)]


def pending(rows: Reader, order_id: str, fact: IssuancePending) -> Decision:
    """Record that the authority has the request and waits for a person."""
    order = _awaiting(rows, order_id, fact.attempt)
    if order is None:
        return _learnt_late(rows, order_id, fact)
    if order.pending and order.request_id == fact.request_id:
        return Decision()
    return Decision(((stream(order_id), fact),))


def not_awaited(
    rows: Reader, order_id: str, fact: IssuancePending, reason: str, error: Problem
) -> Decision:
    """Record that nobody waits (any longer) until a person approves the request: the order has
    failed, and what may still be approved is looked for."""
    order = _awaiting(rows, order_id, fact.attempt)
    if order is None:
        return _learnt_late(rows, order_id, fact)
    facts: list[Event] = [] if order.pending else [fact]
    facts.append(IssuanceAbandoned(fact.attempt, fact.authority, reason, fact.request_id))
    facts.append(OrderInvalidated("authority", error))
    return Decision(tuple((stream(order_id), each) for each in facts))


def given_up(rows: Reader, order_id: str, fact: IssuanceAbandoned, error: Problem) -> Decision:
    """Record that it cannot be told for too long whether an attempt made a certificate: the order
    has failed, and the certificate is looked for."""
    if _awaiting(rows, order_id, fact.attempt) is None:
        return Decision()
    told = (fact, OrderInvalidated("authority", error))
    return Decision(tuple((stream(order_id), each) for each in told))


def in_doubt(rows: Reader, order_id: str, fact: IssuanceInDoubt) -> Decision:
    """Record, once for an attempt, that its answer was lost; and what its number is, once that is
    known."""
    order = _awaiting(rows, order_id, fact.attempt)
    if order is None:
        return _learnt_late(rows, order_id, fact)
    if order.doubted and fact.request_id in ("", order.request_id):
        return Decision()
    return Decision(((stream(order_id), fact),))


def issued(
    rows: Reader, held: Order, fact: CertificateIssued, *, publish: bool = False
) -> Decision:
    """Record a certificate that is what was ordered, and that its predecessor is replaced.

    `held` is the order as the certificate was held against it; if it is another one, nothing is
    recorded. A certificate of an attempt that is over is a twin, and nobody gets it; `publish`: it
    is to be revoked at the authority.
    """
    order_id = held.id
    order = rows.get(ORDERS, order_id)
    if order is None or _ordered(order) != _ordered(held):
        return Decision()
    if hashlib.sha256(held.csr).hexdigest() != order.csr_sha256:
        return Decision()
    if rows.get(REVOCATIONS, order_id, revocation_id(order_id, fact.certificate)) is not None:
        return Decision()  # it was found before, and is to be revoked
    if _awaiting(rows, order_id, fact.attempt) is None:
        twin = CertificateTwinFound(
            order_id=order_id,
            authority=fact.authority,
            attempt=fact.attempt,
            reason="it came when its attempt was over",
            certificate=fact.certificate,
            serial=fact.serial,
            request_id=fact.request_id,
            publish=publish,
        )
        return twin_found(rows, order_id, (twin,))
    facts: list[tuple[str, Event]] = [(certificate_stream(order_id), fact)]
    before = rows.get(CERTIFICATES, order.replaces) if order.replaces else None
    if before is not None and not before.replaced_by:
        replaced = CertificateReplaced(before.id, before.serial, order_id, fact.serial)
        facts.append((certificate_stream(before.id), replaced))
    return Decision(tuple(facts))


def mismatched(
    rows: Reader,
    order_id: str,
    fact: CertificateMismatched,
    error: Problem,
    own: IssuanceAbandoned | None = None,
) -> Decision:
    """Record a certificate that is not what was ordered: it is kept as evidence, and the order has
    failed.

    `own`: what came back does not even belong to the request, which may have made another one.
    """
    if _awaiting(rows, order_id, fact.attempt) is None:
        twin = CertificateTwinFound(
            order_id=order_id,
            authority=fact.authority,
            attempt=fact.attempt,
            reason=f"it came when its attempt was over, and {fact.reason}",
            certificate=fact.certificate,
            serial=fact.serial,
            request_id=fact.request_id,
            publish=fact.publish,
        )
        return twin_found(rows, order_id, (twin,))
    facts: list[tuple[str, Event]] = [] if own is None else [(stream(order_id), own)]
    facts.append((certificate_stream(order_id), fact))
    facts.append((stream(order_id), OrderInvalidated("authority", error)))
    return Decision(tuple(facts))


def twin_found(rows: Reader, order_id: str, facts: Sequence[CertificateTwinFound]) -> Decision:
    """Record certificates that nobody gets, in so far as they are not known yet; each once, under
    however many numbers it was shown.

    Which of the attempts that were given up made which of them, their authority does not say: the
    first belongs to the attempt that it names, further ones to others there that are open. The
    latest of these are settled first: an earlier one is looked for from a lower number on, and so
    finds what is hidden from a later one.
    """
    order = rows.get(ORDERS, order_id)
    attempts = range(1, order.attempt + 1 if order is not None else 0)
    once: dict[bytes, CertificateTwinFound] = {}
    for fact in facts:
        once.setdefault(fact.certificate, fact)
    new = [
        fact
        for fact in once.values()
        if fact.attempt in attempts and not _is_known(rows, order_id, fact.certificate)
    ]
    if order is None or not new:
        return Decision()
    first = new[0].attempt
    others = iter(
        attempt
        for attempt in sorted(order.abandoned, reverse=True)
        if attempt != first
        and (suspect := _suspect(rows, order_id, attempt)) is not None
        and suspect.authority == new[0].authority
    )
    told = [new[0], *(replace(fact, attempt=next(others, first)) for fact in new[1:])]
    return Decision(tuple((certificate_stream(order_id), fact) for fact in told))


def searched(rows: Reader, order_id: str, fact: IssuanceSearched) -> Decision:
    """Record that it was asked what became of an attempt that was given up."""
    suspect = _suspect(rows, order_id, fact.attempt)
    if suspect is None or (suspect.searched and not fact.settled):
        return Decision()
    return Decision(((stream(order_id), fact),))


def attempt_failed(
    rows: Reader,
    order_id: str,
    authority: str,
    reason: str,
    *,
    attempt: int,
    code: str = "",
    request_id: str = "",
) -> Decision:
    """Record that an attempt surely made no certificate, and that another will follow."""
    fact = IssuanceFailed(attempt, authority, reason, final=False, code=code, request_id=request_id)
    return _ended(rows, order_id, fact, None)


def refused(
    rows: Reader,
    order_id: str,
    authority: str,
    reason: str,
    error: Problem,
    *,
    attempt: int,
    code: str = "",
    request_id: str = "",
) -> Decision:
    """Record that there will be no certificate. `reason` is everything, `error` what the client is
    told."""
    fact = IssuanceFailed(attempt, authority, reason, final=True, code=code, request_id=request_id)
    return _ended(rows, order_id, fact, error)


def _ended(rows: Reader, order_id: str, fact: IssuanceFailed, error: Problem | None) -> Decision:
    """Record the end of one attempt. If there is a later one by now, this one has been told apart
    already, and says nothing about the other."""
    order = _processing(rows, order_id)
    if order is None or order.attempt != fact.attempt:
        settled = IssuanceSearched(fact.attempt, fact.authority, settled=True, reason=fact.reason)
        return searched(rows, order_id, settled)
    facts: list[tuple[str, Event]] = [(stream(order_id), fact)]
    if error is not None:
        facts.append((stream(order_id), OrderInvalidated("authority", error)))
    return Decision(tuple(facts))


def _learnt_late(rows: Reader, order_id: str, fact: IssuancePending | IssuanceInDoubt) -> Decision:
    """Record the authority's number of an attempt that was given up without it."""
    suspect = _suspect(rows, order_id, fact.attempt)
    if suspect is None or fact.request_id in ("", suspect.request_id):
        return Decision()
    reason = "its request number was learnt when it had been given up"
    found = IssuanceAbandoned(fact.attempt, fact.authority, reason, fact.request_id)
    return Decision(((stream(order_id), found),))


def _is_known(rows: Reader, order_id: str, certificate: bytes) -> bool:
    """Whether a certificate is the order's, or was recorded as one that nobody gets."""
    id_ = revocation_id(order_id, certificate)
    theirs = rows.get(CERTIFICATES, order_id)
    if theirs is not None and theirs.certificate == certificate:
        return True
    return rows.get(REVOCATIONS, order_id, id_) is not None


def _suspect(rows: Reader, order_id: str, attempt: int) -> Suspect | None:
    return rows.get(SUSPECTS, suspect_id(order_id, attempt))


def _awaiting(rows: Reader, order_id: str, attempt: int) -> Order | None:
    """Return the order if this is its last submission, and it has no outcome yet."""
    order = _processing(rows, order_id)
    awaits = order is not None and order.in_doubt and order.attempt == attempt
    return order if awaits else None


def _ordered(order: Order) -> tuple[object, ...]:
    """Return what a certificate is held against."""
    return order.account_id, order.policy, order.profile, order.identifiers, order.csr_sha256


def _processing(rows: Reader, order_id: str) -> Order | None:
    order = rows.get(ORDERS, order_id)
    return order if order is not None and order.status == PROCESSING else None
