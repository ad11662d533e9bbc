"""Orders as the log made them, each with its authorizations and challenges.

One row holds the whole aggregate, so that every ACME read is one look-up by primary key.
"""

import msgspec
from msgspec.structs import replace

from events.envelope import Envelope
from events.orders import (
    AuthorizationDeactivated,
    AuthorizationPrevalidated,
    ChallengeAccepted,
    ChallengeFailed,
    ChallengeValidated,
    Identifier,
    IssuanceAbandoned,
    IssuanceFailed,
    IssuanceInDoubt,
    IssuancePending,
    IssuanceSearched,
    IssuanceSubmitted,
    OrderCreated,
    OrderExpired,
    OrderFinalized,
    OrderInvalidated,
    OrderReady,
    Problem,
)
from projections import failures, marks, name_sets, renewals, seats, suspects, unproven
from projections.failures import Failure
from projections.jobs import ISSUE, JOBS, VALIDATE, Job
from projections.name_sets import Issuance
from projections.suspects import SUSPECTS, Suspect, suspect_id
from projections.tables import Column, Contradiction, Rows, Table
from projections.unproven import Unproven

PENDING = "pending"
READY = "ready"
PROCESSING = "processing"
VALID = "valid"
INVALID = "invalid"
EXPIRED = "expired"
DEACTIVATED = "deactivated"


class Challenge(msgspec.Struct, frozen=True, omit_defaults=True):
    """One way to prove control (RFC 8555 section 8)."""

    type: str
    token: str
    status: str = PENDING
    validated: str = ""
    error: Problem | None = None


class Authorization(msgspec.Struct, frozen=True, omit_defaults=True):
    """What must be proven for one identifier (RFC 8555 section 7.1.4).

    `rule` is that of `authorization.prevalidated` where it needed no proof.
    """

    identifier: Identifier
    challenges: tuple[Challenge, ...]
    status: str = PENDING
    wildcard: bool = False
    rule: str = ""


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """An order (RFC 8555 section 7.1.3). `position` is that of the last event which changed it.

    `attempt` counts submissions to the authority; `in_doubt` is true while the last one has no
    outcome. `csr` is kept until the order has ended. `finalized` is when it was sent.

    Of the last submission: `after` is what was known of the authority's request numbers when it was
    made, `request_id` its own one once it is known, `pending` since when it waits for a person, and
    `doubted` whether it was told that its answer was lost. `abandoned` are the attempts that were
    given up although they may have made a certificate.
    """

    id: str
    account_id: str
    status: str
    position: int
    created: str
    expires: str
    policy: str
    authority: str
    identifiers: tuple[Identifier, ...]
    authorizations: tuple[Authorization, ...]
    csr: bytes = b""
    csr_sha256: str = ""
    attempt: int = 0
    in_doubt: bool = False
    error: Problem | None = None
    profile: str = ""
    replaces: str = ""
    preauthorization: bool = False
    finalized: str = ""
    after: str = ""
    request_id: str = ""
    pending: str = ""
    doubted: bool = False
    abandoned: tuple[int, ...] = ()


class OrderName(msgspec.Struct, frozen=True):
    """A name that an order is for, or a certificate whose order the log has lost."""

    name: str
    order_id: str


class Preauthorization(msgspec.Struct, frozen=True):
    """The latest proof ahead of any order that an account has given of a name: `<order_id>-0`."""

    account_id: str
    name: str
    order_id: str


ORDERS = Table(
    "orders",
    Order,
    [
        Column("id", size=26),
        Column("account_id", size=26),
        Column("status", size=16),
        Column("expires", size=32),
        Column("position", "integer"),
    ],
    key=("id",),
    indexes=[("account_id", "id"), ("status", "expires")],
)

ORDER_NAMES = Table(
    "order_names",
    OrderName,
    [Column("name", size=255), Column("order_id", size=26)],
    key=("name", "order_id"),
    body=False,
)


PREAUTHORIZATIONS = Table(
    "preauthorizations",
    Preauthorization,
    [Column("account_id", size=26), Column("name", size=255), Column("order_id", size=26)],
    key=("account_id", "name"),
    body=False,
)


def order_id_of(line: Envelope) -> str:
    """Return the order that a line of its stream, `order/<id>`, is about."""
    return line.stream.partition("/")[2]


def created(fact: OrderCreated, line: Envelope, rows: Rows) -> None:
    """A new order, with nothing proven yet."""
    if rows.get(ORDERS, fact.order_id) is not None:
        raise Contradiction(line.position, f"order {fact.order_id} is created a second time")
    authorizations = tuple(
        Authorization(
            identifier=offered.identifier,
            challenges=tuple(Challenge(c.type, c.token) for c in offered.challenges),
            wildcard=offered.wildcard,
        )
        for offered in fact.authorizations
    )
    order = Order(
        id=fact.order_id,
        account_id=fact.account_id,
        status=PENDING,
        position=line.position,
        created=line.at,
        expires=fact.expires,
        policy=fact.policy,
        authority=fact.authority,
        identifiers=fact.identifiers,
        authorizations=authorizations,
        profile=fact.profile,
        replaces=fact.replaces,
        preauthorization=fact.preauthorization,
    )
    rows.put(ORDERS, order)
    _count_unproven(order, rows)
    for identifier in fact.identifiers:
        rows.put(ORDER_NAMES, OrderName(identifier.value, fact.order_id))


def challenge_accepted(fact: ChallengeAccepted, line: Envelope, rows: Rows) -> None:
    """The challenge is being tried; a job will do it."""
    order = present(rows, line, PENDING)
    challenge = _challenge(order, line, fact.authorization, fact.challenge, PENDING)
    order = _with(
        order, fact.authorization, PENDING, fact.challenge, replace(challenge, status=PROCESSING)
    )
    rows.put(ORDERS, replace(order, position=line.position))
    rows.put(
        JOBS,
        Job(
            _job(order, fact.authorization, fact.challenge),
            VALIDATE,
            order.id,
            order.account_id,
            line.position,
        ),
    )


def challenge_validated(fact: ChallengeValidated, line: Envelope, rows: Rows) -> None:
    """Control was proven: the authorization is valid."""
    order = present(rows, line, PENDING)
    challenge = _challenge(order, line, fact.authorization, fact.challenge, PROCESSING)
    proven = replace(challenge, status=VALID, validated=line.at)
    order = _with(order, fact.authorization, VALID, fact.challenge, proven)
    rows.put(ORDERS, replace(order, position=line.position))
    _count_unproven(order, rows)
    rows.delete(JOBS, _job(order, fact.authorization, fact.challenge))


def challenge_failed(fact: ChallengeFailed, line: Envelope, rows: Rows) -> None:
    """Control was not proven: the authorization is invalid."""
    order = present(rows, line, PENDING)
    challenge = _challenge(order, line, fact.authorization, fact.challenge, PROCESSING)
    failed = replace(challenge, status=INVALID, error=fact.error)
    order = _with(order, fact.authorization, INVALID, fact.challenge, failed)
    rows.put(ORDERS, replace(order, position=line.position))
    _count_unproven(order, rows)
    name = order.authorizations[fact.authorization].identifier.value
    failures.failed(rows, order.account_id, name, Failure(order.id, line.at))
    rows.delete(JOBS, _job(order, fact.authorization, fact.challenge))


def prevalidated(fact: AuthorizationPrevalidated, line: Envelope, rows: Rows) -> None:
    """Control was known before: the authorization is valid, and one challenge stands for it."""
    order = present(rows, line, PENDING)
    n, m = fact.authorization, fact.challenge
    challenge = replace(_challenge(order, line, n, m, PENDING), status=VALID, validated=line.at)
    if order.authorizations[n].status != PENDING:
        what = f"{line.type} for authorization {n} of {line.stream}, which is not pending"
        raise Contradiction(line.position, what)
    valid = _with(order, n, VALID, m, challenge)
    known = _at(valid, n, replace(valid.authorizations[n], rule=fact.rule))
    rows.put(ORDERS, replace(known, position=line.position))
    _count_unproven(known, rows)


def ready(_fact: OrderReady, line: Envelope, rows: Rows) -> None:
    """All is proven; the client may finalize."""
    order = present(rows, line, PENDING)
    if any(authorization.status != VALID for authorization in order.authorizations):
        raise Contradiction(line.position, f"{line.stream} is ready, but not all of it was proven")
    rows.put(ORDERS, replace(order, status=READY, position=line.position))
    if order.preauthorization:
        name = order.identifiers[0].value
        rows.put(PREAUTHORIZATIONS, Preauthorization(order.account_id, name, order.id))


def finalized(fact: OrderFinalized, line: Envelope, rows: Rows) -> None:
    """The request is in; a job will have it issued."""
    order = replace(
        present(rows, line, READY),
        status=PROCESSING,
        position=line.position,
        csr=fact.csr,
        csr_sha256=fact.csr_sha256,
        finalized=line.at,
    )
    rows.put(ORDERS, order)
    seats.opened(rows, order.account_id)
    name_sets.counted(rows, _names(order), Issuance(order.id, order.account_id, line.at, ""))
    if order.replaces:
        renewals.taken_on(rows, order.replaces, order.id)
    rows.put(JOBS, Job(order.id, ISSUE, order.id, order.account_id, line.position))


def submitted(fact: IssuanceSubmitted, line: Envelope, rows: Rows) -> None:
    """A certificate may exist from here on, of this authority."""
    order = present(rows, line, PROCESSING)
    if (fact.attempt, fact.csr_sha256) != (order.attempt + 1, order.csr_sha256):
        raise Contradiction(line.position, f"{line.stream} did not come to this submission")
    submitted_to = replace(
        over(order, line),
        authority=fact.authority,
        attempt=fact.attempt,
        in_doubt=True,
        after=fact.after,
    )
    rows.put(ORDERS, submitted_to)


def pending(fact: IssuancePending, line: Envelope, rows: Rows) -> None:
    """The authority has the request, and somebody has to approve it."""
    order = _awaiting(rows, line, fact.attempt, fact.authority)
    marks.seen(rows, fact.authority, fact.request_id, order.request_id)
    waiting = replace(
        order,
        request_id=fact.request_id,
        pending=order.pending or line.at,
        position=line.position,
    )
    rows.put(ORDERS, waiting)


def in_doubt(fact: IssuanceInDoubt, line: Envelope, rows: Rows) -> None:
    """The answer was lost; what is known of it is kept."""
    order = _awaiting(rows, line, fact.attempt, fact.authority)
    marks.seen(rows, fact.authority, fact.request_id, order.request_id)
    request_id = fact.request_id or order.request_id
    rows.put(ORDERS, replace(order, doubted=True, request_id=request_id, position=line.position))


def abandoned(fact: IssuanceAbandoned, line: Envelope, rows: Rows) -> None:
    """An attempt is given up: the last one, or, as something was learnt late, an earlier one."""
    order = present(rows, line, PROCESSING, VALID, INVALID)
    marks.seen(rows, fact.authority, fact.request_id, order.request_id)
    id_ = suspect_id(order.id, fact.attempt)
    known = rows.get(SUSPECTS, id_)
    if known is not None:
        suspect = replace(known, request_id=fact.request_id, reason=fact.reason, searched="")
    elif (fact.attempt, True) == (order.attempt, order.in_doubt):
        suspect = Suspect(
            id=id_,
            order_id=order.id,
            account_id=order.account_id,
            authority=fact.authority,
            attempt=fact.attempt,
            csr=order.csr,
            since=line.at,
            reason=fact.reason,
            position=line.position,
            after=order.after,
            request_id=fact.request_id,
        )
        given_up = (*order.abandoned, fact.attempt)
        rows.put(ORDERS, replace(over(order, line), abandoned=given_up))
    else:
        what = f"{line.type} for attempt {fact.attempt} of {line.stream}, which is not open"
        raise Contradiction(line.position, what)
    rows.put(SUSPECTS, suspect)
    if order.status != PROCESSING:
        suspects.look_for(rows, order.id, (fact.attempt,), line)


def searched(fact: IssuanceSearched, line: Envelope, rows: Rows) -> None:
    """It was asked what became of an attempt that was given up."""
    suspect = rows.get(SUSPECTS, suspect_id(order_id_of(line), fact.attempt))
    if suspect is None:
        what = f"{line.type} for attempt {fact.attempt} of {line.stream}, which is not open"
        raise Contradiction(line.position, what)
    if fact.settled:
        suspects.settle(rows, suspect.order_id, fact.attempt)
    else:
        rows.put(SUSPECTS, replace(suspect, searched=line.at))
        rows.delete(JOBS, suspect.id)


def issuance_failed(fact: IssuanceFailed, line: Envelope, rows: Rows) -> None:
    """The attempt is known to have made no certificate."""
    order = present(rows, line, PROCESSING)
    marks.seen(rows, fact.authority, fact.request_id, order.request_id)
    rows.put(ORDERS, over(order, line))


def over(order: Order, line: Envelope) -> Order:
    """Return an order whose last submission has its outcome, or is given up."""
    return replace(
        order,
        in_doubt=False,
        after="",
        request_id="",
        pending="",
        doubted=False,
        position=line.position,
    )


def invalidated(fact: OrderInvalidated, line: Envelope, rows: Rows) -> None:
    """The order has ended without a certificate; what was left to do for it is dropped."""
    order = present(rows, line, PENDING, READY, PROCESSING)
    rows.delete(JOBS, order.id)
    rows.put(ORDERS, _ended(order, fact.error, line, rows))
    suspects.look_for(rows, order.id, order.abandoned, line)


def expired(fact: OrderExpired, line: Envelope, rows: Rows) -> None:
    """The order has ended by itself, and what it has proven counts no more."""
    order = _ended(present(rows, line, PENDING, READY), fact.error, line, rows)
    authorizations = tuple(
        replace(each, status=EXPIRED) if each.status in (PENDING, VALID) else each
        for each in order.authorizations
    )
    rows.put(ORDERS, replace(order, authorizations=authorizations))


def authorization_deactivated(fact: AuthorizationDeactivated, line: Envelope, rows: Rows) -> None:
    """One authorization is given up; what becomes of the order, another event says."""
    order = present(rows, line, PENDING, READY, PROCESSING, VALID, INVALID)
    n, known = fact.authorization, range(len(order.authorizations))
    if n not in known or order.authorizations[n].status not in (PENDING, VALID):
        what = f"{line.type} for {line.stream}, which has no authorization {n} to give up"
        raise Contradiction(line.position, what)
    given_up = _at(order, n, replace(order.authorizations[n], status=DEACTIVATED))
    rows.put(ORDERS, replace(given_up, position=line.position))
    if order.status == PENDING:
        _count_unproven(given_up, rows)


def _ended(order: Order, error: Problem, line: Envelope, rows: Rows) -> Order:
    """Return the order without a future; the challenges that are being tried need not be."""
    for n, authorization in enumerate(order.authorizations):
        for m, challenge in enumerate(authorization.challenges):
            if challenge.status == PROCESSING:
                rows.delete(JOBS, _job(order, n, m))
    ended = replace(over(order, line), status=INVALID, error=error, csr=b"")
    if order.status == PENDING:
        _count_unproven(ended, rows)
    elif order.status == PROCESSING:
        seats.closed(rows, order.account_id)
        name_sets.taken_out(rows, _names(order), order.id)
    return ended


def _names(order: Order) -> list[str]:
    return [identifier.value for identifier in order.identifiers]


def _count_unproven(order: Order, rows: Rows) -> None:
    """Keep how many authorizations of an order are to be proven: none, once it has ended."""
    pending = [each for each in order.authorizations if each.status == PENDING]
    count = len(pending) if order.status == PENDING else 0
    unproven.count(rows, order.account_id, Unproven(order.id, count, order.expires))


def _awaiting(rows: Rows, line: Envelope, attempt: int, authority: str) -> Order:
    """Return the order of a line about its last submission, which has no outcome yet."""
    order = present(rows, line, PROCESSING)
    if (attempt, authority, True) != (order.attempt, order.authority, order.in_doubt):
        what = f"{line.type} for attempt {attempt} of {line.stream}, which is not open"
        raise Contradiction(line.position, what)
    return order


def present(rows: Rows, line: Envelope, *statuses: str) -> Order:
    """Return the order of a line, in one of these statuses; Contradiction where it cannot be."""
    order = rows.get(ORDERS, order_id_of(line))
    if order is None:
        raise Contradiction(line.position, f"{line.type} for {line.stream} before it was created")
    if order.status not in statuses:
        what = f"{line.type} for {line.stream} although it is {order.status}"
        raise Contradiction(line.position, what)
    return order


def _job(order: Order, authorization: int, challenge: int) -> str:
    return f"{order.id}-{authorization}-{challenge}"


def _challenge(order: Order, line: Envelope, n: int, m: int, status: str) -> Challenge:
    try:
        challenge = order.authorizations[n].challenges[m]
    except IndexError:
        raise Contradiction(line.position, f"{line.stream} has no challenge {n}-{m}") from None
    if challenge.status != status:
        what = f"{line.type} for challenge {n}-{m} of {line.stream}, which is {challenge.status}"
        raise Contradiction(line.position, what)
    return challenge


def _with(order: Order, n: int, status: str, m: int, challenge: Challenge) -> Order:
    """Return the order with one challenge and its authorization's status replaced."""
    old = order.authorizations[n]
    challenges = (*old.challenges[:m], challenge, *old.challenges[m + 1 :])
    return _at(order, n, replace(old, status=status, challenges=challenges))


def _at(order: Order, n: int, authorization: Authorization) -> Order:
    """Return the order with one authorization replaced."""
    others = order.authorizations
    return replace(order, authorizations=(*others[:n], authorization, *others[n + 1 :]))
