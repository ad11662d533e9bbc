"""What a proxy says ahead of a connection about who is behind it: the PROXY protocol, versions 1
(a line of text) and 2 (binary), as haproxy.org/download/2.8/doc/proxy-protocol.txt has it.

Nothing is guessed: whoever is to send such a header and does not is not served.
"""

import socket
from ipaddress import IPv4Address, IPv6Address

from msgspec import Struct

SIGNATURE_2 = b"\r\n\r\n\0\r\nQUIT\n"
_HEAD_2 = len(SIGNATURE_2) + 4
"""Signature, version and command, family and protocol, length of what follows."""
_LOCAL, _PROXY = 0x20, 0x21
_STREAM = 1
_UNKNOWN = 0
_FAMILIES_2: dict[int, tuple[int, type[IPv4Address] | type[IPv6Address]]] = {
    1: (4, IPv4Address),
    2: (16, IPv6Address),
}
_UNIX = 3
_PORT = 2
_LAST_PORT = 0xFFFF

SIGNATURE_1 = b"PROXY "
LONGEST_1 = 107
"""Octets of a line of version 1."""
_FAMILIES_1: dict[str, type[IPv4Address] | type[IPv6Address]] = {
    "TCP4": IPv4Address,
    "TCP6": IPv6Address,
}

LONGEST = 4096
"""Octets of a header: the addresses, and what a proxy may have to add (a client certificate's
name, its own identifiers), which is passed over."""


class ProxyHeader(Struct, frozen=True):
    """A header that is complete: how many octets it has, and whom the proxy speaks for: address
    and port; None: for itself, or for somebody who has no such address."""

    length: int
    client: tuple[str, int] | None


def read(data: bytes) -> ProxyHeader | None:
    """Read the header that `data` begins with; None: it is not complete yet, and all of `data`
    belongs to it. Raises ValueError for what is no such header."""
    if not data:
        return None
    if data[:1] == SIGNATURE_2[:1]:
        return _binary(data)
    return _line(data)


def _binary(data: bytes) -> ProxyHeader | None:
    if not data.startswith(SIGNATURE_2[: len(data)]):
        raise ValueError("it begins otherwise")
    if len(data) < _HEAD_2:
        return None
    command, family, protocol = data[12], data[13] >> 4, data[13] & 0x0F
    size = int.from_bytes(data[14:_HEAD_2])
    if command not in {_LOCAL, _PROXY}:
        raise ValueError(f"version and command are 0x{command:02x}, not 0x20 or 0x21")
    if _HEAD_2 + size > LONGEST:
        raise ValueError(f"it has {_HEAD_2 + size} octets; at most {LONGEST} are read")
    if len(data) < _HEAD_2 + size:
        return None
    if command == _LOCAL or family in {_UNKNOWN, _UNIX}:
        return ProxyHeader(_HEAD_2 + size, None)
    if family not in _FAMILIES_2 or protocol != _STREAM:
        raise ValueError(f"family and protocol are 0x{data[13]:02x}; TCP is served alone")
    width, kind = _FAMILIES_2[family]
    if size < 2 * (width + _PORT):
        raise ValueError("it is too short for its addresses")
    body = data[_HEAD_2:]
    port = int.from_bytes(body[2 * width : 2 * width + _PORT])
    return ProxyHeader(_HEAD_2 + size, (_plain(kind(body[:width])), port))


def _line(data: bytes) -> ProxyHeader | None:
    if not data.startswith(SIGNATURE_1[: len(data)]):
        raise ValueError("it begins otherwise")
    line, end, _ = data[:LONGEST_1].partition(b"\r\n")
    if not end:
        if len(data) >= LONGEST_1:
            raise ValueError(f"its line does not end within {LONGEST_1} octets")
        return None
    length = len(line) + len(end)
    match line.decode("ascii", "replace").split(" "):
        case ["PROXY", "UNKNOWN", *_]:
            return ProxyHeader(length, None)
        case ["PROXY", "TCP4" | "TCP6" as family, source, destination, port, its_port]:
            kind = _FAMILIES_1[family]
            kind(destination)
            _number(its_port)
            return ProxyHeader(length, (_plain(kind(source)), _number(port)))
        case _:
            raise ValueError("its line is not PROXY, TCP4 or TCP6, two addresses and two ports")


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= len("65535")):
        raise ValueError("a port in it is none")
    if int(text) > _LAST_PORT:
        raise ValueError("a port in it is none")
    return int(text)


def _plain(address: IPv4Address | IPv6Address) -> str:
    """Write an address; one in a zone ("%eth0") means nothing here."""
    if getattr(address, "scope_id", None):
        raise ValueError("an address in it is of a zone of the proxy's own")
    return str(getattr(address, "ipv4_mapped", None) or address)


class Ahead:
    """The header of one connection, as its octets arrive."""

    def __init__(self) -> None:
        self._held = b""

    def take(self, sock: socket.socket) -> ProxyHeader | None:
        """Take from a socket what belongs to the header, and nothing behind it; None: more is to
        come. Raises what `recv` raises, EOFError if the other side ends, and ValueError."""
        # Past the TLS state of a socket that has one: this comes ahead of it.
        seen = socket.socket.recv(sock, LONGEST - len(self._held), socket.MSG_PEEK)
        if not seen:
            raise EOFError("the connection ended in it")
        found = read(self._held + seen)
        size = len(seen) if found is None else found.length - len(self._held)
        self._held += socket.socket.recv(sock, size)
        return found
