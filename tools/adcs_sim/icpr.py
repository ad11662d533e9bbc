"""ICertPassage, the one method by which Windows machines enrol: MS-ICPR 3.2.4.1."""

from uuid import UUID

from tools.adcs_sim import hresults
from tools.adcs_sim.ca import Ca, Reply
from tools.adcs_sim.connection import ACCESS_DENIED, NO_SUCH_METHOD, Answer, Caller, Fault
from tools.adcs_sim.ndr import BadStub, Reader, Writer, decoded, terminated

ICERT_PASSAGE = UUID("91ae6020-9e3c-11cf-8d7c-00aa00c091be")
CERT_SERVER_REQUEST = 0
MOST_AUTHORITY = 1536


class CertPassage:
    """The interface, in front of one CA.

    `private`: whether the CA has IF_ENFORCEENCRYPTICERTREQUEST, so that calls which are not sealed
    are refused; Windows has it on.
    """

    def __init__(self, ca: Ca, *, private: bool = True) -> None:
        self._ca = ca
        self._private = private

    def call(self, caller: Caller, opnum: int, stub: bytes) -> Answer:
        """Execute CertServerRequest."""
        if opnum != CERT_SERVER_REQUEST:
            raise Fault(NO_SUCH_METHOD)
        if not caller.user or (self._private and not caller.private):
            raise Fault(ACCESS_DENIED)
        reader = Reader(stub)
        reader.u32()  # dwFlags: whatever it says, only a PKCS#10 is understood
        authority, number = reader.text(), reader.u32()
        attributes, request = reader.blob(), reader.blob()
        reply = self._reply(authority, number, attributes, request, caller.user)
        return Answer(encode(reply), reply.cut, reply.reset)

    def _reply(
        self, authority: str | None, number: int, attributes: bytes, request: bytes, user: str
    ) -> Reply:
        if len(authority or "") > MOST_AUTHORITY or not self._ca.is_called(authority):
            return Reply(request_id=number, result=hresults.INVALID_ARGUMENT)
        if number and not request:
            return self._ca.retrieve(number)
        if attributes and attributes[-2:] != b"\0\0":
            return Reply(request_id=number, result=hresults.INVALID_ARGUMENT)
        return self._ca.submit(request, pairs(attributes), user)


def pairs(attributes: bytes) -> dict[str, str]:
    """Return request attributes by lower-case name: MS-WCCE 3.2.1.4.2.1.2.

    Lines without a colon are ignored; blanks and minus signs before a name are no part of it.
    """
    try:
        text = decoded(attributes).rstrip("\0")
    except BadStub:
        return {}
    found = {}
    for line in text.replace("\r", "").split("\n"):
        name, colon, value = line.partition(":")
        if colon:
            found[name.lstrip(" -").rstrip().lower()] = value.strip()
    return found


def encode(reply: Reply) -> bytes:
    """Return CertServerRequest's results as a stub."""
    message = terminated(reply.message) if reply.message else b""
    writer = Writer().u32(reply.request_id).u32(reply.disposition)
    for blob in (reply.chain, reply.certificate, message):
        writer.align(4).blob(blob)
    return writer.u32(reply.result).done()
