"""Keys of the people (accounts, addresses, administrators) that the log speaks about.

A key is made when its subject is first spoken of, and stored in the transaction that does so.
"""

import threading
from collections.abc import Iterable

from certeasy.ids import Ids
from certeasy.store import Store
from events.sealing import KEY_LENGTH, NONCE_LENGTH, Sealed, Subject, Unreadable

KEPT = 1000


class Subjects:
    """Find or make the key of a subject."""

    def __init__(self, store: Store, ids: Ids) -> None:
        self._store = store
        self._ids = ids
        self._lock = threading.Lock()
        self._kept: dict[str, Subject] = {}
        self._forgotten = 0  # how often keys were forgotten

    def new(self, subject: str) -> tuple[Subject, bytes]:
        """Make a key for a subject that has none; the command that first names it stores it."""
        key = self._ids.random(KEY_LENGTH)
        return Subject(subject, key), key

    def get(self, subject: str) -> Subject | None:
        """Return a subject with its key; None where there is no key, or where it was erased."""
        kept = self._kept.get(subject)
        if kept is not None:
            return kept
        before = self._forgotten
        key = self._store.subject_key(subject)
        if key is None:
            return None
        found = Subject(subject, key)
        with self._lock:
            if self._forgotten == before:  # else it may have been destroyed since it was read
                self._kept[subject] = found
            if len(self._kept) > KEPT:
                del self._kept[next(iter(self._kept))]
        return found

    def forget(self, subjects: Iterable[str]) -> None:
        """Keep the keys of these subjects no longer: they were destroyed, or replaced."""
        with self._lock:
            self._forgotten += 1
            for subject in subjects:
                self._kept.pop(subject, None)

    def seal(self, subject: Subject, clear: bytes) -> Sealed:
        """Seal something said about the subject."""
        return subject.seal(clear, self._ids.random(NONCE_LENGTH))

    def open(self, sealed: Sealed | None) -> bytes | None:
        """Return what was sealed, or None if there is nothing, or nobody can read it any more."""
        subject = None if sealed is None else self.get(sealed.subject)
        if sealed is None or subject is None:
            return None
        try:
            return subject.open(sealed)
        except Unreadable:
            return None
