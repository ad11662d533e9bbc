"""The highest request number of each authority that the log knows.

A submission is told what it was then: if its answer is lost, its own number is above that.
"""

import re

import msgspec

from projections.tables import Column, Rows, Table

_NUMBER = re.compile(r"(?s)(.*?)(\d{1,30})")


class Mark(msgspec.Struct, frozen=True):
    """An authority, and the highest of its request numbers, as the authority writes it."""

    authority: str
    request_id: str


MARKS = Table("authority_marks", Mark, [Column("authority")], key=("authority",))


def seen(rows: Rows, authority: str, request_id: str) -> None:
    """Take notice of a request number; empty: there is none.

    A number is higher by the digits at its end. Where what stands before them is another than
    before, the authority began to count anew, and the later one counts.
    """
    if not request_id:
        return
    known = rows.get(MARKS, authority)
    if known is None or _is_later(request_id, known.request_id):
        rows.put(MARKS, Mark(authority, request_id))


def _is_later(request_id: str, known: str) -> bool:
    new, old = _NUMBER.fullmatch(request_id), _NUMBER.fullmatch(known)
    if new is None or old is None or new[1] != old[1]:
        return request_id != known
    return int(new[2]) > int(old[2])
