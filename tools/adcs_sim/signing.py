"""The CA's keys and certificates, and how a leaf is made: right, or wrong as it was asked for."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs7,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

from tools.adcs_sim.behaviour import Wrong

_BACKDATED = timedelta(minutes=10)
_LIFE_OF_CA = timedelta(days=3650)
_CA_VERSION = x509.ObjectIdentifier("1.3.6.1.4.1.311.21.1")
_TEMPLATE = x509.ObjectIdentifier("1.3.6.1.4.1.311.21.7")
_Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Signer(Struct, frozen=True):
    """One certificate of the CA (self-signed: it is a root) and its key."""

    certificate: x509.Certificate
    key: _Key

    @property
    def der(self) -> bytes:
        """The certificate in DER."""
        return self.certificate.public_bytes(Encoding.DER)

    def pem(self) -> bytes:
        """Return key and certificate."""
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return key + self.certificate.public_bytes(Encoding.PEM)


class Lifetime(Struct, frozen=True):
    """From when, and for how many days."""

    now: datetime
    days: int


def new_signer(name: str, now: datetime, version: int = 0, key: str = "P-256") -> Signer:
    """Return a new CA certificate; `version` counts renewals, as Windows does."""
    private = _new_key(key)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    begins = now.replace(microsecond=0) - timedelta(hours=1)
    builder = (
        x509.CertificateBuilder(subject, subject, private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + _LIFE_OF_CA)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_ca_usage(), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), False)
        .add_extension(
            x509.UnrecognizedExtension(_CA_VERSION, bytes((2, 1, version))), critical=False
        )
    )
    return Signer(builder.sign(private, hashes.SHA256()), private)


def load_signer(file: Path) -> Signer:
    """Return what `Signer.pem` wrote."""
    data = file.read_bytes()
    key = load_pem_private_key(data, None)
    if not isinstance(key, _Key):
        raise TypeError(f"{file}: no key of a CA")
    return Signer(x509.load_pem_x509_certificate(data), key)


def parsed(csr: bytes) -> x509.CertificateSigningRequest | None:
    """Return a PKCS#10 whose signature is right; None if it is none."""
    try:
        request = x509.load_der_x509_csr(csr)
        names_of(request)
        valid = request.is_signature_valid
    except (ValueError, TypeError, InvalidSignature, x509.DuplicateExtension):
        return None
    return request if valid else None


def names_of(request: x509.CertificateSigningRequest) -> list[x509.GeneralName]:
    """Return the alternative names that are asked for."""
    try:
        found = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return list(found.value)


def leaf(
    signer: Signer,
    request: x509.CertificateSigningRequest,
    lifetime: Lifetime,
    wrong: Wrong = "",
) -> x509.Certificate:
    """Return a certificate for a request, with the fault that was asked for."""
    if wrong == "other-issuer":
        name = signer.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        signer = new_signer(str(name), lifetime.now)
    key = _new_key("P-256").public_key() if wrong == "other-key" else request.public_key()
    names = names_of(request)
    if wrong == "extra-name":
        names.append(x509.DNSName("nobody-asked-for-this.example"))
    if wrong == "missing-name":
        names = names[1:]
    begins, ends = _valid(lifetime, wrong)
    usage = (
        ExtendedKeyUsageOID.CODE_SIGNING
        if wrong == "no-server-auth"
        else ExtendedKeyUsageOID.SERVER_AUTH
    )
    certificate = signer.certificate
    builder = (
        x509.CertificateBuilder(certificate.subject, request.subject, key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(_leaf_usage(key), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), False)
        .add_extension(_issuer_key(certificate), critical=False)
    )
    if names:
        alternative = x509.SubjectAlternativeName(names)
        builder = builder.add_extension(alternative, critical=not request.subject.rdns)
    return builder.sign(signer.key, hashes.SHA256())


def chain_of(certificates: list[x509.Certificate]) -> bytes:
    """Return certificates as a PKCS#7 that holds nothing else: a set, so in no order."""
    return pkcs7.serialize_certificates(certificates, Encoding.DER)


def crl(signer: Signer, revoked: list[tuple[bytes, datetime]], now: datetime) -> bytes:
    """Return a revocation list for a week (DER)."""
    builder = x509.CertificateRevocationListBuilder(
        signer.certificate.subject, now, now + timedelta(days=7)
    ).add_extension(_issuer_key(signer.certificate), critical=False)
    for der, when in revoked:
        serial = x509.load_der_x509_certificate(der).serial_number
        one = x509.RevokedCertificateBuilder(serial, when).build()
        builder = builder.add_revoked_certificate(one)
    return builder.sign(signer.key, hashes.SHA256()).public_bytes(Encoding.DER)


def _valid(lifetime: Lifetime, wrong: Wrong) -> tuple[datetime, datetime]:
    begins = lifetime.now.astimezone(UTC).replace(microsecond=0) - _BACKDATED
    if wrong == "expired":
        begins -= timedelta(days=lifetime.days + 1)
    if wrong == "not-yet-valid":
        begins += timedelta(days=2)
    return begins, begins + timedelta(days=lifetime.days)


def _issuer_key(certificate: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    own = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own.value)


def _new_key(kind: str) -> _Key:
    if kind == "P-256":
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _ca_usage() -> x509.KeyUsage:
    return _usage(key_cert_sign=True, crl_sign=True)


def _leaf_usage(key: object) -> x509.KeyUsage:
    return _usage(key_encipherment=isinstance(key, rsa.RSAPublicKey))


def _usage(
    *, key_cert_sign: bool = False, crl_sign: bool = False, key_encipherment: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=key_encipherment,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
