"""What of all that is wrong is news.

1. It is told once when it begins: when it has been there for `after`. What comes and goes within
   that time is one and the same trouble, and what is over for good before then is told to nobody.
2. It is told once when it has ended: when it has been away for `after`.
3. As long as it lasts it is told again after each `repeat`.
4. Where more is affected than was told, that is told as well, once an hour at most.

Times are taken from a clock that only grows: setting the time of day is no news.
"""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta

from msgspec import Struct

from certeasy.notices.notice import State, Trouble

MORE = 3600.0
"""Seconds after which more of the same is told."""


class News(Struct, frozen=True):
    """Something to be told, and since when it is so."""

    state: State
    trouble: Trouble
    since: datetime

    @property
    def bad(self) -> bool:
        """Whether it still goes on."""
        return self.state not in {"ended", "test"}


class _Known(Struct):
    """A trouble that was met; times in seconds of a clock that only grows."""

    trouble: Trouble
    since: datetime
    begun: float
    seen: float
    told: float | None = None
    facts: frozenset[str] = frozenset()


class Watching:
    """Compares each look with what was told. One thread looks."""

    def __init__(self, after: timedelta, repeat: timedelta) -> None:
        self._known: dict[tuple[str, str], _Known] = {}
        self._after = after.total_seconds()
        self._repeat = repeat.total_seconds()

    def follow(self, after: timedelta, repeat: timedelta, kinds: Collection[str]) -> None:
        """Follow other rules; kinds that are not among these are forgotten, not over."""
        self._after, self._repeat = after.total_seconds(), repeat.total_seconds()
        self._known = {key: known for key, known in self._known.items() if key[0] in kinds}

    def look(self, found: Iterable[Trouble], now: datetime, at: float) -> list[News]:
        """Return what is to be told, given all that is wrong just now."""
        news: list[News] = []
        present = {(each.kind, each.subject): each for each in found}
        for key, trouble in present.items():
            known = self._known.setdefault(key, _Known(trouble, now, at, at))
            known.trouble, known.seen = trouble, at
            news.extend(self._of_present(known, at))
        gone = {
            key: known
            for key, known in self._known.items()
            if key not in present and at - known.seen >= self._after
        }
        for key, known in gone.items():
            del self._known[key]
            if known.told is not None:
                news.append(News("ended", known.trouble, known.since))
        return news

    def _of_present(self, known: _Known, at: float) -> Iterator[News]:
        state: State | None = None
        if known.told is None:
            state = "begun" if at - known.begun >= self._after else None
        elif at - known.told >= self._repeat:
            state = "continues"
        elif known.trouble.facts - known.facts and at - known.told >= MORE:
            state = "more"
        if state is not None:
            known.told, known.facts = at, known.trouble.facts
            yield News(state, known.trouble, known.since)
