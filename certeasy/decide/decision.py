"""What a decider returns: the facts to be recorded, and what must still hold at that moment."""

from typing import Protocol, TypeVar

import msgspec

from events.registry import Event
from projections.tables import Table

S = TypeVar("S", bound=msgspec.Struct)


class KeyUnused(msgspec.Struct, frozen=True):
    """No account has the key with this thumbprint (RFC 7638)."""

    thumbprint: str


class SeatFree(msgspec.Struct, frozen=True):
    """Fewer than so many accounts are managed servers."""

    seats: int


Guard = KeyUnused | SeatFree


class Decision(msgspec.Struct, frozen=True):
    """Facts in their order, each with the stream it belongs to, and the guards on them.

    Without facts nothing happens and nothing is stored: the answer to a request that was made
    before.
    """

    facts: tuple[tuple[str, Event], ...] = ()
    guards: tuple[Guard, ...] = ()


class Reader(Protocol):
    """Rows as a decider sees them."""

    def get(self, table: Table[S], *key: str) -> S | None:
        """Return the row with this key, or None."""
        ...
