"""Certificates as the log made them, and the issuers their chains are built from."""

import msgspec
from msgspec.structs import replace

from events.certificates import (
    CertificateIssued,
    CertificateMismatched,
    CertificateReplaced,
    CertificateRevoked,
)
from events.envelope import Envelope
from events.nodes import AuthorityCertificateSeen
from events.recovery import CertificateRecovered
from projections import orders
from projections.jobs import JOBS
from projections.tables import Column, Contradiction, Rows, Table


class Certificate(msgspec.Struct, frozen=True, omit_defaults=True):
    """A certificate that was handed out. `id` is its order's; `reason` is -1 until it is
    revoked.

    `replaces` is the id of its predecessor, `replaced_by` that of its successor: a certificate with
    a predecessor is a renewal.
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
    indexes=[("serial",), ("sha256",)],
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
    )
    rows.put(CERTIFICATES, certificate)
    ended = replace(order, status=orders.VALID, in_doubt=False, csr=b"", position=line.position)
    rows.put(orders.ORDERS, ended)
    rows.delete(JOBS, order.id)


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


def mismatched(_fact: CertificateMismatched, line: Envelope, rows: Rows) -> None:
    """What came back was given to nobody; the submission has its outcome."""
    order = orders.present(rows, line, orders.PROCESSING)
    rows.put(orders.ORDERS, replace(order, in_doubt=False, position=line.position))


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
