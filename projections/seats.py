"""Until when an account is a managed server: the seats that a license counts.

A seat is an account with a certificate that is neither expired nor revoked, or with an order that
was finalized and has not ended. `SEATS` has a row for each account that is one, or was: one look-up
tells, and how many seats are taken is a range of its index, those whose `until` lies ahead.

As long as nothing is revoked, `until` is the latest end that any certificate had so far. But when
the one that lasts longest is revoked, the next one has to be found, of thousands maybe; and a fold
searches and sorts nothing, it gets and puts rows by their keys. So the certificates of an account
hang together, a row each in `HELD`, and its seat names the top:

    seat.top: C, ends in May
              |-- one: A, ends in March
              |        '-- one: D, ends in January
              '-- other: B, ends in April

This is a heap, of the kind that is called leftist. What holds, and why:

* A certificate lasts at least as long as what hangs below it. So the top is the one that lasts
  longest, and `until` is its end.
* Two heaps become one (`_melded`) by going down from both tops, on the side of `other` alone: the
  one that lasts longer stays above. That way is short: `rank` is how many rows it has, and of the
  two below a row, the one with the higher rank is `one`. A row of rank 8 has 255 rows below and
  with it, at least. So what is read and written grows as the digits of the number of certificates.
* One that is issued is a heap by itself, and is melded with the others. It mostly outlasts them all
  and becomes the top, with the former top below: one row is written.
* One that is revoked is marked, and goes when it is the top: then what hung on its two sides is
  melded, until the top is in force. Nobody has to find the row that one in the middle hangs from.
* One that expires does nothing: no event tells. Where the top has expired, all has, and the next
  one that is issued begins anew. Retention takes expired rows away wherever they hang; then a
  name leads nowhere, which counts as nothing, and nothing in force is missed: what hung below has
  expired as well.
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
