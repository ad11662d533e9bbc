"""Who is a managed server: what a license counts, and whom nothing new is counted for."""

from collections.abc import Iterable
from datetime import datetime

from certeasy.decide.decision import Reader
from projections.name_sets import NAME_SETS, set_id
from projections.seats import SEATS


def has_seat(rows: Reader, account_id: str, now: datetime) -> bool:
    """Whether an account is a managed server: it has a certificate that is neither expired nor
    revoked, or an order that was finalized and has not ended.

    How many are, the table `seats` tells: the rows whose `until` is later than this second.
    """
    seat = rows.get(SEATS, account_id)
    return seat is not None and now < datetime.fromisoformat(seat.until)


def is_renewal(rows: Reader, account_id: str, names: Iterable[str], now: datetime) -> bool:
    """Whether an account that orders these names has a certificate for exactly them, in force.

    It is looked for among the newest `name_sets.MOST` for these names. Whoever has one has a seat.
    """
    known = rows.get(NAME_SETS, set_id(names))
    return known is not None and any(
        each.account_id == account_id
        and each.not_after != ""
        and now < datetime.fromisoformat(each.not_after)
        for each in known.issued
    )


def newest(rows: Reader, account_id: str, names: Iterable[str], now: datetime) -> str:
    """Return the id of the certificate in force that an account got last for exactly these names.

    "": it has none, or another one is on its way to it.
    """
    known = rows.get(NAME_SETS, set_id(names))
    own = [] if known is None else [each for each in known.issued if each.account_id == account_id]
    if not own or own[-1].not_after == "" or datetime.fromisoformat(own[-1].not_after) <= now:
        return ""
    return own[-1].order_id
