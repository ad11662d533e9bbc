"""Making an object from afar: IRemoteSCMActivator::RemoteCreateInstance, MS-DCOM 3.1.2.5.2.3.3.

What is asked for and what comes back travels in a blob of properties (2.2.22), each serialized on
its own; the blob in an object reference, the reference in a parameter. Of the properties that
clients send only the first question matters: which class, by which interfaces.
"""

import struct
from collections.abc import Sequence
from uuid import UUID

from msgspec import Struct

from tools.adcs_sim.ndr import BadStub, Reader, Writer

MEOW = 0x574F454D
_STANDARD, _CUSTOM = 1, 4
_NOTHING = UUID(int=0)
INSTANTIATION_INFO = UUID("000001ab-0000-0000-c000-000000000046")
PROPERTIES_OUT = UUID("00000339-0000-0000-c000-000000000046")
SCM_REPLY_INFO = UUID("000001b6-0000-0000-c000-000000000046")
I_PROPERTIES_OUT = UUID("000001a3-0000-0000-c000-000000000046")
_OTHER_MACHINE = 2
_SERIALIZED = struct.pack("<BBHI", 1, 0x10, 8, 0xCCCCCCCC)
_NO_PING = 0x1000
_TCP, _NTLM = 7, 10
_VERSION = (5, 7)
MOST_INTERFACES = 32
MOST_PROPERTIES = 16


class Wanted(Struct, frozen=True):
    """What an activation asks for."""

    clsid: UUID
    interfaces: tuple[UUID, ...]


class Exported(Struct, frozen=True):
    """An interface of an object, as the client will name it; `ipid` None: it has no such one."""

    interface: UUID
    ipid: UUID | None = None
    oid: int = 0


class Exporter(Struct, frozen=True):
    """Where exported objects are: `bindings` are NAME[PORT]."""

    oxid: int
    ipid_rem_unknown: UUID
    bindings: tuple[str, ...]


def orpc_this(reader: Reader) -> None:
    """Read past what stands before the parameters of every call: 2.2.13.3."""
    reader.u16()
    reader.u16()
    reader.u32()
    reader.u32()
    reader.uuid()
    if reader.u32():
        raise BadStub("extensions of calls are not understood")


def orpc_that() -> Writer:
    """Begin an answer: 2.2.13.4."""
    return Writer().u32(0).pointer(null=True)


def wanted(stub: bytes) -> Wanted:
    """Return what a RemoteCreateInstance asks for. Raises BadStub."""
    reader = Reader(stub)
    orpc_this(reader)
    if reader.u32():
        raise BadStub("an outer object")
    if not reader.u32():
        raise BadStub("no properties")
    reader.u32()
    blob = _custom(reader.raw(reader.u32()))
    try:
        return _instantiation(_properties(blob)[INSTANTIATION_INFO])
    except KeyError:
        raise BadStub("it is not told what to make") from None


def created(exporter: Exporter, results: Sequence[Exported]) -> bytes:
    """Return the answer to RemoteCreateInstance."""
    parts = [_interfaces(exporter, results), _scm_reply(exporter)]
    blob = _blob([PROPERTIES_OUT, SCM_REPLY_INFO], parts)
    reference = _custom_reference(I_PROPERTIES_OUT, PROPERTIES_OUT, blob)
    return (
        orpc_that().pointer().u32(len(reference)).u32(len(reference)).raw(reference).u32(0).done()
    )


def refused(hresult: int) -> bytes:
    """Return the answer to RemoteCreateInstance that says no."""
    return orpc_that().pointer(null=True).u32(hresult).done()


def standard_object(writer: Writer, exporter: Exporter, one: Exported) -> Writer:
    """Write a STDOBJREF (2.2.18.2); objects live as long as the simulator, so none is pinged."""
    writer.align(8).u32(_NO_PING).u32(5).u64(exporter.oxid).u64(one.oid)
    return writer.uuid(one.ipid or _NOTHING)


def bindings(names: Sequence[str]) -> tuple[bytes, int]:
    """Return a DUALSTRINGARRAY's strings (2.2.19): where, and by which authentication; the second
    part begins at that many characters."""
    first = b"".join(struct.pack("<H", _TCP) + _wide(name) for name in names) + bytes(2)
    second = struct.pack("<HH", _NTLM, 0xFFFF) + _wide("") + bytes(2)
    return first + second, len(first) // 2


def dual_strings(writer: Writer, names: Sequence[str]) -> Writer:
    """Write what a pointer to a DUALSTRINGARRAY points to."""
    strings, security = bindings(names)
    count = len(strings) // 2
    return writer.u32(count).u16(count).u16(security).raw(strings)


def _custom(reference: bytes) -> bytes:
    """Return the blob inside a custom object reference: 2.2.18.6."""
    reader = Reader(reference)
    if reader.u32() != MEOW or reader.u32() != _CUSTOM:
        raise BadStub("no custom object reference")
    reader.raw(16 + 16)
    reader.u32()
    reader.u32()
    return reference[reader.offset :]


def _properties(blob: bytes) -> dict[UUID, bytes]:
    """Return serialized properties by class: 2.2.22."""
    outer = Reader(blob)
    outer.raw(8 + 16)
    header = Reader(blob[outer.offset :])
    header.u32()
    length = header.u32()
    header.raw(4 + 4)
    count = header.u32()
    header.raw(16)
    header.raw(3 * 4)
    if count > MOST_PROPERTIES or header.u32() != count:
        raise BadStub(f"{count} properties")
    classes = [header.uuid() for _ in range(count)]
    if header.u32() != count:
        raise BadStub("as many sizes as classes")
    sizes = [header.u32() for _ in range(count)]
    rest = Reader(blob[8 + length :])
    return {one: rest.raw(size) for one, size in zip(classes, sizes, strict=True)}


def _instantiation(serialized: bytes) -> Wanted:
    """Return what InstantiationInfoData tells: 2.2.22.2.1."""
    reader = Reader(serialized[16:])
    clsid = reader.uuid()
    reader.raw(12)
    count = reader.u32()
    reader.raw(4)
    pointer = reader.u32()
    reader.raw(8)
    if not pointer or count > MOST_INTERFACES or reader.u32() != count:
        raise BadStub(f"{count} interfaces")
    return Wanted(clsid, tuple(reader.uuid() for _ in range(count)))


def _interfaces(exporter: Exporter, results: Sequence[Exported]) -> bytes:
    """Return PropsOutInfo: 2.2.22.2.9."""
    count = len(results)
    writer = Writer().u32(count).pointer().pointer().pointer()
    writer.u32(count)
    for one in results:
        writer.uuid(one.interface)
    writer.u32(count)
    for one in results:
        writer.u32(0 if one.ipid else 0x80004002)
    writer.u32(count)
    for one in results:
        writer.pointer(null=one.ipid is None)
    for one in results:
        if one.ipid:
            reference = _reference(exporter, one)
            writer.u32(len(reference)).u32(len(reference)).raw(reference)
    return _serialized(writer)


def _scm_reply(exporter: Exporter) -> bytes:
    """Return ScmReplyInfoData: 2.2.22.2.8."""
    writer = Writer().pointer(null=True).pointer()
    writer.u64(exporter.oxid).pointer().uuid(exporter.ipid_rem_unknown).u32(6)
    writer.u16(_VERSION[0]).u16(_VERSION[1])
    return _serialized(dual_strings(writer, exporter.bindings))


def _reference(exporter: Exporter, one: Exported) -> bytes:
    """Return a standard object reference, without addresses of its own: 2.2.18.4."""
    writer = Writer().u32(MEOW).u32(_STANDARD).uuid(one.interface)
    return standard_object(writer, exporter, one).u16(0).u16(0).done()


def _custom_reference(interface: UUID, clsid: UUID, data: bytes) -> bytes:
    writer = Writer().u32(MEOW).u32(_CUSTOM).uuid(interface).uuid(clsid)
    return writer.u32(0).u32(len(data) + 8).raw(data).done()


def _blob(classes: Sequence[UUID], parts: Sequence[bytes]) -> bytes:
    """Return an activation properties blob: its header counts from the serialization's own."""
    empty = _header(classes, parts, 0)
    header = _header(classes, parts, len(empty))
    size = len(header) + sum(len(part) for part in parts)
    return struct.pack("<II", size, 0) + header + b"".join(parts)


def _header(classes: Sequence[UUID], parts: Sequence[bytes], length: int) -> bytes:
    """Return a CustomHeader: 2.2.22.1."""
    total = length + sum(len(part) for part in parts)
    writer = Writer().u32(total).u32(length).u32(0).u32(_OTHER_MACHINE).u32(len(parts))
    writer.uuid(_NOTHING).pointer().pointer().pointer(null=True)
    writer.u32(len(classes))
    for one in classes:
        writer.uuid(one)
    writer.u32(len(parts))
    for part in parts:
        writer.u32(len(part))
    return _serialized(writer)


def _serialized(writer: Writer) -> bytes:
    """Return a structure by type serialization, version 1: MS-RPCE 2.2.6."""
    data = writer.align(8).done()
    return _SERIALIZED + struct.pack("<II", len(data), 0) + data


def _wide(text: str) -> bytes:
    return (text + "\0").encode("utf-16-le")
