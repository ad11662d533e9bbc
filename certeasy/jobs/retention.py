"""What has been over for long leaves the tables, a few orders at a time.

Each step is one event that names what leaves. Few enough go in one that no client waits long for
its own commit meanwhile, and the writer's place is never in danger; after each, the node is left to
others for as long as it took. What a run does not come to, the next one does.
"""

import threading
from collections.abc import Sequence
from datetime import UTC, timedelta
from typing import Protocol

from certeasy.clock import Clock
from certeasy.commit import Command, Committed, PoisonousCommand, Unavailable
from certeasy.decide import retention
from certeasy.log import logger
from certeasy.store import DatabaseUnavailable
from events.counting import counted
from events.envelope import Actor
from events.retention import RetentionApplied

AT_ONCE = 10
"""Orders in one event, each with its certificate and its names."""
STEPS = 500
"""In one run."""
SYSTEM = Actor("system", "retention")

log = logger("retention")


class Door(Protocol):
    """Where decisions are recorded: the committer."""

    def submit(self, command: Command) -> Committed:
        """Return once it is recorded."""
        ...


class Tables(Protocol):
    """What is asked of the database."""

    def over(self, cutoff: str, most: int) -> list[str]:
        """Return ids of orders that were over before a time, with their certificates."""
        ...

    def revocations_among(self, order_ids: Sequence[str]) -> list[str]:
        """Return the ids of all revocations of these orders."""
        ...


class Retention:
    """Lets orders leave the tables, `keep` after they were over."""

    def __init__(self, committer: Door, clock: Clock, keep: timedelta, tables: Tables) -> None:
        self._committer = committer
        self._clock = clock
        self._keep = keep
        self._tables = tables
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Begin no further step: the node stops."""
        self._stopping.set()

    def apply(self) -> None:
        """Let leave what there is, in bounded steps. Never fails: what cannot be done now is done
        at the next time."""
        cutoff = f"{(self._clock.now() - self._keep).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        left = 0
        try:
            over = self._tables.over(cutoff, AT_ONCE * STEPS)
            for first in range(0, len(over), AT_ONCE):
                if self._stopping.is_set():
                    break
                begun = self._clock.monotonic()
                left += self._step(cutoff, over[first : first + AT_ONCE])
                self._stopping.wait(self._clock.monotonic() - begun)
        except (Unavailable, DatabaseUnavailable) as error:
            log.warning("orders that are over could not leave the tables: %s", error)
        if left:
            log.info("%s, over before %s, left the tables", counted(left, "order"), cutoff)

    def _step(self, cutoff: str, order_ids: list[str]) -> int:
        """Return how many of these have left. One whose lines cannot be believed any more harms
        none of the others."""
        try:
            return self._leave(cutoff, order_ids)
        except PoisonousCommand as error:
            if len(order_ids) == 1:
                log.warning("an order that is over cannot leave the tables: %s", error)
                return 0
        return sum(self._step(cutoff, [order_id]) for order_id in order_ids)

    def _leave(self, cutoff: str, order_ids: list[str]) -> int:
        revocations = self._tables.revocations_among(order_ids)
        command = Command(
            lambda rows, _now: retention.apply(
                rows, cutoff, orders=order_ids, revocations=revocations
            ),
            SYSTEM,
        )
        facts = [record.event for record in self._committer.submit(command).records]
        return sum(len(fact.orders) for fact in facts if isinstance(fact, RetentionApplied))
