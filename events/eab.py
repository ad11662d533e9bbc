"""Facts about external account bindings (RFC 8555 section 7.3.4): keys that an administrator hands
out, with which accounts are bound. The MAC key itself is in no event.
"""

from events.registry import Event, event


@event("eab.created")
class EabCreated(Event, frozen=True):
    """An administrator had a key made, for accounts that may do no more than this says.

    `expires` is RFC 3339 in UTC, until when accounts can be bound with it (empty: for ever),
    `max_uses` how many may be (0: any number). Accounts bound with it get certificates of this
    `policy` and `profile`, for names that these rules (`certeasy.settings.names`) `allow`, proven
    by one of these `challenges`; what is empty restricts nothing. `prevalidated`: names that are
    allowed need no proof.
    """

    kid: str
    expires: str = ""
    max_uses: int = 0
    policy: str = ""
    profile: str = ""
    allow: tuple[str, ...] = ()
    challenges: tuple[str, ...] = ()
    prevalidated: bool = False
    comment: str = ""


@event("eab.used")
class EabUsed(Event, frozen=True):
    """An account was bound with a key that binds only so many, when the account was created."""

    kid: str
    account_id: str


@event("eab.revoked")
class EabRevoked(Event, frozen=True):
    """An administrator took the key back: it binds nobody any more, and those who were bound with
    it order nothing more."""

    kid: str
