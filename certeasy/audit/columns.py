"""What kind of value each column has. SQLite itself keeps whatever it is given.

Whoever has the file can put text where bytes belong; without a look, the first place that relies on
a kind would stumble over it, and nobody would learn which row it was.
"""

from typing import Any

Kind = type[int] | type[str] | type[bytes]
Row = tuple[Any, ...]

_WORDS = {int: "an integer", str: "text", bytes: "bytes", float: "a number", type(None): "nothing"}


class Columns:
    """The columns of a table, or of a query over it, in order."""

    def __init__(self, table: str, **kinds: Kind) -> None:
        self.table = table
        self.names = tuple(kinds)
        self._kinds = tuple(kinds.values())

    def fault(self, row: Row) -> str | None:
        """Return which column of a row is of another kind, as a sentence; None if none is.

        The row may have more than these columns, behind them.
        """
        found = tuple(map(type, row[: len(self._kinds)]))
        if found == self._kinds:
            return None
        return next(
            f"column {name} of {self.table} is {_WORDS[kind]}, not {_WORDS[wanted]}"
            for name, kind, wanted in zip(self.names, found, self._kinds, strict=True)
            if kind is not wanted
        )


EVENTS = Columns(
    "events",
    position=int,
    server_id=str,
    seq=int,
    stream=str,
    version=int,
    type=str,
    at=str,
    hash=str,
    line=bytes,
)
HEAD = Columns("log_head", position=int, hash=str, at=str, installation_id=str)
SERVERS = Columns(
    "servers",
    server_id=str,
    hostname=str,
    kid=str,
    x=str,
    first_seen=str,
    last_seen=str,
    seq=int,
    hash=str,
    boot_id=str,
    fingerprint=str,
)
NODE_KEYS = Columns(
    "node_keys", server_id=str, hostname=str, kid=str, x=str, first_seen=str, endorsed=int
)
LINES = Columns("events", position=int, line=bytes)
SUBJECT_KEYS = Columns("subject_keys", key=bytes)
