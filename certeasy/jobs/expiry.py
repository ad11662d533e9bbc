"""Orders whose time has run out, written down: so that none stays pending for ever, and nobody goes
on looking whether its challenges are met.

Clients do not wait for this: to them an order has expired in the moment that it has.
"""

from collections.abc import Callable
from datetime import datetime

from certeasy.clock import Clock
from certeasy.commit import Command, Committer, PoisonousCommand, Unavailable
from certeasy.decide import orders
from certeasy.decide.decision import Decision, Reader
from certeasy.log import logger
from certeasy.store import DatabaseUnavailable
from events.counting import counted
from events.envelope import Actor
from projections.orders import PENDING, READY

AT_ONCE = 50
BATCHES = 20
"""So many batches at one time; the next run goes on where this one ended."""
SYSTEM = Actor("system", "expiry")

RunOut = Callable[[str, str, int], list[str]]
"""Give the ids of orders in a status whose time ended at a moment or before, at most so many."""

log = logger("expiry")


class Expiry:
    """Ends the orders that ran out."""

    def __init__(self, committer: Committer, clock: Clock, run_out: RunOut) -> None:
        self._committer = committer
        self._clock = clock
        self._run_out = run_out

    def expire(self) -> None:
        """End what there is, in bounded batches. Never fails: what cannot be done now is done at
        the next time."""
        ended = 0
        try:
            for _ in range(BATCHES):
                over = self._over()
                if not over or not (done := self._end(over)):
                    break
                ended += done
        except (Unavailable, DatabaseUnavailable) as error:
            log.warning("orders that ran out could not be ended: %s", error)
        if ended:
            log.info("%s ran out", counted(ended, "order"))

    def _over(self) -> list[str]:
        now = f"{self._clock.now():%Y-%m-%dT%H:%M:%SZ}"
        found = [order for status in (PENDING, READY) for order in self._ids(status, now)]
        return found[:AT_ONCE]

    def _ids(self, status: str, now: str) -> list[str]:
        return self._run_out(status, now, AT_ONCE)

    def _end(self, order_ids: list[str]) -> int:
        """Return how many of these were ended. One whose lines cannot be believed any more harms
        none of the others."""
        try:
            return self._end_together(order_ids)
        except PoisonousCommand as error:
            if len(order_ids) == 1:
                log.warning("an order that ran out cannot be ended: %s", error)
                return 0
        return sum(self._end([order_id]) for order_id in order_ids)

    def _end_together(self, order_ids: list[str]) -> int:
        def decide(rows: Reader, now: datetime) -> Decision:
            return orders.expire(rows, now, order_ids)

        return len(self._committer.submit(Command(decide, SYSTEM)).records)
