"""The names of a journal's files: one that is written, and closed segments that never change again.

Beside the active file `audit.log` stand `audit.<first>-<last>.log`, named after the `seq` of their
first and their last line. A number is spelled in one way only, without leading zeros.
"""

import re
from pathlib import Path
from typing import NamedTuple

ACTIVE = "audit.log"
CLOSING = "journal.segment-closed"  # the type of a closed segment's last line
_BOUNDS = re.compile(r"(.+)\.([1-9]\d{0,18})-([1-9]\d{0,18})((?:\.[^.]*)?)")


class Bounds(NamedTuple):
    """What a closed segment's name says: the `seq` of its first and of its last line."""

    first: int
    last: int


def closed_path(active: Path, first: int, last: int) -> Path:
    """Return where the active file goes when it is closed with these lines in it."""
    return active.with_name(f"{active.stem}.{first}-{last}{active.suffix}")


def bounds_of(name: str) -> Bounds | None:
    """Return what a file's name says of its lines; None where it is no closed segment's name."""
    found = _BOUNDS.fullmatch(Path(name).name)
    return None if found is None else Bounds(int(found[2]), int(found[3]))


def closed_segments(active: Path) -> list[Path]:
    """Return the closed segments that stand beside an active file, in the order of their lines.

    Raises OSError where the folder cannot be read.
    """
    if not active.parent.is_dir():
        return []
    found = [
        (bounds, file)
        for file in active.parent.iterdir()
        if (bounds := bounds_of(file.name))
        and file == closed_path(active, *bounds)
        and file.is_file()
    ]
    return [file for _bounds, file in sorted(found)]
