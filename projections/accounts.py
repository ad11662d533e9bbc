"""Accounts as the log made them."""

import msgspec

from events.accounts import (
    AccountContactsChanged,
    AccountCreated,
    AccountDeactivated,
    AccountKeyChanged,
    AccountRevoked,
)
from events.envelope import Envelope
from events.recovery import AccountRecovered
from events.sealing import Sealed
from projections.tables import Column, Contradiction, Rows, Table

VALID = "valid"
DEACTIVATED = "deactivated"
REVOKED = "revoked"


class Account(msgspec.Struct, frozen=True, omit_defaults=True):
    """An ACME account. `position` is that of the last event which changed it."""

    id: str
    thumbprint: str
    status: str
    position: int
    created: str
    jwk: dict[str, str]
    terms_agreed: bool = False
    contact: Sealed | None = None
    eab: str = ""


ACCOUNTS = Table(
    "accounts",
    Account,
    [
        Column("id", size=26),
        Column("thumbprint", size=43),
        Column("status", size=16),
        Column("position", "integer"),
        Column("eab", size=26),
    ],
    key=("id",),
    indexes=[("thumbprint",)],
)


def created(fact: AccountCreated, line: Envelope, rows: Rows) -> None:
    """A new account."""
    if rows.get(ACCOUNTS, fact.account_id) is not None:
        raise Contradiction(line.position, f"account {fact.account_id} is created a second time")
    account = Account(
        id=fact.account_id,
        thumbprint=fact.thumbprint,
        status=VALID,
        position=line.position,
        created=line.at,
        jwk=fact.jwk,
        terms_agreed=fact.terms_agreed,
        contact=fact.contact,
        eab=fact.eab,
    )
    rows.put(ACCOUNTS, account)


def recovered(fact: AccountRecovered, line: Envelope, rows: Rows) -> None:
    """An account whose creation the log had lost."""
    created(
        AccountCreated(
            fact.account_id,
            fact.thumbprint,
            fact.jwk,
            fact.terms_agreed,
            fact.contact,
            fact.eab,
        ),
        line,
        rows,
    )


def contacts_changed(fact: AccountContactsChanged, line: Envelope, rows: Rows) -> None:
    """Other contacts."""
    account = present(rows, fact.account_id, line)
    rows.put(
        ACCOUNTS, msgspec.structs.replace(account, contact=fact.contact, position=line.position)
    )


def key_changed(fact: AccountKeyChanged, line: Envelope, rows: Rows) -> None:
    """Another key."""
    account = present(rows, fact.account_id, line)
    if account.thumbprint != fact.previous:
        what = f"account {fact.account_id} gives up the key {fact.previous}, not its own"
        raise Contradiction(line.position, what)
    changed = msgspec.structs.replace(
        account, thumbprint=fact.thumbprint, jwk=fact.jwk, position=line.position
    )
    rows.put(ACCOUNTS, changed)


def deactivated(fact: AccountDeactivated, line: Envelope, rows: Rows) -> None:
    """Closed by its holder."""
    account = present(rows, fact.account_id, line)
    rows.put(ACCOUNTS, msgspec.structs.replace(account, status=DEACTIVATED, position=line.position))


def revoked(fact: AccountRevoked, line: Envelope, rows: Rows) -> None:
    """Closed by whoever runs the server."""
    account = present(rows, fact.account_id, line)
    rows.put(ACCOUNTS, msgspec.structs.replace(account, status=REVOKED, position=line.position))


def present(rows: Rows, account_id: str, line: Envelope) -> Account:
    """Return an account that may still change; Contradiction where the log never made it so."""
    account = rows.get(ACCOUNTS, account_id)
    if account is None or account.status != VALID:
        what = "before it was created" if account is None else f"although it is {account.status}"
        raise Contradiction(line.position, f"{line.type} for account {account_id} {what}")
    return account
