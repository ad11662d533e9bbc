"""What the database's user may do with the log: it should read and add, and nothing else."""

import msgspec
import sqlalchemy as sa

from certeasy.store import schema

NEEDED = ("SELECT", "INSERT")
TOO_MUCH = ("UPDATE", "DELETE")


class Rights(msgspec.Struct, frozen=True):
    """Rights on the table `events`: those that are lacking, those that nobody needs.

    `known` is false where the database has no rights, being a file.
    """

    known: bool = False
    lacking: tuple[str, ...] = ()
    beyond: tuple[str, ...] = ()


def rights_of(connection: sa.Connection) -> Rights:
    """Return what this user may do; the connection is in autocommit, and nothing is changed."""
    match connection.dialect.name:
        case "postgresql":
            question = "SELECT has_table_privilege('{table}', '{right}')"
        case "mssql":
            question = "SELECT HAS_PERMS_BY_NAME('{table}', 'OBJECT', '{right}')"
        case _:
            return Rights()
    table = schema.events.name
    may = {
        right: bool(connection.exec_driver_sql(question.format(table=table, right=right)).scalar())
        for right in (*NEEDED, *TOO_MUCH)
    }
    return Rights(
        known=True,
        lacking=tuple(right for right in NEEDED if not may[right]),
        beyond=tuple(right for right in TOO_MUCH if may[right]),
    )
