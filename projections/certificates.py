"""Certificates as the log made them, and the issuers their chains are built from."""

import msgspec
from msgspec.structs import replace

from events.certificates import (
    CertificateIssued,
    CertificateMismatched,
    CertificateReplaced,
    CertificateRevoked,
    CertificateTwinFound,
)
from events.envelope import Envelope
from events.nodes import AuthorityCertificateSeen
from events.recovery import CertificateRecovered
from projections import marks, name_sets, orders, revocations, seats, suspects
from projections.jobs import JOBS
from projections.name_sets import Issuance
from projections.tables import Column, Contradiction, Rows, Table


class Certificate(msgspec.Struct, frozen=True, omit_defaults=True):
    """A certificate that was handed out. `id` is its order's; `reason` is -1 until it is
    revoked.

    `replaces` is the id of its predecessor, `replaced_by` that of its successor: a certificate with
    a predecessor is a renewal. `request_id` is the authority's own number for it, if it has one.
    """

    id: str
    account_id: str
    authority: str
    serial: str
    sha256: str
    spki_sha256: str
    not_before: str
    not_after: str
    position: int
    names: tuple[str, ...]
    certificate: bytes
    chain: tuple[str, ...]
    revoked: str = ""
    reason: int = -1
    replaces: str = ""
    replaced_by: str = ""
    request_id: str = ""


class Issuer(msgspec.Struct, frozen=True):
    """A certificate of an authority's chain, DER."""

    sha256: str
    authority: str
    certificate: bytes


CERTIFICATES = Table(
    "certificates",
    Certificate,
    [
        Column("id", size=26),
        Column("account_id", size=26),
        Column("serial", size=64),
        Column("sha256", size=64),
        Column("not_after", size=32),
        Column("revoked", size=32),
        Column("position", "integer"),
    ],
    key=("id",),
    indexes=[("serial",), ("sha256",), ("account_id", "id"), ("not_after", "id")],
)

ISSUERS = Table(
    "issuers",
    Issuer,
    [Column("sha256", size=64), Column("authority"), Column("certificate", "bytes")],
    key=("sha256",),
    body=False,
)


def issued(fact: CertificateIssued, line: Envelope, rows: Rows) -> None:
    """The certificate is there, and with it the order is valid."""
    order = orders.present(rows, line, orders.PROCESSING)
    ordered = {identifier.value for identifier in order.identifiers}
    if (fact.order_id, fact.account_id, fact.attempt) != (
        order.id,
        order.account_id,
        order.attempt,
    ):
        raise Contradiction(line.position, f"{line.stream} is not the certificate of its order")
    if set(fact.names) != ordered or not order.in_doubt:
        raise Contradiction(line.position, f"{line.stream} is not what its order asked for")
    certificate = Certificate(
        id=fact.order_id,
        account_id=fact.account_id,
        authority=fact.authority,
        serial=fact.serial,
        sha256=fact.sha256,
        spki_sha256=fact.spki_sha256,
        not_before=fact.not_before,
        not_after=fact.not_after,
        position=line.position,
        names=fact.names,
        certificate=fact.certificate,
        chain=fact.chain,
        replaces=order.replaces,
        request_id=fact.request_id,
    )
    rows.put(CERTIFICATES, certificate)
    seats.closed(rows, fact.account_id)
    _in_force(certificate, line.at, line, rows)
    marks.seen(rows, fact.authority, fact.request_id, order.request_id)
    rows.put(orders.ORDERS, replace(orders.over(order, line), status=orders.VALID, csr=b""))
    rows.delete(JOBS, order.id)
    suspects.look_for(rows, order.id, order.abandoned, line)


def recovered(fact: CertificateRecovered, line: Envelope, rows: Rows) -> None:
    """A certificate whose issuance the log had lost; nothing else of its order is known."""
    if rows.get(CERTIFICATES, fact.id) is not None:
        raise Contradiction(line.position, f"{line.stream} is recovered, but is there")
    certificate = Certificate(
        id=fact.id,
        account_id=fact.account_id,
        authority=fact.authority,
        serial=fact.serial,
        sha256=fact.sha256,
        spki_sha256=fact.spki_sha256,
        not_before=fact.not_before,
        not_after=fact.not_after,
        position=line.position,
        names=fact.names,
        certificate=fact.certificate,
        chain=fact.chain,
    )
    rows.put(CERTIFICATES, certificate)
    _in_force(certificate, fact.not_before, line, rows)
    for name in fact.names:
        rows.put(orders.ORDER_NAMES, orders.OrderName(name, fact.id))


def _in_force(certificate: Certificate, since: str, line: Envelope, rows: Rows) -> None:
    """Count a certificate that somebody has, and got `since` then."""
    issuance = Issuance(certificate.id, certificate.account_id, since, certificate.not_after)
    name_sets.counted(rows, certificate.names, issuance)
    seats.issued(rows, certificate.account_id, certificate.id, certificate.not_after, line.at)


def mismatched(fact: CertificateMismatched, line: Envelope, rows: Rows) -> None:
    """What came back was given to nobody; the submission has its outcome."""
    order = orders.present(rows, line, orders.PROCESSING)
    marks.seen(rows, fact.authority, fact.request_id, order.request_id)
    rows.put(orders.ORDERS, orders.over(order, line))
    _given_to_nobody(fact, order, line, rows, revocations.MISMATCHED)


def twin_found(fact: CertificateTwinFound, line: Envelope, rows: Rows) -> None:
    """A certificate beside the one that its order has, or of an order that has none."""
    order = orders.present(rows, line, orders.PROCESSING, orders.VALID, orders.INVALID)
    if not 1 <= fact.attempt <= order.attempt:
        raise Contradiction(line.position, f"{line.stream} has no attempt {fact.attempt}")
    marks.seen(rows, fact.authority, fact.request_id)
    suspects.settle(rows, order.id, fact.attempt)
    _given_to_nobody(fact, order, line, rows, revocations.TWIN)


def _given_to_nobody(
    fact: CertificateMismatched | CertificateTwinFound,
    order: orders.Order,
    line: Envelope,
    rows: Rows,
    cause: str,
) -> None:
    twin = cause == revocations.TWIN
    revocations.to_be_revoked(
        rows,
        line,
        order_id=order.id,
        account_id=order.account_id,
        authority=fact.authority,
        serial=fact.serial,
        certificate=fact.certificate,
        cause=cause,
        reason=revocations.SUPERSEDED if twin else revocations.UNSPECIFIED,
        publish=fact.publish,
        detail=fact.reason,
        request_id=fact.request_id,
    )


def revoked(fact: CertificateRevoked, line: Envelope, rows: Rows) -> None:
    """Revocation was accepted."""
    certificate = rows.get(CERTIFICATES, fact.order_id)
    if certificate is None or certificate.serial != fact.serial:
        raise Contradiction(line.position, f"{line.stream} is revoked, but was never issued so")
    if certificate.revoked:
        raise Contradiction(line.position, f"{line.stream} is revoked a second time")
    rows.put(
        CERTIFICATES,
        replace(certificate, revoked=line.at, reason=fact.reason, position=line.position),
    )
    name_sets.taken_out(rows, certificate.names, certificate.id)
    seats.revoked(rows, certificate.account_id, certificate.id)
    if fact.publish:
        revocations.to_be_revoked(
            rows,
            line,
            order_id=certificate.id,
            account_id=certificate.account_id,
            authority=certificate.authority,
            serial=certificate.serial,
            certificate=certificate.certificate,
            cause=revocations.REVOKED,
            reason=fact.reason,
            publish=True,
        )


def replaced(fact: CertificateReplaced, line: Envelope, rows: Rows) -> None:
    """A successor was issued."""
    certificate = rows.get(CERTIFICATES, fact.order_id)
    if certificate is None or certificate.serial != fact.serial:
        raise Contradiction(line.position, f"{line.stream} is replaced, but was never issued so")
    if certificate.replaced_by:
        raise Contradiction(line.position, f"{line.stream} is replaced a second time")
    rows.put(CERTIFICATES, replace(certificate, replaced_by=fact.by, position=line.position))


def issuer_seen(fact: AuthorityCertificateSeen, _line: Envelope, rows: Rows) -> None:
    """A certificate that chains may name from now on."""
    rows.put(ISSUERS, Issuer(fact.sha256, fact.authority, fact.certificate))
