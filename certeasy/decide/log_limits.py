"""The limits that are decisions: what was issued, what failed and what is open, as the log has it.

Nothing is counted for them beside the log, so that they are the same on every node, after a restart
and in a replay. They are held against the rows under the lock: two requests at once are not one too
many. The rules:

* A set of names gets `limit` certificates within any window, whichever accounts ask: an account
  that is lost and made anew is no way around it. Those that are revoked do not count, those that
  are about to be issued do. A renewal is one of them, unless the time has come for it, by our
  renewal information (RFC 9773): that of what its order replaces, where that is for these names,
  or of the account's newest certificate for them. Its successor's time is not soon. Refused when it
  is ordered, and, as others may have been quicker, when it is finalized.
* A name that an account failed to prove `limit` times within a window is not ordered by it until
  the first of these failures is past.
* An account with `limit` pending authorizations orders nothing more until it has fewer, and proves
  nothing ahead. Who renews may have twice as many: what others have left lying about under the same
  account does not keep a certificate from being renewed.

What was counted at a moment counts for as long as the window is: at its end no more.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

from certeasy.decide.decision import Reader
from certeasy.decide.identifiers import split
from certeasy.decide.limits import over
from certeasy.decide.problems import Refused
from certeasy.decide.seats import is_renewal
from certeasy.settings.limits import (
    AccountLimits,
    DuplicateCertificate,
    FailedValidation,
    PendingAuthorizations,
)
from events.counting import counted, times
from projections.failures import ANY, FAILURES
from projections.name_sets import NAME_SETS, set_id
from projections.orders import Order
from projections.unproven import PENDING_AUTHORIZATIONS

DUPLICATE_CERTIFICATE = "duplicate-certificate"
FAILED_VALIDATION = "failed-validation"
PENDING = "pending-authorizations"
RENEWALS_MAY = 2
"""So many times as many authorizations may be pending where a certificate is renewed."""
_SHOWN = 3
_UNITS = {"day": 86_400, "hour": 3_600, "minute": 60, "second": 1}


def check_order(
    rows: Reader,
    now: datetime,
    limits: AccountLimits,
    *,
    account_id: str,
    names: Sequence[str],
    due: bool = False,
    ahead: bool = False,
) -> None:
    """Return if an account may order these names; Refused (rateLimited) tells until when it may
    not: of several limits that it met, of that which is free again last.

    `due`: a certificate is renewed, and it is time for that. `ahead`: it is only a proof ahead of
    any order.
    """
    met: list[Refused] = []
    if not (due or ahead):
        with _noted(met):
            check_duplicates(rows, now, limits.duplicate_certificate, names)
    with _noted(met):
        check_failures(rows, now, limits.failed_validation, account_id=account_id, names=names)
    renews = due or (not ahead and is_renewal(rows, account_id, names, now))
    with _noted(met):
        check_pending(rows, now, limits.pending_authorizations, account_id, renews=renews)
    if met:
        raise max(met, key=lambda refused: refused.retry_after or 0)


def check_finalize(
    rows: Reader, now: datetime, limits: AccountLimits, order: Order, *, due: bool
) -> None:
    """Return if an order, which was not finalized yet, may be; Refused (rateLimited) tells until
    when it may not. `due`: as for `check_order`."""
    if not due:
        names = [identifier.value for identifier in order.identifiers]
        check_duplicates(rows, now, limits.duplicate_certificate, names)


def check_duplicates(
    rows: Reader, now: datetime, limit: DuplicateCertificate, names: Sequence[str]
) -> None:
    """Return if there may be one certificate more for exactly these names."""
    counting = issued_lately(rows, now, limit, names)
    if len(counting) >= limit.limit:
        issued = counted(len(counting), "certificate was", "certificates were")
        what = (
            f"{issued} issued for exactly these names ({_listed(names)}) within"
            f" {_lasting(limit.window)}, and {limit.limit} may be"
        )
        free_at = counting[-limit.limit] + limit.window
        raise over(DUPLICATE_CERTIFICATE, what, now=now, free_at=free_at)


def issued_lately(
    rows: Reader, now: datetime, limit: DuplicateCertificate, names: Sequence[str]
) -> list[datetime]:
    """Return when the certificates for exactly these names were issued that count, in order."""
    known = rows.get(NAME_SETS, set_id(names)) if limit.enabled else None
    if known is None:
        return []
    # What is about to be issued counts as issued now: it will not count for longer than that.
    since = (_time(each.at) if each.not_after else now for each in known.issued)
    return _within(since, limit.window, now)


def failed_lately(
    rows: Reader, now: datetime, limit: FailedValidation, account_id: str, name: str
) -> list[datetime]:
    """Return when the account failed to prove a name, as far as it counts, in order."""
    known = rows.get(FAILURES, account_id, split(name)[0]) if limit.enabled else None
    failed = [] if known is None else [_time(each.at) for each in known.failed]
    return _within(failed, limit.window, now)


def check_failures(
    rows: Reader,
    now: datetime,
    limit: FailedValidation,
    *,
    account_id: str,
    names: Sequence[str],
) -> None:
    """Return if the account may try to prove these names; that of which it may last, is named."""
    last = rows.get(FAILURES, account_id, ANY) if limit.enabled else None
    if last is None or not _within((_time(each.at) for each in last.failed), limit.window, now):
        return
    met: list[tuple[datetime, str, int]] = []
    for name in dict.fromkeys(split(name)[0] for name in names):
        counting = failed_lately(rows, now, limit, account_id, name)
        if len(counting) >= limit.limit:
            met.append((counting[-limit.limit] + limit.window, name, len(counting)))
    if met:
        free_at, name, count = max(met)
        what = (
            f"This account failed {times(count)} within {_lasting(limit.window)} to prove that it"
            f" controls {name}, and may fail {times(limit.limit)}"
        )
        raise over(FAILED_VALIDATION, what, now=now, free_at=free_at)


def check_pending(
    rows: Reader,
    now: datetime,
    limit: PendingAuthorizations,
    account_id: str,
    *,
    renews: bool = False,
) -> None:
    """Return if the account may have authorizations opened beside those that are pending."""
    known = rows.get(PENDING_AUTHORIZATIONS, account_id) if limit.enabled else None
    if known is None:
        return
    most = limit.limit * RENEWALS_MAY if renews else limit.limit
    ends = [(_time(each.expires), each.authorizations) for each in known.orders]
    pending, last = sum(count for end, count in ends if now < end), 0
    for end, count in sorted(ends, reverse=True):
        last += count
        if last >= most and now < end:  # fewer than that run out later
            are = "authorization of this account is", "authorizations of this account are"
            what = f"{counted(pending, *are)} pending, and {most} may be: prove or deactivate them"
            raise over(PENDING, what, now=now, free_at=end)


@contextmanager
def _noted(met: list[Refused]) -> Iterator[None]:
    """Note what the block refuses, and go on."""
    try:
        yield
    except Refused as refused:
        met.append(refused)


def _within(moments: Iterable[datetime], window: timedelta, now: datetime) -> list[datetime]:
    """Return the moments that are not a whole window ago, in their order."""
    return sorted(each for each in moments if now < each + window)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _listed(names: Sequence[str]) -> str:
    listed = ", ".join(sorted(names)[:_SHOWN])
    more = len(names) - _SHOWN
    return f"{listed} and {more} more" if more > 0 else listed


def _lasting(window: timedelta) -> str:
    """Return how long a window is, in the largest unit that it is made of: 7 days, 90 minutes."""
    seconds = window // timedelta(seconds=1)
    fitting = [unit for unit, one in _UNITS.items() if seconds % one == 0]
    return counted(seconds // _UNITS[fitting[0]], fitting[0])
