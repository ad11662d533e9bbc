"""What stands on a page of the documents, to be typed as it stands."""

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
CLIENTS = DOCS / "clients"
_BLOCK = re.compile(r'^```(\w+)(?: title="([^"]*)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """Return language, title and text of each block of code of a page."""
    found: list[tuple[str, str, str]] = _BLOCK.findall(page.read_text(encoding="utf-8"))
    return found


def commands(page: Path) -> str:
    """Return all that a page says is to be typed into a shell, in its order."""
    return "".join(text for language, _, text in blocks(page) if language == "sh")


def titled(page: Path, title: str) -> str:
    """Return the block of a page that has this title."""
    [text] = [text for _, each, text in blocks(page) if each == title]
    return text


def put_in_place(text: str, here: dict[str, str]) -> str:
    """Return the text with each of the page's words replaced by what it is here.

    Raises AssertionError for a word that the text does not have: the page was changed.
    """
    for word, found in here.items():
        assert word in text, f"{word} is not there any more: {text}"
        text = text.replace(word, found)
    return text
