"""Secrets in the database, wrapped by a key that is not in the database.

The key file is the same on all nodes of an installation. A secret is AES-256-GCM under it, its name
bound in, so that one cannot be put in another's place.
"""

from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from certeasy.cluster.files import refuse_link, write_once
from certeasy.cluster.refusal import BootRefused
from certeasy.ids import Ids
from certeasy.store import Store

KEY_LENGTH = 32
NONCE_LENGTH = 12
TAG_LENGTH = 16


class Secrets:
    """Read and keep wrapped secrets."""

    def __init__(self, store: Store, cipher: AESGCM, ids: Ids, key_file: Path) -> None:
        self._store = store
        self._cipher = cipher
        self._ids = ids
        self._key_file = key_file

    def get(self, name: str) -> bytes | None:
        """Return a secret, or None; BootRefused if it was wrapped with another key, or is none."""
        wrapped = self._store.secret(name)
        if wrapped is None:
            return None
        if len(wrapped) < NONCE_LENGTH + TAG_LENGTH:
            raise BootRefused(
                f"the secret {name!r} in the database has {len(wrapped)} bytes, too few for any:"
                " the row was changed. Restore the database from a backup"
            )
        try:
            return self._cipher.decrypt(
                wrapped[:NONCE_LENGTH], wrapped[NONCE_LENGTH:], name.encode()
            )
        except InvalidTag:
            raise BootRefused(
                f"the secret {name!r} in the database cannot be read with {self._key_file}: use the"
                " key file that this installation was set up with (it is the same on all nodes)"
            ) from None

    def get_or_make(self, name: str, new: bytes) -> bytes:
        """Return the secret; if there is none yet, keep `new` as it.

        Only while booting: it writes by itself.
        """
        known = self.get(name)
        if known is not None:
            return known
        with self._store.repeatable() as transaction:
            transaction.keep_secret(name, self.wrap(name, new))
        return new

    def wrap(self, name: str, secret: bytes) -> bytes:
        """Return a secret as it is stored under this name, by the change that makes it."""
        nonce = self._ids.random(NONCE_LENGTH)
        return nonce + self._cipher.encrypt(nonce, secret, name.encode())


def unlock(store: Store, key_file: Path, ids: Ids) -> Secrets:
    """Read the key file; make it if it is not there and this database has no secrets yet.

    Raises BootRefused if it is missing beside a database that has secrets, or is not a key.
    """
    if not key_file.exists():
        refuse_link(
            key_file
        )  # one that leads nowhere; a link to a key is read, as mounted ones are
        if store.has_secrets() or store.head().position > 0:
            raise BootRefused(
                f"{key_file} (secrets.key-file) is missing, and the database's secrets are wrapped"
                " with it; put it back from the backup, or copy it from another node"
            )
        write_once(key_file, ids.random(KEY_LENGTH))
    key = key_file.read_bytes()
    if len(key) != KEY_LENGTH:
        raise BootRefused(
            f"{key_file} (secrets.key-file) has {len(key)} bytes; a key has {KEY_LENGTH}: put the"
            " right file back from the backup, or copy it from another node"
        )
    return Secrets(store, AESGCM(key), ids, key_file)
