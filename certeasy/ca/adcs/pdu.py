"""The packets of connection-oriented DCE/RPC, as a client writes and reads them.

C706 chapter 12 and MS-RPCE section 2.2.2. Only what this client needs is here, and what it reads
is held against what may come: whatever else a server sends is refused, by raising Tampered, before
anything is done with it.
"""

import struct
from collections.abc import Sequence

from msgspec import Struct

from certeasy.ca.adcs.security import Tampered

REQUEST, RESPONSE, FAULT, BIND, BIND_ACK, BIND_NAK = 0, 2, 3, 11, 12, 13
ALTER_CONTEXT, ALTER_CONTEXT_RESPONSE, AUTH3 = 14, 15, 16
FIRST, LAST, WITH_OBJECT = 0x01, 0x02, 0x80
LITTLE_ENDIAN = 0x10

COMMON = struct.Struct("<BBBBIHHI")
"""Version and its minor part, kind, flags, representation, length, verifier's length, call id."""
CALL = struct.Struct("<IHH")
"""Behind it in a request or a response: a hint of the size, presentation context, and method."""
TRAILER = struct.Struct("<BBBBI")
"""Before a verifier: provider, level, padding, reserved, security context. MS-RPCE 2.2.2.11."""
HEADER_SIZE = COMMON.size + CALL.size
UUID_SIZE = 16
SYNTAX_SIZE = 20

LARGEST_FRAGMENT = 4280
"""What we take, and so the largest that a server may send."""
SMALLEST_FRAGMENT = 1432
"""What every implementation has to take. C706 section 12.6.3.8 (MustRecvFragSize)."""

NDR = bytes.fromhex("045d888aeb1cc9119fe808002b10486002000000")
"""The transfer syntax 8a885d04-1ceb-11c9-9fe8-08002b104860, version 2.0."""
UNKNOWN_INTERFACE = 0x1C01_0003

ACCEPTED = 0
REJECTED_BY_PROVIDER = 2
ABSTRACT_SYNTAX_NOT_SUPPORTED = 1
NAK_REASONS = {
    1: "temporary congestion",
    2: "local limit exceeded",
    4: "protocol version not supported",
    8: "authentication type not recognized",
    9: "invalid checksum",
}
"""MS-RPCE section 2.2.2.5."""


class Packet(Struct, frozen=True):
    """One packet as it came: `head` is everything before `body`, `body` is still encrypted.

    `trailer` and `verifier` are empty if there is none.
    """

    kind: int
    flags: int
    call_id: int
    head: bytes
    body: bytes
    trailer: bytes
    verifier: bytes


class Accepted(Struct, frozen=True):
    """What a server answers to a binding that it takes."""

    largest_request: int
    token: bytes


def length_of(start: bytes) -> int:
    """Return the length of the packet that begins with these 16 bytes."""
    major, minor, _, _, representation, length, verifier, _ = COMMON.unpack(start)
    if major != 5 or minor > 1 or representation != LITTLE_ENDIAN:  # noqa: PLR2004 - version 5
        raise Tampered("what the server sends is no DCE/RPC")
    if not COMMON.size + verifier <= length <= LARGEST_FRAGMENT:
        raise Tampered(f"the server sends a packet of {length} bytes, {verifier} of them verifier")
    return int(length)


def read(data: bytes) -> Packet:
    """Take a packet apart that is as long as `length_of` says."""
    _, _, kind, flags, _, length, size, call_id = COMMON.unpack_from(data)
    head = HEADER_SIZE if kind in (REQUEST, RESPONSE, FAULT) else COMMON.size
    end = length - size - TRAILER.size if size else length
    if end < head:
        raise Tampered(f"the server sends a packet of {length} bytes that has no room for its head")
    return Packet(
        kind=kind,
        flags=flags,
        call_id=call_id,
        head=data[:head],
        body=data[head:end],
        trailer=data[end : end + TRAILER.size] if size else b"",
        verifier=data[length - size : length] if size else b"",
    )


def write(kind: int, call_id: int, body: bytes, trailer: bytes = b"", token: bytes = b"") -> bytes:
    """Return a packet that is no request. `body` is as long as a trailer behind it wants it."""
    length = COMMON.size + len(body) + len(trailer) + len(token)
    head = COMMON.pack(5, 0, kind, FIRST | LAST, LITTLE_ENDIAN, length, len(token), call_id)
    return head + body + trailer + token


def request_head(
    flags: int, call_id: int, context: int, method: int, left: int, rest: int, verifier: int
) -> bytes:
    """Return the head of one fragment of a request; `rest` is the length of all that follows it."""
    length = HEADER_SIZE + rest
    head = COMMON.pack(5, 0, REQUEST, flags, LITTLE_ENDIAN, length, verifier, call_id)
    return head + CALL.pack(left, context, method)


def binding(interface: bytes, context: int) -> bytes:
    """Return the body of a BIND or ALTER_CONTEXT: one interface, one syntax."""
    sizes = struct.pack("<HHIB3x", LARGEST_FRAGMENT, LARGEST_FRAGMENT, 0, 1)
    return sizes + struct.pack("<HBx", context, 1) + interface + NDR


def read_accepted(packet: Packet) -> Accepted:
    """Read a BIND_ACK or an ALTER_CONTEXT_RESPONSE. Raises Tampered, also where it says no to us.

    What it says is protected by nothing: all that can be done with it is to make us give up.
    """
    try:
        _, largest, _, address = struct.unpack_from("<HHIH", packet.body)
        at = 10 + address
        at += -(COMMON.size + at) % 4
        results = packet.body[at]
        result, reason = struct.unpack_from("<HH", packet.body, at + 4)
        syntax = packet.body[at + 8 : at + 8 + SYNTAX_SIZE]
    except (struct.error, IndexError):
        raise Tampered("the server's answer to the binding is cut off") from None
    if results != 1:
        raise Tampered(f"one interface was bound, and the server answers for {results}")
    if result != ACCEPTED:
        raise ContextRejected(result, reason)
    if syntax != NDR:
        raise Tampered("the server chose a transfer syntax that was not offered")
    if largest < SMALLEST_FRAGMENT:
        raise Tampered(f"the server takes no more than {largest} bytes at once")
    return Accepted(largest_request=largest, token=packet.verifier)


class ContextRejected(Exception):
    """The server has no such interface, or none for us."""

    def __init__(self, result: int, reason: int) -> None:
        super().__init__(f"the server does not offer the interface ({result}, {reason})")
        self.unknown = (result, reason) == (REJECTED_BY_PROVIDER, ABSTRACT_SYNTAX_NOT_SUPPORTED)


def read_nak(packet: Packet) -> int:
    """Return why a binding was refused; 0 if that cannot be read."""
    return int.from_bytes(packet.body[:2], "little")


def read_fault(packet: Packet) -> int:
    """Return the code of a fault; 0 if it cannot be read."""
    return int.from_bytes(packet.body[:4], "little")


def fragments(stub: bytes, room: int) -> Sequence[bytes]:
    """Cut a stub into parts that fit; none of them is empty but that of an empty stub."""
    return [stub[at : at + room] for at in range(0, len(stub), room)] or [b""]
