"""Distinguished names, read from their bytes.

Names are compared byte for byte, which is how issuers and subjects meet in practice (RFC 5280
section 7.1 allows more, and nobody does more), and read without the length limits of X.520: a
common name that is empty or too long is to be refused in our words, or tolerated, by our rules.

What comes in here has been parsed as a certificate or request before; this only finds its way in
bytes that are known to be DER.
"""

from collections.abc import Iterator

COMMON_NAME = "2.5.4.3"
SHORT_NAMES = {
    COMMON_NAME: "CN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "emailAddress",
}
"""What people call the attributes that are met most."""

# The character sets of the string types; what is none of them is read as Latin-1, for messages.
_TEXT = {0x0C: "utf-8", 0x13: "ascii", 0x16: "ascii", 0x1C: "utf-32-be", 0x1E: "utf-16-be"}
_LONG_FORM = 0x80
_LONG_TAG = 0x1F
_VERSION_TAG = 0xA0


def request_subject(request: bytes) -> bytes:
    """Return the subject, DER, of a PKCS#10 request in DER (RFC 2986 section 4.1)."""
    fields = _fields_of_signed(request)
    next(fields)  # version
    return next(fields)


def certificate_names(certificate: bytes) -> tuple[bytes, bytes]:
    """Return issuer and subject, each in DER, of a certificate in DER (RFC 5280 section 4.1)."""
    fields = [field for field in _fields_of_signed(certificate) if field[0] != _VERSION_TAG]
    return fields[2], fields[4]  # serial, signature, issuer, validity, subject


def attributes(name: bytes) -> tuple[tuple[str, str], ...]:
    """Return the attributes of a name in DER, in its order: dotted OID and text.

    What is not valid in its character set is replaced by U+FFFD.
    """
    return tuple((oid, _text(value)) for oid, value in values(name))


def values(name: bytes) -> tuple[tuple[str, bytes], ...]:
    """Return the attributes of a name in DER, in its order: dotted OID, and value in DER."""
    return tuple(
        (_dotted(oid), value)
        for relative in _parts(name)
        for attribute in _parts(relative)
        for oid, value in [tuple(_parts(attribute))]
    )


def common_names(name: bytes) -> tuple[str, ...]:
    """Return the common names of a name in DER, in its order."""
    return tuple(text for oid, text in attributes(name) if oid == COMMON_NAME)


def start_of_signed(signed: bytes) -> int:
    """Return where the first field begins of what was signed, in a SIGNED structure in DER."""
    outer, _ = _content(signed, 0)
    inner, _ = _content(signed, outer)
    return inner


def _fields_of_signed(signed: bytes) -> Iterator[bytes]:
    """Give the fields of what was signed: the first part of a SIGNED structure."""
    return _parts(next(_parts(signed)))


def _parts(element: bytes) -> Iterator[bytes]:
    """Give the elements inside an element, each with its tag and length."""
    at, end = _content(element, 0)
    while at < end:
        _, after = _content(element, at)
        yield element[at:after]
        at = after


def _content(data: bytes, at: int) -> tuple[int, int]:
    """Return where the content of the element at `at` begins and ends."""
    if data[at] & _LONG_TAG == _LONG_TAG:
        at += 1
        while data[at] >= _LONG_FORM:
            at += 1
    length, start = data[at + 1], at + 2
    if length >= _LONG_FORM:
        octets = length - _LONG_FORM
        length, start = int.from_bytes(data[start : start + octets], "big"), start + octets
    return start, start + length


def _dotted(oid: bytes) -> str:
    """Return an OBJECT IDENTIFIER element as people write it."""
    start, _ = _content(oid, 0)
    arcs, value = [], 0
    for octet in oid[start:]:
        value = value << 7 | octet & 0x7F
        if octet < _LONG_FORM:
            arcs.append(value)
            value = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))


def _text(value: bytes) -> str:
    """Return a string element as text."""
    start, _ = _content(value, 0)
    return value[start:].decode(_TEXT.get(value[0], "latin-1"), "replace")
