"""`certeasy eab`: keys for external account bindings, handed out to those who may register."""

import base64
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import click
import msgspec

from certeasy.admin.eab import LONGEST_COMMENT, MOST_USES, CreateEab, EabMade, RevokeEab
from certeasy.cli.administration import carry_out, carry_out_with, refusals_told
from certeasy.cli.at_rest import tables_of
from certeasy.cli.options import a_duration, read, told, with_config
from certeasy.clock import SystemClock
from certeasy.decide import eab as deciding
from certeasy.settings import Settings, root_file
from certeasy.store import DatabaseUnavailable, DatabaseUnfit, Store
from journal.breaks import printable
from projections.eab import REVOKED, EabKey


class ListedKey(msgspec.Struct, frozen=True):
    """A key as `eab list` shows it; times are RFC 3339 in UTC, an empty text means none.

    `accounts` were bound with it, `max_uses` may be (0: any number). `status` is valid, expired,
    used-up, revoked, or lost: its MAC key is not in the database.
    """

    kid: str
    status: str
    created: str
    expires: str
    accounts: int
    max_uses: int
    policy: str
    profile: str
    allow: tuple[str, ...]
    challenges: tuple[str, ...]
    prevalidated: bool
    comment: str
    revoked: str


def _comment(_context: click.Context, _option: click.Parameter, value: str) -> str:
    if len(value) > LONGEST_COMMENT or not value.isprintable():
        raise click.BadParameter(f"has at most {LONGEST_COMMENT} characters, on one line")
    return value


@click.group()
def eab() -> None:
    """Make, list and take back keys for external account bindings (RFC 8555 section 7.3.4)."""


@eab.command(
    short_help="Make a key, and print what to type for clients.",
    epilog="Example: certeasy eab create -f config.yml --expires 7d --max-uses 1"
    " --allow .shop.corp.example/1",
)
@with_config
@click.option(
    "--expires",
    metavar="DURATION",
    callback=a_duration,
    help="How long it can be used, such as 7d; without: for good.",
)
@click.option(
    "--max-uses",
    metavar="N",
    type=click.IntRange(1, MOST_USES),
    help="How many accounts may be bound with it; without: any number.",
)
@click.option(
    "--policy", metavar="NAME", default="", help="The one policy that its accounts order under."
)
@click.option(
    "--profile", metavar="NAME", default="", help="The one profile that its accounts order."
)
@click.option(
    "--allow",
    metavar="RULE",
    multiple=True,
    help="Names that its accounts may order, such as .zone/2 or =name. May be repeated.",
)
@click.option(
    "--challenge",
    "challenges",
    metavar="TYPE",
    multiple=True,
    help="How its accounts may prove control, such as dns-01. May be repeated.",
)
@click.option("--prevalidated", is_flag=True, help="Names that --allow covers need no proof.")
@click.option(
    "--comment", default="", callback=_comment, help="What it is for; it is recorded in clear."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@refusals_told
def create(
    config_file: Path,
    expires: timedelta | None,
    max_uses: int | None,
    policy: str,
    profile: str,
    allow: tuple[str, ...],
    challenges: tuple[str, ...],
    comment: str,
    *,
    prevalidated: bool,
    as_json: bool,
) -> None:
    """Make a key, and print it, this once, with what to type for common clients.

    With the server running or stopped. What is left out restricts nothing. Exit codes: 0 made, 1
    refused or failed, 2 the command line is wrong.
    """
    wish = CreateEab(
        valid=expires,
        max_uses=max_uses or 0,
        policy=policy,
        profile=profile,
        allow=allow,
        challenges=challenges,
        prevalidated=prevalidated,
        comment=comment,
    )
    settings = read(config_file)
    made = carry_out_with(settings, wish)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(made), indent=2))
        return
    click.echo(_ready_lines(made, _own_root(settings)))


def _own_root(settings: Settings) -> Path | None:
    """Return the root that clients have to trust, where the certificate that they are shown is of
    an authority inside the server; None: others issued it."""
    host = urlsplit(settings.server.url[0]).hostname
    for bundle in settings.tls_certificate_manager.bundles if settings.server.tls else ():
        if bundle.authority is not None and host in bundle.hosts:
            root = root_file(settings, bundle.authority)
            return root if root.exists() else None
    return None


def _ready_lines(made: EabMade, root: Path | None) -> str:
    """Return what to type; with a root, how each client is told to trust it."""
    kid, key, directory = made.kid, made.hmac_key, made.directory
    until = f", until {made.expires}" if made.expires else ""
    trust = requests = lego = acme_sh = first = bundle = ""
    if root is not None:
        trust = (
            "\n\nThe server's certificate is from its own CA, which no client knows. Copy"
            f"\n  {root}\nto each client, as root.pem."
        )
        requests, lego = "REQUESTS_CA_BUNDLE=root.pem ", "LEGO_CA_CERTIFICATES=root.pem "
        acme_sh = " --ca-bundle root.pem"
        first = "\n  # and --ca-bundle root.pem with the first --issue, which keeps it"
        bundle = f"\n    caBundle: {base64.b64encode(root.read_bytes()).decode()}"
    return f"""\
kid       {kid}
hmac key  {key}

The key is printed this once. It is base64url without padding: clients decode it themselves.
What to type{until}:{trust}

certbot
  {requests}certbot register --server {directory} \\
    --eab-kid {kid} \\
    --eab-hmac-key {key}

lego
  {lego}lego --server {directory} --accept-tos \\
    --email EMAIL --domains NAME --http \\
    --eab --kid {kid} \\
    --hmac {key} run

acme.sh
  acme.sh --register-account --server {directory}{acme_sh} \\
    --eab-kid {kid} \\
    --eab-hmac-key {key}{first}

cert-manager
  kubectl create secret generic certeasy-eab \\
    --from-literal=secret={key}
  # in the issuer, under spec:
  acme:
    server: {directory}{bundle}
    externalAccountBinding:
      keyID: {kid}
      keySecretRef:
        name: certeasy-eab
        key: secret"""


@eab.command(
    "list", short_help="List the keys.", epilog="Example: certeasy eab list -f config.yml --json"
)
@with_config
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@told(DatabaseUnavailable, DatabaseUnfit)
def list_(config_file: Path, *, as_json: bool) -> None:
    """List the keys, oldest first, without what only their holders know. May be run beside the
    server.

    Exit codes: 0 listed, 1 the database cannot be read.
    """
    with tables_of(read(config_file).database) as store:
        now = SystemClock().now()
        bound = store.accounts_bound()
        listed = [_listed(store, key, now, bound.get(key.kid, 0)) for key in store.eab_keys()]
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(listed), indent=2))
        return
    for each in listed:
        click.echo(printable(_line(each)))


def _listed(store: Store, key: EabKey, now: datetime, accounts: int) -> ListedKey:
    return ListedKey(
        kid=key.kid,
        status=_status(store, key, now),
        created=key.created,
        expires=key.expires,
        accounts=accounts,
        max_uses=key.max_uses,
        policy=key.policy,
        profile=key.profile,
        allow=key.allow,
        challenges=key.challenges,
        prevalidated=key.prevalidated,
        comment=key.comment,
        revoked=key.revoked,
    )


def _status(store: Store, key: EabKey, now: datetime) -> str:
    if key.status == REVOKED:
        return "revoked"
    if deciding.has_expired(key.expires, now):
        return "expired"
    if key.max_uses and key.uses >= key.max_uses:
        return "used-up"
    return key.status if store.secret(deciding.secret_name(key.kid)) else "lost"


def _line(key: ListedKey) -> str:
    parts = [key.kid, key.status, f"{key.accounts} of {key.max_uses or 'any number of'} accounts"]
    parts += [f"until {key.expires}"] if key.expires else []
    parts += [f"policy {key.policy}"] if key.policy else []
    parts += [f"profile {key.profile}"] if key.profile else []
    parts += [f"names {' '.join(key.allow)}"] if key.allow else []
    parts += ["prevalidated"] if key.prevalidated else []
    parts += [f"by {' '.join(key.challenges)}"] if key.challenges else []
    parts += [key.comment] if key.comment else []
    return "  ".join(parts)


@eab.command(short_help="Take a key back.", epilog="Example: certeasy eab revoke KID -f config.yml")
@click.argument("kid")
@with_config
@refusals_told
def revoke(kid: str, config_file: Path) -> None:
    """Take a key back: it binds nobody any more, and the accounts bound with it order nothing more.

    Certificates that they have stay good until they expire or are revoked. With the server running
    or stopped. Exit codes: 0 done, or it was revoked already; 1 refused or failed.
    """
    if carry_out(config_file, RevokeEab(kid)).anew:
        click.echo(f"key {kid} is revoked: accounts bound with it order nothing more")
    else:
        click.echo(f"key {kid} was revoked already")
