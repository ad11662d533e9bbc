"""Heads: a place in the log told in one line, to be kept where the log cannot reach.

A head that was printed, mailed or logged elsewhere pins everything before it: whoever rolls the
whole installation back, or cuts a journal's tail, contradicts it.
"""

import msgspec

from events.envelope import JWS_MEMBER, Record


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The event at `position`: who wrote it, its line's hash (SHA-256, hex) and signature."""

    position: int
    server_id: str
    seq: int
    hash: str
    jws: str


_heads = msgspec.json.Decoder(Head)
_encode = msgspec.json.Encoder().encode


def head_of(record: Record) -> Head:
    """Return the head that a line is."""
    line = record.envelope
    jws = record.line[record.line.rfind(JWS_MEMBER) + len(JWS_MEMBER) : -2].decode("ascii")
    return Head(line.position, line.server_id, line.seq, record.hash, jws)


def encode_head(head: Head) -> bytes:
    """Return a head as the one line of JSON that `read_heads` reads."""
    return _encode(head)


def read_heads(text: bytes) -> list[Head]:
    """Read pinned heads, one a line, in order of position; empty lines do not count.

    Raises ValueError, naming the line, for anything else.
    """
    heads = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            heads.append(_heads.decode(line))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"line {number} is not a head: {error}") from None
    return sorted(heads, key=lambda head: head.position)
