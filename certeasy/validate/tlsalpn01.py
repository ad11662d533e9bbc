"""The tls-alpn-01 challenge: a certificate that only the holder of the name can have put there.

RFC 8737, for addresses RFC 8738 section 6. In a TLS handshake with port 443 (or the profile's) of
an address of the name:

1. The connection is made as `certeasy.validate.reach` says: to an address that the policy allows,
   IPv6 first, within a bounded time. It speaks TLS 1.2 or newer, and is closed after the handshake.
2. The handshake asks for the name (SNI; for an address its name in the reverse DNS) and offers
   `acme-tls/1` and no other protocol; the answer has to choose it. So a server that knows nothing
   of this challenge cannot pass it by accident.
3. The certificate is self-signed; nobody vouches for it, and it is valid for no name otherwise.
4. Its only subject alternative name is the name, or the address.
5. Its extension acmeIdentifier is critical, and is the SHA-256 of the key authorization.

A certificate is bounded in size by the TLS library (100 KiB of a chain), and nothing of it is
repeated, in a problem or in the evidence, but its hash: whoever orders a certificate may have us
knock at doors inside.
"""

import hashlib
import hmac
import socket
import ssl

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from certeasy.decide.addresses import address
from certeasy.decide.problems import Problem
from certeasy.decide.unreadable import UNREADABLE
from certeasy.settings import DnsProfile
from certeasy.validate import Asked, Evidence, Failed, Validated, wire
from certeasy.validate.reach import Reach, Resolves, Stop, Trail

PROTOCOL = "acme-tls/1"
ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
OCTETS_32 = b"\x04\x20"
"""How an OCTET STRING of 32 octets begins."""
NO_PROTOCOL = "no application protocol"
"""The alert of a server that does not speak the protocol (RFC 7301 section 3.2), in OpenSSL's
words; the reason's name is not known to every version of the library around it."""


class _Trail(Trail):
    """What one validation has seen so far; becomes its evidence."""

    def __init__(self) -> None:
        super().__init__()
        self.certificate_sha256 = ""
        self.alpn = ""

    def evidence(self) -> Evidence:
        return msgspec.structs.replace(
            super().evidence(),
            alpn=self.alpn,
            certificate_sha256=self.certificate_sha256,
        )


class TlsAlpn01Validator:
    """Validates tls-alpn-01 as one DNS profile says. One instance serves all threads."""

    def __init__(self, profile: DnsProfile, resolver: Resolves) -> None:
        self._reach = Reach(profile, resolver)
        self._port = profile.tls_alpn_01_port
        self._tls = _context()

    def validate(self, asked: Asked) -> Validated | Failed:
        """Shake hands with a name and look at its certificate. RFC 8737 section 3.

        Blocks for at most five times the profile's timeout: a look-up that began just before the
        end of three.
        """
        name = asked.name
        trail = _Trail()
        try:
            certificate = self._shown(name, trail)
            _check(certificate, name, asked.key_authorization)
        except Stop as stop:
            detail = str(stop)
            if trail.certificate_sha256:
                detail = f"{name} ({trail.address} port {trail.port}) {detail}"
            return Failed(stop.problem, detail, trail.evidence(), stop.transient)
        return Validated(trail.evidence())

    def _shown(self, name: str, trail: _Trail) -> bytes:
        """Return the certificate, DER, that is shown for the name: (1) and (2). Raises Stop."""
        deadline = self._reach.deadline()
        connection = self._reach.connect(name, self._port, trail, deadline)
        where = f"{name}: TLS with {trail.address} port {self._port}"
        with connection:
            try:
                secured = self._handshake(connection, name, deadline)
            except TimeoutError:
                raise Stop(Problem.TLS, f"{where} was not set up in time", transient=True) from None
            except ssl.SSLError as error:
                raise Stop(Problem.TLS, f"{where} {_reason(error)}") from error
            except (OSError, ValueError) as error:
                said = wire.words(error)
                raise Stop(Problem.TLS, f"{where} failed ({said})", transient=True) from error
            with secured:
                trail.alpn = secured.selected_alpn_protocol() or ""
                certificate = secured.getpeercert(binary_form=True) or b""
        if trail.alpn != PROTOCOL:
            detail = f"{where} did not choose the protocol {PROTOCOL}: nothing there answers it"
            raise Stop(Problem.UNAUTHORIZED, detail)
        trail.certificate_sha256 = hashlib.sha256(certificate).hexdigest()
        return certificate

    def _handshake(
        self, connection: socket.socket, name: str, deadline: wire.Deadline
    ) -> ssl.SSLSocket:
        """Return the connection with TLS over it. The time is for the whole handshake."""
        connection.settimeout(self._reach.step(deadline))
        return self._tls.wrap_socket(connection, server_hostname=_server_name(name))


def _server_name(name: str) -> str:
    """Return what to ask for: an address by its name in the reverse DNS. RFC 8738 section 6."""
    ip = address(name)
    return name if ip is None else ip.reverse_pointer


def _reason(error: ssl.SSLError) -> str:
    """Return what a failed handshake means, as the rest of a sentence."""
    if NO_PROTOCOL in str(error).lower().replace("_", " "):
        return f"was refused: the server does not speak {PROTOCOL}"
    return f"failed ({wire.words(error)})"


def _check(certificate: bytes, name: str, key_authorization: str) -> None:
    """Hold a certificate against the name and the key authorization. Raises Stop: "shows ..."."""
    try:
        leaf = x509.load_der_x509_certificate(certificate)
        extensions = leaf.extensions
        _check_self_signed(leaf)
        _check_name(extensions, name)
        _check_identifier(extensions, key_authorization)
    except UNREADABLE as error:
        raise _wrong(f"that cannot be read ({type(error).__name__})") from error


def _check_self_signed(leaf: x509.Certificate) -> None:
    """(3) It was signed by nobody but its own key."""
    try:
        leaf.verify_directly_issued_by(leaf)
    except (InvalidSignature, ValueError):
        raise _wrong("that is not self-signed: it is the server's usual one") from None


def _check_name(extensions: x509.Extensions, name: str) -> None:
    """(4) It is for the name that is validated, and nothing else."""
    try:
        found = list(extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        raise _wrong("that has no subject alternative name") from None
    if len(found) != 1:
        raise _wrong(f"with {len(found)} names; it must have this one alone")
    if not _is_for(found[0], name):
        raise _wrong(f"that is not for {name}")


def _is_for(found: x509.GeneralName, name: str) -> bool:
    match found:
        case x509.IPAddress(value=ip):
            return ip == address(name)
        case x509.DNSName(value=text):
            return text.isascii() and text.lower() == name
        case _:
            return False


def _check_identifier(extensions: x509.Extensions, key_authorization: str) -> None:
    """(5) It was made for this challenge and this account."""
    try:
        extension = extensions.get_extension_for_oid(ACME_IDENTIFIER)
    except x509.ExtensionNotFound:
        raise _wrong("without an acmeIdentifier (extension 1.3.6.1.5.5.7.1.31)") from None
    if not extension.critical:
        raise _wrong("whose acmeIdentifier is not critical")
    expected = OCTETS_32 + hashlib.sha256(key_authorization.encode("ascii")).digest()
    shown = extension.value.public_bytes()
    if not hmac.compare_digest(shown, expected):
        is_hash = len(shown) == len(expected) and shown.startswith(OCTETS_32)
        what = "that of another challenge or account" if is_hash else "no SHA-256"
        raise _wrong(f"whose acmeIdentifier is {what}")


def _wrong(what: str) -> Stop:
    return Stop(Problem.UNAUTHORIZED, f"shows a certificate {what}")


def _context() -> ssl.SSLContext:
    """Return a client context that takes any certificate, and speaks one protocol."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([PROTOCOL])
    return context
