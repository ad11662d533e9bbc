"""The certificates of a CA and of those above it: as a PKCS#7 that comes along with an answer, in
no order, or in a file in PEM.
"""

from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import load_der_pkcs7_certificates

from certeasy.ca.authority import Unavailable
from certeasy.decide import unreadable

MOST = 32
"""So many certificates are looked at."""
LARGEST = 1 << 20
UNREADABLE = (*unreadable.UNREADABLE, InvalidSignature)
"""What the library has to say of bytes that are no certificate, or an odd one."""


def issuers_of(certificate: bytes, pkcs7: bytes) -> tuple[bytes, ...]:
    """Return the issuers of a leaf (DER) out of a PKCS#7 (DER): its own first, the root left out.

    Whatever cannot be read, or does not belong there, is passed over: these are no proof of
    anything, and the chain that is handed out is built from what is known beforehand.
    """
    known = read(pkcs7)
    try:
        at = x509.load_der_x509_certificate(certificate)
    except UNREADABLE:
        return ()
    chain: list[bytes] = []
    for _ in range(MOST):
        issuer = next((one for one in known if _issued(one, at)), None)
        if issuer is None or issuer.subject == issuer.issuer:
            break
        chain.append(issuer.public_bytes(Encoding.DER))
        at = issuer
    return tuple(chain)


def read(pkcs7: bytes) -> list[x509.Certificate]:
    """Return the certificates in a PKCS#7; none if it cannot be read."""
    if not pkcs7 or len(pkcs7) > LARGEST:
        return []
    try:
        return load_der_pkcs7_certificates(pkcs7)[:MOST]
    except UNREADABLE:
        return []


def _issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:  # names are read when they are asked for, and may be none
        if issuer == certificate or issuer.subject != certificate.issuer:
            return False
        certificate.verify_directly_issued_by(issuer)
    except UNREADABLE:
        return False
    return True


def of_file(file: Path) -> tuple[bytes, ...]:
    """Return the certificates (DER) of `ca-certificates`. Raises Unavailable."""
    try:
        with file.open("rb") as opened:
            found = x509.load_pem_x509_certificates(opened.read(LARGEST))
    except (OSError, *UNREADABLE) as error:
        raise Unavailable(
            f"ca-certificates {file} cannot be read ({error}); it holds certificates in PEM"
        ) from error
    return tuple(one.public_bytes(Encoding.DER) for one in found)
