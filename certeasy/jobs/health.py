"""Looking at the authorities every now and then, and recording when one fails or answers again.

An authority that has just answered an order need not be asked how it is. One that rests is probed
too, so that no order has to find out that it is back. What the log knows is brought in step with
what this node has met: at once when it changes, and if that could not be, with the next look.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from certeasy.ca import Authority, Unavailable
from certeasy.ca.breaker import Breakers
from certeasy.clock import Clock
from certeasy.commit import Command, Committer
from certeasy.commit import Unavailable as NothingCommitted
from certeasy.decide import authorities as deciding
from certeasy.decide.decision import Decision, Reader
from certeasy.jobs.plain import plain
from certeasy.jobs.samples import Samples
from certeasy.log import logger
from certeasy.store import DatabaseUnavailable
from certeasy.store.samples import Sample
from events.envelope import Actor
from projections.authorities import TROUBLES

PROBE = timedelta(seconds=30)
"""How often an authority is looked at."""
SYSTEM = Actor("system", "health")
log = logger("authority")


class Health:
    """The authorities' health, between the breakers of this process and the log."""

    def __init__(
        self,
        committer: Committer,
        clock: Clock,
        breakers: Breakers,
        authorities: Mapping[str, Authority],
        samples: Samples,
        server_id: str,
    ) -> None:
        self._committer = committer
        self._clock = clock
        self._breakers = breakers
        self._authorities = authorities
        self._samples = samples
        self._server_id = server_id
        breakers.changed = self.record

    def look(self, name: str) -> None:
        """Find out whether an authority can be used, unless it has just shown that it can."""
        if not self._breakers.answered_within(name, PROBE):
            self._probe(name)
        self.record(name)

    def record(self, name: str) -> None:
        """Bring the log in step with how an authority is. If that cannot be now, the next look
        does it."""
        sickness = self._breakers.sickness(name)

        def decide(rows: Reader, _now: datetime) -> Decision:
            if sickness is None:
                return deciding.recovered(rows, name)
            return deciding.failed(rows, name, plain(sickness.reason), plain(sickness.code))

        try:
            known = self._committer.get(TROUBLES, name) is not None
            if known != (sickness is not None):
                self._committer.submit(Command(decide, SYSTEM))
        except (NothingCommitted, DatabaseUnavailable) as error:
            log.warning("how authority %s is could not be recorded: %s", name, error)

    def _probe(self, name: str) -> None:
        begun = self._clock.monotonic()
        reason, asked = "", self._breakers.asking(name)
        try:
            self._authorities[name].probe()
        except Unavailable as error:
            reason = error.reason
            self._breakers.failed(name, asked, reason, error.code, of_probe=True)
        else:
            self._breakers.probed(name, asked)
        took = round((self._clock.monotonic() - begun) * 1000)
        self._samples.put(Sample(name, self._server_id, self._clock.now(), took, reason))
