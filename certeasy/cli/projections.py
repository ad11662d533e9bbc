"""`certeasy projections`: the tables against the log they were folded from."""

import time
from pathlib import Path

import click
import msgspec

from certeasy.audit.state import AsOf, State
from certeasy.cli.at_rest import existing_store, refuse_root
from certeasy.cli.options import fail, read, told, with_config
from certeasy.cli.progress import progress_bar
from certeasy.clock import SystemClock
from certeasy.cluster import boot
from certeasy.cluster.boot import BootRefused
from certeasy.commit import rebuild as folding
from certeasy.ids import RandomIds
from certeasy.store import DatabaseUnavailable, DatabaseUnfit
from events.counting import counted
from events.envelope import BrokenLine
from events.registry import NewerSchema, UndecodableEvent, UnknownEvent
from projections.fold import TABLES

SHOWN = 20
NEW = "A new file."
UNREADABLE = (BrokenLine, NewerSchema, UndecodableEvent, UnknownEvent, LookupError)


@click.group()
def projections() -> None:
    """Compare the tables with the log, export them, or fold them anew."""


@projections.command(
    short_help="Compare the tables with the log.",
    epilog="Example: certeasy projections check -f /etc/certeasy/config.yml",
)
@with_config
@told(DatabaseUnavailable, DatabaseUnfit, *UNREADABLE)
def check(config_file: Path) -> None:
    """Fold the log aside and compare with the tables in use. May be run beside the server.

    Exit codes: 0 they agree, 1 they differ (each row is named) or cannot be compared.
    """
    store = existing_store(read(config_file).database)
    try:
        total = store.head().position
        begun = time.perf_counter()
        with progress_bar("folding", total) as progress:
            done, different = folding.check(store, progress)
    finally:
        store.close()
    _say("folded", done, begun)
    for difference in different[:SHOWN]:
        click.echo(str(difference), err=True)
    if different:
        fail(
            f"{counted(len(different), 'row is', 'rows are')} not what the log says;"
            " 'certeasy projections rebuild -f config.yml' folds them anew"
        )
    click.echo("the tables are what the log says")


@projections.command(
    short_help="Write the tables to a new SQLite file.",
    epilog="Example: certeasy projections export -f /etc/certeasy/config.yml --out live.sqlite",
)
@with_config
@click.option("--out", required=True, metavar="FILE", type=click.Path(path_type=Path), help=NEW)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@told(DatabaseUnavailable)
def export(config_file: Path, out: Path, *, as_json: bool) -> None:
    """Write the tables in use to a new SQLite file, as `audit replay` does those of journals.

    `audit diff` compares the two. May be run beside the server: it is one moment's state.

    Exit codes: 0 done, 1 not readable, 2 the command line is wrong.
    """
    store = existing_store(read(config_file).database)
    try:
        state = State(out)
    except (FileExistsError, NotADirectoryError) as error:
        store.close()
        fail(str(error), 2)
    try:
        with store.projected() as (head, rows), progress_bar("tables", len(TABLES)) as progress:
            of = AsOf(head.position, head.hash, head.at, head.projections)
            for done, table in enumerate(TABLES, start=1):
                state.add(table, rows(table))
                progress(done)
        state.finish(of)
    finally:
        state.close()
        store.close()
    if as_json:
        click.echo(msgspec.json.encode({"out": str(out), "as_of": of}))
    else:
        click.echo(f"{out}: the tables as of position {of.position}, hash {of.hash}")


@projections.command(
    short_help="Make the tables anew from the log.",
    epilog="Example: certeasy projections rebuild -f /etc/certeasy/config.yml",
)
@with_config
@told(BootRefused, DatabaseUnavailable, *UNREADABLE)
def rebuild(config_file: Path) -> None:
    """Fold the log into new tables and put them in the place of those in use. Stop the server
    first.

    Exit codes: 0 done, 1 refused or failed (the old tables stay).
    """
    settings = read(config_file)
    existing_store(settings.database).close()
    refuse_root(settings)
    node = boot.open_node(settings, RandomIds(SystemClock()))
    try:
        begun = time.perf_counter()
        with progress_bar("folding", node.store.head().position) as progress:
            done = folding.rebuild(node.store, progress)
    finally:
        node.close()
    _say("rebuilt from", done, begun)


def _say(what: str, done: int, begun: float) -> None:
    seconds = max(time.perf_counter() - begun, 1e-9)
    click.echo(
        f"{what} {counted(done, 'event')} in {seconds:.1f} s ({done / seconds:,.0f} events/s)"
    )
