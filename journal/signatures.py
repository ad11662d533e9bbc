"""Signatures checked on all cores, a chunk of lines at a time, reported in the lines' order.

OpenSSL lets go of the interpreter while it computes, so threads are enough (docs/adr/0010). Chunks
are bounded in lines and in bytes, and few wait at a time: memory stays flat however long the
journal is.
"""

from base64 import urlsafe_b64decode
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from events.envelope import Record
from events.signing import SIGNATURE_LENGTH, BadSignature, PublicKey
from journal.breaks import JournalBroken, Line, broken_at

CHUNK_LINES = 256
CHUNK_BYTES = 1024 * 1024
WAITING_PER_THREAD = 3

Check = tuple[PublicKey, Line, Record]


class Signatures:
    """Checks that were asked for and may still be under way."""

    def __init__(self, threads: int) -> None:
        """Check on so many threads; with one, in the caller's own."""
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self._most = threads * WAITING_PER_THREAD
        self._waiting: deque[Future[None]] = deque()
        self._chunk: list[Check] = []
        self._bytes = 0
        self.failed = False  # the first bad signature was reported; what follows it does not count

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def add(self, key: PublicKey, line: Line, record: Record) -> None:
        """Have a signature checked, soon; raises JournalBroken for this or an earlier one."""
        self._chunk.append((key, line, record))
        self._bytes += len(record.line)
        if len(self._chunk) >= CHUNK_LINES or self._bytes >= CHUNK_BYTES:
            self._hand_over()

    def settle(self) -> None:
        """Return once all added are good; raises JournalBroken for the first that is not."""
        while self._waiting:
            self._wait_for_first()
        chunk, self._chunk, self._bytes = self._chunk, [], 0
        self._check(chunk)

    def _hand_over(self) -> None:
        if self._pool is None:
            self.settle()
            return
        if len(self._waiting) >= self._most:
            self._wait_for_first()
        self._waiting.append(self._pool.submit(check, self._chunk))
        self._chunk, self._bytes = [], 0

    def _wait_for_first(self) -> None:
        try:
            self._waiting.popleft().result()
        except JournalBroken:
            self.failed = True
            raise

    def _check(self, chunk: list[Check]) -> None:
        try:
            check(chunk)
        except JournalBroken:
            self.failed = True
            raise


def check(chunk: list[Check]) -> None:
    """Raise JournalBroken for the first line that was not signed with its node's key."""
    for key, line, record in chunk:
        # The line's form is known to be canonical, so the signature is decoded without looking
        # again.
        signature = urlsafe_b64decode(record.line[-SIGNATURE_LENGTH - 2 : -2] + b"==")
        try:
            key.verify(record.payload, signature)
        except BadSignature:
            raise broken_at(
                line,
                record,
                f"the line was changed: its signature is not that of its node's key {key.kid}",
            ) from None
