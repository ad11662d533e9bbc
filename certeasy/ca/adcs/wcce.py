"""What a CA tells of itself: ICertRequestD2. MS-WCCE section 3.2.1.4.3.

Whoever may request certificates may ask. The answers come over a channel on which the CA has proven
itself to be the machine of the settings, and are protected: that is what the CA certificates that
are learnt here are trusted for.
"""

from uuid import UUID

from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Struct

from certeasy.ca.adcs import dcom
from certeasy.ca.adcs.chain import read
from certeasy.ca.adcs.csra import blob
from certeasy.ca.adcs.dcom import Remote
from certeasy.ca.adcs.deadline import Deadline
from certeasy.ca.adcs.errors import HResult, NotReached

CLASS = UUID("d99e6e74-fc88-11d0-b498-00a0c90312f3").bytes_le
REQUEST_2 = UUID("5422fd3a-d4b8-4cef-a12e-e87d4ca22e90").bytes_le

GET_PROPERTY, PING = 7, 9
LONG, BINARY, STRING = 1, 3, 4
CERTIFICATES, CERTIFICATE, CHAIN, TEMPLATES = 0x0B, 0x0C, 0x0D, 0x1D
MOST_CERTIFICATES = 32
"""A CA gets one with every renewal of its key or certificate: every few years."""


class Template(Struct, frozen=True):
    """A template that a CA offers: its cn, and its OID (empty: it has none)."""

    name: str
    oid: str


def ping(objects: dcom.Objects, ca_name: str, deadline: Deadline) -> None:
    """See whether the machine has a CA of this name that takes requests.

    Raises NotReached or HResult.
    """
    with objects.made(CLASS, REQUEST_2, deadline) as remote:
        dcom.done(remote.ask(PING, dcom.call().text(ca_name), deadline))


def certificates(objects: dcom.Objects, ca_name: str, deadline: Deadline) -> tuple[bytes, ...]:
    """Return the CA's certificates (DER), of all its keys, and those above the newest.

    Raises NotReached or HResult.
    """
    with objects.made(CLASS, REQUEST_2, deadline) as remote:
        data = _property(remote, ca_name, (CERTIFICATES, 0, LONG), deadline)
        count = int.from_bytes(data[:4], "little")
        if not 0 < count <= MOST_CERTIFICATES:
            raise NotReached("dcom", f"the CA says that it has {count} certificates")
        found: list[bytes] = []
        for index in reversed(range(count)):
            found += _certificate(remote, ca_name, index, newest=index == count - 1, until=deadline)
    return tuple(dict.fromkeys(found))


def _certificate(
    remote: Remote, ca_name: str, index: int, *, newest: bool, until: Deadline
) -> list[bytes]:
    """Return one of its certificates, and with the newest those above it.

    A certificate that was taken out of the CA is none of its certificates any more.
    """
    try:
        own = _property(remote, ca_name, (CERTIFICATE, index, BINARY), until)
    except HResult:
        if newest:
            raise
        return []
    if not newest:
        return [own]
    try:
        above = read(_property(remote, ca_name, (CHAIN, index, BINARY), until))
    except HResult:
        above = []  # it may not know the CAs above: then only the settings can tell
    return [own, *(one.public_bytes(Encoding.DER) for one in above)]


def templates(objects: dcom.Objects, ca_name: str, deadline: Deadline) -> tuple[Template, ...]:
    """Return the templates that the CA offers. Raises NotReached or HResult."""
    with objects.made(CLASS, REQUEST_2, deadline) as remote:
        data = _property(remote, ca_name, (TEMPLATES, 0, STRING), deadline)
    lines = data.decode("utf-16-le", "replace").rstrip("\0").split("\n")
    return tuple(
        Template(name, oid) for name, oid in zip(lines[::2], lines[1::2], strict=False) if name
    )


def _property(
    remote: Remote, ca_name: str, which: tuple[int, int, int], deadline: Deadline
) -> bytes:
    """Return a property by number, index and type: 3.2.1.4.3.2."""
    asked = dcom.call().text(ca_name)
    for number in which:
        asked.number(number)
    return blob(remote.ask(GET_PROPERTY, asked, deadline))
