"""One certificate of the server itself, as it is held, and as it is kept between two starts.

What an authority issued is kept among the database's secrets, wrapped: the key is one.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from certeasy.decide.addresses import address
from certeasy.decide.unreadable import UNREADABLE

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
SubjectNames = x509.SubjectAlternativeName


class NoCertificate(Exception):
    """A bundle has no certificate that could be shown; the message says why and what to do.

    `rest`: how long whoever is asked for one wants to be left alone.
    """

    def __init__(self, reason: str, rest: timedelta | None = None) -> None:
        super().__init__(reason)
        self.rest = rest


class NotUsable(Exception):
    """What was issued cannot be shown to clients; the end of a sentence says why."""


class OwnCertificate(msgspec.Struct, frozen=True):
    """A certificate chain (PEM, leaf first) with its key (PEM), and the hosts it is shown to.

    `authority` issued it, or the ACME server with that directory; empty: it was read from files. A
    `placeholder` is signed by itself, and trusted by nobody.
    """

    chain_pem: bytes
    key_pem: bytes
    hosts: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    authority: str = ""
    placeholder: bool = False

    @property
    def lifetime(self) -> timedelta:
        """How long it is valid in all."""
        return self.not_after - self.not_before

    def __repr__(self) -> str:
        """Name the hosts only: a key has no place in a log or a traceback."""
        return f"OwnCertificate(hosts={self.hosts!r}, not_after={self.not_after:%Y-%m-%d})"


class _Kept(msgspec.Struct, frozen=True):
    """What is stored, as JSON."""

    authority: str
    hosts: tuple[str, ...]
    chain: bytes
    key: bytes


_KEPT = msgspec.json.Decoder(_Kept)


def secret_name(bundle: str) -> str:
    """Return the name under which the database's secrets have a bundle's certificate."""
    return f"tls/{bundle}"


def kept(own: OwnCertificate) -> bytes:
    """Return a certificate as it is kept."""
    return msgspec.json.encode(_Kept(own.authority, own.hosts, own.chain_pem, own.key_pem))


def taken(secret: bytes) -> OwnCertificate | None:
    """Return a certificate that was kept; None: it is none."""
    try:
        found = _KEPT.decode(secret)
        leaf = leaf_of(found.chain, found.key)
    except (msgspec.DecodeError, ValueError):
        return None
    return OwnCertificate(
        found.chain,
        found.key,
        found.hosts,
        leaf.not_valid_before_utc,
        leaf.not_valid_after_utc,
        found.authority,
    )


def leaf_of(chain_pem: bytes, key_pem: bytes) -> x509.Certificate:
    """Return the certificate that a key belongs to. Raises ValueError if there is none."""
    try:
        leaf = x509.load_pem_x509_certificate(chain_pem)
        known = leaf.public_key()
    except UNREADABLE as error:
        raise ValueError(f"the certificate cannot be read: {error}") from error
    try:
        key = load_pem_private_key(key_pem, None)
    except UNREADABLE as error:
        raise ValueError(f"the key cannot be read: {error}") from error
    if key.public_key() != known:
        raise ValueError("the key is not that of the certificate")
    return leaf


def request_for(hosts: Sequence[str], key: Key) -> bytes:
    """Return a certificate request (DER) for the hosts."""
    # An authority that copies the request takes the names from there.
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    request = request.add_extension(_names(hosts), critical=True)
    return request.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def issued(
    chain: bytes, leaf_der: bytes, key: Key, hosts: tuple[str, ...], by: str, now: datetime
) -> OwnCertificate:
    """Return what was issued, fit to be shown to clients. Raises NotUsable."""
    leaf, names = _read(leaf_der)
    if leaf is None or leaf.public_key() != key.public_key():
        raise NotUsable("something else than was asked for was issued")
    missing = set(hosts) - names
    if missing:
        raise NotUsable(f"the certificate issued is not for {', '.join(sorted(missing))}")
    if leaf.not_valid_after_utc <= now:
        raise NotUsable("the certificate issued has expired already")
    begin, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    return OwnCertificate(chain, _pem(key), hosts, begin, end, by)


def placeholder(hosts: tuple[str, ...], now: datetime) -> OwnCertificate:
    """Return a certificate that is signed by itself: TLS is spoken, and nobody trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Certeasy has none yet")])
    begin, end = now - timedelta(hours=1), now + timedelta(days=30)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(_names(hosts), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain = made.public_bytes(Encoding.PEM)
    return OwnCertificate(chain, _pem(key), hosts, begin, end, placeholder=True)


def _pem(key: Key) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _names(hosts: Sequence[str]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([_general_name(host) for host in hosts])


def _general_name(host: str) -> x509.GeneralName:
    ip = address(host)
    return x509.DNSName(host) if ip is None else x509.IPAddress(ip)


def _read(der: bytes) -> tuple[x509.Certificate | None, set[str]]:
    """Return a certificate, and the names that it is for; None if it cannot be read."""
    try:
        leaf = x509.load_der_x509_certificate(der)
        leaf.public_key()
        found = [one.value for one in leaf.extensions if isinstance(one.value, SubjectNames)]
    except UNREADABLE:
        return None, set()
    return leaf, {str(name.value) for each in found for name in each}
