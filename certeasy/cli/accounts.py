"""`certeasy accounts`: the ACME accounts that there are."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from certeasy.admin.inventory import CloseAccount
from certeasy.cli.administration import carry_out_with, refusals_told
from certeasy.cli.at_rest import tables_of
from certeasy.cli.listing import Lines, form, tell, tell_one, with_listing
from certeasy.cli.options import a_moment, fail, read, rfc3339, told, with_config
from certeasy.clock import SystemClock
from certeasy.commit.subjects import Subjects
from certeasy.ids import RandomIds
from certeasy.store import DatabaseUnavailable, DatabaseUnfit, Store
from certeasy.store.inventory import VALID as IN_FORCE
from certeasy.store.inventory import AccountsWanted, CertificatesWanted
from events.counting import counted
from journal.breaks import printable
from projections.accounts import ACCOUNTS, DEACTIVATED, REVOKED, VALID, Account

_THUMBPRINT = re.compile("[A-Za-z0-9_-]{43}")
_ERASED = "sealed, and its key was destroyed"

with_account = click.argument("account")


class Listed(msgspec.Struct, frozen=True):
    """An account as `accounts list` shows it; `created` is RFC 3339 in UTC.

    `status` is valid, deactivated (by its holder) or revoked (by an administrator). `eab` is the
    key that it was bound with, `contact` whether it has left one.
    """

    id: str
    status: str
    created: str
    eab: str
    thumbprint: str
    contact: bool


class Shown(msgspec.Struct, frozen=True):
    """An account as `accounts show --json` shows it.

    `contacts` is what it has left, in clear; empty also where its key was destroyed. `valid` is the
    number of its certificates that are.
    """

    account: Listed
    contacts: tuple[str, ...]
    erased: bool
    valid: int


@click.group()
def accounts() -> None:
    """List, show and close ACME accounts.

    ACCOUNT is an account's id, its URL, or the thumbprint of its key.
    """


@accounts.command(
    "list",
    short_help="List accounts.",
    epilog="Example: certeasy accounts list -f config.yml --status valid --csv",
)
@with_config
@click.option(
    "--status",
    type=click.Choice([VALID, DEACTIVATED, REVOKED]),
    default=None,
    help="In this state: deactivated by its holder, revoked by an administrator.",
)
@click.option("--eab", metavar="KID", default="", help="Bound with this external account key.")
@click.option(
    "--created-since",
    metavar="TIME",
    callback=a_moment,
    help="Created at this time or later, such as 2026-11-01 (UTC).",
)
@with_listing
@told(DatabaseUnavailable, DatabaseUnfit)
def list_(
    config_file: Path,
    status: str | None,
    eab: str,
    created_since: str,
    limit: int | None,
    after: str,
    *,
    as_json: bool,
    as_csv: bool,
) -> None:
    """List accounts, the oldest first. May be run beside the server.

    Contacts are personal data: `accounts show` tells one account's. A long listing is read and
    printed a page at a time; with --limit, the next part is what comes --after the last id.

    Exit codes: 0 listed, be it nothing; 1 the database cannot be read; 2 the command line is wrong.
    """
    how = form(as_json=as_json, as_csv=as_csv)
    wanted = AccountsWanted(status or "", eab)
    with tables_of(read(config_file).database) as store:
        every = store.accounts_wanted(wanted, after)
        found = (_listed(each) for each in every if each.created >= created_since.removesuffix("Z"))
        tell(found, Listed, how, limit, LINES)


@accounts.command(
    short_help="Show an account, and its contacts.",
    epilog="Example: certeasy accounts show ID -f config.yml",
)
@with_account
@with_config
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@told(DatabaseUnavailable, DatabaseUnfit)
def show(account: str, config_file: Path, *, as_json: bool) -> None:
    """Show ACCOUNT with its contacts, in clear as long as their key is there. May be run beside the
    server.

    Its certificates lists `certeasy certs list --account ID -f config.yml`; what it did, and from
    which addresses, tells `certeasy audit show account ID -f config.yml`.

    Exit codes: 0 shown, 1 there is none such, or the database cannot be read.
    """
    with tables_of(read(config_file).database) as store:
        shown = _shown(store, _found(store, account))
    tell_one(shown, _sheet(shown), 14, as_json=as_json)


@accounts.command(
    short_help="Close an account.",
    epilog="Example: certeasy accounts deactivate ID -f config.yml --yes",
)
@with_account
@with_config
@click.option("--yes", is_flag=True, help="Do it: without, only tell which one it is.")
@refusals_told
def deactivate(account: str, config_file: Path, *, yes: bool) -> None:
    """Close ACCOUNT, for good. With the server running or stopped.

    It does nothing more here, and its orders are not handed to an authority any more; to its client
    it is `revoked` (RFC 8555 section 7.1.2), and its key registers no other. Certificates that it
    has stay good until they expire or are revoked.

    Exit codes: 0 done, told what would be done, or it was closed already; 1 there is none such,
    refused or failed.
    """
    settings = read(config_file)
    with tables_of(settings.database) as store:
        found = _found(store, account)
        valid = _certificates(store, found)
    if not yes:
        click.echo(printable("  ".join(_cells(_listed(found)))))
        click.echo("nothing was changed: with --yes, it is closed, for good")
        return
    if carry_out_with(settings, CloseAccount(found.id)).anew:
        stay = counted(valid, "certificate stays", "certificates stay")
        click.echo(f"account {found.id} is closed; {stay} good")
    else:
        click.echo(f"account {found.id} was closed already")


def _found(store: Store, text: str) -> Account:
    """Return the account that is meant, or end the command."""
    word = text.strip().rpartition("/")[2]
    found = store.get(ACCOUNTS, word)
    if found is None and _THUMBPRINT.fullmatch(word):
        found = store.account_with_key(word)
    if found is None:
        fail(f"there is no account {printable(text)[:80]}: 'certeasy accounts list -f config.yml'")
    return found


def _listed(account: Account) -> Listed:
    return Listed(
        id=account.id,
        status=account.status,
        created=account.created,
        eab=account.eab,
        thumbprint=account.thumbprint,
        contact=account.contact is not None,
    )


def _cells(each: Listed) -> list[str]:
    parts = [each.id, each.status, f"since {each.created}", f"key {each.thumbprint}"]
    parts += [f"external account key {each.eab}"] if each.eab else []
    parts += ["with a contact"] if each.contact else []
    return parts


LINES = Lines((("id", 26), ("status", 11), ("created", 33), ("key", 0)), _cells)


def _certificates(store: Store, account: Account) -> int:
    """Return how many of an account's certificates are valid."""
    now = rfc3339(SystemClock().now())
    wanted = CertificatesWanted(now, account_id=account.id, status=IN_FORCE)
    return sum(1 for _ in store.certificates_wanted(wanted))


def _shown(store: Store, account: Account) -> Shown:
    clear = Subjects(store, RandomIds(SystemClock())).open(account.contact)
    contacts = () if clear is None else msgspec.json.decode(clear, type=tuple[str, ...])
    return Shown(
        account=_listed(account),
        contacts=contacts,
        erased=account.contact is not None and clear is None,
        valid=_certificates(store, account),
    )


def _sheet(shown: Shown) -> Iterator[tuple[str, str]]:
    """Yield what is told of an account, line by line."""
    each = shown.account
    yield "id", each.id
    yield "status", each.status
    yield "created", each.created
    yield "key", each.thumbprint
    if each.eab:
        yield "external key", each.eab
    yield "contacts", _ERASED if shown.erased else " ".join(shown.contacts) or "none"
    yield "certificates", f"{shown.valid} valid"
