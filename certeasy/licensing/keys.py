"""Keys that people type: license keys `CRT-...` and installation keys `INST-...`.

Five groups of six characters of Crockford's base32, which has no I, L, O and U. The last character
is a check (Luhn's algorithm modulo 32): it finds any single wrong character, and nearly all pairs
that changed places. What a person may have misread is read as it was meant: I and L as 1, O as 0,
small letters as large ones, with or without hyphens.
"""

import hashlib

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LICENSE = "CRT"
INSTALLATION = "INST"
GROUPS, GROUP = 5, 6
LENGTH = GROUPS * GROUP
_BITS = 5 * (LENGTH - 1)
_LONGEST = 64
_MISREAD = str.maketrans({"I": "1", "L": "1", "O": "0"})


class WrongKey(ValueError):
    """A text is no such key; one line says why."""


def license_key(random: bytes) -> str:
    """Return the license key that these random bytes (19 or more) make."""
    return _key(LICENSE, int.from_bytes(random, "big"))


def installation_key(installation_id: str) -> str:
    """Return the key of an installation: the same for ever, since it follows from the id that the
    log began with."""
    digest = hashlib.sha256(f"certeasy installation key|{installation_id}".encode()).digest()
    return _key(INSTALLATION, int.from_bytes(digest, "big"))


def read(text: str, prefix: str) -> str:
    """Return a key as it is written, from what a person typed. Raises WrongKey."""
    told = "".join(text.split()).upper() if len(text) <= _LONGEST else ""
    head, found, rest = told.partition(prefix)
    if head or not found:
        raise WrongKey(f"is no key that begins with {prefix}-")
    symbols = rest.replace("-", "").translate(_MISREAD)
    strange = next((each for each in symbols if each not in ALPHABET), None)
    if strange is not None:
        raise WrongKey(f"has the character {strange!r}, which is in no key")
    if len(symbols) != LENGTH:
        raise WrongKey(f"has {len(symbols)} characters behind {prefix}-, not {LENGTH}")
    if symbols[-1] != _check(symbols[:-1]):
        raise WrongKey("has a wrong check character: one of its characters was mistyped")
    return _written(prefix, symbols)


def _key(prefix: str, number: int) -> str:
    number &= (1 << _BITS) - 1
    symbols = "".join(ALPHABET[number >> shift & 31] for shift in range(_BITS - 5, -1, -5))
    return _written(prefix, symbols + _check(symbols))


def _check(symbols: str) -> str:
    """Return the check character of these symbols: Luhn's algorithm modulo 32."""
    total = 0
    for place, symbol in enumerate(reversed(symbols)):
        value = ALPHABET.index(symbol) * (2 if place % 2 == 0 else 1)
        total += value // 32 + value % 32
    return ALPHABET[-total % 32]


def _written(prefix: str, symbols: str) -> str:
    groups = [symbols[start : start + GROUP] for start in range(0, LENGTH, GROUP)]
    return "-".join([prefix, *groups])
