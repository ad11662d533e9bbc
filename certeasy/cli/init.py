"""`certeasy init`: from questions, or a script with the answers, to a configuration in order."""

import sys
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from certeasy import config
from certeasy.cli import init_next as after
from certeasy.cli import preflight
from certeasy.cli.init_answers import Script, Source, Terminal, script
from certeasy.cli.init_questions import NOW, Given, Wizard
from certeasy.cli.init_text import config_text
from certeasy.cli.options import fail, told
from certeasy.clock import SystemClock
from certeasy.cluster import boot, identity, room
from certeasy.cluster.boot import BootRefused
from certeasy.cluster.files import private_folder, write_once
from certeasy.cluster.identity import Identity
from certeasy.config.document import LARGEST
from certeasy.ids import RandomIds
from certeasy.settings import Settings

CA_UNUSABLE = 3
STANDARD_INPUT = "-"
file_path = click.Path(dir_okay=False, path_type=Path)


@click.command(
    epilog="Example: certeasy init --script answers.yml --output /etc/certeasy/config.yml"
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=file_path,
    default=Path("config.yml"),
    show_default=True,
    help="The configuration that is written, with mode 0600.",
)
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@click.option(
    "--script",
    "answers",
    metavar="FILE",
    help="Take the answers from this YAML file, - for standard input; nothing is asked.",
)
@click.option(
    "--save-script",
    "saved",
    metavar="FILE",
    type=file_path,
    help="Write the answers to this new file, for --script.",
)
@click.option(
    "--offline",
    is_flag=True,
    help="Connect to nothing: neither database server nor CA is looked at.",
)
@told(BootRefused)
def init(
    *, output: Path, force: bool, answers: str | None, saved: Path | None, offline: bool
) -> None:
    """Ask what a server needs to know, and write a configuration that `validate` accepts.

    Each answer is held against the configuration's own checks at once, the database is connected
    to, a CA of a domain is looked at as by `certeasy adcs check -f config.yml`. Then it makes the
    node's signing key, if so answered, prints the trust anchor, and says what to type next, on the
    server and for each client.

    Exit codes: 0 written; 1 an answer is wrong or missing (each is told), or something cannot be
    used: then nothing is written; 2 the command line is wrong; 3 written, but the look at the CA
    failed.
    """
    for path in (output, saved) if not force else ():
        if path is not None and (path.exists() or path.is_symlink()):
            fail(f"{path} is there already: name another file, or give --force")
    console = Console(highlight=False, soft_wrap=True)
    source = _source(answers, console)
    wizard = Wizard(source, console.print, output, offline=offline)
    try:
        given = wizard.run()
        settings = _settled(given, output)
    except config.ConfigurationError as error:
        for mistake in error.mistakes:
            click.echo(str(mistake), err=True)
        raise SystemExit(1) from None
    _check_room(settings, offline=offline)
    usable = offline or _look_at_cas(settings, console)
    who = _key(settings) if given.one("signing-key") == NOW else None
    _write(output, config_text(given), force=force)
    if saved is not None:
        _write(saved, script(given.words, given.questions), force=force)
    for warning in config.warnings(settings):
        click.echo(f"{output}: warning: {warning}", err=True)
    _explain(output, given, settings, wizard, who, console.print)
    if not usable:
        click.echo(f"certeasy: {output} is written, but the CA cannot be used yet", err=True)
        raise SystemExit(CA_UNUSABLE)


def _source(answers: str | None, console: Console) -> Source:
    if answers is None:
        return Terminal(console)
    try:
        if answers == STANDARD_INPUT:
            text, file = sys.stdin.read(LARGEST), Path("standard input")
        else:
            file = Path(answers)
            text = config.document.text_of(file)
        return Script(text, file)
    except UnicodeDecodeError:
        fail("the script on standard input is not UTF-8")
    except config.ConfigurationError as error:
        fail(str(error.mistakes[0]))


def _settled(given: Given, output: Path) -> Settings:
    """Return what the file will say, as `serve` will read it. ConfigurationError: the answers do
    not fit together, or what they name is not there."""
    settings, page = config.read_text(config_text(given), output)
    preflight.check(settings, page)
    page.raise_if_wrong()
    return settings


def _check_room(settings: Settings, *, offline: bool) -> None:
    """End the command where a disk is too small for a server to accept anything; with `offline`
    only say so."""
    need = room.amount(settings.audit.min_free_bytes)
    for disk in room.lacking(settings):
        told = f"{disk.said}, and a server accepts nothing with less than {need}"
        if not offline:
            fail(
                f"{told} (audit.min-free-bytes): make room there, or answer with folders on another"
                " disk; nothing was written"
            )
        click.echo(f"warning: {told} (audit.min-free-bytes)", err=True)


def _look_at_cas(settings: Settings, console: Console) -> bool:
    """Run `adcs check` for a CA of a domain; whether nothing failed."""
    chosen = [each for each in settings.authorities if each.adcs is not None]
    if not chosen:
        return True
    # What speaks RPC takes its time to be imported, and is not for everybody.
    from certeasy.cli.adcs import report  # noqa: PLC0415

    reports = [report(settings, each, None, console) for each in chosen]
    return all(each.ok for each in reports)


def _key(settings: Settings) -> Identity:
    """Return the node's identity, made if there is none: what its first start would do."""
    private_folder(settings.workdir)
    held = boot.workdir_lock(settings)
    try:
        return identity.find(settings.workdir, settings.audit.path, RandomIds(SystemClock()))
    finally:
        held.release()


def _write(path: Path, text: str, *, force: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if force:
        path.unlink(missing_ok=True)
    write_once(path, text.encode())


def _explain(
    output: Path,
    given: Given,
    settings: Settings,
    wizard: Wizard,
    who: Identity | None,
    tell: Callable[[Text], None],
) -> None:
    """Say what there is now, whom to trust, and what comes next."""

    def say(what: str, value: str = "") -> None:
        tell(Text.assemble(what, (value, "cyan")) if value else Text(what))

    say("")
    say(f"{'configuration':16}", f"{output} (mode 0600)")
    anchor = wizard.database.anchor if wizard.database is not None else ""
    for what, value in _trust(who, anchor, unknown=wizard.database is None):
        say(f"{what:16}", value)
    root, why = after.root_of(given, settings)
    say(f"{'directory':16}", f"{settings.server.url[0]}/acme/directory")
    say(f"{'root':16}", f"{root}: {why}")
    say("")
    say("What to type next:")
    adcs = any(each.adcs is not None for each in settings.authorities)
    for what, line in after.commands(output.absolute(), adcs=adcs):
        say(f"  {what}:")
        say("", line)
    say("")
    say("How clients are told to trust the server (docs/clients has a page for each):")
    for client, line in after.trust_lines(root):
        say(f"  {client:14}", line)


def _trust(who: Identity | None, anchor: str, *, unknown: bool) -> list[tuple[str, str]]:
    """Return what is to be said about keys."""
    told = []
    if who is not None:
        kid = who.key.public.kid
        told.append(("node", f"{who.server_id}, key {kid}"))
        if not anchor:
            where = ", if the database is new" if unknown else ""
            told.append(("trust anchor", f"{kid}{where}: note it, auditors compare it"))
    if anchor:
        told.append(("trust anchor", f"{anchor}, of the installation that is in the database"))
        if who is not None and who.key.public.kid != anchor:
            told.append(("", "this node joins it: docs/operations.md, A second node"))
    elif who is None:
        told.append(("trust anchor", "the first start makes it; certeasy node list -f CONFIG"))
    return told
