"""Authorities that cannot be used, as the log made them: those that answer have no row."""

import msgspec

from events.authorities import AuthorityFailed, AuthorityRecovered
from events.envelope import Envelope
from projections.tables import Column, Contradiction, Rows, Table


class Trouble(msgspec.Struct, frozen=True):
    """An authority that failed at `failed` and has not answered since."""

    authority: str
    failed: str
    reason: str
    code: str
    position: int


TROUBLES = Table(
    "authority_troubles",
    Trouble,
    [
        Column("authority", size=64),
        Column("failed", size=32),
        Column("position", "integer"),
    ],
    key=("authority",),
)


def failed(fact: AuthorityFailed, line: Envelope, rows: Rows) -> None:
    """It cannot be used any more."""
    if rows.get(TROUBLES, fact.authority) is not None:
        raise Contradiction(line.position, f"authority {fact.authority} fails a second time")
    trouble = Trouble(fact.authority, line.at, fact.reason, fact.code, line.position)
    rows.put(TROUBLES, trouble)


def recovered(fact: AuthorityRecovered, line: Envelope, rows: Rows) -> None:
    """It answers again."""
    trouble = rows.get(TROUBLES, fact.authority)
    if trouble is None or trouble.failed != fact.failed:
        what = f"authority {fact.authority} recovers from what did not happen"
        raise Contradiction(line.position, what)
    rows.delete(TROUBLES, fact.authority)
