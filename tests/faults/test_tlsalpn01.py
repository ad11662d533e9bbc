"""tls-alpn-01 against servers that show the right certificate, a wrong one, or none. RFC 8737."""

import contextlib
import datetime as dt
import hashlib
import ipaddress
import itertools
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import assume, given
from hypothesis import strategies as st

from certeasy.decide.problems import Problem
from certeasy.settings import DnsProfile, DnsZone, IpPolicy
from certeasy.validate import Asked, Failed, Validated
from certeasy.validate.reach import Stop
from certeasy.validate.resolve import Resolver
from certeasy.validate.tlsalpn01 import TlsAlpn01Validator, _check
from tests.fakes.dns_server import DnsServer
from tests.fakes.web_server import WebServer
from tests.faults.test_http01 import LOOPBACK_OPEN, NAME, a_closed_port, needs_ipv6
from tests.make.alpn import (
    ACME_IDENTIFIER,
    PROTOCOL,
    alpn_certificate,
    alpn_context,
    proof,
    right_certificate,
)
from tests.make.csrs import p256, san

TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
KEY_AUTHORIZATION = f"{TOKEN}.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
RIGHT = right_certificate(NAME, KEY_AUTHORIZATION)
SHORT = 0.4
SOON = 3.0
SECRET = "hunter2"


def validator(port: int, *, dns: DnsServer | None = None, **settings) -> TlsAlpn01Validator:
    """A validator for names in lab.test, which lead to 127.0.0.1 if nothing else is said."""
    zone = (
        DnsZone(dns_server=(dns.endpoint,)) if dns else DnsZone(hosts={"*.lab.test": "127.0.0.1"})
    )
    settings.setdefault("timeout", dt.timedelta(seconds=20))
    settings.setdefault("resolved_ip_policy", LOOPBACK_OPEN)
    profile = DnsProfile(name="lab", zones=(zone,), tls_alpn_01_port=port, **settings)
    return TlsAlpn01Validator(profile, Resolver(profile))


def look(checked: TlsAlpn01Validator, name: str = NAME) -> Validated | Failed:
    outcome = checked.validate(Asked(name, TOKEN, KEY_AUTHORIZATION))
    if isinstance(outcome, Failed):
        assert outcome.detail.isprintable()
        assert len(outcome.detail) < 400
        assert SECRET not in str(outcome)
    return outcome


def shown(context: ssl.SSLContext, name: str = NAME, **settings) -> Validated | Failed:
    """What comes of a server with this context."""
    with WebServer(lambda _: [], tls=context) as server:
        return look(validator(server.port, **settings), name)


@contextlib.contextmanager
def a_peer(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TCP server that talks so to its one connection; yields its port."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            talk(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join()


def sends(pieces: Iterable[bytes | float], closing: threading.Event) -> Callable[..., None]:
    """Talk so: read the hello, then send pieces, and wait where a number is among them."""

    def talk(connection: socket.socket) -> None:
        connection.recv(4096)
        for piece in pieces:
            if closing.is_set():
                return
            if isinstance(piece, bytes):
                connection.sendall(piece)
            else:
                closing.wait(piece)

    return talk


# What proves a name


def test_the_right_certificate_validates_and_is_remembered(tmp_path: Path) -> None:
    with WebServer(lambda _: [], tls=alpn_context(RIGHT, tmp_path)) as server:
        outcome = look(validator(server.port))
    assert isinstance(outcome, Validated), outcome
    seen = outcome.evidence
    assert (seen.addresses, seen.address, seen.port) == (("127.0.0.1",), "127.0.0.1", server.port)
    assert seen.alpn == PROTOCOL
    assert seen.certificate_sha256 == hashlib.sha256(RIGHT.public_bytes(Encoding.DER)).hexdigest()


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        (NAME, NAME),
        ("127.0.0.1", "1.0.0.127.in-addr.arpa"),
        pytest.param("::1", "1" + ".0" * 31 + ".ip6.arpa", marks=needs_ipv6),
    ],
)
def test_the_handshake_asks_for_the_name_and_for_an_address_by_its_reverse(
    tmp_path: Path, name: str, asked: str
) -> None:
    """RFC 8737 section 3, RFC 8738 section 6."""
    context = alpn_context(right_certificate(name, KEY_AUTHORIZATION), tmp_path)
    heard: list[str | None] = []
    context.sni_callback = lambda _connection, host, _context: heard.append(host)
    address = "::1" if name == "::1" else "127.0.0.1"
    with WebServer(lambda _: [], tls=context, address=address) as server:
        outcome = look(validator(server.port), name)
    assert isinstance(outcome, Validated), outcome
    assert heard == [asked]


def test_the_hello_offers_one_protocol_and_no_old_tls() -> None:
    """RFC 8737 section 3: `acme-tls/1` alone, TLS 1.2 or newer."""
    hellos: list[bytes] = []
    with a_peer(lambda connection: hellos.append(connection.recv(4096))) as port:
        outcome = look(validator(port))
    assert isinstance(outcome, Failed)
    assert (outcome.problem, outcome.transient) in ((Problem.TLS, True), (Problem.TLS, False))
    (hello,) = hellos
    assert b"\x00\x10\x00\x0d\x00\x0b\x0aacme-tls/1" in hello
    assert b"\x00\x2b\x00\x05\x04\x03\x04\x03\x03" in hello
    assert NAME.encode() in hello


def test_case_does_not_matter_in_a_certificates_name(tmp_path: Path) -> None:
    """RFC 8737 section 3, RFC 4343."""
    certificate = right_certificate(NAME.upper(), KEY_AUTHORIZATION)
    assert isinstance(shown(alpn_context(certificate, tmp_path)), Validated)


def test_other_protocols_that_the_server_speaks_do_no_harm(tmp_path: Path) -> None:
    context = alpn_context(RIGHT, tmp_path, protocols=("h2", "http/1.1", PROTOCOL))
    assert isinstance(shown(context), Validated)


def test_one_certificate_proves_one_challenge_by_both_versions_of_tls(tmp_path: Path) -> None:
    context = alpn_context(RIGHT, tmp_path)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert isinstance(shown(context), Validated)


# What does not


@pytest.mark.parametrize("protocols", [(), ("h2",), ("acme-tls/2", "http/1.1")])
def test_the_protocol_has_to_be_chosen(tmp_path: Path, protocols: tuple[str, ...]) -> None:
    """RFC 8737 section 3: a server that knows nothing of the challenge does not pass it."""
    failed = shown(alpn_context(RIGHT, tmp_path, protocols=protocols))
    assert isinstance(failed, Failed)
    assert failed.problem is Problem.UNAUTHORIZED
    assert "did not choose the protocol acme-tls/1" in failed.detail
    assert failed.evidence.certificate_sha256 == ""


SAN = x509.ObjectIdentifier("2.5.29.17")
FEATURE_WITHOUT_A_NAME, NO_FEATURE = (
    x509.UnrecognizedExtension(x509.TLSFeature.oid, value)
    for value in (b"\x30\x03\x02\x01\x63", b"\x30\x00")
)
EDI_PARTY = b"\x30\x0d\xa5\x0b\xa1\x09\x0c\x07hunter2"
"""A kind of name that the library does not read."""
PROVEN = (proof(KEY_AUTHORIZATION), True)
IS_NAME = (san(NAME), False)


@pytest.mark.parametrize(
    ("extensions", "words"),
    [
        ([PROVEN], "has no subject alternative name"),
        ([(san("other.lab.test"), False), PROVEN], f"is not for {NAME}"),
        ([(san("*.lab.test"), False), PROVEN], f"is not for {NAME}"),
        ([(san("127.0.0.1"), False), PROVEN], f"is not for {NAME}"),
        (
            [(x509.SubjectAlternativeName([x509.RFC822Name(f"me@{NAME}")]), False), PROVEN],
            f"is not for {NAME}",
        ),
        ([(san(NAME, "hunter2.test"), False), PROVEN], "with 2 names; it must have this one"),
        ([(san(NAME, NAME), False), PROVEN], "with 2 names"),
        ([IS_NAME], "without an acmeIdentifier"),
        ([IS_NAME, (proof(KEY_AUTHORIZATION), False)], "acmeIdentifier is not critical"),
        (
            [IS_NAME, (proof(KEY_AUTHORIZATION + "x"), True)],
            "acmeIdentifier is that of another challenge or account",
        ),
        (
            [IS_NAME, (x509.UnrecognizedExtension(ACME_IDENTIFIER, b"\x04\x20" + b"x" * 31), True)],
            "acmeIdentifier is no SHA-256",
        ),
        (
            [IS_NAME, (x509.UnrecognizedExtension(ACME_IDENTIFIER, proof("").value[2:]), True)],
            "acmeIdentifier is no SHA-256",
        ),
        ([(x509.UnrecognizedExtension(SAN, EDI_PARTY), False), PROVEN], "that cannot be read"),
        ([IS_NAME, PROVEN, (FEATURE_WITHOUT_A_NAME, False)], "that cannot be read (KeyError)"),
        ([IS_NAME, PROVEN, (NO_FEATURE, False)], "that cannot be read (TypeError)"),
    ],
)
def test_a_wrong_certificate_says_what_is_wrong_with_it(
    tmp_path: Path, extensions: list[tuple[x509.ExtensionType, bool]], words: str
) -> None:
    """RFC 8737 section 3: one name, and a critical acmeIdentifier."""
    failed = shown(alpn_context(alpn_certificate(*extensions), tmp_path))
    assert isinstance(failed, Failed), failed
    assert failed.problem is Problem.UNAUTHORIZED
    assert f"{NAME} (127.0.0.1 port " in failed.detail
    assert words in failed.detail
    assert not failed.transient
    assert len(failed.evidence.certificate_sha256) == 64


@pytest.mark.parametrize(
    ("issuer", "issuer_key"), [("alpn", p256(9)), ("hunter2", p256(9)), ("hunter2", None)]
)
def test_a_certificate_that_somebody_issued_proves_nothing(
    tmp_path: Path, issuer: str, issuer_key
) -> None:
    """RFC 8737 section 3: it is self-signed."""
    certificate = alpn_certificate(IS_NAME, PROVEN, issuer=issuer, issuer_key=issuer_key)
    failed = shown(alpn_context(certificate, tmp_path))
    assert isinstance(failed, Failed), failed
    assert failed.problem is Problem.UNAUTHORIZED
    assert "is not self-signed" in failed.detail


@pytest.mark.parametrize("name", ["1.0.0.127.in-addr.arpa", "127.0.0.2"])
def test_an_address_is_proven_by_its_address_alone(tmp_path: Path, name: str) -> None:
    """RFC 8738 section 6: an iPAddress, not the name that the handshake asks for."""
    context = alpn_context(right_certificate(name, KEY_AUTHORIZATION), tmp_path)
    failed = shown(context, "127.0.0.1")
    assert isinstance(failed, Failed), failed
    assert "is not for 127.0.0.1" in failed.detail


# Handshakes that come to nothing


@pytest.mark.parametrize(
    ("alert", "words"),
    [
        (b"\x15\x03\x03\x00\x02\x02\x78", "was refused: the server does not speak acme-tls/1"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "failed (TLSV1_ALERT_PROTOCOL_VERSION)"),
        (b"\x15\x03\x03\x00\x02\x02\x70", "failed (TLSV1_UNRECOGNIZED_NAME)"),
        (b"HTTP/1.1 400 hunter2\r\n\r\n", "failed ("),
        (b"", "failed ("),
    ],
)
def test_a_handshake_that_fails_is_a_tls_problem(alert: bytes, words: str) -> None:
    def talk(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(alert)

    with a_peer(talk) as port:
        failed = look(validator(port))
    assert isinstance(failed, Failed), failed
    assert failed.problem is Problem.TLS
    assert f"TLS with 127.0.0.1 port {port} {words}" in failed.detail


RECORD = b"\x16\x03\x03\x40\x00"


@pytest.mark.parametrize(
    "pieces",
    [
        lambda: [30.0],
        lambda: itertools.chain(*([bytes([byte]), 0.03] for byte in RECORD * 99)),
        lambda: itertools.chain([RECORD], itertools.cycle([b"\x02", 0.02])),
    ],
    ids=["silence", "drip", "a record without end"],
)
def test_a_slow_handshake_is_cut(pieces: Callable[[], Iterable[bytes | float]]) -> None:
    closing = threading.Event()
    with a_peer(sends(pieces(), closing)) as port:
        began = time.monotonic()
        failed = look(validator(port, timeout=dt.timedelta(seconds=SHORT)))
        lasted = time.monotonic() - began
        closing.set()
    assert lasted < SOON
    assert isinstance(failed, Failed), failed
    assert failed.problem is Problem.TLS


def test_a_certificate_without_end_is_not_read(tmp_path: Path) -> None:
    """100 KiB of a chain is all that is taken."""
    large = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"x" * 200_000)
    failed = shown(alpn_context(alpn_certificate(IS_NAME, PROVEN, (large, False)), tmp_path))
    assert isinstance(failed, Failed), failed
    assert failed.problem is Problem.TLS
    assert "EXCESSIVE_MESSAGE_SIZE" in failed.detail


def test_a_port_that_nobody_listens_on_is_a_connection_problem() -> None:
    with a_closed_port() as port:
        failed = look(validator(port))
    assert isinstance(failed, Failed)
    assert (failed.problem, failed.transient) == (Problem.CONNECTION, True)
    assert failed.detail == f"{NAME} port {port}: 127.0.0.1: Connection refused"
    assert failed.evidence.port == port


# Where it connects


def test_a_name_that_leads_nowhere_is_a_dns_problem() -> None:
    with DnsServer({NAME: ["NXDOMAIN"]}) as dns:
        failed = look(validator(9, dns=dns))
    assert isinstance(failed, Failed)
    assert failed.problem is Problem.DNS


@pytest.mark.parametrize("record", ["A 127.0.0.1", "A 169.254.169.254", "AAAA ::1"])
def test_a_name_that_leads_into_the_server_itself_is_not_connected_to(
    tmp_path: Path, record: str
) -> None:
    heard: list[str | None] = []
    context = alpn_context(RIGHT, tmp_path)
    context.sni_callback = lambda _connection, host, _context: heard.append(host)
    with WebServer(lambda _: [], tls=context) as server, DnsServer({NAME: [record]}) as dns:
        failed = look(validator(server.port, dns=dns, resolved_ip_policy=IpPolicy()))
    assert isinstance(failed, Failed), failed
    assert failed.problem is Problem.CONNECTION
    assert "which only an allow-cidr within that range opens" in failed.detail
    assert heard == []


@pytest.mark.parametrize("name", ["127.0.0.1", "10.0.0.1", "fd00::1"])
def test_an_address_that_is_ordered_is_held_against_the_address_policy(name: str) -> None:
    """RFC 8738: who may order an address does not choose where we connect to."""
    elsewhere = IpPolicy(allow_cidrs=(ipaddress.ip_network("192.0.2.0/24"),))
    failed = look(validator(9, resolved_ip_policy=elsewhere), name)
    assert isinstance(failed, Failed)
    assert failed.problem is Problem.CONNECTION
    assert failed.evidence.address == ""


def test_the_handshake_goes_to_the_address_that_was_checked(tmp_path: Path) -> None:
    """The DNS answers otherwise at the second question: nobody asks it twice."""
    answers = itertools.chain([["A 127.0.0.1"], ["TXT -"]], itertools.repeat(["A 169.254.169.254"]))
    records = {NAME: lambda: next(answers)}
    context = alpn_context(RIGHT, tmp_path)
    with WebServer(lambda _: [], tls=context) as server, DnsServer(records) as dns:
        outcome = look(validator(server.port, dns=dns))
    assert isinstance(outcome, Validated), outcome
    assert [kind for _, kind, _ in dns.asked] == ["A", "AAAA"]


def test_ipv4_is_used_when_ipv6_is_down(tmp_path: Path) -> None:
    records = {NAME: ["AAAA ::1", "A 127.0.0.1"]}
    context = alpn_context(RIGHT, tmp_path)
    with WebServer(lambda _: [], tls=context) as server, DnsServer(records) as dns:
        outcome = look(validator(server.port, dns=dns))
    assert isinstance(outcome, Validated), outcome
    assert outcome.evidence.addresses == ("::1", "127.0.0.1")
    assert outcome.evidence.address == "127.0.0.1"


@needs_ipv6
def test_ipv6_is_used_when_it_is_up(tmp_path: Path) -> None:
    records = {NAME: ["A 127.0.0.1", "AAAA ::1"]}
    context = alpn_context(RIGHT, tmp_path)
    with (
        WebServer(lambda _: [], tls=context, address="::1") as server,
        DnsServer(records) as dns,
    ):
        outcome = look(validator(server.port, dns=dns))
    assert isinstance(outcome, Validated), outcome
    assert outcome.evidence.address == "::1"


# Whatever is shown


RIGHT_DER = RIGHT.public_bytes(Encoding.DER)
UNUSED_BITS = len(RIGHT_DER) - len(RIGHT.signature) - 1
"""Where their number stands: any other than none is another spelling of the same signature."""


# cryptography warns of a serial number that has become negative.
@pytest.mark.filterwarnings("ignore:Parsed a serial number which wasn't positive")
@given(st.integers(0, len(RIGHT_DER) - 1), st.integers(1, 255))
def test_one_changed_byte_anywhere_proves_nothing(at: int, change: int) -> None:
    assume(at != UNUSED_BITS)
    changed = bytearray(RIGHT_DER)
    changed[at] ^= change
    with pytest.raises(Stop) as stopped:
        _check(bytes(changed), NAME, KEY_AUTHORIZATION)
    assert stopped.value.problem is Problem.UNAUTHORIZED
    assert str(stopped.value).isprintable()


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda end: RIGHT_DER[:-60] + end))
def test_what_is_no_certificate_proves_nothing(shown_instead: bytes) -> None:
    with pytest.raises(Stop) as stopped:
        _check(shown_instead, NAME, KEY_AUTHORIZATION)
    assert stopped.value.problem is Problem.UNAUTHORIZED
