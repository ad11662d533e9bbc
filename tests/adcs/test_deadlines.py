"""Nothing that a CA, a network or a library does lasts longer than its deadline."""

import threading

import pytest

from certeasy.ca.adcs.deadline import Bounded, Deadline, Late
from certeasy.ca.adcs.errors import AnswerLost, NotReached, hexadecimal


def test_a_deadline_that_has_passed_says_so():
    with pytest.raises(Late, match="within 0 s"):
        Deadline(0).remaining()


def test_a_part_never_lasts_longer_than_the_whole():
    whole = Deadline(30)
    assert whole.within(60) is whole
    assert whole.within(1).remaining() <= 1


def test_what_ends_in_time_returns_and_raises_as_if_it_had_been_called():
    bounded = Bounded()
    assert bounded.run(Deadline(30), lambda: 7) == 7
    with pytest.raises(NotReached, match=r"connect: refused \(0x0000006f\)") as refused:
        bounded.run(Deadline(30), _refused)
    assert (refused.value.layer, refused.value.code) == ("connect", 111)


def _refused():
    raise NotReached("connect", "refused", 111)


def test_what_hangs_is_left_behind_and_counted_until_it_ends():
    bounded = Bounded()
    end, ended = threading.Event(), threading.Event()
    with pytest.raises(Late, match=r"within 0\.05 s"):
        bounded.run(Deadline(0.05), lambda: (end.wait(), ended.set()))
    assert bounded.left_behind == 1
    end.set()
    ended.wait()
    for thread in threading.enumerate():
        if thread.name == "adcs-call":
            thread.join()
    assert bounded.left_behind == 0


def test_nothing_is_begun_while_too_much_hangs():
    bounded = Bounded(left_behind=2)
    end = threading.Event()
    for _ in range(2):
        with pytest.raises(Late):
            bounded.run(Deadline(0.01), end.wait)
    begun = []
    with pytest.raises(Late, match="2 earlier calls still hang"):
        bounded.run(Deadline(30), lambda: begun.append(1))
    assert not begun
    end.set()


def test_a_code_is_written_one_way():
    assert hexadecimal(-2146877422) == hexadecimal(0x80094012) == "0x80094012"
    assert str(AnswerLost("rpc", "the line was cut")) == "rpc: the line was cut"
