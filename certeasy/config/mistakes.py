"""What is wrong with a configuration file: every mistake at once, each on one line.

A message names the file, the line, the key, the value as it stands there and what would be right.
Values are shown as they were written, cut short, and never where they may hold a secret.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import msgspec

MOST = 100
"""So many mistakes are told; a file with more is no configuration."""

_SHOWN = 60
_SECRET_KEY = re.compile(
    r"(password|secret|token|dsn|private|hmac|webhook\.url)(\[\d+\])?$", re.IGNORECASE
)
_SECRET_TEXT = re.compile(r"-----BEGIN|://[^/\s]*@|password=|pwd=|secret=|token=", re.IGNORECASE)


class Mistake(msgspec.Struct, frozen=True):
    """One thing that is wrong. `line` counts from 1; 0 and an empty `key` stand for all of it."""

    file: Path
    line: int
    key: str
    what: str

    def __str__(self) -> str:
        """Return `config.yml:12: server.listen: "abc" is not host:port`, always one line."""
        place = f"{self.file}:{self.line}" if self.line else str(self.file)
        return one_line(": ".join(part for part in (place, self.key, self.what) if part))


class ConfigurationError(Exception):
    """The file is refused; `mistakes` in the order of its lines, at least one."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(sorted(mistakes, key=lambda mistake: mistake.line))
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))


class Page:
    """The file that is being read: where its keys stand, and what was found wrong so far."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.mistakes: list[Mistake] = []
        self._lines: dict[str, int] = {}

    def place(self, key: str, line: int) -> None:
        """Remember the line of a key."""
        self._lines[key] = line

    def line(self, key: str) -> int:
        """Return the line of a key, or of the section it would stand in."""
        while key and key not in self._lines:
            key = key[: max(key.rfind("[" if key.endswith("]") else "."), 0)]
        return self._lines.get(key, 1)

    def has(self, key: str) -> bool:
        """Tell whether the file itself sets the key."""
        return key in self._lines

    def add(self, key: str, what: str, *, line: int | None = None) -> None:
        """Note a mistake. ConfigurationError: there are too many to go on."""
        found = Mistake(self.file, self.line(key) if line is None else line, key, what)
        self.mistakes.append(found)
        if len(self.mistakes) >= MOST:
            more = Mistake(self.file, found.line, "", "too many mistakes; the rest was not read")
            raise ConfigurationError([*self.mistakes, more])

    def sound(self, *keys: str) -> bool:
        """Tell whether nothing was found wrong in these sections so far."""
        return not any(
            mistake.key == key or mistake.key.startswith((f"{key}.", f"{key}["))
            for mistake in self.mistakes
            for key in keys
        )

    def raise_if_wrong(self) -> None:
        """ConfigurationError: something was found wrong."""
        if self.mistakes:
            raise ConfigurationError(self.mistakes)


def refuse(file: Path, line: int, what: str) -> NoReturn:
    """ConfigurationError: the file as a whole cannot be read."""
    raise ConfigurationError([Mistake(file, line, "", what)])


def one_line(text: str) -> str:
    """Return the text with everything that is not printable as an escape."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def quoted(text: str, key: str = "") -> str:
    """Return a value as messages show it: in quotes, cut short; a likely secret not at all."""
    if _SECRET_KEY.search(key) or _SECRET_TEXT.search(text):
        return "the value (not shown here)"
    cut = text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
    return f'"{one_line(cut)}"'
