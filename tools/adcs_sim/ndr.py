"""Reading and writing NDR, the way parameters of an RPC call become bytes: C706 chapter 14.

Transfer syntax NDR 2.0, little-endian, 32-bit. Both sides count alignment from the start of what
they were given, which is the start of the stub.
"""

import struct
from typing import Self
from uuid import UUID

REFERENT = 0x00020000
"""Pointers are numbered from here: any number but zero says that something follows."""


class BadStub(ValueError):
    """The bytes are not what the method's signature says."""


class Reader:
    """Reads values one after another. Raises BadStub if there is less than there should be."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.offset = 0

    def align(self, to: int) -> None:
        """Skip padding, so that the next value begins at a multiple of `to`."""
        self.offset += -self.offset % to

    def raw(self, length: int) -> bytes:
        """Return that many bytes."""
        if length > len(self._data) - self.offset:
            raise BadStub(f"{length} bytes wanted at {self.offset} of {len(self._data)}")
        self.offset += length
        return self._data[self.offset - length : self.offset]

    def u8(self) -> int:
        """Return a byte."""
        return self.raw(1)[0]

    def u16(self) -> int:
        """Return an unsigned short."""
        return self._number(2)

    def u32(self) -> int:
        """Return an unsigned long."""
        return self._number(4)

    def u64(self) -> int:
        """Return an unsigned hyper."""
        return self._number(8)

    def uuid(self) -> UUID:
        """Return a GUID."""
        self.align(4)
        return UUID(bytes_le=self.raw(16))

    def text(self) -> str | None:
        """Return what a unique pointer to a string of wide characters points to; None: null."""
        return self.text_there() if self.u32() else None

    def text_there(self) -> str:
        """Return a conformant varying string of wide characters, without its terminating zero."""
        most, skipped, length = self.u32(), self.u32(), self.u32()
        if skipped or length > most:
            raise BadStub(f"a string of {length} in {most} from {skipped}")
        wide = self.raw(2 * length)
        if wide[-2:] != b"\0\0":
            raise BadStub("a string without an end")
        return decoded(wide[:-2])

    def blob(self) -> bytes:
        """Return a CERTTRANSBLOB (MS-WCCE 2.2.2.2): a length, a unique pointer, the bytes."""
        length, pointer = self.u32(), self.u32()
        if not pointer:
            if length:
                raise BadStub(f"{length} bytes behind a null pointer")
            return b""
        if self.u32() != length:
            raise BadStub("two lengths of a blob differ")
        return self.raw(length)

    def _number(self, size: int) -> int:
        self.align(size)
        return int.from_bytes(self.raw(size), "little")


class Writer:
    """Writes values one after another. Every method returns the writer."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._referent = REFERENT

    def align(self, to: int) -> Self:
        """Pad, so that the next value begins at a multiple of `to`."""
        self.data += bytes(-len(self.data) % to)
        return self

    def raw(self, data: bytes) -> Self:
        """Write bytes as they are."""
        self.data += data
        return self

    def u8(self, value: int) -> Self:
        """Write a byte."""
        return self.raw(bytes((value,)))

    def u16(self, value: int) -> Self:
        """Write an unsigned short."""
        return self.align(2).raw(struct.pack("<H", value))

    def u32(self, value: int) -> Self:
        """Write an unsigned long."""
        return self.align(4).raw(struct.pack("<I", value))

    def u64(self, value: int) -> Self:
        """Write an unsigned hyper."""
        return self.align(8).raw(struct.pack("<Q", value))

    def uuid(self, value: UUID) -> Self:
        """Write a GUID."""
        return self.align(4).raw(value.bytes_le)

    def pointer(self, *, null: bool = False) -> Self:
        """Write a unique pointer; what it points to is written afterwards."""
        if null:
            return self.u32(0)
        self._referent += 4
        return self.u32(self._referent - 4)

    def text(self, value: str | None) -> Self:
        """Write a unique pointer to a string of wide characters."""
        if value is None:
            return self.pointer(null=True)
        wide = terminated(value)
        length = len(wide) // 2
        return self.pointer().u32(length).u32(0).u32(length).raw(wide)

    def blob(self, value: bytes) -> Self:
        """Write a CERTTRANSBLOB."""
        self.u32(len(value))
        if not value:
            return self.pointer(null=True)
        return self.pointer().u32(len(value)).raw(value)

    def done(self) -> bytes:
        """Return all that was written."""
        return bytes(self.data)


def terminated(text: str) -> bytes:
    """Return text as Windows likes it in blobs: UTF-16LE with a zero at its end."""
    return (text + "\0").encode("utf-16-le")


def decoded(wide: bytes) -> str:
    """Return the text of UTF-16LE bytes. Raises BadStub if that is not what they are."""
    try:
        return wide.decode("utf-16-le")
    except UnicodeDecodeError as error:
        raise BadStub(str(error)) from error
