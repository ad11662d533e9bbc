"""`certeasy privacy`: what the log has about a person, and how that is made unreadable."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec

from certeasy.admin.privacy import MOST, EraseSubjects
from certeasy.cli.administration import carry_out_with, refusals_told
from certeasy.cli.at_rest import existing_store
from certeasy.cli.options import fail, read, told, with_config
from certeasy.cli.progress import progress_bar
from certeasy.cli.projections import UNREADABLE
from certeasy.clock import SystemClock
from certeasy.commit import erasure
from certeasy.commit.erasure import Mention, Said, Standing
from certeasy.commit.subjects import Subjects
from certeasy.ids import RandomIds
from certeasy.settings import Settings
from certeasy.store import DatabaseUnavailable, Store
from events.counting import counted
from journal.breaks import printable

with_subject = click.argument("subject")


class _Shown(msgspec.Struct, frozen=True):
    """What `show --json` prints."""

    subjects: list[Standing]
    lines: list[Mention]


@click.group()
def privacy() -> None:
    """Show or erase what the log has about a person.

    SUBJECT is an account (its id, or account/ID), a contact (someone@example.org, with or without
    mailto:), an IP address, an administrator's name, or administrator/ID.
    """


@privacy.command(
    short_help="Show what the log has about a person.",
    epilog="Example: certeasy privacy show ops@corp.example -f config.yml",
)
@with_subject
@with_config
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@told(DatabaseUnavailable, *UNREADABLE)
def show(subject: str, config_file: Path, *, as_json: bool) -> None:
    """Show what the log has about SUBJECT, in clear where its key is at hand. May be run beside the
    server.

    Exit codes: 0 shown, 1 the log says nothing about it, or is not readable.
    """
    store = existing_store(read(config_file).database)
    try:
        with _searching(store, subject) as (meant, found):
            lines = list(found)
    finally:
        store.close()
    standings = erasure.standings(meant, lines)
    _check_known(standings, subject)
    if as_json:
        shown = _Shown(standings, lines)
        click.echo(msgspec.json.format(msgspec.json.encode(shown), indent=2))
        return
    for mention in lines:
        click.echo(printable(_sentence(mention)))
    _tell(standings)


@privacy.command(
    short_help="Make it unreadable, for good.",
    epilog="Example: certeasy privacy erase ops@corp.example -f config.yml --yes",
)
@with_subject
@with_config
@click.option("--yes", is_flag=True, help="Do it: without, only tell what would be erased.")
@told(*UNREADABLE)
@refusals_told
def erase(subject: str, config_file: Path, *, yes: bool) -> None:
    """Destroy the keys of SUBJECT: what the log has sealed under them is then read by nobody, and
    every signature stays valid. With the server running or stopped.

    It cannot be undone. Backups made before still have the keys.

    Exit codes: 0 done, told what would be done, or erased already; 1 the log says nothing about it,
    refused or failed.
    """
    settings = read(config_file)
    store = existing_store(settings.database)
    try:
        standings = _standings(store, subject)
    finally:
        store.close()
    if yes:
        _erase(settings, standings)
        return
    _tell(standings)
    if any(not standing.is_erased for standing in standings):
        click.echo("nothing was changed: with --yes, the keys are destroyed for good")


def _erase(settings: Settings, standings: list[Standing]) -> None:
    """Do it as a node of the installation, with the administrator as the one who acts."""
    readable = [each.subject for each in standings if not each.is_erased]
    _tell([each for each in standings if each.is_erased])
    if not readable:
        carry_out_with(settings, EraseSubjects(()))  # the first time may have been cut short
    for first in range(0, len(readable), MOST):
        page = tuple(readable[first : first + MOST])
        carry_out_with(settings, EraseSubjects(page))
        for name in page:
            click.echo(f"{name}: erased; the log has a line about it")


def _standings(store: Store, text: str) -> list[Standing]:
    with _searching(store, text) as (meant, lines):
        found = erasure.standings(meant, lines)
    _check_known(found, text)
    return found


@contextmanager
def _searching(store: Store, text: str) -> Iterator[tuple[tuple[str, ...], Iterator[Mention]]]:
    """Yield the subjects that a word means, and the lines about them, to be read in the block."""
    subjects = Subjects(store, RandomIds(SystemClock()))
    total = store.head().position
    with progress_bar("searching", total) as progress:
        meant = erasure.subjects_of(store, subjects, erasure.wanted(text), progress)
    with progress_bar("reading", total) as progress:
        yield meant, erasure.mentions(store, subjects, meant, progress)


# -- what is told --------------------------------------------------------------------------------


def _check_known(standings: list[Standing], text: str) -> None:
    if standings:
        return
    whom = erasure.wanted(text)
    why = "" if whom.kind == erasure.SUBJECT else ", or it was erased: nothing sealed is found then"
    fail(f"the log says nothing about {whom.kind} {printable(whom.value)}{why}")


def _tell(standings: list[Standing]) -> None:
    for each in standings:
        sealed = f"{counted(each.lines, 'line')}, {counted(each.sealed, 'sealed part')}"
        if each.is_erased:
            how = f"erased already, at position {each.erased}, {each.erased_at}"
        elif each.erased:
            how = f"erased at position {each.erased}, {each.erased_at}; {each.readable} can be read"
        else:
            how = f"{each.readable} can be read"
        click.echo(f"{printable(each.subject)}: {sealed}; {how}")


def _sentence(mention: Mention) -> str:
    said = "; ".join(map(_told, mention.said)) or "named"
    return f"{mention.at}  #{mention.position}  {mention.type}  ({mention.stream})  {said}"


def _told(said: Said) -> str:
    return f"{said.where}: {'sealed' if said.clear is None else said.clear}"
