"""Refusals as events: the first of its kind for a subject at once, the rest counted into one
summary.

However many requests are refused, the log grows by one line per kind, subject and five minutes, for
at most so many subjects; requests that nobody has authenticated never get here.
"""

import threading
from collections.abc import Sequence
from datetime import datetime, timedelta

from certeasy.clock import Clock
from certeasy.commit import Command, Committer, PoisonousCommand, Unavailable
from certeasy.decide.decision import Decision, Reader
from certeasy.jobs.plain import plain
from certeasy.log import logger
from events.envelope import Actor
from events.nodes import RequestRefused

WINDOW = timedelta(minutes=5)
SUBJECTS = 1000
NAMES = 10
DETAIL = 500

log = logger("refusals")


class _Counted:
    def __init__(self, actor: Actor, fact: RequestRefused, until: datetime) -> None:
        self.actor = actor
        self.fact = fact
        self.until = until
        self.more = 0


class Refusals:
    """Counts refusals of authenticated requests by policy and limits."""

    def __init__(self, committer: Committer, clock: Clock) -> None:
        self._committer = committer
        self._clock = clock
        self._lock = threading.Lock()
        self._counted: dict[tuple[str, str], _Counted] = {}

    def note(self, actor: Actor, kind: str, detail: str, names: Sequence[str] = ()) -> None:
        """Record a refusal, or count it. Never fails: the client's answer does not depend on it."""
        now = self._clock.now()
        fact = RequestRefused(
            kind, plain(detail, DETAIL), names=[plain(n, DETAIL) for n in names[:NAMES]]
        )
        with self._lock:
            known = self._counted.get((kind, actor.id))
            if known is not None and known.until > now:
                known.more += 1
                return
            if known is None and len(self._counted) >= SUBJECTS:
                return
            first = self._counted[kind, actor.id] = _Counted(actor, fact, now + WINDOW)
        if known is not None:
            self._summarize(known)
        if not self._commit(actor, fact):
            with self._lock:
                first.more += 1

    def summarize(self) -> None:
        """Record what was counted in windows that have ended; called on a schedule."""
        self._sum_up(self._clock.now())

    def close(self) -> None:
        """Record what was counted in all windows, for a node that stops."""
        self._sum_up(None)

    def _sum_up(self, now: datetime | None) -> None:
        with self._lock:
            ended = [
                key for key, counted in self._counted.items() if now is None or counted.until <= now
            ]
            done = [self._counted.pop(key) for key in ended]
        for counted in done:
            self._summarize(counted)

    def _summarize(self, counted: _Counted) -> None:
        """Record how many more there were; what cannot be recorded now is counted on."""
        fact = counted.fact
        more = RequestRefused(fact.kind, fact.detail, counted.more, fact.names)
        if counted.more and not self._commit(counted.actor, more):
            with self._lock:
                kept = self._counted.setdefault((fact.kind, counted.actor.id), counted)
                kept.more += 0 if kept is counted else counted.more

    def _commit(self, actor: Actor, fact: RequestRefused) -> bool:
        def decide(_rows: Reader, _now: datetime) -> Decision:
            return Decision(((f"refusals/{actor.id}", fact),))

        try:
            self._committer.submit(Command(decide, actor))
        except (Unavailable, PoisonousCommand) as error:
            log.warning("a refusal could not be recorded: %s", error)
            return False
        return True
