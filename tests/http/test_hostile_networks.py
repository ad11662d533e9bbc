"""Whoever orders a certificate chooses a name, and names lead anywhere: but this server does not.

A whole server, real DNS packets, real connections. `lab.test` may be looked for at 127.0.0.1 and
nowhere else; `out.test` anywhere but in the company's own networks. At every other address of this
machine there is a trap, which nobody may step into. RFC 8555 section 10.4.
"""

import contextlib
import datetime as dt
import ipaddress
import itertools
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import msgspec
import pytest

from certeasy.settings import (
    DnsProfile,
    DnsZone,
    IpPolicy,
    IssuancePolicy,
    NameRules,
    PolicyBinding,
    Settings,
    WorkerSettings,
)
from tests.fakes.dns_server import DnsServer, Records
from tests.fakes.web_server import WebServer, page, redirect
from tests.make.lab import Client, Lab
from tests.make.server import a_server, lab_settings
from tests.make.waiting import soon

KINDS = ("http-01", "tls-alpn-01")
OUT_DENIED = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
SHORT = dt.timedelta(seconds=0.3)

CLOSED: dict[str, str] = {
    "loopback": "A 127.0.0.2",
    "loopback, far": "A 127.255.255.254",
    "loopback in IPv6": "AAAA ::1",
    "this host": "A 0.0.0.0",
    "this network": "A 0.1.2.3",
    "unspecified in IPv6": "AAAA ::",
    "link-local": "A 169.254.1.1",
    "metadata of clouds": "A 169.254.169.254",
    "link-local in IPv6": "AAAA fe80::1",
    "private, class A": "A 10.0.0.1",
    "private, class B": "A 172.31.255.254",
    "private, class C": "A 192.168.1.1",
    "unique local": "AAAA fd00:ec2::254",
    "CGNAT": "A 100.64.0.1",
    "multicast": "A 224.0.0.251",
    "multicast in IPv6": "AAAA ff02::1",
    "reserved": "A 240.0.0.1",
    "broadcast": "A 255.255.255.255",
    "IPv4-mapped loopback": "AAAA ::ffff:127.0.0.2",
    "IPv4-mapped private": "AAAA ::ffff:10.0.0.1",
    "IPv4-mapped metadata": "AAAA ::ffff:169.254.169.254",
    "IPv4-compatible loopback": "AAAA ::127.0.0.2",
    "NAT64 of loopback": "AAAA 64:ff9b::127.0.0.2",
    "NAT64 of private": "AAAA 64:ff9b::10.0.0.1",
    "NAT64 of metadata": "AAAA 64:ff9b::169.254.169.254",
    "local NAT64 of private": "AAAA 64:ff9b:1::10.0.0.1",
    "SIIT of loopback": "AAAA ::ffff:0:127.0.0.2",
    "6to4 of loopback": "AAAA 2002:7f00:2::1",
    "6to4 of private": "AAAA 2002:a00:1::1",
    "6to4 of metadata": "AAAA 2002:a9fe:a9fe::1",
    "Teredo to a private client": "AAAA 2001:0:102:304:0:0:f5ff:fffe",
    "Teredo by a private server": "AAAA 2001:0:a00:1:0:0:fefe:fefe",
    "ISATAP of private": "AAAA 2001:db8::5efe:10.0.0.1",
}


class Trap:
    """A listener that nobody may connect to, and that says nothing to who does."""

    def __init__(self, address: str, port: int = 0) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = socket.create_server((address, port), family=family)
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def caught(self) -> bool:
        """Tell whether somebody has connected; what has is waiting to be accepted."""
        self._listener.setblocking(False)
        try:
            self._listener.accept()[0].close()
        except BlockingIOError:
            return False
        return True


class House:
    """The server, the DNS that it asks, and what is at 127.0.0.1."""

    def __init__(self, lab: Lab, dns: DnsServer, web: WebServer, traps: Sequence[Trap]) -> None:
        self.lab = lab
        self.dns = dns
        self.web = web
        self.traps = traps
        self.answer: Callable[[bytes], Any] = lambda _request: [page(b"")]
        self.client: Client = lab.client()
        self.client.register()
        self._number = itertools.count()

    def name(self, zone: str, records: Records) -> str:
        """Return a new name that leads where the records say."""
        name = f"name-{next(self._number)}.{zone}"
        self.dns.records[name] = records
        return name

    def tried(self, name: str, kind: str = "http-01", *, right: bool = False) -> dict[str, Any]:
        """Have a name looked at; return the event that says how that ended.

        Where `right` is said, what is at 127.0.0.1 shows what proves it.
        """
        order = self.client.placed(name)
        (challenge,) = self.client.challenges(order, kind)
        if right:
            proof = self.client.key_authorization(challenge["token"]).encode()
            self.answer = lambda _request: [page(proof)]
        assert self.client.post(challenge["url"], {}).status_code == 200
        ended = self.client.wait(order, "ready", "invalid")
        event = self._told(order)
        if ended["status"] == "invalid":
            assert event["error"] == ended["error"]
            assert event["error"]["detail"].isprintable()
        return event

    def failed(self, name: str, kind: str = "http-01") -> dict[str, Any]:
        """Have a name looked at, which must fail; return its event's data."""
        event = self.tried(name, kind)
        assert "error" in event, event
        return event

    def assert_nobody_was_caught(self) -> None:
        """Assert that no trap was stepped into."""
        assert [trap.port for trap in self.traps if trap.caught()] == []

    def _told(self, order: str) -> dict[str, Any]:
        # Others see a change from its COMMIT on; its line is in the journal a moment later.
        stream = f"order/{order.rpartition('/')[2]}"
        soon(lambda: self._lines(stream))
        (told,) = self._lines(stream)
        return told

    def _lines(self, stream: str) -> list[dict[str, Any]]:
        kinds = ("challenge.failed", "challenge.validated")
        whole = self.lab.server.node.journal.path.read_bytes().rpartition(b"\n")[0]
        lines = map(msgspec.json.decode, whole.splitlines())
        return [
            line["data"] for line in lines if line["stream"] == stream and line["type"] in kinds
        ]


def settings_of(folder: Any, dns: DnsServer, port: int) -> Settings:
    """Return the settings of the house: two zones, each with the addresses that are open in it."""
    settings = lab_settings(folder)

    def profile(name: str, rules: IpPolicy) -> DnsProfile:
        return DnsProfile(
            name=name,
            timeout=SHORT,
            zones=(
                DnsZone(suffixes=(f"{name}.test",), dns_server=(dns.endpoint,)),
                DnsZone(suffixes=("own.test",), dns_server=(dns.endpoint,), authoritative=True),
            ),
            resolved_ip_policy=rules,
            http_01_port=port,
            tls_alpn_01_port=port,
        )

    def networks(*texts: str) -> tuple[Any, ...]:
        return tuple(map(ipaddress.ip_network, texts))

    lab = profile("lab", IpPolicy(allow_cidrs=networks("127.0.0.1/32")))
    out = profile("out", IpPolicy(deny_cidrs=networks(*OUT_DENIED)))
    policies = tuple(
        IssuancePolicy(
            name=name,
            dns_validation_profile=name,
            dns=NameRules(allow=(f".{name}.test/3", *more)),
            challenges=(*KINDS, "dns-01"),
        )
        for name, more in (("lab", (".own.test/3",)), ("out", ()))
    )
    return msgspec.structs.replace(
        settings,
        workers=WorkerSettings(workers=4, base_backoff=dt.timedelta(milliseconds=5)),
        dns_validation_profiles=(lab, out),
        issuance_policies=policies,
        policy_bindings=tuple(
            PolicyBinding(policy=policy.name, authorities=("lab-ca",)) for policy in policies
        ),
    )


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    houses: list[House] = []

    def answer(request: bytes) -> Any:
        return houses[0].answer(request)

    folder = tmp_path_factory.mktemp("house")
    with contextlib.ExitStack() as stack:
        dns = stack.enter_context(DnsServer({}))
        web = stack.enter_context(WebServer(answer))
        traps = [stack.enter_context(Trap(at, web.port)) for at in _places()]
        traps.append(stack.enter_context(Trap("127.0.0.1")))
        server = stack.enter_context(a_server(folder, settings=settings_of(folder, dns, web.port)))
        houses.append(House(Lab(server, {}), dns, web, traps))
        yield houses[0]
        houses[0].assert_nobody_was_caught()


def _places() -> Iterator[str]:
    """Yield the addresses of this machine that a trap can be at."""
    yield "127.0.0.2"
    with contextlib.suppress(OSError):
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        yield "::1"


@pytest.fixture(autouse=True)
def traps(house: House) -> Iterator[None]:
    house.web.requests.clear()
    yield
    house.assert_nobody_was_caught()


# Where a name leads


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("zone", ["lab.test", "out.test"])
@pytest.mark.parametrize("record", CLOSED.values(), ids=CLOSED)
def test_a_name_that_leads_to_a_closed_address_is_refused_with_an_event(
    house: House, record: str, zone: str, kind: str
) -> None:
    name = house.name(zone, [record])
    told = house.failed(name, kind)
    address = record.partition(" ")[2]
    assert told["error"]["type"].endswith(":connection")
    detail = told["error"]["detail"]
    assert detail.startswith(f"{name} leads to ")
    assert ", which " in detail
    (seen,) = told["evidence"]["addresses"]
    assert ipaddress.ip_address(seen) == ipaddress.ip_address(address)
    assert "address" not in told["evidence"]  # nothing was connected to
    assert house.web.requests == []


@pytest.mark.parametrize("kind", KINDS)
def test_closed_addresses_beside_each_other_are_all_refused(house: House, kind: str) -> None:
    records = ["A 127.0.0.2", "A 169.254.169.254", "AAAA ::1", "AAAA 2002:7f00:2::1"]
    told = house.failed(house.name("lab.test", records), kind)
    assert len(told["evidence"]["addresses"]) == 4


def test_an_alias_is_judged_by_where_it_ends(house: House) -> None:
    inner = house.name("lab.test", ["A 127.0.0.2"])
    told = house.failed(house.name("lab.test", [f"CNAME {inner}."]))
    assert told["evidence"]["addresses"] == ["127.0.0.2"]


def test_the_open_address_beside_closed_ones_is_the_one_that_is_asked(house: House) -> None:
    """The counterpart: the house is not closed to everybody."""
    name = house.name("lab.test", ["A 169.254.169.254", "A 127.0.0.1", "AAAA ::1"])
    told = house.tried(name, right=True)
    assert told["evidence"]["address"] == "127.0.0.1"
    assert "error" not in told


@pytest.mark.parametrize("kind", [*KINDS, "dns-01"])
@pytest.mark.parametrize("record", CLOSED.values(), ids=CLOSED)
def test_name_servers_that_a_zone_names_are_not_asked_at_closed_addresses(
    house: House, record: str, kind: str
) -> None:
    """Who runs a zone chooses where its name servers are; nobody else answers in their place."""
    name = house.name("own.test", ["A 127.0.0.1"])
    house.dns.records |= {name: ["A 127.0.0.1", f"NS ns.{name}."], f"ns.{name}": [record]}
    told = house.failed(name, kind)
    assert told["error"]["type"].endswith(":dns")
    assert f"the name servers of {name} lead to " in told["error"]["detail"]
    assert ", which " in told["error"]["detail"]
    assert set(told["evidence"].get("servers", [])) <= {house.dns.endpoint}
    assert "address" not in told["evidence"]
    assert house.web.requests == []


# Between the check and the connection


def turning(*answers: Sequence[str]) -> Callable[[], Sequence[str]]:
    """Return records that are others with each question; the last ones stay."""
    waiting = list(answers)
    return lambda: waiting.pop(0) if len(waiting) > 1 else waiting[0]


def test_what_the_dns_says_after_the_check_changes_nothing(house: House) -> None:
    """DNS rebinding: the address that was checked is the one that is connected to."""
    questions = turning(["A 127.0.0.1"], ["TXT -"], ["A 127.0.0.2"])
    name = house.name("lab.test", questions)
    told = house.tried(name, right=True)
    assert told["evidence"]["addresses"] == ["127.0.0.1"]
    assert told["evidence"]["address"] == "127.0.0.1"
    assert [kind for asked, kind, _ in house.dns.asked if asked == name] == ["A", "AAAA"]


def test_a_name_that_leads_elsewhere_at_the_second_hop_is_refused_there(house: House) -> None:
    name = house.name("lab.test", turning(["A 127.0.0.1"], ["TXT -"], ["A 127.0.0.2"]))
    house.answer = lambda _request: [redirect("/next")]
    told = house.failed(name)
    assert f"{name} leads to 127.0.0.2, which is loopback" in told["error"]["detail"]
    assert len(house.web.requests) == 1


def test_a_name_that_leads_elsewhere_at_the_second_attempt_is_refused_then(house: House) -> None:
    """What may pass by itself is tried again, and every attempt looks and checks anew."""
    name = house.name(
        "lab.test", turning(["A 127.0.0.1"], ["TXT -"], ["A 127.0.0.2"], ["TXT -"], ["A 127.0.0.2"])
    )
    house.answer = lambda _request: [page(b"", "503 Later")]
    told = house.failed(name)
    assert "leads to 127.0.0.2, which is loopback" in told["error"]["detail"]
    assert len(house.web.requests) == 1


# Redirects

INTO: dict[str, str] = {
    "a closed name": "http://{closed}:{port}/",
    "loopback": "http://127.0.0.2:{port}/",
    "loopback in IPv6": "http://[::1]:{port}/",
    "loopback, mapped": "http://[::ffff:127.0.0.2]:{port}/",
    "loopback, mapped in hex": "http://[::ffff:7f00:2]:{port}/",
    "loopback as a number": "http://2130706434:{port}/",
    "loopback in octal": "http://0177.0.0.2:{port}/",
    "loopback in hex": "http://0x7f.0.0.2:{port}/",
    "loopback in short": "http://127.2:{port}/",
    "localhost": "http://localhost:{port}/",
    "localhost below itself": "http://x.localhost:{port}/",
    "unspecified": "http://0.0.0.0:{port}/",
    "zero": "http://0:{port}/",
    "metadata": "http://169.254.169.254/latest/meta-data/",
    "private": "https://10.0.0.1/",
    "NAT64": "http://[64:ff9b::7f00:2]:{port}/",
    "with a zone": "http://[fe80::1%25lo]:{port}/",
    "another port": "http://127.0.0.1:{trap}/",
    "another port of its own": "http://{own}:{trap}/",
    "the port of SSH": "http://{own}:22/",
    "the port of Redis": "http://{own}:6379/",
    "no port": "http://{own}:0/",
    "a port too large": "http://{own}:65616/",
    "ftp": "ftp://{own}:{port}/",
    "gopher": "gopher://127.0.0.2:{port}/_x",
    "file": "file:///etc/passwd",
    "data": "data:text/plain,x",
    "javascript": "javascript:alert(1)",
    "ldap": "ldap://127.0.0.2:{port}/",
    "a user": "http://{own}@127.0.0.2:{port}/",
    "a user and a password": "http://a:b@{own}:{port}/",
    "a backslash": "http://127.0.0.2:{port}\\@{own}:{port}/",
    "a fragment that looks like a host": "http://127.0.0.2:{port}#@{own}:{port}/",
    "two slashes": "//127.0.0.2:{port}/",
    "a wide dot": "http://127\u30020\u30020\u30022:{port}/",
    "circled digits": "http://\u2460\u2461\u2466.0.0.2:{port}/",
}


@pytest.mark.parametrize("location", INTO.values(), ids=INTO)
def test_a_redirect_leads_nowhere_that_a_name_may_not(house: House, location: str) -> None:
    own = house.name("lab.test", ["A 127.0.0.1"])
    closed = house.name("lab.test", ["A 127.0.0.2"])
    places = {"own": own, "closed": closed, "port": house.web.port, "trap": house.traps[-1].port}
    to = location.format(**places).encode("utf-8").decode("latin-1")
    house.answer = lambda _request: [redirect(to)] if len(house.web.requests) == 1 else [page(b"")]
    told = house.failed(own)
    kind = told["error"]["type"].rpartition(":")[2]
    assert kind in ("connection", "incorrectResponse", "dns"), told
    assert len(house.web.requests) == 1
    assert told["evidence"]["urls"][0].startswith(f"http://{own}:{house.web.port}/.well-known/")
    assert told["error"]["detail"].isascii()


BREAKING: dict[str, bytes] = {
    "a line end": b"/x\r\nX-Injected: yes",
    "a bare CR": b"/x\rX-Injected: yes",
    "a bare LF": b"/x\nX-Injected: yes",
    "a NUL": b"/x\0y",
    "a space": b"/x HTTP/1.1",
    "a tab": b"/x\ty",
    "a line end in the host": b"http://web.lab.test\r\nX-Injected: yes/",
    "a tab in the host": b"http://web\t.lab.test/",
    "a space in the host": b"http://web.lab.test x/",
    "UTF-8": "/\u010d\u010a".encode(),
    "a line separator": "/\u2028X-Injected: yes".encode(),
    "an encoded line end in the host": b"http://web.lab.test%0d%0aX-Injected:%20yes/",
}


@pytest.mark.parametrize("location", BREAKING.values(), ids=BREAKING)
def test_a_redirect_puts_nothing_into_the_next_request(house: House, location: bytes) -> None:
    """What would end the line of a request or a header is no URL, and nothing is asked for it."""
    name = house.name("lab.test", ["A 127.0.0.1"])
    answer = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n"
    house.answer = lambda _request: (
        [answer] if len(house.web.requests) == 1 else [page(b"not proven")]
    )
    told = house.failed(name)
    for request in house.web.requests:
        assert b"Injected" not in request
        assert request.count(b"\r\n") == request.count(b"\n") == request.count(b"\r")
    assert "Injected" not in str(told)


def test_an_encoded_line_end_in_a_path_stays_encoded(house: House) -> None:
    name = house.name("lab.test", ["A 127.0.0.1"])
    house.answer = lambda _request: (
        [redirect("/x%0d%0aX-Injected:%20yes")] if len(house.web.requests) == 1 else [page(b"")]
    )
    house.failed(name)
    assert house.web.targets()[1] == "/x%0d%0aX-Injected:%20yes"
    assert b"\r\nX-Injected" not in house.web.requests[1]


# Time and size

ENDLESS: dict[str, Callable[[], Any]] = {
    "says nothing": lambda: [30.0],
    "drips": lambda: itertools.chain.from_iterable(
        [[bytes([byte]), 0.05] for byte in page(b"x" * 2000)]
    ),
    "a header without end": lambda: itertools.chain(
        [b"HTTP/1.1 200 OK\r\n"], itertools.repeat(b"X: y\r\n" * 500)
    ),
    "a body without end": lambda: itertools.chain(
        [b"HTTP/1.1 200 OK\r\n\r\n"], itertools.repeat(b"x" * 4096)
    ),
    "chunks without end": lambda: itertools.chain(
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"],
        itertools.repeat(b"400\r\n" + b"x" * 1024 + b"\r\n"),
    ),
    "a promise it does not keep": lambda: [
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
        30.0,
    ],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("answer", ENDLESS.values(), ids=ENDLESS)
def test_an_answer_without_end_is_cut_with_an_event(
    house: House, answer: Callable[[], Any], kind: str
) -> None:
    """That it ends at all is the promise: the test has a timeout, the server a deadline."""
    house.answer = lambda _request: answer()
    told = house.failed(house.name("lab.test", ["A 127.0.0.1"]), kind)
    assert told["evidence"]["address"] == "127.0.0.1"
    assert told["error"]["type"].rpartition(":")[2] in ("connection", "incorrectResponse", "tls")


def test_redirects_without_end_are_cut_with_an_event(house: House) -> None:
    count = itertools.count()
    house.answer = lambda _request: [redirect(f"/{next(count)}")]
    told = house.failed(house.name("lab.test", ["A 127.0.0.1"]))
    assert "redirects" in told["error"]["detail"]
    assert len(house.web.requests) == 11


@pytest.mark.parametrize("kind", KINDS)
def test_a_dns_that_says_nothing_is_not_waited_for(house: House, kind: str) -> None:
    told = house.failed(house.name("lab.test", ["SILENCE"]), kind)
    assert told["error"]["type"].endswith(":dns")


def test_one_slow_name_keeps_nobody_else_waiting(house: House) -> None:
    """The workers that one account may have are not all of them."""
    stop = threading.Event()
    slow = {f"slow-{n}.lab.test" for n in range(6)}

    def answer(request: bytes) -> Iterator[bytes | float]:
        if any(f"Host: {name}:".encode() in request for name in slow):
            yield b"HTTP/1.1 200 OK\r\n"
            stop.wait(10)
        else:
            token = request.split(b" ")[1].rpartition(b"/")[2].decode()
            yield page(other.key_authorization(token).encode())

    other = house.lab.client()
    other.register()
    house.answer = answer
    for name in (*slow, "quick.lab.test"):
        house.dns.records[name] = ["A 127.0.0.1"]
    try:
        for challenge in house.client.challenges(house.client.placed(*sorted(slow))):
            house.client.post(challenge["url"], {})
        order = other.placed("quick.lab.test")
        (challenge,) = other.challenges(order)
        other.post(challenge["url"], {})
        assert other.wait(order, "ready", "invalid")["status"] == "ready"
    finally:
        stop.set()
        soon(lambda: house.lab.server.workers.waiting() == 0)


def test_a_slash_too_many_stays_where_it_is(house: House) -> None:
    name = house.name("lab.test", ["A 127.0.0.1"])
    house.answer = lambda _request: (
        [redirect("///127.0.0.2/")] if len(house.web.requests) == 1 else [page(b"")]
    )
    house.failed(name)
    assert house.web.hosts() == [f"{name}:{house.web.port}"] * 2


# The environment


@pytest.mark.parametrize("kind", KINDS)
def test_no_proxy_of_the_environment_is_asked(
    house: House, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    proxy = f"http://127.0.0.1:{house.traps[-1].port}"
    for name in (
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
    ):
        monkeypatch.setenv(name, proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    told = house.tried(house.name("lab.test", ["A 127.0.0.1"]), kind, right=True)
    assert told["evidence"]["address"] == "127.0.0.1"
    assert told["evidence"]["port"] == house.web.port
    assert ("error" in told) is (kind != "http-01")  # what is there speaks no TLS
