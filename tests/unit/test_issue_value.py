"""The form that CAA records and records of dns-persist-01 share: RFC 8659 section 4.2."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certeasy.validate.issue_value import LONGEST, IssueValue, parse

LETTERS = string.ascii_letters + string.digits
labels = st.text(LETTERS, min_size=1, max_size=8)
values = st.text(
    [chr(code) for code in range(0x21, 0x7F) if chr(code) != ";"], min_size=0, max_size=12
)
space = st.text(" \t", max_size=2)


@given(
    issuer=st.lists(labels, max_size=3).map(".".join),
    parameters=st.lists(st.tuples(labels, values), max_size=4),
    gaps=st.lists(space, min_size=10, max_size=10),
)
def test_what_is_well_formed_is_understood_with_any_white_space(
    issuer: str, parameters: list[tuple[str, str]], gaps: list[str]
):
    text = gaps[0] + issuer + gaps[1]
    for n, (tag, value) in enumerate(parameters):
        text += f";{gaps[2 + 2 * n]}{tag}={value}{gaps[3 + 2 * n]}"
    expected = tuple((tag.lower(), value) for tag, value in parameters)
    assert parse(text.encode()) == IssueValue(issuer.lower(), expected)


@given(st.binary(max_size=200))
def test_any_bytes_are_understood_or_refused(value: bytes):
    try:
        found = parse(value)
    except ValueError:
        return
    assert found.issuer == found.issuer.lower()


@pytest.mark.parametrize(
    "value",
    [
        b"ca .test",
        b"ca_test",
        b"-ca.test",
        b"ca..test",
        b".",
        b"ca.test; tag",
        b"ca.test; =value",
        b"ca.test; tag=a b",
        b"ca.test; tag=\x7f",
        "ca.test; tag=\u00e9".encode(),
        b"ca.test\n",
        b"a" * (LONGEST + 1),
    ],
)
def test_what_is_not_well_formed_is_refused(value: bytes):
    with pytest.raises(ValueError, match=r"^(is|has|begins) "):
        parse(value)


def test_every_value_of_a_tag_is_told():
    found = parse(b"ca.test.; a=1; B=2; A=3;;")
    assert (found.issuer, found.given("a"), found.given("b")) == ("ca.test", ("1", "3"), ("2",))
