"""What may happen to an authorization beside its challenges (RFC 8555 section 7.5)."""

from collections.abc import Sequence
from datetime import datetime

from certeasy.decide.accounts import signed_by
from certeasy.decide.decision import Decision, Reader
from certeasy.decide.orders import (
    Known,
    ahead_rule,
    authorization_of,
    authorization_status,
    of_account,
    stream,
)
from certeasy.decide.problems import Problem, Refused
from events.orders import AuthorizationDeactivated, OrderInvalidated
from events.orders import Problem as Told
from events.registry import Event
from projections.orders import (
    DEACTIVATED,
    ORDERS,
    PENDING,
    PREAUTHORIZATIONS,
    PROCESSING,
    READY,
    VALID,
    Order,
)

GIVEN_UP = Told(
    Problem.UNAUTHORIZED.urn,
    "An authorization of this order was deactivated; place a new one",
    Problem.UNAUTHORIZED.status,
)


def deactivate(
    rows: Reader, now: datetime, *, account_id: str, thumbprint: str, order_id: str, n: int
) -> Decision:
    """Give an authorization up (section 7.5.2); one that was given up before stays so.

    Nothing may be issued on it any more: with it ends an order for which the authority was not
    asked yet. A certificate that exists, or may, is revoked, not given up.
    """
    signed_by(rows, account_id, thumbprint)
    order = of_account(rows, order_id, account_id)
    authorization = authorization_of(order, n)
    if authorization.status == DEACTIVATED:
        return Decision()
    status = authorization_status(order, authorization, now)
    if status not in (PENDING, VALID):
        raise Refused(Problem.MALFORMED, f"The authorization is {status} already")
    facts: list[Event] = [AuthorizationDeactivated(n)]
    if _is_open(order):
        facts.append(OrderInvalidated("client", GIVEN_UP))
    return Decision(tuple((stream(order_id), fact) for fact in facts))


def known_ahead(
    rows: Reader,
    now: datetime,
    *,
    account_id: str,
    names: Sequence[str],
    challenges: Sequence[str],
    policy: str,
) -> dict[str, Known]:
    """Return which of the names the account has proven ahead of any order (section 7.4.1).

    Such a proof counts under the policy that it was given under, by a challenge type that the
    policy still allows, until it expires or is given up; and never for a wildcard.
    """
    known = {}
    for name in names:
        found = rows.get(PREAUTHORIZATIONS, account_id, name)
        order = None if found is None else rows.get(ORDERS, found.order_id)
        if order is None or not order.preauthorization:
            continue
        if order.account_id != account_id or order.policy != policy:
            continue
        authorization = order.authorizations[0]
        solved = next((c.type for c in authorization.challenges if c.status == VALID), "")
        proven = authorization_status(order, authorization, now) == VALID
        if proven and solved in challenges and authorization.identifier.value == name:
            known[name] = Known(ahead_rule(order.id), solved)
    return known


def _is_open(order: Order) -> bool:
    """Whether nothing was issued for an order, and nothing may have been."""
    return order.status in (PENDING, READY) or (order.status == PROCESSING and not order.in_doubt)
