"""The license in a running node: whether it may start, what has changed since, whom it lets in.

What is decided under the committer's lock is decided by `certeasy.decide.license`, on the log; here
it is asked.
"""

import math
from datetime import datetime, timedelta

from certeasy.clock import Clock
from certeasy.cluster.refusal import BootRefused
from certeasy.commit import Command, Committed, Committer, Unavailable
from certeasy.decide import license as deciding
from certeasy.decide.decision import Decision, Reader
from certeasy.decide.license import Standing
from certeasy.licensing import banner
from certeasy.licensing.ahead import HELD, Ahead, ahead
from certeasy.licensing.banner import Banner
from certeasy.licensing.file import WrongLicense
from certeasy.licensing.taking import observing, taking
from certeasy.licensing.terms import Terms
from certeasy.log import logger
from certeasy.metrics import Metrics
from certeasy.outward import license as vendor
from certeasy.settings import LicenseSettings
from certeasy.store import DatabaseUnavailable, Store
from events.envelope import Actor
from projections.license import UNLIMITED

LOOK = 60
"""Seconds between two looks at what the time has changed."""
REFRESH = 3600
"""Seconds between two looks at whether the vendor is to be asked."""
AGAIN, AFTER_FAILURE = timedelta(days=1), timedelta(hours=6)
FAILED = (vendor.NotRefreshed, WrongLicense, deciding.LicenseRefused)
REMIND = timedelta(days=1)
SOON = timedelta(days=14)
SYSTEM = Actor("system", "license")
log = logger("license")


class NotLicensed(BootRefused):
    """The license does not let the node start; the banner says why, and what to do."""

    def __init__(self, told: Banner) -> None:
        super().__init__(told.one_line)
        self.banner = told


class Licensing:
    """The license, as a node is held against it."""

    def __init__(
        self,
        committer: Committer,
        clock: Clock,
        store: Store,
        terms: Terms,
        settings: LicenseSettings,
        metrics: Metrics,
    ) -> None:
        self._committer = committer
        self._clock = clock
        self._settings = settings
        self._metrics = metrics
        self._next: datetime | None = None  # when the vendor is asked again
        self._store = store
        self.terms = terms
        self._reminded: datetime | None = None

    def standing(self) -> Standing:
        """Return what follows now."""
        return self.terms.standing(self._committer, self._committer.now())

    def banner(self) -> Banner | None:
        """Return what there is to tell an administrator; None: all is in order."""
        row, now = deciding.of(self._committer), self._committer.now()
        return banner.of(self.standing(), row, self.terms.installation, now, self._ahead())

    def _ahead(self) -> Ahead | None:
        """Return how far the log is ahead of the clock, if it would be another state else."""
        here = self._clock.now()
        if self._committer.now() - here <= HELD:
            return None
        by_the_clock = self.terms.standing(self._committer, here)
        return None if by_the_clock.state == self.standing().state else ahead(self._store, here)

    def check_start(self, *, known: bool) -> None:
        """Return if the node may start, else raise NotLicensed; what has changed is recorded
        first, unless this node is not `known` to the log yet."""
        if deciding.of(self._committer) is None and self._store.has_stream(deciding.STREAM):
            raise BootRefused(
                "the log tells of a license, and the database's table has lost it: run 'certeasy"
                " projections rebuild -f config.yml'"
            )
        if known:
            self._observe("a start", always=True)
        found = self.standing()
        told = self.banner()
        if not found.serves and told is not None:
            raise NotLicensed(told)

    def begin(self) -> None:
        """Record what this start has brought: an evaluation that begins, another state."""
        self._record("a start")
        self._committer.listeners.append(self.hear)
        self._show()
        self._remind()

    def look(self, cause: str = "time") -> None:
        """Record what has changed since, and remind once a day of what is not in order; what
        cannot be recorded now is with the next look."""
        try:
            self._record(cause)
            self._show()
            self._remind()
        except (Unavailable, DatabaseUnavailable) as error:
            log.warning("the license's state could not be recorded: %s", error)

    def refresh(self) -> None:
        """Ask the vendor for a newer license, where that is due. Never fails: what is in use
        stays."""
        settings = self._settings
        now = self._committer.now()
        if settings.offline or (self._next is not None and now < self._next):
            return
        try:
            row = deciding.of(self._committer)
            block = vendor.ask(settings, vendor.question(row, self.terms.installation))
            if block is not None:
                decide, cause = taking(block, self.terms, "refresh")
                self._committer.submit(Command(decide, SYSTEM))
                self.look(cause)
            self._next = now + AGAIN
        except (*FAILED, Unavailable, DatabaseUnavailable) as error:
            self._next = now + AFTER_FAILURE
            log.warning("no newer license was taken into use: %s", error)

    def use(self, terms: Terms, settings: LicenseSettings) -> None:
        """Go by other settings from here on."""
        self.terms, self._settings = terms, settings
        self.look("another configuration")

    def _record(self, cause: str) -> None:
        configured = self.terms.configured

        def decide(rows: Reader, now: datetime) -> Decision:
            return deciding.begin(
                rows, now, configured, cause="the first start with AD CS, and without a license"
            )

        if configured.authorities and deciding.of(self._committer) is None:
            self._committer.submit(Command(decide, SYSTEM))
        self._observe(cause)

    def _observe(self, cause: str, *, always: bool = False) -> None:
        """Record another state; `always`: have the log's own lines looked at for it."""
        decide = observing(self.terms, cause)
        if deciding.of(self._committer) is None:
            return
        if always or decide(self._committer, self._committer.now()).facts:
            self._committer.submit(Command(decide, SYSTEM))

    def hear(self, committed: Committed) -> None:
        """Show what a change of the license has brought; the committer tells of every change."""
        if any(record.envelope.stream == deciding.STREAM for record in committed.records):
            self._show()

    def _show(self) -> None:
        """Set the figures."""
        found, metrics = self.standing(), self._metrics
        for state in deciding.STATES:
            metrics.license_state.labels(state).set(state == found.state)
        end = datetime.fromisoformat(found.until).timestamp() if found.until else math.nan
        metrics.license_end.set(end)
        allowed = math.inf if found.seats == UNLIMITED else found.seats
        metrics.servers_allowed.set(allowed if found.admits else 0)

    def _remind(self) -> None:
        now, told = self._committer.now(), self.banner()
        if told is None:
            self._reminded = None
        elif self._reminded is None or now >= self._reminded + REMIND:
            self._reminded = now
            log.warning("%s", told.one_line)

    # -- orders --------------------------------------------------------------------------------

    def ending(self) -> str | None:
        """Return that the license has ended, or soon does, for people who are told of trouble."""
        found, now = self.standing(), self._committer.now()
        until = datetime.fromisoformat(found.until) if found.until else None
        if found.admits and (until is None or now < until - SOON):
            return None
        return self.remark() or f"{found.state} until {found.until}"

    def remark(self) -> str | None:
        """Return what /readyz tells beside its checks."""
        found = self.standing()
        if found.state == deciding.VALID or found == Standing(deciding.EVALUATING):
            return None
        until = f" until {found.until}" if found.until else ""
        return f"{found.state}{until}" + "".join(f"; {each}" for each in found.reasons)
