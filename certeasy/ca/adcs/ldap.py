"""LDAP as far as a directory is read here: a bind by SASL, and searches. RFC 4511.

Messages are made and taken apart, nothing is sent. What comes back is bounded and definite: a
length that is not, a tag that is not expected, or more depth than there is in an answer is
`Malformed`, whatever the bytes are.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from msgspec import Struct

LARGEST_MESSAGE = 4 << 20
MECHANISM = "GSS-SPNEGO"
SD_FLAGS = "1.2.840.113556.1.4.801"
"""A control: which parts of security descriptors are wanted. MS-ADTS section 3.1.1.3.4.1.11."""
OWNER_GROUP_DACL = 7

BOOLEAN, INTEGER, OCTETS, ENUM, SEQUENCE, SET = 0x01, 0x02, 0x04, 0x0A, 0x30, 0x31
BIND, BIND_RESPONSE, UNBIND, SEARCH, ENTRY, DONE, REFERENCE, EXTENDED = (
    0x60,
    0x61,
    0x42,
    0x63,
    0x64,
    0x65,
    0x73,
    0x78,
)
SASL, SERVER_CREDENTIALS, CONTROLS, EQUALS, PRESENT = 0xA3, 0x87, 0xA0, 0xA3, 0x87

SUCCESS, STRONGER_AUTH_REQUIRED, BIND_IN_PROGRESS, NO_SUCH_OBJECT, INVALID_CREDENTIALS = (
    0,
    8,
    14,
    32,
    49,
)
RESULTS = {
    1: "operationsError",
    2: "protocolError",
    3: "timeLimitExceeded",
    4: "sizeLimitExceeded",
    7: "authMethodNotSupported",
    8: "strongerAuthRequired",
    11: "adminLimitExceeded",
    13: "confidentialityRequired",
    32: "noSuchObject",
    48: "inappropriateAuthentication",
    49: "invalidCredentials",
    50: "insufficientAccessRights",
    51: "busy",
    52: "unavailable",
    53: "unwillingToPerform",
}

Scope = Literal["object", "children", "below"]
_SCOPES: dict[Scope, int] = {"object": 0, "children": 1, "below": 2}


class Malformed(ValueError):
    """This is no message of LDAP's, or none that is expected."""


class Object(Struct, frozen=True):
    """An object of the directory; its attributes by their lower-case names, without options."""

    dn: str
    attributes: Mapping[str, Sequence[bytes]]

    def first(self, name: str) -> bytes:
        """Return an attribute's first value, or nothing."""
        values = self.attributes.get(name.lower(), ())
        return values[0] if values else b""


class Outcome(Struct, frozen=True):
    """How a bind or a search ended."""

    code: int
    message: str
    token: bytes = b""

    @property
    def symbol(self) -> str:
        """The code's name."""
        return RESULTS.get(self.code, f"result {self.code}")


# -- requests ----------------------------------------------------------------------------------


def bind(number: int, token: bytes) -> bytes:
    """Return a bind by SASL, or its next step."""
    sasl = _tlv(SASL, _text(MECHANISM) + _tlv(OCTETS, token))
    return _message(number, _tlv(BIND, _integer(3) + _text("") + sasl))


def unbind(number: int) -> bytes:
    """Return a good-bye."""
    return _message(number, _tlv(UNBIND, b""))


def search(
    number: int,
    base: str,
    scope: Scope,
    attributes: Sequence[str],
    *,
    equals: tuple[str, str] | None = None,
    limit: int = 1000,
    seconds: int = 30,
    descriptors: bool = False,
) -> bytes:
    """Return a search below `base` for objects whose attribute `equals` a value, or for any.

    `descriptors`: nTSecurityDescriptor comes without the part that only auditors may read; with it,
    or without this, an ordinary account gets none.
    """
    wanted = (
        _tlv(PRESENT, b"objectClass")
        if equals is None
        else _tlv(EQUALS, _text(equals[0]) + _text(equals[1]))
    )
    body = (
        _text(base)
        + _integer(_SCOPES[scope], ENUM)
        + _integer(0, ENUM)  # aliases are not followed
        + _integer(limit)
        + _integer(seconds)
        + _tlv(BOOLEAN, b"\0")
        + wanted
        + _tlv(SEQUENCE, b"".join(_text(each) for each in attributes))
    )
    flags = _tlv(OCTETS, _tlv(SEQUENCE, _integer(OWNER_GROUP_DACL)))
    control = _tlv(SEQUENCE, _text(SD_FLAGS) + _tlv(BOOLEAN, b"\xff") + flags)
    return _message(number, _tlv(SEARCH, body), _tlv(CONTROLS, control) if descriptors else b"")


# -- answers -----------------------------------------------------------------------------------


def length_of(head: bytes) -> int | None:
    """Return how long the message is that begins like this; None: more of it is needed.

    Raises Malformed, also for one that is too large.
    """
    if len(head) < 2:  # noqa: PLR2004 - a tag and a length
        return None
    if head[0] != SEQUENCE:
        raise Malformed("this is no message of LDAP's")
    try:
        return _head(head, 0, LARGEST_MESSAGE)[2]
    except IndexError:
        return None


def answer(data: bytes) -> tuple[int, Object | Outcome | None]:
    """Return the number of the request that a message answers, and what it says.

    None: a reference to another directory, which is not followed. Raises Malformed.
    """
    try:
        ((tag, whole),) = _values(data)
        parts = list(_values(whole))
        (_, number), (kind, body) = parts[0], parts[1]
        if tag != SEQUENCE or parts[0][0] != INTEGER:
            raise Malformed("this is no message of LDAP's")
        return int.from_bytes(number, "big"), _operation(kind, body)
    except (ValueError, IndexError) as error:
        raise Malformed(str(error) or "a message is cut off") from None


def _operation(kind: int, body: bytes) -> Object | Outcome | None:
    if kind == ENTRY:
        return _object(body)
    if kind in {BIND_RESPONSE, DONE, EXTENDED}:
        parts = list(_values(body))
        if parts[0][0] != ENUM:
            raise Malformed("an answer has no result")
        token = next((value for tag, value in parts if tag == SERVER_CREDENTIALS), b"")
        code = int.from_bytes(parts[0][1], "big")
        return Outcome(code, parts[2][1].decode("utf-8", "replace"), token)
    if kind == REFERENCE:
        return None
    raise Malformed(f"an answer of the unexpected kind {kind:#x}")


def _object(body: bytes) -> Object:
    (_, dn), (_, listed) = _values(body)
    attributes: dict[str, list[bytes]] = {}
    for _, each in _values(listed):
        (_, name), (_, values) = _values(each)
        # Long lists come with an option, `member;range=0-1499`.
        plain = name.decode("ascii", "replace").partition(";")[0].lower()
        attributes.setdefault(plain, []).extend(value for _, value in _values(values))
    return Object(dn.decode("utf-8", "replace"), attributes)


# -- BER ---------------------------------------------------------------------------------------


def _tlv(tag: int, value: bytes) -> bytes:
    length = len(value)
    if length < 0x80:  # noqa: PLR2004 - the short form
        return bytes((tag, length)) + value
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + value


def _text(value: str) -> bytes:
    return _tlv(OCTETS, value.encode())


def _integer(value: int, tag: int = INTEGER) -> bytes:
    return _tlv(tag, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _message(number: int, operation: bytes, controls: bytes = b"") -> bytes:
    return _tlv(SEQUENCE, _integer(number) + operation + controls)


def _values(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the tags and values that stand one behind the other. Raises Malformed or IndexError."""
    at = 0
    while at < len(data):
        tag, start, end = _head(data, at, len(data))
        yield tag, data[start:end]
        at = end


def _head(data: bytes, at: int, most: int) -> tuple[int, int, int]:
    """Return the tag at `at`, where its value begins and where it ends, at `most` at the latest."""
    tag, length, start = data[at], data[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        if not 1 <= size <= 4:  # noqa: PLR2004 - definite, and below 4 GiB
            raise Malformed("a length is indefinite, or of more than four bytes")
        if start + size > len(data):
            raise IndexError
        length = int.from_bytes(data[start : start + size], "big")
        start += size
    if start + length > most:
        raise Malformed("a value is longer than what it is in")
    return tag, start, start + length
