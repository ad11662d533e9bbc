"""How often is too often, and when it is not any more: rates, and the refusal that tells.

A rate is kept by the generic cell rate algorithm (GCRA): one number for each subject, the moment at
which everything it ever spent has come back. What is spent moves it on by so much time as takes to
come back; while it is further ahead than a whole burst would take, there is nothing to spend. So
what a subject does within any time is never more than a burst and what comes back in that time.

That moment is an integer, and exact: counted in parts of a microsecond, so many as the rate has
tokens to a window. 0 stands for a subject that has spent nothing yet.
"""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from msgspec import Struct

from certeasy.decide.problems import Problem, Refused
from events.counting import counted

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SECOND = timedelta(seconds=1)
_MOST_OWED = 2  # bursts: what is charged beyond that is forgiven, and so is a clock that was ahead


class Rate(Struct, frozen=True):
    """`limit` tokens come back in each `window` (microseconds), evenly; `burst` are there at most.

    A subject that rests has all of them.
    """

    limit: int
    window: int
    burst: int

    @classmethod
    def of(cls, limit: int, window: timedelta, burst: int, parts: int = 1) -> "Rate":
        """Return the rate of a setting; each of its tokens is cut into so many parts."""
        return cls(limit * parts, window // _MICROSECOND, burst * parts)


class Spending(NamedTuple):
    """So many tokens of a subject, which has that rate under the limit of that name."""

    limit: str
    subject: str
    rate: Rate
    cost: int = 1


class Standing(NamedTuple):
    """A subject that has spent something, and when (microseconds) all of it will have come back."""

    subject: str
    full_at: int


class Answer(NamedTuple):
    """What came of an attempt: `wait` is 0 if it was allowed, else the microseconds until it is.

    `state` is the subject's from then on.
    """

    state: int
    wait: int


def microseconds(now: datetime) -> int:
    """Return a moment as rates count it."""
    return (now - _EPOCH) // _MICROSECOND


def spend(state: int, now: int, rate: Rate, cost: int = 1) -> Answer:
    """Spend so many tokens, all or none. More than a burst counts as a burst: it is possible."""
    known, at = bounded(state, now, rate), now * rate.limit
    owed = max(known, at) + min(cost, rate.burst) * rate.window
    too_far = owed - at - rate.burst * rate.window
    if too_far > 0:
        return Answer(known, -(-too_far // rate.limit))
    return Answer(owed, 0)


def charge(state: int, now: int, rate: Rate, cost: int) -> int:
    """Take so many tokens, also where there are none left; return the state from then on."""
    owed = max(bounded(state, now, rate), now * rate.limit) + cost * rate.window
    return bounded(owed, now, rate)


def give_back(state: int, rate: Rate, cost: int) -> int:
    """Return the state without something that was spent."""
    return state - min(cost, rate.burst) * rate.window


def rescaled(state: int, former: int, limit: int) -> int:
    """Return the state of a subject whose rate had another `limit` until now: the same moment."""
    return state if former == limit else state * limit // former


def left(state: int, now: int, rate: Rate) -> int:
    """Return how many tokens there are to spend; negative: so many are owed beside."""
    owed = max(bounded(state, now, rate) - now * rate.limit, 0)
    return (rate.burst * rate.window - owed) // rate.window


def bounded(state: int, now: int, rate: Rate) -> int:
    """Return the state, not further ahead than can be: the clock it was written by may have been
    set back since."""
    return min(state, now * rate.limit + _MOST_OWED * rate.burst * rate.window)


def is_spent(state: int, now: int, rate: Rate) -> bool:
    """Whether anything has not come back yet. What has not may be forgotten without a trace."""
    return state > now * rate.limit


def whole_second(moment: datetime) -> str:
    """Return a moment as people are told it (RFC 3339), never too early."""
    rounded = _EPOCH - ((_EPOCH - moment) // _SECOND) * _SECOND
    return f"{rounded:%Y-%m-%dT%H:%M:%SZ}"


def over(limit: str, what: str, *, now: datetime, free_at: datetime) -> Refused:
    """Return the refusal of somebody who met a limit; `what` is a sentence: whose, what was counted
    and how much of it there may be.

    A retry after the whole seconds that it tells is in time.
    """
    seconds = max(1, -((now - free_at) // _SECOND))
    detail = (
        f"{what} (limit {limit}); free again at {whole_second(free_at)}, in"
        f" {counted(seconds, 'second')}"
    )
    return Refused(Problem.RATE_LIMITED, detail, retry_after=seconds, limit=limit)
