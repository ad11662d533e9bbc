"""Keys of an account in a Kerberos realm: from a keytab, or from a password.

A key is the account's own secret: with AES it is derived from the password, slowly, with a salt
that the KDC tells (RFC 3962). How slowly is told by the KDC as well, in the clear; so it is
bounded both ways: who stands in between may neither make the password cheap to guess nor keep this
machine busy.

AES comes first. RC4 (RFC 4757), whose key is an unsalted MD4, is taken only where an account has
nothing else.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from struct import Struct as Packed
from struct import error as Short  # noqa: N812 - an exception of ours by what it means
from typing import Protocol

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from impacket.krb5 import crypto
from impacket.krb5.crypto import Key

from certeasy.ca.adcs.identity import NotAuthenticated, read_password, read_secret

AES256, AES128, RC4 = 18, 17, 23
STRONG = (AES256, AES128)
ETYPES = (*STRONG, RC4)
NAMES = {AES256: "AES256", AES128: "AES128", RC4: "RC4"}
LENGTHS = {AES256: 32, AES128: 16, RC4: 16}

USUAL_ROUNDS = 4096
MOST_ROUNDS = 1 << 20
KERBEROS_FOLDED = bytes.fromhex("6b65726265726f737b9b5b2b93132b93")
"""The word "kerberos", folded to the block of AES. RFC 3961 appendix A.1."""

_LENGTH, _NUMBER, _SIZE = Packed(">H"), Packed(">I"), Packed(">i")
KEYTAB = b"\x05\x02"


class Keys(Protocol):
    """What an account has: keys that are there, or a password that keys are derived from."""

    etypes: tuple[int, ...]
    """What can be used, best first."""
    remedy: str
    """What to do if the KDC says that they are wrong."""

    def key(self, etype: int, salt: bytes, rounds: bytes) -> Key:
        """Return the key of that type; the KDC told salt and rounds. Raises NotAuthenticated."""
        ...


class PasswordKeys:
    """Keys from the first line of a private file."""

    etypes: tuple[int, ...] = ETYPES
    remedy = "write the account's present password into the password-file"

    def __init__(self, file: Path) -> None:
        self._password = read_password(file)

    def key(self, etype: int, salt: bytes, rounds: bytes) -> Key:
        """Return the key, derived anew: some milliseconds."""
        if etype == RC4:
            return crypto.string_to_key(RC4, self._password, b"")
        return from_password(etype, self._password, salt, rounds)


class KeytabKeys:
    """The newest keys that a private keytab has for an account."""

    remedy = "export the keytab anew: every change of the password makes older ones useless"

    def __init__(self, file: Path, user: str, realm: str) -> None:
        self._keys = read_keytab(file, user, realm)
        strong = tuple(etype for etype in STRONG if etype in self._keys)
        self.etypes = strong or tuple(self._keys)

    def key(self, etype: int, salt: bytes, rounds: bytes) -> Key:
        """Return the key: it is there."""
        del salt, rounds
        return Key(etype, self._keys[etype])


def from_password(etype: int, password: str, salt: bytes, rounds: bytes) -> Key:
    """Return the AES key of a password. RFC 3962 section 4."""
    count = _NUMBER.unpack(rounds)[0] if len(rounds) == _NUMBER.size else USUAL_ROUNDS
    if not USUAL_ROUNDS <= count <= MOST_ROUNDS:
        raise NotAuthenticated(
            "",
            f"a domain controller, or somebody in its place, asks for {count} rounds to derive the"
            " key of the password: too few to be safe, or too many",
            "use a keytab, whose keys are derived already",
        )
    length = LENGTHS[etype]
    seed = hashlib.pbkdf2_hmac("sha1", password.encode(), salt, count, length)
    encryptor = Cipher(AES(seed), ECB()).encryptor()  # noqa: S305 - single blocks, RFC 3961 5.1
    first = encryptor.update(KERBEROS_FOLDED)
    return Key(etype, (first + encryptor.update(first))[:length])


def read_keytab(file: Path, user: str, realm: str) -> Mapping[int, bytes]:
    """Return the account's newest keys by type. Raises NotAuthenticated if there is none.

    Format: MIT Kerberos, "Keytab file format", version 2; Windows' ktpass and Samba write it too.
    """
    content = read_secret(file, "keytab")
    if not content.startswith(KEYTAB):
        raise NotAuthenticated("", f"{file} is no keytab of version 2", "export the keytab anew")
    newest: dict[int, tuple[int, bytes]] = {}
    others: set[str] = set()
    wanted = f"{user}@{realm}".lower()
    at = len(KEYTAB)
    try:
        while at < len(content):
            size = _SIZE.unpack_from(content, at)[0]
            at += _SIZE.size
            if size == 0:
                break
            # A negative size is a hole that a deleted entry has left.
            if size > 0:
                name, version, etype, key = _entry(content[at : at + size])
                if name.lower() != wanted:
                    others.add(name)
                elif LENGTHS.get(etype) == len(key):
                    newest[etype] = max(newest.get(etype, (-1, b"")), (version, key))
            at += abs(size)
    except (Short, UnicodeDecodeError):
        raise NotAuthenticated(
            "", f"keytab {file} is torn: an entry ends too early", "export the keytab anew"
        ) from None
    if not newest:
        has = ", ".join(sorted(others)[:5]) or "nothing"
        raise NotAuthenticated(
            "",
            f"keytab {file} has no key of {user}@{realm} that can be used; it has keys of: {has}",
            "export it for that account (and check `user` and `domain`)",
        )
    last = max(version for version, _ in newest.values())
    return {etype: key for etype, (version, key) in newest.items() if version == last}


def _entry(entry: bytes) -> tuple[str, int, int, bytes]:
    """Return the principal, the key's version, its type, and the key."""
    components = _LENGTH.unpack_from(entry)[0]
    realm, at = _counted(entry, _LENGTH.size)
    names = []
    for _ in range(components):
        name, at = _counted(entry, at)
        names.append(name.decode())
    at += 2 * _NUMBER.size  # type of name, time of writing
    version = entry[at : at + 1]
    etype = _LENGTH.unpack_from(entry, at + 1)[0]
    key, at = _counted(entry, at + 1 + _LENGTH.size)
    number = version[0]
    if len(entry) - at >= _NUMBER.size and (long := _NUMBER.unpack_from(entry, at)[0]):
        number = long
    return f"{'/'.join(names)}@{realm.decode()}", number, etype, key


def _counted(data: bytes, at: int) -> tuple[bytes, int]:
    """Return a string with its length in front, and where it ends."""
    length = _LENGTH.unpack_from(data, at)[0]
    at += _LENGTH.size
    if at + length > len(data):
        raise Short("ends too early")
    return data[at : at + length], at + length
