"""Keys for external account bindings as the log made them."""

import msgspec
from msgspec.structs import replace

from events.eab import EabCreated, EabRevoked, EabUsed
from events.envelope import Envelope
from projections.tables import Column, Contradiction, Rows, Table

VALID = "valid"
REVOKED = "revoked"


class EabKey(msgspec.Struct, frozen=True, omit_defaults=True):
    """A key; its members are those of the event that made it. `uses`: accounts bound with it, where
    there is a bound on that.

    `position` is that of the last event which changed it, `revoked` when it was taken back.
    """

    kid: str
    status: str
    position: int
    created: str
    expires: str = ""
    max_uses: int = 0
    uses: int = 0
    policy: str = ""
    profile: str = ""
    allow: tuple[str, ...] = ()
    challenges: tuple[str, ...] = ()
    prevalidated: bool = False
    comment: str = ""
    revoked: str = ""


EAB_KEYS = Table(
    "eab_keys",
    EabKey,
    [
        Column("kid", size=26),
        Column("status", size=16),
        Column("uses", "integer"),
        Column("position", "integer"),
    ],
    key=("kid",),
)


def created(fact: EabCreated, line: Envelope, rows: Rows) -> None:
    """A new key."""
    if rows.get(EAB_KEYS, fact.kid) is not None:
        raise Contradiction(line.position, f"eab key {fact.kid} is created a second time")
    key = EabKey(
        kid=fact.kid,
        status=VALID,
        position=line.position,
        created=line.at,
        expires=fact.expires,
        max_uses=fact.max_uses,
        policy=fact.policy,
        profile=fact.profile,
        allow=fact.allow,
        challenges=fact.challenges,
        prevalidated=fact.prevalidated,
        comment=fact.comment,
    )
    rows.put(EAB_KEYS, key)


def used(fact: EabUsed, line: Envelope, rows: Rows) -> None:
    """One account more was bound with it."""
    key = _valid(rows, fact.kid, line)
    if key.max_uses and key.uses >= key.max_uses:
        raise Contradiction(line.position, f"eab key {fact.kid} is used more often than it may be")
    rows.put(EAB_KEYS, replace(key, uses=key.uses + 1, position=line.position))


def revoked(fact: EabRevoked, line: Envelope, rows: Rows) -> None:
    """Taken back."""
    key = _valid(rows, fact.kid, line)
    rows.put(EAB_KEYS, replace(key, status=REVOKED, revoked=line.at, position=line.position))


def _valid(rows: Rows, kid: str, line: Envelope) -> EabKey:
    key = rows.get(EAB_KEYS, kid)
    if key is None or key.status != VALID:
        what = "before it was created" if key is None else f"although it is {key.status}"
        raise Contradiction(line.position, f"{line.type} for eab key {kid} {what}")
    return key
