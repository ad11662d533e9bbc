"""Facts about certificates."""

import msgspec

from events.registry import Event, event, upcaster


@event("certificate.issued")
class CertificateIssued(Event, frozen=True):
    """The authority issued what was ordered, and it was checked against the order.

    `certificate` is the leaf, DER; `chain` names its issuers by SHA-256, the leaf's own first
    (`authority.certificate-seen` has them). `serial` is lower-case hex, times are RFC 3339 in UTC.
    """

    order_id: str
    account_id: str
    authority: str
    attempt: int
    certificate: bytes
    chain: tuple[str, ...]
    serial: str
    sha256: str
    spki_sha256: str
    names: tuple[str, ...]
    not_before: str
    not_after: str
    request_id: str = ""


@event("certificate.mismatched", schema=2)
class CertificateMismatched(Event, frozen=True):
    """The authority returned something other than what was ordered; it was given to nobody.

    `serial` is empty where it cannot be read. `publish`: it is to be revoked at the authority.
    """

    order_id: str
    authority: str
    attempt: int
    reason: str
    certificate: bytes
    serial: str = ""
    request_id: str = ""
    publish: bool = False


@upcaster("certificate.mismatched", 1)
def _only_recorded(data: dict[str, object]) -> dict[str, object]:
    """Under schema 1 nothing was revoked at an authority."""
    return data


@event("certificate.twin-found")
class CertificateTwinFound(Event, frozen=True):
    """A certificate of the attempt came to light that nobody gets: its order has another one, or
    none.

    `serial` is empty where it cannot be read. `publish`: it is to be revoked at the authority.
    """

    order_id: str
    authority: str
    attempt: int
    reason: str
    certificate: bytes
    serial: str
    request_id: str = ""
    publish: bool = False


@event("certificate.revoked", schema=2)
class CertificateRevoked(Event, frozen=True):
    """Revocation was accepted (RFC 8555 section 7.6).

    `by` is `account` (that it was issued to), `authorizations` (an account that holds valid ones
    for all of its names), `certificate-key` or `administrator`. `publish`: its authority is to be
    told, which `revocation.published` or `revocation.failed` ends.
    """

    order_id: str
    serial: str
    reason: int
    by: str
    names: tuple[str, ...] = msgspec.field(default=())
    publish: bool = False


@upcaster("certificate.revoked", 1)
def _told_nobody(data: dict[str, object]) -> dict[str, object]:
    """Under schema 1 no authority was told."""
    return data


@event("revocation.published")
class RevocationPublished(Event, frozen=True):
    """The authority has revoked a certificate, as it was told to."""

    order_id: str
    authority: str
    serial: str
    sha256: str


@event("revocation.failed")
class RevocationFailed(Event, frozen=True):
    """The authority will not revoke a certificate; it is not asked again. `code` is its own."""

    order_id: str
    authority: str
    serial: str
    sha256: str
    reason: str
    code: str = ""


@event("certificate.replaced")
class CertificateReplaced(Event, frozen=True):
    """A successor was issued, to the order `by` and with the serial `by_serial`: a renewal
    (RFC 9773 section 5)."""

    order_id: str
    serial: str
    by: str
    by_serial: str


@event("renewal.requested")
class RenewalRequested(Event, frozen=True):
    """An administrator asked for certificates (by their ids) to be renewed from `start` to `end`,
    RFC 3339 in UTC.

    A campaign may take several of these. `authority` and `before` (the certificates began to be
    valid before then) are what they were looked for by; without both, serials were listed.
    """

    campaign: str
    certificates: tuple[str, ...]
    start: str
    end: str
    authority: str = ""
    before: str = ""
