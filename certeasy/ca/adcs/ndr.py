"""CertServerRequest, the one method of MS-ICPR, as it stands on the wire. MS-ICPR section 3.2.4.1.

impacket has a helper for it, which keeps the certificate and throws away what the CA decided, the
number of the request, the chain, and the sentence. Its NDR takes 4 ms for one call, more than all
the rest of an enrolment, and passes over what stands behind the end; so these few structures are
written and read here. C706 chapter 14: little-endian, aligned, pointers numbered by whoever writes.
"""

import struct
from collections.abc import Mapping

from msgspec import Struct

from certeasy.ca.adcs.errors import HResult
from certeasy.ca.adcs.security import Tampered

INTERFACE = bytes.fromhex("2060ae913c9ecf118d7c00aa00c091be00000000")
"""ICertPassage: 91ae6020-9e3c-11cf-8d7c-00aa00c091be, version 0.0."""
METHOD = 0
LONGEST_NAME = 1536
"""Of a CA, with the NUL. MS-ICPR section 3.2.4.1.1."""
FIRST_REFERENT = 0x0002_0000
"""Pointers are numbered from here, as Windows does. What the numbers are means nothing."""


class Reply(Struct, frozen=True):
    """What a CA says of a request. `disposition` is one of MS-WCCE's, or the code of a refusal.

    `chain` is a PKCS#7 and `certificate` a certificate, both DER, or empty. `message` is in the
    CA's own language.
    """

    disposition: int
    request_id: int
    chain: bytes
    certificate: bytes
    message: str


class Writer:
    """Writes one stub."""

    def __init__(self) -> None:
        self._stub = bytearray()
        self._referent = FIRST_REFERENT

    def number(self, value: int) -> "Writer":
        """Add four bytes, aligned."""
        self._stub += bytes(-len(self._stub) % 4) + struct.pack("<I", value)
        return self

    def _pointer(self) -> None:
        self.number(self._referent)
        self._referent += 4

    def text(self, value: str) -> "Writer":
        """Add a pointer to a string of UTF-16 that ends with a NUL."""
        self._pointer()
        return self.string(value)

    def string(self, value: str) -> "Writer":
        """Add a string itself, where it always stands."""
        data = (value + "\0").encode("utf-16-le")
        self.number(len(data) // 2).number(0).number(len(data) // 2)
        self._stub += data
        return self

    def blob(self, data: bytes) -> "Writer":
        """Add a CERTTRANSBLOB: bytes, or none. MS-WCCE section 2.2.2.2."""
        self.number(len(data))
        if not data:
            return self.number(0)
        self._pointer()
        self.number(len(data))
        self._stub += data
        return self

    def raw(self, data: bytes) -> "Writer":
        """Add bytes as they are."""
        self._stub += data
        return self

    def done(self) -> bytes:
        """Return the stub."""
        return bytes(self._stub)


class Reader:
    """Reads one stub. Raises Tampered for what is not there."""

    def __init__(self, stub: bytes) -> None:
        self._stub = stub
        self._at = 0

    def raw(self, length: int) -> bytes:
        """Return so many bytes."""
        self._at += length
        if self._at > len(self._stub):
            raise Tampered("the CA's reply is cut off")
        return self._stub[self._at - length : self._at]

    def number(self) -> int:
        """Return an aligned four bytes."""
        self.raw(-self._at % 4)
        return int.from_bytes(self.raw(4), "little")

    def align(self, size: int) -> None:
        """Pass over what stands before something that is aligned to so many bytes."""
        self.raw(-self._at % size)

    def blob(self) -> bytes:
        """Return what is in a CERTTRANSBLOB."""
        length = self.number()
        if not self.number():
            if length:
                raise Tampered("the CA's reply has a length without anything of that length")
            return b""
        if self.number() != length:
            raise Tampered("the CA's reply has two lengths for one thing")
        return self.raw(length)

    def end(self) -> None:
        """Make sure that nothing follows."""
        if self._at != len(self._stub):
            raise Tampered("there is something behind the end of the CA's reply")


def write_request(
    ca_name: str,
    *,
    request_id: int = 0,
    attributes: Mapping[str, str] | None = None,
    csr: bytes = b"",
) -> bytes:
    """Return the stub of a call. Without a CSR it asks for what became of `request_id`.

    Raises ValueError for what cannot be said on this wire.
    """
    if not 0 < len(ca_name) < LONGEST_NAME or "\0" in ca_name:
        raise ValueError(f"the name of a CA has 1 to {LONGEST_NAME - 1} letters")
    stub = Writer().number(0)  # the flags: that it is a PKCS#10, the CA sees
    stub.text(ca_name).number(request_id)
    return stub.blob(write_attributes(attributes or {})).blob(csr).done()


def write_attributes(attributes: Mapping[str, str]) -> bytes:
    """Return request attributes: lines of UTF-16, and a NUL behind them that counts.

    MS-WCCE section 2.2.2.7. Raises ValueError: a line break would be another attribute.
    """
    if not attributes:
        return b""
    for name, value in attributes.items():
        if not name or set(name) & set(":\r\n\0") or set(value) & set("\r\n\0"):
            raise ValueError(f"the request attribute {name!r} is not one line")
    lines = (f"{name}:{value}" for name, value in attributes.items())
    return ("\n".join(lines) + "\0").encode("utf-16-le")


def read_reply(stub: bytes) -> Reply:
    """Return what a stub says. Raises HResult if the method failed, Tampered if it says nothing."""
    reader = Reader(stub)
    request_id, disposition = reader.number(), reader.number()
    chain, certificate, message = reader.blob(), reader.blob(), reader.blob()
    code = reader.number()
    reader.end()
    if code:
        raise HResult(code)
    text = message.decode("utf-16-le", "replace").rstrip("\0\r\n ")
    return Reply(disposition, request_id, chain, certificate, text)
