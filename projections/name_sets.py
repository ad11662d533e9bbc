"""What was issued lately for one and the same set of names, to whichever account, or will be.

A server that loses its account and makes another one on every start asks for the same names again
and again: what counts is the names. Whoever renews is told by the same row: an account that has a
certificate in force for exactly these names.

The law of a row: it has the newest `MOST` of the certificates for its names that are not revoked
and have not left the tables, and of the orders that were finalized and have not ended. So no limit
on them may be larger than that.
"""

import hashlib
from collections.abc import Iterable

import msgspec

from projections.tables import Column, Rows, Table

MOST = 100
"""So many certificates are kept of one set of names: the largest limit that can be told."""


class Issuance(msgspec.Struct, frozen=True, array_like=True):
    """A certificate that is not revoked, by its order: whose it is, since when, and until when it
    is valid. Without `not_after` it is still to come, and its order was finalized at `at`."""

    order_id: str
    account_id: str
    at: str
    not_after: str


class NameSet(msgspec.Struct, frozen=True):
    """The certificates for exactly these names, the last one last.

    `id` is `set_id` of the names; they themselves stand in the certificates.
    """

    id: str
    issued: tuple[Issuance, ...]


NAME_SETS = Table("name_sets", NameSet, [Column("id", size=64)], key=("id",))


def set_id(names: Iterable[str]) -> str:
    """Return what a set of canonical names is known by: the SHA-256 of its names, sorted, one a
    line. A wildcard is a name of its own."""
    return hashlib.sha256("\n".join(sorted(set(names))).encode()).hexdigest()


def counted(rows: Rows, names: Iterable[str], issuance: Issuance) -> None:
    """A certificate more for these names: it was issued, or will be."""
    id_ = set_id(names)
    known = rows.get(NAME_SETS, id_)
    before = () if known is None else _without(known, issuance.order_id)
    rows.put(NAME_SETS, NameSet(id_, (*before, issuance)[-MOST:]))


def taken_out(rows: Rows, names: Iterable[str], order_id: str) -> None:
    """An order counts no more: it came to nothing, or its certificate was revoked or leaves the
    tables."""
    id_ = set_id(names)
    known = rows.get(NAME_SETS, id_)
    if known is None:
        return
    others = _without(known, order_id)
    if not others:
        rows.delete(NAME_SETS, id_)
    elif others != known.issued:
        rows.put(NAME_SETS, NameSet(id_, others))


def _without(known: NameSet, order_id: str) -> tuple[Issuance, ...]:
    return tuple(each for each in known.issued if each.order_id != order_id)
