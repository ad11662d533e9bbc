"""What follows from a challenge that was looked at."""

import msgspec

from certeasy.decide.decision import Decision, Reader
from certeasy.decide.orders import stream
from certeasy.decide.problems import Problem as Refusal
from events.orders import (
    ChallengeFailed,
    ChallengeValidated,
    Identifier,
    OrderInvalidated,
    OrderReady,
    Problem,
)
from events.registry import Event
from projections.accounts import ACCOUNTS
from projections.accounts import VALID as ACCOUNT_VALID
from projections.orders import ORDERS, PENDING, PROCESSING, VALID, Order


class Asked(msgspec.Struct, frozen=True):
    """What was looked at: for which account, under which policy, what, how, and for the holder of
    which key."""

    account_id: str
    policy: str
    identifier: Identifier
    wildcard: bool
    type: str
    token: str
    thumbprint: str

    @classmethod
    def of(cls, order: Order, n: int, m: int, thumbprint: str) -> "Asked":
        """Return what is looked at for a challenge."""
        authorization = order.authorizations[n]
        challenge = authorization.challenges[m]
        return cls(
            order.account_id,
            order.policy,
            authorization.identifier,
            authorization.wildcard,
            challenge.type,
            challenge.token,
            thumbprint,
        )


CLOSED = Problem(Refusal.UNAUTHORIZED.urn, "The account was closed", Refusal.UNAUTHORIZED.status)
OTHER_KEY = Problem(
    Refusal.UNAUTHORIZED.urn,
    "The account changed its key while this was looked at; place a new order",
    Refusal.UNAUTHORIZED.status,
)


def validated(
    rows: Reader, order_id: str, n: int, m: int, asked: Asked, evidence: dict[str, object]
) -> Decision:
    """Record that control was proven; the last proof makes the order ready in the same moment.

    It counts only for what the order says: this name, in this way, this account and its key. An
    account that was closed meanwhile gets nothing any more (RFC 8555 section 7.3.6).
    """
    order = _awaiting(rows, order_id, n, m, asked)
    if order is None:
        return Decision()
    account = rows.get(ACCOUNTS, order.account_id)
    if account is None or account.status != ACCOUNT_VALID:
        return _failed(order, n, m, CLOSED, evidence)
    if account.thumbprint != asked.thumbprint:
        return _failed(order, n, m, OTHER_KEY, evidence)
    facts: list[tuple[str, Event]] = [(stream(order_id), ChallengeValidated(n, m, evidence))]
    others = (a for i, a in enumerate(order.authorizations) if i != n)
    if all(authorization.status == VALID for authorization in others):
        facts.append((stream(order_id), OrderReady()))
    return Decision(tuple(facts))


def failed(
    rows: Reader,
    order_id: str,
    n: int,
    m: int,
    asked: Asked,
    error: Problem,
    evidence: dict[str, object],
) -> Decision:
    """Record that control was not proven: with it the authorization and the order have failed."""
    order = _awaiting(rows, order_id, n, m, asked)
    return Decision() if order is None else _failed(order, n, m, error, evidence)


def _failed(order: Order, n: int, m: int, error: Problem, evidence: dict[str, object]) -> Decision:
    return Decision(
        (
            (stream(order.id), ChallengeFailed(n, m, error, evidence)),
            (stream(order.id), OrderInvalidated("challenge", error)),
        )
    )


def _awaiting(rows: Reader, order_id: str, n: int, m: int, asked: Asked) -> Order | None:
    """Return the order if it still waits for this outcome; else there is nothing to record."""
    order = rows.get(ORDERS, order_id)
    if order is None or order.status != PENDING:
        return None
    if Asked.of(order, n, m, asked.thumbprint) != asked:
        return None
    return order if order.authorizations[n].challenges[m].status == PROCESSING else None
