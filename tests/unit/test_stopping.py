"""Who asks a server to stop, or to read its settings again, is heard: whenever the signal comes."""

import subprocess
import sys

import pytest

from certeasy.serve.stopping import ReloadRequest, StopRequest

STOP = """
from certeasy.serve.stopping import StopRequest
def begin():
    stop = StopRequest()
    return lambda: stop.ask("a signal"), lambda: stop.asked_within(1e-6)
"""
RELOAD = """
from certeasy.serve.stopping import ReloadRequest
def begin():
    again = ReloadRequest()
    return again.ask, again.taken
"""
STORM = """
import random, signal
for _ in range(5000):
    ask, heard = begin()
    signal.signal(signal.SIGALRM, lambda *_: ask())
    signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 2e-4))
    while not heard():
        pass
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no timer that signals")
@pytest.mark.parametrize("begin", [STOP, RELOAD], ids=["stop", "reload"])
def test_a_signal_at_any_moment_of_the_main_threads_waiting_is_heard(begin: str):
    """A lock that the interrupted waiting held would keep both for ever."""
    subprocess.run([sys.executable, "-c", begin + STORM], check=True, timeout=40)


def test_what_was_asked_for_once_stays_asked_for():
    stop = StopRequest()
    assert not stop.asked_within(0)
    stop.ask("the first")
    stop.ask("the second")
    assert [stop.asked_within(0) for _ in range(4)] == [True] * 4
    assert stop.wait(lambda: False)
    assert stop.reason == "the first"


def test_several_reloads_that_were_asked_for_are_one():
    again = ReloadRequest()
    assert not again.taken()
    again.ask()
    again.ask()
    assert again.taken()
    assert not again.taken()
