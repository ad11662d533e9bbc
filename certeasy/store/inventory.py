"""Which certificates and accounts an administrator asks for, as questions to the database.

What stands in a column is asked of the database; whoever asks looks at the rest.
"""

from typing import Any

import msgspec
import sqlalchemy as sa

from certeasy.store import schema
from projections.accounts import ACCOUNTS
from projections.certificates import CERTIFICATES
from projections.orders import ORDER_NAMES

VALID = "valid"
EXPIRED = "expired"
REVOKED = "revoked"


class CertificatesWanted(msgspec.Struct, frozen=True):
    """Which certificates; an empty text, or None: any. `now` and `until` are RFC 3339 in UTC.

    `status` is valid, expired or revoked as of `now`; `until`: valid ones that expire by then.
    """

    now: str
    account_id: str = ""
    serial: str = ""
    name: str = ""
    status: str = ""
    until: str = ""


class AccountsWanted(msgspec.Struct, frozen=True):
    """Which accounts; an empty text: any. `eab` is the key that they were bound with."""

    status: str = ""
    eab: str = ""


def certificates(wanted: CertificatesWanted) -> "sa.Select[Any]":
    """Return the question for certificates; the first column is the id."""
    table = schema.projected[CERTIFICATES]
    c = table.c
    asked = sa.select(*c)
    if wanted.name:
        names = schema.projected[ORDER_NAMES]
        asked = asked.select_from(table.join(names, names.c.order_id == c.id))
        asked = asked.where(names.c.name == wanted.name)
    if wanted.account_id:
        asked = asked.where(c.account_id == wanted.account_id)
    if wanted.serial:
        asked = asked.where(c.serial == wanted.serial)
    if wanted.until:
        asked = asked.where(c.not_after <= wanted.until)
    if wanted.status == REVOKED:
        return asked.where(c.revoked != "")
    if wanted.status == EXPIRED:
        return asked.where(c.revoked == "", c.not_after <= wanted.now)
    if wanted.status == VALID:
        return asked.where(c.revoked == "", c.not_after > wanted.now)
    return asked


def accounts(wanted: AccountsWanted) -> "sa.Select[Any]":
    """Return the question for accounts; the first column is the id."""
    c = schema.projected[ACCOUNTS].c
    asked = sa.select(*c)
    if wanted.status:
        asked = asked.where(c.status == wanted.status)
    return asked.where(c.eab == wanted.eab) if wanted.eab else asked
