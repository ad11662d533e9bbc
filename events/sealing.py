"""Personal data inside a line: encrypted under a key of the person it is about.

The line stays valid and verifiable for ever; deleting the key makes what was sealed unreadable
everywhere at once, in every copy of the log.
"""

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from events.signing import base64url, from_base64url

KEY_LENGTH = 32
NONCE_LENGTH = 12


class Sealed(msgspec.Struct, frozen=True):
    """Something said about a subject: AES-256-GCM, nonce first, as unpadded base64url."""

    subject: str
    box: str


class Unreadable(Exception):
    """The box was not sealed with this key, or was changed since."""


class Subject:
    """One person's (or account's, or address's) key."""

    def __init__(self, subject: str, key: bytes) -> None:
        """Take the subject's name, which is bound into every box, and its 32-byte key."""
        self.subject = subject
        self.cipher = AESGCM(key)

    def seal(self, clear: bytes, nonce: bytes) -> Sealed:
        """Seal `clear` under 12 random bytes that were never used with this key before."""
        box = nonce + self.cipher.encrypt(nonce, clear, self.subject.encode())
        return Sealed(self.subject, base64url(box))

    def open(self, sealed: Sealed) -> bytes:
        """Return what was sealed; raises Unreadable for another subject's box or a changed one."""
        try:
            box = from_base64url(sealed.box)
            nonce, hidden = box[:NONCE_LENGTH], box[NONCE_LENGTH:]
            return self.cipher.decrypt(nonce, hidden, self.subject.encode())
        except (InvalidTag, ValueError):
            raise Unreadable(f"not sealed with the key of {self.subject}") from None
