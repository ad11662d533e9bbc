"""Certificates that are not to be trusted, and whether their authority knows.

Revoked by whoever held them, or never given to anybody: not what was ordered, or found beside
another one.
"""

import hashlib

import msgspec
from msgspec.structs import replace

from events.certificates import RevocationFailed, RevocationPublished
from events.envelope import Envelope
from projections.jobs import JOBS, REVOKE, Job
from projections.tables import Column, Contradiction, Rows, Table

WAITING = "waiting"
PUBLISHED = "published"
FAILED = "failed"
RECORDED = "recorded"
"""It is known here, and its authority cannot be told."""

REVOKED = "revoked"
MISMATCHED = "mismatched"
TWIN = "twin"
UNSPECIFIED = 0
SUPERSEDED = 4


class Revocation(msgspec.Struct, frozen=True, omit_defaults=True):
    """A certificate (DER) that its authority is to revoke; `id` is its order's,
    with the beginning of its SHA-256.

    `cause` is why: revoked, mismatched or twin; `reason` is RFC 5280's. `accepted` is when the log
    said so. `detail` is why the authority refused, or what is wrong with the certificate.
    """

    order_id: str
    id: str
    account_id: str
    authority: str
    serial: str
    sha256: str
    cause: str
    reason: int
    accepted: str
    state: str
    position: int
    certificate: bytes
    detail: str = ""
    request_id: str = ""


REVOCATIONS = Table(
    "revocations",
    Revocation,
    [
        Column("order_id", size=26),
        Column("id", size=40),
        Column("state", size=16),
        Column("serial", size=64),
        Column("position", "integer"),
    ],
    key=("order_id", "id"),
    indexes=[("state", "position"), ("serial",)],
)


def revocation_id(order_id: str, certificate: bytes) -> str:
    """Return what a certificate (DER) is known by here. Two orders may have found the same one:
    each has it revoked, which does no harm."""
    return _id(order_id, hashlib.sha256(certificate).hexdigest())


def _id(order_id: str, sha256: str) -> str:
    return f"{order_id}-{sha256[:12]}"


def to_be_revoked(
    rows: Rows,
    line: Envelope,
    *,
    order_id: str,
    account_id: str,
    authority: str,
    serial: str,
    certificate: bytes,
    cause: str,
    reason: int,
    publish: bool,
    detail: str = "",
    request_id: str = "",
) -> None:
    """Keep a certificate, and have it revoked at its authority where that is to be told."""
    sha256 = hashlib.sha256(certificate).hexdigest()
    row = Revocation(
        order_id=order_id,
        id=_id(order_id, sha256),
        account_id=account_id,
        authority=authority,
        serial=serial,
        sha256=sha256,
        cause=cause,
        reason=reason,
        accepted=line.at,
        state=WAITING if publish else RECORDED,
        position=line.position,
        certificate=certificate,
        detail=detail,
        request_id=request_id,
    )
    rows.put(REVOCATIONS, row)
    if publish:
        rows.put(JOBS, Job(row.id, REVOKE, order_id, account_id, line.position))


def published(fact: RevocationPublished, line: Envelope, rows: Rows) -> None:
    """The authority has done it."""
    row = _waiting(rows, fact, line)
    rows.put(REVOCATIONS, replace(row, state=PUBLISHED, detail="", position=line.position))
    rows.delete(JOBS, row.id)


def failed(fact: RevocationFailed, line: Envelope, rows: Rows) -> None:
    """The authority will not do it."""
    row = _waiting(rows, fact, line)
    rows.put(REVOCATIONS, replace(row, state=FAILED, detail=fact.reason, position=line.position))
    rows.delete(JOBS, row.id)


def _waiting(
    rows: Rows, fact: RevocationPublished | RevocationFailed, line: Envelope
) -> Revocation:
    row = rows.get(REVOCATIONS, fact.order_id, _id(fact.order_id, fact.sha256))
    if row is None or row.sha256 != fact.sha256 or row.state != WAITING:
        what = f"{line.type} for {line.stream}, of which no authority was told"
        raise Contradiction(line.position, what)
    return row
