"""A line on which bytes come that were fixed before, and then the end."""

from typing import Any


class Played:
    """What impacket's transport would be to a channel."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def send(self, data: bytes, forceWriteAndx: int = 0, forceRecv: int = 0) -> None:  # noqa: N803 - impacket's names
        """Nobody listens."""

    def recv(self, forceRecv: int = 0, count: int = 0) -> bytes:  # noqa: N803 - as above
        """Return what comes next; nothing at the end."""
        data, self._data = self._data[:count], self._data[count:]
        return data

    def get_credentials(self) -> tuple[Any, ...]:
        """Return somebody's."""
        return ("user", "password", "domain", b"", b"", b"", None, None)
