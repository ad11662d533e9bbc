"""`certeasy migrate`: the durable tables brought to this version's format."""

from pathlib import Path

import click

from certeasy.cli.options import fail, no_database, read, told, with_config
from certeasy.clock import SystemClock
from certeasy.cluster.boot import BootRefused
from certeasy.cluster.database import shared_database
from certeasy.ids import RandomIds
from certeasy.settings import Settings
from certeasy.store import DatabaseUnavailable, DatabaseUnfit, Store
from certeasy.store.migrations import Migration, pending
from certeasy.store.schema import FORMAT

REFUSED = 3


@click.command(
    epilog="Examples: certeasy migrate -f config.yml;"
    " certeasy migrate -f config.yml --sql --role certeasy > certeasy.sql"
)
@with_config
@click.option("--confirm", is_flag=True, help="Take steps that an older version cannot live with.")
@click.option("--sql", is_flag=True, help="Print the statements for a DBA, and change nothing.")
@click.option("--role", metavar="NAME", help="With --sql: grant this role what the server needs.")
@told(BootRefused, DatabaseUnavailable, DatabaseUnfit)
def migrate(*, config_file: Path, confirm: bool, sql: bool, role: str | None) -> None:
    """Bring the database's durable tables to this version's format. Stop the servers first.

    A server takes the harmless steps by itself when it starts, unless database.noddl is true. SQL
    goes to stdout, everything else to stderr. Exit codes: 0 done, or nothing to do; 1 failed; 2 the
    command line is wrong; 3 refused: a step needs --confirm.
    """
    if role is not None and not sql:
        raise click.UsageError("--role goes with --sql")
    settings = read(config_file)
    _refuse_absent(settings)
    database = shared_database(settings.database, Store.open)
    locks = []
    try:
        locks = database.lock() if not sql else []
        if sql:
            _print(database.store, role)
        elif database.is_empty():
            click.echo(f"{database.name} is empty: the first start sets it up", err=True)
        else:
            _migrate(database.store, confirm=confirm)
    finally:
        database.store.close()
        for lock in locks:
            lock.release()


def _refuse_absent(settings: Settings) -> None:
    database = settings.database
    if database.driver == "sqlite" and not database.path.exists():
        no_database(database.path)


def _print(store: Store, role: str | None) -> None:
    text = store.script(RandomIds(SystemClock()).uuid(), role)
    click.echo(text or "-- nothing to do", nl=not text)


def _migrate(store: Store, *, confirm: bool) -> None:
    found = store.head().format
    if found > FORMAT:
        fail(f"the database has format {found}, this version writes {FORMAT}: run a newer version")
    steps = pending(found)
    breaking = [step for step in steps if step.breaking]
    for step in steps:
        click.echo(_told(step), err=True)
    if breaking and not confirm:
        fail(
            "an older version cannot go on after this: give --confirm when all are stopped", REFUSED
        )
    store.migrate(steps)
    done = f"from format {found} to {FORMAT}" if steps else f"format {FORMAT}: nothing to do"
    click.echo(done, err=True)


def _told(step: Migration) -> str:
    return f"format {step.to}: {step.what}" + (" (breaking)" if step.breaking else "")
