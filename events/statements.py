"""What a key says before it signs lines: that a node may join, that it takes over from another key.

A statement is a detached JWS like that of a line, over a short JSON object that names all that is
meant. No statement can be taken for another, nor for a line: their members differ.
"""

import msgspec

from events.signing import (
    SIGNATURE_LENGTH,
    BadSignature,
    PublicKey,
    SigningKey,
    from_base64url,
    protected_header,
)

_encode = msgspec.json.Encoder().encode


def joining(installation_id: str, server_id: str, kid: str) -> bytes:
    """Return what an invitation's key says: this node, with this key, may join."""
    return _encode({"installation_id": installation_id, "server_id": server_id, "kid": kid})


def succeeding(server_id: str, kid: str, previous: str) -> bytes:
    """Return what a node's new key says: it takes over from the key `previous`."""
    return _encode({"server_id": server_id, "kid": kid, "previous": previous})


def state(key: SigningKey, payload: bytes) -> str:
    """Return the statement: `<protected>..<signature>`."""
    return key.sign(payload).decode()


def check(statement: str, key: PublicKey, payload: bytes) -> None:
    """Raise BadSignature unless it is the one spelling of this key's signature over the payload."""
    header, _dots, signature = statement.partition("..")
    if header.encode() != protected_header(key.kid) or len(signature) != SIGNATURE_LENGTH:
        raise BadSignature(f"not a detached JWS by key {key.kid}")
    try:
        raw = from_base64url(signature)
    except ValueError as error:
        raise BadSignature(f"the signature by key {key.kid}: {error}") from None
    key.verify(payload, raw)
