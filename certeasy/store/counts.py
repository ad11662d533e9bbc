"""How much there is, as questions to the database: for figures, and for nothing that is decided.

They grow with the tables. Whoever asks does so seldom, and aside (`certeasy.jobs.counts`).
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from certeasy.store import schema
from projections.certificates import CERTIFICATES
from projections.orders import ORDER_NAMES, ORDERS

NAMES_AT_ONCE = 500
"""SQL Server takes no more than 2,100 values with a statement."""


def orders_by_status() -> "sa.Select[Any]":
    """Return the question how many orders there are of each status; it is answered from an
    index."""
    status = schema.projected[ORDERS].c.status
    return sa.select(status, sa.func.count()).group_by(status)


def ending(now: str, until: str, after: tuple[str, str], most: int) -> "sa.Select[Any]":
    """Return the question for certificates in force that end by then, in the order of their ends,
    from behind one (its end and id); by an index."""
    c = schema.projected[CERTIFICATES].c
    end, certificate_id = after
    behind = sa.or_(c.not_after > end, sa.and_(c.not_after == end, c.id > certificate_id))
    return (
        sa.select(*c)
        .where(c.not_after > now, c.not_after <= until, c.not_after >= end, behind)
        .where(c.revoked == "")
        .order_by(c.not_after, c.id)
        .limit(most)
    )


def latest_for(names: Sequence[str], after: str) -> "sa.Select[Any]":
    """Return the question for the latest certificate for each of some names, of those with an id
    behind `after` that are not revoked."""
    named, certificates = schema.projected[ORDER_NAMES], schema.projected[CERTIFICATES]
    made = named.join(certificates, certificates.c.id == named.c.order_id)
    return (
        sa.select(named.c.name, sa.func.max(named.c.order_id))
        .select_from(made)
        .where(named.c.name.in_(names), named.c.order_id > after, certificates.c.revoked == "")
        .group_by(named.c.name)
    )
