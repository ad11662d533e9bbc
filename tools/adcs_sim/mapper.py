"""The endpoint mapper: which port an interface has. C706 appendix L and O, MS-RPCE 2.2.1.2.

A tower names an endpoint floor by floor: interface, transfer syntax, protocol, port, address.
"""

import socket
from collections.abc import Mapping
from uuid import UUID

from tools.adcs_sim.connection import NO_SUCH_METHOD, Caller, Fault
from tools.adcs_sim.ndr import BadStub, Reader, Writer

MAPPER = UUID("e1af8308-5d1f-11c9-91a4-08002b14a0fa")
MAP = 3
NOT_REGISTERED = 0x16C9A0D6
MOST_TOWER = 2048
_FLOORS = 5
_PORT_FLOOR, _ADDRESS_FLOOR = b"\x07", b"\x09"


class EndpointMapper:
    """Answers `ept_map` for what is registered here: a TCP port by interface.

    `ports` may change while it answers. A CA with IF_NORPCICERTREQUEST, or one that does not run,
    is not in it.
    """

    def __init__(self, ports: Mapping[UUID, int], address: str) -> None:
        self._ports = ports
        self._address = address

    def call(self, caller: Caller, opnum: int, stub: bytes) -> bytes:  # noqa: ARG002 - anybody may
        """Execute ept_map."""
        if opnum != MAP:
            raise Fault(NO_SUCH_METHOD)
        floors = floors_of(wanted(stub))
        interface = interface_of(floors[0])
        port = self._ports.get(interface)
        writer = Writer().raw(bytes(20))  # no handle: there is nothing more to ask for
        if port is None or floors[3][0] != _PORT_FLOOR:
            return writer.u32(0).u32(1).u32(0).u32(0).u32(NOT_REGISTERED).done()
        tower = tower_of([*floors[:3], *where(self._address, port)])
        writer.u32(1).u32(1).u32(0).u32(1).pointer().u32(len(tower)).u32(len(tower)).raw(tower)
        return writer.u32(0).done()


def wanted(stub: bytes) -> bytes:
    """Return the tower that is asked about."""
    reader = Reader(stub)
    if reader.u32():
        reader.uuid()
    if not reader.u32():
        raise BadStub("no tower")
    most, length = reader.u32(), reader.u32()
    if most != length or length > MOST_TOWER:
        raise BadStub("a tower of two heights")
    return reader.raw(length)


def floors_of(tower: bytes) -> list[tuple[bytes, bytes]]:
    """Return (left, right) of every floor."""
    at, floors = 2, []
    for _ in range(int.from_bytes(tower[:2], "little")):
        left, at = _side(tower, at)
        right, at = _side(tower, at)
        floors.append((left, right))
    if len(floors) < _FLOORS:
        raise BadStub("a tower without a roof")
    return floors


def interface_of(floor: tuple[bytes, bytes]) -> UUID:
    """Return the interface that the first floor names."""
    left = floor[0]
    if len(left) != 19 or left[:1] != b"\x0d":  # noqa: PLR2004 - a mark, a GUID, a version
        raise BadStub("the first floor names no interface")
    return UUID(bytes_le=left[1:17])


def where(address: str, port: int) -> list[tuple[bytes, bytes]]:
    """Return the floors of a port and an IPv4 address; those two are in network order."""
    return [
        (_PORT_FLOOR, port.to_bytes(2, "big")),
        (_ADDRESS_FLOOR, socket.inet_aton(address)),
    ]


def tower_of(floors: list[tuple[bytes, bytes]]) -> bytes:
    """Return a tower of these floors."""
    parts = [len(floors).to_bytes(2, "little")]
    for side in (side for floor in floors for side in floor):
        parts += [len(side).to_bytes(2, "little"), side]
    return b"".join(parts)


def _side(tower: bytes, at: int) -> tuple[bytes, int]:
    length = int.from_bytes(tower[at : at + 2], "little")
    end = at + 2 + length
    if at + 2 > len(tower) or end > len(tower):
        raise BadStub("a tower cut off")
    return tower[at + 2 : end], end
