"""Whether a database may hold a log: what it is refused for, what its administrator should know."""

import msgspec
import sqlalchemy as sa

from certeasy.store import schema


class Fitness(msgspec.Struct, frozen=True):
    """`refusals` and `warnings` are one line each; `schema` is where tables are made and found,
    `version` that of the database's program."""

    refusals: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    schema: str = ""
    version: str = ""


def strangers(connection: sa.Connection, here: str) -> str | None:
    """Return why tables of ours in another schema stand in the way, or None.

    Who connects with another default schema would set up a second installation beside the first.
    """
    found = connection.exec_driver_sql(
        f"SELECT table_schema FROM information_schema.tables WHERE table_name = '{_HEAD}'"  # noqa: S608 - ours
    )
    schemas = sorted({str(row[0]) for row in found})
    if not schemas or here in schemas:
        return None
    return (
        f"the tables of an installation are in schema {', '.join(schemas)}, but this user's schema"
        f" is {here}: give the user the right default schema, or another database"
    )


_HEAD = schema.log_head.name
