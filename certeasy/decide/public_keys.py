"""Which public keys are sound, whoever shows them.

A key that anyone can break is refused whatever the policy says, as far as a look of a few hundred
microseconds can tell: tiny factors, two primes that stand beside each other (Fermat's method), and
the structure that a widespread smart-card library left in its primes (CVE-2017-15361, "ROCA"); and
Ed25519 keys of small order, under which anybody can sign. Points that are not on their curve are
refused by the parser, or, on Ed25519, verify nothing.
"""

import base64
import hashlib
import math

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey
"""The kinds of key that a certificate may be asked for."""

KINDS = frozenset({"1.2.840.113549.1.1.1", "1.2.840.10045.2.1", "1.3.101.112"})
"""The same by the algorithm in their SubjectPublicKeyInfo: RSA, EC, Ed25519."""

CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
"""Curves by the name that the parser gives them, and what we call them."""

MAX_RSA_BITS = 8192
MIN_RSA_EXPONENT = 65537
MAX_RSA_EXPONENT_BITS = 256
FERMAT_ROUNDS = 100

ED25519_PRIME = 2**255 - 19
_EIGHTH = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
SMALL_ORDER = frozenset((0, 1, ED25519_PRIME - 1, _EIGHTH, ED25519_PRIME - _EIGHTH))
"""The y of the eight points on edwards25519 that eight times themselves are the neutral one."""


class UnsoundKey(Exception):
    """Nobody should rely on this key; the message says why, after "the key "."""


def check_sound(key: PublicKey) -> None:
    """Return if nothing is known against the key.

    Raises UnsoundKey. How large it must be and which curves are welcome is the policy's business.
    """
    match key:
        case RSAPublicKey():
            _check_rsa(key)
        case EllipticCurvePublicKey() if key.curve.name not in CURVES:
            raise UnsoundKey(
                f"is on the curve {key.curve.name}; P-256 and P-384 are the usual ones"
            )
        case Ed25519PublicKey():
            _check_ed25519(key)
        case _:
            pass


def spki(key: CertificatePublicKeyTypes) -> bytes:
    """Return the key as SubjectPublicKeyInfo, DER, points uncompressed."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def thumbprint(key: PublicKey) -> str:
    """Return the JWK thumbprint of the key: base64url, 43 characters. RFC 7638, RFC 8037."""
    match key:
        case RSAPublicKey():
            numbers = key.public_numbers()
            jwk = f'{{"e":"{_integer(numbers.e)}","kty":"RSA","n":"{_integer(numbers.n)}"}}'
        case EllipticCurvePublicKey():
            point, size = key.public_numbers(), (key.key_size + 7) // 8
            x, y = _integer(point.x, size), _integer(point.y, size)
            jwk = f'{{"crv":"{CURVES[key.curve.name]}","kty":"EC","x":"{x}","y":"{y}"}}'
        case _:
            jwk = f'{{"crv":"Ed25519","kty":"OKP","x":"{_base64url(key.public_bytes_raw())}"}}'
    return _base64url(hashlib.sha256(jwk.encode()).digest())


def _check_rsa(key: RSAPublicKey) -> None:
    """Refuse what is too large to work with first, then what is weak."""
    numbers = key.public_numbers()
    if key.key_size > MAX_RSA_BITS:
        raise UnsoundKey(f"has {key.key_size} bits; at most {MAX_RSA_BITS} are taken")
    if numbers.e < MIN_RSA_EXPONENT or numbers.e.bit_length() > MAX_RSA_EXPONENT_BITS:
        raise UnsoundKey("has an unusual public exponent; 65537 is the one to use")
    if math.gcd(numbers.n, _SMALL_PRIMES_PRODUCT) != 1:
        raise UnsoundKey("has a modulus with a small factor")
    if all(powers >> numbers.n % prime & 1 for prime, powers in _ROCA):
        raise UnsoundKey("was made by a library with a known flaw (ROCA, CVE-2017-15361)")
    if _has_close_factors(numbers.n):
        raise UnsoundKey("has a modulus whose two factors are too close to each other")


def _check_ed25519(key: Ed25519PublicKey) -> None:
    """Refuse the points of small order, and spellings that RFC 8032 section 5.1.3 does not have."""
    y = int.from_bytes(key.public_bytes_raw(), "little") & ((1 << 255) - 1)
    if y % ED25519_PRIME in SMALL_ORDER:
        raise UnsoundKey("is a point of small order, under which anybody can sign")
    if y >= ED25519_PRIME:
        raise UnsoundKey("is not in its one spelling")


def _has_close_factors(modulus: int) -> bool:
    """Try Fermat's method: does `middle` squared less the modulus become a square soon?"""
    middle = math.isqrt(modulus - 1) + 1
    rest = middle * middle - modulus
    for _ in range(FERMAT_ROUNDS):
        # Three of four numbers are no squares by their last six bits, without taking a root.
        if _SQUARES_OF_64 >> (rest & 63) & 1 and math.isqrt(rest) ** 2 == rest:
            return True
        rest += 2 * middle + 1
        middle += 1
    return False


def _primes(below: int) -> list[int]:
    """Return the primes below a small number."""
    return [n for n in range(2, below) if all(n % d for d in range(2, math.isqrt(n) + 1))]


def _powers_of_65537(prime: int) -> int:
    """Return the set of residues that powers of 65537 take modulo a prime, as a bit mask."""
    residues, value = 0, 1
    while not residues >> value & 1:
        residues |= 1 << value
        value = value * 65537 % prime
    return residues


def _integer(value: int, size: int | None = None) -> str:
    """Return a number as base64url of its big-endian octets, as few as possible or `size`."""
    return _base64url(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


def _base64url(data: bytes) -> str:
    """Return unpadded base64url."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


_SMALL_PRIMES_PRODUCT = math.prod(_primes(752))
_SQUARES_OF_64 = sum(1 << square for square in {n * n % 64 for n in range(64)})
# The flawed library made primes that are a power of 65537 modulo the product of all primes up to
# 167 (and more, for larger keys), and so is their product. Only primes where these powers are few
# tell anything; together they mistake one sound key in two hundred million.
_ROCA = [
    (prime, powers)
    for prime, powers in ((prime, _powers_of_65537(prime)) for prime in _primes(168)[1:])
    if powers.bit_count() < prime - 1
]
