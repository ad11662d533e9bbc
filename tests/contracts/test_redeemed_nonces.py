"""What every memory of used nonces promises, wherever it keeps them.

A new implementation adds a line to `IMPLEMENTATIONS`: a context manager that is given a clock and a
folder, and yields a fresh `RedeemedNonces`.
"""

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from certeasy.acme.nonces import MemoryRedeemedNonces, RedeemedNonces
from certeasy.store import Store
from certeasy.store.nonces import DatabaseRedeemedNonces
from tests.fakes.clocks import HeldClock

Made = AbstractContextManager[RedeemedNonces]


@contextlib.contextmanager
def in_this_process(clock: HeldClock, _folder: Path) -> Iterator[RedeemedNonces]:
    yield MemoryRedeemedNonces(clock)


@contextlib.contextmanager
def in_sqlite(clock: HeldClock, folder: Path) -> Iterator[RedeemedNonces]:
    store = Store.sqlite(folder / "db.sqlite")
    store.create("installation")
    yield DatabaseRedeemedNonces(store, clock)
    store.close()


class TwoNodes:
    """Two nodes on one database, asked in turn."""

    def __init__(self, one: RedeemedNonces, two: RedeemedNonces) -> None:
        self._turns = itertools.cycle([one, two])

    def redeem(self, nonce: str, expires: datetime) -> bool:
        return next(self._turns).redeem(nonce, expires)


@contextlib.contextmanager
def in_sqlite_by_two_nodes(clock: HeldClock, folder: Path) -> Iterator[RedeemedNonces]:
    with in_sqlite(clock, folder) as one:
        store = Store.sqlite(folder / "db.sqlite")
        yield TwoNodes(one, DatabaseRedeemedNonces(store, clock))
        store.close()


IMPLEMENTATIONS: dict[str, Callable[[HeldClock, Path], Made]] = {
    "in this process": in_this_process,
    "in SQLite": in_sqlite,
    "in SQLite, by two nodes": in_sqlite_by_two_nodes,
}
LIFE = timedelta(minutes=2)


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock()


@pytest.fixture(params=IMPLEMENTATIONS.values(), ids=IMPLEMENTATIONS)
def used(
    request: pytest.FixtureRequest, clock: HeldClock, tmp_path: Path
) -> Iterator[RedeemedNonces]:
    with request.param(clock, tmp_path) as made:
        yield made


def test_a_nonce_is_good_once(used: RedeemedNonces, clock: HeldClock) -> None:
    expires = clock.now() + LIFE
    assert [used.redeem("nonce-1", expires) for _ in range(3)] == [True, False, False]


def test_nonces_do_not_use_up_each_other(used: RedeemedNonces, clock: HeldClock) -> None:
    expires = clock.now() + LIFE
    assert all(used.redeem(f"nonce-{count}", expires) for count in range(100))


def test_nonces_differ_by_case(used: RedeemedNonces, clock: HeldClock) -> None:
    expires = clock.now() + LIFE
    assert used.redeem("nonce-a", expires)
    assert used.redeem("nonce-A", expires)


def test_a_used_nonce_is_used_for_all_its_life(used: RedeemedNonces, clock: HeldClock) -> None:
    expires = clock.now() + LIFE
    assert used.redeem("nonce-1", expires)
    for count in range(24):
        clock.pass_by(4.9)
        used.redeem(f"another-{count}", clock.now() + LIFE)
        assert not used.redeem("nonce-1", expires)


def test_a_forgotten_nonce_is_not_good_again(used: RedeemedNonces, clock: HeldClock) -> None:
    start = clock.now()
    assert used.redeem("nonce-1", start + LIFE)
    clock.pass_by(3600)
    assert used.redeem("nonce-2", clock.now() + LIFE)
    assert not used.redeem("nonce-1", start + LIFE)


def test_a_clock_set_back_makes_no_used_nonce_good(used: RedeemedNonces, clock: HeldClock) -> None:
    start = clock.now()
    assert used.redeem("nonce-1", start + LIFE)
    clock.pass_by(3600)
    used.redeem("nonce-2", clock.now() + LIFE)
    clock.set_to(start)
    assert not used.redeem("nonce-1", start + LIFE)


def test_of_eight_who_come_at_once_one_is_served(used: RedeemedNonces, clock: HeldClock) -> None:
    nonces, expires = [f"nonce-{count}" for count in range(50)], clock.now() + LIFE
    together = threading.Barrier(8)
    answers: list[list[bool]] = []

    def redeem_all() -> None:
        together.wait()
        answers.append([used.redeem(nonce, expires) for nonce in nonces])

    threads = [threading.Thread(target=redeem_all) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [sum(answer[place] for answer in answers) for place in range(50)] == [1] * 50
