"""How an object is made from afar: IRemoteSCMActivator::RemoteCreateInstance.

MS-DCOM section 3.1.2.5.2.3.3, and 2.2 for what travels.

What is asked for and what comes back is a blob of properties (2.2.22), each serialized on its own,
inside an object reference, inside a parameter. Four properties are sent, those that a server needs:
which class and interface, from where, and by which protocol. Of those that come back two count:
the interface's id (IPID), and the port where it is called.
"""

import struct
from uuid import UUID

from msgspec import Struct

from certeasy.ca.adcs.errors import HResult
from certeasy.ca.adcs.ndr import Reader, Writer
from certeasy.ca.adcs.security import Tampered

ACTIVATOR = UUID("000001a0-0000-0000-c000-000000000046").bytes_le + bytes(4)
CREATE_INSTANCE = 4

VERSION = struct.pack("<HH", 5, 7)
MEOW = 0x574F454D
STANDARD, CUSTOM = 1, 4
TCP = 7
LAST_PORT = 65535
FROM_ANOTHER_MACHINE = 2
SERIALIZED = struct.pack("<BBHI", 1, 0x10, 8, 0xCCCC_CCCC)
EXTENSIONS = 16
MOST = 16
"""So many properties, interfaces or extensions are read; there are two, one and none."""

INSTANTIATION = UUID("000001ab-0000-0000-c000-000000000046").bytes_le
CONTEXT = UUID("000001a5-0000-0000-c000-000000000046").bytes_le
LOCATION = UUID("000001a4-0000-0000-c000-000000000046").bytes_le
REQUEST = UUID("000001aa-0000-0000-c000-000000000046").bytes_le
PROPERTIES_IN = UUID("00000338-0000-0000-c000-000000000046").bytes_le
I_PROPERTIES_IN = UUID("000001a2-0000-0000-c000-000000000046").bytes_le
PROPERTIES_OUT = UUID("00000339-0000-0000-c000-000000000046").bytes_le
REPLY = UUID("000001b6-0000-0000-c000-000000000046").bytes_le


class Exported(Struct, frozen=True):
    """An interface of an object that was made: how it is named, and at which port it is called."""

    ipid: bytes
    port: int


def orpc_this(cause: bytes) -> Writer:
    """Begin a call: `cause` is what this and all calls that it brings about share. 2.2.13.3."""
    return Writer().raw(VERSION).number(0).number(0).raw(cause).number(0)


def orpc_that(stub: bytes) -> Reader:
    """Begin to read an answer: return what reads its results. 2.2.13.4."""
    reader = Reader(stub)
    reader.number()
    if not reader.number():
        return reader
    # Extensions, such as details of an error: their lengths are of use, to pass over them.
    count, _ = reader.number(), reader.number()
    if reader.number():
        reader.number()
        pointers = [reader.number() for _ in range(_few(count + count % 2))]
        for _ in filter(None, pointers):
            size = reader.number()
            reader.raw(EXTENSIONS + 4 + size)
    return reader


def question(clsid: bytes, interface: bytes, cause: bytes) -> bytes:
    """Return the stub that asks for an object of a class, by one of its interfaces."""
    wanted = Writer().raw(clsid)
    wanted.number(0).number(0).number(0).number(1).number(0).number(_SOMEWHERE)
    wanted.number(0).raw(VERSION).number(1).raw(interface)
    context = Writer().raw(bytes(24))
    location = Writer().raw(bytes(16))
    request = Writer().number(0).number(_SOMEWHERE)
    request.number(0).raw(struct.pack("<HH", 1, 0)).number(_SOMEWHERE + 4)
    request.number(1).raw(struct.pack("<H", TCP))
    classes = (INSTANTIATION, CONTEXT, LOCATION, REQUEST)
    parts = [_serialized(part) for part in (wanted, context, location, request)]
    blob = _blob(classes, parts)
    reference = Writer().number(MEOW).number(CUSTOM).raw(I_PROPERTIES_IN).raw(PROPERTIES_IN)
    reference.number(0).number(len(blob) + 8).raw(blob)
    data = reference.done()
    stub = orpc_this(cause).number(0).number(_SOMEWHERE)
    return stub.number(len(data)).number(len(data)).raw(data).done()


def answer(stub: bytes) -> Exported:
    """Return what was made. Raises HResult where nothing was, Tampered for what says nothing."""
    reader = orpc_that(stub)
    if not reader.number():
        raise HResult(reader.number())
    length = reader.number()
    if reader.number() != length:
        raise Tampered("what was made is told with two lengths")
    data = reader.raw(length)
    code = reader.number()
    reader.end()
    if code:
        raise HResult(code)
    properties = _properties(_custom(data))
    try:
        return Exported(_ipid(properties[PROPERTIES_OUT]), _port(properties[REPLY]))
    except KeyError:
        raise Tampered("it is not told what was made, or where it is") from None


_SOMEWHERE = 0x0002_0000
"""A pointer to what follows. What the number is means nothing."""


def _blob(classes: tuple[bytes, ...], parts: list[bytes]) -> bytes:
    """Return an activation properties blob: 2.2.22."""
    length = len(_header(classes, parts, 0))
    header = _header(classes, parts, length)
    size = length + sum(len(part) for part in parts)
    return struct.pack("<II", size, 0) + header + b"".join(parts)


def _header(classes: tuple[bytes, ...], parts: list[bytes], length: int) -> bytes:
    """Return a CustomHeader: 2.2.22.1."""
    total = length + sum(len(part) for part in parts)
    writer = Writer().number(total).number(length).number(0).number(FROM_ANOTHER_MACHINE)
    writer.number(len(parts)).raw(bytes(16))
    writer.number(_SOMEWHERE).number(_SOMEWHERE + 4).number(0)
    writer.number(len(classes)).raw(b"".join(classes)).number(len(parts))
    for part in parts:
        writer.number(len(part))
    return _serialized(writer)


def _serialized(writer: Writer) -> bytes:
    """Return a structure by type serialization, version 1: MS-RPCE 2.2.6."""
    data = writer.done()
    data += bytes(-len(data) % 8)
    return SERIALIZED + struct.pack("<II", len(data), 0) + data


def _inside(serialized: bytes) -> Reader:
    if serialized[:4] != SERIALIZED[:4]:
        raise Tampered("a property of what was made is serialized in another way")
    return Reader(serialized[16:])


def _custom(reference: bytes) -> bytes:
    """Return the blob in a custom object reference: 2.2.18.6."""
    reader = Reader(reference)
    if reader.number() != MEOW or reader.number() != CUSTOM:
        raise Tampered("what was made is told by another kind of reference")
    reader.raw(16 + 16 + 4 + 4)
    return reference[48:]


def _properties(blob: bytes) -> dict[bytes, bytes]:
    """Return the serialized properties by class."""
    reader = _inside(blob[8:])
    reader.number()
    length = reader.number()
    reader.raw(8)
    count = _few(reader.number())
    reader.raw(16)
    has_classes, has_sizes, _ = reader.number(), reader.number(), reader.number()
    if not (has_classes and has_sizes) or reader.number() != count:
        raise Tampered("the properties of what was made are not told apart")
    classes = [reader.raw(16) for _ in range(count)]
    if reader.number() != count:
        raise Tampered("there are as many properties as classes of them")
    sizes = [reader.number() for _ in range(count)]
    rest = Reader(blob[8 + length :])
    return {one: rest.raw(size) for one, size in zip(classes, sizes, strict=True)}


def _ipid(serialized: bytes) -> bytes:
    """Return the id of the one interface, out of PropsOutInfo: 2.2.22.2.9."""
    reader = _inside(serialized)
    count = _few(reader.number())
    reader.raw(12)
    if count != 1:
        raise Tampered("another number of interfaces was made than was asked for")
    reader.raw(4 + 16 + 4)
    code = reader.number()
    if code:
        raise HResult(code)
    reader.number()
    if not reader.number():
        raise Tampered("an interface was made, and it is not told which")
    reader.number()
    reference = Reader(reader.raw(reader.number()))
    if reference.number() != MEOW or reference.number() != STANDARD:
        raise Tampered("the interface is told by another kind of reference")
    reference.raw(16 + 4 + 4 + 8 + 8)
    return reference.raw(16)


def _port(serialized: bytes) -> int:
    """Return the first TCP port where objects are called, out of ScmReplyInfoData: 2.2.22.2.8."""
    reader = _inside(serialized)
    reserved = reader.number()
    if not reader.number():
        raise Tampered("it is not told where what was made is")
    if reserved:
        reader.number()
    reader.align(8)
    reader.raw(8)
    addresses = reader.number()
    reader.raw(16 + 4 + 4)
    if not addresses:
        raise Tampered("what was made has no address")
    length = reader.number()
    reader.raw(4)
    text = reader.raw(2 * length)
    for tower, place in _bindings(text):
        name, bracket, port = place.rpartition("[")
        if tower == TCP and bracket and name and port.rstrip("]").isdecimal():
            number = int(port.rstrip("]")[:6])
            if 0 < number <= LAST_PORT:
                return number
    raise Tampered("what was made has no TCP port")


def _bindings(text: bytes) -> list[tuple[int, str]]:
    """Return protocols and addresses, as far as they go: 2.2.19.3."""
    found, at = [], 0
    units = struct.unpack(f"<{len(text) // 2}H", text)
    while at < len(units) and units[at]:
        end = at + 1
        while end < len(units) and units[end]:
            end += 1
        place = text[2 * (at + 1) : 2 * end].decode("utf-16-le", "replace")
        found.append((units[at], place))
        at = end + 1
    return found


def _few(count: int) -> int:
    if count > MOST:
        raise Tampered("there is more of it than anybody needs")
    return count
