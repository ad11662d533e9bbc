"""What may happen to an order on its client's request (RFC 8555 section 7.4)."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType

import msgspec

from certeasy.decide import eab, log_limits, renewal
from certeasy.decide.accounts import signed_by
from certeasy.decide.addresses import kind
from certeasy.decide.challenges import proving
from certeasy.decide.decision import Decision, Reader
from certeasy.decide.identifiers import split
from certeasy.decide.problems import Problem, Refused, Weight
from certeasy.decide.seats import newest
from certeasy.settings import RenewalInfoSettings
from certeasy.settings.challenges import WITHOUT_TOKEN
from certeasy.settings.limits import AccountLimits, RateLimiting
from events.orders import (
    AuthorizationPrevalidated,
    CaaCheck,
    ChallengeAccepted,
    Identifier,
    IssuanceSubmitted,
    OfferedAuthorization,
    OfferedChallenge,
    OrderCaaChecked,
    OrderCreated,
    OrderExpired,
    OrderFinalized,
    OrderReady,
)
from events.orders import Problem as Told
from events.registry import Event
from projections.certificates import CERTIFICATES
from projections.eab import EabKey
from projections.orders import (
    DEACTIVATED,
    EXPIRED,
    INVALID,
    ORDERS,
    PENDING,
    PROCESSING,
    READY,
    VALID,
    Authorization,
    Challenge,
    Order,
)

NOT_FOUND = 404


class Known(msgspec.Struct, frozen=True):
    """Why control of a name needs no proof: `rule` is for whoever reads the log.

    `solved` is the type of the challenge that is shown as solved, if it is offered; else the first
    one is.
    """

    rule: str
    solved: str = ""


_AHEAD = "authorization "


def ahead_rule(order_id: str) -> str:
    """Return the rule by which a name is known that was proven ahead of any order."""
    return f"{_AHEAD}{order_id}-0"


def proven_by(authorization: Authorization) -> str:
    """Return the type of the challenge that was met for an authorization; "": none was, as where an
    administrator has granted the name."""
    if authorization.rule and not authorization.rule.startswith(_AHEAD):
        return ""
    return next((each.type for each in authorization.challenges if each.status == VALID), "")


NO_LIMITS = RateLimiting(enabled=False).of()
USUAL_ADVICE = RenewalInfoSettings()
NOTHING_KNOWN: Mapping[str, Known] = MappingProxyType({})


def stream(order_id: str) -> str:
    """Return the stream of an order's facts."""
    return f"order/{order_id}"


def _not_there(what: str) -> Refused:
    detail = f"There is no such {what}"
    return Refused(Problem.MALFORMED, detail, status=NOT_FOUND, weight=Weight.GUESS)


def of_account(rows: Reader, order_id: str, account_id: str) -> Order:
    """Return an order that belongs to the account.

    Raises Refused: malformed (404) if there is none, unauthorized (403) if it is another account's.
    """
    order = rows.get(ORDERS, order_id)
    if order is None:
        raise _not_there("order")
    if order.account_id != account_id:
        detail = "This order belongs to another account"
        raise Refused(Problem.UNAUTHORIZED, detail, weight=Weight.HOSTILE)
    return order


def placed_by(rows: Reader, order_id: str, account_id: str) -> Order:
    """Return an order that the account placed: none that is only a proof ahead of any order.

    Raises Refused as `of_account` does.
    """
    order = of_account(rows, order_id, account_id)
    if order.preauthorization:
        raise _not_there("order")
    return order


def authorization_of(order: Order, n: int) -> Authorization:
    """Return authorization `n` of an order; Refused (malformed, 404) if it has none."""
    if not 0 <= n < len(order.authorizations):
        raise _not_there("authorization")
    return order.authorizations[n]


def challenge_of(order: Order, n: int, m: int) -> Challenge:
    """Return challenge `m` of authorization `n`; Refused (malformed, 404) if there is none."""
    authorization = authorization_of(order, n)
    if not 0 <= m < len(authorization.challenges):
        raise _not_there("challenge")
    return authorization.challenges[m]


def visible_status(order: Order, now: datetime) -> str:
    """Return the status that clients see: an order that ran out before it was finalized is
    invalid."""
    return INVALID if has_expired(order, now) else order.status


def authorization_status(order: Order, authorization: Authorization, now: datetime) -> str:
    """Return the status that clients see: what was proven counts as long as the order is open, and
    for nothing after `expires`; what was not proven fails with its order."""
    if authorization.status == VALID:
        return EXPIRED if _ran_out(order, now) else VALID
    if authorization.status != PENDING:
        return authorization.status
    if has_expired(order, now):
        return EXPIRED
    return INVALID if order.status == INVALID else PENDING


def has_expired(order: Order, now: datetime) -> bool:
    """Whether an order ran out before its client was done."""
    return order.status in {PENDING, READY} and _ran_out(order, now)


def _ran_out(order: Order, now: datetime) -> bool:
    return datetime.fromisoformat(order.expires) <= now


def visible_error(order: Order, now: datetime) -> Told | None:
    """Return what clients are told went wrong: also of an order that just ran out."""
    return ran_out(order) if has_expired(order, now) else order.error


def ran_out(order: Order) -> Told:
    """Return what is told of an order that ran out."""
    problem = Problem.UNAUTHORIZED
    detail = f"The order expired at {order.expires}; place a new one"
    return Told(problem.urn, detail, problem.status)


def expire(rows: Reader, now: datetime, order_ids: Sequence[str]) -> Decision:
    """Record of each of these orders that it ran out, if it did."""
    found = (rows.get(ORDERS, order_id) for order_id in order_ids)
    over = [order for order in found if order is not None and has_expired(order, now)]
    return Decision(tuple((stream(each.id), OrderExpired(ran_out(each))) for each in over))


def new_order(
    rows: Reader,
    now: datetime,
    *,
    account_id: str,
    thumbprint: str,
    order_id: str,
    names: Sequence[str],
    challenges: Sequence[str],
    tokens: Iterator[str],
    lifetime: timedelta,
    policy: str,
    authority: str,
    key: EabKey | None,
    known: Mapping[str, Known] = NOTHING_KNOWN,
    replaces: str = "",
    profile: str = "",
    preauthorization: bool = False,
    limits: AccountLimits = NO_LIMITS,
    advice: RenewalInfoSettings = USUAL_ADVICE,
) -> Decision:
    """Open an order for canonical names, each to be proven by one of the challenge types.

    A name is offered those that can prove it. A wildcard's authorization is without `*.` (RFC 8555
    section 7.1.4), so a zone and its wildcard have two with the same identifier. `tokens` yields
    fresh challenge tokens. The names were held against the policy before. What is `known`, by name,
    is not to be proven again. `replaces` is the id of the certificate whose successor is ordered,
    if there is one. A `preauthorization` is for one name, and will never be more than its
    authorization. `key` is the one of the account's external account binding that names, policy and
    what is known were held against. Raises Refused (unauthorized) for an account whose binding was
    taken back, (rateLimited) where the account's `limits` do not let it order this now; they let it
    renew what, by our `advice`, is to be renewed.
    """
    eab.check_same(key, eab.key_of(rows, signed_by(rows, account_id, thumbprint)))
    if replaces:
        renewal.check_predecessor(rows, replaces, account_id=account_id, names=names)
    log_limits.check_order(
        rows,
        now,
        limits,
        account_id=account_id,
        names=names,
        due=_is_due(rows, now, replaces, account_id=account_id, names=names, advice=advice),
        ahead=preauthorization,
    )
    authorizations = tuple(_offer(name, challenges, tokens) for name in names)
    fact = OrderCreated(
        order_id=order_id,
        account_id=account_id,
        identifiers=tuple(Identifier(kind(name), name) for name in names),
        authorizations=authorizations,
        expires=f"{now + lifetime:%Y-%m-%dT%H:%M:%SZ}",
        policy=policy,
        authority=authority,
        replaces=replaces,
        profile=profile,
        preauthorization=preauthorization,
    )
    facts = [fact, *born_valid(authorizations, [known.get(name) for name in names])]
    return Decision(tuple((stream(order_id), each) for each in facts))


def _is_due(
    rows: Reader,
    now: datetime,
    replaces: str,
    *,
    account_id: str,
    names: Sequence[str],
    advice: RenewalInfoSettings,
) -> bool:
    """Whether the time has come to renew what an order replaces; or, where it does not say, or
    replaces one for other names, the account's newest certificate for exactly these names."""
    before = rows.get(CERTIFICATES, replaces) if replaces else None
    if before is None or set(before.names) != set(names):
        replaces = newest(rows, account_id, names, now)
    return renewal.is_due(rows, now, replaces, advice)


def born_valid(
    authorizations: Sequence[OfferedAuthorization], known: Sequence[Known | None]
) -> list[Event]:
    """Return the facts by which authorizations of a new order are valid from the beginning.

    `known` goes along with `authorizations`; None: that one is to be proven. If nothing is left to
    prove, the order is ready in the same moment.
    """
    facts: list[Event] = []
    for n, (authorization, why) in enumerate(zip(authorizations, known, strict=True)):
        if why is None:
            continue
        types = [offered.type for offered in authorization.challenges]
        shown = types.index(why.solved) if why.solved in types else 0
        facts.append(AuthorizationPrevalidated(n, why.rule, shown))
    if len(facts) == len(authorizations):
        facts.append(OrderReady())
    return facts


def _offer(name: str, challenges: Sequence[str], tokens: Iterator[str]) -> OfferedAuthorization:
    base, wildcard = split(name)
    offered = tuple(
        OfferedChallenge(each, "" if each in WITHOUT_TOKEN else next(tokens))
        for each in proving(challenges, name)
    )
    return OfferedAuthorization(Identifier(kind(base), base), offered, wildcard=wildcard)


def accept_challenge(
    rows: Reader,
    now: datetime,
    *,
    account_id: str,
    thumbprint: str,
    order_id: str,
    n: int,
    m: int,
) -> Decision:
    """Begin to validate a challenge; one that was begun or ended before is answered as it
    stands."""
    signed_by(rows, account_id, thumbprint)
    order = of_account(rows, order_id, account_id)
    challenge = challenge_of(order, n, m)
    if challenge.status != PENDING:
        return Decision()
    status = authorization_status(order, order.authorizations[n], now)
    if status != PENDING:
        raise Refused(Problem.MALFORMED, f"The challenge's authorization is {status}")
    if any(other.status == PROCESSING for other in order.authorizations[n].challenges):
        raise Refused(
            Problem.MALFORMED, "Another challenge of this authorization is being validated"
        )
    return Decision(((stream(order_id), ChallengeAccepted(n, m)),))


def finalize(
    rows: Reader,
    now: datetime,
    *,
    account_id: str,
    thumbprint: str,
    order_id: str,
    csr: bytes,
    held: Order,
    submit_to: str | None,
    caa: Sequence[CaaCheck] = (),
    limits: AccountLimits = NO_LIMITS,
    advice: RenewalInfoSettings = USUAL_ADVICE,
) -> Decision:
    """Take a request (DER) that was held against the order as it was seen, `held`, before.

    The same request again is answered with the order as it stands; another one is refused, as is
    one for an order that is not ready (orderNotReady). With `submit_to` the first submission to
    that authority is recorded at once, for one that answers in this process. `caa` is what was seen
    where CAA records were looked at again for this request. Refused (rateLimited), too, where the
    account's `limits` do not let it be issued now: the order stays ready.
    """
    account = signed_by(rows, account_id, thumbprint)
    order = placed_by(rows, order_id, account_id)
    digest = hashlib.sha256(csr).hexdigest()
    if order.status in {PROCESSING, VALID} and order.csr_sha256 == digest:
        return Decision()
    check_ready(order, now)
    eab.check_still_granted(rows, account)
    _check_still_proven(rows, order)
    renewal.check_still_first(rows, order)
    names = [identifier.value for identifier in order.identifiers]
    due = _is_due(rows, now, order.replaces, account_id=account_id, names=names, advice=advice)
    log_limits.check_finalize(rows, now, limits, order, due=due)
    if order != held:
        raise Refused(Problem.SERVER_INTERNAL, "The order is not what the request was held against")
    facts: list[tuple[str, Event]] = []
    if caa:
        facts.append((stream(order_id), OrderCaaChecked(tuple(caa))))
    facts.append((stream(order_id), OrderFinalized(csr, digest)))
    if submit_to is not None:
        facts.append((stream(order_id), IssuanceSubmitted(1, submit_to, digest)))
    return Decision(tuple(facts))


def _check_still_proven(rows: Reader, order: Order) -> None:
    """Return unless a proof ahead of the order, by which it is ready, was given up since.

    Nothing is issued on such a one (RFC 8555 section 7.5.2). Raises Refused (unauthorized).
    """
    for each in order.authorizations:
        if not each.rule.startswith(_AHEAD):
            continue
        proof = rows.get(ORDERS, each.rule.removeprefix(_AHEAD).removesuffix("-0"))
        if proof is None or proof.authorizations[0].status == DEACTIVATED:
            detail = f"The authorization by which {each.identifier.value} was known was deactivated"
            raise Refused(Problem.UNAUTHORIZED, f"{detail}; place a new order")


def check_ready(order: Order, now: datetime) -> None:
    """Return if the order may be finalized; Refused (orderNotReady) says in which state it is."""
    status = visible_status(order, now)
    if status == READY:
        return
    if has_expired(order, now):
        detail = ran_out(order).detail
    elif status == PENDING:
        waiting = [a.identifier.value for a in order.authorizations if a.status != VALID]
        detail = f"The order is not ready: still to be validated: {', '.join(waiting[:5])}"
    elif status == INVALID:
        detail = "The order has failed; place a new one"
    else:
        detail = "The order was finalized before, with another certificate signing request"
    raise Refused(Problem.ORDER_NOT_READY, detail)
