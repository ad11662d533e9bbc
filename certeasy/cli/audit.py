"""`certeasy audit`: look at the log, and prove that it is whole.

Everything here only reads. With journals and keys alone it needs no configuration, no database and
none of the server's libraries.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NoReturn, TypeVar

import click
import msgspec

from certeasy.audit import listing, show, verifying
from certeasy.audit.database import NoDatabase
from certeasy.audit.replay import Replay
from certeasy.audit.verifying import Given
from events.signing import PublicKey, read_key_set
from journal.breaks import JournalBroken, Line, printable
from journal.heads import Head, encode_head, read_heads
from journal.lines import NoJournal, segments
from journal.verify import Summary

BROKEN, USAGE, NOTHING = 1, 2, 3
T = TypeVar("T")

_file = click.Path(path_type=Path)
with_config = click.option(
    "-f",
    "--config",
    "config_file",
    metavar="FILE",
    type=_file,
    help="The configuration, config.yml.",
)
with_journal = click.option(
    "--journal",
    "journals",
    metavar="FILE|DIR",
    multiple=True,
    type=_file,
    help="A node's journal, or the folder with its segments. Once per node.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def audit() -> None:
    """Look at the log, and prove that it is whole."""


@audit.command(
    epilog="Examples: certeasy audit verify -f config.yml;"
    " certeasy audit verify --journal node1/audit.log --journal node2 --keys keys.json"
)
@with_config
@with_journal
@click.option("--keys", "keys_file", metavar="FILE", type=_file, help="A JWK set of trusted keys.")
@click.option(
    "--anchor", metavar="KID", default="", help="The key id that must have begun the log."
)
@click.option("--trust", metavar="KID", multiple=True, help="Trust this key without endorsement.")
@click.option(
    "--pinned", "pinned_file", metavar="FILE", type=_file, help="Heads printed by `audit head`."
)
@click.option("--partial", is_flag=True, help="Some nodes' journals are not at hand.")
@as_json
def verify(
    *,
    config_file: Path | None,
    journals: tuple[Path, ...],
    keys_file: Path | None,
    anchor: str,
    trust: tuple[str, ...],
    pinned_file: Path | None,
    partial: bool,
    as_json: bool,
) -> None:
    """Prove that journals are what their nodes signed, and all of it; with -f, the database too.

    Exit codes: 0 proven, 1 broken (file, line and reason on stderr), 2 the command line is wrong,
    3 nothing is proven: the log is empty.
    """
    with _told(), ExitStack() as stack:
        given = _given(config_file, journals)
        given.keys = _keys(keys_file)
        given.anchor, given.trusted, given.partial = anchor, trust, partial
        given.pinned = _pinned(pinned_file)
        progress = stack.enter_context(_progress(given))
        summary = verifying.verify(given, progress=progress)
    if as_json:
        click.echo(msgspec.json.encode(summary))
    if summary.head is None:
        _fail("nothing is proven: the log is empty", NOTHING)
    if not as_json:
        _tell(summary, summary.head, given)


@audit.command(epilog="Example: certeasy audit keys -f config.yml > keys.json")
@with_config
@with_journal
@click.option("--all", "everyone", is_flag=True, help="Print keys that nobody has endorsed, too.")
def keys(config_file: Path | None, journals: tuple[Path, ...], everyone: bool) -> None:
    """Print the nodes' public keys as a JWK set, for an auditor.

    Exit codes: 0 printed, 1 not readable, 2 the command line is wrong.
    """
    with _told():
        nodes = listing.nodes(_given(config_file, journals))
    for node in nodes:
        if not (node.endorsed or everyone):
            left_out = f"left out key {node.kid} of node {node.server_id}: not endorsed"
            click.echo(f"certeasy: {printable(left_out)}", err=True)
    chosen = [PublicKey(node.x).jwk() for node in nodes if node.endorsed or everyone]
    click.echo(msgspec.json.format(msgspec.json.encode({"keys": chosen}), indent=2))


@audit.command(epilog="Example: certeasy audit head -f config.yml >> pinned-heads.json")
@with_config
@with_journal
def head(config_file: Path | None, journals: tuple[Path, ...]) -> None:
    """Print the log's last line as a head to be kept elsewhere, for `verify --pinned`.

    Exit codes: 0 printed, 1 empty or not readable, 2 the command line is wrong.
    """
    with _told():
        found = listing.head(_given(config_file, journals))
    if found is None:
        _fail("the log is empty", BROKEN)
    click.echo(encode_head(found))


@audit.command("list-servers", epilog="Example: certeasy audit list-servers -f config.yml --json")
@with_config
@with_journal
@as_json
def list_servers(config_file: Path | None, journals: tuple[Path, ...], as_json: bool) -> None:
    """List the nodes, the one seen last first.

    Exit codes: 0 listed, 1 not readable, 2 the command line is wrong.
    """
    with _told():
        servers = listing.servers(_given(config_file, journals))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(servers), indent=2))
        return
    for server in servers:
        line = (
            f"{server.server_id}  {server.hostname}  first seen {server.first_seen}"
            f"  last seen {server.last_seen}  key {server.kid}  seq {server.seq}"
        )
        click.echo(printable(line))


@audit.command("show", epilog="Example: certeasy audit show name web.corp.internal -f config.yml")
@click.argument("kind", type=click.Choice(show.KINDS))
@click.argument("value")
@with_config
@with_journal
@as_json
def show_(
    kind: str,
    value: str,
    config_file: Path | None,
    journals: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Show who did what, when and why, about an order, a serial, a name or an account.

    Exit codes: 0 shown, 1 nothing found or not readable, 2 the command line is wrong.
    """
    with _told():
        try:
            entries = listing.show(_given(config_file, journals), kind, value)
        except ValueError:
            _fail(f"{printable(value)} is no {kind}", USAGE)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(entries), indent=2))
    for entry in () if as_json else entries:
        click.echo(printable(_sentence(entry)))
    if not entries:
        _fail(f"the log says nothing about {kind} {printable(value)}", BROKEN)


@audit.command(
    epilog="Example: certeasy audit replay --journal audit.log --keys keys.json --output log.sqlite"
)
@with_config
@with_journal
@click.option("--keys", "keys_file", metavar="FILE", type=_file, help="A JWK set of trusted keys.")
@click.option("--output", required=True, metavar="FILE", type=_file, help="A new SQLite file.")
@click.option("--position", type=int, help="Fold up to and with this position.")
@click.option("--at", metavar="TIME", help="Fold up to this time (RFC 3339, UTC).")
def replay(
    *,
    config_file: Path | None,
    journals: tuple[Path, ...],
    keys_file: Path | None,
    output: Path,
    position: int | None,
    at: str | None,
) -> None:
    """Verify journals and fold them into the server's tables, in a new SQLite file.

    Exit codes: 0 done, 1 broken, 2 the command line is wrong.
    """
    with _told(), ExitStack() as stack:
        given = _given(config_file, journals)
        given.keys = _keys(keys_file)
        try:
            folding = Replay(output, position=position, at=at)
        except FileExistsError:
            _fail(f"{output} exists already", USAGE)
        stack.callback(folding.close)
        progress = stack.enter_context(_progress(given))
        verifying.verify(given, progress=progress, watch=folding)
        folding.finish()
    click.echo(f"{output}: {folding.folded} events folded")


# -- what is given -------------------------------------------------------------------------------


def _given(config_file: Path | None, journals: tuple[Path, ...]) -> Given:
    """Return what a command is about: the configured node, journals, or both."""
    if config_file is None and not journals:
        raise click.UsageError("give -f config.yml, or --journal FILE|DIR, or both")
    given = Given([segments(path) for path in journals])
    if config_file is not None:
        from certeasy.cli.options import read  # noqa: PLC0415 - only -f needs a configuration

        settings = read(config_file)
        given.add_node(settings.workdir, settings.audit.path, settings.database.path)
    return given


def _keys(path: Path | None) -> dict[str, PublicKey]:
    return {} if path is None else _parsed(path, read_key_set)


def _pinned(path: Path | None) -> list[Head]:
    return [] if path is None else _parsed(path, read_heads)


def _parsed(path: Path, parse: Callable[[bytes], T]) -> T:
    """Return what a small file given by hand holds; a wrong one is a wrong command line."""
    try:
        return parse(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        _fail(f"{path}: {getattr(error, 'strerror', None) or error}", USAGE)


# -- what is told --------------------------------------------------------------------------------


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"certeasy: {message}", err=True)
    raise SystemExit(code)


@contextmanager
def _told() -> Iterator[None]:
    """Tell what went wrong in one line: a break exits 1, a file that is not there 2."""
    try:
        yield
    except JournalBroken as broken:
        click.echo(str(broken), err=True)
        raise SystemExit(BROKEN) from None
    except NoDatabase as error:
        _fail(printable(str(error)), BROKEN)
    except NoJournal as error:
        _fail(printable(str(error)), USAGE)
    except OSError as error:
        _fail(printable(f"{error.filename}: {error.strerror}"), USAGE)


@contextmanager
def _progress(given: Given) -> Iterator[Callable[[Line, int], None] | None]:
    """Show a bar where stderr is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from certeasy.cli.progress import progress_bar  # noqa: PLC0415 - rich only for a terminal

    done: dict[str, int] = {}
    with progress_bar("verifying", given.size()) as bar:

        def tell(line: Line, _lines: int) -> None:
            done[line.file] = line.offset
            bar(sum(done.values()))

        yield tell


def _tell(summary: Summary, head: Head, given: Given) -> None:
    whole = "" if summary.complete else ", with gaps (--partial)"
    click.echo(
        f"{summary.lines} lines, positions {summary.first_position} to {head.position}{whole},"
        f" {summary.first_at} to {summary.last_at}"
    )
    for node in summary.nodes:
        click.echo(
            f"node {node.server_id} ({printable(node.hostname)}), key {node.kid}:"
            f" seq 1 to {node.lines}"
        )
    if summary.anchor:
        whose = printable(f"installation {summary.installation_id}, anchor {summary.anchor}")
        click.echo(f"{whose} ({_known(summary, given)})")
    if given.pinned:
        click.echo(f"{summary.pinned} pinned heads are in the log")
    if given.database is not None:
        click.echo(f"{given.database}: every row is the line that was signed")
    click.echo(f"head: position {head.position}, hash {head.hash}")
    click.echo("verified")


def _known(summary: Summary, given: Given) -> str:
    """Return how it is known that the log's anchor is the right one."""
    if given.anchored:
        return "as given"
    if summary.anchor == given.workdir.kid:
        return "the key in this workdir"
    return "as the log itself says; compare it, or give --keys"


def _sentence(entry: show.Entry) -> str:
    who = " ".join(part for part in (entry.actor.kind, entry.actor.id) if part)
    if entry.actor.sealed:
        who += f" [{entry.actor.clear or 'sealed'}]"
    return f"{entry.at}  #{entry.position}  {who}: {entry.what}  ({entry.type}, {entry.stream})"
