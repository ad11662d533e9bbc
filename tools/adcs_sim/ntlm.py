"""The accepting side of NTLM, version 2 alone: MS-NLMP.

    client  NEGOTIATE     what it can do
    server  CHALLENGE     eight random bytes, who we are, what time it is
    client  AUTHENTICATE  proof of the password over both, a session key, who it is

From the session key come four others: one each way for signing, one each way for sealing (3.4.5).
"""

import hashlib
import hmac
import struct
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import IntFlag

from Cryptodome.Cipher import ARC4
from Cryptodome.Hash import MD4
from msgspec import Struct

from certeasy.clock import Clock
from tools.adcs_sim.security import NotAuthenticated

SIGNATURE = b"NTLMSSP\0"
NEGOTIATE_MESSAGE, CHALLENGE_MESSAGE, AUTHENTICATE_MESSAGE = 1, 2, 3
SIGNED_LENGTH = 16
_VERSION = struct.pack("<BBHBBBB", 10, 0, 17763, 0, 0, 0, 15)
_MIC = slice(72, 88)
_PROOF = 16
_CLIENT_CHALLENGE = 28
"""Where the pairs of names and values begin in what the client proves (2.2.2.7)."""
_EPOCH_1601 = 11_644_473_600


class Flag(IntFlag):
    """What is negotiated (2.2.2.5), as far as it matters here."""

    UNICODE = 0x1
    REQUEST_TARGET = 0x4
    SIGN = 0x10
    SEAL = 0x20
    NTLM = 0x200
    ALWAYS_SIGN = 0x8000
    TARGET_TYPE_DOMAIN = 0x10000
    EXTENDED_SESSION_SECURITY = 0x80000
    TARGET_INFO = 0x800000
    VERSION = 0x2000000
    KEY_128 = 0x20000000
    KEY_EXCHANGE = 0x40000000
    KEY_56 = 0x80000000


_GRANTED = (
    Flag.SIGN
    | Flag.SEAL
    | Flag.EXTENDED_SESSION_SECURITY
    | Flag.KEY_128
    | Flag.KEY_EXCHANGE
    | Flag.KEY_56
)
_OURS = (
    Flag.UNICODE
    | Flag.REQUEST_TARGET
    | Flag.NTLM
    | Flag.ALWAYS_SIGN
    | Flag.TARGET_TYPE_DOMAIN
    | Flag.TARGET_INFO
    | Flag.VERSION
)


class Pair:
    """The kinds of pairs in the target's information (2.2.2.1)."""

    END, COMPUTER, DOMAIN, DNS_COMPUTER, DNS_DOMAIN, FLAGS, TIME = 0, 1, 2, 3, 4, 6, 7
    HAS_MIC = 2


class Server(Struct, frozen=True):
    """Who the challenge says we are, and whom we know: NT hashes by lower-case account name."""

    domain: str
    computer: str
    dns_domain: str
    accounts: Mapping[str, bytes]


class NtlmAcceptor:
    """One security context: an `Acceptor`."""

    token_length = SIGNED_LENGTH

    def __init__(self, server: Server, clock: Clock, random: Callable[[int], bytes]) -> None:
        self.user = ""
        self._server = server
        self._now = clock.now
        self._challenge = random(8)
        self._negotiate = b""
        self._challenged = b""
        self._receiving: Direction | None = None
        self._sending: Direction | None = None

    def step(self, token: bytes) -> bytes:
        """Take NEGOTIATE, return CHALLENGE; take AUTHENTICATE, return nothing."""
        try:
            kind = kind_of(token)
            if kind == NEGOTIATE_MESSAGE and not self._challenged:
                self._negotiate = token
                self._challenged = self._challenge_message(token)
                return self._challenged
            if kind == AUTHENTICATE_MESSAGE and self._challenged and not self.user:
                self._authenticate(token)
                return b""
        except (struct.error, UnicodeDecodeError, IndexError) as error:
            raise NotAuthenticated(f"malformed NTLM: {error}") from error
        raise NotAuthenticated(f"an NTLM message of type {kind} is out of turn")

    def unwrap(
        self, head: bytes, stub: bytes, trailer: bytes, token: bytes, *, seal: bool
    ) -> bytes:
        """Return a verified stub. NTLM protects the whole message, header and trailer included."""
        if self._receiving is None:
            raise NotAuthenticated("nothing was agreed yet")
        return self._receiving.unprotect(head, stub, trailer, token, seal=seal)

    def wrap(self, head: bytes, stub: bytes, trailer: bytes, *, seal: bool) -> tuple[bytes, bytes]:
        """Return a protected stub, and its token."""
        if self._sending is None:
            raise NotAuthenticated("nothing was agreed yet")
        return self._sending.protect(head, stub, trailer, seal=seal)

    def _challenge_message(self, negotiate: bytes) -> bytes:
        (wanted,) = struct.unpack_from("<I", negotiate, 12)
        flags = _OURS | (Flag(wanted) & _GRANTED)
        domain = self._server.domain.encode("utf-16-le")
        about = target_information(self._server, self._now())
        return b"".join(
            (
                SIGNATURE,
                struct.pack("<IHHII", CHALLENGE_MESSAGE, len(domain), len(domain), 56, flags),
                self._challenge,
                bytes(8),
                struct.pack("<HHI", len(about), len(about), 56 + len(domain)),
                _VERSION,
                domain,
                about,
            )
        )

    def _authenticate(self, message: bytes) -> None:
        proof, domain, user, sealed_key = (_field(message, at) for at in (20, 28, 36, 52))
        (flags,) = struct.unpack_from("<I", message, 60)
        domain_name, account = domain.decode("utf-16-le"), user.decode("utf-16-le")
        nt_hash = self._server.accounts.get(account.lower())
        if nt_hash is None:
            raise NotAuthenticated(f"no account {account!r}")
        response_key = response_key_v2(nt_hash, account, domain_name)
        expected = hmac_md5(response_key, self._challenge + proof[_PROOF:])
        if len(proof) < _PROOF + _CLIENT_CHALLENGE or not hmac.compare_digest(
            expected, proof[:_PROOF]
        ):
            raise NotAuthenticated(f"wrong password of {domain_name}\\{account}")
        session = hmac_md5(response_key, expected)
        if flags & Flag.KEY_EXCHANGE:
            session = ARC4.new(session).decrypt(sealed_key)
        self._check_mic(message, proof, session)
        self._sending = Direction(session, Flag(flags), "server-to-client")
        self._receiving = Direction(session, Flag(flags), "client-to-server")
        self.user = f"{domain_name}\\{account}"

    def _check_mic(self, message: bytes, proof: bytes, session: bytes) -> None:
        """A client that says there is one has to have it right (3.2.5.1.2)."""
        pairs = dict(pairs_of(proof[_PROOF + _CLIENT_CHALLENGE :]))
        told = int.from_bytes(pairs.get(Pair.FLAGS, b""), "little")
        if not told & Pair.HAS_MIC:
            return
        bare = message[: _MIC.start] + bytes(16) + message[_MIC.stop :]
        expected = hmac_md5(session, self._negotiate + self._challenged + bare)
        if not hmac.compare_digest(expected, message[_MIC]):
            raise NotAuthenticated("the NTLM messages were changed on their way: wrong MIC")


class Direction:
    """One of the two ways: its keys, its cipher and its sequence number (3.4)."""

    def __init__(self, session: bytes, flags: Flag, way: str) -> None:
        self._sign = signing_key(session, way)
        self._cipher = ARC4.new(sealing_key(session, flags, way))
        self._exchanged = bool(flags & Flag.KEY_EXCHANGE)
        self._sequence = 0

    def protect(
        self, head: bytes, stub: bytes, trailer: bytes, *, seal: bool
    ) -> tuple[bytes, bytes]:
        """Return the stub as it goes out, and its signature. First the one, then the other."""
        digest = self._digest(head + stub + trailer)
        sent = self._cipher.encrypt(stub) if seal else stub
        return sent, self._signature(digest)

    def unprotect(
        self, head: bytes, stub: bytes, trailer: bytes, token: bytes, *, seal: bool
    ) -> bytes:
        """Return the stub as it was meant. Raises NotAuthenticated if anything was changed."""
        plain = self._cipher.decrypt(stub) if seal else stub
        if not hmac.compare_digest(self._signature(self._digest(head + plain + trailer)), token):
            raise NotAuthenticated("wrong signature")
        return plain

    def _digest(self, data: bytes) -> bytes:
        return hmac_md5(self._sign, struct.pack("<I", self._sequence) + data)[:8]

    def _signature(self, digest: bytes) -> bytes:
        checksum = self._cipher.encrypt(digest) if self._exchanged else digest
        signature = struct.pack("<I8sI", 1, checksum, self._sequence)
        self._sequence += 1
        return signature


def kind_of(token: bytes) -> int:
    """Return which message it is. Raises NotAuthenticated if it is no NTLM."""
    if token[:8] != SIGNATURE or len(token) < 12:  # noqa: PLR2004 - the signature and a type
        raise NotAuthenticated("this is no NTLM")
    return int.from_bytes(token[8:12], "little")


def target_information(server: Server, now: datetime) -> bytes:
    """Return the pairs that a challenge carries; with the time, so that clients send a MIC."""
    ticks = int((now.timestamp() + _EPOCH_1601) * 10_000_000)
    return b"".join(
        (
            _pair(Pair.DOMAIN, server.domain.encode("utf-16-le")),
            _pair(Pair.COMPUTER, server.computer.encode("utf-16-le")),
            _pair(Pair.DNS_DOMAIN, server.dns_domain.encode("utf-16-le")),
            _pair(
                Pair.DNS_COMPUTER,
                f"{server.computer}.{server.dns_domain}".lower().encode("utf-16-le"),
            ),
            _pair(Pair.TIME, struct.pack("<Q", ticks)),
            _pair(Pair.END, b""),
        )
    )


def pairs_of(data: bytes) -> list[tuple[int, bytes]]:
    """Return the pairs of a target's information, up to their end."""
    pairs, at = [], 0
    while at + 4 <= len(data):
        kind, length = struct.unpack_from("<HH", data, at)
        if kind == Pair.END:
            break
        pairs.append((kind, data[at + 4 : at + 4 + length]))
        at += 4 + length
    return pairs


def _pair(kind: int, value: bytes) -> bytes:
    return struct.pack("<HH", kind, len(value)) + value


def _field(message: bytes, at: int) -> bytes:
    length, _, offset = struct.unpack_from("<HHI", message, at)
    if offset + length > len(message):
        raise NotAuthenticated("a field of the NTLM message lies outside of it")
    return message[offset : offset + length]


def nt_hash(password: str) -> bytes:
    """Return NTOWFv1, what a domain controller keeps of a password (3.3.1)."""
    return MD4.new(password.encode("utf-16-le")).digest()  # noqa: S303 - NTLM says so


def response_key_v2(hashed: bytes, user: str, domain: str) -> bytes:
    """Return NTOWFv2 (3.3.2), of the hash of a password."""
    return hmac_md5(hashed, (user.upper() + domain).encode("utf-16-le"))


def signing_key(session: bytes, way: str) -> bytes:
    """Return SIGNKEY (3.4.5.2)."""
    return _magic(session, f"session key to {way} signing key magic constant")


def sealing_key(session: bytes, flags: Flag, way: str) -> bytes:
    """Return SEALKEY (3.4.5.3): weaker where less was negotiated."""
    length = 16 if flags & Flag.KEY_128 else 7 if flags & Flag.KEY_56 else 5
    return _magic(session[:length], f"session key to {way} sealing key magic constant")


def hmac_md5(key: bytes, data: bytes) -> bytes:
    """Return HMAC-MD5, which NTLM is made of."""
    return hmac.digest(key, data, "md5")


def _magic(key: bytes, words: str) -> bytes:
    return hashlib.md5(key + words.encode() + b"\0").digest()  # noqa: S324 - NTLM says so
