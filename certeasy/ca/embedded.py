"""The CA inside this server: a root, an issuing CA below it, and leaves for tests and small labs.

Not for production: its keys lie in the same database as everything else, wrapped, and it publishes
no revocation lists. What it issues is as strict as if it were: names come from the order alone,
extensions from here alone, and of the request only its key counts, its common name if that is one
of the names, and clientAuth and must-staple if the policy allows them.

Two levels, because clients insist on at least two certificates in a chain whose root is left out.
"""

from datetime import datetime, timedelta

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certeasy.ca.authority import (
    Denied,
    Issued,
    Outcome,
    Revocation,
    Submission,
    Trace,
    Unavailable,
)
from certeasy.clock import Clock
from certeasy.decide import chains, csr, distinguished_names, public_keys, purposes
from certeasy.decide.addresses import address
from certeasy.ids import Ids
from certeasy.settings import EmbeddedSettings, KeySettings
from certeasy.settings.names import lowered

BACKDATED = timedelta(hours=1)
"""Leaves begin that much earlier, for clients whose clocks are slow; short-lived ones by less."""
MAX_COMMON_NAME = 64

_SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
_CURVES: dict[str, ec.EllipticCurve] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
}
_ISSUING_SUFFIX = " (issuing)"
_SECOND = timedelta(seconds=1)
_NO_SUBJECT = x509.Name([])


class EmbeddedKeys(msgspec.Struct, frozen=True):
    """All that the CA is: certificates in DER, private keys in PKCS#8 DER, unencrypted.

    Whoever stores it wraps it.
    """

    root_certificate: bytes
    root_key: bytes
    issuing_certificate: bytes
    issuing_key: bytes

    def encode(self) -> bytes:
        """Return it as bytes: JSON."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> "EmbeddedKeys":
        """Return what `encode` made bytes of. Raises msgspec.DecodeError."""
        return msgspec.json.decode(data, type=cls)

    @property
    def root_pem(self) -> bytes:
        """The root, for clients to trust: PEM."""
        return chains.pem(self.root_certificate)


def generate(settings: EmbeddedSettings, clock: Clock, ids: Ids) -> EmbeddedKeys:
    """Return a new root and a new issuing CA, both valid for `settings.validity`."""
    begins = clock.now().replace(microsecond=0) - BACKDATED
    ends = begins + settings.validity - _SECOND
    root_key, issuing_key = _new_key(settings.key), _new_key(settings.key)
    root_name = _name(_cut(settings.common_name, MAX_COMMON_NAME))
    short = _cut(settings.common_name, MAX_COMMON_NAME - len(_ISSUING_SUFFIX))
    issuing_name = _name(short + _ISSUING_SUFFIX)
    base = (
        x509.CertificateBuilder()
        .issuer_name(root_name)
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(_key_usage(ca=True), critical=True)
    )
    root = _sign_ca(base.subject_name(root_name), root_key, root_key, 1, ids)
    issuing = _sign_ca(base.subject_name(issuing_name), issuing_key, root_key, 0, ids)
    return EmbeddedKeys(
        root_certificate=root,
        root_key=_pkcs8(root_key),
        issuing_certificate=issuing,
        issuing_key=_pkcs8(issuing_key),
    )


class EmbeddedAuthority:
    """A running embedded CA: an `Authority`.

    Keys and everything that is alike in all leaves are prepared once; threads share them.
    """

    in_process = True
    copies_request = False
    revokes = False  # it has no list of revoked certificates to publish

    def __init__(
        self, name: str, keys: EmbeddedKeys, settings: EmbeddedSettings, clock: Clock, ids: Ids
    ) -> None:
        self.name = name
        self._clock = clock
        self._ids = ids
        self._longest = settings.certificate_validity
        self._issuers = (keys.issuing_certificate, keys.root_certificate)
        self._key = _load_key(keys.issuing_key)
        self._hash = _hash_for(self._key)
        self._certificate = x509.load_der_x509_certificate(keys.issuing_certificate)
        self._root_pem = keys.root_pem
        # What a key is used for in TLS depends on its kind: only RSA keys encipher others.
        self._leaf = _leaf_template(self._certificate, encipher=False)
        self._rsa_leaf = _leaf_template(self._certificate, encipher=True)

    @property
    def root_pem(self) -> bytes:
        """The root, for clients to trust: PEM."""
        return self._root_pem

    def submit(self, submission: Submission) -> Outcome:
        """Sign at once. Raises Unavailable when the CA's own certificate has run out."""
        begins, ends = self._validity(submission)
        if ends <= self._clock.now():
            return Denied("The validity asked for is over", f"notAfter would be {ends.isoformat()}")
        request = csr.load(submission.csr)
        key = request.public_key()
        template = self._rsa_leaf if isinstance(key, rsa.RSAPublicKey) else self._leaf
        subject = _subject(submission)
        builder = (
            template.subject_name(subject)
            .public_key(key)
            .serial_number(_serial(self._ids))
            .not_valid_before(begins)
            .not_valid_after(ends)
            .add_extension(_purposes(request, submission.allowed_extra_eku), critical=False)
            .add_extension(_alternative(submission.names), critical=subject is _NO_SUBJECT)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        )
        features = _features(request, submission)
        if features is not None:
            builder = builder.add_extension(features, critical=False)
        certificate = builder.sign(self._key, self._hash)
        return Issued(certificate.public_bytes(Encoding.DER), self._issuers)

    def poll(self, submission: Submission, request_id: str) -> Outcome:
        """Deny: no request ever waits here."""
        return Denied(
            "The authority knows no such request",
            f"embedded CA {self.name} was asked for {request_id} of order {submission.order_id}",
        )

    def recover(self, submission: Submission, trace: Trace) -> None:
        """Return None: what was signed and not recorded was in this process's memory, and is gone.

        `submission` is not looked at: nothing that this CA signs is kept here.
        """

    def twins(self, submission: Submission, trace: Trace, known: str) -> tuple[Issued, ...]:  # noqa: ARG002 - as `recover`
        """Return nothing: what was not recorded is gone."""
        return ()

    def revoke(self, revocation: Revocation) -> None:
        """Do nothing: that it is revoked stands in the log, and there is nowhere else to say so."""

    def probe(self) -> None:
        """Raise Unavailable when the CA's own certificate has run out."""
        if self._clock.now() >= self._certificate.not_valid_after_utc:
            raise Unavailable(f"The certificate of the embedded CA {self.name} has expired")

    def close(self) -> None:
        """Do nothing: there is nothing to give back."""

    def issuers(self) -> tuple[bytes, ...]:
        """Return the issuing CA and the root, DER."""
        return self._issuers

    def _validity(self, submission: Submission) -> tuple[datetime, datetime]:
        """Return from when to when, whole seconds: no longer than anyone concerned allows."""
        self.probe()
        now = self._clock.now()
        longest = min(self._longest, submission.max_validity or self._longest)
        begins = max(now - min(BACKDATED, longest / 2), self._certificate.not_valid_before_utc)
        begins = begins.replace(microsecond=0)
        # The last second counts: RFC 5280 section 4.1.2.5.
        ends = min(begins + longest - _SECOND, self._certificate.not_valid_after_utc)
        ends = min(ends, submission.not_after or ends)
        return begins, ends.replace(microsecond=0)


# ---------------------------------------------------------------- what a leaf is made of


def _leaf_template(issuer: x509.Certificate, *, encipher: bool) -> x509.CertificateBuilder:
    """Return a builder with all that is alike in all leaves."""
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(encipher=encipher), critical=True)
        .add_extension(authority, critical=False)
    )


def _subject(submission: Submission) -> x509.Name:
    """Return the request's common name, if it is one of the names and fits; else the first name
    that does, if that is wished for; else nothing."""
    subject = distinguished_names.request_subject(submission.csr)
    for name in distinguished_names.common_names(subject):
        if lowered(name) in submission.names and len(name) <= MAX_COMMON_NAME:
            return _name(lowered(name))
    if submission.fill_common_name:
        for name in submission.names:
            if len(name) <= MAX_COMMON_NAME and isinstance(_general(name), x509.DNSName):
                return _name(name)
    return _NO_SUBJECT


def _features(
    request: x509.CertificateSigningRequest, submission: Submission
) -> x509.TLSFeature | None:
    """Return the TLS features that are asked for and granted (RFC 7633)."""
    if not submission.must_staple:
        return None
    return chains.value(request.extensions, x509.TLSFeature)


def _alternative(names: tuple[str, ...]) -> x509.SubjectAlternativeName:
    """Return the names as a SAN, addresses as such (RFC 8738 section 3)."""
    return x509.SubjectAlternativeName([_general(name) for name in names])


def _general(name: str) -> x509.GeneralName:
    ip = address(name)
    return x509.DNSName(name) if ip is None else x509.IPAddress(ip)


def _purposes(
    request: x509.CertificateSigningRequest, extra: tuple[str, ...]
) -> x509.ExtendedKeyUsage:
    """Return serverAuth, and what the request asks for beside it if the policy allows that."""
    asked = chains.value(request.extensions, x509.ExtendedKeyUsage) if extra else None
    if asked is None:
        return _SERVER_AUTH
    welcome = purposes.allowed(extra) - {purposes.SERVER_AUTH}
    more = [purpose for purpose in asked if purpose.dotted_string in welcome]
    return x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, *more])


_SERVER_AUTH = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])


# ---------------------------------------------------------------- what a CA is made of


def _sign_ca(
    builder: x509.CertificateBuilder, key: _SigningKey, by: _SigningKey, below: int, ids: Ids
) -> bytes:
    """Return a CA certificate for `key`, signed by `by`, with `below` levels of CAs under it."""
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key())
    certificate = (
        builder.public_key(key.public_key())
        .serial_number(_serial(ids))
        .add_extension(x509.BasicConstraints(ca=True, path_length=below), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(authority, critical=False)
        .sign(by, _hash_for(by))
    )
    return certificate.public_bytes(Encoding.DER)


def _new_key(settings: KeySettings) -> _SigningKey:
    """Return a new private key."""
    if settings.type == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=settings.size)
    return ec.generate_private_key(_CURVES[settings.curve])


def _load_key(pkcs8: bytes) -> _SigningKey:
    """Return a key that `generate` made."""
    key = load_der_private_key(pkcs8, password=None)
    assert isinstance(key, _SigningKey), "the embedded CA's key is RSA or ECDSA"
    return key


def _pkcs8(key: _SigningKey) -> bytes:
    """Return a private key as PKCS#8, DER."""
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def _hash_for(key: _SigningKey) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512:
    """Return the hash that is as strong as the key."""
    curve = key.curve.name if isinstance(key, ec.EllipticCurvePrivateKey) else ""
    match public_keys.CURVES.get(curve):
        case "P-384":
            return hashes.SHA384()
        case "P-521":
            return hashes.SHA512()
        case _:
            return hashes.SHA256()


def _serial(ids: Ids) -> int:
    """Return a serial number: 19 octets, positive, 150 random bits."""
    return int.from_bytes(ids.random(19), "big") >> 2 | 1 << 150


def _cut(text: str, octets: int) -> str:
    """Return as much of a text as fits into so many octets of UTF-8."""
    return text.encode()[:octets].decode(errors="ignore")


def _name(common_name: str) -> x509.Name:
    """Return a name of a common name alone."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(*, ca: bool = False, encipher: bool = False) -> x509.KeyUsage:
    """Return a CA's key usage, or a server's."""
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=encipher,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
