"""An authority that cannot be used is left alone for a while, and then tried once."""

from datetime import timedelta

from certeasy.ca.breaker import Breakers, Sickness
from tests.fakes.clocks import HeldClock


def test_an_authority_nobody_complained_about_is_available() -> None:
    breakers = Breakers(HeldClock())
    assert breakers.available("ca")
    breakers.asking("ca")
    breakers.answered("ca", breakers.asking("ca"))
    assert breakers.available("ca")


def test_one_that_failed_rests_and_longer_every_time() -> None:
    clock = HeldClock()
    breakers = Breakers(clock)
    for seconds in (15, 30, 60, 120, 240, 300, 300):
        breakers.failed("ca", breakers.asking("ca"), "away")
        clock.pass_by(seconds - 1)
        assert not breakers.available("ca")
        assert breakers.available("other")
        clock.pass_by(1)
        assert breakers.available("ca")


def test_after_its_rest_it_is_tried_by_one_request_alone() -> None:
    clock = HeldClock()
    breakers = Breakers(clock)
    breakers.failed("ca", breakers.asking("ca"), "away")
    clock.pass_by(15)
    breakers.asking("ca")
    assert not breakers.available("ca")
    # Whoever tried may never tell: the next one tries when another rest is over.
    clock.pass_by(15)
    assert breakers.available("ca")


def test_one_that_answers_is_as_good_as_before() -> None:
    clock = HeldClock()
    breakers = Breakers(clock)
    for _ in range(5):
        breakers.failed("ca", breakers.asking("ca"), "away")
    breakers.answered("ca", breakers.asking("ca"))
    assert breakers.available("ca")
    breakers.failed("ca", breakers.asking("ca"), "away")
    clock.pass_by(15)
    assert breakers.available("ca")


def test_whoever_wants_to_know_is_told_of_changes_alone() -> None:
    breakers, changed = Breakers(HeldClock()), list[str]()
    breakers.changed = changed.append
    breakers.answered("ca", breakers.asking("ca"))
    assert changed == []
    breakers.failed("ca", breakers.asking("ca"), "away")
    breakers.failed("ca", breakers.asking("ca"), "still away", "0x800706ba")
    assert changed == ["ca"]
    assert breakers.sickness("ca") == Sickness("still away", "0x800706ba")
    breakers.answered("ca", breakers.asking("ca"))
    assert changed == ["ca", "ca"]
    assert breakers.sickness("ca") is None


def test_a_probe_ends_what_a_probe_began() -> None:
    breakers = Breakers(HeldClock())
    breakers.probed("ca", breakers.asking("ca"))
    breakers.failed("ca", breakers.asking("ca"), "away", of_probe=True)
    assert not breakers.available("ca")
    breakers.probed("ca", breakers.asking("ca"))
    assert breakers.sickness("ca") is None


def test_after_a_request_that_failed_a_probe_only_lets_the_next_request_tell() -> None:
    """A CA that can be reached may still be unable to sign."""
    breakers = Breakers(HeldClock())
    breakers.failed("ca", breakers.asking("ca"), "its key is away")
    breakers.probed("ca", breakers.asking("ca"))
    assert breakers.available("ca")
    assert breakers.sickness("ca") == Sickness("its key is away")
    breakers.asking("ca")
    assert not breakers.available("ca")


def test_how_long_it_is_until_somebody_can_be_asked() -> None:
    clock = HeldClock()
    breakers = Breakers(clock)
    breakers.failed("ca", breakers.asking("ca"), "away")
    breakers.failed("ca", breakers.asking("ca"), "away")
    assert breakers.rest(["ca"]) == timedelta(seconds=30)
    breakers.failed("other", breakers.asking("other"), "away")
    assert breakers.rest(["ca", "other"]) == timedelta(seconds=15)
    assert breakers.rest(["ca", "third"]) == timedelta()
    clock.pass_by(60)
    assert breakers.rest(["ca", "other"]) == timedelta()


def test_who_has_just_answered_need_not_be_asked() -> None:
    clock = HeldClock()
    breakers = Breakers(clock)
    assert not breakers.answered_within("ca", timedelta(seconds=30))
    breakers.answered("ca", breakers.asking("ca"))
    clock.pass_by(29)
    assert breakers.answered_within("ca", timedelta(seconds=30))
    clock.pass_by(1)
    assert not breakers.answered_within("ca", timedelta(seconds=30))


def test_a_failure_of_calls_that_were_under_way_together_is_one() -> None:
    breakers = Breakers(HeldClock())
    calls = [breakers.asking("ca") for _ in range(5)]
    for asked in calls:
        breakers.failed("ca", asked, "away")
    assert breakers.rest(["ca"]) == timedelta(seconds=15)


def test_an_answer_that_was_on_its_way_when_it_failed_only_lets_the_next_request_tell() -> None:
    breakers, changed = Breakers(HeldClock()), list[str]()
    breakers.changed = changed.append
    first, second = breakers.asking("ca"), breakers.asking("ca")
    breakers.failed("ca", first, "away")
    breakers.answered("ca", second)
    assert (breakers.available("ca"), breakers.sickness("ca")) == (True, Sickness("away"))
    third = breakers.asking("ca")
    assert not breakers.available("ca")
    breakers.failed("ca", third, "still away")
    assert breakers.rest(["ca"]) == timedelta(seconds=30)
    assert changed == ["ca"]


def test_what_failed_before_it_answered_again_is_known() -> None:
    breakers, changed = Breakers(HeldClock()), list[str]()
    breakers.changed = changed.append
    calls = [breakers.asking("ca") for _ in range(2)]
    breakers.failed("ca", calls[0], "away")
    breakers.answered("ca", breakers.asking("ca"))
    breakers.failed("ca", calls[1], "away, said after a long time")
    assert (breakers.available("ca"), changed) == (True, ["ca", "ca"])
