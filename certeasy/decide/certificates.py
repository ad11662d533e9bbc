"""What an authority's certificate must be before anyone gets it.

Whatever went wrong on the way to the authority and back (another order's answer on a reused
connection, a template that takes its names from the directory, somebody in between), it shows
here: `check_issued` compares what came back with what was ordered, and raises `Mismatch`.

1. It is small, and one certificate in DER, version 3, with a serial number as RFC 5280 section
   4.1.2.2 has it and a signature of whole octets.
2. Its key is the key of the request.
3. Its names are the order's as a set, in its SAN, and nothing else is in there; a common name is
   one of them.
4. It is for a server: EKU with serverAuth and what the policy allows, no CA, no CA's key usage,
   nothing that logs its holder on as somebody else, nothing critical that clients do not know.
5. It is valid now, and for no longer than the policy and its issuer are.
6. It was signed by one of the issuers that we knew before, a CA that is valid today: `chains`.
"""

import hashlib
import re
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from msgspec import Struct

from certeasy.decide import chains, csr, distinguished_names, public_keys, purposes
from certeasy.decide.addresses import address
from certeasy.decide.chains import MAX_BYTES, Mismatch, chain_pem
from certeasy.decide.unreadable import UNREADABLE, told
from certeasy.settings import CsrRules
from certeasy.settings.names import lowered

__all__ = [
    "MAX_BYTES",
    "IssuedFacts",
    "Mismatch",
    "chain_pem",
    "check_issued",
    "key_and_serial",
    "names_of",
]

MAX_SERIAL_BITS = 159
"""Twenty octets, the first bit of which is the sign."""
SLACK = timedelta(hours=1)
"""Authorities backdate; as much more than the policy's validity is not held against them."""
SKEW = timedelta(minutes=5)
"""As much may an authority's clock be ahead of ours."""

_DANGEROUS = {
    "1.3.6.1.4.1.311.21.10": "application policies",
    "1.3.6.1.4.1.311.25.2": "a security identifier",
}
_KNOWN: frozenset[type[x509.ExtensionType]] = frozenset(
    (
        x509.AuthorityKeyIdentifier,
        x509.BasicConstraints,
        x509.ExtendedKeyUsage,
        x509.KeyUsage,
        x509.SubjectAlternativeName,
    )
)
# How a certificate in DER begins whose serial number is zero or negative. The library still reads
# such a one, with a warning on stderr.
_LENGTH = rb"(?:[\x00-\x7f]|\x81.|\x82..|\x83...)"
_NOT_POSITIVE = re.compile(
    rb"\x30%b\x30%b(?:\xa0\x03\x02\x01.)?\x02(?:\x01\x00|%b[\x80-\xff])" % ((_LENGTH,) * 3),
    re.DOTALL,
)


class IssuedFacts(Struct, frozen=True):
    """What is to be remembered of a certificate that was checked.

    `serial` and `aki` are lower-case hex with an even number of digits (`aki` empty if there is
    none), the hashes SHA-256 in hex, `names` its DNS names (lower-case) and addresses in their
    order. `chain` is DER, the leaf's issuer first, the root last if it is known.
    """

    serial: str
    aki: str
    sha256: str
    spki_sha256: str
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    chain: tuple[bytes, ...]


def check_issued(
    certificate: bytes,
    *,
    issuers: Sequence[bytes],
    names: Collection[str],
    request: bytes,
    rules: CsrRules,
    max_validity: timedelta | None,
    now: datetime,
) -> IssuedFacts:
    """Return what to remember of a certificate (DER) that is what was ordered.

    `issuers` are the certificates (DER, in any order) that the authority is known to have, never
    those that came along with this one; `names` are the order's, lower-case; `request` is the CSR
    (DER) as `csr.parse` accepted it; `rules` and `max_validity` are the policy's. Raises Mismatch.
    """
    leaf = _load(certificate)
    spki = _check_key(leaf, csr.spki_of(request))
    extensions = _extensions(leaf)
    issuer_name, subject = distinguished_names.certificate_names(certificate)
    found = _check_names(subject, extensions, names)
    _check_use(extensions, purposes.allowed(rules.allowed_extra_eku))
    _check_validity(leaf, max_validity, now)
    identifier = chains.value(extensions, x509.AuthorityKeyIdentifier)
    key_id = identifier.key_identifier if identifier else None
    chain = chains.build(leaf, issuer_name, key_id, issuers, now)
    if leaf.not_valid_after_utc > chain[0].not_after:
        raise Mismatch("is valid for longer than its issuer")
    return IssuedFacts(
        serial=_hex(leaf.serial_number),
        aki=(key_id or b"").hex(),
        sha256=hashlib.sha256(certificate).hexdigest(),
        spki_sha256=hashlib.sha256(spki).hexdigest(),
        names=found,
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        chain=tuple(issuer.der for issuer in chain),
    )


def key_and_serial(certificate: bytes) -> tuple[bytes, str]:
    """Return whose key a certificate (DER) is for, as SubjectPublicKeyInfo, and its serial number
    in hex. Raises Mismatch where they cannot be read."""
    leaf = _load(certificate)
    return _spki(leaf), _hex(leaf.serial_number)


def names_of(certificate: bytes) -> tuple[str, ...]:
    """Return the names in a certificate's (DER) SAN, lower-case. Raises Mismatch where they cannot
    be read, or are of a kind that nobody can have asked for."""
    alternative = chains.value(_extensions(_load(certificate)), x509.SubjectAlternativeName)
    return tuple(_name(name) for name in alternative or ())


def _load(der: bytes) -> x509.Certificate:
    """(1) One certificate, its serial number, and its last octets."""
    if len(der) > MAX_BYTES:
        raise Mismatch(f"has {len(der)} bytes; at most {MAX_BYTES} are taken")
    if _NOT_POSITIVE.match(der):
        raise Mismatch("has a serial number that is not positive")
    try:
        leaf = x509.load_der_x509_certificate(der)
    except (ValueError, x509.InvalidVersion) as error:
        raise Mismatch(f"cannot be read: {error}") from None
    if leaf.version is not x509.Version.v3:
        raise Mismatch("is not of version 3")
    if leaf.serial_number.bit_length() > MAX_SERIAL_BITS:
        raise Mismatch("has a serial number longer than 20 octets")
    # Any other number of unused bits would be another spelling of the same certificate.
    if not der.endswith(b"\0" + leaf.signature):
        raise Mismatch("has a signature that is not whole octets")
    return leaf


def _check_key(leaf: x509.Certificate, expected: bytes) -> bytes:
    """(2) The key that was asked for; return it as SubjectPublicKeyInfo."""
    spki = _spki(leaf)
    if spki != expected:
        raise Mismatch("has another key than the request")
    return spki


def _spki(leaf: x509.Certificate) -> bytes:
    if leaf.public_key_algorithm_oid.dotted_string not in public_keys.KINDS:
        raise Mismatch("has a key of a kind that nobody can have asked for")
    try:
        return public_keys.spki(leaf.public_key())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Mismatch(f"has a key that cannot be read: {error}") from None


def _extensions(leaf: x509.Certificate) -> x509.Extensions:
    """(3, 4) Its extensions: readable, each once, none that is dangerous or unknown to clients."""
    try:
        extensions = leaf.extensions
    except x509.DuplicateExtension as error:
        raise Mismatch(f"has the extension {error.oid.dotted_string} twice") from None
    except UNREADABLE as error:
        raise Mismatch(f"has extensions that cannot be read: {told(error)}") from None
    for extension in extensions:
        oid = extension.oid.dotted_string
        if oid in _DANGEROUS:
            raise Mismatch(f"has {_DANGEROUS[oid]} (extension {oid})")
        if extension.critical and type(extension.value) not in _KNOWN:
            raise Mismatch(f"has the critical extension {oid}, which clients do not know")
    return extensions


def _check_names(
    subject: bytes, extensions: x509.Extensions, names: Collection[str]
) -> tuple[str, ...]:
    """(3) The order's names, all of them and nothing else; return them in the SAN's order."""
    alternative = chains.value(extensions, x509.SubjectAlternativeName)
    if alternative is None:
        raise Mismatch("has no subject alternative name (SAN)")
    found = tuple(_name(name) for name in alternative)
    ordered = set(names)
    if set(found) != ordered:
        raise Mismatch(f"is for {csr.listed(found)}; ordered was {csr.listed(ordered)}")
    common = distinguished_names.common_names(subject)
    if strange_names := {lowered(name) for name in common} - ordered:
        raise Mismatch(f"has the common name {csr.listed(strange_names)}, which was not ordered")
    return found


def _name(found: x509.GeneralName) -> str:
    """(3) A DNS name, or an address as text (RFC 8738 section 3); never one as the other."""
    match found:
        case x509.IPAddress(value=ip):
            return str(ip)
        case x509.DNSName(value=text) if address(text) is None:
            return lowered(text)
        case x509.DNSName():
            raise Mismatch("has an address as a DNS name in its SAN")
        case _:
            raise Mismatch(f"has a {type(found).__name__} in its SAN")


def _check_use(extensions: x509.Extensions, allowed: frozenset[str]) -> None:
    """(4) For a server, and nothing that was not allowed."""
    extended = chains.value(extensions, x509.ExtendedKeyUsage)
    if extended is None:
        raise Mismatch("has no extended key usage, so it is good for every purpose")
    found = [purpose.dotted_string for purpose in extended]
    if strange := purposes.unwelcome(found, allowed):
        raise Mismatch(f"has the extended key usage {strange}, which the policy does not allow")
    if purposes.SERVER_AUTH not in found:
        raise Mismatch("lacks the extended key usage serverAuth")
    constraints = chains.value(extensions, x509.BasicConstraints)
    usage = chains.value(extensions, x509.KeyUsage)
    if (constraints and constraints.ca) or (usage and (usage.key_cert_sign or usage.crl_sign)):
        raise Mismatch("is a CA's certificate")


def _check_validity(leaf: x509.Certificate, longest: timedelta | None, now: datetime) -> None:
    """(5) Valid now, and for no longer than the policy allows."""
    begins, ends = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    if begins > now + SKEW or ends <= now:
        raise Mismatch(f"is valid from {begins.isoformat()} to {ends.isoformat()}, not today")
    if longest is not None and ends - begins > longest + SLACK:
        raise Mismatch(f"is valid for {ends - begins}; the policy allows {longest}")


def _hex(number: int) -> str:
    """Return a positive number in hex, whole octets."""
    return number.to_bytes((number.bit_length() + 7) // 8, "big").hex()
