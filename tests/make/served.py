"""A listener on loopback, certificates for it, and a client that sees every byte."""

import contextlib
import datetime as dt
import functools
import http.client
import itertools
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from certeasy.serve.contexts import Certificates, TlsMaterial
from certeasy.serve.limits import Limits, seconds_allowed
from certeasy.serve.listener import Listener, start

SOON = 5.0
"""Seconds after which a test stops waiting for something that should have happened at once."""


@functools.cache
def a_certificate(*hosts: str) -> TlsMaterial:
    """A self-signed certificate and P-256 key for these hosts; the first one is its name."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, hosts[0])])
    start_of_time = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start_of_time)
        .not_valid_after(start_of_time + dt.timedelta(days=365 * 100))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), False)
        .sign(key, hashes.SHA256())
    )
    return TlsMaterial(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        hosts,
    )


def some_certificates(*hosts: str) -> Certificates:
    """One certificate for each host, `acme.test` if none is named."""
    return Certificates([a_certificate(host) for host in hosts or ("acme.test",)])


def impatient(**seconds: float) -> Limits:
    """Limits that are as generous as usual, but for the timeouts named, in seconds."""
    timeouts = {name: dt.timedelta(seconds=value) for name, value in seconds.items()}
    return msgspec.structs.replace(Limits(threads=8), **timeouts)


def from_now_on(listener: Listener, **seconds: float) -> None:
    """Let these timeouts, in seconds, count for the connections that there are already.

    What a test needs before had all the time it wanted.
    """
    listener._server.allowed = seconds_allowed(impatient(**seconds))


def echo(environ, start_response):
    """Answer with the method, the path and the body of the request."""
    body = environ["wsgi.input"].read()
    said = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']} ".encode() + body
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [said]


@contextlib.contextmanager
def serving(
    app: Callable = echo, limits: Limits | None = None, tls: Certificates | None = None
) -> Iterator[Listener]:
    """A listener on a free port of loopback, closed at the end."""
    with start(app, "127.0.0.1:0", limits or impatient(), tls) as listener:
        yield listener


def trusting(version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """A client that takes any certificate, with one TLS version only if one is given."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def dial(listener: Listener) -> socket.socket:
    """A TCP connection to the listener."""
    return socket.create_connection(listener.address, timeout=SOON)


def dial_tls(
    listener: Listener, host: str | None = "acme.test", context: ssl.SSLContext | None = None
) -> ssl.SSLSocket:
    """A TLS connection to the listener that asks for `host`."""
    connection = dial(listener)
    try:
        return (context or trusting()).wrap_socket(connection, server_hostname=host)
    except BaseException:
        connection.close()
        raise


def name_shown(connection: ssl.SSLSocket) -> str:
    """The name in the certificate that the server has shown."""
    shown = x509.load_der_x509_certificate(connection.getpeercert(binary_form=True))
    return shown.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value


class Reply:
    """One answer, read from a connection: status, headers in lower case, body, how it ended."""

    def __init__(self, connection: socket.socket, method: str = "GET") -> None:
        response = http.client.HTTPResponse(connection, method=method)
        response.begin()
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()
        self.last = response.will_close
        response.close()


def ask(connection: socket.socket, request: bytes, method: str = "GET") -> Reply:
    """Send a request as it stands and read one answer."""
    connection.sendall(request)
    return Reply(connection, method)


def get(path: str = "/", *headers: str) -> bytes:
    """A GET request, with these header lines."""
    lines = [f"GET {path} HTTP/1.1", "Host: acme.test", *headers]
    return "\r\n".join([*lines, "\r\n"]).encode()


def post(body: bytes, path: str = "/", *headers: str) -> bytes:
    """A POST request, with its length and these header lines."""
    lines = [f"POST {path} HTTP/1.1", "Host: acme.test", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "\r\n"]).encode() + body


def is_cut(connection: socket.socket, within: float = SOON) -> bool:
    """Whether the server ends this connection within so many seconds, without a word of HTTP."""
    connection.settimeout(within)
    try:
        return connection.recv(1) == b""
    except (ConnectionError, ssl.SSLError):
        return True
    except TimeoutError:
        return False


def seconds_until_cut(connection: socket.socket, crumbs: Iterable[bytes]) -> float:
    """Send one crumb after the other, 50 ms apart, until the server ends the connection."""
    began = time.monotonic()
    with contextlib.suppress(ConnectionError):
        for crumb in itertools.takewhile(lambda _: time.monotonic() < began + SOON, crumbs):
            connection.sendall(crumb)
            time.sleep(0.05)
    return time.monotonic() - began


def eventually(holds: Callable[[], bool]) -> bool:
    """Whether something comes to hold within `SOON`."""
    deadline = time.monotonic() + SOON
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
