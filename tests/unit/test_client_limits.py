"""What clients may do when: a table for each limit, with the time in the test's hands."""

from datetime import timedelta
from ipaddress import ip_network

import pytest
from msgspec.structs import replace

from certeasy.decide.problems import Refused, Weight
from certeasy.limits.buckets import MemoryBuckets
from certeasy.limits.clients import Limits, Renewed
from certeasy.settings.limits import RateLimiting
from tests.fakes.clocks import HeldClock
from tools.generous import GENEROUS

A, B = "203.0.113.7", "2001:db8:1:2::7"
FULL = RateLimiting()
"""The defaults."""


class Played:
    """A server's limits, of which one holds as by default; time goes as the test says."""

    def __init__(self, name: str) -> None:
        self.clock = HeldClock()
        settings = replace(GENEROUS, **{name: getattr(FULL, name)})
        self.limits = Limits(settings, MemoryBuckets(self.clock), self.clock)

    def at(self, second: float) -> None:
        self.clock.pass_by(second - self.clock.monotonic())

    def asks(self, address: str, times: int = 1) -> int:
        return self._wait(lambda: self.limits.admit(address), times)

    def is_marked(self, address: str, weight: Weight) -> int:
        def do() -> None:
            self.limits.admit(address)
            self.limits.mark(address, weight)

        return self._wait(do)

    def registers(self, address: str, times: int = 1) -> int:
        return self._wait(lambda: _pass(self.limits.creating_account(address)), times)

    def changes(self, account: str, times: int = 1) -> int:
        changing = self.limits.changing_account
        return self._wait(lambda: _pass(changing(account, A)), times)

    def orders(self, account: str, names: int = 1, times: int = 1) -> int:
        placing = self.limits.placing_order
        return self._wait(lambda: _pass(placing(account, A, ("", ""), names)), times)

    def _wait(self, do, times: int = 1) -> int:
        """Do it so often; return 0, or what is told to the first who is refused."""
        for _ in range(times):
            try:
                do()
            except Refused as refused:
                return refused.retry_after or -1
        return 0


def _pass(block) -> None:
    with block:
        pass


# Of each: at which second who does what, and what he is told: 0, or after how many seconds.
TABLES = {
    "global_": [
        (0, lambda p: p.asks(A, 100), 0),
        (0, lambda p: p.asks(A), 1),
        (0.04, lambda p: p.asks(A), 1),
        (0.05, lambda p: p.asks(A), 0),
        (0.05, lambda p: p.asks(A), 1),
        (0.05, lambda p: p.asks(B, 100), 0),
        (5.05, lambda p: p.asks(A, 100), 0),
        (5.05, lambda p: p.asks(A), 1),
        (60, lambda p: p.asks("2001:db8:1:2:ffff::1", 100), 0),
        (60, lambda p: p.asks(B), 1),
        (60, lambda p: p.asks("2001:db8:1:3::7"), 0),
    ],
    "abuse": [
        *[(0, lambda p: p.is_marked(A, Weight.HOSTILE), 0)] * 10,
        (0, lambda p: p.is_marked(A, Weight.HOSTILE), 3),
        (0, lambda p: p.asks(B), 0),
        (2.5, lambda p: p.asks(A), 1),
        (3, lambda p: p.asks(A), 0),
        (3, lambda p: p.is_marked(A, Weight.GUESS), 0),
        (3, lambda p: p.asks(A), 1),
        (3.75, lambda p: p.is_marked(A, Weight.NONE), 0),
        (3.75, lambda p: p.is_marked(A, Weight.HOSTILE), 0),
        (3.75, lambda p: p.asks(A), 3),
        (40, lambda p: p.asks(A), 0),
    ],
    "account_creation": [
        (0, lambda p: p.registers(A, 10), 0),
        (0, lambda p: p.registers(A), 360),
        (0, lambda p: p.registers(B, 10), 0),
        (359.5, lambda p: p.registers(A), 1),
        (360, lambda p: p.registers(A), 0),
        (360, lambda p: p.registers(A), 360),
        (3960, lambda p: p.registers(A, 10), 0),
        (3960, lambda p: p.registers(A), 360),
    ],
    "account_changes": [
        (0, lambda p: p.changes("a", 10), 0),
        (0, lambda p: p.changes("a"), 360),
        (0, lambda p: p.changes("b", 10), 0),
        (359.5, lambda p: p.changes("a"), 1),
        (360, lambda p: p.changes("a"), 0),
        (360, lambda p: p.changes("a"), 360),
        (3960, lambda p: p.changes("a", 10), 0),
        (3960, lambda p: p.changes("a"), 360),
    ],
    "order_creation": [
        (0, lambda p: p.orders("a", times=5), 0),
        (0, lambda p: p.orders("a"), 180),
        (0, lambda p: p.orders("b"), 0),
        (179.001, lambda p: p.orders("a"), 1),
        (180, lambda p: p.orders("a"), 0),
        (1080, lambda p: p.orders("a", times=5), 0),
        (1080, lambda p: p.orders("a"), 180),
    ],
    "san_budget": [
        (0, lambda p: p.orders("a", names=60), 0),
        (0, lambda p: p.orders("a", names=41), 36),
        (0, lambda p: p.orders("a", names=40), 0),
        (0, lambda p: p.orders("a"), 36),
        (0, lambda p: p.orders("b", names=100), 0),
        (35.5, lambda p: p.orders("a"), 1),
        (36, lambda p: p.orders("a"), 0),
        (36, lambda p: p.orders("a", names=250), 3600),
        (3636, lambda p: p.orders("a", names=250), 0),
    ],
}


@pytest.mark.parametrize("name", TABLES)
def test_a_limit_is_exact_to_the_second(name: str) -> None:
    played = Played(name)
    told = []
    for second, does, _ in TABLES[name]:
        played.at(second)
        told.append(does(played))
    assert told == [expected for *_, expected in TABLES[name]]


@pytest.mark.parametrize(
    "name", ["global_", "abuse", "account_creation", "account_changes", "order_creation"]
)
def test_a_limit_that_is_switched_off_does_not_hold(name: str) -> None:
    played = Played(name)
    off = replace(GENEROUS, **{name: replace(getattr(FULL, name), enabled=False)})
    played.limits = Limits(off, MemoryBuckets(played.clock), played.clock)
    for _ in range(200):
        assert played.is_marked(A, Weight.HOSTILE) == 0
        assert played.registers(A) == 0
        assert played.changes("a") == 0
        assert played.orders("a") == 0


def test_what_is_no_address_is_one_client() -> None:
    """A connection through a socket that has no address."""
    played = Played("global_")
    assert played.asks("", 100) == 0
    assert played.asks("") == 1
    assert played.limits.counted_as("") == ""


def test_a_whole_address_can_count_for_itself() -> None:
    clock = HeldClock()
    settings = replace(FULL, ipv6_prefix=128, whitelist=(ip_network("2001:db8:1:2::8"),))
    limits = Limits(settings, MemoryBuckets(clock), clock)
    assert limits.counted_as(B) == B
    assert limits.of_address("2001:db8:1:2::8") == ()
    assert [told.limit for told in limits.of_address(B)] == ["global", "abuse", "account-creation"]


def test_what_is_raised_meanwhile_costs_nothing() -> None:
    played = Played("order_creation")
    for _ in range(20):
        with (
            pytest.raises(TimeoutError),
            played.limits.placing_order("a", A, ("", ""), 1),
        ):
            raise TimeoutError
    assert played.orders("a", times=5) == 0
    assert played.limits.reset(["order-creation", "san-budget"], "a") == (
        "order-creation",
        "san-budget",
    )
    assert played.orders("a", times=5) == 0


def test_who_renews_the_same_again_and_again_is_counted_in_the_end() -> None:
    """Nothing need come of an order: else each would be one more line in the log, for ever."""
    clock = HeldClock()
    few = replace(FULL.order_creation, limit=1, burst=1, window=timedelta(hours=1))
    limits = Limits(replace(FULL, order_creation=few), MemoryBuckets(clock), clock)

    def renew(account: str, what: str) -> None:
        _pass(limits.placing_order(account, A, ("", ""), 1, renews=lambda: Renewed(what)))

    for _ in range(21):
        renew("a", "it")
    with pytest.raises(Refused, match="1 order in 1h"):
        renew("a", "it")
    renew("a", "another")
    renew("b", "it")
    clock.pass_by(180)
    renew("a", "it")
    with pytest.raises(Refused, match="1 order in 1h"):
        renew("a", "it")


def test_a_renewal_is_asked_for_only_where_something_is_counted() -> None:
    clock = HeldClock()
    one = timedelta(hours=1)
    few = replace(FULL.order_creation, limit=1, burst=1, window=one)
    limits = Limits(replace(FULL, order_creation=few), MemoryBuckets(clock), clock)
    for _ in range(10):
        _pass(limits.placing_order("a", A, ("", ""), 1, renews=lambda: Renewed("it")))
    _pass(limits.placing_order("a", A, ("", ""), 1))
    with pytest.raises(Refused, match="1 order in 1h"):
        _pass(limits.placing_order("a", A, ("", ""), 1))

    def asked() -> Renewed:
        raise AssertionError("nobody is to look")

    limits = Limits(replace(FULL, enabled=False), MemoryBuckets(clock), clock)
    _pass(limits.placing_order("a", A, ("", ""), 1, renews=asked))
