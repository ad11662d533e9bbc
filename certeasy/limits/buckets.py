"""Where it is kept what each subject has spent of each limit.

In this process for one node; `certeasy.store.buckets` keeps the same in the database, for nodes
that run together.
"""

import threading
from collections.abc import Sequence
from typing import Protocol

from certeasy.clock import Clock
from certeasy.decide import limits
from certeasy.decide.limits import Rate, Spending, Standing


class Buckets(Protocol):
    """What subjects have spent. Safe to call from any thread; moments are in microseconds, of a
    time of its own.

    No two callers spend the same token, however many ask at once, and no token is lost: what is
    refused was not there. A bucket that nobody knows is a full one.
    """

    def now(self) -> int:
        """Return the time that is counted by."""
        ...

    def spend(self, spendings: Sequence[Spending], now: int) -> list[int]:
        """Spend all of this, or nothing; return the microseconds to wait for each: 0 for all where
        it was spent."""
        ...

    def give_back(self, spendings: Sequence[Spending], now: int) -> None:
        """Take back what was spent."""
        ...

    def charge(self, spending: Spending, now: int) -> None:
        """Take tokens, also where there are none left."""
        ...

    def wait(self, spending: Spending, now: int) -> int:
        """Return the microseconds until this could be spent; 0: now. Nothing is spent."""
        ...

    def left(self, limit: str, subject: str, rate: Rate, now: int) -> int:
        """Return the tokens that are there to be spent; negative where some are owed beside."""
        ...

    def standings(self, limit: str, now: int, most: int) -> tuple[int, list[Standing]]:
        """Return how many subjects have spent anything that has not come back, and those of them
        for whom it takes longest."""
        ...

    def reset(self, limit: str, subject: str) -> bool:
        """Fill a bucket; return whether anything had been spent from it."""
        ...


MOST_KEPT = 50_000
"""Subjects of one limit."""
_FORGOTTEN_AT_ONCE = 10  # one in so many: a flood has room made for it once in a while, not always

_SECOND = 1_000_000

_State = tuple[int, int]
"""A subject's state, and the limit of the rate that it is counted by."""


class MemoryBuckets:
    """The buckets of one node. They are counted by a time that only grows, so that nobody waits
    for a clock that is set back.

    Of each limit at most `most` subjects are kept, whatever comes. First forgotten are those whose
    buckets are full again, which leaves no trace; then a tenth of the others, those whose buckets
    will be full soonest. That is safe: whoever is forgotten has spent least, and wins no more than
    that; who has nothing left is forgotten last, and has to find so many others first who have
    spent as much as he has.
    """

    def __init__(self, clock: Clock, most: int = MOST_KEPT) -> None:
        self._clock = clock
        self._most = most
        self._lock = threading.Lock()
        self._kept: dict[str, dict[str, _State]] = {}

    def now(self) -> int:
        """Return the time that is counted by."""
        return round(self._clock.monotonic() * _SECOND)

    def spend(self, spendings: Sequence[Spending], now: int) -> list[int]:
        """Spend all of this, or nothing; return the microseconds to wait for each."""
        with self._lock:
            answers = [
                limits.spend(self._state(each), now, each.rate, each.cost) for each in spendings
            ]
            waits = [answer.wait for answer in answers]
            if not any(waits):
                for each, answer in zip(spendings, answers, strict=True):
                    self._keep(each, answer.state, now)
        return waits

    def give_back(self, spendings: Sequence[Spending], now: int) -> None:
        """Take back what was spent."""
        with self._lock:
            for each in spendings:
                state = limits.give_back(self._state(each), each.rate, each.cost)
                self._keep(each, state, now)

    def charge(self, spending: Spending, now: int) -> None:
        """Take tokens, also where there are none left."""
        with self._lock:
            state = limits.charge(self._state(spending), now, spending.rate, spending.cost)
            self._keep(spending, state, now)

    def wait(self, spending: Spending, now: int) -> int:
        """Return the microseconds until this could be spent; nothing is."""
        with self._lock:
            state = self._state(spending)
        return limits.spend(state, now, spending.rate, spending.cost).wait

    def left(self, limit: str, subject: str, rate: Rate, now: int) -> int:
        """Return the tokens that are there to be spent."""
        with self._lock:
            state = self._state(Spending(limit, subject, rate))
        return limits.left(state, now, rate)

    def standings(self, limit: str, now: int, most: int) -> tuple[int, list[Standing]]:
        """Return how many have spent anything, and those for whom it takes longest."""
        with self._lock:
            kept = list(self._kept.get(limit, {}).items())
        found = [
            Standing(subject, -(-state // scale))
            for subject, (state, scale) in kept
            if state > now * scale
        ]
        found.sort(key=lambda each: (-each.full_at, each.subject))
        return len(found), found[:most]

    def reset(self, limit: str, subject: str) -> bool:
        """Fill a bucket; return whether anything had been spent from it."""
        with self._lock:
            return self._kept.get(limit, {}).pop(subject, None) is not None

    def _state(self, spending: Spending) -> int:
        found = self._kept.get(spending.limit, {}).get(spending.subject)
        if found is None:
            return 0
        return limits.rescaled(*found, spending.rate.limit)

    def _keep(self, spending: Spending, state: int, now: int) -> None:
        kept = self._kept.setdefault(spending.limit, {})
        kept[spending.subject] = (state, spending.rate.limit)
        if len(kept) > self._most:
            self._kept[spending.limit] = self._without_some(kept, now)

    def _without_some(self, kept: dict[str, _State], now: int) -> dict[str, _State]:
        """Return them without those that are full again, and few enough that there is room."""
        spent = {who: (s, scale) for who, (s, scale) in kept.items() if s > now * scale}
        room = self._most - self._most // _FORGOTTEN_AT_ONCE
        if len(spent) <= room:
            return spent
        longest = sorted(spent, key=lambda who: -(spent[who][0] // spent[who][1]))
        return {who: spent[who] for who in longest[:room]}
