"""Where names lead, asked of a small real DNS server."""

from datetime import timedelta

import pytest

from certeasy.settings import DnsProfile, DnsZone
from certeasy.validate.ask import Unresolved
from certeasy.validate.resolve import Resolver, host_and_port
from tests.fakes.dns_server import DnsServer, Records


def resolver(*zones: DnsZone, seconds: float = 10) -> Resolver:
    return Resolver(DnsProfile(name="lab", timeout=timedelta(seconds=seconds), zones=zones))


def ask(records: dict[str, Records], name: str, *, seconds: float = 10):
    with DnsServer(records) as server:
        zone = DnsZone(dns_server=(server.endpoint,))
        return resolver(zone, seconds=seconds).addresses(name)


def test_ipv6_comes_first_then_ipv4():
    records = {"web.lab.test": ["A 192.0.2.1", "AAAA 2001:db8::1"]}
    assert ask(records, "web.lab.test") == ("2001:db8::1", "192.0.2.1")


def test_a_name_with_only_ipv6_is_found():
    assert ask({"web.lab.test": ["AAAA 2001:db8::1"]}, "web.lab.test") == ("2001:db8::1",)


def test_an_alias_is_followed():
    records = {"web.lab.test": ["CNAME real.lab.test."], "real.lab.test": ["A 192.0.2.7"]}
    assert ask(records, "web.lab.test") == ("192.0.2.7",)


def test_a_wildcard_answers_for_names_below_it():
    assert ask({"*.lab.test": ["A 192.0.2.9"]}, "any.thing.lab.test") == ("192.0.2.9",)


def test_a_truncated_answer_is_asked_for_again_by_tcp_and_bounded():
    many = [f"A 192.0.2.{n}" for n in range(1, 60)]
    with DnsServer({"big.lab.test": many}) as server:
        found = resolver(DnsZone(dns_server=(server.endpoint,))).addresses("big.lab.test")
    assert len(set(found)) == 16
    assert ("big.lab.test", "A", "tcp") in server.asked


def test_tcp_only_means_tcp_only():
    with DnsServer({"web.lab.test": ["A 192.0.2.1"]}) as server:
        zone = DnsZone(dns_server=(server.endpoint,), protocol="tcp")
        assert resolver(zone).addresses("web.lab.test") == ("192.0.2.1",)
    assert {transport for _, _, transport in server.asked} == {"tcp"}


@pytest.mark.parametrize(
    ("record", "words", "transient"),
    [
        ("NXDOMAIN", "NXDOMAIN", False),
        ("SERVFAIL", "SERVFAIL", True),
        ("REFUSED", "REFUSED", True),
        ("SILENCE", "in time", True),
        ("TXT nothing else", "no A or AAAA record", False),
    ],
)
def test_a_name_that_leads_nowhere_says_why(record: str, words: str, transient: bool):
    with pytest.raises(Unresolved, match=words) as caught:
        ask({"web.lab.test": [record]}, "web.lab.test", seconds=0.4 if record == "SILENCE" else 10)
    assert "web.lab.test" in str(caught.value)
    assert caught.value.transient is transient


def test_a_server_that_knows_nothing_of_aaaa_does_no_harm():
    answers = iter([["A 192.0.2.1"], ["SERVFAIL"]])
    assert ask({"web.lab.test": lambda: next(answers)}, "web.lab.test") == ("192.0.2.1",)


def test_a_circle_of_aliases_ends():
    records = {"a.lab.test": ["CNAME b.lab.test."], "b.lab.test": ["CNAME a.lab.test."]}
    with pytest.raises(Unresolved, match="without end"):
        ask(records, "a.lab.test")


def test_a_circle_of_aliases_through_two_zones_ends():
    with (
        DnsServer({"a.lab.test": ["CNAME a.corp.test."]}) as lab,
        DnsServer({"a.corp.test": ["CNAME a.lab.test."]}) as corp,
    ):
        zones = (
            DnsZone(suffixes=("lab.test",), dns_server=(lab.endpoint,)),
            DnsZone(suffixes=("corp.test",), dns_server=(corp.endpoint,)),
        )
        with pytest.raises(Unresolved, match="without end"):
            resolver(*zones).addresses("a.lab.test")


def test_the_zone_with_the_longest_suffix_is_asked():
    with DnsServer({}) as outer, DnsServer({}) as inner:
        outer.records = {"*.test": ["A 192.0.2.1"]}
        inner.records = {"*.lab.test": ["A 192.0.2.2"]}
        zones = (
            DnsZone(suffixes=(".",), dns_server=(outer.endpoint,)),
            DnsZone(suffixes=("lab.test",), dns_server=(inner.endpoint,)),
        )
        asked = resolver(*zones)
        assert asked.addresses("web.lab.test") == ("192.0.2.2",)
        assert asked.addresses("weblab.test") == ("192.0.2.1",)


def test_an_alias_into_another_zone_is_asked_for_there():
    with DnsServer({"web.lab.test": ["CNAME real.corp.test."]}) as lab, DnsServer({}) as corp:
        corp.records = {"real.corp.test": ["A 192.0.2.3"]}
        zones = (
            DnsZone(suffixes=("lab.test",), dns_server=(lab.endpoint,)),
            DnsZone(suffixes=("corp.test",), dns_server=(corp.endpoint,)),
        )
        assert resolver(*zones).addresses("web.lab.test") == ("192.0.2.3",)


def test_a_name_outside_every_zone_is_refused():
    zone = DnsZone(suffixes=("lab.test",), hosts={"*.lab.test": "192.0.2.1"})
    with pytest.raises(Unresolved, match="no zone of the DNS profile 'lab' covers web"):
        resolver(zone).addresses("web.corp.test")


def test_hosts_are_known_without_asking_the_nearest_star_counts():
    hosts = {"web.lab.test": "192.0.2.1", "*.lab.test": "192.0.2.2", "*.in.lab.test": "192.0.2.3"}
    asked = resolver(DnsZone(hosts=hosts))
    assert asked.addresses("web.lab.test") == ("192.0.2.1",)
    assert asked.addresses("other.lab.test") == ("192.0.2.2",)
    assert asked.addresses("a.b.in.lab.test") == ("192.0.2.3",)
    with pytest.raises(Unresolved, match=r"lab\.test is not among the hosts"):
        asked.addresses("lab.test")


def test_hosts_come_before_the_dns_server():
    with DnsServer({"*.lab.test": ["A 192.0.2.9"]}) as server:
        zone = DnsZone(hosts={"web.lab.test": "192.0.2.1"}, dns_server=(server.endpoint,))
        assert resolver(zone).addresses("web.lab.test") == ("192.0.2.1",)
        assert resolver(zone).addresses("two.lab.test") == ("192.0.2.9",)


def test_the_second_server_is_asked_when_the_first_is_silent():
    with DnsServer({"web.lab.test": ["SILENCE"]}) as mute, DnsServer({}) as good:
        good.records = {"web.lab.test": ["A 192.0.2.4"]}
        zone = DnsZone(dns_server=(mute.endpoint, good.endpoint))
        # Patience with one server; the budget for all stays as large as it is.
        asked = Resolver(DnsProfile(name="lab", zones=(zone,)), patience=0.2)
        assert asked.addresses("web.lab.test") == ("192.0.2.4",)
    assert mute.asked


@pytest.mark.parametrize("name", ["a" * 64 + ".lab.test", "two..dots.test"])
def test_what_is_no_dns_name_is_refused(name: str):
    with pytest.raises(Unresolved, match="is no DNS name"):
        ask({}, name)


def test_a_name_whose_ipv6_cannot_be_asked_for_and_has_no_ipv4_is_unresolved():
    answers = iter([["TXT -"], ["SERVFAIL"]])
    with pytest.raises(Unresolved, match="SERVFAIL; asked for AAAA"):
        ask({"web.lab.test": lambda: next(answers)}, "web.lab.test")


def test_an_alias_that_leads_nowhere_is_named():
    records = {"web.lab.test": ["CNAME real.lab.test."], "real.lab.test": ["TXT -"]}
    with pytest.raises(Unresolved, match=r"real\.lab\.test, which web\.lab\.test is an alias of"):
        ask(records, "web.lab.test")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("192.0.2.53", ("192.0.2.53", 53)),
        ("192.0.2.53:5353", ("192.0.2.53", 5353)),
        ("2001:db8::53", ("2001:db8::53", 53)),
        ("[2001:db8::53]", ("2001:db8::53", 53)),
        ("[2001:db8::53]:5353", ("2001:db8::53", 5353)),
    ],
)
def test_a_dns_server_is_written_with_or_without_a_port(written: str, expected: tuple[str, int]):
    assert host_and_port(written) == expected


@pytest.mark.parametrize("written", ["dns.lab.test:53", "", "192.0.2.53:x", ":53"])
def test_a_dns_server_is_an_address(written: str):
    with pytest.raises(ValueError, match="IPv4 or IPv6 address"):
        host_and_port(written)
