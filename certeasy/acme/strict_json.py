"""Reading JSON that strangers send: every way in which it can be wrong is one refusal.

Types and bounds are msgspec's; what msgspec lets pass is refused here: the same member twice (two
readers could each believe another one), NUL in a text (some databases cannot hold it), nesting
deep enough to hurt.
"""

import json  # noqa: TID251 - the one reader that can tell a member given twice; nothing is written
import re
from typing import TypeVar

import msgspec

from certeasy.decide.problems import Problem, Refused
from events.nesting import deeper_than

DEEPEST = 32
"""Objects and lists in each other; RFC 8555 needs five."""

T = TypeVar("T")


def read(decoder: msgspec.json.Decoder[T], raw: bytes, what: str) -> T:
    """Decode `raw`; `what` names it in the refusal ("the payload").

    Raises Refused (malformed), with the place and the reason.
    """
    if deeper_than(DEEPEST, raw):
        raise Refused(Problem.MALFORMED, f"{what} is nested too deeply")
    try:
        value = decoder.decode(raw)
        _SCANNER.decode(raw.decode())
    except _Twice as twice:
        raise Refused(Problem.MALFORMED, f"{what} has a member twice: {twice}") from None
    except msgspec.ValidationError as error:
        raise Refused(Problem.MALFORMED, f"{what} is not as it must be: {error}") from None
    except ValueError as error:
        raise Refused(Problem.MALFORMED, f"{what} is not JSON: {error}") from None
    if _NUL.search(raw):
        raise Refused(Problem.MALFORMED, f"{what} has a NUL character in a text")
    return value


def shown(text: str, length: int = 80) -> str:
    """Return foreign text fit for a message: quoted, ASCII, no control characters, cut."""
    return ascii(text if len(text) <= length else text[:length] + "...")


class _Twice(ValueError):
    pass


def _members(pairs: list[tuple[str, object]]) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise _Twice(shown(name))
        seen.add(name)


# Escaped, that is: a bare one is no JSON. Behind a backslash of its own it is six characters.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")

# Numbers stay text: thousands of digits would take long to become an int, and nobody asked.
_SCANNER = json.JSONDecoder(object_pairs_hook=_members, parse_int=len, parse_float=len)
