"""docs/troubleshooting.md quotes what the server says, word by word."""

import re
from pathlib import Path

import pytest

from certeasy.decide.problems import Problem

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
ROWS = [line.split(" | ") for line in PAGE.splitlines() if line.startswith("| `")]
MESSAGES = [row[1] if len(row) == 3 else row[0].removeprefix("| ") for row in ROWS]
QUOTED = [cell.strip("`") for cell in MESSAGES if cell != "any"]
TEXTS = re.compile(r'"\s*\n\s*f?"')
"""Between two parts of one text of the code."""
SAID = "\n".join(
    TEXTS.sub("", path.read_text(encoding="utf-8")) for path in (ROOT / "certeasy").rglob("*.py")
)


@pytest.mark.parametrize("message", QUOTED)
def test_each_message_is_one_that_the_server_says(message: str) -> None:
    parts = [part.strip(" ;") for part in message.split("…") if part.strip(" :;")]
    assert parts
    assert [part for part in parts if part not in SAID] == []


def test_each_type_is_one_that_the_server_has() -> None:
    known = {problem.value[0] for problem in Problem}
    types = {name for row in ROWS if len(row) == 3 for name in re.findall(r"`(\w+)`", row[0])}
    assert types
    assert types <= known
