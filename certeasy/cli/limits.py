"""`certeasy limits`: what clients have spent of what they may do."""

from pathlib import Path

import click
import msgspec

from certeasy.admin.limits import (
    MOST_LISTED,
    LimitsForgotten,
    LimitsShown,
    ResetLimits,
    ShowLimits,
)
from certeasy.cli.administration import carry_out, refusals_told
from certeasy.cli.options import with_config
from certeasy.limits.clients import Told
from events.counting import counted
from journal.breaks import printable

BY_NAMES = (
    "duplicate-certificate and failed-validation are counted by names:"
    " --name NAME, once for each name of an order, shows them"
)
FROM_THE_LOG = "what is counted from the log is not: duplicate-certificate, failed-validation"
NOT_RUNNING = "no server runs here: nothing is counted, and nobody is held to anything"


@click.group()
def limits() -> None:
    """See what clients have spent of limits, and have it forgotten."""


@limits.command(
    short_help="Show how clients stand with the limits.",
    epilog="Examples: certeasy limits show -f config.yml; certeasy limits show --account ID -f"
    " config.yml; certeasy limits show --account ID --name web.corp.example -f config.yml;"
    " certeasy limits show --address 203.0.113.7 -f config.yml --json",
)
@with_config
@click.option("--account", metavar="ID", default="", help="How this account stands.")
@click.option("--address", metavar="IP", default="", help="How this client address stands.")
@click.option(
    "--name",
    "names",
    metavar="NAME",
    multiple=True,
    help="What counts of an order of exactly these names.",
)
@click.option(
    "--most",
    type=click.IntRange(0, MOST_LISTED),
    default=10,
    show_default=True,
    help="How many are named for each limit.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@refusals_told
def show(
    config_file: Path,
    account: str,
    address: str,
    names: tuple[str, ...],
    most: int,
    *,
    as_json: bool,
) -> None:
    """Show what an account or an address has left of each limit; without either, how many have
    spent something of each, and for whom it takes longest until all of it has come back.

    With --name, once for each name of an order (www.corp.example, *.corp.example, 2001:db8::1), in
    any spelling: how many certificates more there may be for exactly
    these names and, with --account, how often it may still fail to prove each of them.

    Asks the running server. Exit codes: 0 shown, be it nothing; 1 refused or failed; 2 the command
    line is wrong.
    """
    if account and address:
        raise click.UsageError("give --account or --address, not both")
    if names and address:
        raise click.UsageError("an address has no --name")
    shown = carry_out(config_file, ShowLimits(_id(account), address, names, most))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(shown), indent=2))
        return
    if not shown.running:
        click.echo(NOT_RUNNING, err=True)
        return
    for line in _lines(shown):
        click.echo(printable(line))
    if shown.counted_as and not (shown.standing or shown.off):
        click.echo(f"nothing is counted of {printable(shown.counted_as)}", err=True)
    if account and not names:
        click.echo(BY_NAMES, err=True)


@limits.command(
    short_help="Have it forgotten what a client has spent.",
    epilog="Examples: certeasy limits reset --account ID -f config.yml;"
    " certeasy limits reset --address 203.0.113.7 -f config.yml",
)
@with_config
@click.option("--account", metavar="ID", default="", help="Of this account.")
@click.option("--address", metavar="IP", default="", help="Of this client address.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@refusals_told
def reset(config_file: Path, account: str, address: str, *, as_json: bool) -> None:
    """Have it forgotten what an account or a client address has spent, through the running server,
    and record it.

    It has all of it again, at once. What is decided from the log (duplicate certificates, failed
    validations, pending authorizations) cannot be forgotten. Exit codes: 0 done, or nothing had
    been spent; 1 refused or failed; 2 the command line is wrong.
    """
    if bool(account) == bool(address):
        raise click.UsageError("give --account or --address")
    forgotten = carry_out(config_file, ResetLimits(_id(account), address))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(forgotten), indent=2))
        return
    what = ", ".join(forgotten.limits)
    click.echo(f"forgotten: {what}" if what else printable(_unspent(forgotten, account)))
    if account and forgotten.running:
        click.echo(FROM_THE_LOG, err=True)


def _id(account: str) -> str:
    """Return the id of an account, which may be named by its URL."""
    return account.rstrip("/").rpartition("/")[2]


def _unspent(nothing: LimitsForgotten, account: str) -> str:
    """Return why there was nothing to forget."""
    if not nothing.running:
        return f"nothing to forget: {NOT_RUNNING}"
    who = f"{'account' if account else 'address'} {nothing.counted_as}"
    if nothing.unspent:
        return f"nothing to forget: {who} has spent nothing of {', '.join(nothing.unspent)}"
    if nothing.off:
        return f"nothing to forget: {', '.join(nothing.off)} are switched off"
    return f"nothing to forget: {who} is on rate-limiting.whitelist, of which nothing is counted"


def _lines(shown: LimitsShown) -> list[str]:
    if shown.counted_as:
        off = [f"{limit}: switched off" for limit in shown.off]
        return [_standing(told) for told in shown.standing] + off
    lines = []
    for each in shown.counted:
        off_ = "; switched off" if each.limit in shown.off else ""
        lines.append(f"{each.limit}: {counted(each.subjects, 'subject')}{off_}")
        lines += [f"  {spender.subject}  all back at {spender.full}" for spender in each.longest]
    return lines


def _standing(told: Told) -> str:
    whose = f"{told.limit} of {', '.join(told.names)}" if told.names else told.limit
    left = f"{whose}: {told.left:g} of {told.burst:g} left ({told.rule})"
    if told.next:
        return f"{left}; the next at {told.next}, all at {told.full}"
    return f"{left}; all at {told.full}" if told.full else left
