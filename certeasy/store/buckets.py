"""What clients have spent of limits, in the database: for nodes that run together.

A row is a subject's bucket. It is changed by an UPDATE that locks it first, so that of any number
of nodes and threads each sees what the one before it has spent.

Where tokens come back quickly, as those for requests do, a node draws several at once, a slice, and
spends them by itself: a flood costs one write for each slice, and none while it is refused. What
is in slices has been spent from the row: all nodes together never spend more than there is. A slice
is good for a second; what is left of it goes back into the row with the next draw. So what a
subject does within any time is, on all nodes together, what the rate allows within a second more.

What is known of a refusal is believed for a second at most: so long may a bucket that another node
has filled stay empty here.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from certeasy.clock import Clock
from certeasy.decide import limits
from certeasy.decide.limits import Rate, Spending, Standing
from certeasy.store.errors import DatabaseUnavailable
from certeasy.store.schema import rate_buckets
from certeasy.store.store import Store

SECOND = 1_000_000
SLICES = 10
"""A slice is such a part of a burst, and no more than comes back in a second."""
MOST_KNOWN = 50_000
"""Subjects whose slices, or refusals, a node has in mind."""
_BETWEEN_CLEANINGS = 60 * SECOND
_COLUMNS = rate_buckets.c
_THE_ONE = sa.and_(_COLUMNS.name == sa.bindparam("of"), _COLUMNS.subject == sa.bindparam("whose"))
_LOCK = (
    sa.update(rate_buckets)
    .where(_THE_ONE)
    .values(at=_COLUMNS.at)
    .returning(_COLUMNS.at, _COLUMNS.rest, _COLUMNS.parts)
)
_LOOK = sa.select(_COLUMNS.at, _COLUMNS.rest, _COLUMNS.parts).where(_THE_ONE)
_KEEP = sa.update(rate_buckets).where(_THE_ONE)

Key = tuple[str, str]
T = TypeVar("T")


class _Slice(msgspec.Struct):
    """Tokens that this node has drawn; good until a moment."""

    tokens: int
    until: int


class _Refusal(msgspec.Struct, frozen=True):
    """When there will be a token again, and until when that is believed."""

    free_at: int
    until: int


class _Seen(msgspec.Struct, frozen=True):
    """A state as it was looked at, counted by a rate of that limit; believed until a moment."""

    state: int
    limit: int
    until: int


class _NoBucket(Exception):
    """A row is not there yet."""


class DatabaseBuckets:
    """Buckets as `certeasy.limits.buckets.Buckets` promises them, one row each.

    Raises DatabaseUnavailable; then what was to be spent may be spent or not.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._drawing = threading.Lock()
        self._slices: dict[Key, _Slice] = {}
        self._refused: dict[Key, _Refusal] = {}
        self._seen: dict[Key, _Seen] = {}
        self._cleaned: dict[str, int] = {}

    def now(self) -> int:
        """Return the time that is counted by: the time of day, which nodes have in common."""
        return limits.microseconds(self._clock.now())

    def spend(self, spendings: Sequence[Spending], now: int) -> list[int]:
        """Spend all of this, or nothing; return the microseconds to wait for each."""
        if len(spendings) == 1 and (size := _slice_of(spendings[0].rate)) > 1:
            return [self._from_slice(spendings[0], now, size)]
        known = [self._known_wait(each, now) for each in spendings]
        if any(known):
            return known

        def spent(states: list[int]) -> tuple[list[int], list[int]]:
            answers = [
                limits.spend(state, now, each.rate, each.cost)
                for state, each in zip(states, spendings, strict=True)
            ]
            waits = [answer.wait for answer in answers]
            return (states if any(waits) else [answer.state for answer in answers]), waits

        waits = self._change(spendings, now, spent)
        for each, wait in zip(spendings, waits, strict=True):
            self._believe(each, wait, now)
        return waits

    def give_back(self, spendings: Sequence[Spending], now: int) -> None:
        """Take back what was spent."""

        def given(states: list[int]) -> tuple[list[int], None]:
            pairs = zip(states, spendings, strict=True)
            return [limits.give_back(state, each.rate, each.cost) for state, each in pairs], None

        self._change(spendings, now, given)
        self._forget(spendings)

    def charge(self, spending: Spending, now: int) -> None:
        """Take tokens, also where there are none left."""

        def charged(states: list[int]) -> tuple[list[int], None]:
            return [limits.charge(states[0], now, spending.rate, spending.cost)], None

        self._change([spending], now, charged)
        self._forget([spending])

    def wait(self, spending: Spending, now: int) -> int:
        """Return the microseconds until this could be spent; nothing is. What was seen within the
        last second is not looked at again."""
        key = (spending.limit, spending.subject)
        with self._lock:
            seen = self._seen.get(key)
        if seen is None or seen.until <= now:
            seen = _Seen(self._look(spending), spending.rate.limit, now + SECOND)
            with self._lock:
                _remember(self._seen, key, seen)
        state = limits.rescaled(seen.state, seen.limit, spending.rate.limit)
        return limits.spend(state, now, spending.rate, spending.cost).wait

    def left(self, limit: str, subject: str, rate: Rate, now: int) -> int:
        """Return the tokens that are there to be spent; those in slices are spent."""
        return limits.left(self._look(Spending(limit, subject, rate)), now, rate)

    def standings(self, limit: str, now: int, most: int) -> tuple[int, list[Standing]]:
        """Return how many have spent anything, and those for whom it takes longest."""
        spent = sa.and_(_COLUMNS.name == limit, _COLUMNS.at >= now)
        longest = (
            sa.select(_COLUMNS.subject, _COLUMNS.at, _COLUMNS.rest)
            .where(spent)
            .order_by(_COLUMNS.at.desc(), _COLUMNS.subject)
            .limit(most)
        )
        count = sa.select(sa.func.count()).select_from(rate_buckets).where(spent)
        with self._store.aside() as connection:
            found = connection.execute(longest).all()
            number = int(connection.execute(count).scalar() or 0)
        return number, [Standing(row.subject, row.at + (row.rest > 0)) for row in found]

    def reset(self, limit: str, subject: str) -> bool:
        """Fill a bucket; return whether anything had been spent from it."""
        key = (limit, subject)
        with self._store.aside() as connection:
            gone = connection.execute(
                sa.delete(rate_buckets).where(_THE_ONE), {"of": limit, "whose": subject}
            ).rowcount
        with self._lock:
            for memory in (self._slices, self._refused, self._seen):
                memory.pop(key, None)
        return gone > 0

    # -- what this node knows by itself ----------------------------------------------------------

    def _known_wait(self, spending: Spending, now: int) -> int:
        with self._lock:
            known = self._refused.get((spending.limit, spending.subject))
        if known is None or known.until <= now:
            return 0
        return max(known.free_at - now, 0)

    def _believe(self, spending: Spending, wait: int, now: int) -> None:
        """Remember that there is not even one token; more than one may be too many for others."""
        if wait and spending.cost == 1:
            refusal = _Refusal(now + wait, now + SECOND)
            with self._lock:
                _remember(self._refused, (spending.limit, spending.subject), refusal)

    def _forget(self, spendings: Sequence[Spending]) -> None:
        with self._lock:
            for each in spendings:
                for memory in (self._refused, self._seen):
                    memory.pop((each.limit, each.subject), None)

    def _from_slice(self, spending: Spending, now: int, size: int) -> int:
        key = (spending.limit, spending.subject)
        if self._cut(key, spending.cost, now):
            return 0
        # One at a time, so that nobody is refused while another one is on its way with a slice.
        with self._drawing:
            if self._cut(key, spending.cost, now):
                return 0
            return self._known_wait(spending, now) or self._draw(spending, now, size)

    def _cut(self, key: Key, cost: int, now: int) -> bool:
        """Spend from the slice that is there; return whether it was enough."""
        with self._lock:
            kept = self._slices.get(key)
            if kept is None or kept.until <= now or kept.tokens < cost:
                return False
            kept.tokens -= cost
            return True

    def _draw(self, spending: Spending, now: int, size: int) -> int:
        """Spend from a new slice; return the microseconds to wait if there is none."""
        key = (spending.limit, spending.subject)
        with self._lock:
            kept = self._slices.pop(key, None)
        unspent = 0 if kept is None else kept.tokens

        def drawn(states: list[int]) -> tuple[list[int], tuple[int, int]]:
            state = limits.give_back(states[0], spending.rate, unspent)
            there = limits.left(state, now, spending.rate)
            tokens = max(min(size, there), spending.cost)
            answer = limits.spend(state, now, spending.rate, tokens)
            return [answer.state], (0 if answer.wait else tokens, answer.wait)

        tokens, wait = self._change([spending], now, drawn)
        if wait:
            self._believe(spending, wait, now)
            return wait
        with self._lock:
            _remember(self._slices, key, _Slice(tokens - spending.cost, now + SECOND))
        return 0

    # -- the rows --------------------------------------------------------------------------------

    def _change(
        self,
        spendings: Sequence[Spending],
        now: int,
        change: Callable[[list[int]], tuple[list[int], T]],
    ) -> T:
        """Have states changed while nobody else can, and return what `change` returns beside."""
        for each in spendings:
            self._clean(each.limit, now)
        while True:
            with suppress(_NoBucket):
                return self._try_to_change(spendings, change)
            self._make(spendings, now)

    def _try_to_change(
        self, spendings: Sequence[Spending], change: Callable[[list[int]], tuple[list[int], T]]
    ) -> T:
        # Always in the same order, so that no two wait for each other.
        order = sorted(range(len(spendings)), key=lambda place: spendings[place][:2])
        states = [0] * len(spendings)
        with self._store.aside() as connection:
            for place in order:
                each = spendings[place]
                row = connection.execute(_LOCK, _which(each)).first()
                if row is None:
                    raise _NoBucket
                states[place] = _state(row, each.rate)
            changed, told = change(states)
            for each, before, state in zip(spendings, states, changed, strict=True):
                if state != before:
                    at, rest = divmod(state, each.rate.limit)
                    values = {"at": at, "rest": rest, "parts": each.rate.limit}
                    connection.execute(_KEEP.values(values), _which(each))
        return told

    def _make(self, spendings: Sequence[Spending], now: int) -> None:
        """Make the rows that are not there; that one cannot be made means that another node has."""
        for each in spendings:
            row = {"name": each.limit, "subject": each.subject, "at": now, "rest": 0, "parts": 1}
            with suppress(sa.exc.IntegrityError), self._store.aside() as connection:
                if connection.execute(_LOOK, _which(each)).first() is None:
                    connection.execute(sa.insert(rate_buckets), row)

    def _look(self, spending: Spending) -> int:
        with self._store.aside() as connection:
            row = connection.execute(_LOOK, _which(spending)).first()
        return 0 if row is None else _state(row, spending.rate)

    def _clean(self, limit: str, now: int) -> None:
        """Remove the rows of buckets that are full again, now and then.

        Those of one limit at a time, of which others lock one row: so nobody waits in a circle. If
        it fails there is another time.
        """
        with self._lock:
            if now - self._cleaned.get(limit, 0) < _BETWEEN_CLEANINGS:
                return
            self._cleaned[limit] = now
        full = sa.and_(_COLUMNS.name == limit, _COLUMNS.at < now - _BETWEEN_CLEANINGS)
        with suppress(DatabaseUnavailable), self._store.aside() as connection:
            connection.execute(sa.delete(rate_buckets).where(full))


def _remember(memory: dict[Key, T], key: Key, what: T) -> None:
    """Have it as the latest in mind; of too many, the oldest is forgotten."""
    memory.pop(key, None)
    memory[key] = what
    if len(memory) > MOST_KNOWN:
        del memory[next(iter(memory))]


def _slice_of(rate: Rate) -> int:
    """Return how many tokens are drawn at once."""
    return min(rate.burst // SLICES, rate.limit * SECOND // rate.window)


def _which(spending: Spending) -> dict[str, str]:
    return {"of": spending.limit, "whose": spending.subject}


def _state(row: "sa.Row[Any, Any, Any]", rate: Rate) -> int:
    state = int(row.at) * int(row.parts) + int(row.rest)
    return limits.rescaled(state, int(row.parts), rate.limit)
