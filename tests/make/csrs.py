"""Certificate signing requests: by a sentence, or by hand where no library would make them."""

import functools
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from certeasy.decide import distinguished_names

P256_SHA256 = "1.2.840.10045.4.3.2"
RSA_SHA256 = "1.2.840.113549.1.1.11"
EXTENSION_REQUEST = "1.2.840.113549.1.9.14"
MICROSOFT_EXTENSION_REQUEST = "1.3.6.1.4.1.311.2.1.14"
SUBJECT_ALT_NAME = "2.5.29.17"


@functools.cache
def p256(number: int = 0) -> ec.EllipticCurvePrivateKey:
    """A P-256 key; the same for the same number."""
    return ec.generate_private_key(ec.SECP256R1())


@functools.cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    """An RSA key; the same for the same size."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def subject(*attributes: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    """A subject of these attributes."""
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in attributes])


def cn(name: str) -> x509.Name:
    """A subject of a common name."""
    return subject((NameOID.COMMON_NAME, name))


def san(*names: str) -> x509.SubjectAlternativeName:
    """A SAN of DNS names, and of addresses as such."""
    return x509.SubjectAlternativeName([_general(name) for name in names])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def a_csr(
    *names: str,
    key: CertificateIssuerPrivateKeyTypes | None = None,
    subject: x509.Name | None = None,
    extensions: Iterable[x509.ExtensionType] = (),
    critical: bool = False,
    attributes: Sequence[tuple[str, bytes]] = (),
    sha: hashes.HashAlgorithm | None = None,
) -> bytes:
    """A request in DER: a SAN with `names`, if any, then `extensions`."""
    key = key or p256()
    builder = x509.CertificateSigningRequestBuilder(subject or x509.Name([]))
    alternative = [san(*names)] if names else []
    for extension in (*alternative, *extensions):
        builder = builder.add_extension(extension, critical)
    for oid, value in attributes:
        builder = builder.add_attribute(x509.ObjectIdentifier(oid), value)
    edwards = isinstance(key, ed25519.Ed25519PrivateKey)
    request = builder.sign(key, None if edwards else (sha or hashes.SHA256()))
    return request.public_bytes(Encoding.DER)


# ---------------------------------------------------------------- by hand


def tlv(tag: int, *parts: bytes) -> bytes:
    """An element in DER."""
    content = b"".join(parts)
    size = len(content)
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    length = bytes([size]) if size < 0x80 else bytes([0x80 | len(octets)]) + octets
    return bytes([tag]) + length + content


def oid(dotted: str) -> bytes:
    """An OBJECT IDENTIFIER."""
    first, second, *rest = map(int, dotted.split("."))
    return tlv(0x06, *map(_arc, (first * 40 + second, *rest)))


def _arc(value: int) -> bytes:
    octets = [value & 0x7F]
    while value := value >> 7:
        octets.append(value & 0x7F | 0x80)
    return bytes(reversed(octets))


def raw_extension(dotted: str, value: bytes) -> bytes:
    """An Extension, not critical."""
    return tlv(0x30, oid(dotted), tlv(0x04, value))


def raw_san(*names: str) -> bytes:
    """A SAN extension with DNS names."""
    parts = [tlv(0x82, name.encode()) for name in names]
    return raw_extension(SUBJECT_ALT_NAME, tlv(0x30, *parts))


def raw_attribute(dotted: str, *values: bytes) -> bytes:
    """An Attribute."""
    return tlv(0x30, oid(dotted), tlv(0x31, *values))


def asking_for(*extensions: bytes, dotted: str = EXTENSION_REQUEST) -> bytes:
    """The attribute that asks for extensions."""
    return raw_attribute(dotted, tlv(0x30, *extensions))


def raw_cn(tag: int, text: bytes) -> bytes:
    """A subject of one common name, whose string has any tag."""
    return raw_name(tlv(tag, text))


def raw_name(value: bytes) -> bytes:
    """A subject of one common name, whose value is any element."""
    return tlv(0x30, tlv(0x31, tlv(0x30, oid("2.5.4.3"), value)))


def a_raw_csr(
    *attributes: bytes,
    subject: bytes = b"\x30\x00",
    algorithm: str = P256_SHA256,
    spki: bytes | None = None,
    version: int = 0,
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None,
) -> bytes:
    """A request whose parts are given in DER, signed with SHA-256 whatever they say."""
    key = key or p256()
    own = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    info = tlv(0x30, tlv(2, bytes([version])), subject, spki or own, tlv(0xA0, *attributes))
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(info, padding.PKCS1v15(), hashes.SHA256())
    else:
        signature = key.sign(info, ec.ECDSA(hashes.SHA256()))
    return tlv(0x30, info, tlv(0x30, oid(algorithm)), tlv(0x03, b"\x00", signature))


def a_dh_key() -> bytes:
    """A SubjectPublicKeyInfo of a Diffie-Hellman key, which can sign nothing."""
    group = tlv(0x30, tlv(2, ((1 << 521) - 1).to_bytes(66, "big")), tlv(2, b"\2"))
    return tlv(0x30, tlv(0x30, oid("1.2.840.113549.1.3.1"), group), tlv(3, b"\0", tlv(2, b"\4")))


def with_an_unused_bit(sign: Callable[[], bytes]) -> bytes:
    """What `sign` makes, but the last bit of its signature, a zero, is said to be unused."""
    signed = next(der for der in iter(sign, b"") if der[-1] % 2 == 0)
    *_, signature = distinguished_names._parts(signed)
    return signed.removesuffix(signature) + signature.replace(b"\0", b"\1", 1)
