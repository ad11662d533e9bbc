"""Certificates made by hand, and put into a server's log as if its authority had issued them."""

import base64
import functools
import hashlib
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from certeasy.app import Application
from certeasy.commit import Command
from certeasy.decide.decision import Decision
from events.envelope import Actor
from events.recovery import CertificateRecovered
from tests.make.csrs import cn, p256, san

BEGIN = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)


@functools.cache
def a_leaf(
    *names: str,
    key_id: bytes | None = b"\x01" * 20,
    serial: int = 7,
    begins: datetime = BEGIN,
    life: timedelta = timedelta(days=90),
) -> bytes:
    """Return a certificate (DER) that names its issuer's key by `key_id`, or not at all."""
    key = p256(7)
    builder = (
        x509.CertificateBuilder(cn("Issuer"), cn("leaf"), key.public_key(), serial)
        .not_valid_before(begins)
        .not_valid_after(begins + life)
        .add_extension(san(*(names or ("web.lab.test",))), critical=False)
    )
    if key_id is not None:
        identifier = x509.AuthorityKeyIdentifier(key_id, None, None)
        builder = builder.add_extension(identifier, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def cert_id_of(leaf: x509.Certificate) -> str:
    """Return a certID by another way than the server's: RFC 9773 section 4.1."""
    aki = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    serial = leaf.serial_number
    der = serial.to_bytes(serial.bit_length() // 8 + 1, "big")
    return ".".join(
        base64.urlsafe_b64encode(part).rstrip(b"=").decode()
        for part in (aki.key_identifier or b"", der)
    )


def plant(server: Application, der: bytes, *, account_id: str = "0" * 26) -> str:
    """Have a certificate in the server's log; return its id.

    It comes as one does whose order the log has lost.
    """
    leaf = x509.load_der_x509_certificate(der)
    sha256 = hashlib.sha256(der).hexdigest()
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    serial = leaf.serial_number
    fact = CertificateRecovered(
        position=1,
        id=server.ids.new(),
        order_id="0" * 26,
        account_id=account_id,
        authority="lab-ca",
        certificate=der,
        chain=(),
        serial=serial.to_bytes((serial.bit_length() + 7) // 8, "big").hex(),
        sha256=sha256,
        spki_sha256="",
        names=tuple(names.get_values_for_type(x509.DNSName)),
        not_before=f"{leaf.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}",
        not_after=f"{leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
    )
    decision = Decision(((f"certificate/{fact.id}", fact),))
    server.committer.submit(Command(lambda _rows, _now: decision, Actor("system", "test")))
    return fact.id
