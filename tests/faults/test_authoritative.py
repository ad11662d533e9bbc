"""Asking the servers of a zone itself: found by way of one server, asked at several addresses."""

import datetime as dt
import ipaddress
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from certeasy.settings import DnsProfile, DnsZone, IpPolicy
from certeasy.validate.ask import Seen, Unresolved
from certeasy.validate.authoritative import MAX_SERVERS
from certeasy.validate.resolve import Resolver
from tests.fakes.dns_server import DnsServer, Records

NAME = "_acme-challenge.web.lab.test"
OPEN = IpPolicy(allow_cidrs=(ipaddress.ip_network("127.0.0.0/8"),))
FINDS: dict[str, Records] = {
    "lab.test": ["NS ns1.lab.test.", "NS ns2.lab.test."],
    "ns1.lab.test": ["A 127.0.0.2"],
    "ns2.lab.test": ["A 127.0.0.3"],
}


class Net:
    """A server that finds others, the others at one port, and a resolver that asks them."""

    def __init__(self, stack: ExitStack, finds: dict[str, Records], **own: dict[str, Records]):
        self.first = stack.enter_context(DnsServer(finds))
        self.own = {}
        port = 0
        for n, (label, records) in enumerate(own.items()):
            server = DnsServer(records, at=f"127.0.0.{n + 2}", port=port, authoritative=True)
            self.own[label] = stack.enter_context(server)
            port = server.port
        self.port = port

    def look_up(
        self, name: str = NAME, kind: str = "TXT", *, policy: IpPolicy = OPEN, seconds: float = 10
    ) -> tuple[tuple[str, ...], Seen]:
        profile = DnsProfile(
            name="lab",
            timeout=dt.timedelta(seconds=seconds),
            zones=(DnsZone(dns_server=(self.first.endpoint,), authoritative=True),),
            resolved_ip_policy=policy,
        )
        seen = Seen()
        resolver = Resolver(profile, patience=0.3, port=self.port)
        found = resolver.look_up(name, kind, seen)
        return tuple(record.to_text() for record in found.records), seen


@contextmanager
def a_net(finds: dict[str, Records] = FINDS, **own: dict[str, Records]) -> Iterator[Net]:
    with ExitStack() as stack:
        yield Net(stack, finds, **own)


def test_the_servers_of_the_zone_are_asked_and_not_who_finds_them():
    with a_net(FINDS | {NAME: ["TXT stale"]}, ns1={NAME: ["TXT fresh"]}, ns2={}) as net:
        found, seen = net.look_up()
        own = [server.endpoint for server in net.own.values()]
    assert found == ('"fresh"',)
    assert seen.zones == ["lab.test"]
    assert seen.servers[1:] == own
    assert {kind for name, kind, _ in net.first.asked} == {"NS", "A", "AAAA"}


@pytest.mark.parametrize("which", ["ns1", "ns2"])
def test_a_value_that_only_one_of_them_has_yet_counts(which: str):
    own: dict[str, dict[str, Records]] = {"ns1": {}, "ns2": {}}
    own[which] = {NAME: ["TXT fresh"]}
    with a_net(**own) as net:
        assert net.look_up()[0] == ('"fresh"',)


def test_different_values_are_put_together_and_equal_ones_once():
    with a_net(ns1={NAME: ["TXT a", "TXT b"]}, ns2={NAME: ["TXT b", "TXT c"]}) as net:
        assert sorted(net.look_up()[0]) == ['"a"', '"b"', '"c"']


@pytest.mark.parametrize("trouble", ["SILENCE", "SERVFAIL", "REFUSED"])
def test_one_server_in_trouble_harms_nobody(trouble: str):
    with a_net(ns1={NAME: [trouble]}, ns2={NAME: ["TXT fresh"]}) as net:
        assert net.look_up()[0] == ('"fresh"',)


def test_silent_servers_leave_time_for_the_others():
    names = [f"ns{n}" for n in range(1, 7)]
    finds: dict[str, Records] = {"lab.test": [f"NS {name}.lab.test." for name in names]}
    finds |= {f"{name}.lab.test": [f"A 127.0.0.{n}"] for n, name in enumerate(names, start=2)}
    own: dict[str, dict[str, Records]] = {name: {NAME: ["SILENCE"]} for name in names}
    own["ns6"] = {NAME: ["TXT fresh"]}
    with a_net(finds, **own) as net:
        assert net.look_up(seconds=0.6)[0] == ('"fresh"',)


@pytest.mark.parametrize("trouble", ["SILENCE", "SERVFAIL"])
def test_if_none_answers_it_may_pass(trouble: str):
    words = "none of the 2 servers of the zone lab"
    with (
        a_net(ns1={NAME: [trouble]}, ns2={NAME: [trouble]}) as net,
        pytest.raises(Unresolved, match=words) as caught,
    ):
        net.look_up(seconds=0.8)
    assert caught.value.transient


def test_an_answer_that_is_not_authoritative_is_none():
    with a_net(ns1={NAME: ["TXT hearsay"]}, ns2={NAME: ["TXT fresh"]}) as net:
        net.own["ns1"].authoritative = False
        found, seen = net.look_up()
        assert net.own["ns1"].endpoint not in seen.servers
    assert found == ('"fresh"',)


def test_the_nearest_zone_counts():
    finds = FINDS | {"web.lab.test": ["NS ns2.lab.test."]}
    with a_net(finds, ns1={NAME: ["TXT outer"]}, ns2={NAME: ["TXT inner"]}) as net:
        found, seen = net.look_up()
    assert found == ('"inner"',)
    assert seen.zones == ["web.lab.test"]
    assert not net.own["ns1"].asked


def test_an_alias_into_another_zone_is_asked_for_at_its_servers():
    finds = FINDS | {"lab.test": ["NS ns1.lab.test."], "acme.test": ["NS ns2.lab.test."]}
    alias: dict[str, Records] = {NAME: ["CNAME x.acme.test."], "x.acme.test": ["TXT forged"]}
    with a_net(finds, ns1=alias, ns2={"x.acme.test": ["TXT real"]}) as net:
        found, seen = net.look_up()
    assert found == ('"real"',)
    assert seen.names == [NAME, "x.acme.test"]
    assert seen.zones == ["lab.test", "acme.test"]


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.2", "is loopback"),
        ("169.254.169.254", "is link-local"),
        ("10.1.2.3", r"is in the deny-cidr 10\.0\.0\.0/8"),
    ],
)
def test_a_name_server_is_not_asked_where_the_policy_forbids(address: str, words: str):
    """Whoever has a zone may write any address into it."""
    finds = FINDS | {"lab.test": ["NS ns1.lab.test."], "ns1.lab.test": [f"A {address}"]}
    policy = IpPolicy(deny_cidrs=(ipaddress.ip_network("10.0.0.0/8"),))
    with (
        a_net(finds, ns1={NAME: ["TXT fresh"]}) as net,
        pytest.raises(Unresolved, match=words) as caught,
    ):
        net.look_up(policy=policy)
    assert not caught.value.transient
    assert not net.own["ns1"].asked


def test_the_servers_that_the_policy_lets_are_asked_without_the_others():
    policy = IpPolicy(allow_cidrs=(ipaddress.ip_network("127.0.0.3/32"),))
    with a_net(ns1={NAME: ["TXT inner"]}, ns2={NAME: ["TXT fresh"]}) as net:
        found, seen = net.look_up(policy=policy)
    assert found == ('"fresh"',)
    assert not net.own["ns1"].asked
    assert any("127.0.0.2, which is " in step for step in seen.steps)


def test_a_zone_with_very_many_servers_has_few_of_them_asked():
    many = [f"127.0.1.{n}" for n in range(1, 41)]
    finds: dict[str, Records] = {
        "lab.test": ["NS ns.lab.test."],
        "ns.lab.test": [f"A {address}" for address in many],
    }
    words = f"none of the {MAX_SERVERS} servers"
    with a_net(finds, ns1={}) as net, pytest.raises(Unresolved, match=words):
        net.look_up(seconds=0.4)


@pytest.mark.parametrize(
    ("finds", "words"),
    [
        ({}, "no name above it has NS records"),
        ({"lab.test": ["NS ns1.lab.test."]}, "have no address"),
        ({"lab.test": ["SERVFAIL"], NAME: ["SERVFAIL"]}, "DNS answered SERVFAIL"),
    ],
)
def test_a_zone_that_cannot_be_found_says_why(finds: dict[str, Records], words: str):
    with a_net(finds, ns1={}) as net, pytest.raises(Unresolved, match=words):
        net.look_up()


def test_addresses_come_from_the_zones_servers_too():
    with a_net(ns1={"web.lab.test": ["A 192.0.2.1"]}, ns2={}) as net:
        assert net.look_up("web.lab.test", "A")[0] == ("192.0.2.1",)
