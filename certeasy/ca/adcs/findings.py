"""What a look at an authority finds: one line per step, and how it is written down."""

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

Status = Literal["ok", "warn", "fail", "skipped"]
"""`skipped`: it could not be looked at, because of what the text says."""
LONGEST = 200


class Finding(Struct, frozen=True, omit_defaults=True):
    """One step: what was seen, and, where something is wrong, what is to be done about it.

    `code` is the number (`0x80094012`) that Windows or the CA gave, or will give to a request.
    `about` is the template, where there may be several.
    """

    step: str
    status: Status
    text: str
    remedy: str = ""
    code: str = ""
    about: str = ""


def shown(value: bytes | str, length: int = LONGEST) -> str:
    """Return what a directory or a CA said, safe for a terminal: printable, and of bounded length.

    An attribute may be written by others than administrators, and could hold control sequences.
    """
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    cut = text[:length]
    safe = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in cut)
    return safe if len(text) <= length else safe + "..."


def listed(names: Iterable[str], most: int = 8) -> str:
    """Return names as a list of bounded length, for a sentence."""
    every = list(names)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(shown(name, 64) for name in every[:most]) + more
