"""Bytes that were written by hand from the specifications: `tests/adcs/golden/*.hex`.

A line is hex digits in groups, two spaces, and what they are; or a comment after `#`.
"""

import re
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "adcs" / "golden"
_GROUPS = re.compile(r"^(?:[0-9a-f]{2})+(?: (?:[0-9a-f]{2})+)*(?=  |$)")


def golden(name: str) -> bytes:
    """Return the bytes of a file."""
    found = b""
    for line in (FOLDER / f"{name}.hex").read_text().splitlines():
        match = _GROUPS.match(line)
        found += bytes.fromhex(match.group()) if match else b""
    return found
