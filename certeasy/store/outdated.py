"""Which orders have been over for so long that they may leave the tables: as questions to the
database, each of which an index answers."""

from typing import Any

import sqlalchemy as sa

from certeasy.store import schema
from projections.certificates import CERTIFICATES
from projections.orders import INVALID, ORDERS, VALID
from projections.revocations import PUBLISHED, REVOCATIONS
from projections.suspects import SUSPECTS


def with_certificate(cutoff: str, most: int) -> "sa.Select[Any]":
    """Return the question for orders whose certificates expired before a time; those, too, that the
    log has lost, and has a certificate of."""
    orders, certificates = schema.projected[ORDERS], schema.projected[CERTIFICATES]
    id_ = certificates.c.id
    over = sa.and_(orders.c.status.in_((VALID, INVALID)), orders.c.expires < cutoff)
    return (
        sa.select(id_)
        .select_from(certificates.outerjoin(orders, orders.c.id == id_))
        .where(
            certificates.c.not_after < cutoff,
            sa.or_(orders.c.id.is_(None), over),
            *_nothing_open(id_),
        )
        .order_by(certificates.c.not_after)
        .limit(most)
    )


def without_certificate(cutoff: str, most: int) -> "sa.Select[Any]":
    """Return the question for orders that failed, and expired before a time."""
    orders, certificates = schema.projected[ORDERS], schema.projected[CERTIFICATES]
    return (
        sa.select(orders.c.id)
        .where(
            orders.c.status == INVALID,
            orders.c.expires < cutoff,
            ~sa.exists().where(certificates.c.id == orders.c.id),
            *_nothing_open(orders.c.id),
        )
        .order_by(orders.c.expires)
        .limit(most)
    )


def revocations_among(order_ids: Any) -> "sa.Select[Any]":
    """Return the question for the ids of all revocations of orders."""
    c = schema.projected[REVOCATIONS].c
    return sa.select(c.id).where(c.order_id.in_(order_ids)).order_by(c.id)


def _nothing_open(id_: "sa.Column[str]") -> "tuple[sa.ColumnElement[bool], ...]":
    """Return the conditions that no twin of an order is looked for, and no revocation is to be
    published."""
    suspects, revocations = schema.projected[SUSPECTS].c, schema.projected[REVOCATIONS].c
    twin = sa.and_(suspects.id > id_ + "-", suspects.id < id_ + ".")  # "." comes behind "-"
    unpublished = sa.and_(revocations.order_id == id_, revocations.state != PUBLISHED)
    return ~sa.exists().where(twin), ~sa.exists().where(unpublished)
