"""What a CA tells about itself when it is asked for a property: MS-WCCE 3.2.1.4.3.2."""

import struct
from collections.abc import Callable

from msgspec import Struct

from tools.adcs_sim import hresults, signing
from tools.adcs_sim.ca import Ca
from tools.adcs_sim.dcom import Call
from tools.adcs_sim.ndr import terminated

LONG, BINARY, STRING = 1, 3, 4
NEWEST = 0xFFFFFFFF
"""As an index: of the CA's present certificate."""


class _Property(Struct, frozen=True):
    """A property: its type, its value by index; None is returned where there is none."""

    name: str
    kind: int
    value: Callable[[Ca, int], bytes | None]
    indexed: bool = False


def property_of(ca: Ca, number: int, index: int, kind: int) -> bytes | None:
    """Return a property as it travels; None if there is none of that number, index and type."""
    found = _PROPERTIES.get(number)
    if found is None or found.kind != kind:
        return None
    if not found.indexed:
        return found.value(ca, 0) if index == 0 else None
    last = len(ca.signers) - 1
    at = last if index == NEWEST else index
    return found.value(ca, at) if at <= last else None


def write_property(ca: Ca, call: Call) -> int:
    """Read which property is asked for, write it, return the HRESULT."""
    number, index, kind = call.reader.u32(), call.reader.u32(), call.reader.u32()
    value = property_of(ca, number, index, kind)
    call.writer.blob(value or b"")
    return hresults.INVALID_ARGUMENT if value is None else 0


def property_info() -> tuple[int, bytes]:
    """Return how many properties there are, and an array of CATRANSPROP: MS-WCCE 2.2.2.3."""
    fixed, names = [], b""
    base = 24 * len(_PROPERTIES)
    for number, one in _PROPERTIES.items():
        flags = 1 if one.indexed else 0
        fixed.append(
            struct.pack("<iBBHIIII", number, one.kind, 0, flags, base + len(names), 0, 0, 0)
        )
        names += terminated(one.name)
    return len(fixed), b"".join(fixed) + names


def _long(value: int) -> bytes:
    return struct.pack("<I", value)


def _chain(ca: Ca, index: int) -> bytes:
    return signing.chain_of([ca.signers[index].certificate])


def _templates(ca: Ca, _: int) -> bytes:
    published = [one for one in ca.templates.values() if one.published]
    return terminated("".join(f"{one.name}\n{one.oid}\n" for one in published))


_PROPERTIES = {
    0x01: _Property("File Version", STRING, lambda _, __: terminated("10.0.17763.1")),
    0x02: _Property("Product Version", STRING, lambda _, __: terminated("10.0.17763.1")),
    0x06: _Property("CA Name", STRING, lambda ca, _: terminated(ca.name)),
    0x07: _Property("Sanitized CA Name", STRING, lambda ca, _: terminated(ca.sanitized)),
    0x0A: _Property("CA Type", LONG, lambda _, __: _long(0)),
    0x0B: _Property("CA Signature Certs", LONG, lambda ca, _: _long(len(ca.signers))),
    0x0C: _Property("CA Cert", BINARY, lambda ca, index: ca.signers[index].der, indexed=True),
    0x0D: _Property("CA Cert Chain", BINARY, _chain, indexed=True),
    0x11: _Property("Base CRL", BINARY, lambda ca, index: ca.crl(index), indexed=True),
    0x13: _Property("CA Cert State", LONG, lambda _, __: _long(3), indexed=True),
    0x14: _Property("CRL State", LONG, lambda _, __: _long(3), indexed=True),
    0x1D: _Property("Templates", STRING, _templates),
}
