"""What answers a binding is protected by nothing: all that it can do is to make us give up."""

import struct

import pytest

from certeasy.ca.adcs.errors import NotReached
from tests.adcs.test_tampered_replies import with_field
from tests.fakes.man_in_the_middle import man_in_the_middle
from tests.make.adcs import a_ca
from tests.make.csrs import a_csr
from tests.make.enrolment import WEB_SERVER, enrolment, within
from tools.adcs_sim.machine import Plan

CSR = a_csr("web.lab.test")


def results_of(packet):
    """Return where the list of results begins."""
    (address,) = struct.unpack_from("<H", packet, 24)
    at = 26 + address
    return at + -at % 4


def of_kind(packet, kind, body):
    """Return another packet for the same call."""
    head = bytearray(packet[:16])
    head[2] = kind
    struct.pack_into("<HH", head, 8, 16 + len(body), 0)
    return bytes(head) + body


def without_token(packet):
    size = struct.unpack_from("<H", packet, 10)[0] + 8
    return with_field(packet[:-size], 8, "<HH", len(packet) - size, 0)


CHANGES = {
    "authentication type": (lambda one: of_kind(one, 13, b"\x08\0\0"), 8, "not recognized"),
    "no reason": (lambda one: of_kind(one, 13, b""), 0, "no reason that we know"),
    "a fault": (lambda one: of_kind(one, 3, bytes(8) + b"\5\0\0\0" + bytes(4)), 5, "refused"),
    "no such interface": (
        lambda one: with_field(one, results_of(one) + 4, "<HH", 2, 1),
        0x1C010003,
        "does not offer",
    ),
    "no such syntax": (lambda one: with_field(one, results_of(one) + 4, "<HH", 2, 2), 0, "offer"),
    "another call": (lambda one: with_field(one, 12, "<I", 99), None, "not asked for"),
    "another kind": (lambda one: with_field(one, 2, "<B", 15), None, "kind 15"),
    "two results": (lambda one: with_field(one, results_of(one), "<B", 2), None, "answers for 2"),
    "another syntax": (
        lambda one: with_field(one, results_of(one) + 8, "<B", 0),
        None,
        "not offered",
    ),
    "tiny fragments": (lambda one: with_field(one, 18, "<H", 1431), None, "1431 bytes"),
    "an address without end": (lambda one: with_field(one, 24, "<H", 9999), None, "cut off"),
    "nothing": (lambda one: of_kind(one, 12, b""), None, "cut off"),
    "another provider": (
        lambda one: with_field(one, len(one) - struct.unpack_from("<H", one, 10)[0] - 8, "<B", 9),
        None,
        "another security provider",
    ),
    "no token": (without_token, None, "no proof"),
}


@pytest.fixture(scope="module")
def ca():
    with a_ca() as ca:
        yield ca


@pytest.mark.parametrize(("change", "code", "told"), CHANGES.values(), ids=CHANGES.keys())
def test_a_binding_that_was_answered_otherwise_leads_nowhere(change, code, told, ca):
    with (
        man_in_the_middle(ca.port, bindings=change) as middle,
        enrolment(ca, port=middle.port) as client,
        pytest.raises(NotReached, match=told) as refused,
    ):
        client.request(ca.name, CSR, WEB_SERVER, within())
    assert (refused.value.layer, refused.value.code) == ("bind", code)
    assert not ca.requests


def test_the_server_notices_a_challenge_that_was_changed_on_its_way(ca):
    """The check over NTLM's three messages. MS-NLMP section 3.1.5.1.2."""
    with (
        man_in_the_middle(ca.port, bindings=lambda one: one[:-1] + b"\1") as middle,
        enrolment(ca, port=middle.port) as client,
        pytest.raises(NotReached) as refused,
    ):
        client.request(ca.name, CSR, WEB_SERVER, within())
    assert (refused.value.layer, refused.value.code) == ("rpc", 5)


def of_the_call(one, body):
    """Return the same answer with another stub, as nobody protects it."""
    return with_field(one[:24] + body, 8, "<H", 24 + len(body))


MAPPERS = {
    "a fault": (lambda one: of_kind(one, 3, bytes(8) + struct.pack("<II", 5, 0)), 5),
    "garbage": (lambda one: of_the_call(one, b"garbage"), None),
    "another refusal": (
        lambda one: of_the_call(one, bytes(36) + struct.pack("<I", 0x16C9A0CF)),
        0x16C9A0CF,
    ),
    "a tower of two heights": (lambda one: with_field(one, 24 + 40, "<I", 3), None),
    "a tower without a port": (lambda one: one.replace(b"\1\0\7\2\0", b"\1\0\x0f\2\0"), 0x16C9A0D6),
    "the line": (lambda _: None, None),
}


@pytest.mark.parametrize(("change", "code"), MAPPERS.values(), ids=MAPPERS.keys())
def test_a_mapper_that_answers_otherwise_leads_nowhere(change, code, ca):
    with (
        man_in_the_middle(ca.mapper_port, lambda _, one: change(one)) as middle,
        enrolment(ca, port=0, mapper_port=middle.port) as client,
        pytest.raises(NotReached) as refused,
    ):
        client.request(ca.name, CSR, WEB_SERVER, within())
    assert (refused.value.layer, refused.value.code) == ("mapper", code)


def test_a_server_without_the_way_to_prove_it_says_so():
    with a_ca(Plan(accounts={})) as ca, enrolment(ca) as client:
        with pytest.raises(NotReached, match="not recognized") as refused:
            client.probe(ca.name, within())
        assert refused.value.layer == "bind"
