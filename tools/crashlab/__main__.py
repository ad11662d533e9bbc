"""The command line of the crash lab."""

import secrets
import shutil
import sys
from pathlib import Path
from tempfile import mkdtemp

import click
import msgspec

from tools.crashlab import doubts, faults, kills, stops, switching
from tools.crashlab.faults import BY_STRACE, FAULTS
from tools.crashlab.trouble import NotHeld

MANY = click.IntRange(min=1)
with_clients = click.option("--clients", default=8, type=MANY, show_default=True, help="At once.")
with_seed = click.option("--seed", default="", help="Of everything random; printed in any case.")
with_folder = click.option(
    "--workdir", "folder", type=click.Path(path_type=Path), help="An empty folder; it is kept."
)
with_database = click.option(
    "--database", metavar="DSN", help="An empty PostgreSQL database, in the place of SQLite."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON on stdout.")


Concluded = kills.Outcome | stops.Outcome | doubts.Outcome | switching.Outcome


@click.group()
def main() -> None:
    """Kill and hurt a real server under load, and check everything it promised.

    Exit codes: 0 everything held, 1 not (what and where is told, the workdir is kept), 2 the
    command line is wrong.
    """


@main.command(epilog="Example: python -m tools.crashlab kill --rounds 50")
@click.option("--rounds", default=50, type=MANY, show_default=True)
@with_clients
@with_seed
@with_folder
@with_database
@as_json
def kill(
    *,
    rounds: int,
    clients: int,
    seed: str,
    folder: Path | None,
    database: str | None,
    as_json: bool,
) -> None:
    """kill -9 at random instants."""
    seed, place = _begin(seed, folder, clients)
    try:
        outcome = kills.run(
            place, rounds=rounds, clients=clients, seed=seed, tell=_tell, database=database
        )
    except NotHeld as error:
        outcome = kills.Outcome(seed, clients, broken=str(error))
    _conclude(outcome, place, as_json=as_json, keep=folder is not None)


@main.command(epilog="Example: python -m tools.crashlab stop --rounds 50")
@click.option("--rounds", default=50, type=MANY, show_default=True)
@click.option("--slow-ca", is_flag=True, help="A simulated enterprise CA issues, slowly.")
@with_clients
@with_seed
@with_folder
@with_database
@as_json
def stop(
    *,
    rounds: int,
    clients: int,
    seed: str,
    folder: Path | None,
    database: str | None,
    slow_ca: bool,
    as_json: bool,
) -> None:
    """SIGTERM at random instants, now and then twice."""
    seed, place = _begin(seed, folder, clients)
    try:
        outcome = stops.run(
            place,
            rounds=rounds,
            clients=clients,
            seed=seed,
            tell=_tell,
            database=database,
            slow_ca=slow_ca,
        )
    except NotHeld as error:
        outcome = stops.Outcome(seed, clients, broken=str(error))
    _conclude(outcome, place, as_json=as_json, keep=folder is not None)


@main.command(epilog="Example: python -m tools.crashlab adcs --rounds 200")
@click.option("--rounds", default=50, type=MANY, show_default=True)
@click.option(
    "--lost-answers",
    type=click.Choice(["resubmit", "probe"]),
    default="resubmit",
    show_default=True,
    help="What the server does about a request whose answer was lost.",
)
@with_clients
@with_seed
@with_folder
@as_json
def adcs(
    *,
    rounds: int,
    lost_answers: str,
    clients: int,
    seed: str,
    folder: Path | None,
    as_json: bool,
) -> None:
    """kill -9 and line cuts at every step of a submission to a simulated enterprise CA."""
    seed, place = _begin(seed, folder, clients)
    outcome = doubts.run(
        place,
        rounds=rounds,
        clients=clients,
        seed=seed,
        tell=_tell,
        lost_answers=lost_answers,
    )
    _conclude(outcome, place, as_json=as_json, keep=folder is not None)


@main.command(
    epilog="Example: python -m tools.crashlab switch"
    " --database postgresql://postgres@127.0.0.1/empty"
)
@click.option("--switches", default=10, type=MANY, show_default=True)
@click.option("--crash", is_flag=True, help="The node that leaves is killed, not stopped.")
@with_clients
@with_seed
@with_folder
@click.option("--database", metavar="DSN", required=True, help="An empty PostgreSQL database.")
@as_json
def switch(
    *,
    switches: int,
    crash: bool,
    clients: int,
    seed: str,
    folder: Path | None,
    database: str,
    as_json: bool,
) -> None:
    """Two nodes on one database take turns under load."""
    seed, place = _begin(seed, folder, clients)
    outcome = switching.run(
        place,
        database,
        switches=switches,
        clients=clients,
        seed=seed,
        tell=_tell,
        crash=crash,
    )
    _conclude(outcome, place, as_json=as_json, keep=folder is not None)


@main.command("faults", epilog="Example: python -m tools.crashlab faults torn full")
@click.argument("names", nargs=-1, metavar="[NAME]...", type=click.Choice([*FAULTS, *BY_STRACE]))
@click.option("--list", "only_list", is_flag=True, help="List the faults.")
@click.option("--strace", is_flag=True, help="Those that need strace, too.")
@with_clients
@with_seed
@with_folder
@as_json
def faults_(
    *,
    names: tuple[str, ...],
    only_list: bool,
    strace: bool,
    clients: int,
    seed: str,
    folder: Path | None,
    as_json: bool,
) -> None:
    """Full disks, torn tails, second servers, and more; all of them, or those that are named.

    What this machine cannot do is left out, with the reason.
    """
    if only_list:
        for name, fault in (FAULTS | BY_STRACE).items():
            click.echo(f"{name:14}{fault.__doc__}")
        return
    seed, place = _begin(seed, folder, clients)
    outcomes = []
    for name in names or [*FAULTS, *(BY_STRACE if strace else ())]:
        outcomes.append(faults.run(name, place / name, clients=clients, seed=seed))
        _tell(str(outcomes[-1]))
    if as_json:
        _print(outcomes)
    held = all(one.outcome != faults.NOT_HELD for one in outcomes)
    _end(place, held=held, keep=folder is not None)


def _begin(seed: str, folder: Path | None, clients: int) -> tuple[str, Path]:
    """Return the seed and an empty folder."""
    seed = seed or secrets.token_hex(4)
    place = Path(mkdtemp(prefix="crashlab-")) if folder is None else folder.resolve()
    place.mkdir(parents=True, exist_ok=True)
    if any(place.iterdir()):
        raise click.UsageError(f"{place} is not empty")
    _tell(f"seed {seed}, {clients} clients, workdir {place}")
    return seed, place


def _conclude(outcome: Concluded, place: Path, *, as_json: bool, keep: bool) -> None:
    """Tell what a run came to, and end with the exit code that it deserves."""
    if as_json:
        _print(outcome)
    _tell(str(outcome))
    if outcome.broken:
        _tell(f"NOT HELD: {outcome.broken}; everything is left as it was in {place}")
    _end(place, held=not outcome.broken, keep=keep)


def _tell(line: str) -> None:
    click.echo(line, err=True)


def _print(document: object) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2))


def _end(place: Path, *, held: bool, keep: bool) -> None:
    if not held:
        sys.exit(1)
    if not keep:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
