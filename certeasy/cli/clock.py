"""`certeasy clock`: a clock that is behind the log's latest time."""

from pathlib import Path

import click

from certeasy.admin.clock import AcceptClock
from certeasy.cli.administration import carry_out, refusals_told
from certeasy.cli.options import with_config


@click.group()
def clock() -> None:
    """Accept a clock that is behind the log."""


@clock.command(
    short_help="Go on although the log is ahead of the clock.",
    epilog="Example: certeasy clock accept -f config.yml",
)
@with_config
@refusals_told
def accept(config_file: Path) -> None:
    """Go on although the log's latest time is ahead of the clock, and record it. With the server
    running or stopped.

    The log's time then stands still until the clock has passed it. Exit codes: 0 done or not
    needed, 1 refused or failed.
    """
    told = carry_out(config_file, AcceptClock())
    if not told.needed:
        click.echo(
            f"not needed: the log's latest time is {told.latest}, the clock says {told.here}"
        )
        return
    click.echo(
        f"accepted: the log's time stands at {told.latest} until the clock ({told.here}) has passed"
        " it"
    )
