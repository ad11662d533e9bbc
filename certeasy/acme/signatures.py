"""Whether a key made a signature: cryptography directly, on key objects that are kept.

A key has one algorithm here (RS256, ES256, ES384, ES512 or EdDSA), chosen by what it is and never
by what a request claims. There is no HMAC and no `none` in this file, so nothing can be talked
into them.
"""

from collections.abc import Iterator

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey

# Made once: they carry no state, and building them anew shows in a profile.
_PKCS1 = padding.PKCS1v15()
_SHA256 = hashes.SHA256()
# By OpenSSL's name of the curve: how to hash, and the bytes of each of R and S.
_CURVES = {
    "secp256r1": (ec.ECDSA(_SHA256), 32),
    "secp384r1": (ec.ECDSA(hashes.SHA384()), 48),
    "secp521r1": (ec.ECDSA(hashes.SHA512()), 66),
}
_MOST_ZEROS = 2  # A signature with more leading zeros than this was never seen, and need not be.


def verifies(key: PublicKey, signed: bytes, signature: bytes) -> bool:
    """Tell whether `signature`, as JWS has it (RFC 7518 section 3), is `key`'s over `signed`."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        hashed, size = _CURVES[key.curve.name]
        return any(_ecdsa(key, hashed, signed, der) for der in _readings(signature, size))
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, signed, _PKCS1, _SHA256)
        else:
            key.verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def _ecdsa(key: ec.EllipticCurvePublicKey, hashed: ec.ECDSA, signed: bytes, der: bytes) -> bool:
    try:
        key.verify(der, signed, hashed)
    except InvalidSignature:
        return False
    return True


def _readings(signature: bytes, size: int) -> Iterator[bytes]:
    """Yield, in DER, what a signature of two numbers of `size` bytes can mean.

    A full one has one reading. One that is a byte or two short comes from a client that drops
    leading zeros (the ACME client of macOS does): each way of putting them back is a reading, and
    only the true one verifies.
    """
    missing = 2 * size - len(signature)
    if 0 <= missing <= _MOST_ZEROS:
        for at_r in range(missing + 1):
            cut = size - at_r
            r, s = int.from_bytes(signature[:cut], "big"), int.from_bytes(signature[cut:], "big")
            yield encode_dss_signature(r, s)
