"""How the durable tables come from one format to the next: forward only, numbered, in one piece.

Projections need none of this: another version of them is folded aside and put in place. A migration
is breaking where an older version could no longer work with what it leaves; such a one waits for an
administrator's word.
"""

from collections.abc import Callable, Iterable, Sequence

import msgspec
import sqlalchemy as sa

from certeasy.store import schema
from certeasy.store.dialects import POSTGRES, SQLSERVER

Statements = Callable[[sa.Dialect], list[str]]


class Migration(msgspec.Struct, frozen=True):
    """A step to format `to`; `what` tells an administrator what it does, in one line."""

    to: int
    what: str
    statements: Statements
    breaking: bool = False


def new_table(table: sa.Table) -> Statements:
    """Return what makes a table with its indexes."""

    def statements(dialect: sa.Dialect) -> list[str]:
        made: list[sa.schema.ExecutableDDLElement] = [sa.schema.CreateTable(table)]
        made += [
            sa.schema.CreateIndex(index)
            for index in sorted(table.indexes, key=lambda i: str(i.name))
        ]
        return [" ".join(str(each.compile(dialect=dialect)).split()) for each in made]

    return statements


MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        2, "a table for lines that lost their place in the log", new_table(schema.orphaned_lines)
    ),
    Migration(3, "a table for how nodes find the authorities", new_table(schema.authority_samples)),
    Migration(4, "a table for what clients have spent of limits", new_table(schema.rate_buckets)),
)


def pending(format_: int, steps: Sequence[Migration] = MIGRATIONS) -> list[Migration]:
    """Return what is to be done to a database of this format, in order."""
    return [step for step in steps if step.to > format_]


def upgrade_script(format_: int, dialect: sa.Dialect) -> list[str]:
    """Return the statements that bring a database of this format to the present one."""
    steps = pending(format_)
    done = [statement for step in steps for statement in step.statements(dialect)]
    return [*done, *([_set_format(dialect)] if steps else [])]


def _set_format(dialect: sa.Dialect) -> str:
    head = sa.update(schema.log_head).values(format=sa.literal_column(str(schema.FORMAT)))
    return " ".join(str(head.compile(dialect=dialect)).split())


def creation_script(dialect: sa.Dialect, head: dict[str, object]) -> list[str]:
    """Return the statements that set up an empty database, with this row as the log's head."""
    made = [
        statement
        for table in schema.metadata.sorted_tables
        for statement in new_table(table)(dialect)
    ]
    row = sa.insert(schema.log_head).values(head)
    literal = row.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
    return [*made, " ".join(str(literal).split())]


def grants(dialect: sa.Dialect, role: str, schema_name: str) -> list[str]:
    """Return what lets a role run the server: of the log it may only read and add."""
    quote = dialect.identifier_preparer.quote_identifier
    who, where = quote(role), quote(schema_name)
    log = [table.name for table in APPEND_ONLY]
    if dialect.name == SQLSERVER:
        return [
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON SCHEMA::{where} TO {who}",
            *[f"DENY UPDATE, DELETE ON {where}.{name} TO {who}" for name in log],
        ]
    if dialect.name != POSTGRES:
        return []
    others = [table.name for table in schema.metadata.sorted_tables if table not in APPEND_ONLY]
    every = "SELECT, INSERT, UPDATE, DELETE"
    return [
        f"GRANT USAGE ON SCHEMA {where} TO {who}",
        *[f"GRANT SELECT, INSERT ON {where}.{name} TO {who}" for name in log],
        *[f"GRANT {every} ON {where}.{quote(name)} TO {who}" for name in others],
        # Projections of another version come as new tables, made by whoever rebuilds them.
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA {where} GRANT {every} ON TABLES TO {who}",
    ]


APPEND_ONLY: tuple[sa.Table, ...] = (schema.events, schema.orphaned_lines)


def script(statements: Iterable[str]) -> str:
    """Return statements as a script that a DBA can read and run."""
    return "".join(f"{statement};\n" for statement in statements)
