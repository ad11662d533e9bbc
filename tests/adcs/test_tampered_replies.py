"""Whoever sits on the line can keep an answer from coming, and nothing else.

Each of these was taken for an answer by impacket as it comes. They stay, for whatever it becomes:
what the product adds to it stands and falls with how it is built inside.
"""

import struct
import threading

import pytest
from impacket.dcerpc.v5 import transport
from impacket.dcerpc.v5.dtypes import NULL
from impacket.dcerpc.v5.rpcrt import RPC_C_AUTHN_LEVEL_PKT_PRIVACY

from certeasy.ca.adcs.errors import AnswerLost, NotReached
from certeasy.ca.adcs.rpc import LARGEST_REPLY, Channel, Dead
from certeasy.ca.adcs.security import Tampered
from tests.fakes.man_in_the_middle import man_in_the_middle
from tests.make.adcs import a_ca
from tests.make.adcs_admin import an_officer
from tests.make.adcs_client import PASSAGE, CertServerRequest, DCERPCSessionError
from tests.make.csrs import a_csr
from tests.make.enrolment import WEB_SERVER, enrolment, within

CSR = a_csr("web.lab.test")
OTHER = a_csr("other.lab.test")
PLAIN_ANSWER = struct.pack("<9I", 4242, 5, 0, 0, 0, 0, 0, 0, 0)
"""Pending, with an invented number."""


def flipped(packet, at, bit=1):
    changed = bytearray(packet)
    changed[at] ^= bit
    return bytes(changed)


def with_field(packet, at, form, *values):
    changed = bytearray(packet)
    struct.pack_into(form, changed, at, *values)
    return bytes(changed)


def unprotected(packet, body=PLAIN_ANSWER, kind=2):
    head = bytearray(packet[:24])
    struct.pack_into("<HH", head, 8, 24 + len(body), 0)
    head[2], head[3] = kind, 3
    return bytes(head) + body


def without_verifier(packet):
    """The same, only that it says that there is no verifier: all of it would be the answer."""
    return with_field(packet, 10, "<H", 0)


CHANGES = {
    "a bit of the signature": lambda packet: flipped(packet, -16 + 5),
    "the number in the signature": lambda packet: flipped(packet, -4),
    "a bit of what is sealed": lambda packet: flipped(packet, 24),
    "a bit of the request number": lambda packet: flipped(packet, 24, 0x40),
    "the hint of the size": lambda packet: flipped(packet, 16),
    "the padding": lambda packet: flipped(packet, -16 - 6),
    "more padding than there is answer": lambda packet: with_field(
        packet, len(packet) - 22, "<B", 255
    ),
    "the level": lambda packet: with_field(packet, len(packet) - 23, "<B", 5),
    "the provider": lambda packet: with_field(packet, len(packet) - 24, "<B", 9),
    "the security context": lambda packet: flipped(packet, -20),
    "no protection": unprotected,
    "no verifier": without_verifier,
    "an empty verifier": lambda packet: with_field(packet, 10, "<H", 1),
    "a fault": lambda packet: unprotected(packet, struct.pack("<II", 0x1C010014, 0), 3),
    "a fault that says that nothing was executed": lambda packet: with_field(
        unprotected(packet, struct.pack("<II", 0x1C010014, 0), 3), 3, "<B", 0x23
    ),
    "an empty fault": lambda packet: unprotected(packet, b"", 3),
    "another call": lambda packet: with_field(packet, 12, "<I", 1),
    "another interface": lambda packet: with_field(packet, 20, "<H", 1),
    "the middle of an answer": lambda packet: with_field(packet, 3, "<B", 2),
    "a request": lambda packet: with_field(packet, 2, "<B", 0),
    "a binding": lambda packet: with_field(packet, 2, "<B", 12),
    "another version": lambda packet: with_field(packet, 0, "<B", 4),
    "big-endian": lambda packet: with_field(packet, 4, "<B", 0),
    "a length of nothing": lambda packet: with_field(packet, 8, "<H", 0),
    "a length of less than a head": lambda packet: with_field(packet, 8, "<H", 20),
    "a length of more than was agreed": lambda packet: with_field(packet, 8, "<H", 0xFFFF),
    "a verifier that is longer than all": lambda packet: with_field(packet, 10, "<H", 0xFFF0),
    "no DCE/RPC": lambda packet: b"HTTP/1.1 200 OK\r\n\r\n" + packet,
    "the line": lambda packet: None,
}


@pytest.fixture(scope="module")
def one_ca():
    with a_ca() as ca:
        yield ca


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_changed_answer_to_a_submission_is_no_answer(change, one_ca):
    """The CA has issued by then, so all that is known is that something may exist."""
    changed = []

    def replies(number, packet):
        if number < 2 or changed:  # the first is of the proof
            return packet
        changed.append(packet)
        return change(packet)

    before = len(one_ca.issued)
    with man_in_the_middle(one_ca.port, replies) as middle:
        with enrolment(one_ca, port=middle.port) as client:
            with pytest.raises(AnswerLost):
                client.request(one_ca.name, CSR, WEB_SERVER, within())
            assert len(one_ca.issued) == before + 1
            # What failed is not used again.
            second = client.request(one_ca.name, OTHER, WEB_SERVER, within())
            assert second.certificate == one_ca.issued[before + 1]
        assert middle.connections == 2


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_nothing_is_submitted_where_the_first_answer_was_changed(change, one_ca):
    before = len(one_ca.requests)
    with man_in_the_middle(one_ca.port, lambda _, packet: change(packet)) as middle:
        with enrolment(one_ca, port=middle.port) as client:
            with pytest.raises(NotReached):
                client.request(one_ca.name, CSR, WEB_SERVER, within())
            with pytest.raises(NotReached):
                client.probe(one_ca.name, within())
        assert len(one_ca.requests) == before


def test_an_answer_is_good_once():
    """Replayed, with the number of the call that it is to answer."""
    kept = []

    def replies(number, packet):
        kept.append(packet)
        return packet if number < 3 else with_field(kept[1], 12, "<I", call_of(packet))

    with a_ca() as ca, man_in_the_middle(ca.port, replies) as middle:
        with enrolment(ca, port=middle.port) as client:
            first = client.request(ca.name, CSR, WEB_SERVER, within())
            with pytest.raises(AnswerLost):
                client.request(ca.name, OTHER, WEB_SERVER, within())
        assert first.certificate == ca.issued[0]
        assert len(ca.issued) == 2


def call_of(packet):
    return struct.unpack_from("<I", packet, 12)[0]


def test_a_late_answer_finds_nobody():
    """The CA takes longer than we wait; the next order gets its own certificate, not that one."""
    late, go_on = threading.Event(), threading.Event()

    def replies(number, packet):
        if number == 2 and not late.is_set():
            late.set()
            go_on.wait()
        return packet

    with a_ca() as ca, man_in_the_middle(ca.port, replies) as middle:
        with enrolment(ca, port=middle.port) as client:
            client.probe(ca.name, within())
            with pytest.raises(AnswerLost, match="no answer within"):
                client.request(ca.name, CSR, WEB_SERVER, within(1))
            assert late.is_set()
            go_on.set()
            second = client.request(ca.name, OTHER, WEB_SERVER, within())
        assert second.certificate == ca.issued[1]


@pytest.mark.parametrize("packet", ["empty", "full"])
def test_an_answer_without_end_ends(packet):
    """Fragments come and come, none of them the last."""

    def replies(number, answer):
        if number < 2:
            return answer
        one = unprotected(answer, b"" if packet == "empty" else bytes(4000))
        return with_field(one, 3, "<B", 1) + with_field(one, 3, "<B", 0) * (LARGEST_REPLY // 4000)

    with (
        a_ca() as ca,
        man_in_the_middle(ca.port, replies) as middle,
        enrolment(ca, port=middle.port) as client,
        pytest.raises(AnswerLost),
    ):
        client.request(ca.name, CSR, WEB_SERVER, within())


@pytest.mark.parametrize("number", [2, 3])
def test_no_fragment_of_an_answer_goes_missing(number):
    """A long answer comes in several; one of them is swallowed."""
    csr = a_csr(*(f"host-{number:03}.lab.test" for number in range(300)))
    with a_ca() as ca:
        with man_in_the_middle(ca.port) as middle, enrolment(ca, port=middle.port) as client:
            assert len(client.request(ca.name, csr, WEB_SERVER, within()).chain) > 4280
        with (
            man_in_the_middle(ca.port, lambda at, one: b"" if at == number else one) as middle,
            enrolment(ca, port=middle.port) as client,
            pytest.raises(AnswerLost),
        ):
            client.request(ca.name, csr, WEB_SERVER, within(5))


def impackets_way(ca, port, level=RPC_C_AUTHN_LEVEL_PKT_PRIVACY):
    """Return a channel as impacket's own code makes and uses one; DCOM does."""
    made = transport.DCERPCTransportFactory(f"ncacn_ip_tcp:{ca.host}[{port}]")
    made.set_credentials(ca.user, ca.password, ca.domain, "", "", "", None, None)
    channel = Channel(made)
    channel.set_credentials(*made.get_credentials())
    channel.set_auth_level(level)
    channel.connect()
    channel.bind(PASSAGE)
    return channel


def impackets_request(ca):
    call = CertServerRequest()
    call["dwFlags"] = 0
    call["pwszAuthority"] = ca.name + "\0"
    call["pdwRequestId"] = 0xFFFF_FFF0
    for blob in ("pctbAttribs", "pctbRequest"):
        call[blob]["cb"] = 0
        call[blob]["pb"] = NULL
    return call


def test_what_impacket_asks_for_through_a_channel_is_answered(one_ca):
    channel = impackets_way(one_ca, one_ca.port)
    for _ in range(2):
        with pytest.raises(DCERPCSessionError) as answer:
            channel.request(impackets_request(one_ca))
        assert answer.value.get_error_code() == 0x80094004  # there is no such request
        assert not channel.dead
    channel.disconnect()


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_impacket_asks_for_through_a_channel_is_as_safe(change, one_ca):
    with man_in_the_middle(one_ca.port, lambda _, packet: change(packet)) as middle:
        channel = impackets_way(one_ca, middle.port)
        with pytest.raises(Exception) as raised:  # noqa: PT011 - impacket's wire has its own
            channel.request(impackets_request(one_ca))
        assert not isinstance(raised.value, Dead | DCERPCSessionError)
        assert channel.dead
        with pytest.raises(Dead):
            channel.request(impackets_request(one_ca))
        channel.disconnect()


@pytest.mark.parametrize("level", [2, 3, 4, 5])
def test_whoever_asks_for_less_protection_has_all_of_it(level, one_ca):
    with man_in_the_middle(one_ca.port, lambda _, packet: unprotected(packet)) as middle:
        channel = impackets_way(one_ca, middle.port, level)
        with pytest.raises(Tampered, match="not protected"):
            channel.request(impackets_request(one_ca))
        channel.disconnect()


def test_what_impackets_objects_ask_for_goes_through_a_channel(one_ca, monkeypatch):
    """Its DCOM binds one connection again and again, and changes interfaces on another."""
    made = []

    def a_channel(wire):
        made.append(Channel(wire))
        return made[-1]

    monkeypatch.setattr(transport.DCERPCTransport, "get_dce_rpc", a_channel)
    with an_officer(one_ca) as officer:
        officer.ping()
        assert officer.property(0x06, 4) == f"{one_ca.name}\0".encode("utf-16-le")
        assert officer.resubmit(77) == 0x80094004
    assert made
    assert not any(each.dead for each in made)
