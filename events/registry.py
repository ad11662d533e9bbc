"""Which facts there are: every event type by its permanent name, and how its old shapes are read.

A name never changes meaning. A changed shape raises the schema and leaves an upcaster behind, so
that a line written years ago still decodes; a line from the future is refused by name, never
skipped.
"""

from collections.abc import Callable
from typing import TypeVar

import msgspec


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that happened; its fields are the members of a line's `data`."""


class UnknownEvent(Exception):
    """A line's type is not one that this version knows."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"event type {kind!r} is unknown to this version; a newer one wrote it")
        self.kind = kind


class NewerSchema(Exception):
    """A line's data has a newer shape than this version can read."""

    def __init__(self, kind: str, schema: int, known: int) -> None:
        super().__init__(
            f"event type {kind!r} has schema {schema}; this version reads up to {known}"
        )
        self.kind = kind


class UndecodableEvent(Exception):
    """A line's data does not have the shape that its type and schema promise."""


Data = dict[str, object]
Upcaster = Callable[[Data], Data]
E = TypeVar("E", bound=type[Event])

TYPES: dict[str, type[Event]] = {}
NAMES: dict[type[Event], tuple[str, int]] = {}
UPCASTERS: dict[tuple[str, int], Upcaster] = {}
_decoders: dict[str, msgspec.json.Decoder[Event]] = {}
_encode = msgspec.json.Encoder().encode


def event(kind: str, schema: int = 1) -> Callable[[E], E]:
    """Give a struct its permanent name and the schema of its present shape."""

    def register(struct: E) -> E:
        TYPES[kind] = struct
        NAMES[struct] = (kind, schema)
        _decoders[kind] = msgspec.json.Decoder(struct)
        return struct

    return register


def upcaster(kind: str, schema: int) -> Callable[[Upcaster], Upcaster]:
    """Register how `data` of this older schema becomes `data` of the next one."""

    def register(function: Upcaster) -> Upcaster:
        UPCASTERS[kind, schema] = function
        return function

    return register


def name_of(fact: Event) -> tuple[str, int]:
    """Return an event's type and schema, as its line has them."""
    return NAMES[type(fact)]


def encode_data(fact: Event) -> bytes:
    """Return the event's members as compact JSON."""
    return _encode(fact)


def decode_data(kind: str, schema: int, data: bytes) -> Event:
    """Read a line's `data`, whatever schema it was written in.

    Raises UnknownEvent or NewerSchema for what only a newer version understands, UndecodableEvent
    where the data is not of the promised shape.
    """
    struct = TYPES.get(kind)
    if struct is None:
        raise UnknownEvent(kind)
    known = NAMES[struct][1]
    if schema > known:
        raise NewerSchema(kind, schema, known)
    if schema < 1:
        raise UndecodableEvent(f"{kind} schema {schema}: schemas count from 1")
    try:
        if schema == known:
            return _decoders[kind].decode(data)
        older = msgspec.json.decode(data, type=dict[str, object])
        for step in range(schema, known):
            older = UPCASTERS[kind, step](older)
        return msgspec.convert(older, struct)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UndecodableEvent(f"{kind} schema {schema}: {error}") from error
