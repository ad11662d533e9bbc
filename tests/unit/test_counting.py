"""Numbers in sentences are as people say them."""

from events.counting import counted, times


def test_one_is_not_said_as_many():
    assert [counted(n, "line") for n in (0, 1, 2)] == ["0 lines", "1 line", "2 lines"]
    assert [counted(n, "entry", "entries") for n in (1, 2)] == ["1 entry", "2 entries"]
    assert [times(n) for n in (1, 2)] == ["once", "2 times"]
