"""The database that is configured: how it is reached, and whether it is fit for a log."""

import sqlalchemy as sa

from certeasy.settings import DatabaseSettings
from certeasy.store import postgres, sqlserver
from certeasy.store.errors import DatabaseUnfit
from certeasy.store.fitness import Fitness
from certeasy.store.sqlite import sqlite_reader, sqlite_writer

EXTRAS = {"postgres": "psycopg", "sqlserver": "mssql-python"}


def engines(database: DatabaseSettings) -> tuple[sa.Engine, sa.Engine]:
    """Return the engine that writes and the one that reads; nothing is connected yet.

    Raises DatabaseUnfit where the driver is not installed or the address is none.
    """
    try:
        match database.driver:
            case "sqlite":
                return sqlite_writer(database.path), sqlite_reader(database.path)
            case "postgres":
                return postgres.engines(database)
            case "sqlserver":
                return sqlserver.engines(database)
    except ImportError as error:
        raise DatabaseUnfit(
            f"database.driver {database.driver} needs the package {EXTRAS[database.driver]}"
            f" ({error}): pip install 'certeasy[{database.driver}]'"
        ) from None


def place_of(database: DatabaseSettings) -> str:
    """Return a database as an administrator knows it, without its password."""
    match database.driver:
        case "sqlite":
            return str(database.path)
        case "postgres":
            return postgres.place_of(database)
        case "sqlserver":
            return sqlserver.place_of(database)


def fitness_of(connection: sa.Connection) -> Fitness:
    """Return what a database is like; the connection is in autocommit, and nothing is changed."""
    match connection.dialect.name:
        case "postgresql":
            return postgres.fitness_of(connection)
        case "mssql":
            return sqlserver.fitness_of(connection)
        case _:
            return Fitness()
