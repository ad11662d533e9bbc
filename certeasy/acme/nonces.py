"""Anti-replay nonces: nobody has to remember one that was issued, only those that were used.

A nonce says when it was issued, in milliseconds, and is authenticated under a secret that the nodes
of an installation share. So it stays good over a restart and on any node: three of fourteen real
clients never retry a badNonce, so what we issued must be taken. RFC 8555 section 6.5.

That it is good once is the promise of a `RedeemedNonces`: of this process, or of the database.
"""

import hashlib
import hmac
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from certeasy.acme import base64url
from certeasy.clock import Clock
from certeasy.decide.problems import Problem, Refused

LIFETIME = timedelta(minutes=2)
SECRET_LENGTH = 32
_TIME, _RANDOM, _TAG = 6, 8, 16
_SIGNED = _TIME + _RANDOM
_LIFETIME_MS = LIFETIME // timedelta(milliseconds=1)
_PURPOSE = b"certeasy nonce"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class RedeemedNonces(Protocol):
    """Remember the nonces that were used. Safe to call from any thread."""

    def redeem(self, nonce: str, expires: datetime) -> bool:
        """Return True to exactly one caller per nonce, ever; to all others False.

        A nonce may be forgotten once `expires` (aware, UTC) is past; it is False from then on,
        also when the clock is set back. False is also right for one that cannot be told from a
        used one: a client fetches another. If this raises, the nonce may or may not be used up.
        """
        ...


class Nonces:
    """Issue nonces, and take each of them back once.

    `secret` is 32 bytes, the same on all nodes; `random` gives that many random bytes.
    """

    def __init__(
        self, secret: bytes, redeemed: RedeemedNonces, clock: Clock, random: Callable[[int], bytes]
    ) -> None:
        if len(secret) != SECRET_LENGTH:
            raise ValueError(f"the nonce secret has {len(secret)} bytes, not {SECRET_LENGTH}")
        self._secret = secret
        self._redeemed = redeemed
        self._clock = clock
        self._random = random
        self._lock = threading.Lock()
        self._latest = 0

    def issue(self) -> str:
        """Return a new nonce: 40 characters of base64url, good for two minutes."""
        signed = self._now().to_bytes(_TIME, "big") + self._random(_RANDOM)
        return base64url.encode(signed + self._tag(signed))

    def redeem(self, nonce: str) -> datetime:
        """Use a nonce up; return the moment it would have expired.

        Raises Refused (badNonce) if it is not ours, too old or used. The wording is one that
        acme.sh knows; it retries at no other.
        """
        if not nonce:
            raise bad_nonce("there is none")
        issued, now = self._issued(nonce), self._now()
        if issued + _LIFETIME_MS <= now:
            raise bad_nonce(f"it is older than {_LIFETIME_MS // 1000} seconds")
        # Another node's clock may be ahead, and ours may have been set back, but not by so much.
        if issued >= now + _LIFETIME_MS:
            raise bad_nonce("it is from the future")
        expires = _EPOCH + timedelta(milliseconds=issued + _LIFETIME_MS)
        if not self._redeemed.redeem(nonce, expires):
            raise bad_nonce("it has been used")
        return expires

    def _issued(self, nonce: str) -> int:
        data = base64url.decoded(nonce)
        if data is None or len(data) != _SIGNED + _TAG:
            raise bad_nonce("it was not issued here")
        if not hmac.compare_digest(self._tag(data[:_SIGNED]), data[_SIGNED:]):
            raise bad_nonce("it was not issued here")
        return int.from_bytes(data[:_TIME], "big")

    def _tag(self, signed: bytes) -> bytes:
        return hashlib.blake2b(signed, digest_size=_TAG, key=self._secret, person=_PURPOSE).digest()

    def _now(self) -> int:
        """Return milliseconds that never go back.

        When the clock is set back, time stands still until it has caught up: what was forgotten
        stays too old, and what is issued meanwhile is taken.
        """
        now = int(self._clock.now().timestamp() * 1000)
        with self._lock:
            self._latest = max(self._latest, now)
            return self._latest


def bad_nonce(reason: str) -> Refused:
    """Return the refusal of a nonce, in the words that acme.sh retries at."""
    return Refused(Problem.BAD_NONCE, f"JWS has an invalid anti-replay nonce: {reason}")


BUCKET_SECONDS = 5
MOST_KEPT = 500_000


class MemoryRedeemedNonces:
    """The used nonces of one process, in buckets by the time they expire.

    It forgets a bucket when its time is past, or the one next to expire when there are too many;
    either way it refuses from then on everything that such a bucket could have held. So neither a
    clock that is set back nor a flood makes a used nonce good again.
    """

    def __init__(self, clock: Clock, most: int = MOST_KEPT) -> None:
        self._clock = clock
        self._most = most
        self._lock = threading.Lock()
        self._buckets: dict[int, set[int]] = {}
        self._kept = 0
        # The first bucket that was never forgotten. It only grows.
        self._first = 0

    def redeem(self, nonce: str, expires: datetime) -> bool:
        """Return True to exactly one caller per nonce, ever; to all others False."""
        bucket = int(expires.timestamp()) // BUCKET_SECONDS
        now = int(self._clock.now().timestamp()) // BUCKET_SECONDS
        # Python's keyed 61 bit hash takes a third of the memory of the text. Two nonces that share
        # one cost a client one retry, and that will not be seen.
        mark = hash(nonce)
        with self._lock:
            if self._first < now:
                self._forget_before(now)
            if bucket < self._first:
                return False
            used = self._buckets.setdefault(bucket, set())
            if mark in used:
                return False
            used.add(mark)
            self._kept += 1
            if self._kept > self._most:
                self._forget_before(min(self._buckets) + 1)
            return True

    def __len__(self) -> int:
        """Return how many are kept."""
        return self._kept

    def _forget_before(self, first: int) -> None:
        for bucket in [bucket for bucket in self._buckets if bucket < first]:
            self._kept -= len(self._buckets.pop(bucket))
        self._first = max(self._first, first)
