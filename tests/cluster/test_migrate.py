"""The durable tables live longer than a version: forward only, and never by surprise."""

import sqlite3

import msgspec
import psycopg
import pytest
from click.testing import CliRunner

from certeasy import config
from certeasy.cli import group
from certeasy.cluster.boot import BootRefused
from certeasy.commit import Unavailable
from certeasy.store import Store, migrations, schema
from certeasy.store.migrations import Migration
from tests.make.checks import check_node
from tests.make.configs import a_config
from tests.make.node import a_node
from tests.make.postgres import settings_of
from tests.make.waiting import soon

FORMAT = schema.FORMAT
RAISED = "UPDATE log_head SET format = format + 1"


def run(*words):
    return CliRunner().invoke(group, [str(word) for word in words])


def of_format_1(database):
    """Make a database what the first version left."""
    with sqlite3.connect(database) as connection:
        connection.execute("DROP TABLE orphaned_lines")
        connection.execute("DROP TABLE authority_samples")
        connection.execute("DROP TABLE rate_buckets")
        connection.execute("UPDATE log_head SET format = 1")
    connection.close()


def test_a_start_takes_the_harmless_steps_by_itself(tmp_path):
    with a_node(tmp_path / "node") as node:
        node.an_order()
    of_format_1(tmp_path / "node" / "db.sqlite")
    with a_node(tmp_path / "node") as node:
        assert node.store.head().format == FORMAT
        node.an_order()
    check_node(tmp_path / "node")


def test_a_running_node_stops_when_the_format_is_raised(tmp_path):
    with a_node(tmp_path / "node") as node:
        store = Store.open(node.settings.database)
        with store.aside() as connection:
            connection.exec_driver_sql(RAISED)
        store.close()
        with pytest.raises(Unavailable, match="stops"):
            node.an_order()
        soon(lambda: node.stops)
        assert f"brought to format {FORMAT + 1}" in node.stops[0]


def test_migrate_says_what_it_does_and_does_it_once(tmp_path):
    path = a_config(tmp_path)
    settings = config.load(path)
    absent = run("migrate", "-f", path)
    assert absent.exit_code == 1
    assert "makes it" in absent.output
    with a_node(settings.workdir, settings=settings):
        pass
    of_format_1(settings.database.path)

    printed = run("migrate", "-f", path, "--sql")
    assert printed.exit_code == 0
    assert printed.stdout.startswith("CREATE TABLE orphaned_lines (")
    assert printed.stdout.endswith(f" SET format={FORMAT};\n")

    done = run("migrate", "-f", path)
    assert (done.exit_code, done.stdout) == (0, "")
    assert "format 2: a table for lines that lost their place in the log\n" in done.stderr
    assert f"from format 1 to {FORMAT}" in done.stderr
    again = run("migrate", "-f", path)
    assert (again.exit_code, again.stderr) == (0, f"format {FORMAT}: nothing to do\n")
    assert run("migrate", "-f", path, "--sql").stdout == "-- nothing to do\n"
    assert run("migrate", "-f", path, "--role", "x").exit_code == 2


def test_a_breaking_step_waits_for_a_word(tmp_path, monkeypatch):
    path = a_config(tmp_path)
    settings = config.load(path)
    with a_node(settings.workdir, settings=settings):
        pass
    of_format_1(settings.database.path)
    breaking = tuple(msgspec.structs.replace(step, breaking=True) for step in migrations.MIGRATIONS)
    monkeypatch.setattr("certeasy.store.migrations.pending.__defaults__", (breaking,))

    with (
        pytest.raises(BootRefused, match=r"run 'certeasy migrate -f config\.yml'"),
        a_node(settings.workdir, settings=settings),
    ):
        pass
    refused = run("migrate", "-f", path)
    assert refused.exit_code == 3
    assert "(breaking)" in refused.stderr
    assert "--confirm" in refused.stderr
    assert run("migrate", "-f", path, "--confirm").exit_code == 0
    with a_node(settings.workdir, settings=settings):
        pass


def test_a_step_that_fails_leaves_the_database_as_it_was(tmp_path):
    with a_node(tmp_path / "node") as node:
        settings = node.settings
    of_format_1(settings.database.path)
    store = Store.open(settings.database)
    half = Migration(2, "fails", lambda _dialect: ["CREATE TABLE half (x)", "no statement"])
    with pytest.raises(Exception, match="syntax error"):
        store.migrate([half])
    assert store.head().format == 1
    with store.aside() as connection:
        names = connection.exec_driver_sql("SELECT name FROM sqlite_master").scalars().all()
    assert "half" not in names
    store.close()


def test_a_role_of_a_dba_s_script_runs_the_server_and_cannot_change_the_log(tmp_path, postgres):
    address = postgres.a_database()
    name = address.rpartition("/")[2]
    role = f"app_{name}"
    path = a_config(tmp_path, database=f"{{driver: postgres, dsn: '{address}'}}")
    refused = a_config(tmp_path, database=f"{{driver: postgres, noddl: true, dsn: '{address}'}}")
    settings = config.load(refused)
    with (
        pytest.raises(BootRefused, match=r"has no tables, and database\.noddl is true"),
        a_node(settings.workdir, settings=settings),
    ):
        pass
    postgres.ask(f"CREATE ROLE {role} LOGIN", name)
    script = run("migrate", "-f", path, "--sql", "--role", role)
    assert script.exit_code == 0, script.output
    postgres.ask(script.stdout, name)

    address = address.replace("postgres@", f"{role}@")
    settings = msgspec.structs.replace(
        settings, database=msgspec.structs.replace(settings_of(address), noddl=True)
    )
    with a_node(settings.workdir, settings=settings) as node:
        node.an_order()
    with a_node(settings.workdir, settings=settings) as node:
        node.an_order()
        for statement in ("UPDATE events SET seq = 0", "DELETE FROM events", "TRUNCATE events"):
            with (
                psycopg.connect(address) as connection,
                pytest.raises(psycopg.errors.InsufficientPrivilege),
            ):
                connection.execute(statement)
    short = a_config(tmp_path, database=f"{{driver: postgres, noddl: true, dsn: '{address}'}}")
    text = short.read_text().replace('"%CONFIGDIR%/work"', f'"{settings.workdir}"')
    short.write_text(text)
    rebuilt = run("projections", "rebuild", "-f", short)
    assert rebuilt.exit_code == 1
    assert "the database's user has not the rights for this: permission denied" in rebuilt.output
    assert "LINE" not in rebuilt.output
