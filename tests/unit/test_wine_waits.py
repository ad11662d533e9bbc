"""What a test waits for when it runs a program of Windows'."""

import os
import signal

from tests.make.acme_client import QUIET_ENV
from tests.make.wine import Running


def test_a_program_is_over_when_it_ends_whoever_holds_its_output_still():
    """Wine's desktop, begun by the first program that needs one, keeps that one's stderr."""
    run = Running(["sh", "-c", "sleep 600 & echo $!; echo over"], dict(QUIET_ENV))
    assert run.ended() == 0
    stays, *said = run.said.split()
    os.kill(int(stays), signal.SIGKILL)
    assert said == ["over"]


def test_all_that_a_program_has_said_is_there_when_it_is_over():
    run = Running(["sh", "-c", "seq 20000; printf 'a\\r\\nb'"], dict(QUIET_ENV))
    assert run.ended() == 0
    assert run.said.split() == [*map(str, range(1, 20_001)), "a", "b"]
    assert "\r" not in run.said


def test_the_end_of_its_input_ends_a_program_that_reads_it():
    run = Running(["sh", "-c", "echo up; cat; exit 3"], dict(QUIET_ENV))
    assert run.ended() == 3
    assert run.said == "up\n"
