"""The endpoint mapper, which knows the port that a service has today. C706 appendix O.

It is asked without protection, and so is what it answers: a wrong port leads to somebody who cannot
prove to be the CA.
"""

from collections.abc import Iterator

from certeasy.ca.adcs import ndr
from certeasy.ca.adcs.deadline import Deadline
from certeasy.ca.adcs.errors import Fault, NotReached
from certeasy.ca.adcs.pdu import NDR
from certeasy.ca.adcs.rpc import Channel
from certeasy.ca.adcs.security import Tampered
from certeasy.ca.adcs.transport import Target, TcpWire

MAPPER = bytes.fromhex("0883afe11f5dc91191a408002b14a0fa03000000")
"""e1af8308-5d1f-11c9-91a4-08002b14a0fa, version 3.0."""
MAP = 3
NOT_REGISTERED = 0x16C9_A0D6
MOST_TOWERS = 4
A_UUID, RPC, TCP, IP = 0x0D, 0x0B, 0x07, 0x09


def mapped(target: Target, deadline: Deadline) -> int:
    """Ask a host for the port of ICertPassage. Raises NotReached or Late."""
    wire = TcpWire(target.host, target.address, target.mapper_port, deadline)
    try:
        channel = Channel(wire)
        channel.bind(MAPPER)
        return read_answer(channel.exchange(MAP, question()))
    except Fault as fault:
        raise NotReached("mapper", fault.cause, fault.code) from None
    except (OSError, Tampered) as error:
        deadline.remaining()
        raise NotReached("mapper", f"no answer that can be read: {error}") from None
    finally:
        wire.close()


def _floor(left: bytes, right: bytes) -> bytes:
    return len(left).to_bytes(2, "little") + left + len(right).to_bytes(2, "little") + right


def _floor_of(syntax: bytes) -> bytes:
    """Return the floor of a UUID with its version, 20 bytes."""
    return _floor(bytes((A_UUID,)) + syntax[:18], syntax[18:])


def question(interface: bytes = ndr.INTERFACE) -> bytes:
    """Return ept_map for an interface over TCP: a tower of five floors, ports and addresses 0."""
    floors = (
        _floor_of(interface),
        _floor_of(NDR),
        _floor(bytes((RPC,)), bytes(2)),
        _floor(bytes((TCP,)), bytes(2)),
        _floor(bytes((IP,)), bytes(4)),
    )
    tower = len(floors).to_bytes(2, "little") + b"".join(floors)
    stub = ndr.Writer().number(1)  # a pointer to an object that is none
    for _ in range(4):
        stub.number(0)
    stub.number(2).number(len(tower)).number(len(tower)).raw(tower)
    for _ in range(5):
        stub.number(0)  # no handle: this is the first question
    return stub.number(MOST_TOWERS).done()


def read_answer(stub: bytes) -> int:
    """Return the port that the mapper tells. Raises NotReached or Tampered."""
    reader = ndr.Reader(stub)
    reader.raw(20)
    count = reader.number()
    reader.number(), reader.number()
    pointers = [reader.number() for _ in range(min(reader.number(), MOST_TOWERS))]
    towers = []
    for _ in filter(None, pointers):
        length = reader.number()
        if reader.number() != length:
            raise Tampered("a tower has two lengths")
        towers.append(reader.raw(length))
    code = reader.number()
    reader.end()
    if code or not count:
        what = "the CA's interface is not registered with it"
        known = code in (0, NOT_REGISTERED)
        raise NotReached("mapper", what if known else "it refuses", code or NOT_REGISTERED)
    for tower in towers:
        for left, right in _floors(tower):
            if left == bytes((TCP,)) and any(right) and len(right) == len(bytes(2)):
                return int.from_bytes(right, "big")
    raise NotReached("mapper", "it tells no TCP port", NOT_REGISTERED)


def _floors(tower: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 2
    while at < len(tower):
        sides = []
        for _ in range(2):
            length = int.from_bytes(tower[at : at + 2], "little")
            sides.append(tower[at + 2 : at + 2 + length])
            at += 2 + length
        yield sides[0], sides[1]
