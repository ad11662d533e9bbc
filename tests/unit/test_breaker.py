"""An authority that cannot be used is left alone for a while, and then tried once."""

from certeasy.ca.breaker import Breakers
from tests.fakes.clocks import HeldClock


def test_an_authority_nobody_complained_about_is_available() -> None:
    breakers = Breakers(HeldClock())
    assert breakers.available("ca")
    breakers.asking("ca")
    breakers.answered("ca")
    assert breakers.available("ca")


def test_one_that_failed_rests_and_longer_every_time() -> None:
    clock = HeldClock()
    breakers = Breakers(clock)
    for seconds in (15, 30, 60, 120, 240, 300, 300):
        breakers.failed("ca", "away")
        clock.pass_by(seconds - 1)
        assert not breakers.available("ca")
        assert breakers.available("other")
        clock.pass_by(1)
        assert breakers.available("ca")


def test_after_its_rest_it_is_tried_by_one_request_alone() -> None:
    clock = HeldClock()
    breakers = Breakers(clock)
    breakers.failed("ca", "away")
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
        breakers.failed("ca", "away")
    breakers.answered("ca")
    assert breakers.available("ca")
    breakers.failed("ca", "away")
    clock.pass_by(15)
    assert breakers.available("ca")
