"""What is to be known of a certificate's renewal: who takes its place, and who asked for that."""

import msgspec
from msgspec.structs import replace

from projections.tables import Column, Rows, Table


class Renewal(msgspec.Struct, frozen=True, omit_defaults=True):
    """The renewal of the certificate `certificate_id`.

    `successor` is the order that was finalized last to take its place; it has done so once it is
    valid, and failed to if it is invalid.
    """

    certificate_id: str
    successor: str = ""


RENEWALS = Table(
    "renewals",
    Renewal,
    [Column("certificate_id", size=26), Column("successor", size=26)],
    key=("certificate_id",),
)


def of(rows: Rows, certificate_id: str) -> Renewal:
    """Return what is known of a certificate's renewal so far."""
    return rows.get(RENEWALS, certificate_id) or Renewal(certificate_id)


def taken_on(rows: Rows, certificate_id: str, order_id: str) -> None:
    """An order that takes the certificate's place was finalized."""
    rows.put(RENEWALS, replace(of(rows, certificate_id), successor=order_id))
