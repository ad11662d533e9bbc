"""What a node's workdir knows of it: its id, its key, the starts it made. Read, never changed.

Whoever can write to the database and the journal, but not to these files, cannot make a log that
fits them.
"""

from pathlib import Path

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_pem_public_key,
)

from events.signing import base64url, thumbprint
from journal.breaks import JournalBroken

KEY_FILE = Path("keys") / "signing.pem"
NEXT_KEY_FILE = Path("keys") / "signing.next.pem"
_PUBLIC = b"PUBLIC KEY-----"
_SERVER_ID_LENGTH = 36


class Workdir(msgspec.Struct, frozen=True):
    """A node's own files, as far as they can be read: empty where they cannot.

    `kid` is the id of its key in `key_file`, `next_kid` that of the one which a rotation left
    beside it, before the next start completes it. `boots` are the ids of its starts, the first one
    first.
    """

    server_id: str = ""
    kid: str = ""
    key_file: str = ""
    next_kid: str = ""
    boots: tuple[str, ...] = ()


def look(path: Path) -> Workdir:
    """Return what a workdir tells. Raises JournalBroken where a key file holds no node's key."""
    key_file, next_file = path / KEY_FILE, path / NEXT_KEY_FILE
    pem, next_pem = _read(key_file), _read(next_file)
    return Workdir(
        server_id=_text(path / "server_id").strip()[:_SERVER_ID_LENGTH],
        kid=_kid(pem, key_file) if pem is not None else "",
        key_file=str(key_file),
        next_kid=_kid(next_pem, next_file) if next_pem is not None else "",
        boots=tuple(_text(path / "boot_ids").split()),
    )


def _kid(pem: bytes, path: Path) -> str:
    """Return the id of the key in a PEM; its public half alone is enough."""
    try:
        key = load_pem_public_key(pem) if _PUBLIC in pem else load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if isinstance(key, Ed25519PrivateKey):
        key = key.public_key()
    if not isinstance(key, Ed25519PublicKey):
        raise JournalBroken("this is not a node's signing key", file=str(path))
    return thumbprint(base64url(key.public_bytes_raw()))


def _text(path: Path) -> str:
    return (_read(path) or b"").decode(errors="replace")


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:  # an auditor need not be allowed to read what is the node's alone
        return None
