"""The highest request number of each authority that the log knows and that can be believed.

A submission is told what it was then: if its answer is lost, its own number is above that. So one
that is too high hides everything, and for good, unless it is forgotten again. Therefore:

1. Of the numbers that an authority told last, `KEPT` are remembered; what was before counts no
   more. An authority that was restored from a backup, and goes on with lower ones, is followed.
2. A number that is more than `FAR` above every other one of these is not believed before it has
   company.
"""

import re
from itertools import pairwise

import msgspec

from projections.tables import Column, Rows, Table

KEPT = 8
FAR = 100_000
_NUMBER = re.compile(r"(?s)(.*?)(\d{1,30})")


class Mark(msgspec.Struct, frozen=True):
    """An authority, the highest of its request numbers, and those that it told last.

    They are as the authority writes them.
    """

    authority: str
    request_id: str
    recent: tuple[str, ...]


MARKS = Table("authority_marks", Mark, [Column("authority")], key=("authority",))


def seen(rows: Rows, authority: str, request_id: str, before: str = "") -> None:
    """Take notice of a request number; empty: there is none.

    `before` is what was known of the same request already: a number that is told again, when
    somebody has approved the request after days, is no news of what the authority is at.

    A number is higher by the digits at its end. Where what stands before them is another than
    before, the authority began to count anew, and the later one counts.
    """
    mark = rows.get(MARKS, authority)
    known = () if mark is None else mark.recent
    if not request_id or request_id == before or request_id in known:
        return
    kind = _split(request_id)[0]
    alike = (each for each in known if kind is not None and _split(each)[0] == kind)
    recent = (*alike, request_id)[-KEPT:]
    rows.put(MARKS, Mark(authority, _highest(recent), recent))


def _highest(recent: tuple[str, ...]) -> str:
    """Return the highest that another one is near to, or the lowest."""
    falling = sorted(recent, key=_digits, reverse=True)
    for one, below in pairwise(falling):
        if _digits(one) - _digits(below) <= FAR:
            return one
    return falling[-1]


def _digits(request_id: str) -> int:
    return _split(request_id)[1]


def _split(request_id: str) -> tuple[str | None, int]:
    """Return what stands before a number's last digits, and these; None: it has none."""
    found = _NUMBER.fullmatch(request_id)
    return (None, 0) if found is None else (found[1], int(found[2]))
