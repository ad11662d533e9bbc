"""Every statement that is sent to SQL Server is T-SQL: compiled for it, and read by a parser.

There is no SQL Server here. The contract runs against one that CERTEASY_TEST_MSSQL_URL names.
"""

import re

import pytest
import sqlalchemy as sa
import sqlglot
from sqlalchemy.dialects.mssql.mssqlpython import MSDialect_mssqlpython

from certeasy.settings import DatabaseSettings
from certeasy.store import DatabaseUnfit, migrations, schema, sqlserver
from certeasy.store.dialects import begin_snapshot, exclusively, renamed
from certeasy.store.statements import Prepared, Statements
from certeasy.store.store import _empty_head

DIALECT = sqlserver.engines(
    DatabaseSettings(driver="sqlserver", dsn="sqlserver://u@127.0.0.1:1/x", ping_timeout_sec=1)
)[0].dialect
MOST_KEY_BYTES = 900


def prepared() -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in vars(Statements(DIALECT)).items():
        values = value.values() if isinstance(value, dict) else [value]
        for number, each in enumerate(values):
            steps = each if isinstance(each, list) else [each]
            found += [
                (f"{name}-{number}-{step}", one.sql)
                for step, one in enumerate(steps)
                if isinstance(one, Prepared)
            ]
    return found


def parsed(sql: str) -> None:
    """Read a statement; the driver's own `%(name)s` is put as T-SQL's variables."""
    plain = re.sub(r"%\((\w+)\)s", r"@\1", sql)
    assert sqlglot.parse(plain, dialect="tsql")
    assert " LIMIT " not in plain  # which the parser lets pass
    assert "RETURNING" not in plain
    assert "FOR UPDATE" not in plain


def test_the_dialect_is_the_driver_s_own():
    assert isinstance(DIALECT, MSDialect_mssqlpython)


@pytest.mark.parametrize("sql", [pytest.param(sql, id=name) for name, sql in prepared()])
def test_every_prepared_statement_is_t_sql(sql):
    parsed(sql)


def test_the_head_is_locked_by_an_update_that_returns_it():
    lock = Statements(DIALECT).lock.sql
    assert lock.startswith("UPDATE log_head SET lease_until=")
    assert "OUTPUT inserted.position" in lock
    assert "SYSUTCDATETIME()" in lock


@pytest.mark.parametrize(
    "sql",
    [
        *migrations.creation_script(DIALECT, _empty_head("an-installation")),
        *migrations.upgrade_script(1, DIALECT),
        begin_snapshot(DIALECT)[1],  # the first is one that the parser does not know
        *exclusively(DIALECT),
        renamed(DIALECT, schema.events, "other"),
        sqlserver.FITNESS,
        sqlserver.TRIGGERS,
    ],
)
def test_every_other_statement_is_t_sql(sql):
    parsed(sql)


def test_the_log_can_only_be_read_and_added_to():
    granted = migrations.grants(DIALECT, "app]role", "dbo")
    assert granted[0].endswith("ON SCHEMA::[dbo] TO [app]]role]")
    assert granted[1:] == [
        "DENY UPDATE, DELETE ON [dbo].events TO [app]]role]",
        "DENY UPDATE, DELETE ON [dbo].orphaned_lines TO [app]]role]",
    ]


@pytest.mark.parametrize("table", schema.metadata.sorted_tables, ids=str)
def test_keys_are_binary_and_short_enough_for_an_index(table):
    keys = [list(table.primary_key.columns), *[list(index.columns) for index in table.indexes]]
    keys += [
        list(constraint.columns)
        for constraint in table.constraints
        if isinstance(constraint, sa.UniqueConstraint)
    ]
    for columns in keys:
        spelled = [column.type.dialect_impl(DIALECT) for column in columns]
        assert sum(_bytes(kind) for kind in spelled) <= MOST_KEY_BYTES
    for column in table.columns:
        sql = column.type.compile(dialect=DIALECT)
        assert sql in {"BIGINT", "INTEGER", "VARBINARY(max)", "FLOAT(53)"} or re.fullmatch(
            r"NVARCHAR\(\d+\) COLLATE Latin1_General_100_BIN2", sql
        ), sql


def _bytes(kind: sa.types.TypeEngine[object]) -> int:
    return 2 * kind.length if isinstance(kind, sa.String) and kind.length else 8


@pytest.mark.parametrize(
    ("dsn", "shown"),
    [
        ("sqlserver://u:p%40ss@host/x", "mssql+mssqlpython://u:***@host:1433/x"),
        (
            "sqlserver://u@host:1444?database=x&Encrypt=yes",
            "mssql+mssqlpython://u@host:1444/x?Encrypt=yes",
        ),
    ],
)
def test_an_address_is_read(dsn, shown):
    assert str(sqlserver.url_of(dsn)) == shown


@pytest.mark.parametrize(
    "dsn", ["", "sqlserver://host", "postgresql://u@host/x", "sqlserver://host:99999/x"]
)
def test_what_is_no_address_is_refused_in_words(dsn):
    with pytest.raises(DatabaseUnfit, match=r"database\.dsn"):
        sqlserver.url_of(dsn)


@pytest.mark.parametrize(
    "dsn",
    [
        "sqlserver://u:SEC/RET@host/x",
        "sqlserver://u:SECRET@host:xRET/x",
        "sqlserver://u:SEC[RET@host/x",
        "sqlserver://u:SEC?RET@host/x",
    ],
)
def test_a_password_spelled_wrongly_is_in_no_message(dsn):
    with pytest.raises(DatabaseUnfit) as refused:
        sqlserver.url_of(dsn)
    assert not {"SEC", "RET"} & set(re.findall("SEC|RET", str(refused.value)))
    assert refused.value.__suppress_context__
