"""Facts about limits. What was counted is no fact; that it was forgotten is."""

from events.registry import Event, event
from events.sealing import Sealed


@event("limits.reset")
class LimitsReset(Event, frozen=True):
    """An administrator had it forgotten what an account, or a client address, had spent of these
    limits.

    The address is sealed under the administrator's key; it is not there where it was an account's.
    """

    limits: tuple[str, ...]
    account_id: str = ""
    address: Sealed | None = None
