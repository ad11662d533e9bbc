"""Attempts that were given up although a certificate of them may exist: its possible twins.

A row is there until it is known what became of the attempt; where an authority does not let us
look, that is for ever. It keeps what is needed to look.
"""

import msgspec

from events.envelope import Envelope
from projections.jobs import JOBS, TWINS, Job
from projections.tables import Column, Rows, Table


class Suspect(msgspec.Struct, frozen=True, omit_defaults=True):
    """An attempt at an order that may have a certificate; `id` is `<order id>-<attempt>`.

    `after` is what `issuance.submitted` said of the authority's request numbers, `request_id` its
    own one if it is known. `since` is when it was given up, `searched` when it was looked for in
    vain.
    """

    id: str
    order_id: str
    account_id: str
    authority: str
    attempt: int
    csr: bytes
    since: str
    reason: str
    position: int
    after: str = ""
    request_id: str = ""
    searched: str = ""


SUSPECTS = Table(
    "suspects",
    Suspect,
    [Column("id", size=40), Column("authority"), Column("position", "integer")],
    key=("id",),
    indexes=[("position",)],
)


def suspect_id(order_id: str, attempt: int) -> str:
    """Return the id of an attempt that was given up."""
    return f"{order_id}-{attempt}"


def look_for(rows: Rows, order_id: str, attempts: tuple[int, ...], line: Envelope) -> None:
    """Have the certificates of attempts looked for, where that is still to be done."""
    for attempt in attempts:
        suspect = rows.get(SUSPECTS, suspect_id(order_id, attempt))
        if suspect is not None and not suspect.searched:
            job = Job(suspect.id, TWINS, order_id, suspect.account_id, line.position)
            rows.put(JOBS, job)


def settle(rows: Rows, order_id: str, attempt: int) -> None:
    """Forget an attempt: it is known what became of it."""
    id_ = suspect_id(order_id, attempt)
    if rows.get(SUSPECTS, id_) is not None:
        rows.delete(SUSPECTS, id_)
        rows.delete(JOBS, id_)
