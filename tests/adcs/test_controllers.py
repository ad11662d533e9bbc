"""Domain controllers are listed, or DNS knows them; who answers is asked first."""

import dns.resolver
import pytest

from certeasy.ca.adcs.controllers import RESTS, Controller, Controllers, listed
from certeasy.ca.adcs.deadline import Deadline
from certeasy.ca.adcs.identity import NotAuthenticated
from tests.fakes.clocks import HeldClock
from tests.fakes.dns_server import DnsServer

SRV = "_kerberos._tcp.dc._msdcs.lab.test"
ONE, TWO, FAR = (
    Controller("dc1.lab.test"),
    Controller("dc2.lab.test", 89),
    Controller("dc9.lab.test"),
)


def at(server) -> dns.resolver.Resolver:
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = ["127.0.0.1"], server.port
    return resolver


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("dc1.lab.test", "dc1.lab.test", 88),
        ("dc1.lab.test:10088", "dc1.lab.test", 10088),
        ("10.0.0.7", "10.0.0.7", 88),
        ("2001:db8::7", "2001:db8::7", 88),
        ("[2001:db8::7]:10088", "2001:db8::7", 10088),
        ("[2001:db8::7]", "2001:db8::7", 88),
    ],
)
def test_a_controller_is_listed_with_or_without_a_port(text, host, port):
    assert listed(text) == Controller(host, port)


def test_a_controller_is_told_as_it_is_listed():
    for text in ("dc1.lab.test", "dc1.lab.test:10088", "[2001:db8::7]:10088"):
        assert str(listed(text)) == text


def test_dns_knows_the_controllers_nearer_ones_first():
    records = [
        "SRV 10 100 88 dc9.lab.test.", "SRV 0 0 89 dc2.lab.test.", "SRV 0 100 88 dc1.lab.test."
    ]  # fmt: skip
    with DnsServer({SRV: records}) as server:
        controllers = Controllers("lab.test", clock=HeldClock(), resolver=at(server))
        assert controllers.in_turn(Deadline(5)) == (ONE, TWO, FAR)


def test_dns_is_asked_again_when_its_answer_is_old_and_no_earlier():
    clock = HeldClock()
    with DnsServer({SRV: ["SRV 0 0 88 dc1.lab.test."]}) as server:
        controllers = Controllers("lab.test", clock=clock, resolver=at(server))
        controllers.in_turn(Deadline(5))
        controllers.in_turn(Deadline(5))
        assert len(server.asked) == 1
        server.records[SRV] = ["SRV 0 0 88 dc9.lab.test."]
        clock.pass_by(600)
        assert controllers.in_turn(Deadline(5)) == (FAR,)


def test_what_dns_said_before_is_good_while_it_says_nothing():
    clock = HeldClock()
    with DnsServer({SRV: ["SRV 0 0 88 dc1.lab.test."]}) as server:
        controllers = Controllers("lab.test", clock=clock, resolver=at(server))
        controllers.in_turn(Deadline(5))
        server.records[SRV] = "SERVFAIL"
        clock.pass_by(600)
        assert controllers.in_turn(Deadline(5)) == (ONE,)


@pytest.mark.parametrize(
    ("records", "transient"), [({}, False), ({SRV: "SERVFAIL"}, True), ({SRV: "SILENCE"}, True)]
)
def test_a_domain_nobody_knows_is_told_with_what_was_asked(records, transient):
    with DnsServer(records) as server:
        controllers = Controllers("lab.test", clock=HeldClock(), resolver=at(server))
        with pytest.raises(NotAuthenticated, match=SRV) as refused:
            controllers.in_turn(Deadline(0.5))
    assert refused.value.transient is transient
    assert "domain-controllers" in refused.value.remedy


def test_who_answered_last_is_asked_first_and_who_failed_last():
    clock = HeldClock()
    controllers = Controllers("lab.test", ["dc1.lab.test", "dc2.lab.test:89"], clock=clock)
    assert controllers.in_turn(Deadline(5)) == (ONE, TWO)
    controllers.answered(TWO)
    assert controllers.in_turn(Deadline(5)) == (TWO, ONE)
    controllers.failed(TWO)
    assert controllers.in_turn(Deadline(5)) == (ONE, TWO)
    clock.pass_by(1)
    controllers.failed(ONE)
    assert controllers.in_turn(Deadline(5)) == (TWO, ONE)
    clock.pass_by(RESTS)
    controllers.failed(TWO)
    controllers.answered(TWO)
    assert controllers.in_turn(Deadline(5)) == (TWO, ONE)
