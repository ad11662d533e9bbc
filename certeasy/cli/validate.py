"""`certeasy validate`."""

from pathlib import Path

import click

from certeasy import config
from certeasy.cli.options import read_for_service, with_config


@click.command(epilog="Example: certeasy validate -f /etc/certeasy/config.yml")
@with_config
def validate(config_file: Path) -> None:
    """Check a configuration as `serve` would, without touching anything else.

    Exit codes: 0 in order (warnings may follow), 1 mistakes, each on a line of its own.
    """
    settings = read_for_service(config_file)
    for warning in config.warnings(settings):
        click.echo(f"{config_file}: warning: {warning}", err=True)
    click.echo(f"{config_file}: in order")
    if any(authority.adcs is not None for authority in settings.authorities):
        click.echo(f"next: 'certeasy adcs check -f {config_file}' asks the CAs, which this did not")
