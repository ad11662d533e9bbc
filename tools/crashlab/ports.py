"""TCP ports of 127.0.0.1 that stay free while a server is down.

They lie below the range that the system gives to outgoing connections: a client that keeps knocking
at a dead server's port could else be given that very port, connect to itself, and keep the server
from coming back.
"""

import random
import socket

LOOPBACK = "127.0.0.1"
LOWEST, HIGHEST = 20000, 32000


def free_ports() -> tuple[int, int, int]:
    """Return three ports that nobody listens on now. Not from a seed: labs run side by side."""
    found: set[int] = set()
    chance = random.SystemRandom()
    while len(found) < 3:  # noqa: PLR2004 - three
        port = chance.randrange(LOWEST, HIGHEST)
        if _is_free(port):
            found.add(port)
    first, second, third = sorted(found)
    return first, second, third


def _is_free(port: int) -> bool:
    try:
        socket.create_server((LOOPBACK, port)).close()
    except OSError:
        return False
    return True
