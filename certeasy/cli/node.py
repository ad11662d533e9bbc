"""`certeasy node`: the installation's nodes, their keys, and who vouches for them."""

import re
import sys
import uuid
from datetime import timedelta
from pathlib import Path

import click
import msgspec

from certeasy.admin.nodes import EndorseNode, InviteNode, RetireNode
from certeasy.cli.administration import carry_out, carry_out_with, refusals_told
from certeasy.cli.at_rest import AtRest, at_rest, existing_store
from certeasy.cli.options import a_duration, fail, read, told, with_config
from certeasy.cli.printing import as_typed
from certeasy.cli.progress import progress_bar
from certeasy.clock import SystemClock
from certeasy.cluster import boot, invitations, next_key, room
from certeasy.cluster.boot import BootRefused
from certeasy.cluster.files import naming
from certeasy.commit.chain import BrokenChain
from certeasy.commit.command import PoisonousCommand, Unavailable
from certeasy.commit.gone import write_journal
from certeasy.decide import nodes
from certeasy.decide.nodes import NodeRefused
from certeasy.ids import RandomIds
from certeasy.settings import Settings
from certeasy.store import DatabaseUnavailable, DatabaseUnfit, Store
from events.nodes import NodeRegistered
from events.signing import KEY_LENGTH, SigningKey
from journal.breaks import printable
from projections.fold import VERSION
from projections.nodes import INSTALLATION, NODES

TOKEN_BYTES = 1024  # far more than a token has
LONGEST = timedelta(days=30)
_KID = re.compile(f"[A-Za-z0-9_-]{{{KEY_LENGTH}}}")
_refusals = told(
    BootRefused, DatabaseUnavailable, Unavailable, PoisonousCommand, NodeRefused, BrokenChain
)


class ListedNode(msgspec.Struct, frozen=True):
    """A node as `node list` shows it; times are RFC 3339 in UTC, `kid` is the key's fingerprint.

    `seq` is that of its last line; `retired` and `retired_by` are empty while it is not retired.
    """

    server_id: str
    hostname: str
    kid: str
    endorsed: bool
    retired: str
    retired_by: str
    first_seen: str
    last_seen: str
    seq: int


def _server_id(_context: click.Context, _option: click.Parameter, value: str) -> str:
    try:
        if str(uuid.UUID(value)) == value:
            return value
    except ValueError:
        pass
    raise click.BadParameter(f"{value!r} is no node's id (a UUID, in lower case)")


def _kid(_context: click.Context, _option: click.Parameter, value: str) -> str:
    if _KID.fullmatch(value):
        return value
    raise click.BadParameter(f"{value!r} is no key's id ({KEY_LENGTH} characters of base64url)")


def _valid(context: click.Context, option: click.Parameter, text: str) -> timedelta:
    length = a_duration(context, option, text)
    assert length is not None  # it has a default
    if length > LONGEST:
        raise click.BadParameter(f"a token is good for {LONGEST.days}d at most")
    return length


with_server_id = click.argument("server_id", callback=_server_id)


@click.group()
def node() -> None:
    """Look after the installation's nodes and their keys."""


@node.command("list", epilog="Example: certeasy node list -f config.yml --json")
@with_config
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@told(DatabaseUnavailable, DatabaseUnfit)
def list_(config_file: Path, *, as_json: bool) -> None:
    """List the nodes, the one seen last first. May be run beside the server.

    Exit codes: 0 listed, 1 the database cannot be read.
    """
    store = existing_store(read(config_file).database)
    try:
        if store.is_empty() or store.head().projections != VERSION:
            fail("the database's tables are of another version, or none: start the server once")
        listed = [_listed(store, server.server_id) for server in store.servers()]
    finally:
        store.close()
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(listed), indent=2))
        return
    for each in listed:
        standing = "endorsed" if each.endorsed else "NOT ENDORSED"
        gone = f", retired {each.retired} by {each.retired_by}" if each.retired else ""
        line = (
            f"{each.server_id}  {each.hostname}  key {each.kid}  {standing}{gone}"
            f"  last seen {each.last_seen}  seq {each.seq}"
        )
        click.echo(printable(line))


def _listed(store: Store, server_id: str) -> ListedNode:
    server, row = store.server(server_id), store.get(NODES, server_id)
    assert server is not None  # rows of servers are never removed
    return ListedNode(
        server_id=server_id,
        hostname=server.hostname,
        kid=server.kid,
        endorsed=row is not None and row.endorsed == 1,
        retired=row.retired if row else "",
        retired_by=row.retired_by if row else "",
        first_seen=server.first_seen,
        last_seen=server.last_seen,
        seq=server.seq,
    )


class _WithKid(click.Command):
    """A command whose last argument is a key's id, which may begin with a hyphen."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take what has the form of a key's id for one, and for no option."""
        kids = [word for word in args if word.startswith("-") and _KID.fullmatch(word)]
        others = [word for word in args if word not in kids]
        return super().parse_args(
            ctx, [*others, "--", *kids] if kids and "--" not in args else args
        )


@node.command(
    cls=_WithKid,
    short_help="Vouch for another node.",
    epilog="Example: certeasy node endorse SERVER_ID KID -f config.yml",
)
@with_server_id
@click.argument("kid", callback=_kid)
@with_config
@refusals_told
def endorse(server_id: str, kid: str, config_file: Path) -> None:
    """Vouch for another node: its id and its key's id, as that node says when it starts.

    Before it has registered or after, with the server running or stopped. Exit codes: 0 done, or
    it was endorsed already; 1 refused or failed; 2 the command line is wrong.
    """
    if carry_out(config_file, EndorseNode(server_id, kid)).anew:
        click.echo(f"node {server_id} is endorsed with key {kid}")
    else:
        click.echo(f"node {server_id} was endorsed with key {kid} already")


@node.command(
    short_help="Print a token with which one node can join.",
    epilog="Example: certeasy node invite -f config.yml --valid 2h > token",
)
@with_config
@click.option(
    "--valid",
    metavar="DURATION",
    default="24h",
    show_default=True,
    callback=_valid,
    help="How long it is good, at most 30d.",
)
@refusals_told
def invite(config_file: Path, valid: timedelta) -> None:
    """Print a token, once, with which one new node can join as an endorsed one.

    With the server running or stopped. Whoever has the token can use it: keep it like a password
    until then. Exit codes: 0 done, 1 refused or failed, 2 the command line is wrong.
    """
    token = invitations.token_of(RandomIds(SystemClock()).random(invitations.SEED_LENGTH))
    key = invitations.key_of(token).public
    invited = carry_out(config_file, InviteNode(key.kid, key.x, valid))
    click.echo(
        f"invitation {key.kid}, until {invited.expires}; on the new node type 'certeasy node join"
        " -f config.yml' and give the token, which is printed this once, on standard input",
        err=True,
    )
    click.echo(token)


@node.command(
    short_help="Register this node, with a token.",
    epilog="Example: certeasy node join token -f config.yml",
)
@click.argument("file", metavar="[FILE]", default="-")
@with_config
@_refusals
def join(file: str, config_file: Path) -> None:
    """Register this node as an endorsed one, with a token from FILE, or from standard input.

    To be done before its first start, or later if it is not endorsed yet. Exit codes: 0 done, or it
    was endorsed already; 1 refused or failed; 2 the command line is wrong.
    """
    token = _token(file)
    with at_rest(config_file, known=False) as here:
        fact = invitations.accepted(_registration(here), token)
        done = here.commit(lambda rows, now: nodes.join(rows, now, fact=fact))
        what = "has joined" if done else "was endorsed already"
        node = f"node {here.server_id} with key {fact.kid} {what}"
        click.echo(as_typed(f"{node}; start it: 'certeasy serve -f config.yml'"))


def _registration(here: AtRest) -> NodeRegistered:
    installation_id = here.store.head().installation_id
    if here.store.get(INSTALLATION, installation_id) is None:
        raise NodeRefused(
            "this database has no log yet: check the database settings, if there is to be one. The"
            " first node of an installation needs no token: start it"
        )
    who = here.node.identity
    public = who.key.public
    return NodeRegistered(installation_id, who.server_id, who.hostname, public.kid, public.x)


def _token(file: str) -> SigningKey:
    if file.startswith(invitations.PREFIX):
        fail(
            "a token is read from a file or from standard input: a command line can be seen by"
            " every user of this host and stays in the shell's history. Have another one made",
            2,
        )
    try:
        if file == "-":
            text = sys.stdin.read(TOKEN_BYTES)
        else:
            with Path(file).open(encoding="ascii", errors="replace") as opened:
                text = opened.read(TOKEN_BYTES)
        return invitations.key_of(text)
    except (invitations.NoToken, OSError) as error:
        fail(f"{'standard input' if file == '-' else file}: {_reason(error)}", 2)


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


@node.command(
    "rotate-key",
    short_help="Give this node a new signing key.",
    epilog="Example: certeasy node rotate-key -f config.yml",
)
@with_config
@_refusals
def rotate_key(config_file: Path) -> None:
    """Give this node's signing key up for a new one, and remove the old private key.

    Stop the server first. If this is interrupted, the next start, or this command again, completes
    it. Exit codes: 0 done, 1 refused or failed.
    """
    with at_rest(config_file) as here:
        who = here.node.identity
        if here.node.turned:
            kid = who.key.public.kid
            click.echo(f"the rotation that had been interrupted is complete: the key is {kid}")
            return
        old = nodes.registered(here.store, here.server_id).kid
        committer = here.committer()
        actor = boot.operator(here.node, here.ids)
        with room.explaining(here.settings, room.UNCHANGED):
            who.make_next_key(here.ids)
        new = next_key.rotate_key(here.node, committer, actor, here.ids)
        click.echo(f"node {here.server_id} signs with key {new} now; key {old} was given up")


@node.command(
    short_help="Tell that another node is gone for good.",
    epilog="Example: certeasy node retire SERVER_ID -f config.yml --export evidence",
)
@with_server_id
@with_config
@click.option(
    "--export",
    metavar="FILE|DIR",
    type=click.Path(path_type=Path),
    help="Write that node's journal, from the database.",
)
@refusals_told
def retire(server_id: str, config_file: Path, export: Path | None) -> None:
    """Tell, on another node, that a node is gone for good: it never writes again.

    With the server of this node running or stopped. With --export its journal is written from the
    database, line by line as it was signed, before anything is recorded; also later, for a node
    that is retired already. Exit codes: 0 done, or it was retired already; 1 refused or failed; 2
    the command line is wrong.
    """
    settings = read(config_file)
    if export is not None:
        # What would be refused is not exported.
        last_seq = carry_out_with(settings, RetireNode(server_id, only_ask=True)).last_seq
        _export(settings, server_id, last_seq, export)
    told = carry_out_with(settings, RetireNode(server_id))
    if told.anew:
        click.echo(f"node {server_id} is retired: its last line is seq {told.last_seq}")
    else:
        click.echo(f"node {server_id} was retired already at {told.at} by node {told.by}")


def _export(settings: Settings, server_id: str, last_seq: int, export: Path) -> None:
    store = existing_store(settings.database)
    try:
        with (
            room.explaining(settings, room.UNCHANGED),
            naming(export),
            progress_bar("exporting", last_seq) as progress,
        ):
            path = write_journal(store, server_id, export, progress)
    finally:
        store.close()
    click.echo(f"{path}: seq 1 to {last_seq} of node {server_id}")
