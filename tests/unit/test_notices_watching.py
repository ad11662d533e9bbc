"""Of all that is wrong, what is told, and how often."""

from datetime import UTC, datetime, timedelta
from itertools import chain, pairwise

from hypothesis import given
from hypothesis import strategies as st

from certeasy.notices.notice import Trouble
from certeasy.notices.watching import MORE, Watching

NOW = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
AFTER, REPEAT = 120, 86400
"""Seconds."""
SICK = Trouble("authority-sick", "lab", "it is away")
FULL = Trouble("journal-disk-low", "", "10 bytes are free")


class Days:
    """A node that looks around, and what is told."""

    def __init__(self):
        self.watching = Watching(timedelta(seconds=AFTER), timedelta(seconds=REPEAT))
        self.at = 0.0

    def look(self, *found, later=0):
        self.at += later
        news = self.watching.look(found, NOW + timedelta(seconds=self.at), self.at)
        return [(each.state, each.trouble.subject or each.trouble.kind) for each in news]


def test_it_is_told_once_when_it_begins_and_once_when_it_has_ended():
    days = Days()
    assert days.look(SICK) == []
    assert days.look(SICK, later=AFTER) == [("begun", "lab")]
    assert [days.look(SICK, later=60) for _ in range(100)] == [[]] * 100
    assert days.look(later=60) == []
    assert days.look(later=AFTER) == [("ended", "lab")]
    assert [days.look(later=600) for _ in range(10)] == [[]] * 10


def test_what_is_over_at_once_is_told_to_nobody():
    days = Days()
    assert days.look(SICK) == []
    assert days.look(later=15) == []
    assert days.look(later=10 * REPEAT) == []


def test_what_comes_and_goes_is_one_trouble():
    days = Days()
    told = [days.look(*[SICK] * (n % 2), later=AFTER / 2) for n in range(200)]
    assert list(chain.from_iterable(told)) == [("begun", "lab")]


def test_it_is_told_again_each_day_that_it_lasts():
    days = Days()
    days.look(SICK)
    told = [days.look(SICK, later=3600) for _ in range(24 * 3)]
    assert [each for each in told if each] == [
        [("begun", "lab")],
        [("continues", "lab")],
        [("continues", "lab")],
    ]


def test_what_began_again_is_told_again():
    days = Days()
    for _ in range(3):
        days.look(SICK)
        assert days.look(SICK, later=AFTER) == [("begun", "lab")]
        assert days.look(later=AFTER) == [("ended", "lab")]


def test_each_subject_is_a_trouble_of_its_own():
    days = Days()
    other = Trouble("authority-sick", "other", "it is away")
    days.look(SICK, FULL)
    assert days.look(SICK, FULL, later=AFTER) == [("begun", "lab"), ("begun", FULL.kind)]
    assert days.look(SICK, other, later=AFTER) == [("ended", FULL.kind)]
    assert days.look(SICK, other, later=AFTER) == [("begun", "other")]


def test_more_of_the_same_is_told_once_an_hour_at_most():
    def late(*names):
        return Trouble("certificate-overdue", "", ", ".join(names), frozenset(names))

    days = Days()
    days.look(late("a"))
    assert days.look(late("a"), later=AFTER) == [("begun", "certificate-overdue")]
    assert days.look(late("a", "b"), later=60) == []
    assert days.look(late("a", "b"), later=MORE) == [("more", "certificate-overdue")]
    assert days.look(late("b"), later=MORE) == []
    assert days.look(late("b", "c"), later=1) == [("more", "certificate-overdue")]


def test_it_is_told_since_when_and_in_its_latest_words():
    watching = Watching(timedelta(seconds=AFTER), timedelta(seconds=REPEAT))
    watching.look([SICK], NOW, 0.0)
    [news] = watching.look([Trouble("authority-sick", "lab", "it says no")], NOW, AFTER)
    assert (news.since, news.trouble.why, news.bad) == (NOW, "it says no", True)


def test_a_kind_that_nobody_wants_to_hear_of_any_more_is_not_over():
    days = Days()
    days.look(SICK, FULL)
    days.look(SICK, FULL, later=AFTER)
    rules = timedelta(seconds=AFTER), timedelta(seconds=REPEAT)
    days.watching.follow(*rules, {"authority-sick"})
    assert days.look(SICK, later=AFTER) == []
    assert days.look(later=AFTER) == [("ended", "lab")]


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 1000)), max_size=60))
def test_beginnings_and_ends_take_turns_and_nothing_is_told_twice_a_day(history):
    days = Days()
    told = []
    for wrong, later in history:
        told += [(state, days.at) for state, _ in days.look(*[SICK] * wrong, later=later)]
    turns = [state for state, _ in told if state in {"begun", "ended"}]
    assert turns == ["begun", "ended"] * (len(turns) // 2) + ["begun"] * (len(turns) % 2)
    begun = [at for state, at in told if state != "ended"]
    for earlier, later in pairwise(begun):
        ended = any(earlier < at <= later for state, at in told if state == "ended")
        assert ended or later - earlier >= REPEAT
