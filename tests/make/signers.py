"""ACME clients' keys, and requests signed with them: `a_signer("ES256").request(url=..., ...)`.

Signs with cryptography's own calls, sharing no code with the verifying side. Everything that a
client could get wrong can be set: pass `header=`, `outer=` or `signature=` to spoil a request.
"""

import base64
import functools
from typing import Any

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

CURVES: dict[str, tuple[ec.EllipticCurve, hashes.HashAlgorithm, str, int]] = {
    "ES256": (ec.SECP256R1(), hashes.SHA256(), "P-256", 32),
    "ES384": (ec.SECP384R1(), hashes.SHA384(), "P-384", 48),
    "ES512": (ec.SECP521R1(), hashes.SHA512(), "P-521", 66),
}
ALGORITHMS = (*CURVES, "EdDSA", "RS256")


def b64(data: bytes | dict[str, Any]) -> str:
    """Return bytes, or an object as JSON, in unpadded base64url."""
    raw = data if isinstance(data, bytes) else msgspec.json.encode(data)
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Signer:
    """A client's key pair. `jwk` are its public members; nothing is secret about it here."""

    def __init__(self, alg: str, private_key: Any) -> None:
        self.alg = alg
        self.private_key = private_key
        self.jwk: dict[str, str] = self._jwk()

    def _jwk(self) -> dict[str, str]:
        public = self.private_key.public_key()
        if self.alg in CURVES:
            _, _, crv, size = CURVES[self.alg]
            numbers = public.public_numbers()
            x, y = numbers.x.to_bytes(size, "big"), numbers.y.to_bytes(size, "big")
            return {"kty": "EC", "crv": crv, "x": b64(x), "y": b64(y)}
        if self.alg == "EdDSA":
            return {"kty": "OKP", "crv": "Ed25519", "x": b64(public.public_bytes_raw())}
        numbers = public.public_numbers()
        n = numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")
        return {"kty": "RSA", "n": b64(n), "e": "AQAB"}

    def sign(self, data: bytes) -> bytes:
        """Return a JWS signature over `data`."""
        if self.alg in CURVES:
            _, hashed, _, size = CURVES[self.alg]
            r, s = decode_dss_signature(self.private_key.sign(data, ec.ECDSA(hashed)))
            return r.to_bytes(size, "big") + s.to_bytes(size, "big")
        if self.alg == "EdDSA":
            return self.private_key.sign(data)
        return self.private_key.sign(data, padding.PKCS1v15(), hashes.SHA256())

    def request(
        self,
        payload: bytes | dict[str, Any] = b"",
        *,
        url: str = "https://acme.corp.test/acme/new-order",
        nonce: str = "AAAAAAAAAAAAAAAAAAAA",
        kid: str | None = None,
        header: dict[str, Any] | bytes | None = None,
        outer: dict[str, Any] | None = None,
        signature: bytes | None = None,
    ) -> bytes:
        """Return a flattened JWS, with `kid` if one is given, else with the key itself.

        `header` replaces the protected header if it is bytes, else adds to it (None takes a member
        out); `outer` does the same to the JWS itself; `signature` stands in for the true one.
        """
        protected = {"alg": self.alg, "nonce": nonce, "url": url}
        protected |= {"jwk": self.jwk} if kid is None else {"kid": kid}
        if isinstance(header, bytes):
            first = b64(header)
        else:
            first = b64(_without_nones(protected | (header or {})))
        second = b64(payload)
        made = self.sign(f"{first}.{second}".encode()) if signature is None else signature
        jws = {"protected": first, "payload": second, "signature": b64(made)}
        return msgspec.json.encode(_without_nones(jws | (outer or {})))


def _without_nones(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def a_signer(alg: str = "ES256") -> Signer:
    """Return a new key pair (RSA ones are 2048 bits, and take a moment)."""
    if alg in CURVES:
        return Signer(alg, ec.generate_private_key(CURVES[alg][0]))
    if alg == "EdDSA":
        return Signer(alg, ed25519.Ed25519PrivateKey.generate())
    return Signer(alg, rsa.generate_private_key(65537, 2048))


_kept = functools.cache(a_signer)


def the_signer(alg: str = "ES256") -> Signer:
    """Return the key pair that this test run keeps for an algorithm."""
    return _kept(alg)
