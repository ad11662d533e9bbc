"""The messages of connection-oriented RPC as bytes: C706 chapter 12, MS-RPCE 2.2.2.

 0  version 5, minor 0, type, flags        the header, 16 bytes, little-endian
 4  data representation 10 00 00 00
 8  fragment length, length of the token   u16, u16
12  call id                                u32
16  the body, by type
    padding, sec_trailer (8), token        only where there is a token
"""

import struct
from uuid import UUID

from msgspec import Struct

from tools.adcs_sim.ndr import BadStub, Reader, Writer

REQUEST, RESPONSE, FAULT = 0, 2, 3
BIND, BIND_ACK, BIND_NAK, ALTER_CONTEXT, ALTER_CONTEXT_RESP, AUTH3 = 11, 12, 13, 14, 15, 16
CO_CANCEL, ORPHANED = 18, 19

FIRST, LAST, DID_NOT_EXECUTE, OBJECT = 0x01, 0x02, 0x20, 0x80
WHOLE = FIRST | LAST

HEADER = struct.Struct("<BBBB4sHHI")
TRAILER = struct.Struct("<BBBBI")
LITTLE_ENDIAN = b"\x10\0\0\0"
HEADER_LENGTH, TRAILER_LENGTH, CALL_LENGTH = 16, 8, 24
MOST = 0xFFFF
"""The length of a fragment is told in 16 bits."""

NDR = UUID("8a885d04-1ceb-11c9-9fe8-08002b104860")
_BIND_TIME_FEATURES = "6cb71c2c-9812-4540-"
"""Transfer syntaxes that begin so are none: they offer features (MS-RPCE 3.3.1.5.3)."""
MOST_CONTEXTS = 16


class Trailer(Struct, frozen=True):
    """What stands before a token: who protects, how much, how much padding, which context."""

    kind: int
    level: int
    padding: int
    context: int

    def encode(self) -> bytes:
        """Return its 8 bytes."""
        return TRAILER.pack(self.kind, self.level, self.padding, 0, self.context)


class Pdu(Struct, frozen=True):
    """A message that came in. `raw` is all of it; `body` stands between header and trailer."""

    kind: int
    flags: int
    call_id: int
    body: bytes
    raw: bytes
    trailer: Trailer | None = None
    token: bytes = b""

    @property
    def target(self) -> UUID | None:
        """Of a request: the object that it names."""
        if not self.flags & OBJECT:
            return None
        return UUID(bytes_le=self.raw[CALL_LENGTH : CALL_LENGTH + HEADER_LENGTH])

    @property
    def head(self) -> bytes:
        """Of a request: all that stands before its stub, the object's id included."""
        return self.raw[: CALL_LENGTH + (HEADER_LENGTH if self.flags & OBJECT else 0)]


class Offered(Struct, frozen=True):
    """A presentation context of a BIND: this interface, by one of those transfer syntaxes."""

    number: int
    interface: UUID
    syntaxes: tuple[UUID, ...]

    @property
    def features(self) -> bool:
        """Whether it only offers features."""
        return any(str(one).startswith(_BIND_TIME_FEATURES) for one in self.syntaxes)


class Bind(Struct, frozen=True):
    """The body of a BIND or ALTER_CONTEXT."""

    most_sent: int
    most_received: int
    group: int
    contexts: tuple[Offered, ...]


def length_of(header: bytes) -> int:
    """Return how long a message is, by its first 16 bytes. Raises BadStub if it is none."""
    major, minor, _, _, drep, length, token, _ = HEADER.unpack(header[:HEADER_LENGTH])
    if major != 5 or minor > 1 or drep[0] != LITTLE_ENDIAN[0]:  # noqa: PLR2004 - RPC's version
        raise BadStub("this is no RPC")
    if length < HEADER_LENGTH + (token + TRAILER_LENGTH if token else 0):
        raise BadStub(f"a fragment of {length} with a token of {token}")
    return int(length)


def parse(raw: bytes) -> Pdu:
    """Return the message in exactly these bytes. Raises BadStub."""
    if len(raw) < HEADER_LENGTH or length_of(raw) != len(raw):
        raise BadStub("more or less than one message")
    _, _, kind, flags, _, _, token, call_id = HEADER.unpack_from(raw)
    if not token:
        return Pdu(kind, flags, call_id, raw[HEADER_LENGTH:], raw)
    at = len(raw) - token - TRAILER_LENGTH
    auth, level, padding, _, context = TRAILER.unpack_from(raw, at)
    return Pdu(
        kind,
        flags,
        call_id,
        raw[HEADER_LENGTH:at],
        raw,
        Trailer(auth, level, padding, context),
        raw[at + TRAILER_LENGTH :],
    )


def parse_bind(body: bytes) -> Bind:
    """Return what a BIND or ALTER_CONTEXT asks for. Raises BadStub."""
    reader = Reader(body)
    sent, received, group = reader.u16(), reader.u16(), reader.u32()
    count = reader.u8()
    reader.raw(3)
    if count > MOST_CONTEXTS:
        raise BadStub(f"{count} presentation contexts")
    return Bind(sent, received, group, tuple(_offered(reader) for _ in range(count)))


def _offered(reader: Reader) -> Offered:
    number, syntaxes = reader.u16(), reader.u8()
    reader.raw(1)
    interface = reader.uuid()
    reader.raw(4)
    return Offered(number, interface, tuple(_syntax(reader) for _ in range(syntaxes)))


def _syntax(reader: Reader) -> UUID:
    syntax = reader.uuid()
    reader.raw(4)
    return syntax


def message(
    kind: int,
    call_id: int,
    body: bytes,
    *,
    flags: int = WHOLE,
    trailer: Trailer | None = None,
    token: bytes = b"",
) -> bytes:
    """Return a whole message. Where there is a trailer, `body` holds the padding already."""
    end = trailer.encode() + token if trailer else b""
    return header(kind, call_id, len(body) + len(end), len(token), flags) + body + end


def header(kind: int, call_id: int, following: int, token: int, flags: int) -> bytes:
    """Return the 16 bytes before that many others, of which the token is the last `token`."""
    length = HEADER_LENGTH + following
    return HEADER.pack(5, 0, kind, flags, LITTLE_ENDIAN, length, token, call_id)


def fault_body(context: int, status: int) -> bytes:
    """Return the body of a FAULT."""
    return struct.pack("<IHBBII", 32, context, 0, 0, status, 0)


def nak_body(reason: int) -> bytes:
    """Return the body of a BIND_NAK: the reason, and the one protocol version that is spoken."""
    return struct.pack("<HBBB", reason, 1, 5, 0)


def ack_body(most: int, group: int, address: str, results: list[tuple[int, int]]) -> bytes:
    """Return the body of a BIND_ACK or ALTER_CONTEXT_RESP: a (result, reason) per context."""
    port = address.encode() + b"\0" if address else b""
    writer = Writer().u16(most).u16(most).u32(group).u16(len(port)).raw(port).align(4)
    writer.u8(len(results)).raw(bytes(3))
    for result, reason in results:
        writer.u16(result).u16(reason)
        accepted = not result
        writer.raw(NDR.bytes_le if accepted else bytes(16)).u32(2 if accepted else 0)
    return writer.done()
