"""What may happen to a key for external account bindings (RFC 8555 section 7.3.4), and what an
account that was bound with one may order.
"""

import re
from collections.abc import Sequence
from datetime import datetime

from certeasy.decide.challenges import proving
from certeasy.decide.decision import Decision, Reader
from certeasy.decide.identifiers import show, split
from certeasy.decide.problems import Problem, Refused, Subproblem
from certeasy.decide.scope import NameRule, parse, permits
from events.counting import times
from events.eab import EabCreated, EabRevoked, EabUsed
from events.registry import Event
from projections.accounts import Account
from projections.eab import EAB_KEYS, REVOKED, EabKey

_SHOWN = 20
_KID = re.compile("[0-9a-v]{26}")


class EabRefused(Exception):
    """Something about a key that may not be; one line says why, and what to do."""


def stream(kid: str) -> str:
    """Return the stream of a key's facts."""
    return f"eab/{kid}"


def is_kid(text: str) -> bool:
    """Whether a text has the form of a key's id; any other is not looked for."""
    return _KID.fullmatch(text) is not None


def secret_name(kid: str) -> str:
    """Return the name under which the database's secrets have a key's MAC key."""
    return f"eab/{kid}"


def create(fact: EabCreated, now: datetime) -> Decision:
    """Make a key; what it says was held against the configuration before."""
    if fact.expires and has_expired(fact.expires, now):
        raise EabRefused(f"it would expire at {fact.expires}, which is over")
    if fact.prevalidated and not fact.allow:
        raise EabRefused("without rules about names (--allow) nothing can be prevalidated")
    for rule in fact.allow:
        try:
            parse(rule)
        except ValueError as error:
            raise EabRefused(f"the rule {rule!r} about names is wrong: {error}") from None
    return Decision(((stream(fact.kid), fact),))


def revoke(rows: Reader, *, kid: str) -> Decision:
    """Take a key back; nothing happens if that was done before."""
    key = rows.get(EAB_KEYS, kid)
    if key is None:
        raise EabRefused(
            f"there is no key {kid}; 'certeasy eab list -f config.yml' shows which there are"
        )
    if key.status == REVOKED:
        return Decision()
    return Decision(((stream(kid), EabRevoked(kid)),))


def has_expired(expires: str, now: datetime) -> bool:
    """Whether a key binds nobody any more because its time is over; one without a time has not."""
    return expires != "" and datetime.fromisoformat(expires) <= now


def use(rows: Reader, now: datetime, *, kid: str, account_id: str) -> tuple[tuple[str, Event], ...]:
    """Return the facts by which one of a key's uses is taken up for a new account.

    Raises Refused (unauthorized) if the key does not bind anybody any more.
    """
    if not kid:
        return ()
    key = rows.get(EAB_KEYS, kid)
    if key is None:
        raise refused(kid, "is not known here")
    if key.status == REVOKED:
        raise refused(kid, "was revoked")
    if has_expired(key.expires, now):
        raise refused(kid, f"expired at {key.expires}")
    if key.max_uses and key.uses >= key.max_uses:
        raise refused(kid, f"was used {times(key.uses)}, as often as it may be")
    # Only where it is counted: the key's own stream, which decisions are made on, stays short.
    return ((stream(kid), EabUsed(kid, account_id)),) if key.max_uses else ()


def refused(kid: str, why: str) -> Refused:
    """Return the refusal of a binding; `why` is the rest of a sentence about its key."""
    return Refused(
        Problem.UNAUTHORIZED,
        f"The external account binding's key {show(kid)} {why}: ask whoever runs this server for"
        " another one",
    )


def key_of(rows: Reader, account: Account | None) -> EabKey | None:
    """Return the key that an account was bound with; None where it was bound with none.

    Raises Refused (unauthorized) if the key was revoked: its accounts order nothing more.
    """
    if account is None or not account.eab:
        return None
    key = rows.get(EAB_KEYS, account.eab)
    if key is None or key.status == REVOKED:
        raise Refused(
            Problem.UNAUTHORIZED,
            f"The key {account.eab}, with which this account was bound (external account binding),"
            " was revoked: ask whoever runs this server for another one, and register anew",
        )
    return key


def check_still_granted(rows: Reader, account: Account) -> None:
    """Return unless the account's names are granted by its key alone, and that was revoked.

    Where control was proven, an order that was begun can be finished. Raises Refused
    (unauthorized).
    """
    key = rows.get(EAB_KEYS, account.eab) if account.eab else None
    if key is None or key.prevalidated:  # one that nobody knows has granted nothing
        key_of(rows, account)


def check_same(held: EabKey | None, true: EabKey | None) -> None:
    """Return if the key that an order was held against says what the log's does.

    What a key is bound to never changes; but tables are only shown, and the log counts. Raises
    Refused (serverInternal).
    """
    if _bounds(held) != _bounds(true):
        raise Refused(
            Problem.SERVER_INTERNAL,
            "The account's external account binding is not what the order was held against",
        )


def check_names(key: EabKey | None, names: Sequence[str]) -> None:
    """Return if an account bound with this key may order these names, wildcards with their `*.`.

    Raises Refused (rejectedIdentifier), naming each that it may not.
    """
    if key is None or not key.allow:
        return
    rules = _rules(key)
    bad = [name for name in names if not _allowed(rules, name)]
    if not bad:
        return
    told = [
        Subproblem.of(Problem.REJECTED_IDENTIFIER, _not_allowed(key, name), show(name))
        for name in bad
    ]
    if len(bad) == 1:
        raise Refused(Problem.REJECTED_IDENTIFIER, told[0].detail, identifier=bad[0])
    detail = f"{len(bad)} of the names are refused; the first: {told[0].detail}"
    raise Refused(Problem.REJECTED_IDENTIFIER, detail, subproblems=told[:_SHOWN])


def profile(key: EabKey | None, wanted: str | None) -> str | None:
    """Return the profile that an order of an account bound with this key has; None: any.

    Raises Refused (invalidProfile) where another one is wanted than the key's.
    """
    if key is None or not key.profile:
        return wanted
    if wanted not in {None, key.profile}:
        raise Refused(
            Problem.INVALID_PROFILE,
            f"This account may order the profile {key.profile} only (external account binding"
            f" {key.kid})",
        )
    return key.profile


def challenges(key: EabKey | None, offered: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Return those of the challenges offered that an account bound with this key may use.

    Raises Refused (rejectedIdentifier) for a name that none of these proves.
    """
    if key is None:
        return tuple(offered)
    left = tuple(kind for kind in offered if kind in (key.challenges or offered))
    for name in names:
        if not proving(left, name):
            by = _listed(key.challenges or offered)
            detail = (
                f'The name "{show(name)}" cannot be proven by {by}, as this account may (external'
                f" account binding {key.kid})"
            )
            raise Refused(Problem.REJECTED_IDENTIFIER, detail, identifier=name)
    return left


def prevalidated(key: EabKey | None, names: Sequence[str]) -> dict[str, str]:
    """Return the names that need no proof from an account bound with this key, with the rule."""
    if key is None or not key.prevalidated:
        return {}
    rules = _rules(key)
    return {name: f"eab {key.kid}" for name in names if _allowed(rules, name)}


def _bounds(key: EabKey | None) -> tuple[object, ...]:
    """Return what accounts that were bound with a key are held to."""
    if key is None:
        return ()
    return (key.kid, key.policy, key.profile, key.allow, key.challenges, key.prevalidated)


def _rules(key: EabKey) -> tuple[NameRule, ...]:
    """Return the rules of a key, read once for all names of an order."""
    return tuple(map(parse, key.allow))


def _allowed(rules: Sequence[NameRule], name: str) -> bool:
    base, wildcard = split(name)
    return permits(rules, (), base, wildcard=wildcard).permitted


def _not_allowed(key: EabKey, name: str) -> str:
    return (
        f'The name "{show(name)}" is not among those that this account may order (external account'
        f" binding {key.kid}: {_listed(key.allow)})"
    )


def _listed(words: Sequence[str]) -> str:
    shown = ", ".join(words[:_SHOWN])
    return shown if len(words) <= _SHOWN else f"{shown}, …"
