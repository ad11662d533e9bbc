"""`certeasy service`: run by the system, from its start to its end."""

import sys
from pathlib import Path

import click

from certeasy.cli.options import fail, read, with_config
from certeasy.cli.unit import unit as text_of_unit

ON_WINDOWS = (
    "systemd is Linux'; this version is no Windows service yet: there, have the Task Scheduler run"
    " 'certeasy serve -f config.yml' when the system starts"
)


@click.group()
def service() -> None:
    """Have the system run the server: its systemd unit."""


@service.command(
    short_help="Print the systemd unit.",
    epilog="Example: certeasy service unit -f /etc/certeasy/config.yml"
    " > /etc/systemd/system/certeasy.service",
)
@with_config
@click.option("--user", default="certeasy", show_default=True, help="Who the server runs as.")
def unit(config_file: Path, user: str) -> None:
    """Print the systemd unit for a configuration. Nothing is written or changed.

    Exit codes: 0 printed, 1 the configuration is wrong.
    """
    if sys.platform == "win32":
        fail(ON_WINDOWS)
    file = config_file.absolute()
    program = Path(sys.executable).with_name("certeasy")
    click.echo(text_of_unit(read(file), program=program, config=file, user=user), nl=False)
