"""Until when an account is a managed server: the seats that a license counts.

A seat is an account with a certificate that is neither expired nor revoked, or with an order that
was finalized and has not ended. `SEATS` tells it with one look-up, and how many seats are taken is
a range of its index: those whose `until` lies ahead.

A certificate that is revoked may be the one that lasted longest, of thousands that the account has;
so the next one must be at hand. `HELD` keeps them as a heap, by pointers from row to row: every
certificate lasts at least as long as the two that hang below it. A new one mostly outlasts all of
its account, and becomes the top with one row; taking the top away touches as many rows as there are
digits in the number of certificates, at most (it is a leftist heap, and only its short side is
gone down). One that is revoked further down is marked, and dropped when it gets to the top; one
that leaves the tables has expired, as all has that hangs below it: where a pointer leads nowhere,
nothing in force is missed.
"""

import msgspec
from msgspec.structs import replace

from projections.tables import Column, Rows, Table

ENDLESS = "9999-12-31T23:59:59Z"


class Seat(msgspec.Struct, frozen=True, omit_defaults=True):
    """An account that is a seat until `until` (RFC 3339 in UTC), at which it is none any more.

    `until` is `ENDLESS` while orders of it are being issued (`open` of them), else that of its
    certificate `top`, the one that lasts longest and is not revoked: `not_after`. Both are empty if
    there is none. What has expired is known by the clock alone: such rows are there, too.
    """

    account_id: str
    until: str
    open: int = 0
    top: str = ""
    not_after: str = ""


class Held(msgspec.Struct, frozen=True, omit_defaults=True):
    """A certificate of an account, by its order; `one` and `other` do not outlast it.

    `rank` is the number of certificates on the way down from it by `other`, itself among them, and
    `one` has no lower one than `other`.
    """

    id: str
    not_after: str
    rank: int = 1
    one: str = ""
    other: str = ""
    revoked: bool = False


SEATS = Table(
    "seats",
    Seat,
    [Column("account_id", size=26), Column("until", size=32)],
    key=("account_id",),
    indexes=[("until",)],
)

HELD = Table("held_certificates", Held, [Column("id", size=26)], key=("id",))


def opened(rows: Rows, account_id: str) -> None:
    """An order of the account was finalized."""
    seat = _seat(rows, account_id)
    _put(rows, replace(seat, open=seat.open + 1))


def closed(rows: Rows, account_id: str) -> None:
    """A finalized order of the account has ended."""
    seat = _seat(rows, account_id)
    _put(rows, replace(seat, open=seat.open - 1))


def issued(rows: Rows, account_id: str, id_: str, not_after: str, at: str) -> None:
    """The account has a certificate more, from `at` on; what ended before then is let go."""
    seat = _seat(rows, account_id)
    rows.put(HELD, Held(id_, not_after))
    top = id_ if seat.not_after < at else _melded(rows, seat.top, id_)
    _put(rows, _with_top(rows, seat, top))


def revoked(rows: Rows, account_id: str, id_: str) -> None:
    """A certificate of the account is in force no more."""
    held = rows.get(HELD, id_)
    if held is None:
        return
    rows.put(HELD, replace(held, revoked=True))
    seat = _seat(rows, account_id)
    top = seat.top
    while (held := _held(rows, top)) is not None and held.revoked:
        rows.delete(HELD, top)
        top = _melded(rows, held.one, held.other)
    if top != seat.top:
        _put(rows, _with_top(rows, seat, top))


def left(rows: Rows, account_id: str, id_: str) -> None:
    """A certificate that expired leaves the tables; with the one that lasted longest, the seat."""
    rows.delete(HELD, id_)
    seat = rows.get(SEATS, account_id)
    if seat is not None and seat.top == id_:
        _put(rows, replace(seat, top="", not_after=""))


def _seat(rows: Rows, account_id: str) -> Seat:
    return rows.get(SEATS, account_id) or Seat(account_id, "")


def _put(rows: Rows, seat: Seat) -> None:
    if seat.open or seat.top:
        until = ENDLESS if seat.open else seat.not_after
        rows.put(SEATS, replace(seat, until=until))
    else:
        rows.delete(SEATS, seat.account_id)


def _with_top(rows: Rows, seat: Seat, top: str) -> Seat:
    held = _held(rows, top)
    if held is None:
        return replace(seat, top="", not_after="")
    return replace(seat, top=top, not_after=held.not_after)


def _held(rows: Rows, id_: str) -> Held | None:
    return rows.get(HELD, id_) if id_ else None


def _melded(rows: Rows, one: str, other: str) -> str:
    """Make one heap of two, and return its top; "": both are empty."""
    upper, lower = _held(rows, one), _held(rows, other)
    if upper is None or lower is None:
        found = upper or lower
        return found.id if found is not None else ""
    if upper.not_after < lower.not_after:
        upper, lower = lower, upper
    sides = [upper.one, _melded(rows, upper.other, lower.id)]
    sides.sort(key=lambda side: _rank(rows, side), reverse=True)
    rows.put(HELD, replace(upper, one=sides[0], other=sides[1], rank=_rank(rows, sides[1]) + 1))
    return upper.id


def _rank(rows: Rows, id_: str) -> int:
    held = _held(rows, id_)
    return held.rank if held is not None else 0
