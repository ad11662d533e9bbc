"""What may happen to a certificate on its holder's request (RFC 8555 section 7.6)."""

from collections.abc import Sequence
from datetime import datetime

from certeasy.decide import eab
from certeasy.decide.accounts import signed_by
from certeasy.decide.decision import Decision, Reader
from certeasy.decide.issuance import certificate_stream
from certeasy.decide.orders import authorization_status
from certeasy.decide.problems import Problem, Refused, Weight
from events.certificates import CertificateRevoked, RevocationFailed, RevocationPublished
from projections.certificates import CERTIFICATES, Certificate
from projections.orders import ORDERS, VALID
from projections.revocations import REVOCATIONS, WAITING, Revocation

REASONS = (
    0,
    1,
    2,
    3,
    4,
    5,
    9,
    10,
)  # RFC 5280 section 5.3.1, without 6 (hold) and 8 (removeFromCRL)
NOT_FOUND = 404


def by_account(
    rows: Reader,
    now: datetime,
    *,
    certificate_id: str,
    sha256: str,
    account_id: str,
    thumbprint: str,
    reason: int,
    proven: Sequence[str] = (),
    publish: bool = False,
) -> Decision:
    """Revoke on the word of the account that ordered the certificate, or that controls its names.

    `sha256` is the hash (hex) of the certificate that was sent, by which the id was found.
    `proven` are orders in which another account than the certificate's may have proven them: it
    revokes if it has a valid authorization for every one, and not if the key of its external
    account binding was taken back: then it ends its own certificates only.
    """
    account = signed_by(rows, account_id, thumbprint)
    certificate = _present(rows, certificate_id, sha256)
    if certificate.account_id == account_id:
        return _revoke(certificate, reason, "account", publish=publish)
    eab.key_of(rows, account)
    names = _controlled(rows, now, account_id, proven)
    if not names.issuperset(certificate.names):
        raise Refused(
            Problem.UNAUTHORIZED,
            "This certificate belongs to another account, and yours does not hold valid"
            " authorizations for all of its names",
            weight=Weight.HOSTILE,
        )
    return _revoke(certificate, reason, "authorizations", publish=publish)


def by_certificate_key(
    rows: Reader,
    *,
    certificate_id: str,
    sha256: str,
    spki_sha256: str,
    reason: int,
    publish: bool = False,
) -> Decision:
    """Revoke on the word of whoever holds the certificate's private key.

    `publish`: the authority is to be told.
    """
    certificate = _present(rows, certificate_id, sha256)
    if certificate.spki_sha256 != spki_sha256:
        raise Refused(Problem.UNAUTHORIZED, "The request was not signed with the certificate's key")
    return _revoke(certificate, reason, "certificate-key", publish=publish)


def by_administrator(
    rows: Reader, *, certificate_id: str, sha256: str, reason: int, publish: bool
) -> Decision:
    """Revoke on the word of whoever runs the server; nothing if it was revoked already."""
    certificate = _present(rows, certificate_id, sha256)
    if certificate.revoked:
        return Decision()
    return _revoke(certificate, reason, "administrator", publish=publish)


def _controlled(rows: Reader, now: datetime, account_id: str, order_ids: Sequence[str]) -> set[str]:
    """Return the names that an account holds valid authorizations for, in these orders."""
    found = [rows.get(ORDERS, order_id) for order_id in order_ids]
    return {
        "*." * one.wildcard + one.identifier.value
        for order in found
        if order is not None and order.account_id == account_id
        for one in order.authorizations
        if authorization_status(order, one, now) == VALID
    }


def _present(rows: Reader, certificate_id: str, sha256: str) -> Certificate:
    """Return the certificate, if it is the one that was sent: by its hash it was found in a table,
    which is only shown, and the log counts."""
    certificate = rows.get(CERTIFICATES, certificate_id)
    if certificate is None:
        raise Refused(Problem.MALFORMED, "This server issued no such certificate", status=NOT_FOUND)
    if certificate.sha256 != sha256:
        raise Refused(Problem.SERVER_INTERNAL, "Another certificate was found than the one sent")
    return certificate


def _revoke(certificate: Certificate, reason: int, by: str, *, publish: bool) -> Decision:
    if certificate.revoked:
        raise Refused(
            Problem.ALREADY_REVOKED, f"The certificate was revoked at {certificate.revoked}"
        )
    if reason not in REASONS:
        accepted = ", ".join(map(str, REASONS))
        detail = f"Reason {reason} is not accepted; these are: {accepted}"
        raise Refused(Problem.BAD_REVOCATION_REASON, detail)
    fact = CertificateRevoked(
        certificate.id, certificate.serial, reason, by, certificate.names, publish
    )
    return Decision(((certificate_stream(certificate.id), fact),))


def published(rows: Reader, order_id: str, id_: str) -> Decision:
    """Record that an authority has revoked a certificate, as it was told to."""
    row = _unpublished(rows, order_id, id_)
    if row is None:
        return Decision()
    fact = RevocationPublished(order_id, row.authority, row.serial, row.sha256)
    return Decision(((certificate_stream(order_id), fact),))


def not_published(rows: Reader, order_id: str, id_: str, reason: str, code: str = "") -> Decision:
    """Record that an authority will not revoke a certificate, however often it is asked."""
    row = _unpublished(rows, order_id, id_)
    if row is None:
        return Decision()
    fact = RevocationFailed(order_id, row.authority, row.serial, row.sha256, reason, code)
    return Decision(((certificate_stream(order_id), fact),))


def _unpublished(rows: Reader, order_id: str, id_: str) -> Revocation | None:
    row = rows.get(REVOCATIONS, order_id, id_)
    return row if row is not None and row.state == WAITING else None
