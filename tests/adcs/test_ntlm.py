"""NTLM on the wire is what MS-NLMP says, and takes no less protection than it asked for."""

import random
import struct

import impacket.ntlm
import pytest
from impacket.ntlm import getNTLMSSPType1, getNTLMSSPType3

from certeasy.ca.adcs import rpc
from certeasy.ca.adcs.ntlm import ASKED, NEEDED, Direction, NtlmContext
from certeasy.ca.adcs.security import Tampered

SESSION_KEY = b"U" * 16
HEAD = b"NTLMSSP\0" + struct.pack("<I", 2)
TIME = struct.pack("<HHQ", 7, 8, 133_000_000_000_000_000)


def a_challenge(flags=ASKED, pairs=TIME + bytes(4), start=48):
    return (
        HEAD + struct.pack("<HHIIQ8xHHI", 0, 0, 48, flags, 1, len(pairs), len(pairs), start) + pairs
    )


NAMED = a_challenge(pairs=TIME + struct.pack("<HH", 3, 2) + b"h\0" + bytes(4))


def a_context():
    context = NtlmContext("User", "Domain", "Password", target="host/ca1.lab.test")
    assert context.step(b"").startswith(b"NTLMSSP\0\1\0\0\0")
    return context


def test_a_message_is_sealed_as_in_the_example_of_the_specification():
    """MS-NLMP section 4.2.4.4."""
    ours = Direction(SESSION_KEY, "client-to-server")
    plain = "Plaintext".encode("utf-16-le")
    assert ours.crypt(plain).hex() == "54e50165bf1936dc996020c1811b0f06fb5f"
    assert ours.verifier(plain).hex() == "010000007fb38ec5c55d497600000000"


def test_the_numbers_of_messages_count_from_0():
    ours = Direction(SESSION_KEY, "client-to-server")
    assert [ours.verifier(b"")[12] for _ in range(3)] == [0, 1, 2]


def test_two_answers_to_one_challenge_have_nothing_random_in_common():
    one, other = (a_context().step(a_challenge()) for _ in range(2))
    assert len(one) == len(other)
    assert one[72:88] != other[72:88]  # the check over the messages
    assert one[-16:] != other[-16:]  # the session key


@pytest.mark.parametrize("bit", [bit for bit in range(32) if NEEDED >> bit & 1])
def test_a_server_that_offers_less_protection_is_refused(bit):
    with pytest.raises(Tampered, match="less protection"):
        a_context().step(a_challenge(flags=ASKED & ~(1 << bit)))


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b"NTLMSSP\0",
        HEAD.replace(b"\2", b"\3") + bytes(60),
        a_challenge(pairs=bytes(4)),
        a_challenge(pairs=TIME),
        a_challenge(pairs=struct.pack("<HH", 7, 900) + bytes(8)),
        a_challenge(start=49),
    ],
    ids=["nothing", "short", "another message", "no time", "no end", "too long", "cut off"],
)
def test_what_is_no_challenge_is_refused(token):
    context = a_context()
    with pytest.raises(Tampered):
        context.step(token)
    assert not context.complete


def test_there_is_no_fourth_message():
    context = a_context()
    context.step(a_challenge())
    with pytest.raises(Tampered, match="fourth"):
        context.step(b"x")


def test_a_hash_stands_for_its_password():
    context = NtlmContext("User", "Domain", nt_hash="a4f49c406510bdcab6824ee7c30fd852")
    assert context._hash == a_context()._hash  # MS-NLMP section 4.2.2.1.2


def test_impacket_draws_its_own_keys_from_the_operating_system():
    """It signs SMB with keys of its own; a generator that can be predicted would give them away.

    A tripwire: `certeasy.ca.adcs.rpc` replaces what it draws from.
    """
    random.seed(1)
    _, key = getNTLMSSPType3(getNTLMSSPType1(signingRequired=True), NAMED, "U", "P", "D")
    random.seed(1)
    _, other = getNTLMSSPType3(getNTLMSSPType1(signingRequired=True), NAMED, "U", "P", "D")
    assert len(key) == 16
    assert key != other
    assert impacket.ntlm.random is rpc._OperatingSystem
