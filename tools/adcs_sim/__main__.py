"""The simulated CA's command line."""

import sys
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table

from tools.adcs_sim.behaviour import Behaviour, issues, pends
from tools.adcs_sim.ca import Template
from tools.adcs_sim.control import Control, describe
from tools.adcs_sim.machine import LOOPBACK, Machine, Plan, machines

PORT = click.IntRange(0, 65535)
FILE = click.Path(path_type=Path)
TEMPLATES = (
    Template(name="WebServer"),
    Template(name="ManagerApproval", behaviour=pends()),
    Template(name="ThirdTime", behaviour=pends(polls=3)),
    Template(name="Slow", behaviour=issues(after=8)),
)


def _templates(
    _: click.Context, __: click.Parameter, told: tuple[str, ...]
) -> tuple[Template, ...]:
    """Return the templates that were told as NAME or NAME=KEY:VALUE,KEY:VALUE."""
    return tuple(_template(text) for text in told) or TEMPLATES


def _template(text: str) -> Template:
    name, _, behaviour = text.partition("=")
    pairs = [one.partition(":") for one in behaviour.split(",") if one]
    fields = {key: _number(value) for key, _, value in pairs}
    try:
        how = msgspec.convert(fields, Behaviour, strict=False)
    except msgspec.ValidationError as error:
        raise click.BadParameter(f"{text}: {error}") from None
    return Template(name=name, behaviour=how)


def _number(text: str) -> object:
    return int(text, 16) if text.startswith("0x") else text


def _accounts(
    _: click.Context, __: click.Parameter, told: tuple[str, ...]
) -> dict[str, str] | None:
    if not told:
        return None
    pairs = [text.partition(":") for text in told]
    if any(not password for _, _, password in pairs):
        raise click.BadParameter("NAME:PASSWORD is wanted")
    return {name: password for name, _, password in pairs}


@click.command(
    epilog="Example: python -m tools.adcs_sim --template WebServer"
    " --template Refused=then:deny,code:0x80094012 --mapper-port 1135"
)
@click.option("--name", "names", multiple=True, help="A CA's common name; may be repeated.")
@click.option("--host", default="ca1.lab.test", show_default=True, help="The machine's DNS name.")
@click.option("--address", default=LOOPBACK, show_default=True, help="Where to listen.")
@click.option("--anywhere", is_flag=True, help="Allow an address that is not loopback.")
@click.option("--domain", default="LAB", show_default=True, help="The domain's NetBIOS name.")
@click.option("--user", "accounts", multiple=True, callback=_accounts, help="NAME:PASSWORD.")
@click.option("--officer", "officers", multiple=True, help="Who may revoke; default: everybody.")
@click.option(
    "--template",
    "templates",
    multiple=True,
    callback=_templates,
    help="NAME, or NAME=KEY:VALUE,... with the keys of a behaviour (then, code, seconds, polls,"
    " cut, cut_at, wrong, ...).",
)
@click.option("--mapper-port", default=0, type=PORT, help="0: any; Windows has 135.")
@click.option("--port", default=0, type=PORT, help="Of ICertPassage. 0: any.")
@click.option("--objects-port", default=0, type=PORT, help="Of DCOM's objects. 0: any.")
@click.option("--pipe", type=FILE, help="Unix socket for a Samba's \\pipe\\cert.")
@click.option("--keytab", type=FILE, help="Speak Kerberos, with these keys.")
@click.option("--no-ntlm", is_flag=True, help="Do not speak NTLM.")
@click.option("--folder", type=FILE, help="Keep keys and database there.")
@click.option("--control", type=PORT, help="Take commands on this port. 0: any.")
@click.option("--json", "as_json", is_flag=True, help="Tell as JSON where it is.")
def main(
    *,
    names: tuple[str, ...],
    accounts: dict[str, str] | None,
    anywhere: bool,
    no_ntlm: bool,
    control: int | None,
    as_json: bool,
    **settings: object,
) -> None:
    """Be a Microsoft enterprise CA on this machine, until Ctrl-C.

    Templates, unless others are told: WebServer issues, ManagerApproval waits for an officer,
    ThirdTime is approved when it is asked for the third time, Slow takes 8 seconds. The account is
    svc-acme with the password Secret.123. Exit codes: 0 it ended, 1 it could not begin, 2 the
    command line is wrong.
    """
    if settings["address"] != LOOPBACK and not anywhere and not _loopback(settings["address"]):
        raise click.UsageError("its passwords are known to all: --anywhere if you mean it")
    if accounts is not None or no_ntlm:
        settings["accounts"] = {} if no_ntlm else accounts
    settings["officers"] = settings["officers"] or None
    plans = [_plan(name, len(names) > 1, settings) for name in names or ("LAB-CA",)]
    try:
        running = machines(plans)
    except OSError as error:
        click.echo(f"adcs_sim: it could not begin: {error}", err=True)
        sys.exit(1)
    line = Control(running, control or 0)
    try:
        _tell(running, line if control is not None else None, as_json=as_json)
        line.stopped.wait()
    except KeyboardInterrupt:
        pass
    finally:
        line.close()
        for one in running:
            one.close()


def _plan(name: str, several: bool, settings: dict[str, object]) -> Plan:
    """Return a plan; several CAs share everything but ports and folders."""
    folder = settings["folder"]
    own = {"folder": folder / name if several and isinstance(folder, Path) else folder}
    if several:
        own |= {"mapper_port": 0, "port": 0, "objects_port": 0, "pipe": None}
    return Plan(**{"name": name} | settings | own)  # type: ignore[arg-type]


def _loopback(address: object) -> bool:
    return str(address).startswith("127.")


def _tell(running: list[Machine], line: Control | None, *, as_json: bool) -> None:
    """Say where everything is."""
    if as_json:
        document = {
            "cas": [describe(one) for one in running],
            "control": line.port if line else None,
        }
        click.echo(msgspec.json.encode(document))
        return
    console = Console()
    if not console.is_terminal:
        console.width = 200  # a port that is cut off is of no use
    console.print(_table(running))
    plan = running[0].plan
    for account, password in plan.accounts.items():
        console.print(f"Account: {plan.domain}\\{account}, password {password}")
    if line:
        console.print(f"Commands are taken on {LOOPBACK}:{line.port}.")
    console.print("Ctrl-C ends it.")


def _table(running: list[Machine]) -> Table:
    table = Table(title="Simulated certification authorities")
    for column in ("CA", "endpoint mapper", "ICertPassage", "DCOM objects", "templates"):
        table.add_column(column, no_wrap=column != "templates")
    for machine in running:
        one = describe(machine)
        ports = (one.mapper_port, one.port, one.objects_port)
        table.add_row(
            one.name, *(f"{one.address}:{port}" for port in ports), " ".join(machine.ca.templates)
        )
    return table


if __name__ == "__main__":
    main()
