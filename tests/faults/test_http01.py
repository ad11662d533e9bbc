"""http-01 against little servers that answer rightly, wrongly, slowly, endlessly, or not at all."""

import contextlib
import datetime as dt
import gzip
import hashlib
import ipaddress
import itertools
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from certeasy.decide.problems import Problem
from certeasy.settings import DnsProfile, DnsZone, IpPolicy
from certeasy.validate import Asked, Failed, Validated
from certeasy.validate.http01 import Http01Validator
from certeasy.validate.resolve import Resolver
from tests.fakes.dns_server import DnsServer, Records
from tests.fakes.web_server import Answer, WebServer, page, redirect

NAME = "web.lab.test"
TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
KEY_AUTHORIZATION = f"{TOKEN}.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
ASKED = Asked(NAME, TOKEN, KEY_AUTHORIZATION)
RIGHT = page(KEY_AUTHORIZATION.encode())
LOOPBACK_OPEN = IpPolicy(
    allow_cidrs=(ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
)
SHORT = 0.4
IMPATIENT = dt.timedelta(seconds=SHORT)
SOON = 3.0
"""Far more than an impatient validator needs on a busy machine, far less than a patient one."""


def validator(
    port: int, *, hosts: dict[str, str] | None = None, dns: DnsServer | None = None, **settings
) -> Http01Validator:
    """A validator for names in lab.test, which lead to 127.0.0.1 if nothing else is said."""
    zone = (
        DnsZone(dns_server=(dns.endpoint,))
        if dns
        else DnsZone(hosts=hosts or {"*.lab.test": "127.0.0.1"})
    )
    ports = settings.pop("redirect_ports", (80, 443))
    settings.setdefault("timeout", dt.timedelta(seconds=20))
    settings.setdefault("resolved_ip_policy", LOOPBACK_OPEN)
    profile = DnsProfile(name="lab", zones=(zone,), http_01_port=port, **settings)
    return Http01Validator(profile, Resolver(profile), redirect_ports=ports)


def validate(answer: Answer, **settings) -> tuple[Validated | Failed, WebServer]:
    with WebServer(answer) as web:
        outcome = validator(web.port, **settings).validate(ASKED)
    return outcome, web


def failure(*pieces: bytes | float, **settings) -> Failed:
    """The failure that a server which answers with these pieces leads to."""
    outcome, _ = validate(lambda _: pieces, **settings)
    assert isinstance(outcome, Failed), outcome
    assert "\n" not in outcome.detail
    assert outcome.detail.isprintable()
    assert len(outcome.detail) < 600
    return outcome


def failure_by_dns(records: dict[str, Records], port: int = 9) -> Failed:
    """The failure that a name with these records leads to."""
    wait = {"timeout": IMPATIENT} if records[NAME] == ["SILENCE"] else {}
    with DnsServer(records) as dns:
        outcome = validator(port, dns=dns, **wait).validate(ASKED)
    assert isinstance(outcome, Failed), outcome
    return outcome


def ipv6_works() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not ipv6_works(), reason="this machine has no IPv6 loopback")


@contextlib.contextmanager
def a_closed_port() -> Iterator[int]:
    """A port that nobody listens on, kept from others meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def chain(length: int) -> Answer:
    """A server with `length` redirects before the right answer."""
    count = itertools.count(1)

    def answer(_request: bytes) -> Sequence[bytes]:
        step = next(count)
        return [RIGHT if step > length else redirect(f"/step/{step}")]

    return answer


# What proves a name


def test_the_right_answer_validates():
    outcome, web = validate(lambda _: [RIGHT])
    assert isinstance(outcome, Validated)
    seen = outcome.evidence
    assert seen.addresses == ("127.0.0.1",)
    assert (seen.address, seen.port, seen.status) == ("127.0.0.1", web.port, 200)
    assert seen.urls == (f"http://{NAME}:{web.port}/.well-known/acme-challenge/{TOKEN}",)
    assert seen.excerpt_sha256 == hashlib.sha256(KEY_AUTHORIZATION.encode()).hexdigest()


def test_the_request_says_who_asks_and_for_whom():
    _, web = validate(lambda _: [RIGHT])
    (request,) = web.requests
    lines = request.decode().split("\r\n")
    assert lines[0] == f"GET /.well-known/acme-challenge/{TOKEN} HTTP/1.1"
    assert f"Host: {NAME}:{web.port}" in lines
    assert "User-Agent: certeasy" in lines


@pytest.mark.parametrize(
    "answer",
    [
        page(KEY_AUTHORIZATION.encode() + b"\r\n \t\n"),
        b"HTTP/1.0 200 OK\r\n\r\n" + KEY_AUTHORIZATION.encode(),
        b"HTTP/1.1 200\nContent-Type: text/plain\n\n" + KEY_AUTHORIZATION.encode(),
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + RIGHT,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"".join(b"1;x=y\r\n%c\r\n" % byte for byte in KEY_AUTHORIZATION.encode())
        + b"0\r\n\r\n",
        page(KEY_AUTHORIZATION.encode(), "200 OK", "Content-Encoding: identity"),
        page(KEY_AUTHORIZATION.encode(), "200 OK", "Content-Length: 87"),
    ],
    ids=[
        "white space",
        "HTTP/1.0",
        "bare LF",
        "early hints",
        "chunked",
        "identity",
        "length twice",
    ],
)
def test_every_proper_way_of_answering_will_do(answer: bytes):
    outcome, _ = validate(lambda _: [answer])
    assert isinstance(outcome, Validated), outcome


def test_an_answer_in_many_pieces_is_put_together():
    outcome, _ = validate(lambda _: [RIGHT[n : n + 7] for n in range(0, len(RIGHT), 7)])
    assert isinstance(outcome, Validated), outcome


def test_an_answer_before_the_connection_is_closed_counts_at_once():
    began = time.monotonic()
    outcome, _ = validate(lambda _: [RIGHT, 30.0])
    assert isinstance(outcome, Validated)
    assert time.monotonic() - began < SOON


def test_the_evidence_says_how_the_name_was_looked_up():
    alias: dict[str, Records] = {NAME: ["CNAME real.lab.test."], "real.lab.test": ["A 127.0.0.1"]}
    with WebServer(lambda _: [RIGHT]) as web, DnsServer(alias) as dns:
        seen = validator(web.port, dns=dns).validate(ASKED).evidence
        assert seen.servers == (dns.endpoint,)
    assert seen.names == (NAME, "real.lab.test")
    assert seen.rcode == "NOERROR"


# What does not


SECRET = "hunter2"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>hunter2</html>", "it is an HTML page of 20 bytes"),
        (b"\n <!DOCTYPE HTML><p>hunter2", "it is an HTML page of 27 bytes"),
        (b"", "it is empty"),
        (b"SECRET-TOKEN=hunter2", "it is 20 bytes of text"),
        ("é hunter2".encode(), "it is 10 bytes of text"),
        (b"hunter2\0", "it is 8 bytes that are no text"),
        (b"\xff\x00\x1b[31mhunter2", "it is 14 bytes that are no text"),
        (b"\xc3\x28 hunter2", "it is 10 bytes that are no text"),
        (KEY_AUTHORIZATION.encode() + b"hunter2", "it has more in it than that: 94 bytes of text"),
        (b" " + KEY_AUTHORIZATION.encode(), "it has more in it than that: 88 bytes of text"),
        (KEY_AUTHORIZATION.encode().swapcase(), "it is 87 bytes of text"),
        (b"x" * 8193, "it is more than 8192 bytes of text"),
        (b"<html>" + b"x" * 8193, "it is an HTML page of more than 8192 bytes"),
        (b"x" * 8191 + "é".encode(), "it is more than 8192 bytes of text"),
        (
            KEY_AUTHORIZATION.encode() + b"\n" * 9000,
            "in it than that: more than 8192 bytes of text",
        ),
    ],
)
def test_a_wrong_body_is_told_by_its_kind_and_never_quoted(body: bytes, words: str):
    failed = failure(page(body))
    assert failed.problem is Problem.INCORRECT_RESPONSE
    assert failed.detail.endswith(words)
    assert SECRET not in failed.detail
    assert not failed.transient
    assert failed.evidence.excerpt_sha256 == hashlib.sha256(body[:8192]).hexdigest()


PAGE_WITHIN = page(
    b"<!doctype html><p>hunter2 hunter2", "404 hunter2", "Server: hunter2", "X-Key: hunter2"
)


@pytest.mark.parametrize(
    "answer",
    [
        PAGE_WITHIN,
        PAGE_WITHIN.replace(b" 404 ", b" 200 "),
        PAGE_WITHIN.replace(b" 404 ", b" 503 "),
        page(b"x", "200 OK", "Content-Encoding: hunter2"),
        page(b"x", "200 OK", "Transfer-Encoding: hunter2"),
        page(b"x", "200 OK", "Content-Length: hunter2"),
        page(b"x", "200 OK", "hunter2 hunter2"),
        page(b"x", "hunter2"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhunter2\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nhunter2\r\n",
        b"HTTP/1.1 200 OK\r\nX: hunter2" + b"x" * 20_000,
        b"hunter2 hunter2\r\n",
        b"\0hunter2",
        redirect("http://hunter2:hunter2@web.lab.test/"),
        redirect("hunter2://web.lab.test/"),
        redirect("http://[hunter2"),
        redirect("/hunter2 hunter2"),
        redirect("http://web.lab.test:22/?session=hunter2"),
        redirect("http://169.254.169.254/?session=hunter2"),
        redirect("?session=hunter2"),
        redirect("/login;session=hunter2"),
    ],
)
def test_nothing_that_a_server_inside_says_gets_out(answer: bytes):
    """Whoever orders a certificate may have us redirected to any page that we can reach."""
    web: WebServer

    def answers(_request: bytes) -> list[bytes]:
        first = len(web.requests) == 1
        return [redirect(f"http://inner.lab.test:{web.port}/admin") if first else answer]

    with WebServer(answers) as web:
        outcome = validator(web.port).validate(ASKED)
    assert isinstance(outcome, Failed), outcome
    assert len(web.requests) > 1
    assert f"inner.lab.test:{web.port}/admin" in outcome.detail + str(outcome.evidence.urls)
    assert SECRET not in str(outcome)


def test_the_thumbprint_of_another_account_is_named_as_such():
    failed = failure(page(f"{TOKEN}.{'A' * 43}".encode()))
    assert failed.problem is Problem.UNAUTHORIZED
    assert "another account key" in failed.detail


@pytest.mark.parametrize(
    ("status", "transient"), [(404, False), (204, False), (500, False), (503, True)]
)
def test_another_status_is_reported_by_its_number(status: int, transient: bool):
    failed = failure(page(b"<html>gone", f"{status} What"))
    assert failed.problem is Problem.INCORRECT_RESPONSE
    said = "empty" if status == 204 else "an HTML page of 10 bytes"
    assert failed.detail.endswith(f"answered with status {status}, not 200; the body is {said}")
    assert failed.transient is transient
    assert failed.evidence.status == status


def test_a_compressed_answer_is_not_unpacked():
    body = gzip.compress(KEY_AUTHORIZATION.encode())
    failed = failure(page(body, "200 OK", "Content-Encoding: gzip"))
    assert failed.detail.endswith("it has the content-encoding gzip")
    failed = failure(page(body, "200 OK", "Content-Encoding: hunter2"))
    assert failed.detail.endswith("it has a content-encoding that nobody knows")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not answer in HTTP/1.1 but sends text"),
        (b"HTTP/2 200\r\n\r\n", "does not answer in HTTP/1.1"),
        (b"\0\0\0\x04", "does not answer in HTTP/1.1 but sends what is no text"),
        (b"HTTP/1.1 two hundred\r\n\r\n", "does not answer in HTTP/1.1"),
        (b"\x15\x03\x01\x00\x02\x02\x16", "answers TLS"),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "broken header line"),
        (b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello", "broken header line"),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n", "broken header line"),
        (page(b"x", "200 OK", "Content-Length: 2"), "two different content-length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "broken content-length"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "unknown transfer-encoding"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "broken chunk"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
            "longer than it says",
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 999, "without end"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 9, "interim answers"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", "header of more than 16384"),
    ],
)
def test_what_is_not_proper_http_is_refused(answer: bytes, words: str):
    failed = failure(answer)
    assert failed.problem is Problem.INCORRECT_RESPONSE
    assert words in failed.detail


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "closed the connection without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-", "in mid-answer, after 25 bytes"),
        (RIGHT[:-1], "in mid-answer"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "in mid-answer"),
    ],
)
def test_an_answer_that_breaks_off_is_a_connection_problem(answer: bytes, words: str):
    failed = failure(answer)
    assert failed.problem is Problem.CONNECTION
    assert words in failed.detail
    assert failed.transient


def endless(*pieces: bytes | float) -> Iterator[bytes | float]:
    return itertools.chain([b"HTTP/1.1 200 OK\r\n"], itertools.cycle(pieces))


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: [30.0],
        lambda _: itertools.chain(*([bytes([byte]), 0.03] for byte in RIGHT)),
        lambda _: endless(b"X: y\r\n", 0.05),
        lambda _: itertools.chain([b"HTTP/1.1 200 OK\r\n\r\n"], itertools.cycle([b"x", 0.05])),
    ],
    ids=["silence", "drip", "header for ever", "body for ever"],
)
def test_a_slow_answer_is_cut_off(answer: Answer):
    began = time.monotonic()
    outcome, _ = validate(answer, timeout=IMPATIENT)
    assert time.monotonic() - began < SOON
    assert isinstance(outcome, Failed)
    assert outcome.problem is Problem.CONNECTION
    assert "in time" in outcome.detail
    assert outcome.transient


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: endless(b"X: y\r\n" * 1000),
        lambda _: itertools.chain([b"HTTP/1.1 200 OK\r\n\r\n"], itertools.repeat(b"x" * 4096)),
        lambda _: itertools.chain(
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"],
            itertools.repeat(b"400\r\n" + b"x" * 1024 + b"\r\n"),
        ),
        lambda _: [b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 9000, 30.0],
    ],
    ids=["header", "body", "chunks", "promised length"],
)
def test_an_endless_answer_is_read_only_so_far(answer: Answer):
    began = time.monotonic()
    outcome, _ = validate(answer)
    assert time.monotonic() - began < 10
    assert isinstance(outcome, Failed)
    assert outcome.problem is Problem.INCORRECT_RESPONSE


# Redirects


def test_ten_redirects_are_followed_and_remembered():
    outcome, web = validate(chain(10))
    assert isinstance(outcome, Validated), outcome
    assert len(outcome.evidence.urls) == 11
    assert web.targets()[-1] == "/step/10"


def test_the_eleventh_redirect_is_refused():
    outcome, web = validate(chain(11))
    assert isinstance(outcome, Failed)
    assert outcome.problem is Problem.INCORRECT_RESPONSE
    assert "more than 10 redirects" in outcome.detail
    assert len(web.requests) == 11


@pytest.mark.parametrize("targets", [["/a"], ["/a", "/b"]])
def test_a_circle_of_redirects_is_noticed(targets: list[str]):
    following = itertools.cycle(targets)
    outcome, web = validate(lambda _: [redirect(next(following))])
    assert isinstance(outcome, Failed)
    assert "redirected in a circle" in outcome.detail
    assert len(web.requests) == len(targets) + 1


def follow(
    location: str, status: str = "302 Found", **settings
) -> tuple[Validated | Failed, WebServer]:
    """Redirect the first request to `location` ({port}: our own); answer the others rightly."""

    def answer(_request: bytes) -> list[bytes]:
        return [
            RIGHT if len(web.requests) > 1 else redirect(location.format(port=web.port), status)
        ]

    with WebServer(answer) as web:
        outcome = validator(web.port, **settings).validate(ASKED)
    return outcome, web


@pytest.mark.parametrize("status", ["301 A", "302 B", "303 C", "307 D", "308 E"])
def test_every_kind_of_redirect_leads_to_another_host(status: str):
    outcome, web = follow("//OTHER.lab.test:{port}/there?x=1#frag", status)
    assert isinstance(outcome, Validated), outcome
    assert web.targets()[1] == "/there?x=1"
    assert web.hosts()[1] == f"other.lab.test:{web.port}"


@pytest.mark.parametrize(
    "location",
    [
        "?x=1",
        "relative",
        "/abs/olute",
        "http:///no-host",
        "http://127.0.0.1:{port}/",
        "http://web.lab.test.:{port}",
    ],
)
def test_relative_and_literal_redirects_are_followed(location: str):
    outcome, _ = follow(location)
    assert isinstance(outcome, Validated), outcome


@pytest.mark.parametrize(
    ("location", "problem", "words"),
    [
        ("http://web.lab.test:22/", Problem.CONNECTION, "only ports 80, 443, "),
        ("http://web.lab.test:0/", Problem.CONNECTION, "only ports"),
        ("ftp://web.lab.test/", Problem.INCORRECT_RESPONSE, "not an http or https URL"),
        ("file:///etc/passwd", Problem.INCORRECT_RESPONSE, "not an http or https URL"),
        ("javascript:alert(1)", Problem.INCORRECT_RESPONSE, "not an http or https URL"),
        ("http://me:secret@web.lab.test/", Problem.INCORRECT_RESPONSE, "not an http or https URL"),
        ("http://web.lab.test:99999/", Problem.INCORRECT_RESPONSE, "no URL"),
        ("http://[::1/", Problem.INCORRECT_RESPONSE, "no URL"),
        ("http://[fe80::1%25lo]/", Problem.INCORRECT_RESPONSE, "not an http or https URL"),
        ("", Problem.INCORRECT_RESPONSE, "no URL"),
        ("/two words", Problem.INCORRECT_RESPONSE, "no URL"),
        ("/a\rX-Injected: yes", Problem.INCORRECT_RESPONSE, "no URL"),
        ("/caf\u00e9", Problem.INCORRECT_RESPONSE, "no URL"),
        ("/" + "x" * 1100, Problem.INCORRECT_RESPONSE, "longer than 1024"),
    ],
)
def test_a_redirect_that_must_not_be_followed_says_why(location: str, problem: Problem, words: str):
    outcome, web = follow(location)
    assert isinstance(outcome, Failed), outcome
    assert outcome.problem is problem
    assert words in outcome.detail
    assert outcome.detail.isascii()
    assert len(web.requests) == 1


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("http://inner.lab.test/", "inner.lab.test leads to 169.254.169.254, which is link-local"),
        ("http://169.254.169.254/latest", "169.254.169.254, which is link-local"),
        ("http://[::ffff:169.254.169.254]/", "which is link-local"),
        ("http://[fd00::1]/", "which is in none of the allow-cidrs"),
        ("http://10.1.1.1/", "which is in none of the allow-cidrs"),
        ("http://2130706433/", "which is not an IP address"),
        ("http://0177.0.0.1/", "which is not an IP address"),
    ],
)
def test_a_redirect_to_a_closed_address_is_not_followed(location: str, words: str):
    hosts = {NAME: "127.0.0.1", "inner.lab.test": "169.254.169.254"}
    outcome, _ = follow(location, hosts=hosts)
    assert isinstance(outcome, Failed), outcome
    assert outcome.problem is Problem.CONNECTION
    assert words in outcome.detail


@pytest.mark.parametrize(
    ("location", "rules", "words"),
    [
        ("http://127.0.0.2/", {"allow_cidrs": ("127.0.0.1",)}, "which is loopback"),
        ("http://other.lab.test/", {"allow_cidrs": ("127.0.0.1",)}, "which is loopback"),
        ("http://[::1]/", {"allow_cidrs": ("127.0.0.0/8",)}, "which is loopback"),
        ("http://[::ffff:127.0.0.2]/", {"allow_cidrs": ("127.0.0.1",)}, "which is loopback"),
        ("http://[64:ff9b::7f00:2]/", {"allow_cidrs": ("127.0.0.1",)}, "which is loopback"),
        ("http://0.0.0.0/", {"allow_cidrs": ("127.0.0.0/8", "0.0.0.0/1")}, "which is unspecified"),
        ("http://169.254.169.254/", {"allow_cidrs": ("127.0.0.1", "0.0.0.0/0")}, "is link-local"),
        ("http://[fe80::1]/", {"allow_cidrs": ("127.0.0.1", "::/0")}, "which is link-local"),
        ("http://224.0.0.1/", {"allow_cidrs": ("127.0.0.1", "0.0.0.0/0")}, "is multicast"),
        (
            "http://10.1.1.1/",
            {"allow_cidrs": ("127.0.0.1", "0.0.0.0/0"), "deny_cidrs": ("10.0.0.0/8",)},
            "which is in the deny-cidr 10.0.0.0/8",
        ),
        (
            "http://[fd00::1]/",
            {"allow_cidrs": ("127.0.0.1", "::/0"), "deny_cidrs": ("fc00::/7",)},
            "which is in the deny-cidr fc00::/7",
        ),
        (
            "http://[2002:0a01:0101::1]/",
            {"allow_cidrs": ("127.0.0.1", "::/0"), "deny_cidrs": ("10.0.0.0/8",)},
            "which is in the deny-cidr 10.0.0.0/8",
        ),
    ],
)
def test_no_redirect_leads_inside_what_the_profile_keeps_closed(
    location: str, rules: dict[str, tuple[str, ...]], words: str
):
    """Loopback, link-local, private and what carries one of them inside, by address or by name."""
    policy = IpPolicy(
        **{key: tuple(map(ipaddress.ip_network, nets)) for key, nets in rules.items()}
    )
    hosts = {NAME: "127.0.0.1", "other.lab.test": "127.0.0.2"}
    outcome, web = follow(location, hosts=hosts, resolved_ip_policy=policy)
    assert isinstance(outcome, Failed), outcome
    assert outcome.problem is Problem.CONNECTION
    assert words in outcome.detail
    assert outcome.evidence.address == ""
    assert len(web.requests) == 1


@pytest.mark.parametrize("address", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
def test_an_address_is_asked_by_its_address(address: str):
    """RFC 8738 section 5: the Host header is the address."""
    with WebServer(lambda _: [RIGHT], address=address) as web:
        outcome = validator(web.port).validate(Asked(address, TOKEN, KEY_AUTHORIZATION))
    assert isinstance(outcome, Validated), outcome
    host = f"[{address}]" if ":" in address else address
    assert web.hosts() == [f"{host}:{web.port}"]
    assert outcome.evidence.addresses == (address,)


def test_urls_that_grow_with_every_redirect_are_not_followed_for_ever():
    outcome, web = validate(lambda _: [redirect("x" * 300 + "/")])
    assert isinstance(outcome, Failed)
    assert "longer than 1024 characters" in outcome.detail
    assert len(web.requests) < 5
    assert len(outcome.detail) < 600


def test_slow_redirects_end_with_the_budget():
    count = itertools.count()
    began = time.monotonic()
    outcome, _ = validate(lambda _: [SHORT / 2, redirect(f"/{next(count)}")], timeout=IMPATIENT)
    assert SHORT * 2 < time.monotonic() - began < SOON
    assert isinstance(outcome, Failed)
    assert outcome.problem is Problem.CONNECTION


# Names, addresses, connections


def test_the_connection_goes_to_the_address_that_was_checked():
    answers = itertools.chain([["A 127.0.0.1"], ["TXT -"]], itertools.repeat(["A 169.254.169.254"]))
    with WebServer(lambda _: [RIGHT]) as web, DnsServer({NAME: lambda: next(answers)}) as dns:
        outcome = validator(web.port, dns=dns).validate(ASKED)
    assert isinstance(outcome, Validated), outcome
    assert [kind for _, kind, _ in dns.asked] == ["A", "AAAA"]


def test_a_name_that_answers_otherwise_at_the_next_hop_is_checked_again():
    answers = itertools.chain([["A 127.0.0.1"], ["TXT -"]], itertools.repeat(["A 169.254.169.254"]))
    with (
        WebServer(lambda _: [redirect("/next")]) as web,
        DnsServer({NAME: lambda: next(answers)}) as dns,
    ):
        outcome = validator(web.port, dns=dns).validate(ASKED)
    assert isinstance(outcome, Failed)
    assert "169.254.169.254, which is link-local" in outcome.detail
    assert len(web.requests) == 1


@pytest.mark.parametrize(
    "record",
    [
        "A 0.0.0.0",
        "A 127.0.0.1",
        "A 169.254.169.254",
        "AAAA ::1",
        "AAAA ::ffff:127.0.0.1",
        "AAAA ::",
    ],
)
def test_a_name_that_leads_into_the_server_itself_is_refused(record: str):
    with WebServer(lambda _: [RIGHT]) as web, DnsServer({NAME: [record]}) as dns:
        outcome = validator(web.port, dns=dns, resolved_ip_policy=IpPolicy()).validate(ASKED)
    assert isinstance(outcome, Failed), outcome
    assert outcome.problem is Problem.CONNECTION
    assert "which only an allow-cidr within that range opens" in outcome.detail
    assert not outcome.transient
    assert web.requests == []


def test_an_open_address_beside_a_closed_one_is_used():
    records = {NAME: ["A 169.254.169.254", "A 127.0.0.1"]}
    with WebServer(lambda _: [RIGHT]) as web, DnsServer(records) as dns:
        outcome = validator(web.port, dns=dns).validate(ASKED)
    assert isinstance(outcome, Validated), outcome
    assert sorted(outcome.evidence.addresses) == ["127.0.0.1", "169.254.169.254"]
    assert outcome.evidence.address == "127.0.0.1"


def test_ipv4_is_used_when_ipv6_is_down():
    records = {NAME: ["AAAA ::1", "A 127.0.0.1"]}
    with WebServer(lambda _: [RIGHT]) as web, DnsServer(records) as dns:
        outcome = validator(web.port, dns=dns).validate(ASKED)
    assert isinstance(outcome, Validated), outcome
    assert outcome.evidence.address == "127.0.0.1"


@needs_ipv6
def test_ipv6_is_used_when_it_is_up():
    records = {NAME: ["A 127.0.0.1", "AAAA ::1"]}
    with WebServer(lambda _: [RIGHT], address="::1") as web, DnsServer(records) as dns:
        outcome = validator(web.port, dns=dns).validate(ASKED)
    assert isinstance(outcome, Validated), outcome
    assert outcome.evidence.address == "::1"


@needs_ipv6
def test_a_wrong_answer_by_ipv6_is_not_tried_again_by_ipv4():
    records = {NAME: ["A 127.0.0.1", "AAAA ::1"]}
    with (
        WebServer(lambda _: [page(b"")], address="::1") as six,
        WebServer(lambda _: [RIGHT], port=six.port) as four,
        DnsServer(records) as dns,
    ):
        outcome = validator(six.port, dns=dns).validate(ASKED)
    assert isinstance(outcome, Failed)
    assert four.requests == []


@needs_ipv6
def test_a_refused_connection_names_every_address_that_was_tried():
    with a_closed_port() as port:
        failed = failure_by_dns({NAME: ["A 127.0.0.1", "AAAA ::1"]}, port)
    assert failed.problem is Problem.CONNECTION
    refused = "Connection refused"
    assert failed.detail == f"{NAME} port {port}: ::1: {refused}; 127.0.0.1: {refused}"
    assert failed.transient


def test_a_connection_that_is_not_taken_ends_in_time():
    # A full backlog: Linux drops further connection attempts, as a firewall would.
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        began = time.monotonic()
        impatient = validator(listener.getsockname()[1], timeout=IMPATIENT)
        outcome = impatient.validate(ASKED)
    assert SHORT * 0.9 < time.monotonic() - began < SOON
    assert isinstance(outcome, Failed)
    assert (outcome.problem, outcome.transient) == (Problem.CONNECTION, True)
    assert "127.0.0.1 did not answer in time" in outcome.detail


@pytest.mark.parametrize(
    ("record", "words", "transient"),
    [
        ("NXDOMAIN", "NXDOMAIN", False),
        ("SERVFAIL", "SERVFAIL", True),
        ("SILENCE", "no DNS server answered in time", True),
        ("TXT nothing", "no A or AAAA record", False),
    ],
)
def test_a_name_that_leads_nowhere_is_a_dns_problem(record: str, words: str, transient: bool):
    failed = failure_by_dns({NAME: [record]})
    assert failed.problem is Problem.DNS
    assert words in failed.detail
    assert failed.transient is transient
    assert failed.evidence.addresses == ()


# TLS on the way


@pytest.fixture(scope="module")
def https(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """A server context with a certificate that nobody should trust: expired, for another name."""
    folder: Path = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "wrong.test")])
    began = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(began)
        .not_valid_after(began + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "tls.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(pem)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.pem")
    return context


def test_a_redirect_to_https_is_followed_whatever_the_certificate(https: ssl.SSLContext):
    with (
        WebServer(lambda _: [RIGHT], tls=https) as secure,
        WebServer(lambda _: [redirect(f"https://{NAME}:{secure.port}/x")]) as web,
    ):
        checked = validator(web.port, redirect_ports=(secure.port,))
        outcome = checked.validate(ASKED)
    assert isinstance(outcome, Validated), outcome
    assert outcome.evidence.urls[1] == f"https://{NAME}:{secure.port}/x"


def test_a_redirect_to_https_that_speaks_no_tls_is_a_tls_problem():
    def speak_plainly() -> None:
        connection, _ = plain.accept()
        with connection:
            connection.sendall(page(b"plain"))
            connection.recv(4096)

    with socket.create_server(("127.0.0.1", 0)) as plain:
        port = plain.getsockname()[1]
        thread = threading.Thread(target=speak_plainly)
        thread.start()
        outcome, _ = validate(
            lambda _: [redirect(f"https://{NAME}:{port}/")], redirect_ports=(port,)
        )
        thread.join()
    assert isinstance(outcome, Failed)
    assert outcome.problem is Problem.TLS
    assert f"TLS with 127.0.0.1 port {port} failed" in outcome.detail


def test_a_tls_handshake_that_hangs_is_cut_off():
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        began = time.monotonic()
        outcome, _ = validate(
            lambda _: [redirect(f"https://{NAME}:{port}/")],
            redirect_ports=(port,),
            timeout=IMPATIENT,
        )
    assert time.monotonic() - began < SOON
    assert isinstance(outcome, Failed)
    assert (outcome.problem, outcome.transient) == (Problem.TLS, True)


def test_a_slow_answer_over_tls_is_cut_off(https: ssl.SSLContext):
    drip: Callable[[bytes], Iterator[bytes | float]] = lambda _: itertools.chain(  # noqa: E731
        *([bytes([byte]), 0.03] for byte in RIGHT)
    )
    with (
        WebServer(drip, tls=https) as secure,
        WebServer(lambda _: [redirect(f"https://{NAME}:{secure.port}/")]) as web,
    ):
        checked = validator(web.port, redirect_ports=(secure.port,), timeout=IMPATIENT)
        outcome = checked.validate(ASKED)
    assert isinstance(outcome, Failed)
    assert "in time" in outcome.detail


# The machine around it


def test_no_proxy_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    outcome, _ = validate(lambda _: [RIGHT])
    assert isinstance(outcome, Validated)


def test_one_validator_serves_many_threads():
    def answer(request: bytes) -> list[bytes]:
        token = request.split(b" ")[1].rpartition(b"/")[2]
        return [page(token + b".thumb")]

    outcomes: dict[str, Validated | Failed] = {}
    with WebServer(answer) as web:
        shared = validator(web.port)

        def one(token: str) -> None:
            outcomes[token] = shared.validate(Asked(NAME, token, f"{token}.thumb"))

        threads = [threading.Thread(target=one, args=(f"token-{n}",)) for n in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(outcomes) == 24
    assert all(isinstance(outcome, Validated) for outcome in outcomes.values()), outcomes
