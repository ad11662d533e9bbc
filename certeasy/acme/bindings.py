"""External account bindings: the JWS inside a new account's request. RFC 8555 section 7.3.4.

It is made with a MAC key that an administrator has handed out, by one of three HMACs and by nothing
else; `certeasy.acme.jws`, which reads requests, knows no HMAC in turn, so neither can be talked
into the other's algorithms. The steps, in their order:

(1) The binding is a flattened JWS whose protected header has an HMAC as `alg`, `kid` and `url`, and
    no nonce.
(2) Its url is the one of the request around it.
(3) What it signs is the request's key, by its thumbprint: other members of a JWK change nothing.
(4) The key that `kid` names is one that was handed out, and is at hand.
(5) The MAC is that key's, compared in constant time.

Whether the key may still bind anybody is decided where the account is (`decide.eab.use`).
"""

import hmac
from collections.abc import Callable
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from certeasy.acme import base64url
from certeasy.acme.jws import MAX_JWK, AccountKey
from certeasy.acme.messages import Binding
from certeasy.acme.strict_json import read, shown
from certeasy.decide import eab
from certeasy.decide.problems import Problem, Refused

HASHES = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}

MacKey = Callable[[str], bytes | None]
"""Find a key by its id; None: there is none."""


class _Header(msgspec.Struct, frozen=True):
    alg: Annotated[str, Meta(max_length=64)]
    kid: Annotated[str, Meta(max_length=2048)] = ""
    url: Annotated[str, Meta(max_length=2048)] = ""
    nonce: Raw | UnsetType = UNSET
    jwk: Raw | UnsetType = UNSET
    crit: Raw | UnsetType = UNSET
    b64: Raw | UnsetType = UNSET


_HEADER = msgspec.json.Decoder(_Header)
_WHAT = "the externalAccountBinding"


def verified(binding: Binding, *, url: str, key: AccountKey, mac_key: MacKey) -> str:
    """Return the id of the key that binds a request with this url and key.

    Raises Refused: malformed for a binding that is none, or not this request's; unauthorized for a
    key that is not known or that did not make it.
    """
    # (1) The binding is a flattened JWS with an HMAC.
    header = _header(binding)
    # (2) Its url is the one of the request around it.
    if header.url != url:
        raise _malformed(f"is for the url {shown(header.url, 200)}, not for {shown(url, 200)}")
    # (3) What it signs is the request's key.
    jwk = base64url.decode(binding.payload, f"{_WHAT}'s payload")
    if len(jwk) > MAX_JWK or AccountKey.from_jwk(jwk).thumbprint != key.thumbprint:
        raise _malformed("signs another key than the one that the request is signed with")
    # (4) The key that `kid` names is at hand.
    secret = mac_key(header.kid)
    if secret is None:
        raise eab.refused(header.kid, "is not known here")
    # (5) The MAC is that key's.
    signature = base64url.decode(binding.signature, f"{_WHAT}'s signature")
    signed = f"{binding.protected}.{binding.payload}".encode("ascii")
    if not _is_made_with(secret, header.alg, signed, signature):
        raise Refused(Problem.UNAUTHORIZED, _mistaken(secret, header, signed, signature))
    return header.kid


def _header(binding: Binding) -> _Header:
    if binding.header is not UNSET or binding.signatures is not UNSET:
        raise _malformed("must be a flattened JWS, with a protected header only")
    raw = base64url.decode(binding.protected, f"{_WHAT}'s protected header")
    header = read(_HEADER, raw, f"{_WHAT}'s protected header")
    if header.alg not in HASHES:
        raise Refused(
            Problem.BAD_SIGNATURE_ALGORITHM,
            f"{_WHAT}'s algorithm {shown(header.alg)} is not taken; use one of {', '.join(HASHES)}",
            algorithms=HASHES,
        )
    if any(each is not UNSET for each in (header.nonce, header.jwk, header.crit, header.b64)):
        raise _malformed("has 'nonce', 'jwk', 'crit' or 'b64' in its header, which must not be")
    if not header.kid:
        raise _malformed("has no 'kid' in its header: the id of the key that was handed out")
    return header


def _is_made_with(secret: bytes, algorithm: str, signed: bytes, signature: bytes) -> bool:
    made = hmac.digest(secret, signed, HASHES[algorithm])
    return hmac.compare_digest(made, signature)


def _mistaken(secret: bytes, header: _Header, signed: bytes, signature: bytes) -> str:
    """Return what is wrong with a MAC, for who may have made a usual mistake."""
    detail = f"The external account binding was not made with the key {shown(header.kid, 200)}"
    text = base64url.encode(secret).encode("ascii")
    if _is_made_with(text, header.alg, signed, signature):
        return f"{detail} but with its text: the client has to decode it from base64url first"
    return f"{detail}: check that all of it was copied, without spaces or quotes"


def _malformed(what: str) -> Refused:
    return Refused(Problem.MALFORMED, f"{_WHAT} {what}")
