"""The line an event is kept in: canonical JSON, closed by a detached signature.

The bytes that were signed are kept and never encoded again: journal, database and export carry the
same line. Reading is strict: a line has one spelling only, or it is broken
(docs/journal-format.md).
"""

import hashlib
import re
from datetime import datetime
from functools import lru_cache

import msgspec

from events.nesting import deeper_than
from events.registry import Event, decode_data
from events.sealing import Sealed
from events.signing import SIGNATURE_LENGTH, PublicKey, SigningKey, from_base64url, protected_header

VERSION = 1
MAX_LINE = 256 * 1024
MAX_DEPTH = 64
ZERO_HASH = "0" * 64
JWS_MEMBER = b',"jws":"'
_HEADER_START = b'{"alg":"EdDSA","b64":false,"crit":["b64"],"kid":"'
# 64 bytes in base64url without padding: of the last character only the two highest bits are used.
_SIGNATURE = re.compile(rb"[A-Za-z0-9_-]{85}[AQgw]")
_CLOSING = 2  # the line's last two bytes: the quote and the brace


class Actor(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who did it: an ACME account, an administrator, or the system by one of its parts.

    `key` is the RFC 7638 thumbprint of the account key that signed the request.
    """

    kind: str
    id: str = ""
    sealed: Sealed | None = None
    key: str = ""


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line's members, in their order, without the signature (DESIGN: the envelope)."""

    v: int
    position: int
    server_id: str
    seq: int
    prev: str
    head: str
    at: str
    stream: str
    version: int
    type: str
    schema: int
    actor: msgspec.Raw
    data: msgspec.Raw


class BrokenLine(Exception):
    """A line is not the one spelling that an event has."""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Envelope)
_actors = msgspec.json.Decoder(Actor)


class Record:
    """An event as it is kept: its envelope, and the very bytes that were signed."""

    __slots__ = ("envelope", "hash", "line")

    def __init__(self, envelope: Envelope, line: bytes) -> None:
        self.envelope = envelope
        self.line = line
        self.hash = hashlib.sha256(line).hexdigest()

    @property
    def event(self) -> Event:
        """Decode `data`; raises as `events.registry.decode_data` does."""
        return decode_data(self.envelope.type, self.envelope.schema, bytes(self.envelope.data))

    @property
    def actor(self) -> Actor:
        """Decode `actor`; raises msgspec.MsgspecError if it is not one."""
        return _actors.decode(self.envelope.actor)

    @property
    def kid(self) -> str:
        """Return the id of the key that the line says it was signed with."""
        return _kid(self.line[self.line.rfind(JWS_MEMBER) + len(JWS_MEMBER) :].partition(b"..")[0])

    @property
    def payload(self) -> bytes:
        """Return the bytes the signature is over."""
        return self.line[: self.line.rfind(JWS_MEMBER)] + b"}"

    def verify(self, key: PublicKey) -> None:
        """Raise BadSignature unless the line was signed with this key."""
        signature = self.line[-SIGNATURE_LENGTH - _CLOSING : -_CLOSING].decode("ascii")
        key.verify(self.payload, from_base64url(signature))


_TO_THE_SECOND = len("2026-01-02T03:04:05")


def timestamp(at: datetime) -> str:
    """Return RFC 3339 in UTC with six decimals, so that texts sort as times do."""
    return f"{at:%Y-%m-%dT%H:%M:%S.%f}Z"


def second_of(at: str) -> str:
    """Return the second that a timestamp lies in: the part of it that says so."""
    return at[:_TO_THE_SECOND]


def encode(value: object) -> msgspec.Raw:
    """Return an actor's or event's members as compact JSON, ready for an envelope."""
    return msgspec.Raw(_encoder.encode(value))


def seal_line(envelope: Envelope, key: SigningKey) -> Record:
    """Sign an envelope: the record whose line is stored everywhere.

    Raises BrokenLine where the line would be longer, or nested deeper, than any reader accepts.
    """
    payload = _encoder.encode(envelope)
    line = payload[:-1] + JWS_MEMBER + key.sign(payload) + b'"}'
    if len(line) > MAX_LINE:
        raise BrokenLine(
            f"{envelope.type} would take {len(line)} bytes; a line has at most {MAX_LINE}"
        )
    if deeper_than(MAX_DEPTH, line):
        raise BrokenLine(f"{envelope.type} would be nested deeper than {MAX_DEPTH} levels")
    return Record(envelope, line)


def parse(line: bytes) -> Record:
    """Read one line (without its newline).

    Raises BrokenLine for anything but the canonical spelling: other member order, white space, a
    duplicate or unknown member, another protected header, a signature in non-canonical base64url.
    The signature itself is checked by `Record.verify`.
    """
    if len(line) > MAX_LINE:
        raise BrokenLine(f"a line of {len(line)} bytes; at most {MAX_LINE} are allowed")
    cut = line.rfind(JWS_MEMBER)
    if cut < 0 or not line.endswith(b'"}'):
        raise BrokenLine("the line does not end with a signature")
    payload = line[:cut] + b"}"
    if deeper_than(MAX_DEPTH, payload):
        raise BrokenLine(f"nested deeper than {MAX_DEPTH} levels")
    try:
        envelope = _decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BrokenLine(f"not an event: {error}") from None
    if _encoder.encode(envelope) != payload:
        raise BrokenLine("not the canonical spelling of its envelope")
    if envelope.v != VERSION:
        raise BrokenLine(f"envelope format {envelope.v}; this version reads {VERSION}")
    _check_signature_form(line[cut + len(JWS_MEMBER) : -_CLOSING])
    return Record(envelope, line)


def _check_signature_form(jws: bytes) -> None:
    try:
        header, dots, signature = jws.partition(b"..")
        if not dots:
            raise ValueError("it is no detached JWS")
        _kid(header)
        if len(signature) != SIGNATURE_LENGTH:
            raise ValueError("the signature has not 64 bytes")
        if not _SIGNATURE.fullmatch(signature):
            raise ValueError("not canonical base64url")
    except ValueError as error:
        raise BrokenLine(f"the signature member: {error}") from None


@lru_cache(maxsize=32)  # a log has as many headers as keys, and a million lines
def _kid(header: bytes) -> str:
    """Return the key id in a protected header; ValueError for any but the one it may have."""
    kid = from_base64url(header.decode("ascii"))[len(_HEADER_START) : -_CLOSING].decode("ascii")
    if header != protected_header(kid):
        raise ValueError("the protected header is not the one this format has")
    return kid
