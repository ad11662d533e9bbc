"""How the database finds what the server asks for: the plan of every look-up, on a log of your own.

    python -m tools.plans -f config.yml

Nothing is changed. Exit code 1 if a look-up goes through the whole log, or through all orders,
accounts or certificates.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import click
import msgspec

from certeasy import config
from certeasy.store.plans import Plan, plans


@click.command()
@click.option("-f", "--config", "config_file", required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(config_file: Path, *, as_json: bool) -> None:
    """Show how the database finds what the server asks for."""
    found = plans(config.load(config_file).database)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2))
    else:
        _tell(found, click.echo)
    sys.exit(1 if any(plan.whole for plan in found) else 0)


def _tell(found: list[Plan], say: Callable[[str], object]) -> None:
    for plan in found:
        say(f"{plan.asked}: {plan.sql}")
        for step in plan.steps:
            say(f"    {step}")
        if plan.whole:
            say(f"    goes through all of {plan.whole}")
    say(
        f"{len(found)} look-ups, {sum(bool(plan.whole) for plan in found)} of them without an index"
    )


if __name__ == "__main__":
    main()
