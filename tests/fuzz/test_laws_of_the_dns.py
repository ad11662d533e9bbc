"""Laws of what asks the DNS: of whatever a stranger's server answers comes an answer, or none."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from ipaddress import ip_network

import dns.message
import dns.rdatatype
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certeasy.settings import DnsProfile, DnsZone, IpPolicy
from certeasy.validate import Asked
from certeasy.validate.ask import Seen, Unresolved
from certeasy.validate.caa import Caa
from certeasy.validate.dns01 import Dns01Validator
from certeasy.validate.resolve import Resolver
from tests.fuzz import nearby
from tests.make.csrs import tlv

NAME = "web.lab.test"
SHORT = timedelta(seconds=0.04)
"""What is passed over is waited for so long: silence is an answer as well."""
SOME = settings().max_examples // 2
"""Each example goes over the wire."""
KINDS = ("A", "AAAA", "TXT", "CAA", "CNAME", "DNAME", "NS", "SOA", "RRSIG", "DNSKEY", "DS", "NSEC",
         "NSEC3", "OPT", "MX", "SVCB", "HTTPS", "LOC", "NAPTR", "TYPE65280")  # fmt: skip
RDATA = (
    st.binary(max_size=40)
    | st.sampled_from(
        [
            b"\x7f\0\0\1", bytes(16), b"\x05hello", b"\0\x05issueca.test", b"\x80\x05issue;",
            b"\xc0\x0c", b"\xc0\xff", b"\x03web\x03lab\x04test\0", b"\0",
            b"\x3f" + b"a" * 63 + b"\0",
            b"\1\1\x03\x08" + b"\3\1\0\1" + b"\xff" * 64, b"\0\1\x0f\3\0\0\0\x3c" + bytes(30),
            b"\x01\x01\xff\xff\x04abcd\x14" + b"x" * 20 + b"\0\1\x40",
        ]
    )
    | nearby.DER.map(lambda der: tlv(0x30, der)[:80])
)  # fmt: skip
RECORD = st.tuples(st.sampled_from(KINDS), st.booleans(), RDATA)


class Stranger:
    """A DNS server on loopback that answers with what a test makes of each question."""

    def __init__(self) -> None:
        self.answer: Callable[[bytes], bytes] = lambda question: question
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.endpoint = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, name="stranger", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            question, asker = self._socket.recvfrom(4096)
            if not question:
                return
            self._socket.sendto(self.answer(question)[:60_000], asker)


@pytest.fixture(scope="module")
def stranger() -> Iterator[Stranger]:
    made = Stranger()
    yield made
    made.close()


def resolver(stranger: Stranger, *, dnssec: bool) -> Resolver:
    zone = DnsZone(dns_server=(stranger.endpoint,), dnssec=dnssec)
    policy = IpPolicy(allow_cidrs=(ip_network("127.0.0.0/8"),))
    profile = DnsProfile(name="lab", timeout=SHORT, zones=(zone,), resolved_ip_policy=policy)
    return Resolver(profile)


def reply(question: bytes, flags: int, records: list[tuple[str, bool, bytes]]) -> bytes:
    """Return an answer in wire form: the question, and records whose data are as given."""
    asked = dns.message.from_wire(question).question[0]
    name = asked.name.to_wire()
    assert name is not None
    head = question[:2] + struct.pack("!HHHHH", flags, 1, len(records), 0, 0)
    body = name + struct.pack("!HH", asked.rdtype, 1)
    for kind, as_asked, data in records:
        number = asked.rdtype if as_asked else dns.rdatatype.from_text(kind)
        body += b"\xc0\x0c" + struct.pack("!HHIH", number, 1, 60, len(data)) + data
    return head + body


@pytest.mark.parametrize("dnssec", [False, True])
@given(
    records=st.lists(RECORD, max_size=5),
    flags=st.sampled_from([0x8180, 0x8580, 0x8183, 0x8182, 0x8100]) | st.integers(0, 0xFFFF),
    changes=nearby.changes(2),
    whole=st.booleans(),
    what=st.sampled_from(["addresses", "dns-01", "caa", "TXT", "CAA", "A"]),
)
@settings(max_examples=SOME)
def test_any_answer_of_the_dns_is_understood_or_none(
    stranger: Stranger,
    dnssec: bool,
    records: list[tuple[str, bool, bytes]],
    flags: int,
    changes: nearby.Changes,
    whole: bool,
    what: str,
) -> None:
    def answer(question: bytes) -> bytes:
        made = reply(question, flags, records)
        # The first part (id and question) stays right more often than not: else it is passed over.
        first = 0 if whole else min(len(made), len(question))
        return made[:first] + nearby.changed(made[first:], changes)

    stranger.answer = answer
    told(resolver(stranger, dnssec=dnssec), what)


def told(asks: Resolver, what: str) -> str:
    """Look something up; return what comes of it, in one line."""
    try:
        match what:
            case "addresses":
                said = " ".join(asks.addresses(NAME))
            case "dns-01":
                said = str(
                    Dns01Validator(asks).validate(Asked(NAME, "t", "t.k", ("https://a",), "dns"))
                )
            case "caa":
                caa = Caa(asks, ("ca.test",))
                said = str(caa.check(NAME, wildcard=False, method="dns-01", account_urls=()))
            case _:
                asks.look_up(NAME, what, Seen())
                said = ""
    except Unresolved as error:
        said = str(error)
    assert said.isprintable()
    return said
