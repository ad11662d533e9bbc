"""Ed25519 keys of nodes, and the detached JWS that closes every line.

RFC 7515 appendix F (detached), RFC 7797 (unencoded payload), RFC 8037 (EdDSA), RFC 7638 (the key id
is the JWK thumbprint). The protected header is fixed to the byte, so any JOSE library verifies a
line and none can be led to another algorithm.
"""

import base64
import hashlib

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIGNATURE_LENGTH = 86  # 64 bytes as unpadded base64url
KEY_LENGTH = 43  # 32 bytes as unpadded base64url, for keys as for thumbprints


class BadSignature(Exception):
    """A signature is not this key's over these bytes."""


def base64url(raw: bytes) -> str:
    """Return unpadded base64url (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    """Return what the only canonical, unpadded base64url text for it stands for.

    Raises ValueError for padding, another alphabet, or stray bits in the last character: with
    those, several texts would stand for the same bytes.
    """
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if base64url(raw) != text:
        raise ValueError("not canonical base64url")
    return raw


def thumbprint(x: str) -> str:
    """Return the RFC 7638 thumbprint of the Ed25519 key whose JWK member `x` is given."""
    canonical = f'{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}'
    return base64url(hashlib.sha256(canonical.encode()).digest())


def protected_header(kid: str) -> bytes:
    """Return the one protected header a line by this key may have, as base64url."""
    header = f'{{"alg":"EdDSA","b64":false,"crit":["b64"],"kid":"{kid}"}}'
    return base64url(header.encode()).encode()


class PublicKey:
    """What a signature of one node is checked with."""

    def __init__(self, x: str) -> None:
        """Take the JWK member `x`; ValueError if it is not a canonical Ed25519 public key."""
        self.x = x
        self.kid = thumbprint(x)
        self.header = protected_header(self.kid)
        self._key = Ed25519PublicKey.from_public_bytes(from_base64url(x))

    def verify(self, payload: bytes, signature: bytes) -> None:
        """Raise BadSignature unless `signature` (64 bytes) is this key's over the line's
        payload."""
        try:
            self._key.verify(signature, self.header + b"." + payload)
        except InvalidSignature:
            raise BadSignature(f"the signature is not by key {self.kid}") from None

    def jwk(self) -> dict[str, str]:
        """Return the key as a JWK with its kid, for a published key set."""
        return {
            "kty": "OKP",
            "crv": "Ed25519",
            "x": self.x,
            "kid": self.kid,
            "use": "sig",
            "alg": "EdDSA",
        }


class SigningKey:
    """The private key of one node. Its bytes go to the node's key file and nowhere else."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        raw = key.public_key().public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw
        )
        self.public = PublicKey(base64url(raw))

    @classmethod
    def from_seed(cls, seed: bytes) -> "SigningKey":
        """Make a key from 32 random bytes."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def from_pem(cls, pem: bytes) -> "SigningKey":
        """Read a PKCS#8 PEM; ValueError if it is anything but an unencrypted Ed25519 key."""
        key = serialization.load_pem_private_key(pem, password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("not an Ed25519 key")  # noqa: TRY004 - the file is wrong, not the caller
        return cls(key)

    def to_pem(self) -> bytes:
        """Return the key as PKCS#8 PEM, for the key file."""
        return self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def sign(self, payload: bytes) -> bytes:
        """Return the detached JWS over the payload: `<protected>..<signature>`."""
        signature = self._key.sign(self.public.header + b"." + payload)
        return self.public.header + b".." + base64.urlsafe_b64encode(signature)[:SIGNATURE_LENGTH]


class _Jwk(msgspec.Struct):
    kty: str
    crv: str
    x: str


class _JwkSet(msgspec.Struct):
    keys: list[_Jwk]


def read_key_set(text: bytes) -> dict[str, PublicKey]:
    """Read a JWK set of Ed25519 keys (what `certeasy audit keys` prints): public keys by kid.

    Raises ValueError where the text is no such set.
    """
    try:
        members = msgspec.json.decode(text, type=_JwkSet).keys
    except msgspec.MsgspecError as error:
        raise ValueError(f"not a JWK set: {error}") from error
    for member in members:
        if (member.kty, member.crv) != ("OKP", "Ed25519"):
            raise ValueError(
                f"a key of type {member.kty}/{member.crv}; only OKP/Ed25519 sign journals"
            )
    return {key.kid: key for key in (PublicKey(member.x) for member in members)}
