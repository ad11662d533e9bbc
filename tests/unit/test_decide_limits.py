"""Rates: what may be spent when, to the microsecond; and what a refusal says."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certeasy.decide import limits
from certeasy.decide.limits import Rate
from certeasy.decide.problems import Problem

START = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
NOW = limits.microseconds(START)
SECOND = 1_000_000
HOUR = timedelta(hours=1)
ORDERS = Rate.of(20, HOUR, 5)
"""20 an hour, 5 at once: one comes back in 180 seconds."""
REQUESTS = Rate.of(1200, timedelta(minutes=1), 100)
MARKS = Rate.of(20, timedelta(minutes=1), 10, parts=4)


class Subject:
    """Somebody who spends, at times that the test names."""

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.state = 0

    def spends(self, second: float, cost: int = 1) -> float:
        """Spend at a second; return 0, or the seconds until it would be allowed."""
        now = NOW + round(second * SECOND)
        self.state, wait = limits.spend(self.state, now, self.rate, cost)
        return wait / SECOND

    def left(self, second: float) -> int:
        return limits.left(self.state, NOW + round(second * SECOND), self.rate)


@pytest.mark.parametrize(
    ("rate", "spending"),
    [
        # (second, cost, seconds to wait)
        (ORDERS, [(0, 1, 0)] * 5 + [(0, 1, 180), (179, 1, 1), (180, 1, 0), (180, 1, 180)]),
        (ORDERS, [(0, 5, 0), (180, 2, 180), (360, 2, 0), (540, 1, 0)]),
        (ORDERS, [(0, 5, 0), (899.999999, 5, 0.000001), (900, 5, 0), (901, 1, 179)]),
        (ORDERS, [(0, 9, 0), (0, 1, 180), (0, 9, 900), (900, 9, 0)]),
        (REQUESTS, [(0, 100, 0), (0, 1, 0.05), (0.05, 1, 0), (5.05, 100, 0), (5.06, 1, 0.04)]),
        (MARKS, [(0, 40, 0), (0, 4, 3), (0.74, 1, 0.01), (0.75, 1, 0), (3, 4, 0.75)]),
        (Rate.of(10, HOUR, 10), [(0, 1, 0)] * 10 + [(0, 1, 360), (360, 1, 0), (360, 1, 360)]),
        (Rate.of(100, HOUR, 100), [(0, 60, 0), (0, 41, 36), (36, 41, 0), (36, 100, 3600)]),
        # A third of a second is no whole number of microseconds, and yet nothing is lost or won.
        (Rate.of(3, timedelta(seconds=1), 3), [(0, 1, 0)] * 3 + [(0, 1, 0.333334), (1, 3, 0)]),
        (Rate.of(7, HOUR, 7),
         [(0, 1, 0)] * 7 + [(0, 7, 3600), (3600, 7, 0), (3600, 1, 514.285715)]),
    ],
)  # fmt: skip
def test_what_comes_back_comes_back_to_the_microsecond(rate, spending):
    subject = Subject(rate)
    assert [subject.spends(at, cost) for at, cost, _ in spending] == [wait for *_, wait in spending]


def test_a_rested_subject_has_its_burst_and_no_more():
    subject = Subject(ORDERS)
    assert subject.left(0) == 5
    subject.spends(0, 5)
    assert [subject.left(at) for at in (0, 179, 180, 899, 900, 10_000)] == [0, 0, 1, 4, 5, 5]


def test_what_is_given_back_can_be_spent_again():
    subject = Subject(ORDERS)
    assert [subject.spends(0) for _ in range(6)] == [0, 0, 0, 0, 0, 180]
    subject.state = limits.give_back(subject.state, ORDERS, 1)
    assert [subject.spends(0), subject.spends(0)] == [0, 180]


def test_more_than_a_burst_is_given_back_as_it_was_spent():
    subject = Subject(ORDERS)
    subject.spends(0, 50)
    subject.state = limits.give_back(subject.state, ORDERS, 50)
    assert subject.left(0) == 5


def test_what_is_charged_is_owed_even_if_there_is_none_left_but_not_without_end():
    state = limits.charge(0, NOW, MARKS, 36)
    assert limits.left(state, NOW, MARKS) == 4
    state = limits.charge(state, NOW, MARKS, 8)
    assert limits.left(state, NOW, MARKS) == -4
    for _ in range(100):
        state = limits.charge(state, NOW, MARKS, 4)
    assert limits.left(state, NOW, MARKS) == -40
    assert limits.spend(state, NOW, MARKS, 4).wait == 33 * SECOND


def test_a_clock_that_was_ahead_by_a_year_locks_nobody_out():
    year = 365 * 24 * 3600 * SECOND
    state, _ = limits.spend(0, NOW + year, ORDERS, 5)
    state, wait = limits.spend(state, NOW, ORDERS)
    assert wait == (900 + 180) * SECOND
    assert limits.spend(state, NOW + wait, ORDERS).wait == 0


def test_what_has_come_back_leaves_no_trace():
    state, _ = limits.spend(0, NOW, ORDERS)
    assert limits.is_spent(state, NOW + 180 * SECOND - 1, ORDERS)
    assert not limits.is_spent(state, NOW + 180 * SECOND, ORDERS)
    assert limits.spend(state, NOW + 180 * SECOND, ORDERS, 5) == limits.spend(
        0, NOW + 180 * SECOND, ORDERS, 5
    )


def test_a_rate_that_is_changed_keeps_the_moment_at_which_all_is_back():
    state, _ = limits.spend(0, NOW, ORDERS, 5)
    doubled = Rate.of(40, HOUR, 5)
    state = limits.rescaled(state, ORDERS.limit, doubled.limit)
    assert limits.is_spent(state, NOW + 900 * SECOND - 1, doubled)
    assert limits.rescaled(state, doubled.limit, doubled.limit) == state
    assert not limits.is_spent(state, NOW + 900 * SECOND, doubled)


@given(
    limit=st.integers(1, 50),
    window=st.integers(1, 100),
    burst=st.integers(1, 20),
    attempts=st.lists(st.tuples(st.integers(0, 5 * SECOND), st.integers(1, 25)), max_size=60),
)
def test_a_subject_has_at_any_time_what_came_back_and_a_retry_is_in_time(
    limit, window, burst, attempts
):
    rate = Rate.of(limit, timedelta(seconds=window), burst)
    state, now, has, before = 0, NOW, Fraction(burst), NOW
    for later, cost in attempts:
        now += later
        has = min(Fraction(burst), has + Fraction((now - before) * limit, window * SECOND))
        before = now
        state, wait = limits.spend(state, now, rate, cost)
        real = min(cost, burst)
        assert (wait == 0) == (has >= real)
        if wait:
            assert limits.spend(state, now + wait, rate, cost).wait == 0
            assert limits.spend(state, now + wait - 1, rate, cost).wait == 1
        else:
            has -= real
        assert limits.left(state, now, rate) == int(has)


@pytest.mark.parametrize(
    ("free_at", "seconds", "told"),
    [
        (timedelta(seconds=180), 180, "09:03:00Z, in 180 seconds"),
        (timedelta(seconds=179, microseconds=1), 180, "09:03:00Z, in 180 seconds"),
        (timedelta(microseconds=1), 1, "09:00:01Z, in 1 second"),
        (timedelta(0), 1, "09:00:00Z, in 1 second"),
    ],
)
def test_a_refusal_says_which_limit_and_when_it_is_free_in_whole_seconds(free_at, seconds, told):
    what = "This account may place 20 orders in 1h, 5 at once"
    refused = limits.over("order-creation", what, now=START, free_at=START + free_at)
    assert refused.problem is Problem.RATE_LIMITED
    assert (refused.status, refused.retry_after) == (429, seconds)
    assert refused.limit == "order-creation"
    assert refused.detail == f"{what} (limit order-creation); free again at 2026-11-02T{told}"
