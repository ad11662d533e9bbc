"""TCP ports of 127.0.0.1 that stay free while a server is down.

They lie below the range that the system gives to outgoing connections: a client that keeps knocking
at a dead server's port could else be given that very port, connect to itself, and keep the server
from coming back.
"""

import random
import socket

LOOPBACK = "127.0.0.1"
LOWEST, HIGHEST = 20000, 32000


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on just now. Not from a seed: labs run side by side."""
    found: set[int] = set()
    chance = random.SystemRandom()
    while len(found) < count:
        port = chance.randrange(LOWEST, HIGHEST)
        if _is_free(port):
            found.add(port)
    return sorted(found)


def _is_free(port: int) -> bool:
    try:
        socket.create_server((LOOPBACK, port)).close()
    except OSError:
        return False
    return True
