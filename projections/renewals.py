"""What is to be known of a certificate's renewal: who takes its place, and who asked for that."""

import msgspec
from msgspec.structs import replace

from events.certificates import RenewalRequested
from events.envelope import Envelope
from projections.tables import Column, Rows, Table


class Renewal(msgspec.Struct, frozen=True, omit_defaults=True):
    """The renewal of the certificate `certificate_id`.

    `successor` is the order that was finalized last to take its place; it has done so once it is
    valid, and failed to if it is invalid. `campaign` is the one that asked last for a renewal from
    `start` to `end`.
    """

    certificate_id: str
    successor: str = ""
    campaign: str = ""
    start: str = ""
    end: str = ""


RENEWALS = Table(
    "renewals",
    Renewal,
    [
        Column("certificate_id", size=26),
        Column("successor", size=26),
        Column("campaign", size=26),
    ],
    key=("certificate_id",),
    indexes=[("campaign", "certificate_id")],
)


def of(rows: Rows, certificate_id: str) -> Renewal:
    """Return what is known of a certificate's renewal so far."""
    return rows.get(RENEWALS, certificate_id) or Renewal(certificate_id)


def taken_on(rows: Rows, certificate_id: str, order_id: str) -> None:
    """An order that takes the certificate's place was finalized."""
    rows.put(RENEWALS, replace(of(rows, certificate_id), successor=order_id))


def requested(fact: RenewalRequested, _line: Envelope, rows: Rows) -> None:
    """A campaign asks for these certificates to be renewed."""
    for certificate_id in fact.certificates:
        asked = replace(
            of(rows, certificate_id), campaign=fact.campaign, start=fact.start, end=fact.end
        )
        rows.put(RENEWALS, asked)
