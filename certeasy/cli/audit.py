"""`certeasy audit`: look at the log, and prove that it is whole.

Everything here only reads. With journals and keys alone it needs no configuration, no database and
none of the server's libraries.
"""

from pathlib import Path
from typing import Any

import click
import msgspec

from certeasy.audit import listing, show
from certeasy.audit import verifying as proving
from certeasy.audit.database import ServerRow
from certeasy.audit.evidence import Evidence
from certeasy.audit.verifying import Given
from certeasy.cli import evidence, states
from certeasy.cli.auditing import (
    BROKEN,
    NOTHING,
    USAGE,
    as_json,
    fail,
    given_of,
    proof,
    told,
    verifying,
    with_config,
    with_journal,
    with_proof,
)
from events.counting import counted
from events.signing import PublicKey
from journal.breaks import printable
from journal.heads import Head, encode_head
from journal.verify import Node, Summary


@click.group()
def audit() -> None:
    """Look at the log, and prove that it is whole."""


@audit.command(
    short_help="Prove that the log is what its nodes signed, and all of it.",
    epilog="Examples: certeasy audit verify -f config.yml;"
    " certeasy audit verify --journal node1/audit.log --journal node2 --keys keys.json;"
    " certeasy audit verify --evidence evidence.zip --anchor KID",
)
@with_proof
@click.option("--partial", is_flag=True, help="Some nodes' journals are not at hand.")
@as_json
def verify(*, partial: bool, as_json: bool, **options: Any) -> None:
    """Prove that journals are what their nodes signed, and all of it; with -f, the database too.

    Exit codes: 0 proven, 1 broken (file, line and reason on stderr), 2 the command line is wrong
    or names what is not there, 3 nothing is proven: the log is empty.
    """
    with proof(options) as asked:
        given = asked.given
        given.partial = partial
        with verifying(given) as progress:
            summary = proving.verify(given, progress=progress)
        asked.check(summary)
    if as_json:
        click.echo(msgspec.json.encode(summary))
    if summary.head is None:
        fail("nothing is proven: the log is empty", NOTHING)
    if not as_json:
        _tell(summary, summary.head, given, asked.packed)


@audit.command(
    short_help="Print the nodes' public keys, for an auditor.",
    epilog="Example: certeasy audit keys -f config.yml > keys.json",
)
@with_config
@with_journal
@click.option("--all", "everyone", is_flag=True, help="Print keys that nobody has endorsed, too.")
def keys(config_file: Path | None, journals: tuple[Path, ...], everyone: bool) -> None:
    """Print all public keys that nodes ever signed with as a JWK set, for an auditor.

    Exit codes: 0 printed, 1 not readable, 2 the command line is wrong.
    """
    with told():
        found = listing.keys(given_of(config_file, journals))
    for key in found:
        if not (key.endorsed or everyone):
            left_out = f"left out key {key.kid} of node {key.server_id}: not endorsed"
            click.echo(f"certeasy: {printable(left_out)}", err=True)
    chosen = [PublicKey(key.x).jwk() for key in found if key.endorsed or everyone]
    click.echo(msgspec.json.format(msgspec.json.encode({"keys": chosen}), indent=2))


@audit.command(
    short_help="Print the log's end, to be kept elsewhere.",
    epilog="Example: certeasy audit head -f config.yml >> pinned-heads.json",
)
@with_config
@with_journal
def head(config_file: Path | None, journals: tuple[Path, ...]) -> None:
    """Print the log's last line as a head to be kept elsewhere, for `verify --pinned`.

    Exit codes: 0 printed, 1 empty or not readable, 2 the command line is wrong.
    """
    with told():
        found = listing.head(given_of(config_file, journals))
    if found is None:
        fail("the log is empty", BROKEN)
    click.echo(encode_head(found))


@audit.command("list-servers", epilog="Example: certeasy audit list-servers -f config.yml --json")
@with_config
@with_journal
@as_json
def list_servers(config_file: Path | None, journals: tuple[Path, ...], as_json: bool) -> None:
    """List the nodes, the one seen last first.

    Exit codes: 0 listed, 1 not readable, 2 the command line is wrong.
    """
    with told():
        servers = listing.servers(given_of(config_file, journals))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(servers), indent=2))
        return
    for server in servers:
        line = (
            f"{server.server_id}  {server.hostname}  first seen {server.first_seen}"
            f"  last seen {server.last_seen}  key {server.kid}  seq {server.seq}"
            f"{_standing(server)}"
        )
        click.echo(printable(line))


@audit.command(
    "show",
    short_help="Show who did what, when and why.",
    epilog="Example: certeasy audit show name web.corp.internal -f config.yml",
)
@click.argument("kind", type=click.Choice(show.KINDS))
@click.argument("value", default="")
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
    """Show who did what, when and why, about an order, a serial, a name, an account, an eab key
    with the accounts that were bound with it, or the license.

    VALUE is a name, a serial number in hex, or an id: the last part of an order's or an account's
    URL, or the kid of an eab key. The license needs none; with one, it is what names that word.

    Exit codes: 0 shown, 1 nothing found or not readable, 2 the command line is wrong.
    """
    if not value and kind != show.LICENSE:
        raise click.UsageError(f"which {kind}? give its VALUE")
    with told():
        try:
            entries = listing.show(given_of(config_file, journals), kind, value)
        except ValueError:
            what = f"{printable(value)} is no {kind} number in hex, such as 0a1b2c or 0A:1B:2C"
            fail(what, USAGE)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(entries), indent=2))
    told_at: dict[str, int] = {}
    for entry in () if as_json else entries:
        first = told_at.setdefault(entry.actor.clear or "", entry.position)
        click.echo(printable(_sentence(entry, first)))
    if not entries:
        fail(f"the log says nothing about {f'{kind} {printable(value)}'.strip()}", BROKEN)


def _standing(server: ServerRow) -> str:
    """Return what else is to be known of a node: that it is gone, or what makes it endorsed."""
    gone = f"  retired {server.retired}" if server.retired else ""
    if server.endorsed:
        return gone
    command = f"certeasy node endorse {server.server_id} {server.kid} -f config.yml"
    return f"{gone}  NOT ENDORSED: type '{command}' on an endorsed node"


# -- what is told --------------------------------------------------------------------------------


def _tell(summary: Summary, head: Head, given: Given, packed: Evidence | None) -> None:
    whole = "" if summary.complete else ", with gaps (--partial)"
    click.echo(
        f"{counted(summary.lines, 'line')}, positions {summary.first_position} to {head.position}"
        f"{whole}, {summary.first_at} to {summary.last_at}"
    )
    for node in summary.nodes:
        click.echo(
            f"node {node.server_id} ({printable(node.hostname)}), key {node.kid}:"
            f" seq 1 to {node.lines}{_earlier(node)}"
        )
    if summary.anchor:
        whose = printable(f"installation {summary.installation_id}, anchor {summary.anchor}")
        click.echo(f"{whose} ({_known(summary, given)})")
    if given.pinned:
        heads = "head is" if summary.pinned == 1 else "heads are"
        click.echo(f"{summary.pinned} pinned {heads} in the log")
    if given.database is not None:
        click.echo(f"{given.database.name}: every row is the line that was signed")
    if packed is not None:
        click.echo(f"{packed.name}: every file is the one in its manifest")
    click.echo(f"head: position {head.position}, hash {head.hash}")
    click.echo("verified")


def _earlier(node: Node) -> str:
    return f" (earlier {', '.join(node.earlier)})" if node.earlier else ""


def _known(summary: Summary, given: Given) -> str:
    """Return how it is known that the log's anchor is the right one."""
    if given.anchored:
        return "as given"
    if summary.anchor == given.workdir.kid:
        return "the key in this workdir"
    if any(
        summary.anchor in node.earlier and node.server_id == given.workdir.server_id
        for node in summary.nodes
    ):
        return "which this workdir's node has given up for its present key"
    return "as the log itself says; compare it, or give --keys"


def _sentence(entry: show.Entry, first: int) -> str:
    """Return an event as a sentence. `first` is the event that told the same of who did it."""
    who = " ".join(part for part in (entry.actor.kind, entry.actor.id) if part)
    if entry.actor.clear and first != entry.position:
        who += f" [as in #{first}]"
    elif entry.actor.sealed:
        who += f" [{entry.actor.clear or 'sealed'}]"
    return f"{entry.at}  #{entry.position}  {who}: {entry.what}  ({entry.type}, {entry.stream})"


for command in (states.replay, states.diff, states.limits_, evidence.export):
    audit.add_command(command)
