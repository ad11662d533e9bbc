"""`certeasy doctor`: is everything as it should be, and if not, what is to be done?"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

import click
import msgspec
from rich.console import Console

from certeasy import config
from certeasy.ca.adcs.findings import Finding, Status
from certeasy.cli import doctor_machine as machine
from certeasy.cli import doctor_node as own
from certeasy.cli import preflight
from certeasy.cli.findings import line, shown, summed
from certeasy.cli.options import told, with_config
from certeasy.cli.printing import as_typed
from certeasy.clock import Clock, SystemClock
from certeasy.ids import RandomIds
from certeasy.settings import Settings
from certeasy.store import DatabaseUnavailable, DatabaseUnfit, Store
from certeasy.store.databases import place_of


class Report(msgspec.Struct, frozen=True):
    """What `doctor --json` prints: findings have step, status (ok, warn, fail, skipped), text, and
    where there is one: remedy, code, about (the authority)."""

    ok: bool
    findings: tuple[Finding, ...]


@click.command(epilog="Example: certeasy doctor -f /etc/certeasy/config.yml")
@with_config
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@told()
def doctor(config_file: Path, *, as_json: bool) -> None:
    """Look at everything that a server needs, line by line, beside a running one or without.

    Configuration, permissions, disks, the server, its ports and certificates, the database, the
    rights of its user and its copies, clock, secrets, the node's key, its journal, the writer's
    place, the CAs.
    Each line is ok, warn, fail or skipped, with what is to be done. Nothing is changed.

    Exit codes: 0 nothing failed (there may be warnings), 1 something did, 2 the command line is
    wrong.
    """
    console = None if as_json else Console(highlight=False, soft_wrap=True)
    findings = []
    for finding in shown(_typed(examine(config_file, SystemClock())), console):
        findings.append(finding)
        if console is not None:
            console.print(line(finding))
    ok = all(finding.status != "fail" for finding in findings)
    if console is None:
        click.echo(msgspec.json.encode(Report(ok, tuple(findings))).decode())
    else:
        console.print(f"\n{summed(findings)}")
    if not ok:
        raise SystemExit(1)


def _typed(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Name the configuration that was given in each command."""
    for each in findings:
        yield msgspec.structs.replace(each, text=as_typed(each.text), remedy=as_typed(each.remedy))


def examine(config_file: Path, clock: Clock) -> Iterator[Finding]:
    """Yield what is found, step by step, as it is found."""
    try:
        settings, page = config.read_page(config_file)
    except config.ConfigurationError as error:
        yield from (Finding("config", "fail", str(mistake)) for mistake in error.mistakes)
        return
    if page.mistakes:
        preflight.check(settings, page)
        yield from _mistakes(page)
        yield Finding("config", "skipped", "nothing else is looked at while the file is wrong")
        return
    preflight.check(settings, page)
    yield from _mistakes(page)
    for warning in config.warnings(settings):
        yield Finding("config", "warn", warning)
    if not page.mistakes:
        yield Finding("config", "ok", f"{config_file} is in order")
    sound = not page.mistakes
    yield from _looked("permissions", lambda: machine.permissions(settings, config_file))
    yield from _looked("disk", lambda: machine.disks(settings))
    running = machine.server(settings)
    yield from running.findings
    there = settings
    if running.is_so:
        there = machine.as_running(settings, own.in_use(settings))
        yield from _looked("server", lambda: machine.readiness(there))
        yield from _looked("ports", lambda: machine.moved(settings, there))
    yield from _looked("ports", lambda: machine.ports(there, running=running.is_so))
    if sound:
        yield from _looked("tls", lambda: machine.tls(there, clock.now(), running=running.is_so))
    yield from _database(settings, clock, running=running.is_so)
    if sound:
        yield from _of_domains(settings)


def _mistakes(page: config.Page) -> Iterator[Finding]:
    for mistake in sorted(page.mistakes, key=lambda each: each.line):
        yield Finding("config", "fail", str(mistake))


def _looked(step: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """Yield what a step finds; if it cannot look, that is what it found."""
    try:
        yield from look()
    except (DatabaseUnavailable, OSError) as error:
        yield Finding(step, "fail", f"it could not be looked at: {error}")


def _database(settings: Settings, clock: Clock, *, running: bool) -> Iterator[Finding]:
    """Yield everything that the database is needed for."""
    database = settings.database
    if database.driver == "sqlite" and not database.path.exists():
        name = place_of(database)
        if settings.audit.path.exists() and settings.audit.path.stat().st_size:
            text = f"there is no {name}, and the journal {settings.audit.path} has lines"
            yield Finding("database", "fail", text, "put a backup back: docs/recovery.md")
        else:
            yield Finding("database", "ok", f"{name} is not there yet: the first start makes it")
        return
    try:
        store = Store.open(database)
    except DatabaseUnfit as error:
        yield Finding("database", "fail", str(error))
        return
    with closing(store):
        found = list(_looked("database", lambda: own.database(settings, store)))
        yield from found
        if any(each.status == "fail" for each in found):
            yield Finding("node", "skipped", "not looked at: database comes first")
            return
        yield from _looked("node", lambda: _node(settings, store, clock, running=running))


def _node(settings: Settings, store: Store, clock: Clock, *, running: bool) -> Iterator[Finding]:
    ids = RandomIds(clock)
    tables = not store.is_empty()
    if tables:
        yield own.rights(store)
        yield own.replication(settings, store)
        yield from own.clock(settings, store, clock.now())
        yield own.secrets(settings, store, ids)
        yield from own.authorities(settings, store, clock.now())
        yield from own.license_(settings, store, clock.now())
        yield from own.bindings(settings, store)
    who, findings = own.node(settings, store, ids, running=running)
    yield from findings
    if who is not None:
        yield from own.journal(settings, store, who, running=running)
    if tables:
        yield own.writer(store, who, running=running)


def _of_domains(settings: Settings) -> Iterator[Finding]:
    """Yield what is to be said of the CAs of domains: what is not in order, and a sum."""
    for each in settings.authorities:
        if each.embedded is not None:
            continue
        # What speaks RPC takes its time to be imported, and is not for everybody.
        from certeasy.cli.adcs import report  # noqa: PLC0415

        found = report(settings, each, None, None).findings
        for finding in found:
            if finding.status in {"fail", "warn"}:
                text = f"{each.name}: {finding.step}: {finding.text}"
                yield msgspec.structs.replace(finding, step="ca", text=text, about=each.name)
        status: Status = "skipped" if any(finding.status == "fail" for finding in found) else "ok"
        more = "; 'certeasy adcs check -f config.yml' shows all of them"
        yield Finding("ca", status, f"{each.name}: {summed(found)}{more}", about=each.name)
