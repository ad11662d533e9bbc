"""`certeasy renew-all`: have certificates renewed ahead of their time.

Clients that ask when to renew (RFC 9773) are told to do so at once, or within a window from now.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import click
import msgspec

from certeasy.admin.renewal import MOST, RequestRenewal
from certeasy.audit import show
from certeasy.cli.administration import carry_out_with, refusals_told
from certeasy.cli.at_rest import existing_store
from certeasy.cli.options import a_duration, a_moment, fail, read, rfc3339, with_config
from certeasy.cli.progress import progress_bar
from certeasy.clock import SystemClock
from certeasy.decide import renewal
from certeasy.ids import RandomIds
from certeasy.settings import Settings
from certeasy.store import Store
from events.counting import counted
from journal.breaks import printable
from projections.certificates import CERTIFICATES, Certificate

LARGEST = 16 << 20
"""Bytes of a list of serials: some hundred thousand."""
_SHOWN = 20


class _Wanted(msgspec.Struct, frozen=True):
    """Which certificates a campaign is about; empty: any. `serials` None: they are not listed."""

    authority: str = ""
    before: str = ""
    serials: tuple[str, ...] | None = None


class _Told(msgspec.Struct, frozen=True):
    """What `--json` prints; `campaign` is empty where nothing was changed."""

    campaign: str
    certificates: int
    start: str
    end: str
    unknown_serials: tuple[str, ...]
    serials: tuple[str, ...]


class _Outcome(msgspec.Struct, frozen=True):
    """What `--campaign --json` prints: how many certificates came to what, and what is left."""

    campaign: str
    renewed: int
    revoked: int
    expired: int
    left: int
    serials_left: tuple[str, ...]


@click.command(
    "renew-all",
    epilog="Examples: certeasy renew-all --before 2026-11-01 --window 3d -f config.yml;"
    " certeasy renew-all --serials stolen.txt -f config.yml --dry-run;"
    " certeasy renew-all --campaign ID -f config.yml",
)
@with_config
@click.option(
    "--authority", metavar="NAME", default="", help="Certificates that this authority issued."
)
@click.option(
    "--before",
    metavar="TIME",
    callback=a_moment,
    help="Certificates valid since before this time, such as 2026-11-01 (UTC).",
)
@click.option(
    "--serials",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Certificates in this list: a serial number in hex on each line.",
)
@click.option(
    "--window",
    metavar="DURATION",
    callback=a_duration,
    help="Spread over so long, such as 3d; without: at once.",
)
@click.option(
    "--campaign", metavar="ID", default="", help="Tell how far a campaign is, and change nothing."
)
@click.option("--dry-run", is_flag=True, help="Only tell which they are; change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@refusals_told
def renew_all(
    config_file: Path,
    authority: str,
    before: str,
    serials: Path | None,
    window: timedelta | None,
    campaign: str,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Ask for certificates to be renewed ahead of their time, with the server running or stopped.

    Those in force that have no successor yet: of an authority, from before a time, of both
    together, or those in a list of serials. Clients that ask when to renew learn of it the next
    time they ask. What was asked for is recorded, and stays; nothing is revoked.

    `--campaign` tells how many of a campaign's certificates were renewed, revoked or have expired,
    and lists those that are left.

    Exit codes: 0 done, or told; 1 none is covered, there is no such campaign, refused or failed; 2
    the command line is wrong.
    """
    searched = bool(authority or before)
    if campaign and (searched or serials or window or dry_run):
        raise click.UsageError(
            "--campaign stands alone: it changes nothing, so leave the other options out"
        )
    if serials and searched:
        raise click.UsageError("--serials stands alone: leave --authority and --before out")
    if not (campaign or serials or searched):
        raise click.UsageError("say which: --authority, --before, or --serials")
    settings = read(config_file)
    if campaign:
        _tell_outcome(settings, campaign, as_json=as_json)
    else:
        wanted = _Wanted(authority, before, None if serials is None else _listed(serials))
        _renew(settings, wanted, window, dry_run=dry_run, as_json=as_json)


def _renew(
    settings: Settings,
    wanted: _Wanted,
    window: timedelta | None,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Ask for what is wanted to be renewed, or tell what it is, and say how many there are."""
    clock = SystemClock()
    store = existing_store(settings.database)
    try:
        _check_authority(settings, store, wanted.authority)
        unknown = _unknown(store, wanted)
        found: dict[str, str] = {}
        for each in _covered(store, wanted, clock.now()):
            found[each.id] = each.serial
            if dry_run and not as_json:
                click.echo(_line(each))
    finally:
        store.close()
    _tell_unknown(unknown)
    if not found:
        fail("no certificate that is in force, and has no successor, is covered")
    moment = renewal.asked_window(clock.now(), window)
    start, end = rfc3339(moment.start), rfc3339(moment.end)
    campaign = ""
    if not dry_run:
        campaign = RandomIds(clock).new()
        asked = RequestRenewal(campaign, (), start, end, wanted.authority, wanted.before)
        _request(settings, asked, list(found))
    if as_json:
        told = _Told(campaign, len(found), start, end, tuple(unknown), tuple(found.values()))
        click.echo(msgspec.json.format(msgspec.json.encode(told), indent=2))
        return
    click.echo(_sentence(len(found), start, end, campaign))


def _check_authority(settings: Settings, store: Store, name: str) -> None:
    """End the command where no authority has that name; one that is gone is known by the log."""
    known = {each.name for each in settings.authorities} | set(store.authorities())
    if name and name not in known:
        names = printable(", ".join(sorted(known)))
        fail(f"there is no authority {printable(name)!r}; known: {names}", 2)


def _tell_unknown(serials: list[str]) -> None:
    for serial in serials[:_SHOWN]:
        click.echo(f"certeasy: no certificate has the serial {serial}", err=True)
    if len(serials) > _SHOWN:
        more = counted(len(serials) - _SHOWN, "more serial is", "more serials are")
        click.echo(f"certeasy: {more} unknown", err=True)


def _line(certificate: Certificate) -> str:
    names = ", ".join(certificate.names)
    valid = f"{certificate.authority}  to {certificate.not_after}"
    return printable(f"{certificate.serial}  {valid}  {names}")


def _sentence(count: int, start: str, end: str, campaign: str) -> str:
    what = counted(count, "certificate")
    if not campaign:
        return f"{what} would be asked to be renewed; nothing was changed"
    return f"{what} asked to be renewed, from {start} to {end} (campaign {campaign})"


def _tell_outcome(settings: Settings, campaign: str, *, as_json: bool) -> None:
    """Tell what became of a campaign's certificates, and list those that are left."""
    now = SystemClock().now()
    counts = dict.fromkeys(renewal.OUTCOMES, 0)
    left: list[str] = []
    store = existing_store(settings.database)
    try:
        for certificate_id in store.campaign(campaign):
            certificate = store.get(CERTIFICATES, certificate_id)
            if certificate is None:
                continue
            found = renewal.outcome(certificate, _others(store, certificate), now)
            counts[found] += 1
            if found == renewal.LEFT:
                left.append(certificate.serial)
                if not as_json:
                    click.echo(_line(certificate))
    finally:
        store.close()
    if not any(counts.values()):
        fail(f"there is no campaign {printable(campaign)}, or a later one asked for all of it")
    if as_json:
        told = _Outcome(campaign, **counts, serials_left=tuple(left))
        click.echo(msgspec.json.format(msgspec.json.encode(told), indent=2))
        return
    every = ", ".join(f"{count} {what}" for what, count in counts.items())
    click.echo(f"{counted(sum(counts.values()), 'certificate')}: {every}")


def _others(store: Store, certificate: Certificate) -> Iterator[Certificate]:
    """Yield the certificates for the first of a certificate's names."""
    for order_id in store.orders_for(certificate.names[0]):
        other = store.get(CERTIFICATES, order_id)
        if other is not None:
            yield other


def _request(settings: Settings, asked: RequestRenewal, certificates: list[str]) -> None:
    """Have it recorded, some thousands at a time."""
    with progress_bar("recording", len(certificates)) as progress:
        for first in range(0, len(certificates), MOST):
            some = tuple(certificates[first : first + MOST])
            carry_out_with(settings, msgspec.structs.replace(asked, certificates=some))
            progress(first + len(some))


def _covered(store: Store, wanted: _Wanted, now: datetime) -> Iterator[Certificate]:
    """Yield the certificates that are asked for, and can be renewed at all."""
    for certificate in _searched(store, wanted, now):
        if renewal.is_covered(certificate, now, wanted.authority, wanted.before):
            yield certificate


def _searched(store: Store, wanted: _Wanted, now: datetime) -> Iterator[Certificate]:
    if wanted.serials is None:
        with progress_bar("searching", store.certificate_count()) as progress:
            for done, certificate in enumerate(store.certificates(rfc3339(now)), start=1):
                yield certificate
                progress(done)
    else:
        with progress_bar("searching", len(wanted.serials)) as progress:
            for done, serial in enumerate(wanted.serials, start=1):
                yield from store.certificates_with_serial(serial)
                progress(done)


def _unknown(store: Store, wanted: _Wanted) -> list[str]:
    return [s for s in wanted.serials or () if not store.certificates_with_serial(s)]


def _listed(file: Path) -> tuple[str, ...]:
    """Return the serials in a file, each once; empty lines and those that begin with # count for
    nothing. Ends the command at a line that is none."""
    if file.stat().st_size > LARGEST:
        fail(f"{file} is larger than {LARGEST >> 20} MiB; take it apart")
    found: dict[str, None] = {}
    lines = file.read_text("utf-8", "replace").splitlines()
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            found[show.wanted(show.SERIAL, text)] = None
        except ValueError:
            fail(f"{file}:{number}: {printable(text)[:80]!r} is no serial number in hex")
    return tuple(found)
