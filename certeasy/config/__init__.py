"""From config.yml to settings, or to everything that is wrong with it.

    settings = load(Path("config.yml"))     # or ConfigurationError, with every mistake at once

`serve` and `validate` call the same function, and it does nothing but read the one file: nothing
is created, resolved or connected to. What is allowed but notable comes from `warnings`.
"""

from pathlib import Path

from msgspec.structs import replace
from yaml.nodes import MappingNode

from certeasy.config import checks, document, reading
from certeasy.config.advice import warnings
from certeasy.config.mistakes import ConfigurationError, Mistake, Page
from certeasy.config.redaction import fingerprint, redacted
from certeasy.config.reloading import differing, taken_over
from certeasy.settings import Settings

__all__ = [
    "ConfigurationError",
    "Mistake",
    "Page",
    "differing",
    "fingerprint",
    "load",
    "read_page",
    "read_text",
    "redacted",
    "taken_over",
    "warnings",
]


def load(path: Path) -> Settings:
    """Return the settings of a file: complete, paths absolute, names canonical.

    ConfigurationError: the file cannot be read, or at least one thing in it is wrong.
    """
    settings, page = read_page(path)
    page.raise_if_wrong()
    return settings


def read_page(path: Path) -> tuple[Settings, Page]:
    """Return as much of the settings as could be read, and the page with the mistakes, for whoever
    finds more wrong with them: `page.raise_if_wrong` comes last, and `page.sound` tells where.

    ConfigurationError: the file as a whole cannot be read.
    """
    return _read(document.read(path), path)


def read_text(text: str, path: Path) -> tuple[Settings, Page]:
    """Return the same of a text, as if it stood in the file already."""
    return _read(document.parse(text, path), path)


def _read(root: MappingNode, path: Path) -> tuple[Settings, Page]:
    page = Page(path)
    place = path.absolute()
    settings = reading.read(root, page, place.parent)
    settings = checks.completed(replace(settings, source=place))
    checks.check(settings, page)
    return settings, page
