"""Threads that do the work the log has left: each job claimed, done outside any transaction, its
outcome committed.

A claim is renewed while its job is at work, for `max-job-duration` at most: no other worker begins
the same job, however slow an authority is, unless this process is no more, or the job hangs. What a
worker brings back that had lost its claim is sorted out by the decisions.

A job begins in the moment its event is committed; what a crash left behind is found at the start,
and a look around every now and then finds what was postponed by a process that is no more.

One account has at most three quarters of the threads, and of the jobs that are due each account's
next one is begun in turn: whoever orders a hundred names that answer slowly, as one account or as
several, does not keep everybody else waiting.
"""

import heapq
import itertools
import threading
from collections import Counter, deque
from collections.abc import Callable
from datetime import timedelta

from certeasy.clock import Clock
from certeasy.commit import Committed, Committer, Unavailable
from certeasy.jobs.leases import Leases
from certeasy.log import logger
from certeasy.metrics import Metrics
from certeasy.settings import WorkerSettings
from certeasy.store import DatabaseUnavailable
from projections.jobs import JOBS, Job

log = logger("worker")
RENEWALS = 3
"""So often a claim is renewed in the time for which it holds."""


DONE, AGAIN, FAILED = "done", "again", "failed"
"""What may come of an attempt."""


class TryAgain(Exception):
    """The job could not be done now; the same may succeed later. `after` overrides the back-off."""

    def __init__(self, reason: str, after: timedelta | None = None) -> None:
        super().__init__(reason)
        self.after = after


Perform = Callable[[Job, int, bool], None]
DoneElsewhere = Callable[[Committed, Job], bool]
"""Whether whoever made this commit does the job in its own thread, with `do_now`."""


class Workers:
    """A pool of threads and the queue of jobs, of each account the earliest first."""

    def __init__(
        self,
        settings: WorkerSettings,
        leases: Leases,
        clock: Clock,
        jobs: Callable[[], list[Job]],
        perform: dict[str, Perform],
        elsewhere: DoneElsewhere = lambda _committed, _job: False,
        metrics: Metrics | None = None,
    ) -> None:
        """Take what lists all work, and what does each kind of job.

        `perform` is given the job, the attempt, and whether the job is fresh.
        """
        self._settings = settings
        self._leases = leases
        self._clock = clock
        self._jobs = jobs
        self._perform = perform
        self._elsewhere = elsewhere
        self._metrics = metrics or Metrics()
        self._condition = threading.Condition()
        self._due: list[tuple[float, int, Job, bool]] = []
        self._queued: set[str] = set()
        self._order = itertools.count()
        self._share = max(1, settings.workers * 3 // 4)
        self._at_work: Counter[str] = Counter()
        self._ready: dict[str, deque[tuple[Job, bool]]] = {}  # due, by account; the next one first
        self._busy = 0
        self._idle = 0
        self._stopping = False
        self._claims: dict[str, tuple[int, float]] = {}  # the attempt, and when it has to be done
        self._ended = threading.Event()
        self._keeper = threading.Thread(target=self._keep_claims, name="leases", daemon=True)
        self._threads = [
            threading.Thread(target=self._run, name=f"worker-{n}", daemon=True)
            for n in range(settings.workers)
        ]

    def start(self, committer: Committer) -> None:
        """Take up what was left behind, and listen for more."""
        committer.listeners.append(self.hear)
        self.look_around()
        self._keeper.start()
        for thread in self._threads:
            thread.start()

    def hear(self, committed: Committed) -> None:
        """Queue the jobs that a commit has made."""
        for (table, _key), state in committed.states().items():
            if table is JOBS and isinstance(state, Job) and not self._elsewhere(committed, state):
                self._push(state, 0.0, fresh=True)

    def do_now(self, job: Job) -> None:
        """Do a fresh job in the caller's thread, which spares two changes of threads.

        If it has to be tried again, the workers do that.
        """
        with self._condition:
            if job.id in self._queued:
                return
            self._queued.add(job.id)  # so that looking around does not find it meanwhile
        delay = self._do(job, fresh=True)
        with self._condition:
            self._queued.discard(job.id)
        if delay is not None:
            self._push(job, delay, fresh=False)

    def look_around(self) -> None:
        """Queue all work that is not queued yet, and see what is due: the clock may have leapt."""
        try:
            for job in self._jobs():
                self._push(job, 0.0, fresh=False)
        except DatabaseUnavailable as error:
            log.warning("the jobs cannot be listed now: %s", error)
        with self._condition:
            self._condition.notify()

    def stop(self, timeout: float) -> bool:
        """Begin no more jobs; return whether those at work ended within `timeout` seconds."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
            drained = self._condition.wait_for(lambda: self._busy == 0, timeout)
        self._ended.set()
        for thread in (self._keeper, *self._threads):
            if drained and thread.is_alive():
                thread.join()
        return drained

    def running(self) -> int:
        """Return how many jobs are at work."""
        with self._condition:
            return self._busy

    def waiting(self) -> int:
        """Return how many jobs are queued or at work."""
        with self._condition:
            ready = sum(len(jobs) for jobs in self._ready.values())
            return len(self._due) + ready + self._busy

    def _push(self, job: Job, delay: float, *, fresh: bool) -> None:
        with self._condition:
            if job.id in self._queued:
                return
            self._queued.add(job.id)
            due = self._clock.monotonic() + delay
            heapq.heappush(self._due, (due, next(self._order), job, fresh))
            if self._idle:
                self._condition.notify()

    def _run(self) -> None:
        while (taken := self._take()) is not None:
            job, fresh = taken
            delay = self._do(job, fresh=fresh)
            with self._condition:
                self._busy -= 1
                self._queued.discard(job.id)
                self._leave(job.account_id)
                if self._stopping:
                    self._condition.notify_all()
            if delay is not None:
                self._push(job, delay, fresh=False)

    def _take(self) -> tuple[Job, bool] | None:
        """Wait for a job that is due; None when it is time to end."""
        with self._condition:
            while not self._stopping:
                now = self._clock.monotonic()
                while self._due and self._due[0][0] <= now:
                    _, _, job, fresh = heapq.heappop(self._due)
                    self._ready.setdefault(job.account_id, deque()).append((job, fresh))
                if (taken := self._in_turn()) is not None:
                    if self._ready and self._idle:
                        self._condition.notify()
                    return taken
                self._idle += 1
                self._condition.wait(self._due[0][0] - now if self._due else None)
                self._idle -= 1
            return None

    def _in_turn(self) -> tuple[Job, bool] | None:
        """Take the next job of the account whose turn it is; its turn comes again after the
        others'."""
        free = (each for each in self._ready if self._at_work[each] < self._share)
        if (account_id := next(free, None)) is None:
            return None
        jobs = self._ready.pop(account_id)
        taken = jobs.popleft()
        if jobs:
            self._ready[account_id] = jobs
        self._at_work[account_id] += 1
        self._busy += 1
        return taken

    def _leave(self, account_id: str) -> None:
        """One job of the account is done: another one may have its thread."""
        self._at_work[account_id] -= 1
        if not self._at_work[account_id]:
            del self._at_work[account_id]
        if self._ready:
            self._condition.notify()

    def _do(self, job: Job, *, fresh: bool) -> float | None:
        """Do a job; return after how many seconds to try again, or None if it is done."""
        try:
            attempt = self._leases.claim(job.id, self._clock.now(), self._settings.lease)
            if attempt is None:
                return self._settings.base_backoff.total_seconds()
            delay = self._claimed(job, attempt, fresh=fresh)
            if delay is None:
                self._leases.forget(job.id)
                return None
            self._leases.postpone(job.id, attempt, self._clock.now() + delay)
        except DatabaseUnavailable as error:  # of the leases: what was claimed runs out by itself
            log.warning("%s %s: %s", job.kind, job.id, error)
            return self._settings.lease.total_seconds()
        return delay.total_seconds()

    def _claimed(self, job: Job, attempt: int, *, fresh: bool) -> timedelta | None:
        """Perform a job while its claim is kept."""
        longest = self._settings.max_job_duration.total_seconds()
        self._claims[job.id] = (attempt, self._clock.monotonic() + longest)
        try:
            return self._attempt(job, attempt, fresh=fresh)
        finally:
            self._claims.pop(job.id, None)

    def _keep_claims(self) -> None:
        """Renew the claims of jobs that are at work, until the end."""
        lease = self._settings.lease
        while not self._ended.wait(lease.total_seconds() / RENEWALS):
            now = self._clock.monotonic()
            for job_id, (attempt, until) in self._claims.copy().items():
                if now >= until:
                    continue
                try:
                    self._leases.postpone(job_id, attempt, self._clock.now() + lease)
                except DatabaseUnavailable as error:  # it runs out, unless that passes soon
                    log.warning("the claim of %s cannot be renewed: %s", job_id, error)

    def _attempt(self, job: Job, attempt: int, *, fresh: bool) -> timedelta | None:
        """Perform a claimed job; return how long to put it off, or None if it is done."""
        told = (job.kind, job.id, attempt)
        begun, outcome = self._clock.monotonic(), AGAIN
        try:
            self._perform[job.kind](job, attempt, fresh)
            outcome = DONE
        except TryAgain as error:
            log.info("%s %s, try %d: %s", *told, error)
            return error.after or self._backoff(attempt)
        except (Unavailable, DatabaseUnavailable) as error:
            log.warning("%s %s, try %d: %s", *told, error)
            return self._backoff(attempt)
        except Exception:
            # Whatever one job met, the thread and the other jobs go on, and this one is put off.
            outcome = FAILED
            log.exception("%s %s, try %d failed in a way nobody thought of", *told)
            return self._backoff(attempt)
        finally:
            self._metrics.job_tried(job.kind, outcome, self._clock.monotonic() - begun)
        return None

    def _backoff(self, attempt: int) -> timedelta:
        doubled: timedelta = self._settings.base_backoff * 2 ** min(attempt - 1, 16)
        return min(doubled, self._settings.max_backoff)
