"""Which copies follow the database, and whether one of them may lack what was acknowledged."""

import msgspec
import sqlalchemy as sa


class Replica(msgspec.Struct, frozen=True):
    """A copy that follows. `synchronous` is None where this user may not see how."""

    name: str
    synchronous: bool | None


class Replication(msgspec.Struct, frozen=True):
    """The copies that follow at this moment; `known` is false where they cannot be told."""

    known: bool = False
    replicas: tuple[Replica, ...] = ()


def replication_of(connection: sa.Connection) -> Replication:
    """Return which copies follow; nothing is changed.

    PostgreSQL shows what is in pg_stat_replication to everybody, but how a copy follows only to
    members of pg_read_all_stats. A copy that is only being made is none.
    """
    if connection.dialect.name != "postgresql":
        return Replication()
    found = connection.exec_driver_sql(
        "SELECT pid, application_name, sync_state FROM pg_stat_replication"
        " WHERE state IS DISTINCT FROM 'backup' ORDER BY application_name, pid"
    )
    return Replication(known=True, replicas=tuple(_replica(*row) for row in found))


def _replica(pid: int, name: str | None, state: str | None) -> Replica:
    return Replica(name or f"process {pid}", None if state is None else state in {"sync", "quorum"})
