"""The server's own certificates, one per bundle: read from files, or issued by one of the
authorities.

What an authority issues for the server is an event like any other certificate. Its key lives in
memory: every start makes a new one.
"""

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certeasy.ca import Authority, InDoubt, Issued, Submission, Unavailable
from certeasy.clock import Clock
from certeasy.decide.addresses import address
from certeasy.decide.chains import chain_pem
from certeasy.log import logger
from certeasy.settings import TlsBundle, TlsSettings
from events.nodes import TlsCertificateInstalled

log = logger("tls")
Install = Callable[[TlsCertificateInstalled], None]


class OwnCertificate(msgspec.Struct, frozen=True):
    """A certificate chain (PEM, leaf first) with its key (PEM), and the hosts it is shown to."""

    chain_pem: bytes
    key_pem: bytes
    hosts: tuple[str, ...]
    not_after: datetime


class NoCertificate(Exception):
    """A bundle has no certificate that could be shown; the message says why and what to do."""


class OwnCertificates:
    """All bundles, kept fresh."""

    def __init__(
        self,
        settings: TlsSettings,
        authorities: Mapping[str, Authority],
        clock: Clock,
        server_id: str,
        install: Install,
    ) -> None:
        """`install` commits the fact that an authority issued a certificate for the server."""
        self._settings = settings
        self._authorities = authorities
        self._clock = clock
        self._server_id = server_id
        self._install = install
        self._held: dict[str, OwnCertificate] = {}
        self._read: dict[str, tuple[int, ...]] = {}

    def all(self) -> list[OwnCertificate]:
        """Return a certificate for every bundle, read or issued now where there is none yet.

        Raises NoCertificate where a bundle has none.
        """
        for bundle in self._settings.bundles:
            if bundle.name not in self._held:
                self._held[bundle.name] = self._obtain(bundle)
        return list(self._held.values())

    def refresh(self) -> bool:
        """Look whether files changed and whether a renewal is due; return whether anything is new.

        What cannot be renewed is kept as it is: an old certificate is better than none.
        """
        changed = False
        for bundle in self._settings.bundles:
            try:
                if self._is_due(bundle):
                    self._held[bundle.name] = self._obtain(bundle)
                    changed = True
                    log.info("bundle %s: a new certificate is in use", bundle.name)
            except NoCertificate as error:
                log.error("%s; the certificate in use stays", error)
        return changed

    def _is_due(self, bundle: TlsBundle) -> bool:
        if bundle.mode == "files":
            return self._read.get(bundle.name) != _stamp(bundle)
        held = self._held.get(bundle.name)
        if held is None:
            return True
        lifetime_left = held.not_after - self._clock.now()
        return lifetime_left < min(self._settings.renew_before, timedelta(days=30))

    def _obtain(self, bundle: TlsBundle) -> OwnCertificate:
        if bundle.mode == "files":
            return self._from_files(bundle)
        return self._from_authority(bundle)

    def _from_files(self, bundle: TlsBundle) -> OwnCertificate:
        certificate, key = bundle.certificate, bundle.key
        if certificate is None or key is None:
            raise NoCertificate(f"bundle {bundle.name}: mode files needs `certificate` and `key`")
        try:
            stamp = _stamp(bundle)
            chain, secret = certificate.read_bytes(), key.read_bytes()
            leaf = x509.load_pem_x509_certificate(chain)
        except (OSError, ValueError) as error:
            raise NoCertificate(f"bundle {bundle.name}: {error}") from error
        self._read[bundle.name] = stamp
        return OwnCertificate(chain, secret, bundle.hosts, leaf.not_valid_after_utc)

    def _from_authority(self, bundle: TlsBundle) -> OwnCertificate:
        authority = self._authorities.get(bundle.authority or "")
        if authority is None:
            raise NoCertificate(f"bundle {bundle.name}: there is no authority {bundle.authority!r}")
        key = ec.generate_private_key(ec.SECP256R1())
        # An authority that copies the request takes the names from there.
        names = x509.SubjectAlternativeName([_general_name(host) for host in bundle.hosts])
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        request = request.add_extension(names, critical=True)
        csr = request.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
        submission = Submission(f"tls-{bundle.name}", 1, csr, bundle.hosts, self._server_id)
        try:
            outcome = authority.submit(submission)
        except Unavailable as error:
            raise NoCertificate(f"bundle {bundle.name}: {error.reason}") from error
        except InDoubt as error:
            raise NoCertificate(
                f"bundle {bundle.name}: authority {authority.name} gave no answer, and may have"
                f" issued a certificate that nobody has: {error.reason}"
            ) from error
        if not isinstance(outcome, Issued):
            raise NoCertificate(
                f"bundle {bundle.name}: authority {authority.name} answered {outcome}"
            )
        leaf = _read(bundle, outcome.certificate, key)
        self._install(_fact(bundle, authority.name, outcome.certificate, leaf))
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        chain = chain_pem(outcome.certificate, outcome.issuers)
        return OwnCertificate(chain, secret, bundle.hosts, leaf.not_valid_after_utc)


def _general_name(host: str) -> x509.GeneralName:
    ip = address(host)
    return x509.DNSName(host) if ip is None else x509.IPAddress(ip)


def _read(bundle: TlsBundle, der: bytes, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """Return the certificate that was issued. Raises NoCertificate if it is not what was asked."""
    try:
        leaf = x509.load_der_x509_certificate(der)
        if leaf.public_key() == key.public_key():
            return leaf
    except (ValueError, TypeError, UnsupportedAlgorithm):
        pass
    raise NoCertificate(f"bundle {bundle.name}: the authority issued something else than was asked")


def _fact(
    bundle: TlsBundle, authority: str, der: bytes, leaf: x509.Certificate
) -> TlsCertificateInstalled:
    return TlsCertificateInstalled(
        bundle=bundle.name,
        authority=authority,
        hosts=list(bundle.hosts),
        sha256=hashlib.sha256(der).hexdigest(),
        not_after=f"{leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
        certificate=der,
    )


def _stamp(bundle: TlsBundle) -> tuple[int, ...]:
    """Return what changes when the bundle's files do."""
    paths = [path for path in (bundle.certificate, bundle.key) if isinstance(path, Path)]
    try:
        return tuple(path.stat().st_mtime_ns for path in paths)
    except OSError as error:
        raise NoCertificate(f"bundle {bundle.name}: {error}") from error
