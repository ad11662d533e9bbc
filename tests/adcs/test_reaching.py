"""What goes wrong on the way to a CA is told with what it means and what to do."""

from pathlib import Path

import pytest
from impacket.nt_errors import ERROR_MESSAGES as STATUSES

from certeasy.ca.adcs import reaching
from certeasy.ca.adcs.errors import NotReached
from certeasy.ca.adcs.reaching import LAYERS, OBSTACLES, told

PAGE = Path("docs/adcs-errors.md")


@pytest.mark.parametrize(
    "table", [reaching.table(), reaching.tickets_table()], ids=["codes", "tickets"]
)
def test_the_documents_have_the_whole_table(table):
    assert table in PAGE.read_text("utf-8")


@pytest.mark.parametrize("code", OBSTACLES, ids=hex)
def test_every_code_has_a_cause_and_a_remedy_in_a_line(code):
    known = OBSTACLES[code]
    for sentence in (known.cause, known.remedy):
        assert sentence.isprintable()
        assert 5 < len(sentence) < 200
        assert not sentence.endswith(".")
    error = NotReached("rpc", "the server's RPC runtime refused", code)
    assert told(error) == (
        f"rpc: the server's RPC runtime refused (0x{code:08x}); {known.symbol}: {known.cause};"
        f" {known.remedy}"
    )


@pytest.mark.parametrize("code", sorted(OBSTACLES.keys() & STATUSES.keys() - {5}), ids=hex)
def test_names_are_those_that_others_use(code):
    assert OBSTACLES[code].symbol == STATUSES[code][0]


@pytest.mark.parametrize("layer", LAYERS)
def test_without_a_code_the_layer_tells_where_to_look(layer):
    for code in (None, 0x7FFF0001):
        assert told(NotReached(layer, "something", code)).endswith(f"; {LAYERS[layer]}")


def test_an_error_of_the_operating_system_is_none_of_windows():
    """Number 5 is EIO here, and "access denied" there."""
    assert "ERROR_ACCESS_DENIED" not in told(NotReached("connect", "Input/output error", 5))


def test_a_layer_that_nobody_knows_is_told_as_it_is():
    assert told(NotReached("elsewhere", "something")) == "elsewhere: something"
