"""ICertAdminD and ICertAdminD2, what officers and administrators use: MS-CSRA 3.1.4."""

import functools
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from msgspec import Struct

from tools.adcs_sim import hresults
from tools.adcs_sim.ca import Ca
from tools.adcs_sim.connection import Answer, Fault, LineCut
from tools.adcs_sim.dcom import Call, Method
from tools.adcs_sim.ndr import Reader, Writer
from tools.adcs_sim.properties import write_property

CLASS = UUID("d99e6e73-fc88-11d0-b498-00a0c90312f3")
ICERT_ADMIN_D = UUID("d99e6e71-fc88-11d0-b498-00a0c90312f3")
ICERT_ADMIN_D2 = UUID("7fe0d935-dda6-443f-85d0-1cfb58fe41dd")
_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
_USER_MARSHAL = 0x72657355
_VT_I4, _VT_BSTR, _VT_EMPTY = 3, 8, 0

_DISPOSITION, _BLOB, _VARIANT = 4, 8, 4
"""How many bytes of zeros stand for a result where there is none."""


class _Rule(Struct, frozen=True):
    """A method, once its caller may have it: what it does, and what it returns if he may not."""

    execute: Callable[[Call], int]
    officers: bool = True
    empty: int = 0


class CertAdmin:
    """The methods, in front of one CA. What it is told with `Ca.officers_meet` comes first."""

    def __init__(self, ca: Ca) -> None:
        self._ca = ca

    @property
    def methods(self) -> dict[int, Method]:
        """Those of ICertAdminD."""
        return self._ruled(
            {
                5: _Rule(self._resubmit, empty=_DISPOSITION),
                6: _Rule(self._deny),
                8: _Rule(self._publish_crl),
                10: _Rule(self._revoke),
                18: _Rule(_found, officers=False),
            }
        )

    @property
    def methods2(self) -> dict[int, Method]:
        """Those of ICertAdminD2, the inherited ones included."""
        more = {
            31: _Rule(self._publish_crls),
            32: _Rule(self._get_ca_property, officers=False, empty=_BLOB),
            36: _Rule(self._get_ca_security, officers=False, empty=_BLOB),
            38: _Rule(_found, officers=False),
            44: _Rule(self._get_config_entry, empty=_VARIANT),
        }
        return self.methods | self._ruled(more)

    def _ruled(self, rules: dict[int, _Rule]) -> dict[int, Method]:
        return {opnum: functools.partial(self._method, rule) for opnum, rule in rules.items()}

    def _method(self, rule: _Rule, call: Call) -> int | Answer:
        known = self._ca.is_called(call.reader.text())
        told = self._ca.told_officers()
        time.sleep(told.seconds)
        if told.cut == "before":
            raise LineCut(reset=told.reset)
        if told.then == "fault":
            raise Fault(told.code)
        refusal = told.code if told.then == "deny" else 0
        if rule.officers and not self._ca.is_officer(call.caller.user):
            refusal = refusal or hresults.ACCESS_DENIED
        if not known:
            refusal = refusal or hresults.INVALID_ARGUMENT
        if refusal:
            call.writer.raw(bytes(rule.empty))
            return refusal
        result = rule.execute(call)
        if told.cut:
            return Answer(call.writer.u32(result).done(), told.cut_at, told.reset)
        return result

    def _resubmit(self, call: Call) -> int:
        """Approve a pending request: 3.1.4.1.3. What is wrong with it is told as a disposition."""
        call.writer.u32(self._ca.approve(call.reader.u32()))
        return 0

    def _deny(self, call: Call) -> int:
        """Deny a pending request: 3.1.4.1.4."""
        return self._ca.deny(call.reader.u32(), message=f"Denied by {call.caller.user}")

    def _publish_crl(self, call: Call) -> int:
        """Publish the revocation lists: 3.1.4.1.6."""
        _when(call.reader)
        self._ca.publish_crl("base")
        return 0

    def _publish_crls(self, call: Call) -> int:
        """Publish revocation lists of the kinds that are asked for: 3.1.4.2.1."""
        _when(call.reader)
        flags = call.reader.u32()
        kinds = [kind for bit, kind in ((1, "base"), (2, "delta")) if flags & bit]
        for kind in kinds:
            self._ca.publish_crl(kind)
        return 0 if kinds else hresults.INVALID_ARGUMENT

    def _revoke(self, call: Call) -> int:
        """Revoke a certificate: 3.1.4.1.8."""
        serial, reason, when = call.reader.text(), call.reader.u32(), _when(call.reader)
        if not serial or len(serial) % 2:
            return hresults.INVALID_ARGUMENT
        return self._ca.revoke(serial, reason, when)

    def _get_ca_property(self, call: Call) -> int:
        """Return a property: 3.1.4.2.2."""
        return write_property(self._ca, call)

    def _get_ca_security(self, call: Call) -> int:
        """Return who may do what, as a security descriptor: 3.1.4.2.6."""
        call.writer.blob(self._ca.security)
        return 0

    def _get_config_entry(self, call: Call) -> int:
        """Return a value of the CA's registry: 3.1.4.2.14."""
        node, entry = call.reader.text() or "", call.reader.text_there()
        value = self._ca.configured(node, entry)
        _variant(call.writer, value)
        return hresults.FILE_NOT_FOUND if value is None else 0


def _found(_: Call) -> int:
    """Say that this is the CA that is looked for: 3.1.4.1.16, 3.1.4.2.8."""
    return 0


def _variant(writer: Writer, value: int | str | None) -> None:
    """Write a VARIANT as it travels: MS-OAUT 2.2.29.1, its length in units of eight bytes."""
    inner = Writer().u16(_kind(value)).raw(bytes(6)).u32(_kind(value))
    if isinstance(value, int):
        inner.u32(value)
    elif isinstance(value, str):
        wide = value.encode("utf-16-le")
        count = len(wide) // 2
        inner.u32(_USER_MARSHAL).u32(count).u32(len(wide)).u32(count).raw(wide)
    units = 1 + -(-len(inner.data) // 8)
    writer.u32(_USER_MARSHAL).align(8).u32(units).u32(0).raw(inner.done())


def _kind(value: int | str | None) -> int:
    return _VT_EMPTY if value is None else _VT_I4 if isinstance(value, int) else _VT_BSTR


def _when(reader: Reader) -> datetime | None:
    """Return the time that a FILETIME tells; None: now."""
    low, high = reader.u32(), reader.u32()
    ticks = high << 32 | low
    return _EPOCH + timedelta(microseconds=ticks // 10) if ticks else None
