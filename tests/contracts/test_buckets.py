"""What buckets promise, wherever they are kept: no token is spent twice, and none is lost."""

import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from certeasy.clock import SystemClock
from certeasy.decide.limits import Rate, Spending, Standing
from certeasy.limits.buckets import Buckets, MemoryBuckets
from certeasy.store import Store
from certeasy.store.buckets import DatabaseBuckets
from tests.make.postgres import Postgres, settings_of

SECOND = 1_000_000
NOW = 1_790_000_000 * SECOND
HOUR = timedelta(hours=1)
ORDERS = Rate.of(20, HOUR, 5)
NAMES = Rate.of(100, HOUR, 100)
REQUESTS = Rate.of(1200, timedelta(minutes=1), 100)
MARKS = Rate.of(20, timedelta(minutes=1), 10, parts=4)


def order(account: str = "a", cost: int = 1) -> Spending:
    return Spending("orders", account, ORDERS, cost)


def names(count: int, account: str = "a") -> Spending:
    return Spending("names", account, NAMES, count)


def request_of(address: str = "203.0.113.7") -> Spending:
    return Spending("global", address, REQUESTS)


class BucketsContract:
    """`buckets` is one keeper, `others` is another node's of the same buckets."""

    def test_a_bucket_that_nobody_knows_is_full(self, buckets: Buckets) -> None:
        assert buckets.left("orders", "a", ORDERS, NOW) == 5
        assert buckets.wait(order(), NOW) == 0
        assert buckets.standings("orders", NOW, 9) == (0, [])
        assert not buckets.reset("orders", "a")

    def test_they_are_counted_by_a_time_that_goes_on(self, buckets: Buckets) -> None:
        before = buckets.now()
        assert buckets.spend([order("a", 5)], before) == [0]
        assert 0 <= buckets.now() - before < 3600 * SECOND

    def test_what_one_has_spent_the_other_knows(self, buckets: Buckets, others: Buckets) -> None:
        spent = [each.spend([order()], NOW) for each in (buckets, others, buckets, others, buckets)]
        assert spent == [[0]] * 5
        assert others.spend([order()], NOW) == [180 * SECOND]
        assert buckets.spend([order()], NOW + 100 * SECOND) == [80 * SECOND]
        assert buckets.left("orders", "a", ORDERS, NOW + 180 * SECOND) == 1
        assert others.spend([order()], NOW + 180 * SECOND) == [0]

    def test_subjects_and_limits_do_not_spend_each_other_s(self, buckets: Buckets) -> None:
        buckets.spend([order("a", 5)], NOW)
        assert buckets.spend([order("b", 5)], NOW) == [0]
        assert buckets.spend([Spending("others", "a", ORDERS, 5)], NOW) == [0]
        assert buckets.spend([order("A", 5)], NOW) == [0]

    def test_of_several_all_are_spent_or_none(self, buckets: Buckets) -> None:
        assert buckets.spend([order(), names(60)], NOW) == [0, 0]
        assert buckets.spend([order(), names(60)], NOW) == [0, 720 * SECOND]
        assert buckets.left("orders", "a", ORDERS, NOW) == 4
        assert buckets.left("names", "a", NAMES, NOW) == 40
        assert buckets.spend([names(40), order()], NOW) == [0, 0]

    def test_what_is_given_back_is_there_again(self, buckets: Buckets, others: Buckets) -> None:
        buckets.spend([order("a", 4)], NOW)
        buckets.spend([order(), names(70)], NOW)
        assert others.spend([order()], NOW) == [180 * SECOND]
        others.give_back([order(), names(70)], NOW)
        assert others.left("names", "a", NAMES, NOW) == 100
        assert others.spend([order()], NOW) == [0]

    def test_what_is_charged_is_owed_even_beyond_the_last(self, buckets: Buckets) -> None:
        mark = Spending("abuse", "203.0.113.7", MARKS, 4)
        for _ in range(10):
            assert buckets.wait(mark, NOW) == 0
            buckets.charge(mark, NOW)
        assert buckets.wait(mark, NOW) == 3 * SECOND
        buckets.charge(mark, NOW)
        assert buckets.left("abuse", "203.0.113.7", MARKS, NOW) == -4
        assert buckets.wait(mark, NOW) == 6 * SECOND
        assert buckets.wait(mark, NOW + 6 * SECOND) == 0

    def test_who_has_spent_is_told_who_waits_longest_first(self, buckets: Buckets) -> None:
        for account, cost in (("a", 1), ("b", 3), ("c", 2)):
            buckets.spend([order(account, cost)], NOW)
        count, first = buckets.standings("orders", NOW, 2)
        assert count == 3
        assert first == [Standing("b", NOW + 540 * SECOND), Standing("c", NOW + 360 * SECOND)]
        assert buckets.standings("orders", NOW + 360 * SECOND + 1, 9)[0] == 1

    def test_a_bucket_that_was_filled_is_full(self, buckets: Buckets) -> None:
        buckets.spend([order("a", 5)], NOW)
        assert buckets.spend([order()], NOW) == [180 * SECOND]
        assert buckets.reset("orders", "a")
        assert buckets.spend([order("a", 5)], NOW) == [0]

    def test_another_rate_keeps_the_moment_at_which_all_is_back(self, buckets: Buckets) -> None:
        buckets.spend([order("a", 5)], NOW)
        doubled = Rate.of(40, HOUR, 5)
        assert buckets.left("orders", "a", doubled, NOW + 810 * SECOND) == 4
        assert buckets.spend([Spending("orders", "a", doubled, 5)], NOW + 900 * SECOND) == [0]

    def test_tokens_that_come_back_quickly_are_as_many(
        self, buckets: Buckets, others: Buckets
    ) -> None:
        spent = [each.spend([request_of()], NOW) for each in [buckets] * 90 + [others] * 10]
        assert spent == [[0]] * 100
        assert buckets.spend([request_of()], NOW) == [50_000]
        assert others.spend([request_of()], NOW) == [50_000]
        assert others.spend([request_of()], NOW + 50_000) == [0]

    def test_what_was_drawn_and_not_spent_can_be_spent_later(self, buckets: Buckets) -> None:
        assert buckets.spend([request_of()], NOW) == [0]
        later = NOW + 10 * SECOND
        assert [buckets.spend([request_of()], later)[0] for _ in range(101)] == [0] * 100 + [50_000]

    def test_more_than_a_slice_can_be_spent_at_once(self, buckets: Buckets) -> None:
        assert buckets.spend([request_of()], NOW) == [0]
        many = Spending("global", "203.0.113.7", REQUESTS, 99)
        assert buckets.spend([many], NOW) == [0]
        assert buckets.spend([request_of()], NOW) == [50_000]

    def test_sixteen_threads_spend_no_more_and_no_less_than_there_is(
        self, buckets: Buckets, others: Buckets
    ) -> None:
        assert spent_by_threads([buckets, others], NOW) == THERE


THERE = {"slices": 1000, "orders": 40, "pairs": 50}
PLENTY = {
    # What comes back at once, one by one; and two together, of which one runs out.
    "slices": [Spending("many", "s", Rate.of(1200, timedelta(minutes=1), 1000))],
    "orders": [Spending("some", "s", Rate.of(20, HOUR, 40))],
    "pairs": [
        Spending("ones", "s", Rate.of(100, HOUR, 100)),
        Spending("threes", "s", Rate.of(100, HOUR, 152), 3),
    ],
}


def spent_by_threads(keepers: Sequence[Buckets], now: int, threads: int = 16) -> dict[str, int]:
    """Have threads spend until there is nothing left; return how often that succeeded."""
    spent: dict[str, list[int]] = {what: [] for what in PLENTY}
    together = threading.Barrier(threads)

    def spend(keeper: Buckets) -> None:
        together.wait()
        for what, spendings in PLENTY.items():
            times = 0
            while not any(keeper.spend(spendings, now)):
                times += 1
            spent[what].append(times)

    running = [
        threading.Thread(target=spend, args=[keepers[number % len(keepers)]])
        for number in range(threads)
    ]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return {what: sum(times) for what, times in spent.items()}


class TestMemory(BucketsContract):
    """One process: every thread has the same keeper."""

    @pytest.fixture
    def buckets(self) -> Buckets:
        return MemoryBuckets(SystemClock())

    @pytest.fixture
    def others(self, buckets: Buckets) -> Buckets:
        return buckets

    def test_of_a_flood_those_are_forgotten_who_have_spent_least(self) -> None:
        buckets = MemoryBuckets(SystemClock(), most=100)
        buckets.spend([order("emptied", 5)], NOW)
        for number in range(1000):
            buckets.spend([order(f"flood-{number}")], NOW)
        assert 90 <= buckets.standings("orders", NOW, 0)[0] <= 100
        assert buckets.spend([order("emptied")], NOW) == [180 * SECOND]
        # Who is forgotten wins what he had spent, and that was one.
        left = [buckets.left("orders", f"flood-{number}", ORDERS, NOW) for number in range(1000)]
        assert set(left) == {4, 5}

    def test_what_has_come_back_makes_room_first(self) -> None:
        buckets = MemoryBuckets(SystemClock(), most=100)
        for number in range(100):
            buckets.spend([order(f"early-{number}")], NOW)
        later = NOW + 180 * SECOND
        for number in range(100):
            buckets.spend([order(f"late-{number}")], later)
        assert buckets.standings("orders", later, 0)[0] == 100


class InDatabase(BucketsContract):
    """What holds of rows beside."""

    def test_what_is_full_again_is_kept_nowhere(self, buckets: Buckets, others: Buckets) -> None:
        buckets.spend([order("early"), names(9, "early")], NOW)
        later = NOW + 3600 * SECOND
        others.spend([order("late"), names(9, "late")], later)
        # As of then, when it was not full yet.
        assert buckets.standings("orders", NOW, 9)[1] == [Standing("late", later + 180 * SECOND)]


class TestSqlite(InDatabase):
    """Two stores on one file: two connections that know nothing of each other."""

    @pytest.fixture
    def buckets(self, tmp_path: Path) -> Iterator[Buckets]:
        store = Store.sqlite(tmp_path / "db.sqlite")
        store.create("installation")
        yield DatabaseBuckets(store, SystemClock())
        store.close()

    @pytest.fixture
    def others(self, tmp_path: Path, buckets: Buckets) -> Iterator[Buckets]:
        store = Store.sqlite(tmp_path / "db.sqlite")
        yield DatabaseBuckets(store, SystemClock())
        store.close()


class TestPostgres(InDatabase):
    """Two stores on one database."""

    @pytest.fixture
    def address(self, postgres: Postgres) -> str:
        return postgres.a_database()

    @pytest.fixture
    def buckets(self, address: str) -> Iterator[Buckets]:
        store = Store.open(settings_of(address))
        store.create("installation")
        yield DatabaseBuckets(store, SystemClock())
        store.close()

    @pytest.fixture
    def others(self, address: str, buckets: Buckets) -> Iterator[Buckets]:
        store = Store.open(settings_of(address))
        yield DatabaseBuckets(store, SystemClock())
        store.close()

    def test_two_processes_of_sixteen_threads_spend_what_there_is(
        self, address: str, buckets: Buckets
    ) -> None:
        command = [sys.executable, "-m", "tests.contracts.test_buckets", address, str(NOW)]
        processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        told = [process.communicate()[0] for process in processes]
        spent = [msgspec.json.decode(each, type=dict[str, int]) for each in told]
        assert {what: sum(each[what] for each in spent) for what in THERE} == THERE
        # What is left of pairs: of the other half nothing was spent in vain.
        assert buckets.left("ones", "s", PLENTY["pairs"][0].rate, NOW) == 50
        assert buckets.left("threes", "s", PLENTY["pairs"][1].rate, NOW) == 2

    def test_a_flood_costs_one_write_a_slice_and_none_while_it_is_refused(
        self, buckets: DatabaseBuckets, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        writes = []
        change = buckets._try_to_change

        def counted(*given):  # type: ignore[no-untyped-def]
            writes.append(given)
            return change(*given)

        monkeypatch.setattr(buckets, "_try_to_change", counted)
        waits = [buckets.spend([request_of()], NOW)[0] for _ in range(10_000)]
        assert waits.count(0) == 100
        # Ten slices of ten, one attempt before there was a row, one that found nothing left.
        assert len(writes) == 12


def main(address: str, now: str) -> None:
    """Spend as one of several processes, when told to."""
    store = Store.open(settings_of(address))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    spent = spent_by_threads([DatabaseBuckets(store, SystemClock())], int(now))
    sys.stdout.write(msgspec.json.encode(spent).decode())
    store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
