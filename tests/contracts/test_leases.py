"""What every keeper of leases promises, wherever it keeps them."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certeasy.jobs.leases import Leases, MemoryLeases
from certeasy.store import Store
from certeasy.store.leases import DatabaseLeases

NOW = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
LEASE = timedelta(seconds=30)
MOMENT = timedelta(microseconds=1)


class LeasesContract:
    """`leases` is one keeper, `others` is another node's on the same jobs."""

    def test_a_job_is_claimed_by_one(self, leases: Leases, others: Leases) -> None:
        assert leases.claim("job", NOW, LEASE) == 1
        assert leases.claim("job", NOW, LEASE) is None
        assert others.claim("job", NOW + LEASE - MOMENT, LEASE) is None

    def test_jobs_do_not_hold_up_each_other(self, leases: Leases) -> None:
        assert [leases.claim(f"job-{n}", NOW, LEASE) for n in range(5)] == [1] * 5
        assert leases.claim("JOB-1", NOW, LEASE) == 1

    def test_a_claim_runs_out_by_itself_and_attempts_count_on(
        self, leases: Leases, others: Leases
    ) -> None:
        assert leases.claim("job", NOW, LEASE) == 1
        assert others.claim("job", NOW + LEASE, LEASE) == 2
        assert leases.claim("job", NOW + LEASE, LEASE) is None
        assert leases.claim("job", NOW + 2 * LEASE, LEASE) == 3

    def test_a_postponed_job_is_due_when_it_was_said(self, leases: Leases, others: Leases) -> None:
        leases.claim("job", NOW, LEASE)
        leases.postpone("job", 1, NOW + 3 * LEASE)
        assert others.claim("job", NOW + 2 * LEASE, LEASE) is None
        assert others.claim("job", NOW + 3 * LEASE, LEASE) == 2

    def test_a_job_may_be_postponed_to_before_its_lease_ends(
        self, leases: Leases, others: Leases
    ) -> None:
        leases.claim("job", NOW, LEASE)
        leases.postpone("job", 1, NOW + timedelta(seconds=1))
        assert others.claim("job", NOW + timedelta(seconds=1), LEASE) == 2

    def test_who_has_lost_a_claim_cannot_postpone_it(self, leases: Leases, others: Leases) -> None:
        leases.claim("job", NOW, LEASE)
        assert others.claim("job", NOW + LEASE, LEASE) == 2
        leases.postpone("job", 1, NOW)
        assert leases.claim("job", NOW + LEASE, LEASE) is None

    def test_a_job_that_nobody_claimed_is_not_postponed(self, leases: Leases) -> None:
        leases.postpone("job", 1, NOW + LEASE)
        assert leases.claim("job", NOW, LEASE) == 1

    def test_a_job_that_is_done_is_forgotten(self, leases: Leases, others: Leases) -> None:
        leases.claim("job", NOW, LEASE)
        others.forget("job")
        others.forget("job")
        assert leases.claim("job", NOW, LEASE) == 1

    def test_of_eight_who_claim_at_once_one_is_served(self, leases: Leases, others: Leases) -> None:
        together, attempts = threading.Barrier(8), list[list[int | None]]()

        def claim_all(keeper: Leases) -> None:
            together.wait()
            attempts.append([keeper.claim(f"job-{n}", NOW, LEASE) for n in range(25)])

        keepers = [leases, others] * 4
        threads = [threading.Thread(target=claim_all, args=(each,)) for each in keepers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [sum(bool(each[n]) for each in attempts) for n in range(25)] == [1] * 25


class TestMemory(LeasesContract):
    """One process: every thread has the same keeper."""

    @pytest.fixture
    def leases(self) -> Leases:
        return MemoryLeases()

    @pytest.fixture
    def others(self, leases: Leases) -> Leases:
        return leases


class TestSqlite(LeasesContract):
    """Two stores on one file: two connections that know nothing of each other."""

    @pytest.fixture
    def leases(self, tmp_path: Path) -> Iterator[Leases]:
        store = Store.sqlite(tmp_path / "db.sqlite")
        store.create("installation")
        yield DatabaseLeases(store)
        store.close()

    @pytest.fixture
    def others(self, tmp_path: Path, leases: Leases) -> Iterator[Leases]:
        store = Store.sqlite(tmp_path / "db.sqlite")
        yield DatabaseLeases(store)
        store.close()
