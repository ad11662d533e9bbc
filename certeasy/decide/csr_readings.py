"""A certificate signing request as two libraries read it that know nothing of each other.

What a request says is what its reader makes of its bytes. If our reader saw other names than the
authority's, someone could have us check one request and the authority sign another. So a second
reader (asn1crypto, all Python) goes over the bytes that the first (cryptography, all Rust) has
accepted, and whatever they do not agree on is refused, however harmless it looks.

Both readings are brought into one form, `Reading`, and compared member by member. The key is
compared in the one spelling that the first reader gives it, so that there is no other.
"""

from ipaddress import IPv4Network, IPv6Network
from typing import Any

from asn1crypto import core, parser
from asn1crypto import csr as pkcs10
from asn1crypto import x509 as asn1
from cryptography import x509
from msgspec import Struct
from msgspec.structs import asdict

from certeasy.decide import distinguished_names
from certeasy.decide.problems import Problem, Refused

SUBJECT_ALT_NAME = "2.5.29.17"
KEY_USAGE = "2.5.29.15"
BASIC_CONSTRAINTS = "2.5.29.19"
EXTENDED_KEY_USAGE = "2.5.29.37"
TLS_FEATURE = "1.3.6.1.5.5.7.1.24"
EXTENSION_REQUESTS = frozenset({"1.2.840.113549.1.9.14", "1.3.6.1.4.1.311.2.1.14"})

_UNDERSTOOD = frozenset(
    {SUBJECT_ALT_NAME, KEY_USAGE, BASIC_CONSTRAINTS, EXTENDED_KEY_USAGE, TLS_FEATURE}
)
_DNS_NAME = 2
_IP_ADDRESS = 7
_CONTEXT_SPECIFIC = 2
_USAGES = """digital_signature content_commitment key_encipherment data_encipherment
    key_agreement key_cert_sign crl_sign""".split()
# What asn1crypto raises about bytes that it cannot make sense of, or finds missing.
_CANNOT_READ = (ValueError, TypeError, KeyError, IndexError)


class Reading(Struct, frozen=True):
    """What one reader saw. Extensions are (dotted OID, critical, what it says), the last empty
    where nothing is made of it; attributes of the subject (dotted OID, value in DER)."""

    signed_part: bytes
    signature: bytes
    signature_algorithm: str
    key: bytes
    subject: tuple[tuple[str, bytes], ...]
    attributes: tuple[str, ...]
    extensions: tuple[tuple[str, bool, tuple[object, ...]], ...]


def check_agreement(
    der: bytes,
    request: x509.CertificateSigningRequest,
    signed_part: bytes,
    spki: bytes,
    extensions: tuple[x509.Extension[Any], ...],
) -> None:
    """Return if both readers see the same request in its bytes. Raises Refused (badCSR).

    All but `der` is what the first reader made of it.
    """
    try:
        second = _second(der)
    except _CANNOT_READ as error:
        told = " ".join(str(error).split())[:100]
        detail = f"The CSR is read by one of two readers only; to the other, {told!a}"
        raise Refused(Problem.BAD_CSR, detail) from None
    compare(_first(der, request, signed_part, spki, extensions), second)


def compare(first: Reading, second: Reading) -> None:
    """Return if two readings are the same. Raises Refused (badCSR), naming what differs."""
    if first == second:
        return
    other = asdict(second)
    differing = [
        name.replace("_", " ") for name, seen in asdict(first).items() if seen != other[name]
    ]
    what = ", ".join(differing)
    raise Refused(Problem.BAD_CSR, f"Two readers disagree on what the CSR says: its {what}")


# ---------------------------------------------------------------- cryptography


def _first(
    der: bytes,
    request: x509.CertificateSigningRequest,
    signed_part: bytes,
    spki: bytes,
    extensions: tuple[x509.Extension[Any], ...],
) -> Reading:
    # The subject is read by our own eyes: the library applies the length limits of X.520.
    subject = distinguished_names.request_subject(der)
    return Reading(
        signed_part=signed_part,
        signature=request.signature,
        signature_algorithm=request.signature_algorithm_oid.dotted_string,
        key=spki,
        subject=distinguished_names.values(subject),
        attributes=tuple(each.oid.dotted_string for each in request.attributes),
        extensions=tuple(
            (each.oid.dotted_string, each.critical, _said(each.value)) for each in extensions
        ),
    )


def _said(value: x509.ExtensionType) -> tuple[object, ...]:
    match value:
        case x509.SubjectAlternativeName() as names:
            return tuple(map(_general_name, names))
        case x509.BasicConstraints(ca=ca, path_length=path_length):
            return (ca, path_length)
        case x509.KeyUsage() as usage:
            return tuple(getattr(usage, name) for name in _USAGES)
        case x509.ExtendedKeyUsage() as purposes:
            return tuple(purpose.dotted_string for purpose in purposes)
        case x509.TLSFeature() as features:
            return tuple(feature.value for feature in features)
        case _:
            return ()


def _general_name(name: x509.GeneralName) -> tuple[int, bytes]:
    match name:
        case x509.DNSName(value=text):
            return _DNS_NAME, text.encode()
        case x509.IPAddress(value=address):
            if isinstance(address, IPv4Network | IPv6Network):
                return _IP_ADDRESS, address.network_address.packed + address.netmask.packed
            return _IP_ADDRESS, address.packed
        case _:
            return -1, b""


# ---------------------------------------------------------------- asn1crypto


def _second(der: bytes) -> Reading:
    request = pkcs10.CertificationRequest.load(der, strict=True)
    info = request["certification_request_info"]
    attributes = tuple(info["attributes"])
    lists = [each for each in attributes if each["type"].dotted in EXTENSION_REQUESTS]
    return Reading(
        signed_part=info.dump(),
        signature=request["signature"].contents[1:],
        signature_algorithm=request["signature_algorithm"]["algorithm"].dotted,
        key=info["subject_pk_info"].dump(),
        subject=tuple(
            (each["type"].dotted, each["value"].dump())
            for relative in info["subject"].chosen
            for each in relative
        ),
        attributes=tuple(each["type"].dotted for each in attributes),
        extensions=tuple(
            (each["extn_id"].dotted, each["critical"].native, _said_by(each))
            for one in lists
            for values in _lists(one["values"])
            for each in values
        ),
    )


def _lists(values: Any) -> Any:
    """Return the lists of extensions, also where asn1crypto has no name for their attribute."""
    if isinstance(values, core.Any):
        return values.parse(core.SetOf, spec_params={"spec": asn1.Extensions})
    return values


def _said_by(extension: Any) -> tuple[object, ...]:
    oid = extension["extn_id"].dotted
    if oid not in _UNDERSTOOD:
        return ()
    value = extension["extn_value"]
    if oid == SUBJECT_ALT_NAME:
        return tuple(_names(value.contents))
    if oid == BASIC_CONSTRAINTS:
        read = value.parsed
        return (read["ca"].native, read["path_len_constraint"].native)
    if oid == KEY_USAGE:
        bits = tuple(map(bool, core.BitString.load(value.contents, strict=True).native))
        return (*bits, *[False] * len(_USAGES))[: len(_USAGES)]
    if oid == EXTENDED_KEY_USAGE:
        return tuple(each.dotted for each in value.parsed)
    return tuple(core.Integer.load(each.dump()).native for each in value.parsed)


def _names(value: bytes) -> list[tuple[int, bytes]]:
    """Return the general names of a SAN: a walk, because a hundred objects would cost more."""
    _, _, _, _, names, _ = parser.parse(value, strict=True)
    found, at = [], 0
    while at < len(names):
        kind, _, tag, header, content, trailer = parser.parse(names[at:])
        at += len(header) + len(content) + len(trailer)
        known = kind == _CONTEXT_SPECIFIC and tag in (_DNS_NAME, _IP_ADDRESS)
        found.append((tag, content) if known else (-1, b""))
    return found
