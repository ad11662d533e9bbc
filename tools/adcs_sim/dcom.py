"""Objects from afar: who makes them, who keeps them, and who is asked for other faces of them.

An object is made on the mapper's port (IRemoteSCMActivator) and then called on the objects' own
port, each call naming by an IPID which interface of which object it means (MS-DCOM 1.3.1). Here an
object has no state: an IPID only tells the interface. None dies, so that nobody has to be pinged.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from threading import Lock
from uuid import UUID

from msgspec import Struct

from tools.adcs_sim import activation, hresults
from tools.adcs_sim.activation import Exported, Exporter
from tools.adcs_sim.connection import ACCESS_DENIED, NO_SUCH_METHOD, Answer, Caller, Fault
from tools.adcs_sim.ndr import BadStub, Reader, Writer
from tools.adcs_sim.security import INTEGRITY

SCM_ACTIVATOR = UUID("000001a0-0000-0000-c000-000000000046")
OBJECT_EXPORTER = UUID("99fcfec4-5260-101b-bbcb-00aa0021347a")
REM_UNKNOWN = UUID("00000131-0000-0000-c000-000000000046")
REM_UNKNOWN_2 = UUID("00000143-0000-0000-c000-000000000046")
UNKNOWN = UUID("00000000-0000-0000-c000-000000000046")
DISCONNECTED = 0x80010108
"""RPC_E_DISCONNECTED, a fault: there is no such object (any more)."""
NO_INTERFACE = 0x80004002
MOST_OBJECTS = 10_000
_CREATE_INSTANCE = 4


class Call(Struct, frozen=True):
    """A method is called: by whom, where its parameters are read and its results written."""

    caller: Caller
    reader: Reader
    writer: Writer


Method = Callable[[Call], int | Answer]
"""Writes its results, returns the HRESULT that goes behind; or a whole answer, to be cut."""


class Objects:
    """The exported objects of a machine: interfaces by IPID."""

    def __init__(self, random: Callable[[int], bytes], classes: Mapping[UUID, set[UUID]]) -> None:
        self._random = random
        self._classes = classes
        self._lock = Lock()
        self._ipids: OrderedDict[UUID, tuple[UUID, UUID, int]] = OrderedDict()
        self._oxid = int.from_bytes(random(8), "little")
        self._ipid_rem_unknown = self._uuid()
        self.bindings: tuple[str, ...] = ()

    @property
    def exporter(self) -> Exporter:
        """Where they are."""
        return Exporter(self._oxid, self._ipid_rem_unknown, self.bindings)

    def knows(self, clsid: UUID) -> bool:
        """Whether objects of that class can be made."""
        return clsid in self._classes

    def make(self, clsid: UUID, interface: UUID) -> Exported:
        """Export an interface of a new object."""
        return self._export(clsid, interface, int.from_bytes(self._random(8), "little"))

    def query(self, ipid: UUID, interface: UUID) -> Exported:
        """Export another interface of an object. Raises Fault if there is none."""
        with self._lock:
            found = self._ipids.get(ipid)
        if found is None:
            raise Fault(DISCONNECTED)
        clsid, _, oid = found
        return self._export(clsid, interface, oid)

    def check(self, ipid: UUID | None, interface: UUID) -> None:
        """Raise Fault unless that is an IPID of this interface."""
        with self._lock:
            found = self._ipids.get(ipid) if ipid else None
        if found is None or found[1] != interface:
            raise Fault(DISCONNECTED)

    def check_rem_unknown(self, ipid: UUID | None) -> None:
        """Raise Fault unless that is the IPID of the exporter itself."""
        if ipid != self._ipid_rem_unknown:
            raise Fault(DISCONNECTED)

    def _export(self, clsid: UUID, interface: UUID, oid: int) -> Exported:
        if interface not in self._classes[clsid] and interface != UNKNOWN:
            return Exported(interface)
        ipid = self._uuid()
        with self._lock:
            self._ipids[ipid] = (clsid, interface, oid)
            if len(self._ipids) > MOST_OBJECTS:
                self._ipids.popitem(last=False)
        return Exported(interface, ipid, oid)

    def _uuid(self) -> UUID:
        return UUID(bytes=self._random(16))


class Activator:
    """IRemoteSCMActivator: makes objects for whom is authenticated."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def call(self, caller: Caller, opnum: int, stub: bytes) -> bytes:
        """Execute RemoteCreateInstance."""
        if opnum != _CREATE_INSTANCE:
            raise Fault(NO_SUCH_METHOD)
        if not caller.user or caller.level < INTEGRITY:
            raise Fault(ACCESS_DENIED)
        wanted = activation.wanted(stub)
        if not self._objects.knows(wanted.clsid):
            return activation.refused(hresults.CLASS_NOT_REGISTERED)
        made = [self._objects.make(wanted.clsid, one) for one in wanted.interfaces]
        if not any(one.ipid for one in made):
            return activation.refused(NO_INTERFACE)
        return activation.created(self._objects.exporter, made)


class ObjectExporter:
    """IObjectExporter (MS-DCOM 3.1.2.5.1): is anybody there, and which addresses has he."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def call(self, caller: Caller, opnum: int, stub: bytes) -> bytes:  # noqa: ARG002 - anybody may
        """Execute the methods that clients use to look whether a server is there, and to ping."""
        match opnum:
            case 1:  # SimplePing
                return Writer().u32(0).done()
            case 2:  # ComplexPing
                return Writer().u64(1).u16(0).u32(0).done()
            case 3:  # ServerAlive
                return Writer().u32(0).done()
            case 5:  # ServerAlive2
                writer = Writer().u16(5).u16(7).pointer()
                return activation.dual_strings(writer, self._objects.bindings).u32(0).u32(0).done()
            case _:
                raise Fault(NO_SUCH_METHOD)


class RemUnknown:
    """IRemUnknown and IRemUnknown2: other interfaces of an object, and references to it."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def call(self, caller: Caller, opnum: int, stub: bytes) -> bytes:
        """Execute a method."""
        if not caller.user or caller.level < INTEGRITY:
            raise Fault(ACCESS_DENIED)
        self._objects.check_rem_unknown(caller.target)
        reader = Reader(stub)
        activation.orpc_this(reader)
        writer = activation.orpc_that()
        match opnum:
            case 3:  # RemQueryInterface
                return self._query(reader, writer)
            case 4:  # RemAddRef
                count = reader.u16()
                return writer.u32(count).raw(bytes(4 * count)).u32(0).done()
            case 5:  # RemRelease
                return writer.u32(0).done()
            case _:
                raise Fault(NO_SUCH_METHOD)

    def _query(self, reader: Reader, writer: Writer) -> bytes:
        ipid, _, count = reader.uuid(), reader.u32(), reader.u16()
        if not 0 < count <= activation.MOST_INTERFACES or reader.u32() != count:
            raise BadStub(f"{count} interfaces")
        found = [self._objects.query(ipid, reader.uuid()) for _ in range(count)]
        writer.pointer().u32(count)
        for one in found:
            writer.align(8).u32(0 if one.ipid else NO_INTERFACE)
            activation.standard_object(writer, self._objects.exporter, one)
        return writer.u32(0).done()


class ObjectInterface:
    """An interface of objects: methods by number, called with privacy."""

    def __init__(
        self, uuid: UUID, objects: Objects, methods: Mapping[int, Method], *, private: bool
    ) -> None:
        self._uuid = uuid
        self._objects = objects
        self._methods = methods
        self._private = private

    def call(self, caller: Caller, opnum: int, stub: bytes) -> bytes | Answer:
        """Execute a method."""
        if not caller.user or (self._private and not caller.private):
            raise Fault(ACCESS_DENIED)
        self._objects.check(caller.target, self._uuid)
        method = self._methods.get(opnum)
        if method is None:
            raise Fault(NO_SUCH_METHOD)
        call = Call(caller, Reader(stub), activation.orpc_that())
        activation.orpc_this(call.reader)
        result = method(call)
        return result if isinstance(result, Answer) else call.writer.u32(result).done()
