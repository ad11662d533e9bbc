"""The PROXY protocol's headers, as haproxy.org's proxy-protocol.txt writes them."""

import socket
from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certeasy.serve.proxy_header import LONGEST, SIGNATURE_2, Ahead, ProxyHeader, read

V1 = b"PROXY TCP4 198.51.100.22 203.0.113.7 35646 443\r\n"
V1_SIX = b"PROXY TCP6 2001:db8::1 2001:db8::2 35646 443\r\n"
TLS = b"\x16\x03\x01"
CLIENT = ("198.51.100.22", 35646)


def version_2(head: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return SIGNATURE_2 + head + len(body).to_bytes(2) + body


V2 = version_2(
    b"\x21\x11", bytes([198, 51, 100, 22]), bytes([203, 0, 113, 7]), b"\x8b\x3e", b"\x01\xbb"
)


def six(text: str) -> bytes:
    return IPv6Address(text).packed + bytes(16) + b"\x8b\x3e" + b"\x01\xbb"


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (V1, CLIENT),
        (V1_SIX, ("2001:db8::1", 35646)),
        (b"PROXY TCP6 ::ffff:198.51.100.22 ::1 35646 443\r\n", CLIENT),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
        (V2, CLIENT),
        (version_2(b"\x21\x21", six("2001:db8::1")), ("2001:db8::1", 35646)),
        (version_2(b"\x21\x21", six("::ffff:198.51.100.22")), CLIENT),
        # What else the proxy has to say (here: no operation, four octets) is passed over.
        (version_2(b"\x21\x11", V2[16:], b"\x04\x00\x04abcd"), CLIENT),
        # The proxy speaks for itself: it looks whether somebody is there.
        (version_2(b"\x20\x00"), None),
        (version_2(b"\x20\x11", V2[16:]), None),
        (version_2(b"\x21\x00"), None),
        (version_2(b"\x21\x31", bytes(216)), None),
    ],
)
def test_a_header_says_who_the_client_is(header: bytes, client: tuple[str, int] | None) -> None:
    assert read(header) == ProxyHeader(len(header), client)
    assert read(header + TLS) == ProxyHeader(len(header), client)
    assert all(read(header[:count]) is None for count in range(len(header)))


@pytest.mark.parametrize(
    ("header", "what"),
    [
        (TLS, "begins otherwise"),
        (b"GET / HTTP/1.1\r\n", "begins otherwise"),
        (b"\r\nGET", "begins otherwise"),
        (b"PROXY TCP4 198.51.100.22 203.0.113.7 35646\r\n", "its line is not"),
        (b"PROXY TCP4  198.51.100.22 203.0.113.7 35646 443\r\n", "its line is not"),
        (b"PROXY UDP4 198.51.100.22 203.0.113.7 35646 443\r\n", "its line is not"),
        (b"PROXY TCP4 198.51.100.256 203.0.113.7 35646 443\r\n", "not permitted|Octet"),
        (b"PROXY TCP4 2001:db8::1 203.0.113.7 35646 443\r\n", "2001:db8::1"),
        (b"PROXY TCP6 fe80::1%eth0 ::1 35646 443\r\n", "of a zone"),
        (b"PROXY TCP4 198.51.100.22 203.0.113.7 65536 443\r\n", "a port in it is none"),
        (b"PROXY TCP4 198.51.100.22 203.0.113.7 35646 x\r\n", "a port in it is none"),
        (b"PROXY TCP4 198.51.100.22 203.0.113.7 35646 9999999\r\n", "a port in it is none"),
        (b"PROXY " + b"x" * 101, "does not end within 107"),
        (version_2(b"\x11\x11", V2[16:]), "0x11"),
        (version_2(b"\x22\x11", V2[16:]), "0x22"),
        (version_2(b"\x21\x12", V2[16:]), "TCP is served alone"),
        (version_2(b"\x21\x41", V2[16:]), "TCP is served alone"),
        (version_2(b"\x21\x11", V2[16:-1]), "too short"),
        (version_2(b"\x21\x21", V2[16:]), "too short"),
        (version_2(b"\x21\x11", bytes(LONGEST)), "at most 4096"),
    ],
)
def test_what_is_no_such_header_is_told(header: bytes, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        read(header)


@given(st.binary(max_size=300), st.sampled_from([b"", b"PROXY ", SIGNATURE_2, V1[:20], V2[:16]]))
def test_whatever_comes_is_read_or_refused(rest: bytes, begin: bytes) -> None:
    """All that is not complete is its own; all that is, is as long as it says."""
    try:
        found = read(begin + rest)
    except ValueError:
        return
    assert found is None or 0 < found.length <= len(begin + rest)


@pytest.mark.parametrize("header", [V1, V2])
@pytest.mark.parametrize("step", [1, 5, 1000])
def test_nothing_behind_it_is_taken(header: bytes, step: int) -> None:
    """However the network cuts it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ahead, sent, found = Ahead(), header + TLS, None
        for begin in range(0, len(sent), step):
            theirs.sendall(sent[begin : begin + step])
            if found is None:
                found = ahead.take(ours)
        assert found == ProxyHeader(len(header), CLIENT)
        assert ours.recv(100) == TLS


def test_who_ends_in_the_midst_of_it_is_told_apart() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.sendall(V1[:10])
        theirs.close()
        ahead = Ahead()
        assert ahead.take(ours) is None
        with pytest.raises(EOFError):
            ahead.take(ours)
