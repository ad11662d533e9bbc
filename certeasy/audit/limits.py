"""What limits and the license count, as it stood: read from a state that a replay has written.

How much is too much stands in a configuration, which is not in the tables; so what is shown here is
counted, and held against nothing.
"""

from collections.abc import Iterator
from datetime import datetime
from itertools import groupby
from typing import TypeVar

import msgspec
from msgspec.structs import astuple

from certeasy.audit.diff import NoState, StateFile
from certeasy.audit.state import AsOf
from events.counting import counted
from projections.certificates import CERTIFICATES
from projections.failures import ANY, FAILURES
from projections.fold import VERSION
from projections.license import LICENSE
from projections.name_sets import NAME_SETS
from projections.orders import ORDERS
from projections.seats import ENDLESS, SEATS, Seat
from projections.tables import Table
from projections.unproven import PENDING_AUTHORIZATIONS

S = TypeVar("S", bound=msgspec.Struct)


class Issued(msgspec.Struct, frozen=True, omit_defaults=True):
    """A certificate that is not revoked; without `not_after` it is still to come."""

    names: tuple[str, ...]
    order_id: str
    account_id: str
    at: str
    not_after: str = ""


class Failed(msgspec.Struct, frozen=True):
    """An account could not prove a name."""

    account_id: str
    name: str
    order_id: str
    at: str


class Pending(msgspec.Struct, frozen=True):
    """An order has so many authorizations that are still to be proven."""

    account_id: str
    order_id: str
    authorizations: int
    expires: str


class Licensed(msgspec.Struct, frozen=True, omit_defaults=True):
    """The license, and its state as that was recorded last: `state`, `since`."""

    state: str = ""
    since: str = ""
    id: str = ""
    plan: str = ""
    managed_servers: int | None = None
    """So many; -1: any number."""
    expires: str = ""


class Counted(msgspec.Struct, frozen=True):
    """All that counts, and when."""

    as_of: AsOf
    license: Licensed
    certificates: list[Issued]
    failures: list[Failed]
    pending: list[Pending]
    seats: list[Seat]


def count(state: StateFile) -> Counted:
    """Return what counts at the time that a state is of; raises NoState where it cannot be read."""
    of = state.as_of
    if of.projections != VERSION:
        raise NoState(
            f"{state.name} has projections of version {of.projections}, this version reads"
            f" {VERSION}: replay the journals again"
        )
    try:
        return _counted(state)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        raise NoState(f"{state.name} cannot be read as a state: {error}") from None


def _counted(state: StateFile) -> Counted:
    of = state.as_of
    names = {each.id: sorted(each.names) for each in _every(state, CERTIFICATES)}
    for order in _every(state, ORDERS):
        names.setdefault(order.id, sorted(each.value for each in order.identifiers))
    certificates = [
        Issued(tuple(names.get(each.order_id, ())), *astuple(each))
        for found in _every(state, NAME_SETS)
        for each in found.issued
    ]
    return Counted(
        of,
        _licensed(state),
        sorted(certificates, key=lambda each: (each.names, each.at)),
        [
            Failed(found.account_id, found.name, *astuple(each))
            for found in _every(state, FAILURES)
            for each in (found.failed if found.name != ANY else ())
        ],
        [
            Pending(found.account_id, *astuple(each))
            for found in _every(state, PENDING_AUTHORIZATIONS)
            for each in found.orders
            if _is_ahead(each.expires, of)
        ],
        [each for each in _every(state, SEATS) if _is_ahead(each.until, of)],
    )


def _licensed(state: StateFile) -> Licensed:
    for row in _every(state, LICENSE):
        used = row.installed
        if used is None:
            return Licensed(row.state, row.since)
        many = used.limits.managed_servers
        return Licensed(row.state, row.since, used.id, used.plan, many, used.expires)
    return Licensed()


def lines(found: Counted) -> Iterator[str]:
    """Yield what counts as lines for people."""
    license_ = found.license
    if license_.state:
        yield f"license: {license_.state} since {license_.since}"
    if license_.id:
        yield f"license: {license_.id}, plan {license_.plan}, until {license_.expires}"
    for names, same in groupby(found.certificates, key=lambda each: each.names):
        issued = list(same)
        many = counted(len(issued), "certificate")
        yield f"{', '.join(names)}: {many}, the last at {issued[-1].at}"
    for (account, name), theirs in groupby(found.failures, key=lambda f: (f.account_id, f.name)):
        failed = list(theirs)
        many = counted(len(failed), "failure")
        yield f"account {account}, {name}: {many}, the last at {failed[-1].at}"
    for account, mine in groupby(found.pending, key=lambda each: each.account_id):
        orders = list(mine)
        many = counted(sum(each.authorizations for each in orders), "pending authorization")
        last = max(each.expires for each in orders)
        yield f"account {account}: {many}, until {last} at most"
    for seat in found.seats:
        until = "with an order at its authority" if seat.until == ENDLESS else f"until {seat.until}"
        yield f"account {seat.account_id}: a managed server, {until}"


def _is_ahead(moment: str, of: AsOf) -> bool:
    return datetime.fromisoformat(of.at) < datetime.fromisoformat(moment)


def _every(state: StateFile, table: Table[S]) -> list[S]:
    """Return all rows of a table, in the order of its key."""
    names = [column.name for column in table.columns]
    rows = list(state.ordered(table.name, names, list(table.key)))
    return [table.to_state(row) for row in rows]
