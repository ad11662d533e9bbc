"""What a client of tls-alpn-01 puts on its server: a certificate for one handshake.

context = alpn_context(alpn_certificate("web.lab.test", key_authorization), folder)
"""

import datetime as dt
import hashlib
import ssl
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.make.csrs import p256, san

ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
PROTOCOL = "acme-tls/1"


def proof(key_authorization: str) -> x509.UnrecognizedExtension:
    """The extension acmeIdentifier. RFC 8737 section 3."""
    digest = hashlib.sha256(key_authorization.encode()).digest()
    return x509.UnrecognizedExtension(ACME_IDENTIFIER, b"\x04\x20" + digest)


def alpn_certificate(
    *extensions: tuple[x509.ExtensionType, bool],
    key: ec.EllipticCurvePrivateKey | None = None,
    issuer: str = "alpn",
    issuer_key: ec.EllipticCurvePrivateKey | None = None,
) -> x509.Certificate:
    """A certificate with these extensions, each critical or not; self-signed, expired long ago."""
    key = key or p256()
    began = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)
    builder = x509.CertificateBuilder(
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]),
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "alpn")]),
        key.public_key(),
        7,
        began,
        began + dt.timedelta(days=1),
    )
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    return builder.sign(issuer_key or key, hashes.SHA256())


def right_certificate(name: str, key_authorization: str) -> x509.Certificate:
    """The certificate that proves a name."""
    return alpn_certificate((san(name), False), (proof(key_authorization), True))


class AlpnShelf:
    """A server context that shows for each name the certificate that was laid there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._contexts: dict[str, ssl.SSLContext] = {}
        self.context = alpn_context(alpn_certificate(), folder)
        self.context.sni_callback = self._choose

    def lay(self, asked: str, certificate: x509.Certificate) -> None:
        """Show this certificate to whoever asks for that name."""
        self._contexts[asked] = alpn_context(certificate, self._folder)

    def _choose(self, connection: ssl.SSLSocket, asked: str | None, _first: ssl.SSLContext) -> None:
        connection.context = self._contexts.get(asked or "", self.context)


def alpn_context(
    certificate: x509.Certificate, folder: Path, *, protocols: Iterable[str] = (PROTOCOL,)
) -> ssl.SSLContext:
    """A server context that shows a certificate for `p256()` and speaks these protocols."""
    pem = serialization.Encoding.PEM
    file = folder / f"{certificate.fingerprint(hashes.SHA256()).hex()}.pem"
    file.write_bytes(
        p256().private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(pem)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    if chosen := list(protocols):
        context.set_alpn_protocols(chosen)
    return context
