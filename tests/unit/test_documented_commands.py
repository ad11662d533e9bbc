"""Every command of ours that the documents have, on a line of its own or in a sentence, can be
typed as it stands."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.make.pages import DOCS
from tests.unit.test_advised_commands import missing

PAGES = [*sorted(DOCS.rglob("*.md")), DOCS.parent / "README.md"]
LINE = re.compile(r"^(?:    )?(?:sudo )?(?:\S*/)?certeasy ([a-z-]+ .*)$", re.MULTILINE)
IN_A_SENTENCE = re.compile(r"`(?:\S*/)?certeasy ([a-z-]+ [^`]+)`")
OPTIONAL = re.compile(r"\[(--?[^\]]*)\]")
"""As a synopsis has it; what is in brackets may be typed, too."""
ENDS = r"  #| > | >> | \| |; "


def typed(page: Path) -> Iterator[str]:
    """Yield each command of a page, from the word behind `certeasy` on."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for found in [*LINE.findall(text), *IN_A_SENTENCE.findall(text)]:
        command = OPTIONAL.sub(r"\1", re.split(ENDS, found, maxsplit=1)[0])
        if " -" in command:
            yield command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS.parent).as_posix())
def test_what_the_documents_say_can_be_typed(page: Path):
    for command in typed(page):
        told = [] if " -f" in command or "--config" in command else ["config_file"]
        assert missing(shlex.split(command)) in ([], told), command


def test_commands_are_found_wherever_they_stand():
    found = {command for page in PAGES for command in typed(page)}
    assert "init --script docs/examples/init-lab.yml -o lab/config.yml" in found  # a line
    assert "audit show name web.corp.example -f config.yml" in found  # in a sentence
    assert "doctor -f config.yml --json" in found  # a synopsis
    assert "eab create -f config.yml --expires 7d --max-uses 1" in " ".join(found)  # two lines
