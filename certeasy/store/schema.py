"""All tables: the log, what is durable beside it, and the projections as they are declared.

Texts are compared byte by byte on every database; ids are lower-case only. The application may
insert and read `events`, nothing else.
"""

from typing import Any

import sqlalchemy as sa

from certeasy.store.dialects import bytes_of, text_of
from projections.fold import TABLES
from projections.tables import Column, Table

FORMAT = 4  # of the durable tables; certeasy.store.migrations leads here from every older one

metadata = sa.MetaData()

events = sa.Table(
    "events",
    metadata,
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("server_id", text_of(36), nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("stream", text_of(80), nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("type", text_of(64), nullable=False),
    sa.Column("at", text_of(32), nullable=False),
    sa.Column("hash", text_of(64), nullable=False),
    sa.Column("line", bytes_of(), nullable=False),
    sa.UniqueConstraint("server_id", "seq", name="events_server_seq"),
    sa.UniqueConstraint("stream", "version", name="events_stream_version"),
)

# Lines of a node whose places another node has taken: kept, and explained by a `log.forked`.
orphaned_lines = sa.Table(
    "orphaned_lines",
    metadata,
    sa.Column("server_id", text_of(36), primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("hash", text_of(64), nullable=False),
    sa.Column("line", bytes_of(), nullable=False),
)

log_head = sa.Table(
    "log_head",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("hash", text_of(64), nullable=False),
    sa.Column("at", text_of(32), nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("writer", text_of(36), nullable=False),
    sa.Column(
        "lease_until", sa.Float(53), nullable=False
    ),  # seconds since 1970 by the database's clock
    sa.Column("format", sa.Integer, nullable=False),
    sa.Column("installation_id", text_of(36), nullable=False),
    sa.Column(
        "projections", sa.Integer, nullable=False
    ),  # projections.fold.VERSION of the stored rows
)

servers = sa.Table(
    "servers",
    metadata,
    sa.Column("server_id", text_of(36), primary_key=True),
    sa.Column("hostname", text_of(255), nullable=False),
    sa.Column("kid", text_of(43), nullable=False),
    sa.Column("x", text_of(43), nullable=False),
    sa.Column("first_seen", text_of(32), nullable=False),
    sa.Column("last_seen", text_of(32), nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("hash", text_of(64), nullable=False),
    sa.Column("boot_id", text_of(36), nullable=False),
    sa.Column("fingerprint", text_of(64), nullable=False),
)

secrets = sa.Table(
    "secrets",
    metadata,
    sa.Column("name", text_of(128), primary_key=True),
    sa.Column("wrapped", bytes_of(), nullable=False),
)

subject_keys = sa.Table(
    "subject_keys",
    metadata,
    sa.Column("subject", text_of(128), primary_key=True),
    sa.Column("key", bytes_of(), nullable=False),
)

used_nonces = sa.Table(
    "used_nonces",
    metadata,
    sa.Column("nonce", text_of(64), primary_key=True),
    sa.Column("expires", sa.BigInteger, nullable=False),  # seconds since 1970
    sqlite_with_rowid=False,
)

# What is shared by nodes that run together, and no decision: not in the log.

job_leases = sa.Table(
    "job_leases",
    metadata,
    sa.Column("job_id", text_of(40), primary_key=True),
    sa.Column("attempt", sa.BigInteger, nullable=False),
    sa.Column("until", sa.BigInteger, nullable=False),  # microseconds since 1970
    sqlite_with_rowid=False,
)

redeemed_nonces = sa.Table(
    "redeemed_nonces",
    metadata,
    sa.Column("nonce", text_of(64), primary_key=True),
    sa.Column("expires", sa.BigInteger, nullable=False),  # seconds since 1970
    sqlite_with_rowid=False,
)

authority_samples = sa.Table(
    "authority_samples",
    metadata,
    sa.Column("authority", text_of(64), primary_key=True),
    sa.Column("server_id", text_of(36), primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False),  # microseconds since 1970
    sa.Column("milliseconds", sa.BigInteger, nullable=False),
    sa.Column("reason", text_of(1000), nullable=False),
    sqlite_with_rowid=False,
)

rate_buckets = sa.Table(
    "rate_buckets",
    metadata,
    sa.Column("name", text_of(32), primary_key=True),  # of the limit
    sa.Column("subject", text_of(80), primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False),  # microseconds since 1970: when it is full
    sa.Column("rest", sa.BigInteger, nullable=False),  # and so many parts of a microsecond
    sa.Column("parts", sa.BigInteger, nullable=False),  # that a microsecond has here
    sqlite_with_rowid=False,
)

_KINDS: dict[str, sa.types.TypeEngine[Any]] = {
    "integer": sa.BigInteger(),
    "bytes": bytes_of(),
}


def _column(column: Column, *, key: bool) -> sa.Column[Any]:
    kind = _KINDS.get(column.kind) or text_of(column.size)
    return sa.Column(
        column.name, kind, primary_key=key, nullable=column.nullable, autoincrement=False
    )


def declare(table: Table[Any], into: sa.MetaData, prefix: str = "") -> sa.Table:
    """Return the database table for a projection's declaration."""
    name = prefix + table.name
    columns = [_column(column, key=column.name in table.key) for column in table.columns]
    indexes = [sa.Index(f"{name}_{'_'.join(index)}", *index) for index in table.indexes]
    return sa.Table(name, into, *columns, *indexes, sqlite_with_rowid=False)


projected = {table: declare(table, metadata) for table in TABLES}
