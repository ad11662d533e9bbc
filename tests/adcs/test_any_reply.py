"""Any bytes at all in the place of a reply: never an answer, never a wait without end."""

import struct

from hypothesis import given
from hypothesis import strategies as st

import certeasy.ca.adcs.pdu as packets
from certeasy.ca.adcs import gss, mapper
from certeasy.ca.adcs.errors import Fault, HResult, NotReached
from certeasy.ca.adcs.ndr import INTERFACE, read_reply
from certeasy.ca.adcs.ntlm import NtlmContext
from certeasy.ca.adcs.rpc import Channel
from certeasy.ca.adcs.security import Refused, Tampered
from tests.adcs.test_ntlm import a_challenge
from tests.fakes.played_line import Played

NEVER_AN_ANSWER = (Tampered, Fault, ConnectionResetError)


def a_packet(kind, flags, call_id, head, body, size):
    """Return what begins as a packet does."""
    rest = head + body
    return struct.pack("<BBBBIHHI", 5, 0, kind, flags, 0x10, 16 + len(rest), size, call_id) + rest


PACKETS = st.builds(
    a_packet,
    st.sampled_from([0, 2, 2, 2, 3, 12, 13, 15, 255]),
    st.integers(0, 255),
    st.sampled_from([0, 1, 2, 2, 3]),
    st.binary(max_size=8),
    st.binary(max_size=200),
    st.sampled_from([0, 8, 16, 16, 100]),
)
SENT = st.one_of(
    st.binary(max_size=300),
    st.lists(st.one_of(PACKETS, st.binary(max_size=40)), max_size=6).map(b"".join),
)


def refused(call, *expected):
    """Make sure that it is refused as what it is."""
    try:
        call()
    except expected:
        return True
    return False


@given(SENT)
def test_no_bytes_are_a_reply(data):
    security = NtlmContext("user", "domain", "password")
    security.step(b"")
    security.step(a_challenge())
    channel = Channel(Played(data), security)
    channel._room = 4280
    channel._line.call_id = 1
    assert refused(lambda: channel.exchange(0, b"stub"), *NEVER_AN_ANSWER)
    assert channel.dead


@given(SENT)
def test_no_bytes_take_a_binding_further_than_a_first_call(data):
    """What binds is not protected; so it may succeed, and the first reply is the proof."""

    def bind_and_call():
        channel = Channel(Played(data), NtlmContext("user", "domain", "password"))
        channel.bind(INTERFACE)
        channel.exchange(0, b"stub")

    assert refused(bind_and_call, *NEVER_AN_ANSWER)


@given(st.binary(max_size=120))
def test_no_bytes_are_read_as_more_than_they_are(data):
    try:
        reply = read_reply(data)
    except (Tampered, HResult):
        return
    said = 9 * 4 + len(reply.chain) + len(reply.certificate)
    assert len(data) >= said


@given(st.binary(max_size=200))
def test_a_mapper_tells_a_port_or_nothing(data):
    try:
        port = mapper.read_answer(data)
    except (Tampered, NotReached):
        return
    assert 0 < port < 65536


@given(st.one_of(st.binary(max_size=100), st.binary(max_size=100).map(gss._reply)))
def test_no_bytes_are_an_answer_to_a_ticket(data):
    try:
        token = gss._answer(data)
        assert isinstance(gss._unframed(token), bytes)
    except (Tampered, Refused):
        pass


@given(st.binary(min_size=16, max_size=16))
def test_a_length_is_within_what_was_agreed(start):
    try:
        length = packets.length_of(start)
    except Tampered:
        return
    assert packets.COMMON.size <= length <= packets.LARGEST_FRAGMENT
