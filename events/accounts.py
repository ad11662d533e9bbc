"""Facts about ACME accounts (RFC 8555 section 7.3)."""

from events.registry import Event, event, upcaster
from events.sealing import Sealed


@event("account.created", schema=2)
class AccountCreated(Event, frozen=True):
    """A key registered itself. `contact` seals a JSON list of URLs; it is absent where none was
    given. `eab` is the key of the external account binding that it was created with (RFC 8555
    section 7.3.4)."""

    account_id: str
    thumbprint: str
    jwk: dict[str, str]
    terms_agreed: bool = False
    contact: Sealed | None = None
    eab: str = ""


@upcaster("account.created", 1)
def _without_bindings(data: dict[str, object]) -> dict[str, object]:
    """Schema 1 had no external account bindings."""
    return data


@event("account.contacts-changed")
class AccountContactsChanged(Event, frozen=True):
    """The account replaced its contacts; absent means that it has none now."""

    account_id: str
    contact: Sealed | None = None


@event("account.key-changed")
class AccountKeyChanged(Event, frozen=True):
    """The account has another key from now on (RFC 8555 section 7.3.5); both have signed for it.

    `previous` and `thumbprint` are RFC 7638 thumbprints, `jwk` is the new key.
    """

    account_id: str
    previous: str
    thumbprint: str
    jwk: dict[str, str]


@event("account.deactivated")
class AccountDeactivated(Event, frozen=True):
    """The account's holder closed it (RFC 8555 section 7.3.6)."""

    account_id: str


@event("account.revoked")
class AccountRevoked(Event, frozen=True):
    """The account was closed by whoever runs the server (RFC 8555 section 7.1.2)."""

    account_id: str
