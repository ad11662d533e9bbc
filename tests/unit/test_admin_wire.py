"""What crosses the local socket: whatever it is, it is an instruction or it is refused."""

from contextlib import suppress
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certeasy.admin import wire
from certeasy.admin.desk import InstructionRefused
from certeasy.admin.eab import MOST_RULES, CreateEab
from certeasy.admin.instructions import Instruction
from certeasy.admin.known import KNOWN

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=20,
)


def tag_of(kind: type[Instruction]) -> str:
    return str(kind.__struct_config__.tag)


def test_each_instruction_has_a_name_of_its_own_and_says_what_comes_back():
    assert len({tag_of(kind) for kind in KNOWN}) == len(KNOWN)
    for kind in KNOWN:
        assert kind.__name__ != tag_of(kind)
        assert issubclass(kind.result, msgspec.Struct)
        assert kind.patience > 0


@given(st.data())
def test_an_instruction_is_understood_as_it_was_given(data: st.DataObject):
    kind = data.draw(st.sampled_from(KNOWN))
    instruction = data.draw(st.from_type(kind)) if _is_plain(kind) else an_example()
    assert wire.understood(wire.question(instruction)) == instruction


def _is_plain(kind: type[Instruction]) -> bool:
    return not kind.__struct_fields__


def an_example() -> CreateEab:
    return CreateEab(
        valid=timedelta(days=7),
        max_uses=3,
        policy="p",
        profile="short",
        allow=(".corp.test/1", "=www.corp.test"),
        challenges=("http-01",),
        prevalidated=True,
        comment="why",
    )


@given(st.binary(max_size=200) | JSON.map(msgspec.json.encode))
def test_any_bytes_are_an_instruction_or_refused(message: bytes):
    with suppress(InstructionRefused):
        assert isinstance(wire.understood(message), KNOWN)


@given(st.sampled_from(KNOWN).map(tag_of), st.dictionaries(st.text(max_size=10), JSON, max_size=4))
def test_any_members_are_an_instruction_s_or_refused(tag: str, members: dict[str, object]):
    inner = msgspec.json.encode(members | {"do": tag})
    message = msgspec.json.encode(wire.Asked(wire.PROTOCOL, "0", msgspec.Raw(inner)))
    with suppress(InstructionRefused):
        assert isinstance(wire.understood(message), KNOWN)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_uses": -1},
        {"max_uses": 10_001},
        {"allow": ["=a.test"] * (MOST_RULES + 1)},
        {"allow": ["=" + "a" * 300]},
        {"comment": "x" * 201},
        {"valid": "P"},
        {"hmac_key": "mine"},
    ],
)
def test_an_instruction_is_bounded_where_it_comes_in(wrong: dict[str, object]):
    inner = msgspec.json.encode({"do": "eab-create"} | wrong)
    message = msgspec.json.encode(wire.Asked(wire.PROTOCOL, "0", msgspec.Raw(inner)))
    with pytest.raises(InstructionRefused):
        wire.understood(message)


@given(st.binary(max_size=100) | JSON.map(msgspec.json.encode))
def test_any_answer_is_a_result_or_a_refusal(message: bytes):
    instruction = an_example()
    with suppress(InstructionRefused):
        assert isinstance(wire.result_of(instruction, message), instruction.result)
