"""The one seam to the operating system: a local socket on Unix, a named pipe on Windows.

Both have the same two functions, and what these return.
"""

import sys
from pathlib import Path
from typing import Protocol

from certeasy.admin.wire import Connection

if sys.platform == "win32":
    from certeasy.admin import named_pipe as system
else:
    from certeasy.admin import unix_socket as system

SECONDS = 10.0  # that a message may take on its way


class Doorway(Protocol):
    """Where a server waits for connections."""

    def accept(self) -> Connection | None:
        """Return the next connection; None once `close` was called. Raises OSError."""
        ...

    def close(self) -> None:
        """Let nobody in any more; whoever waits in `accept` returns."""
        ...

    def release(self) -> None:
        """Give everything back, once nobody waits in `accept` any more."""
        ...


def open_doorway(workdir: Path, seconds: float = SECONDS) -> Doorway:
    """Begin to wait for connections to the server of this workdir, whose lock the caller holds.

    Raises BootRefused where something else stands in the way, OSError.
    """
    return system.open_doorway(workdir, seconds)


def connect(workdir: Path, seconds: float = SECONDS) -> Connection | None:
    """Return a connection to the server of this workdir, or None where none runs.

    Raises OSError where there is one that cannot be reached.
    """
    return system.connect(workdir, seconds)
