"""Facts about ACME accounts (RFC 8555 section 7.3)."""

from events.registry import Event, event
from events.sealing import Sealed


@event("account.created")
class AccountCreated(Event, frozen=True):
    """A key registered itself. `contact` seals a JSON list of URLs; it is absent where none was
    given."""

    account_id: str
    thumbprint: str
    jwk: dict[str, str]
    terms_agreed: bool = False
    contact: Sealed | None = None


@event("account.contacts-changed")
class AccountContactsChanged(Event, frozen=True):
    """The account replaced its contacts; absent means that it has none now."""

    account_id: str
    contact: Sealed | None = None


@event("account.deactivated")
class AccountDeactivated(Event, frozen=True):
    """The account's holder closed it (RFC 8555 section 7.3.6)."""

    account_id: str
