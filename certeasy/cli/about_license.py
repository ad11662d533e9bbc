"""What the commands about the license share: what it is held against, and what would come of
something that is not done yet."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import click

from certeasy.cli.at_rest import tables_of
from certeasy.cli.options import now_by, read
from certeasy.decide.decision import Decision, Reader
from certeasy.licensing.terms import Terms
from certeasy.settings import Settings
from certeasy.store import Store
from events.license import ColdStartExtended, ForceGraceGranted
from events.registry import Event


def terms_of(store: Store, settings: Settings) -> Terms:
    """Return what the license of an installation is held against."""
    return Terms(settings, store.head().installation_id)


def foretell(config_file: Path, decide: Callable[[Reader, datetime, Terms], Decision]) -> None:
    """Tell what a decision would bring, and change nothing. Raises what it raises."""
    settings = read(config_file)
    with tables_of(settings.database) as store:
        decision = decide(store, now_by(store), terms_of(store, settings))
    for _stream, fact in decision.facts:
        click.echo(_would(fact))
    click.echo("nothing was changed: with --confirm, it is done")


def _would(fact: Event) -> str:
    match fact:
        case ForceGraceGranted(until=until, cap=cap):
            return f"it would count until {until}, and never beyond {cap}"
        case ColdStartExtended(until=until):
            return f"it would last until {until}"
        case _:
            raise TypeError(fact)
