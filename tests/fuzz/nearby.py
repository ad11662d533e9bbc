"""Hypothesis strategies for what is nearly right.

Bytes with a few places changed, JSON objects whose members are of another kind, DER elements with
anything in them.
"""

import base64
import binascii
from collections.abc import Sequence

import msgspec
from hypothesis import strategies as st

from tests.make.csrs import tlv

PIECES = st.binary(max_size=8) | st.sampled_from(
    [b"\0", b"\xff", b"\xed\xa0\x80", b'"', b"\\u0000", b"\\ud800", b"{", b"[" * 40, b"}", b":",
     b",", b"null", b"9" * 400, b"1e999", b"=", b"-", b"_", b"\n", b"\x30\x80", b"\x00\x00",
     b"\x02\x01", b"\x06\x03", b"\x84\xff\xff\xff\xff"]
)  # fmt: skip


HOW = st.sampled_from(["put", "take", "double", "turn", "cut"])
# What is drawn does not depend on the bytes that are changed: those may be others each time.
CHANGE = st.tuples(HOW, st.integers(0, 1 << 16), st.integers(0, 6), PIECES, st.integers(0, 7))


Changes = list[tuple[str, int, int, bytes, int]]


def changes(most: int = 4) -> st.SearchStrategy[Changes]:
    """Return a few changes, for `changed`."""
    return st.lists(CHANGE, max_size=most)


def changed(right: bytes, changes: Changes) -> bytes:
    """Return bytes with pieces put in, taken out, doubled, a bit turned over, or their end cut."""
    data = bytearray(right)
    for how, where, size, piece, bit in changes:
        at = where % (len(data) + 1)
        match how:
            case "put":
                data[at:at] = piece
            case "take":
                del data[at : at + size]
            case "double":
                data[at:at] = data[at : at + size]
            case "turn" if at < len(data):
                data[at] ^= 1 << bit
            case _:
                del data[at:]
    return bytes(data)


def near(examples: Sequence[bytes], *, most: int = 4) -> st.SearchStrategy[bytes]:
    """Return one of the examples, changed in a few places."""
    return st.builds(changed, st.sampled_from(list(examples)), changes(most))


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["valid", "deactivated", "dns", "ip", "web.lab.test", "mailto:a@b.test", ""])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)
MEMBERS = (
    "contact termsOfServiceAgreed onlyReturnExisting externalAccountBinding status identifiers type"
    " value notBefore notAfter replaces profile csr certificate reason identifier account oldKey x"
).split()


def objects() -> st.SearchStrategy[bytes]:
    """JSON objects with members that we know and values of any kind, written compactly."""
    identifiers = st.lists(
        st.fixed_dictionaries({"type": JSON, "value": JSON})
        | st.fixed_dictionaries({"type": st.just("dns"), "value": st.text(max_size=30)}),
        max_size=4,
    )
    members = st.dictionaries(st.sampled_from(MEMBERS), JSON, max_size=5)
    known = st.fixed_dictionaries({}, optional={"identifiers": identifiers, "contact": JSON})
    return st.tuples(members, known).map(_object)


def written(members: dict[str, object]) -> bytes:
    """Return an object as JSON."""
    return msgspec.json.encode(storable(members))


def _object(parts: tuple[dict[str, object], dict[str, object]]) -> bytes:
    return written(parts[0] | parts[1])


def storable(value: object) -> object:
    """Return a value that the encoder takes: no integers beyond 64 bits, no half characters."""
    match value:
        case bool() | None:
            return value
        case int():
            return msgspec.Raw(str(value).encode())
        case str():
            return value.encode("utf-8", "replace").decode()
        case list():
            return [storable(one) for one in value]
        case dict():
            return {str(storable(name)): storable(one) for name, one in value.items()}
        case _:
            return value


TAGS = st.sampled_from(
    [0x02, 0x03, 0x04, 0x05, 0x06, 0x0C, 0x13, 0x16, 0x1E, 0x30, 0x31, 0x80, 0x82, 0x86, 0x87, 0xA0,
     0xA4]
)  # fmt: skip
DER: st.SearchStrategy[bytes] = st.recursive(
    st.tuples(TAGS, st.binary(max_size=12)).map(lambda one: tlv(*one)),
    lambda inner: st.tuples(
        st.sampled_from([0x30, 0x31, 0xA0, 0xA3, 0x04]), st.lists(inner, max_size=3)
    ).map(lambda one: tlv(one[0], *one[1])),
    max_leaves=8,
)


def some(*names: str) -> st.SearchStrategy[dict[str, object]]:
    """Objects that have some of these members, with values of any kind."""
    return st.fixed_dictionaries({}, optional=dict.fromkeys(names, JSON))


def base64_texts() -> st.SearchStrategy[str]:
    """Texts that are nearly base64url."""
    return st.binary(max_size=40).map(
        lambda data: base64.urlsafe_b64encode(data).decode().rstrip("=")
    ) | st.text("ABQgwxyz019-_+/= \n", max_size=20)


def decoded_by_another(text: str) -> bytes | None:
    """Return what a text stands for in unpadded base64url by its one spelling, or None."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return None
    again = base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    return data if again == text else None
