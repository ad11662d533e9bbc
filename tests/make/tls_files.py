"""A certificate for 127.0.0.1 and acme.corp.example in files, and the root that clients trust.

Complete enough for clients that are strict about RFC 5280, as Python is from 3.13 on.
"""

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

CA_USAGE = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def make_server_certificate(folder: Path, *names: str, days: int = 0) -> Path:
    """Write tls.pem and tls.key, and return the path of the root that signed it.

    `names` are more of them; both certificates are good for two days around the day that is so many
    `days` ahead.
    """
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = certificate("Lab root", root_key, root_key, days)
    root = root.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    root = root.add_extension(CA_USAGE, critical=True)
    hosts = [x509.DNSName(name) for name in ("acme.corp.example", *names)]
    all_names = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1")), *hosts])
    leaf = certificate("ACME server", key, root_key, days).add_extension(all_names, critical=False)
    for name, made in (("root.pem", root), ("tls.pem", leaf)):
        signed = made.sign(root_key, hashes.SHA256())
        (folder / name).write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / "tls.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "root.pem"


def certificate(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    root_key: ec.EllipticCurvePrivateKey,
    days: int = 0,
) -> x509.CertificateBuilder:
    """Return a certificate of "Lab root", good for a day, ready for what makes it special."""
    now = datetime.now(UTC)  # noqa: TID251 - clients compare it with their own clock
    now += timedelta(days=days)
    day = timedelta(days=1)
    name, issuer = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (subject, "Lab root")
    )
    own_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
    return (
        x509.CertificateBuilder(issuer, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(own_id, critical=False)
        .add_extension(issuer_id, critical=False)
    )
