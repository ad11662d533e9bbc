"""What a certificate signing request must be before anyone is asked to sign.

`parse` reads it strictly and proves that whoever made it holds the key; `check` holds it against
the order and the policy. In this order, so that nothing costs more than it has earned:

1. It is small, and one PKCS#10 request in DER with nothing after it (RFC 2986).
2. Its signature algorithm is one we know; MD5 and SHA-1 are not.
3. Its key is of a kind we know, of bounded size, and sound.
4. The signature verifies under that key.
5. It has at most one list of extensions, no extension twice, and no attribute that steers a CA;
   and a second library reads the same out of it as the first: `csr_readings`.
6. Its subject has what the policy takes, and its names are the order's names: all of them, and no
   others (RFC 8555 section 7.4).
7. Its key and algorithm are welcome to the policy.
8. Its extensions are harmless: `csr_extensions`.
9. Its key is not the account's key (RFC 8555 section 11.1).

What is harmless is tolerated, because clients put it in and its users cannot take it out; what is
refused is named by its OID or its value, because the reader of the message has to find it.
"""

import base64
import re
from collections.abc import Collection, Iterable
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from msgspec import Struct

from certeasy.decide import csr_extensions, csr_readings, distinguished_names, public_keys
from certeasy.decide.csr_readings import EXTENSION_REQUESTS
from certeasy.decide.distinguished_names import COMMON_NAME, SHORT_NAMES
from certeasy.decide.problems import Problem, Refused
from certeasy.decide.public_keys import CURVES, PublicKey, UnsoundKey
from certeasy.decide.unreadable import UNREADABLE, told
from certeasy.settings import CsrRules, SignatureRules
from certeasy.settings.names import lowered

MAX_BYTES = 64 << 10
"""A hundred names of full length under an RSA-8192 key take half of this."""

ALGORITHMS = {
    "1.2.840.113549.1.1.11": "RSA-SHA256",
    "1.2.840.113549.1.1.12": "RSA-SHA384",
    "1.2.840.113549.1.1.13": "RSA-SHA512",
    "1.2.840.10045.4.3.2": "ECDSA-SHA256",
    "1.2.840.10045.4.3.3": "ECDSA-SHA384",
    "1.2.840.10045.4.3.4": "ECDSA-SHA512",
    "1.3.101.112": "ED25519",
}
"""Signature algorithms by OID, in the words of the settings."""

_UNKNOWN_ALGORITHMS = {
    "1.2.840.113549.1.1.4": "RSA with MD5",
    "1.2.840.113549.1.1.5": "RSA with SHA-1",
    "1.2.840.113549.1.1.10": "RSASSA-PSS",
    "1.2.840.10045.4.1": "ECDSA with SHA-1",
}
_CHALLENGE_PASSWORD = "1.2.840.113549.1.9.7"  # noqa: S105 - an OID
_HARMLESS_ATTRIBUTES = {
    "1.2.840.113549.1.9.2",  # unstructured name
    "1.2.840.113549.1.9.8",  # unstructured address
    "1.3.6.1.4.1.311.13.2.2",  # Windows: which provider made the key
    "1.3.6.1.4.1.311.13.2.3",  # Windows: version of the system
    "1.3.6.1.4.1.311.21.20",  # Windows: machine, user and program
}
_VERSION_1, _VERSION_3 = b"\2\1\0", b"\2\1\2"
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")
_SHOWN_NAMES = 5


class CertificateRequest(Struct, frozen=True):
    """A request that was read, whose signature was verified, and whose key is sound.

    `names` are the DNS names of its SAN as they stand there, and its addresses; `subject` its
    attributes (dotted OID, text) in their order, `algorithm` how it is signed, in the words of the
    settings. `spki` is the public key, DER.
    """

    der: bytes
    key: PublicKey
    spki: bytes
    algorithm: str
    subject: tuple[tuple[str, str], ...]
    names: tuple[str, ...]
    extensions: tuple[x509.Extension[Any], ...]

    @property
    def common_names(self) -> tuple[str, ...]:
        """The common names of its subject: usually none or one."""
        return tuple(text for oid, text in self.subject if oid == COMMON_NAME)


def from_base64url(text: str) -> bytes:
    """Return the bytes of a `csr` member: base64url without padding. RFC 8555 sections 6.1, 7.4.

    Raises Refused (malformed), with a hint at what was sent instead.
    """
    if "-----" in text:
        raise _malformed("is PEM; it is the base64url of the DER, without header and footer")
    if "=" in text:
        raise _malformed("is padded with '='; base64url is sent without padding")
    if "+" in text or "/" in text:
        raise _malformed(
            "is in the standard base64 alphabet; base64url has '-' for '+', '_' for '/'"
        )
    if not _BASE64URL.fullmatch(text):
        raise _malformed("is empty or has line breaks or other characters that base64url has not")
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise _malformed("is cut off: no base64url has this length") from None
    if base64.urlsafe_b64encode(data).rstrip(b"=") != text.encode():
        raise _malformed("is not canonical base64url: its last character has stray bits")
    return data


def parse(der: bytes) -> CertificateRequest:
    """Return the request, once its signature verifies. Steps 1 to 5 above.

    Raises Refused (badCSR). Its names and its policy are looked at by `check`.
    """
    request = _load(der)
    algorithm = _algorithm(request)
    key = _key(request)
    _check_signature(der, request)
    _check_attributes(request)
    extensions = _extensions(request)
    spki = public_keys.spki(key)
    csr_readings.check_agreement(der, request, _signed(der, request), spki, extensions)
    return CertificateRequest(
        der=der,
        key=key,
        spki=spki,
        algorithm=algorithm,
        subject=distinguished_names.attributes(distinguished_names.request_subject(der)),
        names=csr_extensions.names(extensions),
        extensions=extensions,
    )


def check(
    request: CertificateRequest,
    names: Collection[str],
    rules: SignatureRules,
    csr_rules: CsrRules,
    *,
    copied: bool,
) -> None:
    """Return if the request may be handed to the authority. Steps 6 to 8 above.

    `names` are the order's, lower-case. `copied` tells that the authority copies subject and
    extensions out of the request (a CA whose template says "supply in the request") instead of
    making its own; then nothing may stand there that is not wanted in the certificate.
    Raises Refused (badCSR).
    """
    _check_subject_rules(request, csr_rules, copied=copied)
    _check_common_name(request.common_names, names)
    _check_names(request, names, copied=copied)
    _check_key(request, rules)
    csr_extensions.check(request.extensions, csr_rules, copied=copied)


def spki_of(der: bytes) -> bytes:
    """Return the public key, DER, of a request that `parse` accepted once."""
    return public_keys.spki(load(der).public_key())


def load(der: bytes) -> x509.CertificateSigningRequest:
    """Return a request to be read: one in DER, with nothing after it. Raises ValueError.

    There is one version, written 0 (RFC 2986 section 4.1). Ruby's ACME library writes 2, that of a
    certificate; others overlook it, and so do we: it is read as if 0 stood there.
    """
    try:
        return x509.load_der_x509_csr(der)
    except x509.InvalidVersion:
        at = distinguished_names.start_of_signed(der)
        if der[at : at + 3] != _VERSION_3:
            raise ValueError("its version is unknown; version 1 is the only one") from None
        return x509.load_der_x509_csr(der[:at] + _VERSION_1 + der[at + 3 :])


def check_not_account_key(request: CertificateRequest, thumbprint: str) -> None:
    """Return if the certificate's key is another than the account's. RFC 8555 section 11.1.

    `thumbprint` is the account key's (RFC 7638, base64url). Raises Refused (badCSR).
    """
    if public_keys.thumbprint(request.key) == thumbprint:
        raise bad("The CSR has the account's key; a certificate needs a key of its own")


def bad(detail: str) -> Refused:
    """Return the refusal of a request. RFC 8555 section 6.7 has badCSR for its key as well."""
    return Refused(Problem.BAD_CSR, detail)


def listed(names: Iterable[str]) -> str:
    """Return a few names for a message, in quotes; nothing of a client goes into it unescaped."""
    ordered = sorted(names)
    more = f" and {len(ordered) - _SHOWN_NAMES} more" if len(ordered) > _SHOWN_NAMES else ""
    return ", ".join(ascii(name[:253]) for name in ordered[:_SHOWN_NAMES]) + more


# ---------------------------------------------------------------- parse


def _load(der: bytes) -> x509.CertificateSigningRequest:
    """(1) Small, DER, one request."""
    if len(der) > MAX_BYTES:
        raise bad(f"The CSR has {len(der)} bytes; at most {MAX_BYTES} are taken")
    try:
        return load(der)
    except ValueError as error:
        raise bad(f"The CSR is not one PKCS#10 request in DER: {error}") from None


def _algorithm(request: x509.CertificateSigningRequest) -> str:
    """(2) A signature algorithm that we know."""
    oid = request.signature_algorithm_oid.dotted_string
    if oid not in ALGORITHMS:
        raise bad(f"The CSR is signed with {_UNKNOWN_ALGORITHMS.get(oid, oid)}, which is not taken")
    return ALGORITHMS[oid]


def _key(request: x509.CertificateSigningRequest) -> PublicKey:
    """(3) A sound key of a kind that we know; others are not even read."""
    kind = request.public_key_algorithm_oid  # type: ignore[attr-defined] # its stubs forgot it
    if kind.dotted_string not in public_keys.KINDS:
        raise bad("The CSR's key is of a kind that is not taken; RSA and ECDSA are")
    try:
        key = request.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise bad(f"The CSR's public key is not valid: {error}") from None
    assert isinstance(key, RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey)
    try:
        public_keys.check_sound(key)
    except UnsoundKey as error:
        raise bad(f"The CSR's key {error}") from None
    return key


def _check_signature(der: bytes, request: x509.CertificateSigningRequest) -> None:
    """(4) Whoever made it holds the key, and wrote the signature in whole octets.

    It is the last thing in a request; other numbers of bits would be more spellings of the same.
    """
    if not der.endswith(b"\0" + request.signature) or not _is_signed(der, request):
        raise bad("The CSR's signature does not verify under its own key")


def _signed(der: bytes, request: x509.CertificateSigningRequest) -> bytes:
    """Return the part that is signed as it came in, which `load` may have read otherwise."""
    at, signed = distinguished_names.start_of_signed(der), request.tbs_certrequest_bytes
    if der[at : at + 3] == _VERSION_1:
        return signed
    return signed.replace(_VERSION_1, _VERSION_3, 1)


def _is_signed(der: bytes, request: x509.CertificateSigningRequest) -> bool:
    """Return whether its key signed what came in."""
    signed = _signed(der, request)
    if signed == request.tbs_certrequest_bytes:
        return request.is_signature_valid
    key, how = request.public_key(), request.signature_algorithm_parameters
    hashed = request.signature_hash_algorithm
    try:
        match key, how:
            case RSAPublicKey(), PKCS1v15() if hashed is not None:
                key.verify(request.signature, signed, how, hashed)
            case EllipticCurvePublicKey(), ECDSA():
                key.verify(request.signature, signed, how)
            case _:
                return False
    except InvalidSignature:
        return False
    return True


def _check_attributes(request: x509.CertificateSigningRequest) -> None:
    """(5) One list of extensions at most, and nothing that steers a CA."""
    try:
        found = [attribute.oid.dotted_string for attribute in request.attributes]
    except ValueError as error:
        raise bad(f"The CSR's attributes cannot be read: {error}") from None
    if len(EXTENSION_REQUESTS.intersection(found)) > 1 or len(found) != len(set(found)):
        raise bad("The CSR has an attribute twice, or two lists of extensions")
    for oid in found:
        if oid == _CHALLENGE_PASSWORD:
            raise bad("The CSR has a challenge password; leave it out: it would be kept for ever")
        if oid not in EXTENSION_REQUESTS and oid not in _HARMLESS_ATTRIBUTES:
            raise bad(f"The CSR has the attribute {oid}, which is not taken")


def _extensions(request: x509.CertificateSigningRequest) -> tuple[x509.Extension[Any], ...]:
    """(5) Every extension once, and readable."""
    try:
        return tuple(request.extensions)
    except x509.DuplicateExtension as error:
        raise bad(f"The CSR has the extension {error.oid.dotted_string} twice") from None
    except UNREADABLE as error:
        raise bad(f"The CSR's extensions cannot be read: {told(error)}") from None


# ---------------------------------------------------------------- check


def _check_common_name(found: tuple[str, ...], names: Collection[str]) -> None:
    """(6) Say precisely what is wrong with a common name that can be none of the names."""
    if len(found) > 1:
        raise bad(f"The CSR has {len(found)} common names; one is enough, and none is best")
    for name in found:
        if not name:
            raise bad("The CSR has a common name (CN) with an empty value; leave CN out instead")
        if _is_address(name) and lowered(name) not in names:
            raise bad(
                f"The CSR has the IP address {name} as common name (CN); leave CN out instead"
            )


def _check_names(request: CertificateRequest, names: Collection[str], *, copied: bool) -> None:
    """(6) The names asked for are the order's as a set; a common name counts as one of them.

    It does not count where it would be copied: it would become no name of the certificate's SAN.
    """
    ordered = set(names)
    if strange := {lowered(name) for name in request.common_names} - ordered:
        raise bad(f"The CSR's common name {listed(strange)} is not in the order")
    counted = request.names if copied else (*request.names, *request.common_names)
    asked = {lowered(name) for name in counted}
    if strange := asked - ordered:
        raise bad(f"The CSR asks for {listed(strange)}, which the order has not")
    if missing := ordered - asked:
        where = " in its subject alternative name (SAN)" if copied else ""
        raise bad(f"The CSR does not ask for {listed(missing)}{where}, which the order has")


def _check_key(request: CertificateRequest, rules: SignatureRules) -> None:
    """(7) The key and the algorithm are welcome to the policy."""
    if request.algorithm not in rules.allowed_algorithms:
        allowed = ", ".join(rules.allowed_algorithms)
        raise bad(f"The CSR is signed with {request.algorithm}; the policy takes {allowed}")
    match request.key:
        case RSAPublicKey(key_size=bits) if bits < rules.min_rsa_bits:
            raise bad(f"The CSR's RSA key has {bits} bits; {rules.min_rsa_bits} are the least")
        case EllipticCurvePublicKey(curve=curve) if (
            CURVES[curve.name] not in rules.allowed_ec_curves
        ):
            allowed = ", ".join(rules.allowed_ec_curves)
            raise bad(f"The CSR's key is on {CURVES[curve.name]}; the policy takes {allowed}")
        case _:
            pass


def _check_subject_rules(request: CertificateRequest, rules: CsrRules, *, copied: bool) -> None:
    """(6) What may stand in the subject, apart from which names: nobody can take it out again."""
    if rules.common_name == "refuse" and request.common_names:
        shown = listed(request.common_names)
        raise bad(f"The CSR has the common name {shown}; the policy takes none, so leave CN out")
    if rules.subject == "ignore" or (rules.subject == "refuse-if-copied" and not copied):
        return
    for oid, text in request.subject:
        if oid != COMMON_NAME:
            shown = f"{SHORT_NAMES.get(oid, oid)}={listed([text])}"
            why = "policy takes only CN" if rules.subject == "refuse" else "CA would copy it"
            raise bad(f"The CSR's subject has {shown}, and the {why}; leave it out")


def _is_address(name: str) -> bool:
    """Return whether a name is an IP address."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _malformed(what: str) -> Refused:
    """Return the refusal of a `csr` member that is no base64url."""
    return Refused(Problem.MALFORMED, f"The csr member {what}")
