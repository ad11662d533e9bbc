"""The server's own certificates, made ready for handshakes and replaced while it runs.

What holds here:

* A client that names a host (SNI) gets the certificate of that host, any other client the first
  one. Names are compared exactly, in lower case.
* A replacement is whole or not at all: it takes effect for handshakes that begin afterwards, and
  connections that exist go on with what they have.
* A private key is never in a file that somebody else could read. OpenSSL wants a path; on Linux it
  gets one that exists in memory only, elsewhere a file in a directory of ours, gone at once.
"""

import contextlib
import os
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from certeasy.cluster.files import keep_private

DESCRIPTORS = Path("/proc/self/fd")


class UnusableCertificate(ValueError):
    """A chain and a key that no handshake can be made with; the text names the hosts and why."""


class TlsMaterial(msgspec.Struct, frozen=True):
    """A certificate chain (PEM, the leaf first), its private key (PEM, in clear), and its hosts."""

    certificate_chain_pem: bytes
    key_pem: bytes
    hosts: tuple[str, ...]

    def __repr__(self) -> str:
        """Name the hosts only: a key has no place in a log or a traceback."""
        return f"TlsMaterial(hosts={self.hosts!r})"


class ServerSocket(ssl.SSLSocket):
    """Our end of a connection, which closes itself when it finds that nobody is at the other.

    Found so while TLS is put on it, it would never reach whoever else might close it.
    """

    def getpeername(self) -> Any:
        """Return the peer's address; close and raise OSError if there is no peer any more."""
        try:
            return super().getpeername()
        except OSError:
            self.close()
            raise


class Certificates:
    """The contexts in use. One thread may replace them while another begins handshakes."""

    def __init__(self, materials: Sequence[TlsMaterial]) -> None:
        self._first = prepare(materials)

    @property
    def context(self) -> ssl.SSLContext:
        """The context that a new handshake begins with; it moves on to the host's by itself."""
        return self._first

    def replace(self, materials: Sequence[TlsMaterial]) -> None:
        """Use these from the next handshake on. Raise UnusableCertificate, and change nothing."""
        self._first = prepare(materials)


def prepare(materials: Sequence[TlsMaterial]) -> ssl.SSLContext:
    """Return the first one's context, which hands over to the others by the host asked for.

    Raises UnusableCertificate if there is none, if one cannot be loaded or two claim one host.
    """
    if not materials:
        raise UnusableCertificate("a TLS listener needs at least one certificate")
    contexts = [server_context(material) for material in materials]
    by_host: dict[str, ssl.SSLContext] = {}
    for material, context in zip(materials, contexts, strict=True):
        for host in material.hosts:
            if by_host.setdefault(host.lower(), context) is not context:
                raise UnusableCertificate(f"two certificates claim the host {host}")

    def choose(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        connection.context = by_host.get((name or "").lower(), connection.context)

    # Only the context that a handshake begins with is asked, so only it needs the callback; and
    # where there is no choice, nobody needs it.
    if len(contexts) > 1:
        contexts[0].sni_callback = choose
    return contexts[0]


def server_context(material: TlsMaterial) -> ssl.SSLContext:
    """Return a context for TLS 1.2 and later with this certificate. Raises UnusableCertificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslsocket_class = ServerSocket
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A renegotiation costs us a handshake whenever a client likes; compression leaks (CRIME).
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])

    def no_password() -> str:
        raise UnusableCertificate(
            f"the key for {_named(material)} is protected by a password: give it without one,"
            " readable by the server's user alone"
        )

    try:
        with readable_path(material.key_pem + b"\n" + material.certificate_chain_pem) as path:
            # Without a callback OpenSSL would ask for the password of such a key on the terminal.
            context.load_cert_chain(path, password=no_password)
    except ssl.SSLError as error:
        raise UnusableCertificate(f"the certificate for {_named(material)}: {error}") from error
    return context


def _named(material: TlsMaterial) -> str:
    return ", ".join(material.hosts) or "no host"


@contextlib.contextmanager
def readable_path(secret: bytes) -> Iterator[str]:
    """Lend `secret` as a path that only this process can read, until the block ends."""
    in_memory = hasattr(os, "memfd_create") and DESCRIPTORS.is_dir()
    with path_in_memory(secret) if in_memory else path_on_disk(secret) as path:
        yield path


@contextlib.contextmanager
def path_in_memory(secret: bytes) -> Iterator[str]:
    """Lend `secret` as an anonymous file in memory, by the name that Linux gives descriptors."""
    descriptor = os.memfd_create("tls", os.MFD_CLOEXEC)
    try:
        os.fchmod(descriptor, 0o600)
        os.write(descriptor, secret)
        yield str(DESCRIPTORS / str(descriptor))
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def path_on_disk(secret: bytes) -> Iterator[str]:
    """Lend `secret` as a file (0600) in a new directory (0700)."""
    with tempfile.TemporaryDirectory(prefix="certeasy-tls-") as directory:
        keep_private(Path(directory))
        path = Path(directory) / "tls.pem"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secret)
        yield str(path)
