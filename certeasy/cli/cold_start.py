"""`certeasy cold-start`: a beginning without a license, while one is on its way."""

from datetime import datetime
from pathlib import Path

import click
import msgspec

from certeasy.admin.license import BeginColdStart, ExtendColdStart, LicenseSet, SwitchColdStart
from certeasy.cli.about_license import foretell, terms_of
from certeasy.cli.administration import carry_out, refusals_told
from certeasy.cli.at_rest import tables_of
from certeasy.cli.options import now_by, read, told, with_config
from certeasy.decide import license as deciding
from certeasy.decide.license import PLANS
from certeasy.store import DatabaseUnavailable, DatabaseUnfit

with_plan = click.option(
    "--plan", type=click.Choice(list(PLANS)), required=True, help="As under which plan."
)


class ShownColdStart(msgspec.Struct, frozen=True):
    """What `cold-start status --json` prints; an empty text means none."""

    state: str
    plan: str
    begun: str
    until: str
    cap: str
    license: str


@click.group(name="cold-start")
def cold_start() -> None:
    """Begin without a license, while one is on its way."""


@cold_start.command(
    short_help="Begin, as under a plan.",
    epilog="Example: certeasy cold-start init --plan starter -f config.yml",
)
@with_plan
@with_config
@refusals_told
def init(plan: str, config_file: Path) -> None:
    """Begin without a license, as under a plan, for seven days: once in an installation, when its
    evaluation is over, and where the configuration fits the plan. With the server running or
    stopped.

    Exit codes: 0 done; 1 refused or failed.
    """
    _tell(carry_out(config_file, BeginColdStart(plan)))  # type: ignore[arg-type] # one of PLANS


@cold_start.command(
    short_help="Tell how long it lasts.",
    epilog="Example: certeasy cold-start status -f config.yml",
)
@with_config
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@told(DatabaseUnavailable, DatabaseUnfit)
def status(config_file: Path, *, as_json: bool) -> None:
    """Tell whether there was a cold start, as under which plan, and until when. May be run beside
    the server; changes nothing.

    Exit codes: 0 told, be there one or not; 1 the database cannot be read.
    """
    settings = read(config_file)
    with tables_of(settings.database) as store:
        row = deciding.of(store)
        found = terms_of(store, settings).standing(store, now_by(store))
    cold = None if row is None else row.cold_start
    used = None if row is None else row.installed
    shown = ShownColdStart(
        state=found.state,
        plan="" if cold is None else cold.plan,
        begun="" if cold is None else deciding.second(datetime.fromisoformat(cold.begun)),
        until="" if cold is None else cold.until,
        cap="" if cold is None else cold.cap,
        license="" if used is None else used.id,
    )
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(shown), indent=2))
    elif cold is None:
        click.echo(f"there was no cold start; the license's state is {found.state}")
    else:
        click.echo(
            f"plan {cold.plan}, begun {shown.begun}, until {cold.until}, never beyond {cold.cap};"
            f" the license's state is {found.state}"
        )


@cold_start.command(
    short_help="Let it last seven days more.",
    epilog="Example: certeasy cold-start extend --confirm -f config.yml",
)
@with_config
@click.option("--confirm", is_flag=True, help="Do it: without, only tell what would be done.")
@told(DatabaseUnfit)
@refusals_told
def extend(config_file: Path, *, confirm: bool) -> None:
    """Let the cold start last seven days more, up to three weeks from its beginning. With the
    server running or stopped.

    Exit codes: 0 done, or told what would be done; 1 refused or failed.
    """
    if confirm:
        _tell(carry_out(config_file, ExtendColdStart()))
        return
    foretell(config_file, lambda rows, now, _terms: deciding.extend(rows, now))


@cold_start.command(
    short_help="Go on as under another plan.",
    epilog="Example: certeasy cold-start switch --plan pro -f config.yml",
)
@with_plan
@with_config
@refusals_told
def switch(plan: str, config_file: Path) -> None:
    """Go on as under another plan, which the configuration has to fit; the end stays. With the
    server running or stopped.

    Exit codes: 0 done; 1 refused or failed.
    """
    _tell(carry_out(config_file, SwitchColdStart(plan)))  # type: ignore[arg-type] # one of PLANS


def _tell(done: LicenseSet) -> None:
    until = f" until {done.until}" if done.until else ""
    click.echo(f"done: {done.state}, plan {done.plan}{until}, never beyond {done.cap}")
