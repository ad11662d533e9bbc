"""Who keeps a place when more clients come than there are places.

Silence is cheap, and so are connections; nobody may keep others out by having many of both:

* One address has a share of the places. An IPv6 address counts as its /64 network, because that is
  what one host can choose from. Our own proxies have no share: behind them are many clients.
* At its share, an address pays for a newcomer with a connection of its own.
* When all places are taken, what has been quiet for longer than `PATIENCE` gives way: first whoever
  is in the midst of something or has never been served, then clients that rest between requests.
* A request that is complete never gives way.
"""

import heapq
from collections.abc import Iterable
from enum import IntEnum
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Protocol

from certeasy.decide.client_address import Network, client_address
from certeasy.serve.limits import PATIENCE, Phase


class Connection(Protocol):
    """What there is to know of a connection: since when (monotonic seconds) it does what."""

    opened_at: float
    seen_at: float
    answered: int
    heard: bool
    origin: str | None

    def phase(self) -> Phase:
        """Return what this connection is busy with."""
        ...

    def handle_close(self) -> None:
        """Close it."""
        ...


class Claim(IntEnum):
    """What speaks for a connection's place; the lowest gives way first."""

    OVERSTAYED = 0
    RESTING = 1
    SILENT = 2
    BEGINNING = 3
    PAUSING = 4
    BUSY = 5


BEGUN = frozenset({Phase.HANDSHAKE, Phase.HEADER, Phase.LINGERING})
LEAST_PATIENCE = min(PATIENCE.values())


def claim(connection: Connection, now: float) -> Claim:
    """Return what speaks for this connection at `now` (monotonic seconds)."""
    phase = connection.phase()
    patient = now - connection.seen_at <= PATIENCE.get(phase, float("inf"))
    if phase is Phase.IDLE and connection.answered:
        # A moment after an answer, the next request of the same client may be on its way.
        return Claim.PAUSING if patient else Claim.RESTING
    if not patient:
        return Claim.OVERSTAYED
    if not connection.heard:
        return Claim.SILENT
    return Claim.BEGINNING if phase in BEGUN or phase is Phase.IDLE else Claim.BUSY


def quiet(connections: Iterable[Connection], now: float, count: int) -> list[Connection]:
    """Return up to `count` of the connections that give way when all places are taken."""
    weak = ((found, each) for each in connections if (found := claim(each, now)) <= Claim.RESTING)
    first = heapq.nsmallest(count, weak, key=lambda entry: (entry[0], entry[1].seen_at))
    return [connection for _, connection in first]


class Places:
    """The connections of each address that has a share. For the loop's thread only."""

    def __init__(self, share: int, trusted: Iterable[Network]) -> None:
        self.share = share
        self._trusted = tuple(trusted)
        # In the order of their coming.
        self._of: dict[str, dict[Connection, None]] = {}

    def origin(self, peer: str) -> str | None:
        """Return what `peer`, an address as the system writes it, counts as; None: has no share."""
        text = client_address(peer, None, ())
        address = ip_address(text)
        if any(address in network for network in self._trusted):
            return None
        if isinstance(address, IPv4Address):
            return text
        return str(ip_network((text, 64), strict=False))

    def is_full(self, origin: str) -> bool:
        """Tell whether this origin has its share already."""
        return len(self._of.get(origin, ())) >= self.share

    def enter(self, connection: Connection) -> None:
        """Count a connection among those of its origin."""
        if connection.origin is not None:
            self._of.setdefault(connection.origin, {})[connection] = None

    def leave(self, connection: Connection) -> None:
        """Count it no more; nothing if it never was."""
        theirs = self._of.get(connection.origin or "", {})
        theirs.pop(connection, None)
        if not theirs:
            self._of.pop(connection.origin or "", None)

    def weakest(self, origin: str, now: float) -> Connection | None:
        """Return which connection of this origin gives way to a newcomer of it; None: none does."""
        best, its_claim = None, Claim.BUSY  # who is busy does not give way
        for connection in self._of[origin]:
            found = claim(connection, now)
            if found < its_claim:
                best, its_claim = connection, found
            if its_claim <= Claim.SILENT and now - connection.opened_at <= LEAST_PATIENCE:
                break  # all that follow are younger still, and have as good a claim
        return best
