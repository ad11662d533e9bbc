"""What a nonce is good for, and for how long."""

import base64
import os
import threading
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certeasy.acme.nonces import MemoryRedeemedNonces, Nonces
from certeasy.decide.problems import Problem, Refused
from tests.fakes.clocks import HeldClock

SECRET = bytes(range(32))
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def nonces(clock: HeldClock, secret: bytes = SECRET, most: int = 1000) -> Nonces:
    return Nonces(secret, MemoryRedeemedNonces(clock, most), clock, os.urandom)


def refusal(made: Nonces, nonce: str) -> str:
    with pytest.raises(Refused) as caught:
        made.redeem(nonce)
    assert caught.value.problem is Problem.BAD_NONCE
    assert caught.value.status == 400
    return caught.value.detail


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock()


def test_a_nonce_is_good_once(clock: HeldClock) -> None:
    made = nonces(clock)
    nonce = made.issue()
    assert made.redeem(nonce) == clock.now() + timedelta(minutes=2)
    assert refusal(made, nonce) == "JWS has an invalid anti-replay nonce: it has been used"


def test_every_refusal_has_the_words_that_acme_sh_retries_at(clock: HeldClock) -> None:
    made = nonces(clock)
    old = made.issue()
    clock.pass_by(121)
    used = made.issue()
    made.redeem(used)
    foreign = nonces(clock, b"another secret of thirty-two byt").issue()
    details = {refusal(made, nonce) for nonce in ("", "AAAA", old, used, foreign)}
    assert len(details) == 4
    for detail in details:
        assert detail.startswith("JWS has an invalid anti-replay nonce: ")


def test_a_nonce_is_what_certbot_can_decode(clock: HeldClock) -> None:
    made = nonces(clock)
    for _ in range(50):
        nonce = made.issue()
        assert set(nonce) <= set(ALPHABET)
        assert len(nonce) % 4 != 1
        assert len(base64.urlsafe_b64decode(nonce + "=" * (-len(nonce) % 4))) == 30


def test_nonces_of_one_instant_differ(clock: HeldClock) -> None:
    made = nonces(clock)
    assert len({made.issue() for _ in range(1000)}) == 1000


def test_a_nonce_lives_two_minutes(clock: HeldClock) -> None:
    made = nonces(clock)
    one, other = made.issue(), made.issue()
    clock.pass_by(119.999)
    made.redeem(one)
    clock.pass_by(0.001)
    assert "older than 120 seconds" in refusal(made, other)


def test_a_nonce_survives_a_restart_and_a_change_of_node(clock: HeldClock) -> None:
    nonce = nonces(clock).issue()
    nonces(clock).redeem(nonce)


def test_a_nonce_of_another_installation_is_no_good(clock: HeldClock) -> None:
    foreign = nonces(clock, os.urandom(32)).issue()
    assert "not issued here" in refusal(nonces(clock), foreign)


def test_a_node_whose_clock_is_behind_takes_the_others_nonces(clock: HeldClock) -> None:
    behind = HeldClock(clock.now() - timedelta(seconds=30))
    nonces(behind).redeem(nonces(clock).issue())


def test_a_nonce_from_far_ahead_is_no_good(clock: HeldClock) -> None:
    behind = HeldClock(clock.now() - timedelta(minutes=2))
    assert "future" in refusal(nonces(behind), nonces(clock).issue())


def test_the_server_works_on_when_its_clock_is_set_back(clock: HeldClock) -> None:
    made, start = nonces(clock), clock.now()
    used = made.issue()
    made.redeem(used)
    clock.pass_by(3600)
    made.redeem(made.issue())
    clock.set_to(start)
    assert "older" in refusal(made, used)
    made.redeem(made.issue())


@given(st.integers(0, 39), st.sampled_from(ALPHABET))
def test_an_altered_nonce_is_no_good(place: int, char: str) -> None:
    made = nonces(HeldClock())
    nonce = made.issue()
    altered = nonce[:place] + char + nonce[place + 1 :]
    if altered != nonce:
        assert "not issued here" in refusal(made, altered)
    made.redeem(nonce)


@given(st.text(max_size=60) | st.text(ALPHABET, min_size=38, max_size=42))
def test_an_invented_nonce_is_no_good(nonce: str) -> None:
    refusal(nonces(HeldClock()), nonce)


@pytest.mark.parametrize("change", ["{}=", "{}==", " {}", "{}\n", "{}A", "{}AA", "{}\0"])
def test_a_nonce_has_one_spelling(clock: HeldClock, change: str) -> None:
    made = nonces(clock)
    nonce = made.issue()
    assert "not issued here" in refusal(made, change.format(nonce))


def test_of_eight_threads_with_one_nonce_one_is_served(clock: HeldClock) -> None:
    made = nonces(clock)
    together = threading.Barrier(8)
    served: list[str] = []

    def redeem_all(issued: list[str]) -> None:
        together.wait()
        for nonce in issued:
            try:
                made.redeem(nonce)
            except Refused:
                continue
            served.append(nonce)

    issued = [made.issue() for _ in range(100)]
    threads = [threading.Thread(target=redeem_all, args=(issued,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(served) == sorted(issued)


def test_the_secret_is_whole() -> None:
    with pytest.raises(ValueError, match="31 bytes"):
        nonces(HeldClock(), bytes(31))


# --- The memory of a process


def test_memory_is_given_back(clock: HeldClock) -> None:
    used = MemoryRedeemedNonces(clock)
    for count in range(1000):
        clock.pass_by(1)
        assert used.redeem(f"nonce-{count}", clock.now() + timedelta(minutes=2))
    assert len(used) <= 130


def test_a_flood_takes_no_more_memory_and_makes_no_used_nonce_good(clock: HeldClock) -> None:
    used = MemoryRedeemedNonces(clock, most=100)
    issued = []
    for count in range(1000):
        clock.pass_by(0.1)
        issued.append((f"nonce-{count}", clock.now() + timedelta(minutes=2)))
        assert used.redeem(*issued[-1])
        assert len(used) <= 100
    assert not any(used.redeem(*nonce) for nonce in issued)
