"""One certificate of the server itself, as it is held, and as it is kept between two starts.

What an authority issued is kept among the database's secrets, wrapped: the key is one.
"""

from datetime import datetime, timedelta

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from certeasy.decide.unreadable import UNREADABLE


class NoCertificate(Exception):
    """A bundle has no certificate that could be shown; the message says why and what to do."""


class OwnCertificate(msgspec.Struct, frozen=True):
    """A certificate chain (PEM, leaf first) with its key (PEM), and the hosts it is shown to.

    `authority` issued it; empty: it was read from files.
    """

    chain_pem: bytes
    key_pem: bytes
    hosts: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    authority: str = ""

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
