"""What the documents promise is tested: each test they name is there, no rule is without one."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

PITFALLS = Path("docs/acme-pitfalls.md")
DIVERGENCES = Path("docs/rfc8555-divergences.md")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
RULE = re.compile(r"^\| (\d+) \| .* \| `tests/", re.MULTILINE)


@cache
def names_in(path: str) -> frozenset[str]:
    """Return the names of the tests of a file."""
    tree = ast.parse(Path(path).read_text())
    return frozenset(n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef))


@pytest.mark.parametrize("page", [PITFALLS, DIVERGENCES], ids=lambda page: page.stem)
def test_every_test_that_a_page_names_is_there(page: Path) -> None:
    named = NAMED.findall(page.read_text())
    assert named
    gone = [f"{path}::{test}" for path, test in named if test not in names_in(path)]
    assert gone == []


def test_each_of_the_fifty_rules_has_a_test() -> None:
    rules = [int(number) for number in RULE.findall(PITFALLS.read_text())]
    assert rules == list(range(1, 51))


def test_every_difference_has_a_section_and_a_reason() -> None:
    rows = [line for line in DIVERGENCES.read_text().splitlines() if "`tests/" in line]
    assert len(rows) > 20
    for row in rows:
        section, what, why, _test = row.strip("| ").split(" | ")
        assert re.match(r"(RFC )?\d+[ .]\d", section), row
        assert what.endswith("."), row
        assert why.endswith("."), row
