import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.nesting import deeper_than

# Texts that are full of what could be mistaken for structure.
texts = st.text('[]{}",:\\ab\n', max_size=8)
values = st.recursive(
    texts | st.integers() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
)


def depth(value: object) -> int:
    match value:
        case list():
            return 1 + max(map(depth, value), default=0)
        case dict():
            return 1 + max(map(depth, value.values()), default=0)
        case _:
            return 0


@given(values)
def test_the_depth_is_that_of_the_value_whatever_its_texts_say(value):
    json, levels = msgspec.json.encode(value), depth(value)
    assert not deeper_than(levels, json)
    assert levels == 0 or deeper_than(levels - 1, json)


@given(st.binary(max_size=60) | st.text('[]{}"\\', max_size=60).map(str.encode))
def test_what_is_no_json_raises_nothing(rubbish):
    assert deeper_than(3, rubbish) in (False, True)


@pytest.mark.parametrize("opening", [b"[", b'{"x":', b'{"x":['])
def test_what_is_never_closed_is_as_deep_as_it_was_opened(opening):
    assert not deeper_than(32 * opening.count(b"[") + 32 * opening.count(b"{"), opening * 32)
    assert deeper_than(31, opening * 32)


@pytest.mark.parametrize("text", [b'"[[[[', b'"\\"[[[[', b'"\\\\\\"[[[[', b'"[[[[\\'])
def test_brackets_in_a_text_that_never_ends_count_for_nothing(text):
    assert not deeper_than(3, text)


@pytest.mark.parametrize("text", [b'"\\\\"[[[[', b'""[[[[', b'"]]]]"[[[['])
def test_brackets_after_a_text_count(text):
    assert deeper_than(3, text)
    assert not deeper_than(4, text)
