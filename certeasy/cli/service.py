"""`certeasy service`: run by the system, from its start to its end.

On Windows that is a service, on Linux a systemd unit; either platform's commands say on the other
one what to use there.
"""

import getpass
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from certeasy.cli.options import fail, read, with_config
from certeasy.cli.unit import secrets_of
from certeasy.cli.unit import unit as text_of_unit
from certeasy.serve.stopping import longest_stop
from certeasy.settings import Settings

WINDOWS = sys.platform == "win32"
OWN_ACCOUNT = r"NT SERVICE\certeasy"
WITHOUT_PASSWORD = ("nt service\\", "nt authority\\")
ON_LINUX = (
    "this is for Windows; here: certeasy service unit -f config.yml"
    " > /etc/systemd/system/certeasy.service, then systemctl"
)
ON_WINDOWS = "this is for Linux; here: certeasy service install -f config.yml"
NO_PYWIN32 = "pywin32 is not installed: pip install 'certeasy[windows]'"
WAITS = "waiting: it runs and serves no clients yet; the log and /readyz tell what it waits for"


def is_without_password(account: str) -> bool:
    """Tell whether Windows itself knows the secret of an account: a gMSA, or one of its own."""
    lower = account.lower()
    return lower.endswith("$") or lower == "localsystem" or lower.startswith(WITHOUT_PASSWORD)


def elsewhere(settings: Settings, config_file: Path, home: Path) -> Iterator[str]:
    """Yield what the service's account has to be let in to by hand: what the configuration names
    outside the work directory. What is in `home` it may read, if the configuration is there."""
    database, logs = settings.database, settings.logs
    written = [settings.audit.path, settings.secrets.key_file]
    written += [database.path] if database.driver == "sqlite" else []
    written += [logs.file] if logs.output == "file" and logs.file is not None else []
    read_only = [file for file in secrets_of(settings) if file not in written]
    read_only += [
        bundle.certificate
        for bundle in settings.tls_certificate_manager.bundles
        if bundle.certificate is not None
    ]
    readable = home if config_file.is_relative_to(home) else settings.workdir
    for folder in dict.fromkeys(file.parent for file in written):
        if not folder.is_relative_to(settings.workdir):
            yield f"write in {folder}"
    for file in dict.fromkeys(read_only):
        if not file.is_relative_to(settings.workdir) and not file.is_relative_to(readable):
            yield f"read {file}"


def data_folder() -> Path:
    r"""Return %ProgramData%\certeasy."""
    return Path(os.environ.get("ProgramData", r"C:\ProgramData"), "certeasy")  # noqa: SIM112, TID251 - Windows'


@click.group()
def service() -> None:
    """Have the system run the server: a Windows service, or a systemd unit."""


def _managed(work: Callable[[Any], str]) -> None:
    """Do something with the service manager, and print what comes of it.

    Ends with a line where it is refused.
    """
    if not WINDOWS:
        fail(ON_LINUX)
    try:
        scm: Any = importlib.import_module("certeasy.cli.scm")  # an extra
    except ImportError:
        fail(NO_PYWIN32)
    try:
        click.echo(work(scm))
    except (scm.ServiceRefused, OSError) as error:
        fail(str(error))


@service.command(
    short_help="Make the Windows service.",
    epilog=r"Example: certeasy service install -f C:\ProgramData\certeasy\config.yml"
    " --account 'CORP\\gmsa-acme$'",
)
@click.option(
    "-f",
    "--config",
    "config_file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help=r"The configuration; left out: %ProgramData%\certeasy\config.yml.",
)
@click.option(
    "--account",
    default=OWN_ACCOUNT,
    help="Who it runs as: a gMSA (its name ends in $), or any other, whose password is asked for."
    f" Left out: {OWN_ACCOUNT}, which needs none.",
)
@click.option(
    "--password-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the account's password is, in the place of the question.",
)
def install(config_file: Path | None, account: str, password_file: Path | None) -> None:
    """Make the Windows service, which starts with the system. It is not started yet.

    The configuration and the work directory are kept to the system, administrators, and the
    service's account, which may read the one and write in the other. Exit codes: 0 made, 1 refused
    or failed.
    """

    def make(scm: Any) -> str:
        home = data_folder()
        file = (config_file or home / "config.yml").absolute()
        settings = read(file)
        password = _password(account, password_file)
        left_out = scm.install(
            file,
            home=home,
            workdir=settings.workdir,
            account=account,
            password=password,
            longest_stop=longest_stop(settings),
        )
        for each in left_out:
            click.echo(f"left out: {each}, which this system does not know", err=True)
        for each in elsewhere(settings, file, home):
            click.echo(f"{account} must be let in by hand (icacls) to {each}", err=True)
        return (
            f"installed: {scm.SHOWN}, as {account}, with {file}\n"
            f"work directory: {settings.workdir}; next: certeasy service start"
        )

    _managed(make)


def _password(account: str, file: Path | None) -> str | None:
    if is_without_password(account):
        return None
    if file is not None:
        return file.read_text(encoding="utf-8").rstrip("\r\n")
    return getpass.getpass(f"Password of {account}: ")


@service.command(
    short_help="Take the Windows service away.", epilog="Example: certeasy service remove"
)
def remove() -> None:
    """Stop the Windows service, if it runs, and take it away; what it has written stays.

    Exit codes: 0 done, 1 refused or failed.
    """

    def take_away(scm: Any) -> str:
        scm.remove()
        return "removed"

    _managed(take_away)


@service.command(short_help="Start the Windows service.", epilog="Example: certeasy service start")
def start() -> None:
    """Start the Windows service, unless it runs, and wait until clients are served.

    A start that takes longer than two minutes, because the database is away or a long log is read
    again, goes on without this command. Exit codes: 0 running, 1 refused, failed or waiting.
    """

    def begin(scm: Any) -> str:
        found: str = scm.start()
        if found != "running":
            fail(WAITS)
        return found

    _managed(begin)


@service.command(short_help="Stop the Windows service.", epilog="Example: certeasy service stop")
def stop() -> None:
    """Stop the Windows service, if it runs, and wait until all that was begun has ended.

    Exit codes: 0 stopped, 1 refused or failed.
    """

    def end(scm: Any) -> str:
        scm.stop()
        return "stopped"

    _managed(end)


@service.command(
    short_help="Have the Windows service read its settings again.",
    epilog="Example: certeasy service reload",
)
def reload() -> None:
    """Have the Windows service read its configuration again, as SIGHUP does on Linux.

    What came of it is in the log and in the Event Log. Exit codes: 0 asked, 1 refused or failed.
    """

    def ask(scm: Any) -> str:
        scm.reload()
        return "asked; the log tells what came of it"

    _managed(ask)


@service.command(
    short_help="Tell how the Windows service is.", epilog="Example: certeasy service status"
)
def status() -> None:
    """Tell how the Windows service is: running, waiting, starting, stopping, or stopped.

    Exit codes: 0 running, 1 anything else, or not installed.
    """

    def tell(scm: Any) -> str:
        found: str = scm.status()
        if found != "running":
            click.echo(found)
            raise SystemExit(1)
        return found

    _managed(tell)


@service.command(
    short_help="Print the systemd unit.",
    epilog="Example: certeasy service unit -f /etc/certeasy/config.yml"
    " > /etc/systemd/system/certeasy.service",
)
@with_config
@click.option("--user", default="certeasy", help="Who it runs as; left out: certeasy.")
def unit(config_file: Path, user: str) -> None:
    """Print a systemd unit for this configuration, this certeasy, and what its work needs.

    Exit codes: 0 printed, 1 the configuration is wrong.
    """
    if WINDOWS:
        fail(ON_WINDOWS)
    file = config_file.absolute()
    program = Path(sys.executable).with_name("certeasy")
    click.echo(text_of_unit(read(file), program=program, config=file, user=user), nl=False)
