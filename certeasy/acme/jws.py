"""Signed requests: what a JWS must look like, which keys may sign, and whether one did.

RFC 8555 section 6.2 lets through the flattened JSON form with one signature and a protected header
only. Rules this file keeps:

* A key has one algorithm, whatever `alg` claims; a claim of another one is refused by name.
* A key is what its required members are (RFC 7638); `kid`, `use` or `alg` in a JWK change nothing.
  Each value has one spelling, so that nobody has two thumbprints for one key.
* Keys are parsed and held against what is known of weak ones (`decide.public_keys`) once, and kept:
  building an OpenSSL key costs as much as verifying with it, and the look at it more.

jwcrypto parses keys and takes their thumbprints; it is spoken nowhere else.
"""

import functools
from typing import Annotated

import msgspec
from jwcrypto.common import JWException  # type: ignore[import-untyped] # ships no types
from jwcrypto.jwk import JWK  # type: ignore[import-untyped] # ships no types
from msgspec import UNSET, Meta, Raw, UnsetType

from certeasy.acme import base64url
from certeasy.acme.signatures import PublicKey, verifies
from certeasy.acme.strict_json import read, shown
from certeasy.decide import public_keys
from certeasy.decide.problems import Problem, Refused
from certeasy.decide.public_keys import UnsoundKey

ALGORITHMS = ("ES256", "ES384", "ES512", "EdDSA", "RS256")
SMALLEST_RSA, LARGEST_RSA = 2048, 8192
SMALLEST_EXPONENT, LARGEST_EXPONENT = 65537, 2**32
MAX_PROTECTED = 16 * 1024
MAX_SIGNATURE = 2 * 1024
MAX_JWK = 4 * 1024
KEPT_KEYS = 1024


class Header(msgspec.Struct, frozen=True):
    """The protected header. Members that RFC 8555 does not know are ignored, as RFC 7515 says."""

    alg: Annotated[str, Meta(max_length=64)]
    url: Annotated[str, Meta(max_length=2048)] = ""
    nonce: Annotated[str, Meta(max_length=256)] = ""
    kid: Annotated[str, Meta(max_length=2048)] | UnsetType = UNSET
    jwk: Raw | UnsetType = UNSET
    crit: Raw | UnsetType = UNSET
    b64: Raw | UnsetType = UNSET


class Jws(msgspec.Struct, frozen=True):
    """A JWS taken apart; nothing in it is verified yet."""

    header: Header
    payload: bytes
    signing_input: bytes
    signature: bytes


class _Flattened(msgspec.Struct, frozen=True):
    protected: Annotated[str, Meta(max_length=MAX_PROTECTED)]
    payload: str
    signature: Annotated[str, Meta(max_length=MAX_SIGNATURE)]
    header: Raw | UnsetType = UNSET
    signatures: Raw | UnsetType = UNSET


_FLATTENED = msgspec.json.Decoder(_Flattened)
_HEADER = msgspec.json.Decoder(Header)


def parse(body: bytes) -> Jws:
    """Take a flattened JSON JWS apart. RFC 8555 section 6.2.

    Raises Refused: malformed for a wrong shape, badSignatureAlgorithm for an `alg` not taken here.
    """
    outer = read(_FLATTENED, body, "the JWS")
    if outer.header is not UNSET:
        raise _malformed("the JWS has an unprotected header")
    if outer.signatures is not UNSET:
        raise _malformed("the JWS has a list of signatures; send the flattened form with one")
    protected = base64url.decode(outer.protected, "the JWS's protected header")
    header = read(_HEADER, protected, "the JWS's protected header")
    _check(header)
    return Jws(
        header=header,
        payload=base64url.decode(outer.payload, "the JWS's payload"),
        signing_input=f"{outer.protected}.{outer.payload}".encode("ascii"),
        signature=base64url.decode(outer.signature, "the JWS's signature"),
    )


def _check(header: Header) -> None:
    if header.crit is not UNSET or header.b64 is not UNSET:
        raise _malformed("the JWS's protected header has 'crit' or 'b64', which ACME does not use")
    if header.alg not in ALGORITHMS:
        raise Refused(
            Problem.BAD_SIGNATURE_ALGORITHM,
            f"the algorithm {shown(header.alg)} is not taken; use one of {', '.join(ALGORITHMS)}",
            algorithms=ALGORITHMS,
        )
    if (header.jwk is UNSET) == (header.kid is UNSET):
        raise _malformed("the JWS's protected header must have exactly one of 'jwk' and 'kid'")


class AccountKey:
    """A public key that signs requests: an account's, or a certificate's when it is revoked.

    `thumbprint` (RFC 7638, SHA-256, base64url) is its identity, `algorithm` the only one it signs
    with, `public_key` the kept OpenSSL object. Made by `from_jwk`, never changed after.
    """

    __slots__ = ("_members", "algorithm", "public_key", "thumbprint")

    def __init__(
        self, members: dict[str, str], algorithm: str, public_key: PublicKey, thumbprint: str
    ) -> None:
        self._members = members
        self.algorithm = algorithm
        self.public_key = public_key
        self.thumbprint = thumbprint

    @classmethod
    def from_jwk(cls, jwk: dict[str, str] | bytes) -> "AccountKey":
        """Return the key of a JWK, given as JSON or as its members; a kept one comes at once.

        Raises Refused: malformed if it is no proper public JWK, badPublicKey if it is one that is
        not taken here (kind, curve, size) or that others could sign with.
        """
        return _parsed(jwk if isinstance(jwk, bytes) else msgspec.json.encode(jwk, order="sorted"))

    def to_jwk(self) -> dict[str, str]:
        """Return the required members only, in the order of RFC 7638."""
        return dict(self._members)

    def key_authorization(self, token: str) -> str:
        """Return what proves control in a challenge with that token. RFC 8555 section 8.1."""
        return f"{token}.{self.thumbprint}"

    def verify(self, alg: str, signing_input: bytes, signature: bytes) -> None:
        """Return if this key made `signature` over `signing_input`.

        Raises Refused: badSignatureAlgorithm if `alg` is not this key's, malformed if the
        signature does not verify.
        """
        if alg != self.algorithm:
            raise Refused(
                Problem.BAD_SIGNATURE_ALGORITHM,
                f"the algorithm {shown(alg)} is not this key's, which signs with {self.algorithm}",
                algorithms=(self.algorithm,),
            )
        if not verifies(self.public_key, signing_input, signature):
            raise _malformed("the JWS's signature does not verify with the key it names")


class _Jwk(msgspec.Struct, frozen=True):
    kty: str
    crv: str = ""
    x: str = ""
    y: str = ""
    n: str = ""
    e: str = ""
    # The members of secret keys, RFC 7518 sections 6.2.2, 6.3.2 and 6.4.1.
    d: Raw | UnsetType = UNSET
    p: Raw | UnsetType = UNSET
    q: Raw | UnsetType = UNSET
    dp: Raw | UnsetType = UNSET
    dq: Raw | UnsetType = UNSET
    qi: Raw | UnsetType = UNSET
    oth: Raw | UnsetType = UNSET
    k: Raw | UnsetType = UNSET


_JWK = msgspec.json.Decoder(_Jwk)
_SECRET = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")
# By type and curve: the algorithm, the members beside type and curve, and the bytes of each.
_ON_CURVE = {
    ("EC", "P-256"): ("ES256", ("x", "y"), 32),
    ("EC", "P-384"): ("ES384", ("x", "y"), 48),
    ("EC", "P-521"): ("ES512", ("x", "y"), 66),
    ("OKP", "Ed25519"): ("EdDSA", ("x",), 32),
}


@functools.lru_cache(maxsize=KEPT_KEYS)
def _parsed(raw: bytes) -> AccountKey:
    """Parse a JWK. Failures are not kept: only good keys take room, each of MAX_JWK at most."""
    if len(raw) > MAX_JWK:
        raise _malformed(f"the jwk is longer than {MAX_JWK} bytes")
    jwk = read(_JWK, raw, "the jwk")
    if any(getattr(jwk, name) is not UNSET for name in _SECRET):
        raise _malformed("the jwk holds a secret key, which is burnt now: make a new one")
    members, algorithm = _members(jwk)
    return _built(algorithm, *members.items())


@functools.lru_cache(maxsize=KEPT_KEYS)
def _built(algorithm: str, *members: tuple[str, str]) -> AccountKey:
    """Build a key: one object, however its JWK was written."""
    try:
        key = JWK(**dict(members))
        public_key, thumbprint = key.get_op_key("verify"), key.thumbprint()
        public_keys.check_sound(public_key)
    except (JWException, ValueError) as error:
        raise Refused(Problem.BAD_PUBLIC_KEY, f"the jwk is no possible key: {error}") from None
    except UnsoundKey as fault:
        raise Refused(Problem.BAD_PUBLIC_KEY, f"the jwk's key {fault}") from None
    return AccountKey(dict(members), algorithm, public_key, thumbprint)


def _members(jwk: _Jwk) -> tuple[dict[str, str], str]:
    """Return the required members of a key that is taken, in RFC 7638 order, and its algorithm."""
    if jwk.kty == "RSA":
        _check_rsa(_bytes_of(jwk, "n"), _bytes_of(jwk, "e"))
        return {"e": jwk.e, "kty": "RSA", "n": jwk.n}, "RS256"
    if (kind := _ON_CURVE.get((jwk.kty, jwk.crv))) is None:
        raise Refused(
            Problem.BAD_PUBLIC_KEY,
            f"a key of type {shown(jwk.kty)} on curve {shown(jwk.crv)} is not taken; "
            "use EC on P-256, P-384 or P-521, OKP on Ed25519, or RSA",
        )
    algorithm, names, size = kind
    for name in names:
        if (length := len(_bytes_of(jwk, name))) != size:
            raise _malformed(f"the jwk's {name} has {length} bytes; on {jwk.crv} it has {size}")
    return {"crv": jwk.crv, "kty": jwk.kty} | {
        name: getattr(jwk, name) for name in names
    }, algorithm


def _check_rsa(n: bytes, e: bytes) -> None:
    if n[:1] == b"\0" or e[:1] == b"\0":
        raise _malformed("the jwk's n or e begins with a zero byte; leave it out")
    if not SMALLEST_RSA <= (bits := int.from_bytes(n, "big").bit_length()) <= LARGEST_RSA:
        raise Refused(
            Problem.BAD_PUBLIC_KEY,
            f"an RSA key of {bits} bits is not taken; use {SMALLEST_RSA} to {LARGEST_RSA}",
        )
    exponent = int.from_bytes(e, "big")
    if exponent % 2 == 0 or not SMALLEST_EXPONENT <= exponent <= LARGEST_EXPONENT:
        raise Refused(
            Problem.BAD_PUBLIC_KEY,
            f"an RSA exponent of {exponent.bit_length()} bits, or an even one, is not taken; "
            f"use {SMALLEST_EXPONENT}",
        )


def _bytes_of(jwk: _Jwk, name: str) -> bytes:
    value: str = getattr(jwk, name)
    if not value:
        raise _malformed(f"the jwk has no {name}")
    return base64url.decode(value, f"the jwk's {name}")


def _malformed(detail: str) -> Refused:
    return Refused(Problem.MALFORMED, detail)
