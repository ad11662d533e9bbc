"""What a CA's codes mean is a table, and the documents have it."""

import re
from pathlib import Path

import pytest
from impacket.hresult_errors import ERROR_MESSAGES

from certeasy.ca.adcs import codes
from certeasy.ca.adcs.codes import MEANINGS, meaning, told

PAGE = Path("docs/adcs-errors.md")


def test_the_documents_have_the_whole_table() -> None:
    assert codes.table() in PAGE.read_text("utf-8")


@pytest.mark.parametrize("code", MEANINGS, ids=hex)
def test_every_code_has_a_name_a_cause_and_a_remedy_in_a_line(code: int) -> None:
    means = MEANINGS[code]
    assert code >> 31, "an HRESULT that is no failure"
    assert re.fullmatch(r"[A-Z0-9]+_[A-Z0-9_]+", means.symbol)
    for sentence in (means.cause, means.remedy):
        assert sentence.isprintable()
        assert 5 < len(sentence) < 200
        assert not sentence.endswith(".")
    assert told(code) == f"{means.symbol} (0x{code:08x}): {means.cause}; {means.remedy}"


@pytest.mark.parametrize("code", sorted(MEANINGS.keys() & ERROR_MESSAGES.keys()), ids=hex)
def test_names_are_those_that_others_use(code: int) -> None:
    assert MEANINGS[code].symbol == ERROR_MESSAGES[code][0]


def test_only_what_is_the_client_s_fault_is_told_as_such() -> None:
    for means in MEANINGS.values():
        assert (means.problem == "serverInternal") == (means.kind != "csr")


@pytest.mark.parametrize("code", [0x80094ABC, 0x1, 0xFFFFFFFF])
def test_a_code_that_nobody_knows_is_told_by_its_number(code: int) -> None:
    assert meaning(code).kind == "service"
    assert told(code).startswith(f"0x{code:08x}: the CA gave a code that is not in the table; ")


def test_a_negative_number_is_the_same_code() -> None:
    assert meaning(0x80094012 - (1 << 32)) is MEANINGS[0x80094012]
