"""The version each stream has reached, for logs of more streams than memory should hold."""

import sqlite3

HOT = 50_000


class DiskVersions:
    """Versions of recently seen streams in memory, of all others in a temporary file.

    The file has no name and vanishes with the object (SQLite's temporary database).
    """

    def __init__(self, hot: int = HOT) -> None:
        """Keep so many streams in memory; nothing is written before there are more."""
        self._most = hot
        self._hot: dict[str, int] = {}
        self._cold: sqlite3.Connection | None = None

    def close(self) -> None:
        """Drop the temporary file."""
        if self._cold is not None:
            self._cold.close()

    def move(self, stream: str, version: int) -> int:
        """Note that the stream has this version now; return the one it had before, 0 at first."""
        before = self._hot.get(stream)
        if before is None:
            before = self._stored(stream)
            if len(self._hot) >= self._most:
                self._spill()
        self._hot[stream] = version
        return before

    def _stored(self, stream: str) -> int:
        if self._cold is None:
            return 0
        row = self._cold.execute(
            "SELECT version FROM versions WHERE stream = ?", (stream,)
        ).fetchone()
        return int(row[0]) if row else 0

    def _spill(self) -> None:
        if self._cold is None:
            self._cold = sqlite3.connect("", isolation_level=None)
            self._cold.execute(
                "CREATE TABLE versions (stream TEXT PRIMARY KEY, version INTEGER) WITHOUT ROWID"
            )
        self._cold.execute("BEGIN")
        self._cold.executemany(
            "INSERT OR REPLACE INTO versions (stream, version) VALUES (?, ?)", self._hot.items()
        )
        self._cold.execute("COMMIT")
        self._hot = {}
