"""What may happen to an account (RFC 8555 section 7.3)."""

from datetime import datetime

from certeasy.decide import eab as bindings
from certeasy.decide.decision import Decision, KeyUnused, Reader
from certeasy.decide.problems import Problem, Refused
from events.accounts import (
    AccountContactsChanged,
    AccountCreated,
    AccountDeactivated,
    AccountKeyChanged,
    AccountRevoked,
)
from events.sealing import Sealed
from projections.accounts import ACCOUNTS, VALID, Account


def stream(account_id: str) -> str:
    """Return the stream of an account's facts."""
    return f"account/{account_id}"


def signed_by(rows: Reader, account_id: str, thumbprint: str) -> Account:
    """Return the account that a request is made for.

    Every decision on an authenticated request begins here: the account is still valid, and the key
    that signed is still its own. Raises Refused (unauthorized; accountDoesNotExist for an unknown
    one).
    """
    account = rows.get(ACCOUNTS, account_id)
    if account is None:
        raise Refused(Problem.ACCOUNT_DOES_NOT_EXIST, f"There is no account {account_id}")
    if account.status != VALID:
        raise Refused(Problem.UNAUTHORIZED, f"The account {account_id} is {account.status}")
    if account.thumbprint != thumbprint:
        raise Refused(
            Problem.UNAUTHORIZED, "The request was not signed with the account's present key"
        )
    return account


def create(
    rows: Reader,
    now: datetime,
    *,
    account_id: str,
    thumbprint: str,
    jwk: dict[str, str],
    contact: Sealed | None,
    terms_agreed: bool,
    eab: str = "",
) -> Decision:
    """Register a key. The guard fails if an account has it: then that one is the answer.

    `eab` is the key of an external account binding that was verified before. Raises Refused
    (unauthorized) where that one binds nobody any more.
    """
    use = bindings.use(rows, now, kid=eab, account_id=account_id)
    fact = AccountCreated(account_id, thumbprint, jwk, terms_agreed, contact, eab)
    return Decision(((stream(account_id), fact), *use), (KeyUnused(thumbprint),))


def change_contact(
    rows: Reader, *, account_id: str, thumbprint: str, contact: Sealed | None
) -> Decision:
    """Replace the account's contacts (section 7.3.2)."""
    signed_by(rows, account_id, thumbprint)
    return Decision(((stream(account_id), AccountContactsChanged(account_id, contact)),))


def change_key(
    rows: Reader, *, account_id: str, thumbprint: str, new_thumbprint: str, new_jwk: dict[str, str]
) -> Decision:
    """Give the account another key (section 7.3.5), which has signed for it as well.

    The guard fails if an account has that key, this one included: that one is then told.
    """
    signed_by(rows, account_id, thumbprint)
    fact = AccountKeyChanged(account_id, thumbprint, new_thumbprint, new_jwk)
    return Decision(((stream(account_id), fact),), (KeyUnused(new_thumbprint),))


def deactivate(rows: Reader, *, account_id: str, thumbprint: str) -> Decision:
    """Close the account (section 7.3.6)."""
    signed_by(rows, account_id, thumbprint)
    return Decision(((stream(account_id), AccountDeactivated(account_id)),))


def revoke(rows: Reader, *, account_id: str) -> Decision:
    """Close an account on the word of whoever runs the server; nothing if it is closed already."""
    account = rows.get(ACCOUNTS, account_id)
    if account is None:
        raise Refused(Problem.ACCOUNT_DOES_NOT_EXIST, f"There is no account {account_id}")
    if account.status != VALID:
        return Decision()
    return Decision(((stream(account_id), AccountRevoked(account_id)),))
