"""Who we are to a directory: a bind by SASL, and the layer that seals what follows. MS-ADTS 5.1.1.

GSS-SPNEGO it is, with Kerberos or, where the settings ask for it, NTLM. On a line without TLS every
message is sealed by the security context, in a frame of its own (RFC 4422 section 3.7). On one with
TLS there is no such layer, and the ticket is bound to the server's certificate instead: so it is
worth nothing to whoever sits in between (RFC 5929, `tls-server-end-point`).
"""

import hashlib
import struct

from asn1crypto import x509

from certeasy.ca.adcs.gss import DCE_STYLE, FLAGS, PRIVATE, WHOLE, KerberosContext
from certeasy.ca.adcs.identity import Credentials
from certeasy.ca.adcs.ntlm import NtlmContext
from certeasy.ca.adcs.security import SecurityContext, Tampered

LARGEST_FRAME = (4 << 20) + 256
TWO_LEGS = FLAGS & ~DCE_STYLE
WEAK = {"md5", "sha1"}
"""Hashes in whose place SHA-256 is taken. RFC 5929 section 4.1."""


def context(credentials: Credentials, host: str, bindings: bytes | None) -> SecurityContext:
    """Return the context of these credentials for the directory on a host.

    `bindings` tells the line's TLS certificate; None: there is no TLS, and the context seals.
    """
    if not credentials.kerberos:
        return NtlmContext(
            credentials.user,
            credentials.domain,
            credentials.password,
            credentials.nt_hash,
            f"ldap/{host}",
        )
    return KerberosContext(
        credentials.user,
        credentials.domain,
        credentials.tgs,
        flags=TWO_LEGS if bindings is None else TWO_LEGS & ~(PRIVATE | WHOLE),
        bindings=bindings or bytes(16),
    )


def bindings(certificate: bytes) -> bytes:
    """Return what binds a ticket to a server's certificate (DER). RFC 4121 section 4.1.1.2."""
    try:
        # A controller's own certificate may have a serial number that stricter readers refuse.
        name = x509.Certificate.load(certificate).hash_algo
    except ValueError:
        name = "sha256"  # of a signature that names no hash
    if name in WEAK:
        name = "sha256"
    said = b"tls-server-end-point:" + hashlib.new(name, certificate).digest()
    # No addresses on either side, and the length of what was said.
    whole = bytes(16) + struct.pack("<I", len(said)) + said
    return hashlib.md5(whole, usedforsecurity=False).digest()


class Layer:
    """Seals and opens the messages of one line, by its context."""

    def __init__(self, security: SecurityContext) -> None:
        self._security = security

    def wrap(self, message: bytes) -> bytes:
        """Return a message sealed, in its frame."""
        sealed, verifier = self._security.seal(b"", message, b"")
        return struct.pack(">I", len(verifier) + len(sealed)) + verifier + sealed

    def unwrap(self, frame: bytes) -> bytes:
        """Return what was sealed in a frame (without its length). Raises Tampered."""
        size = self._security.overhead(len(frame))
        if len(frame) < size:
            raise Tampered("a frame of the directory is cut off")
        return self._security.unseal(b"", frame[size:], b"", frame[:size])


def length_of(head: bytes) -> int | None:
    """Return how long the frame is that begins like this; None: more of it is needed."""
    if len(head) < 4:  # noqa: PLR2004 - a length
        return None
    (length,) = struct.unpack_from(">I", head)
    if length > LARGEST_FRAME:
        raise Tampered(f"a frame of the directory is larger than {LARGEST_FRAME} bytes")
    return 4 + int(length)
