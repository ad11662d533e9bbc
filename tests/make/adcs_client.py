"""A client of a CA that is not the product's: impacket's runtime with structures written here."""

from typing import Self

from impacket.dcerpc.v5 import epm, rpcrt, transport
from impacket.dcerpc.v5.dtypes import DWORD, LPWSTR, NULL, PBYTE, ULONG
from impacket.dcerpc.v5.ndr import NDRCALL, NDRSTRUCT
from impacket.uuid import uuidtup_to_bin
from msgspec import Struct

from tests.make.adcs import DOMAIN, PASSWORD, USER, CaProcess, LabCa

PASSAGE = uuidtup_to_bin(("91ae6020-9e3c-11cf-8d7c-00aa00c091be", "0.0"))


class DCERPCSessionError(rpcrt.DCERPCException):
    """A method's result that is not 0; impacket looks for this name."""


class Blob(NDRSTRUCT):
    structure = (("cb", ULONG), ("pb", PBYTE))


class CertServerRequest(NDRCALL):
    opnum = 0
    structure = (
        ("dwFlags", DWORD),
        ("pwszAuthority", LPWSTR),
        ("pdwRequestId", DWORD),
        ("pctbAttribs", Blob),
        ("pctbRequest", Blob),
    )


class CertServerRequestResponse(NDRCALL):
    structure = (
        ("pdwRequestId", DWORD),
        ("pdwDisposition", ULONG),
        ("pctbCert", Blob),
        ("pctbEncodedCert", Blob),
        ("pctbDispositionMessage", Blob),
        ("ErrorCode", ULONG),
    )


class Result(Struct, frozen=True):
    """What CertServerRequest returned."""

    request_id: int
    disposition: int
    chain: bytes
    certificate: bytes
    message: str


class Client:
    """A connection to a CA, by NTLM over TCP."""

    def __init__(
        self,
        ca: LabCa | CaProcess,
        *,
        user: str = USER,
        password: str = PASSWORD,
        level: int = rpcrt.RPC_C_AUTHN_LEVEL_PKT_PRIVACY,
        mapper: bool = True,
    ) -> None:
        self._ca = ca
        binding = mapped(ca) if mapper else f"ncacn_ip_tcp:{ca.host}[{ca.port}]"
        self._dce = _connected(binding, user, password, level)
        self._dce.bind(PASSAGE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._dce.disconnect()

    def enrol(self, csr: bytes, *attributes: str, authority: str | None = None) -> Result:
        """Submit a request; without attributes there is no template."""
        text = ("\n".join(attributes) + "\0").encode("utf-16-le") if attributes else b""
        return self.call(csr=csr, attributes=text, authority=authority)

    def retrieve(self, number: int) -> Result:
        """Ask what became of a request."""
        return self.call(number=number)

    def call(
        self,
        *,
        csr: bytes = b"",
        attributes: bytes = b"",
        number: int = 0,
        authority: str | None = None,
    ) -> Result:
        """Call CertServerRequest as it is."""
        asked = CertServerRequest()
        asked["dwFlags"] = 0
        asked["pwszAuthority"] = (self._ca.name if authority is None else authority) + "\0"
        asked["pdwRequestId"] = number
        asked["pctbAttribs"] = _blob(attributes)
        asked["pctbRequest"] = _blob(csr)
        answer = self._dce.request(asked)
        return Result(
            answer["pdwRequestId"],
            answer["pdwDisposition"],
            _bytes(answer["pctbCert"]),
            _bytes(answer["pctbEncodedCert"]),
            _bytes(answer["pctbDispositionMessage"]).decode("utf-16-le").rstrip("\0"),
        )


def mapped(ca: LabCa | CaProcess) -> str:
    """Ask the endpoint mapper where ICertPassage is."""
    made = transport.DCERPCTransportFactory(f"ncacn_ip_tcp:{ca.host}[{ca.mapper_port}]")
    made.set_connect_timeout(10)
    dce = made.get_dce_rpc()
    dce.connect()
    try:
        binding: str = epm.hept_map(ca.host, PASSAGE, protocol="ncacn_ip_tcp", dce=dce)
    finally:
        dce.disconnect()
    return binding


def _connected(binding: str, user: str, password: str, level: int) -> rpcrt.DCERPC_v5:
    made = transport.DCERPCTransportFactory(binding)
    made.set_connect_timeout(10)
    made.set_credentials(user, password, DOMAIN, "", "", "", None, None)
    dce = made.get_dce_rpc()
    dce.set_auth_level(level)
    dce.connect()
    return dce


def _blob(data: bytes) -> Blob:
    blob = Blob()
    blob["cb"] = len(data)
    blob["pb"] = data or NULL
    return blob


def _bytes(blob: Blob) -> bytes:
    return b"".join(blob["pb"]) if blob["cb"] else b""
