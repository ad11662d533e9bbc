"""NTLM version 2 as a security context: the client's side of MS-NLMP.

impacket's own draws session keys and challenges from a generator that can be predicted, sends no
integrity check over the three messages, and takes whatever the server leaves of the protection.
Here, in this order:

1. Keys and challenges come from the operating system.
2. The server's challenge has to offer everything that protects: session security version 2, keys of
   128 bits, key exchange, signing and sealing. What does not is refused; there is no weaker way.
3. The messages are covered by an integrity check (MIC), so that nobody changes them on the way.
4. Every reply is verified: its signature, and that it is the next one.

Of impacket only RC4 and the hash of a password are used.
"""

import hashlib
import hmac
import os
import struct
from collections.abc import Callable

from impacket.ntlm import ARC4, compute_nthash

from certeasy.ca.adcs.security import Tampered

SIGNATURE = b"NTLMSSP\0"
UNICODE, REQUEST_TARGET, SIGN, SEAL, NTLM = 0x1, 0x4, 0x10, 0x20, 0x200
ALWAYS_SIGN, SESSION_SECURITY_2, TARGET_INFO = 0x8000, 0x8_0000, 0x80_0000
VERSION, KEYS_OF_128, KEY_EXCHANGE, KEYS_OF_56 = 0x200_0000, 0x2000_0000, 0x4000_0000, 0x8000_0000
NEEDED = UNICODE | SIGN | SEAL | SESSION_SECURITY_2 | TARGET_INFO | KEYS_OF_128 | KEY_EXCHANGE
ASKED = NEEDED | REQUEST_TARGET | NTLM | ALWAYS_SIGN | VERSION | KEYS_OF_56
"""MS-NLMP section 2.2.2.5."""
OUR_VERSION = bytes((10, 0, 0, 0, 0, 0, 0, 15))
"""Only shown in protocols of what went over the wire; the last byte is NTLM's own revision."""

END, FLAGS, TIMESTAMP, TARGET_NAME, CHANNEL_BINDINGS = 0, 6, 7, 9, 10
HAS_INTEGRITY_CHECK = 2
"""MS-NLMP section 2.2.2.1."""
CHALLENGE_SIZE, AUTHENTICATE_SIZE = 48, 88
INTEGRITY_CHECK = slice(72, 88)
TIMESTAMP_SIZE = 8
VERIFIER = struct.Struct("<I8sI")


def _mac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "md5")


def _magic(key: bytes, whose: str, what: str) -> bytes:
    """Derive one of the four keys of a connection. MS-NLMP section 3.4.5."""
    text = f"session key to {whose} {what} key magic constant\0"
    return hashlib.md5(key + text.encode(), usedforsecurity=False).digest()


class Direction:
    """One direction of a sealed connection: its two keys and the number of its next message."""

    def __init__(self, session_key: bytes, whose: str) -> None:
        self._sign = _magic(session_key, whose, "signing")
        cipher = ARC4.new(_magic(session_key, whose, "sealing"))
        self.crypt: Callable[[bytes], bytes] = cipher.encrypt
        self._number = 0

    def verifier(self, plain: bytes) -> bytes:
        """Return what proves the next message, after its body was encrypted or decrypted."""
        number = struct.pack("<I", self._number)
        check = self.crypt(_mac(self._sign, number + plain)[:8])
        verifier = VERIFIER.pack(1, check, self._number)
        self._number += 1
        return verifier


class NtlmContext:
    """A connection as one account. `nt_hash` (hex) is used in the place of a password, if given.

    `target` is the service that is meant, `host/ca1.corp.example`: a server that checks refuses
    what was meant for another.
    """

    kind = 10

    def __init__(
        self, user: str, domain: str, password: str = "", nt_hash: str = "", target: str = ""
    ) -> None:
        self._user = user
        self._domain = domain
        self._hash: bytes = bytes.fromhex(nt_hash) if nt_hash else compute_nthash(password)
        self._target = target
        self._negotiate = b""
        self._ours: Direction | None = None
        self._theirs: Direction | None = None

    @property
    def complete(self) -> bool:
        """Whether the challenge was answered. Whether the answer was right, only a reply tells."""
        return self._ours is not None

    def step(self, token: bytes) -> bytes:
        """Return the first message, and then the answer to the server's challenge."""
        if not self._negotiate:
            self._negotiate = SIGNATURE + struct.pack("<II16x", 1, ASKED) + OUR_VERSION
            return self._negotiate
        if self.complete:
            raise Tampered("NTLM has three messages, and the server sent a fourth")
        flags, challenge, pairs = _read_challenge(token)
        return self._authenticate(token, flags & ASKED, challenge, pairs)

    def _authenticate(
        self, token: bytes, flags: int, challenge: bytes, pairs: dict[int, bytes]
    ) -> bytes:
        """Answer a challenge. MS-NLMP sections 3.1.5.1.2 and 3.3.2."""
        owner = (self._user.upper() + self._domain).encode("utf-16-le")
        key = _mac(self._hash, owner)
        blob = struct.pack("<BBHI", 1, 1, 0, 0) + pairs[TIMESTAMP] + os.urandom(8) + bytes(4)
        blob += _write_pairs(self._answered(pairs)) + bytes(4)
        proof = _mac(key, challenge + blob)
        session_key = os.urandom(16)
        wrapped = ARC4.new(_mac(key, proof)).encrypt(session_key)
        fields = (
            bytes(24),  # no LM response beside one of version 2
            proof + blob,
            self._domain.encode("utf-16-le"),
            self._user.encode("utf-16-le"),
            b"",  # the name of this machine
            wrapped,
        )
        message = _message(fields, flags)
        check = _mac(session_key, self._negotiate + token + message)
        self._ours = Direction(session_key, "client-to-server")
        self._theirs = Direction(session_key, "server-to-client")
        return message[: INTEGRITY_CHECK.start] + check + message[INTEGRITY_CHECK.stop :]

    def _answered(self, pairs: dict[int, bytes]) -> dict[int, bytes]:
        """Return the server's own pairs and ours, in the order in which Windows has them."""
        flags = int.from_bytes(pairs.get(FLAGS, b""), "little") | HAS_INTEGRITY_CHECK
        ours = {
            FLAGS: struct.pack("<I", flags & 0xFFFF_FFFF),
            CHANNEL_BINDINGS: bytes(16),
            TARGET_NAME: self._target.encode("utf-16-le"),
        }
        return {pair: value for pair, value in pairs.items() if pair not in ours} | ours

    def overhead(self, _length: int) -> int:
        """Return 16."""
        return VERIFIER.size

    def seal(self, header: bytes, body: bytes, trailer: bytes) -> tuple[bytes, bytes]:
        """Return the body encrypted, and the signature of all three. MS-NLMP section 3.4."""
        assert self._ours is not None
        return self._ours.crypt(body), self._ours.verifier(header + body + trailer)

    def unseal(self, header: bytes, body: bytes, trailer: bytes, verifier: bytes) -> bytes:
        """Return the body decrypted. Raises Tampered unless all three are what the server sent."""
        assert self._theirs is not None
        plain = self._theirs.crypt(body)
        if not hmac.compare_digest(verifier, self._theirs.verifier(header + plain + trailer)):
            raise Tampered("the signature of a reply is not the server's")
        return plain


def _read_challenge(token: bytes) -> tuple[int, bytes, dict[int, bytes]]:
    """Return flags, challenge and pairs of a server's message. MS-NLMP section 2.2.1.2."""
    if len(token) < CHALLENGE_SIZE or token[:12] != SIGNATURE + struct.pack("<I", 2):
        raise Tampered("the server's NTLM message is no challenge")
    flags, challenge = struct.unpack_from("<I8s", token, 20)
    if flags & NEEDED != NEEDED:
        raise Tampered(f"the server offers less protection than is needed: flags 0x{flags:08x}")
    length, _, start = struct.unpack_from("<HHI", token, 40)
    if start + length > len(token):
        raise Tampered("the server's NTLM challenge is cut off")
    pairs = _read_pairs(token[start : start + length])
    if len(pairs.get(TIMESTAMP, b"")) != TIMESTAMP_SIZE:
        raise Tampered("the server's NTLM challenge has no time of day")
    return flags, challenge, pairs


def _read_pairs(data: bytes) -> dict[int, bytes]:
    """Return the pairs by their numbers. MS-NLMP section 2.2.2.1."""
    pairs: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(data):
        pair, length = struct.unpack_from("<HH", data, at)
        at += 4 + length
        if pair == END:
            return pairs
        pairs[pair] = data[at - length : at]
    raise Tampered("the list in the server's NTLM challenge has no end")


def _write_pairs(pairs: dict[int, bytes]) -> bytes:
    listed = (struct.pack("<HH", pair, len(value)) + value for pair, value in pairs.items())
    return b"".join(listed) + bytes(4)


def _message(fields: tuple[bytes, ...], flags: int) -> bytes:
    """Return an AUTHENTICATE message with room for the check. MS-NLMP section 2.2.1.3."""
    head, at = b"", AUTHENTICATE_SIZE
    for field in fields:
        head += struct.pack("<HHI", len(field), len(field), at)
        at += len(field)
    head = SIGNATURE + struct.pack("<I", 3) + head + struct.pack("<I", flags) + OUR_VERSION
    return head + bytes(16) + b"".join(fields)
