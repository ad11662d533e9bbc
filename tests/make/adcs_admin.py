"""An officer of a CA, by a DCOM client that is not the product's: impacket's runtime."""

import contextlib
from collections.abc import Callable, Iterator

from impacket.dcerpc.v5 import rpcrt
from impacket.dcerpc.v5.dcom.oaut import VARIANT
from impacket.dcerpc.v5.dcomrt import DCOMANSWER, DCOMCALL, INTERFACE, DCOMConnection, IRemUnknown
from impacket.dcerpc.v5.dtypes import DWORD, FILETIME, LONG, LPWSTR, PBYTE, ULONG, WSTR
from impacket.dcerpc.v5.ndr import NDRSTRUCT
from impacket.uuid import string_to_bin, uuidtup_to_bin

from tests.make.adcs import DOMAIN, PASSWORD, USER, LabCa

ADMIN = string_to_bin("d99e6e73-fc88-11d0-b498-00a0c90312f3")
REQUEST = string_to_bin("d99e6e74-fc88-11d0-b498-00a0c90312f3")
I_ADMIN = uuidtup_to_bin(("d99e6e71-fc88-11d0-b498-00a0c90312f3", "0.0"))
I_ADMIN_2 = uuidtup_to_bin(("7fe0d935-dda6-443f-85d0-1cfb58fe41dd", "0.0"))
I_REQUEST = uuidtup_to_bin(("d99e6e70-fc88-11d0-b498-00a0c90312f3", "0.0"))
I_REQUEST_2 = uuidtup_to_bin(("5422fd3a-d4b8-4cef-a12e-e87d4ca22e90", "0.0"))


class DCERPCSessionError(rpcrt.DCERPCException):
    """A method's result that is not 0; impacket looks for this name."""


class Blob(NDRSTRUCT):
    structure = (("cb", ULONG), ("pb", PBYTE))


class RevokeCertificate(DCOMCALL):
    opnum = 10
    structure = (
        ("pwszAuthority", LPWSTR),
        ("pwszSerialNumber", LPWSTR),
        ("Reason", DWORD),
        ("FileTime", FILETIME),
    )


class RevokeCertificateResponse(DCOMANSWER):
    structure = (("ErrorCode", ULONG),)


class PublishCRLs(DCOMCALL):
    opnum = 31
    structure = (("pwszAuthority", LPWSTR), ("FileTime", FILETIME), ("Flags", DWORD))


class PublishCRLsResponse(DCOMANSWER):
    structure = (("ErrorCode", ULONG),)


class Ping(DCOMCALL):
    opnum = 5
    structure = (("pwszAuthority", LPWSTR),)


class PingResponse(DCOMANSWER):
    structure = (("ErrorCode", ULONG),)


class GetCAProperty(DCOMCALL):
    opnum = 7
    structure = (
        ("pwszAuthority", LPWSTR),
        ("PropID", LONG),
        ("PropIndex", LONG),
        ("PropType", LONG),
    )


class GetCAPropertyResponse(DCOMANSWER):
    structure = (("pctbPropertyValue", Blob), ("ErrorCode", ULONG))


class ResubmitRequest(DCOMCALL):
    opnum = 5
    structure = (("pwszAuthority", LPWSTR), ("dwRequestId", DWORD))


class ResubmitRequestResponse(DCOMANSWER):
    structure = (("pdwDisposition", DWORD), ("ErrorCode", ULONG))


class DenyRequest(DCOMCALL):
    opnum = 6
    structure = (("pwszAuthority", LPWSTR), ("dwRequestId", DWORD))


class DenyRequestResponse(DCOMANSWER):
    structure = (("ErrorCode", ULONG),)


class GetCASecurity(DCOMCALL):
    opnum = 36
    structure = (("pwszAuthority", LPWSTR),)


class GetCASecurityResponse(DCOMANSWER):
    structure = (("pctbSD", Blob), ("ErrorCode", ULONG))


class GetConfigEntry(DCOMCALL):
    opnum = 44
    structure = (("pwszAuthority", LPWSTR), ("pwszNodePath", LPWSTR), ("pwszEntry", WSTR))


class GetConfigEntryResponse(DCOMANSWER):
    structure = (("pVariant", VARIANT), ("ErrorCode", ULONG))


class _Object(IRemUnknown):
    """An interface of an object: calls a method by its structure."""

    def __init__(self, interface, iid) -> None:
        super().__init__(interface)
        self._iid = iid

    def call(self, method, **parameters):
        asked = method()
        for name, value in parameters.items():
            asked[name] = value
        return self.request(asked, self._iid, self.get_iPid())


class Officer:
    """Calls the CA's objects; each name below is a method of theirs."""

    def __init__(self, ca: LabCa, made: Callable[..., object]) -> None:
        self._authority = ca.name + "\0"
        self._make = made

    def call(self, clsid, iid, method, **parameters):
        """Make an object and call a method of one of its interfaces."""
        found = _Object(self._make(clsid, iid), iid)
        return found.call(method, pwszAuthority=self._authority, **parameters)

    def revoke(self, serial: str, reason: int) -> None:
        when = FILETIME()
        when["dwLowDateTime"] = when["dwHighDateTime"] = 0
        text = serial.zfill(len(serial) + len(serial) % 2) + "\0"
        self.call(
            ADMIN,
            I_ADMIN,
            RevokeCertificate,
            pwszSerialNumber=text,
            Reason=reason,
            FileTime=when,
        )

    def publish(self, flags: int) -> None:
        when = FILETIME()
        when["dwLowDateTime"] = when["dwHighDateTime"] = 0
        self.call(ADMIN, I_ADMIN_2, PublishCRLs, FileTime=when, Flags=flags)

    def ping(self) -> None:
        self.call(REQUEST, I_REQUEST, Ping)

    def property(self, number: int, kind: int, index: int = 0) -> bytes:
        answer = self.call(
            REQUEST,
            I_REQUEST_2,
            GetCAProperty,
            PropID=number,
            PropIndex=index,
            PropType=kind,
        )
        return b"".join(answer["pctbPropertyValue"]["pb"])

    def resubmit(self, number: int) -> int:
        answer = self.call(ADMIN, I_ADMIN, ResubmitRequest, dwRequestId=number)
        return answer["pdwDisposition"]

    def deny(self, number: int) -> None:
        self.call(ADMIN, I_ADMIN, DenyRequest, dwRequestId=number)

    def security(self) -> bytes:
        return b"".join(self.call(ADMIN, I_ADMIN_2, GetCASecurity)["pctbSD"]["pb"])

    def config(self, node: str, entry: str):
        answer = self.call(
            ADMIN, I_ADMIN_2, GetConfigEntry, pwszNodePath=node + "\0", pwszEntry=entry + "\0"
        )
        value = answer["pVariant"]["_varUnion"]
        return value["lVal"] if value["tag"] == 3 else value["bstrVal"]["asData"]


@contextlib.contextmanager
def an_officer(ca: LabCa, user: str = USER, password: str = PASSWORD) -> Iterator[Officer]:
    """Log on to a CA's machine."""
    where = f"{ca.host}[{ca.mapper_port}]"
    connection = DCOMConnection(where, user, password, DOMAIN)
    # impacket remembers connections by the name of the machine, which has no port.
    DCOMConnection.PORTMAPS[ca.host] = DCOMConnection.PORTMAPS[where]
    try:
        yield Officer(ca, connection.CoCreateInstanceEx)
    finally:
        DCOMConnection.PORTMAPS.pop(ca.host).disconnect()
        for threads in INTERFACE.CONNECTIONS.pop(ca.host, {}).values():
            for objects in threads.values():
                objects["dce"].disconnect()
