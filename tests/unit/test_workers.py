"""Work that the log has left: begun at once, tried again with patience, and never done by two."""

import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from certeasy.clock import SystemClock
from certeasy.commit import Committed, Unavailable
from certeasy.jobs.leases import MemoryLeases
from certeasy.jobs.schedule import Schedule
from certeasy.jobs.workers import Perform, TryAgain, Workers
from certeasy.settings import WorkerSettings
from certeasy.store import DatabaseUnavailable
from events.orders import ChallengeAccepted
from projections.jobs import ISSUE, VALIDATE, Job
from tests.fakes.clocks import MovedClock
from tests.make.node import TOKEN, ANode, a_node, command, order_fact
from tests.make.waiting import soon

SETTINGS = WorkerSettings(
    workers=3,
    base_backoff=timedelta(milliseconds=5),
    max_backoff=timedelta(milliseconds=40),
)


class Work:
    """A list of what is to be done, and how often each was tried."""

    def __init__(self) -> None:
        self.left: dict[str, Job] = {}
        self.tried: list[tuple[str, int, bool]] = []
        self.fails: dict[str, list[Exception]] = {}
        self.gate = threading.Event()
        self.gate.set()

    def add(self, name: str, kind: str = VALIDATE, *, account: str = "") -> Job:
        owner = account or f"account of {name}"
        job = self.left[name] = Job(name, kind, "order", owner, len(self.left))
        return job

    def jobs(self) -> list[Job]:
        return list(self.left.values())

    def perform(self, job: Job, attempt: int, fresh: bool) -> None:
        self.tried.append((job.id, attempt, fresh))
        assert self.gate.wait(10)
        if self.fails.get(job.id):
            raise self.fails[job.id].pop(0)
        self.left.pop(job.id, None)


class Committer:
    """As much of a committer as workers know."""

    def __init__(self) -> None:
        self.listeners: list[Callable[[Committed], None]] = []


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def leases() -> MemoryLeases:
    return MemoryLeases()


@pytest.fixture
def workers(work: Work, leases: MemoryLeases) -> Iterator[Workers]:
    perform: dict[str, Perform] = {VALIDATE: work.perform}
    made = Workers(SETTINGS, leases, SystemClock(), work.jobs, perform)
    yield made
    work.gate.set()
    assert made.stop(10)
    assert not [each for each in threading.enumerate() if each.name.startswith("worker-")]


def test_what_was_left_behind_is_done_at_the_start(work: Work, workers: Workers) -> None:
    for name in ("one", "two", "three", "four"):
        work.add(name)
    workers.start(Committer())
    soon(lambda: not work.left)
    assert sorted(work.tried) == [
        ("four", 1, False),
        ("one", 1, False),
        ("three", 1, False),
        ("two", 1, False),
    ]


def test_a_job_begins_when_its_event_is_committed(
    tmp_path: Path, work: Work, workers: Workers
) -> None:
    with a_node(tmp_path / "node") as node:
        workers.start(node.committer)
        job = _accept(node, "order1")
        soon(lambda: work.tried)
        assert work.tried == [(job, 1, True)]


def test_a_job_that_is_done_elsewhere_is_left_alone(tmp_path: Path, work: Work) -> None:
    with a_node(tmp_path / "node") as node:
        workers = Workers(
            SETTINGS,
            MemoryLeases(),
            SystemClock(),
            work.jobs,
            {VALIDATE: work.perform},
            lambda _committed, job: job.id.startswith("mine"),
        )
        workers.start(node.committer)
        _accept(node, "mine")
        other = _accept(node, "other")
        soon(lambda: work.tried)
        assert workers.stop(10)
    assert work.tried == [(other, 1, True)]


def _accept(node: ANode, order: str) -> str:
    stream = f"order/{order}"
    node.submit(command((stream, order_fact(order, TOKEN)), (stream, ChallengeAccepted(0, 0))))
    return f"{order}-0-0"


def test_a_job_is_tried_again_until_it_is_done(work: Work, workers: Workers) -> None:
    work.add("job")
    work.fails["job"] = [
        TryAgain("not yet"),
        TryAgain("in a moment", timedelta(milliseconds=1)),
        Unavailable("the journal's disk is full"),
        DatabaseUnavailable("away"),
        ZeroDivisionError(),
    ]
    workers.start(Committer())
    soon(lambda: not work.left)
    assert work.tried == [("job", attempt, False) for attempt in range(1, 7)]


def test_the_pause_between_attempts_doubles_up_to_a_bound(workers: Workers) -> None:
    pauses = [workers._backoff(attempt).total_seconds() for attempt in (1, 2, 3, 4, 5, 1000)]
    assert pauses == [0.005, 0.01, 0.02, 0.04, 0.04, 0.04]


def test_a_kind_of_job_that_nobody_can_do_stops_nothing(work: Work, workers: Workers) -> None:
    work.add("odd", ISSUE)
    work.add("job")
    workers.start(Committer())
    soon(lambda: list(work.left) == ["odd"])


def test_a_job_at_work_or_waiting_is_not_queued_twice(work: Work, workers: Workers) -> None:
    work.gate.clear()
    work.add("job")
    workers.start(Committer())
    soon(lambda: work.tried)
    for _ in range(3):
        workers.look_around()
    assert workers.waiting() == 1
    work.gate.set()
    soon(lambda: workers.waiting() == 0)
    assert len(work.tried) == 1


def test_a_job_that_is_claimed_by_another_is_asked_for_again(
    work: Work, workers: Workers, leases: MemoryLeases
) -> None:
    leases.claim("job", SystemClock().now(), timedelta(milliseconds=50))
    work.add("job")
    workers.start(Committer())
    soon(lambda: not work.left)
    assert work.tried == [("job", 2, False)]


def test_a_job_may_be_done_in_the_thread_that_made_it(work: Work, workers: Workers) -> None:
    job = work.add("job")
    workers.start(Committer())
    soon(lambda: not work.left)
    work.add("job")
    workers.do_now(job)
    assert work.left == {}
    assert work.tried[-1] == ("job", 1, True)


def test_a_job_that_somebody_does_now_is_found_by_nobody_else(work: Work, workers: Workers) -> None:
    workers.start(Committer())
    work.gate.clear()
    job = work.add("job")
    thread = threading.Thread(target=workers.do_now, args=(job,))
    thread.start()
    soon(lambda: work.tried)
    workers.look_around()
    workers.do_now(job)
    assert workers.waiting() == 0
    work.gate.set()
    thread.join()
    assert work.tried == [("job", 1, True)]


def test_a_job_that_failed_now_is_tried_again_by_the_workers(work: Work, workers: Workers) -> None:
    workers.start(Committer())
    job = work.add("job")
    work.fails["job"] = [TryAgain("not yet")]
    workers.do_now(job)
    soon(lambda: not work.left)
    assert work.tried == [("job", 1, True), ("job", 2, False)]


def test_jobs_that_cannot_be_listed_now_are_found_later(
    work: Work, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> list[Job]:
        raise DatabaseUnavailable("away")

    work.add("job")
    with monkeypatch.context() as patched:
        patched.setattr(workers, "_jobs", away)
        workers.start(Committer())
    assert work.tried == []
    workers.look_around()
    soon(lambda: not work.left)


def test_leases_that_cannot_be_asked_cost_no_worker(
    work: Work, workers: Workers, leases: MemoryLeases, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_arguments: object) -> None:
        raise DatabaseUnavailable("away")

    settings = WorkerSettings(workers=1, lease=timedelta(milliseconds=5))
    monkeypatch.setattr(workers, "_settings", settings)
    for name in ("claim", "forget"):
        work.add("job")
        with monkeypatch.context() as patched:
            patched.setattr(leases, name, away)
            assert workers._do(work.left["job"], fresh=True) == 0.005
    workers.start(Committer())
    workers.look_around()
    work.add("another")
    workers.look_around()
    soon(lambda: not work.left)


def test_a_stop_begins_nothing_more_and_waits_for_what_is_at_work(
    work: Work, workers: Workers
) -> None:
    work.gate.clear()
    for number in range(10):
        work.add(f"job-{number}")
    workers.start(Committer())
    soon(lambda: len(work.tried) == 3)
    assert not workers.stop(0.05)
    work.gate.set()
    assert workers.stop(10)
    assert len(work.tried) == 3
    assert len(work.left) == 7


def test_periodic_work_is_done_again_and_again_until_the_stop() -> None:
    done: list[int] = []
    schedule = Schedule()
    schedule.every(0.02, lambda: done.append(1))
    schedule.stop()  # which was never begun
    schedule.start()
    soon(lambda: len(done) >= 3)
    schedule.stop()
    after = len(done)
    assert not threading.Event().wait(0.1)
    assert len(done) == after


def test_one_account_leaves_a_thread_to_the_others(work: Work, workers: Workers) -> None:
    for n in range(10):
        work.add(f"hundred-{n}", account="one")
    work.add("other", account="another")
    work.gate.clear()
    workers.start(Committer())  # type: ignore[arg-type] # as much of one as workers know
    soon(lambda: len(work.tried) == 3)
    assert ("other", 1, False) in work.tried
    work.gate.set()
    soon(lambda: not work.left)
    assert len(work.tried) == 11
    assert workers.waiting() == 0


def test_accounts_take_turns_however_many_jobs_some_of_them_have(
    work: Work, leases: MemoryLeases
) -> None:
    for n in range(5):
        for account in ("a", "b"):
            work.add(f"{account}{n}", account=account)
    work.add("c0", account="c")
    one = msgspec.structs.replace(SETTINGS, workers=1)
    perform: dict[str, Perform] = {VALIDATE: work.perform}
    made = Workers(one, leases, SystemClock(), work.jobs, perform)
    made.start(Committer())
    soon(lambda: not work.left)
    assert made.stop(10)
    assert [name for name, _, _ in work.tried][:5] == ["a0", "b0", "c0", "a1", "b1"]
    assert made.waiting() == 0


class Renewed(MemoryLeases):
    """Leases that tell when one is renewed, and fail when they are told to."""

    def __init__(self) -> None:
        super().__init__()
        self.renewals: list[str] = []
        self.away = 0

    def postpone(self, job_id: str, attempt: int, until: datetime) -> None:
        if self.away:
            self.away -= 1
            raise DatabaseUnavailable("the database is away")
        super().postpone(job_id, attempt, until)
        self.renewals.append(job_id)


QUICK = msgspec.structs.replace(
    SETTINGS, lease=timedelta(milliseconds=150), max_job_duration=timedelta(minutes=5)
)


def test_a_claim_is_renewed_as_long_as_its_job_is_at_work(work: Work) -> None:
    leases, clock = Renewed(), SystemClock()
    workers = Workers(QUICK, leases, clock, work.jobs, {VALIDATE: work.perform})
    leases.away = 1  # one that fails is made up for by the next
    work.add("one")
    work.gate.clear()
    workers.start(Committer())
    try:
        soon(lambda: work.tried)
        begun = clock.now()
        soon(lambda: len(leases.renewals) >= 4)
        assert leases.claim("one", begun + QUICK.lease, QUICK.lease) is None
    finally:
        work.gate.set()
        assert workers.stop(10)
    assert work.tried == [("one", 1, False)]


def test_a_job_that_hangs_is_taken_over_in_the_end(work: Work) -> None:
    leases, clock = Renewed(), MovedClock()
    workers = Workers(QUICK, leases, clock, work.jobs, {VALIDATE: work.perform})
    work.add("one")
    work.gate.clear()
    workers.start(Committer())
    try:
        soon(lambda: leases.renewals)
        clock.pass_by(300)
        soon(lambda: leases.claim("one", clock.now(), QUICK.lease) == 2)
    finally:
        work.gate.set()
        assert workers.stop(10)
