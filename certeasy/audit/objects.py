"""What may stand in a server's database: the tables and indexes that its schema makes.

A trigger would change rows behind the back of whoever commits them, a view could stand where a
table is asked for; and nothing else belongs there either.
"""

from collections.abc import Iterable, Iterator

from projections.fold import TABLES

QUERY = "SELECT type, name, tbl_name, sql FROM sqlite_master"
BESIDE_THE_FOLD = (
    "authority_samples",
    "events",
    "job_leases",
    "log_head",
    "orphaned_lines",
    "rate_buckets",
    "redeemed_nonces",
    "secrets",
    "servers",
    "subject_keys",
    "used_nonces",
)
SHADOW = "shadow_"
"""What a rebuild that was broken off leaves behind; the next one begins by dropping it."""
SQLITES_OWN = "sqlite_"
"""Statistics, and indexes behind constraints: nobody else may use such names."""


def _objects() -> Iterator[tuple[str, str]]:
    for name in BESIDE_THE_FOLD:
        yield "table", name
    for table in TABLES:
        for prefix in ("", SHADOW):
            yield "table", prefix + table.name
            for index in table.indexes:
                yield "index", f"{prefix}{table.name}_{'_'.join(index)}"


OBJECTS = frozenset(_objects())


def strange(found: Iterable[tuple[object, ...]]) -> str | None:
    """Return what a database has that is not the server's, from the rows of QUERY, or None."""
    for kind, name, table, sql in found:
        own = kind in ("table", "index") and str(name).startswith(SQLITES_OWN)
        virtual = str(sql).upper().startswith("CREATE VIRTUAL")
        if not own and (virtual or (kind, name) not in OBJECTS):
            on = f" on {table}" if table != name else ""
            return f"the database has the {kind} {name}{on}, which is not the server's"
    return None
