"""ICertRequestD and ICertRequestD2, what certreq and the enrolment pages use: MS-WCCE 3.2.1.4."""

from uuid import UUID

from tools.adcs_sim import hresults
from tools.adcs_sim.ca import Ca, Reply
from tools.adcs_sim.connection import Answer
from tools.adcs_sim.dcom import Call, Method
from tools.adcs_sim.icpr import pairs
from tools.adcs_sim.ndr import Writer, terminated
from tools.adcs_sim.properties import BINARY, NEWEST, property_info, property_of, write_property

CLASS = UUID("d99e6e74-fc88-11d0-b498-00a0c90312f3")
ICERT_REQUEST_D = UUID("d99e6e70-fc88-11d0-b498-00a0c90312f3")
ICERT_REQUEST_D2 = UUID("5422fd3a-d4b8-4cef-a12e-e87d4ca22e90")


class CertRequest:
    """The methods, in front of one CA."""

    def __init__(self, ca: Ca) -> None:
        self._ca = ca

    @property
    def methods(self) -> dict[int, Method]:
        """Those of ICertRequestD."""
        return {3: self.request, 4: self.get_ca_cert, 5: self.ping}

    @property
    def methods2(self) -> dict[int, Method]:
        """Those of ICertRequestD2, the inherited ones included."""
        return {
            **self.methods,
            6: self.request2,
            7: self.get_ca_property,
            8: self.get_ca_property_info,
            9: self.ping,
        }

    def request(self, call: Call) -> int | Answer:
        """Submit or retrieve: 3.2.1.4.2.1."""
        reader = call.reader
        reader.u32()
        authority, number = reader.text(), reader.u32()
        attributes, csr = reader.text(), reader.blob()
        return self._answer(call, authority, (number, None), csr, attributes)

    def request2(self, call: Call) -> int | Answer:
        """Submit, or retrieve by number or serial: 3.2.1.4.3.1."""
        reader = call.reader
        authority = reader.text()
        reader.u32()
        serial, number = reader.text(), reader.u32()
        attributes, csr = reader.text(), reader.blob()
        return self._answer(call, authority, (number, serial), csr, attributes)

    def get_ca_cert(self, call: Call) -> int:
        """Return the CA's certificate, or with fchain its chain: 3.2.1.4.2.2."""
        chain, authority = call.reader.u32(), call.reader.text()
        if not self._ca.is_called(authority):
            call.writer.blob(b"")
            return hresults.INVALID_ARGUMENT
        found = property_of(self._ca, 0x0D if chain == 1 else 0x0C, NEWEST, BINARY)
        call.writer.blob(found or b"")
        return 0

    def ping(self, call: Call) -> int:
        """Say whether this is the CA that is looked for: 3.2.1.4.2.3, 3.2.1.4.3.4."""
        return 0 if self._ca.is_called(call.reader.text()) else hresults.INVALID_ARGUMENT

    def get_ca_property(self, call: Call) -> int:
        """Return a property: 3.2.1.4.3.2."""
        if self._ca.is_called(call.reader.text()):
            return write_property(self._ca, call)
        call.writer.blob(b"")
        return hresults.INVALID_ARGUMENT

    def get_ca_property_info(self, call: Call) -> int:
        """Return which properties there are: 3.2.1.4.3.3."""
        if not self._ca.is_called(call.reader.text()):
            call.writer.u32(0).blob(b"")
            return hresults.INVALID_ARGUMENT
        count, info = property_info()
        call.writer.u32(count).blob(info)
        return 0

    def _answer(
        self,
        call: Call,
        authority: str | None,
        which: tuple[int, str | None],
        csr: bytes,
        attributes: str | None,
    ) -> int | Answer:
        number, serial = which
        if not self._ca.is_called(authority) or (number and serial):
            reply = Reply(request_id=number, result=hresults.INVALID_ARGUMENT)
        elif csr:
            found = pairs((attributes or "").encode("utf-16-le"))
            reply = self._ca.submit(csr, found, call.caller.user)
        elif serial:
            reply = self._ca.retrieve_serial(serial)
        else:
            reply = self._ca.retrieve(number)
        _write(call.writer, reply)
        if reply.cut is None:
            return reply.result
        return Answer(call.writer.u32(reply.result).done(), reply.cut, reply.reset)


def _write(writer: Writer, reply: Reply) -> None:
    """Write what Request and Request2 return."""
    message = terminated(reply.message) if reply.message else b""
    writer.u32(reply.request_id).u32(reply.disposition)
    for blob in (reply.chain, reply.certificate, message):
        writer.blob(blob)
