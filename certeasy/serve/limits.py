"""What one listener allows its clients: how long, how much, how many at once."""

import enum
import sys
from datetime import timedelta

import msgspec

from certeasy.decide.client_address import Network

MAX_HEADER_BYTES = 32 * 1024
"""Request line and headers together. Four times what common servers take, tokens included."""

SELECTABLE = 480
"""Connections that `select()` on Windows can watch: 512 descriptors, less our own few."""

LEAST_SHARE = 16
"""Connections that every address may have, however few there may be in all."""

SMALL_BODY = 64 * 1024
"""Bytes of a body for which there is always room. ACME requests are far smaller."""

LINGER = 2.0
"""Seconds for which a refused client may go on sending, so that it gets to read why."""

LINGER_BYTES = 16 << 20
"""And so much of it: as large as the largest body that can be allowed."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one listener; every one of them works when left alone.

    `read_header_timeout` runs from the first byte of a request to the end of its headers,
    `read_timeout` from there to the end of its body, `write_timeout` while an answer waits to be
    taken, `idle_timeout` between requests, `handshake_timeout` over a whole TLS handshake. The
    application's own time is not limited here. `bodies_bytes` is the room for the bodies of all
    requests that are not yet answered, and at least `max_body_bytes`. Addresses in
    `trusted_proxies` may have as many connections as there are, any other one its share of them;
    with `proxy_protocol` each of theirs begins with a PROXY header, and counts as its client's.
    """

    threads: int = 32
    connection_limit: int = 1000
    max_body_bytes: int = 1024 * 1024
    bodies_bytes: int = 64 * 1024 * 1024
    trusted_proxies: tuple[Network, ...] = ()
    proxy_protocol: bool = False
    handshake_timeout: timedelta = timedelta(seconds=10)
    read_header_timeout: timedelta = timedelta(seconds=5)
    read_timeout: timedelta = timedelta(seconds=10)
    write_timeout: timedelta = timedelta(seconds=30)
    idle_timeout: timedelta = timedelta(seconds=60)


class Phase(enum.Enum):
    """What a connection is busy with."""

    HANDSHAKE = enum.auto()
    IDLE = enum.auto()
    HEADER = enum.auto()
    BODY = enum.auto()
    WORKING = enum.auto()
    WRITING = enum.auto()
    LINGERING = enum.auto()


PATIENCE = {
    Phase.HANDSHAKE: 1.0,
    Phase.IDLE: 1.0,
    Phase.HEADER: 1.0,
    Phase.LINGERING: 1.0,
    Phase.BODY: 3.0,
    Phase.WRITING: 10.0,
}
"""Seconds that each phase may last while others wait for a place. Round trips are shorter."""

IN_FLIGHT = frozenset({Phase.HEADER, Phase.BODY, Phase.WORKING, Phase.WRITING})
"""A request has begun and its answer has not left: closing now would lose it."""


def seconds_allowed(limits: Limits) -> dict[Phase, float]:
    """Return how many seconds each phase may last; WORKING, being ours, has no entry."""
    return {
        Phase.HANDSHAKE: limits.handshake_timeout.total_seconds(),
        Phase.IDLE: limits.idle_timeout.total_seconds(),
        Phase.HEADER: limits.read_header_timeout.total_seconds(),
        Phase.BODY: limits.read_timeout.total_seconds(),
        Phase.WRITING: limits.write_timeout.total_seconds(),
        Phase.LINGERING: LINGER,
    }


def connections_allowed(limits: Limits, platform: str = sys.platform) -> int:
    """Return how many connections may be open at once on this operating system."""
    if platform == "win32":
        return min(limits.connection_limit, SELECTABLE)
    return limits.connection_limit


def share_of_one_address(limits: Limits) -> int:
    """Return how many of these connections one address may have: a quarter of them."""
    return max(connections_allowed(limits) // 4, LEAST_SHARE)
