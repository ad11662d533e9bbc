"""What an auditor does with a node's SQLite file works on PostgreSQL in the same words."""

import psycopg
import pytest
from click.testing import CliRunner

from certeasy import config
from certeasy.cli import group
from tests.make.configs import a_config
from tests.make.node import a_node

TRIGGER = (
    "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
    " CREATE TRIGGER evil BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION f()"
)


def run(*words):
    return CliRunner().invoke(group, [str(word) for word in words])


@pytest.fixture
def address(postgres):
    return postgres.a_database()


@pytest.fixture
def path(tmp_path, address):
    """The configuration of a node that has served, and was stopped."""
    file = a_config(tmp_path, database=f"{{driver: postgres, dsn: '{address}'}}")
    settings = config.load(file)
    with a_node(settings.workdir, settings=settings) as node:
        for _ in range(5):
            node.an_order()
    return file


def change(address, *statements):
    with psycopg.connect(address, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def test_everything_is_proven_and_told(path, tmp_path):
    verified = run("audit", "verify", "-f", path)
    assert verified.exit_code == 0, verified.output
    assert "every row is the line that was signed" in verified.output
    assert "PostgreSQL database test_" in verified.output
    assert "postgres@" not in verified.output
    for words in (
        ("audit", "head"),
        ("audit", "keys"),
        ("audit", "list-servers"),
        ("audit", "show", "name", "web.lab.test"),
        ("projections", "check"),
        ("projections", "rebuild"),
        ("projections", "export", "--out", tmp_path / "live.sqlite"),
        ("audit", "replay", "--out", tmp_path / "replayed.sqlite"),
        ("audit", "export", "--out", tmp_path / "evidence.zip"),
        ("audit", "verify"),
    ):
        done = run(*words, "-f", path)
        assert done.exit_code == 0, (words, done.output)
        assert done.stdout
    compared = run("audit", "diff", tmp_path / "live.sqlite", tmp_path / "replayed.sqlite")
    assert compared.exit_code == 0, compared.output


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE events SET stream = 'order/other' WHERE position = 4", "column stream"),
        ("DELETE FROM events WHERE position = 4", "the row is missing from events"),
        ("UPDATE events SET line = 'changed' WHERE position = 4", "is not the line"),
        ("UPDATE log_head SET position = 3", "log_head is at position 3"),
        ("UPDATE servers SET kid = 'other'", "has key other"),
        (TRIGGER, "the trigger evil on orders"),
        (
            "CREATE RULE evil AS ON DELETE TO events DO INSTEAD NOTHING",
            "the trigger evil on events",
        ),
    ],
)
def test_what_was_changed_is_named(path, address, statement, said):
    change(address, statement)
    verified = run("audit", "verify", "-f", path)
    assert verified.exit_code == 1
    assert said in verified.stderr


def test_other_people_s_tables_are_theirs(path, address):
    change(address, "CREATE TABLE somebody_elses (id int)")
    assert run("audit", "verify", "-f", path).exit_code == 0


@pytest.mark.parametrize("words", [("audit", "verify"), ("projections", "check")])
def test_a_database_that_cannot_be_reached_is_told_in_a_line(path, words):
    text = path.read_text()
    path.write_text(text.replace("test_", "absent_"))
    asked = run(*words, "-f", path)
    assert asked.exit_code == 1
    assert "does not exist" in asked.stderr
    assert "Traceback" not in asked.output
    assert len(asked.stderr.splitlines()) == 1


def test_a_database_without_tables_is_told_in_a_line(path, postgres):
    text = path.read_text()
    empty = postgres.a_database().rpartition("/")[2]
    path.write_text(
        text.replace(text.partition("127.0.0.1:")[2].split("/")[1].split("'")[0], empty)
    )
    asked = run("audit", "verify", "-f", path)
    assert (asked.exit_code, "has no tables of a server" in asked.stderr) == (1, True)
