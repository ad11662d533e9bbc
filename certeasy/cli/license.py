"""`certeasy license`: what the vendor granted, and what becomes of it."""

from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from certeasy.admin.license import (
    AcknowledgeDegraded,
    GrantForceGrace,
    InstallLicense,
    LicenseSet,
    RefreshLicense,
)
from certeasy.cli.about_license import foretell, terms_of
from certeasy.cli.administration import carry_out, refusals_told
from certeasy.cli.at_rest import tables_of
from certeasy.cli.options import fail, now_by, read, told, with_config
from certeasy.cli.printing import as_typed
from certeasy.clock import SystemClock
from certeasy.decide import license as deciding
from certeasy.decide.license import Standing
from certeasy.licensing import banner
from certeasy.licensing.ahead import Ahead, ahead
from certeasy.licensing.banner import Banner, frame
from certeasy.licensing.file import LARGEST
from certeasy.licensing.terms import Terms
from certeasy.settings import Settings
from certeasy.store import DatabaseUnavailable, DatabaseUnfit, Store
from journal.breaks import printable
from projections.license import UNLIMITED, License, Limits

_NUMBERS = {UNLIMITED: "unlimited", 0: "none"}


class ShownLimits(msgspec.Struct, frozen=True):
    """What may be used; a number of -1 stands for any number."""

    managed_servers: int
    authorities: int
    databases: tuple[str, ...]
    topologies: tuple[str, ...]


class ShownAhead(msgspec.Struct, frozen=True):
    """How many seconds the log is ahead of the clock, and the first event that is: nothing of it
    where it is not."""

    seconds: int = 0
    event: int = 0
    type: str = ""
    node: str = ""
    at: str = ""


class Shown(msgspec.Struct, frozen=True):
    """What `license status --json` prints; an empty text means none, times are RFC 3339 in UTC."""

    state: str
    until: str
    plan: str
    holder: str
    license: str
    license_key: str
    installation_key: str
    expires: str
    trial: bool
    managed_servers: int
    limits: ShownLimits
    reasons: tuple[str, ...]
    at: str
    clock: str
    ahead: ShownAhead


@click.group(name="license")
def license_() -> None:
    """Install the license, and see what follows from it."""


@license_.command(
    short_help="Take a license into use.",
    epilog="Example: certeasy license install certeasy.lic -f config.yml",
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@with_config
@refusals_told
def install(file: Path, config_file: Path) -> None:
    """Verify FILE, which the vendor signed, and take it into use. A file that takes a license back
    is recorded in the same way. With the server running or stopped; nobody else is asked.

    Exit codes: 0 done, or it is in use already; 1 refused or failed: what was in use stays.
    """
    try:
        with file.open("rb") as opened:
            block = opened.read(LARGEST + 1).decode("ascii", "replace")
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror}")
    if len(block) > LARGEST:
        fail(f"{file} is larger than {LARGEST} bytes, which no license is")
    done = carry_out(config_file, InstallLicense(block))
    click.echo(_sentence(done, "recorded", "that is known already"))


@license_.command(
    short_help="Tell what follows from the license.",
    epilog="Example: certeasy license status -f config.yml --json",
)
@with_config
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@told(DatabaseUnavailable, DatabaseUnfit)
def status(config_file: Path, *, as_json: bool) -> None:
    """Tell the license, what may be used under it and what is used, and until when. May be run
    beside the server; changes nothing.

    Exit codes: 0 told, be there a license or not; 1 the database cannot be read.
    """
    settings = read(config_file)
    with tables_of(settings.database) as store:
        shown, found, message = _shown(store, settings)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(shown), indent=2))
        return
    for line in _lines(shown):
        click.echo(printable(line))
    if found is not None:
        click.echo(f"the log's time     {found.latest}, {found.span} ahead of {found.clock}:")
        click.echo(f"                   {found.event}")
    if message is not None:
        click.echo(framed(message))


@license_.command(
    short_help="Go on although more is configured than it allows.",
    epilog="Example: certeasy license acknowledge-degraded -f config.yml",
)
@with_config
@refusals_told
def acknowledge_degraded(config_file: Path) -> None:
    """Record that you have seen what is configured beyond the license: the server may start then,
    and certificates are renewed, but there are no new servers. Other reasons need it again. With
    the server running or stopped.

    Exit codes: 0 done, or it was acknowledged already; 1 refused (it is not degraded) or failed.
    """
    done = carry_out(config_file, AcknowledgeDegraded())
    click.echo("acknowledged" if done.anew else "it was acknowledged already")
    for reason in done.reasons:
        click.echo(printable(f"  {reason}"))
    click.echo(f"  hash {done.hash}")


@license_.command(
    short_help="Go on for a week with a license that has expired.",
    epilog="Example: certeasy license force-grace --confirm -f config.yml",
)
@with_config
@click.option("--confirm", is_flag=True, help="Do it: without, only tell what would be done.")
@told(DatabaseUnfit)
@refusals_told
def force_grace(config_file: Path, *, confirm: bool) -> None:
    """Let a license that has expired, and whose grace is over, count for seven days more: as often
    as needed, up to three weeks after it expired. Not for one that was revoked, or is gone beyond.
    With the server running or stopped.

    Exit codes: 0 done, or told what would be done; 1 refused or failed.
    """
    if not confirm:
        foretell(
            config_file,
            lambda rows, now, terms: deciding.force_grace(
                rows, now, terms.configured, terms.forged(deciding.of(rows))
            ),
        )
        return
    done = carry_out(config_file, GrantForceGrace())
    click.echo(_sentence(done, "granted", "it was granted already"))
    click.echo(f"  not beyond {done.cap}")


@license_.command(
    short_help="Ask the vendor for a newer one.",
    epilog="Example: certeasy license refresh -f config.yml",
)
@with_config
@refusals_told
def refresh(config_file: Path) -> None:
    """Ask the vendor at license.refresh-url for a newer license, and take it into use. Only with
    license.offline: false; a running server does so by itself, too. With the server running or
    stopped.

    Exit codes: 0 done, or there was nothing new; 1 refused or failed: what was in use stays.
    """
    done = carry_out(config_file, RefreshLicense())
    click.echo(_sentence(done, "recorded", "there is nothing new"))


# -- what is told ----------------------------------------------------------------------------------


def framed(message: Banner) -> str:
    """Return a banner as it is shown, its commands as they are typed here."""
    return frame([as_typed(printable(line)) for line in (message.title, "", *message.lines)])


def _shown(store: Store, settings: Settings) -> tuple[Shown, Ahead | None, Banner | None]:
    terms, row = terms_of(store, settings), deciding.of(store)
    here, now = SystemClock().now(), now_by(store)
    found, log = terms.standing(store, now), ahead(store, here)
    matters = log is not None and terms.standing(store, here).state != found.state
    message = banner.of(found, row, terms.installation, now, log if matters else None)
    times = deciding.second(now), deciding.second(here)
    return _told(found, row, terms, times, store.seats(now), log), log, message


def _told(
    found: Standing,
    row: License | None,
    terms: Terms,
    times: tuple[str, str],
    seats: int,
    log: Ahead | None,
) -> Shown:
    used = None if row is None else row.installed
    limits: Limits = found.limits
    seconds = 0 if log is None else int(log.by.total_seconds())
    return Shown(
        state=found.state,
        until=found.until,
        plan=found.plan,
        holder="" if used is None else used.holder,
        license="" if used is None else used.id,
        license_key="" if used is None else used.key,
        installation_key=terms.installation,
        expires="" if used is None else used.expires,
        trial=used is not None and used.trial,
        managed_servers=seats,
        limits=ShownLimits(
            limits.managed_servers, limits.authorities, limits.databases, limits.topologies
        ),
        reasons=found.reasons,
        at=times[0],
        clock=times[1],
        ahead=ShownAhead()
        if log is None
        else ShownAhead(seconds, log.position, log.type, log.node, log.at),
    )


def _lines(shown: Shown) -> Sequence[str]:
    limits = shown.limits
    until = f" until {shown.until}" if shown.until else ""
    lines = [
        f"state              {shown.state}{until}",
        f"installation key   {shown.installation_key}",
    ]
    if shown.license:
        trial = ", trial" if shown.trial else ""
        lines += [
            f"license            {shown.license} ({shown.plan}{trial}), expires {shown.expires}",
            f"license key        {shown.license_key}",
            f"holder             {shown.holder}",
        ]
    elif shown.plan:
        lines.append(f"plan               {shown.plan}")
    lines += [
        f"managed servers    {shown.managed_servers} of {_number(limits.managed_servers)}",
        f"AD CS authorities  {_number(limits.authorities)} allowed",
        f"databases          {' '.join(limits.databases) or 'none'}",
        f"topologies         {' '.join(limits.topologies) or 'none'}",
    ]
    return lines


def _number(limit: int) -> str:
    return _NUMBERS.get(limit, str(limit))


def _sentence(done: LicenseSet, anew: str, before: str) -> str:
    until = f" until {done.until}" if done.until else ""
    return f"{anew if done.anew else before}: the license is {done.state}{until}"
