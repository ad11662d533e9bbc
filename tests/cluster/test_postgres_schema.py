"""Another user of the same PostgreSQL database gets nothing run in the server's name."""

import psycopg
import pytest

from certeasy.store import Store
from tests.make.postgres import Postgres, settings_of

OURS = "11111111-0000-4000-8000-000000000001"
BETTER = (
    "CREATE TABLE {0}.ran (by text)",
    "GRANT INSERT ON {0}.ran TO PUBLIC",
    (
        "CREATE FUNCTION {0}.same(varchar, varchar) RETURNS bool LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO {0}.ran VALUES (current_user); RETURN $1::text = $2::text; END $$"
    ),
    "CREATE OPERATOR {0}.= (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = {0}.same)",
)


def _roles(postgres: Postgres) -> None:
    for role in ("ours", "theirs"):
        if not postgres.ask(f"SELECT 1 FROM pg_roles WHERE rolname = '{role}'"):  # noqa: S608 - ours
            postgres.ask(f"CREATE ROLE {role} LOGIN")


@pytest.fixture
def name(postgres: Postgres) -> str:
    """A database in which everybody may create things in `public`, and the roles of two users."""
    _roles(postgres)
    name = postgres.a_database().rpartition("/")[2]
    postgres.ask("GRANT CREATE ON SCHEMA public TO PUBLIC", name)
    return name


def _works(store: Store) -> None:
    store.create(OURS)
    with store.transaction() as transaction:
        transaction.take_place("me", 0)
        transaction.lock("me", 1)
        transaction.version_of("order/x")


def _plants(postgres: Postgres, name: str) -> None:
    with psycopg.connect(postgres.dsn(name, "theirs"), autocommit=True) as connection:
        for statement in BETTER:
            connection.execute(statement.format("public").encode())


def test_an_operator_of_another_schema_is_not_run(postgres: Postgres, name: str) -> None:
    postgres.ask("CREATE SCHEMA ours AUTHORIZATION ours", name)  # found first, as "$user"
    _plants(postgres, name)
    store = Store.open(settings_of(postgres.dsn(name, "ours")))
    try:
        assert (store.fitness().schema, store.fitness().refusals) == ("ours", ())
        _works(store)
        assert store.head().epoch == 1
        assert postgres.ask("SELECT * FROM public.ran", name) == []
    finally:
        store.close()


def test_a_schema_that_everybody_may_fill_is_refused(postgres: Postgres, name: str) -> None:
    store = Store.open(settings_of(postgres.dsn(name)))
    try:
        [refusal] = store.fitness().refusals
        assert refusal.endswith("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        postgres.ask("REVOKE CREATE ON SCHEMA public FROM PUBLIC", name)
        assert store.fitness().refusals == ()
    finally:
        store.close()
