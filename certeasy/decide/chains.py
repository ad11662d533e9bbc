"""Who signed whom: the way from a leaf up to the root, and how it is written down.

Issuers are few and are met at every certificate: each is read, and each link between two of them
verified, once per process.
"""

import base64
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import islice
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from msgspec import Struct

from certeasy.decide import distinguished_names
from certeasy.decide.unreadable import UNREADABLE

MAX_LENGTH = 8
"""Issuers above a leaf; nobody has more, and a ring of cross-certificates must end somewhere."""

MOST_ALTERNATES = 4
"""Other chains that are offered; there are more only where somebody cross-signs in rings."""

MOST_LOOKED_AT = 64

MAX_BYTES = 64 << 10
"""Of a certificate; a line of the log has room for it."""

_LINE = 64

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


class Mismatch(Exception):
    """The certificate is not what was ordered; the message says why, after "the certificate "."""


class Issuer(Struct, frozen=True):
    """A CA certificate that was read. Names are DER; `key_id` is None without a key identifier."""

    der: bytes
    certificate: x509.Certificate
    subject: bytes
    issuer: bytes
    key_id: bytes | None
    path_length: int | None
    not_before: datetime
    not_after: datetime


def build(
    leaf: x509.Certificate,
    issuer_name: bytes,
    key_id: bytes | None,
    issuers: Sequence[bytes],
    now: datetime,
) -> tuple[Issuer, ...]:
    """Return the issuers above a leaf, its own first, each verified under the next.

    `issuer_name` (DER) and `key_id` are what the leaf says of its issuer; `issuers` are DER, in any
    order.
    The chain ends at a root, or where nobody of `issuers` fits. Raises Mismatch if nobody signed
    the leaf, or if somebody did who was not allowed to.
    """
    known = [issuer for der in issuers if (issuer := read_issuer(der))]
    own = _signer(leaf, [i for i in known if _fits(i, issuer_name, key_id)], now)
    chain = (own, *_above(own, known))
    for below, issuer in enumerate(chain):
        if issuer.path_length is not None and issuer.path_length < below:
            raise Mismatch("is further below a CA than that CA's path length allows")
    return chain


def alternates(
    leaf: x509.Certificate, chosen: Sequence[bytes], issuers: Sequence[bytes], now: datetime
) -> tuple[tuple[bytes, ...], ...]:
    """Return the other chains above a leaf: other issuers (DER), its own first, each signed under
    the next.

    `chosen` is the chain that is handed out when nobody asks for another. A chain that would be
    written down as one before it is left out; the rest have a fixed order and a bound.
    """
    known = [issuer for der in dict.fromkeys(issuers) if (issuer := read_issuer(der))]
    known = [issuer for issuer in known if issuer.not_before <= now <= issuer.not_after]
    own = [one for one in known if _signed(leaf, one.certificate)]
    paths = (path for one in own for path in _paths((one,), known))
    found = sorted(islice(paths, MOST_LOOKED_AT))
    seen, different = {_written(chosen)}, []
    for path in found:
        if (written := _written(path)) not in seen:
            seen.add(written)
            different.append(path)
    return tuple(different[:MOST_ALTERNATES])


def _paths(path: tuple[Issuer, ...], known: Sequence[Issuer]) -> Iterator[tuple[bytes, ...]]:
    """Give every way from the end of a path up to a root, or to where nobody is known."""
    last = path[-1]
    if last.path_length is not None and last.path_length < len(path) - 1:
        return
    is_end = last.subject == last.issuer or len(path) == MAX_LENGTH
    above = () if is_end else [one for one in known if one not in path and _is_above(one, last)]
    if not above:
        yield tuple(issuer.der for issuer in path)
    for one in above:
        yield from _paths((*path, one), known)


def _is_above(one: Issuer, below: Issuer) -> bool:
    return one.subject == below.issuer and _linked(below, one)


def _written(issuers: Iterable[bytes]) -> tuple[bytes, ...]:
    """Return the issuers that are written down, the root left out."""
    written: list[bytes] = []
    for issuer in issuers:
        if written and is_root(issuer):
            break
        written.append(issuer)
    return tuple(written)


@lru_cache(maxsize=256)
def read_issuer(der: bytes) -> Issuer | None:
    """Return a CA certificate, or None if it is none that may sign certificates, or too large."""
    if len(der) > MAX_BYTES:
        return None
    try:
        certificate = x509.load_der_x509_certificate(der)
        extensions = certificate.extensions
    except UNREADABLE:
        return None
    constraints = value(extensions, x509.BasicConstraints)
    usage = value(extensions, x509.KeyUsage)
    if constraints is None or not constraints.ca or (usage and not usage.key_cert_sign):
        return None
    identifier = value(extensions, x509.SubjectKeyIdentifier)
    issuer, subject = distinguished_names.certificate_names(der)
    return Issuer(
        der=der,
        certificate=certificate,
        subject=subject,
        issuer=issuer,
        key_id=identifier.digest if identifier else None,
        path_length=constraints.path_length,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


def chain_pem(leaf: bytes, issuers: Iterable[bytes]) -> bytes:
    """Return the chain for `application/pem-certificate-chain`. RFC 8555 section 9.1.

    Certificates are DER, the leaf's issuer first. The root is left out, unless it is the leaf's
    own issuer: some clients take a single certificate for a broken chain.
    """
    return b"".join(pem(certificate) for certificate in (leaf, *_written(issuers)))


def pem(certificate: bytes) -> bytes:
    """Return a certificate (DER) in PEM: LF, one newline at the end. RFC 7468 section 5."""
    text = base64.b64encode(certificate)
    lines = [text[at : at + _LINE] for at in range(0, len(text), _LINE)]
    return b"\n".join([b"-----BEGIN CERTIFICATE-----", *lines, b"-----END CERTIFICATE-----", b""])


def is_root(certificate: bytes) -> bool:
    """Return whether a certificate (DER) names itself as its issuer."""
    issuer, subject = distinguished_names.certificate_names(certificate)
    return issuer == subject


def _fits(issuer: Issuer, name: bytes, key_id: bytes | None) -> bool:
    """Return whether an issuer has that name, and that key as far as both sides tell."""
    return issuer.subject == name and (not key_id or not issuer.key_id or issuer.key_id == key_id)


def _signer(leaf: x509.Certificate, candidates: Iterable[Issuer], now: datetime) -> Issuer:
    """Return who signed the leaf and is a CA today."""
    signers = [issuer for issuer in candidates if _signed(leaf, issuer.certificate)]
    if not signers:
        raise Mismatch("was signed by nobody whom the authority is known to be")
    valid = [issuer for issuer in signers if issuer.not_before <= now <= issuer.not_after]
    if not valid:
        raise Mismatch("was signed by a CA whose own certificate is not valid today")
    return max(valid, key=lambda issuer: issuer.not_after)


def _above(issuer: Issuer, known: Sequence[Issuer]) -> Iterator[Issuer]:
    """Give the issuers above an issuer, as far as they are known."""
    for _ in range(MAX_LENGTH):
        if issuer.subject == issuer.issuer:
            return
        above = [one for one in known if one.subject == issuer.issuer and _linked(issuer, one)]
        if not above:
            return
        issuer = max(above, key=lambda one: one.not_after)
        yield issuer


def _linked(issuer: Issuer, above: Issuer) -> bool:
    """Return whether one CA certificate was signed by another."""
    return _linked_bytes(issuer.der, above.der)


@lru_cache(maxsize=256)
def _linked_bytes(below: bytes, above: bytes) -> bool:
    """Do what `_linked` says, once per pair."""
    return _signed(x509.load_der_x509_certificate(below), x509.load_der_x509_certificate(above))


def _signed(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Return whether a certificate names the issuer, and its signature verifies.

    MD5 and SHA-1 verify nothing: the library has given them up.
    """
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, UnsupportedAlgorithm, TypeError, ValueError):
        return False
    return True


def value(extensions: x509.Extensions, kind: type[_Extension]) -> _Extension | None:
    """Return the extension of a kind, or None."""
    # Its very type: kinds are abstract classes, and asking those costs ten times as much.
    return next((one.value for one in extensions if type(one.value) is kind), None)
