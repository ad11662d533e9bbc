"""Where new names and randomness come from: every part is handed an `Ids`, so that tests can hold
it.

An id is 26 characters of lower-case base32hex (RFC 4648 section 7, whose alphabet sorts like the
numbers it stands for): 50 bits of milliseconds, then 80 random bits. Ids of one second stand beside
each other in an index, compare the same in a database that ignores case, and cannot be guessed.
"""

import base64
import os
import threading
import uuid
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from certeasy.clock import Clock

ALPHABET = "0123456789abcdefghijklmnopqrstuv"
ID_LENGTH = 26


class Ids(Protocol):
    """Make new ids, tokens and random bytes."""

    def new(self) -> str:
        """Return an id: 26 lower-case base32hex characters, later ones sort after earlier ones."""
        ...

    def token(self) -> str:
        """Return 256 random bits as 43 characters of unpadded base64url (RFC 8555 section 8)."""
        ...

    def random(self, length: int) -> bytes:
        """Return `length` random bytes fit for keys."""
        ...

    def uuid(self) -> str:
        """Return a random UUID, version 4, in its usual 36 characters."""
        ...


class RandomIds:
    """Ids from the operating system's random source.

    Random bytes are drawn a block at a time: one system call serves many ids.
    """

    def __init__(self, clock: "Clock") -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._pool = b""

    def new(self) -> str:
        """Return an id: 26 lower-case base32hex characters, later ones sort after earlier ones."""
        number = int(self._clock.now().timestamp() * 1000) << 80
        number |= int.from_bytes(self.random(10), "big")
        return "".join([ALPHABET[number >> shift & 31] for shift in range(125, -1, -5)])

    def token(self) -> str:
        """Return 256 random bits as 43 characters of unpadded base64url."""
        return base64.urlsafe_b64encode(self.random(32)).rstrip(b"=").decode()

    def random(self, length: int) -> bytes:
        """Return `length` random bytes fit for keys."""
        with self._lock:
            if len(self._pool) < length:
                self._pool = os.urandom(max(4096, length))
            taken, self._pool = self._pool[:length], self._pool[length:]
        return taken

    def uuid(self) -> str:
        """Return a random UUID, version 4, in its usual 36 characters."""
        return str(uuid.UUID(bytes=self.random(16), version=4))
