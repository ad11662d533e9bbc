"""`certeasy certs`: the certificates that were issued."""

import re
from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import click
import msgspec
from cryptography import x509

from certeasy.admin.inventory import RevokeCertificate
from certeasy.audit import show as looking
from certeasy.audit.stories import REASONS as TOLD
from certeasy.cli.administration import carry_out_with, refusals_told
from certeasy.cli.at_rest import tables_of
from certeasy.cli.listing import Lines, form, tell, tell_one, with_listing
from certeasy.cli.options import a_duration, a_moment, fail, read, rfc3339, told, with_config
from certeasy.clock import SystemClock
from certeasy.cluster.files import write_once
from certeasy.decide.chains import chain_pem
from certeasy.decide.unreadable import UNREADABLE
from certeasy.store import DatabaseUnavailable, DatabaseUnfit, Store
from certeasy.store.inventory import EXPIRED, REVOKED, VALID, CertificatesWanted
from journal.breaks import printable
from projections.certificates import CERTIFICATES, ISSUERS, Certificate
from projections.orders import ORDERS
from projections.renewals import RENEWALS
from projections.revocations import FAILED, PUBLISHED, RECORDED, WAITING, revocation_id

REASONS = {  # RFC 5280 section 5.3.1, as it spells them; without certificateHold, removeFromCRL
    "unspecified": 0,
    "keyCompromise": 1,
    "cACompromise": 2,
    "affiliationChanged": 3,
    "superseded": 4,
    "cessationOfOperation": 5,
    "privilegeWithdrawn": 9,
    "aACompromise": 10,
}
_NAMES = {number: name for name, number in REASONS.items()}
_AT_THE_AUTHORITY = {
    WAITING: "its authority is being told",
    PUBLISHED: "its authority has revoked it",
    FAILED: "its authority refused to revoke it: revoke it there by hand",
    RECORDED: "its authority is not told of revocations: revoke it there by hand",
}
_ID = re.compile("[0-9a-v]{26}")
_SHA256 = re.compile("[0-9a-f]{64}")

with_certificate = click.argument("certificate")


class Listed(msgspec.Struct, frozen=True):
    """A certificate as `certs list` shows it; times are RFC 3339 in UTC, an empty text means none.

    `status` is valid, expired or revoked; `reason` is RFC 5280's name of why. `replaces` and
    `replaced_by` are ids of certificates, `request` is the authority's own number.
    """

    id: str
    status: str
    serial: str
    names: tuple[str, ...]
    authority: str
    account: str
    not_before: str
    not_after: str
    revoked: str
    reason: str
    replaces: str
    replaced_by: str
    request: str
    sha256: str


class Issuer(msgspec.Struct, frozen=True):
    """An issuer of a certificate's chain, the leaf's own first."""

    sha256: str
    subject: str


class Shown(msgspec.Struct, frozen=True):
    """A certificate as `certs show --json` shows it.

    `at_authority` is what became of its revocation there: waiting, published, failed, recorded (it
    is not told). `renewal` is from when to when a campaign asked for it to be renewed. `ordered`,
    `policy` and `profile` are its order's.
    """

    certificate: Listed
    at_authority: str
    ordered: str
    policy: str
    profile: str
    renewal: tuple[str, ...]
    issuers: tuple[Issuer, ...]


@click.group()
def certs() -> None:
    """List, show, export and revoke the certificates that were issued.

    CERTIFICATE is a certificate's id, its serial number or its SHA-256 fingerprint, both in hex.
    """


@certs.command(
    "list",
    short_help="List certificates.",
    epilog="Examples: certeasy certs list -f config.yml --expiring-within 30d --not-replaced;"
    " certeasy certs list -f config.yml --name .shop.corp.example --csv",
)
@with_config
@click.option(
    "--name",
    metavar="NAME",
    default="",
    help="For this name; with a dot in front, for a name below it.",
)
@click.option("--account", metavar="ID", default="", help="Of this account.")
@click.option("--authority", metavar="NAME", default="", help="That this authority issued.")
@click.option(
    "--status", type=click.Choice([VALID, EXPIRED, REVOKED]), default=None, help="In this state."
)
@click.option(
    "--expiring-within",
    metavar="DURATION",
    callback=a_duration,
    help="Valid ones that expire within so long, such as 30d.",
)
@click.option(
    "--not-replaced", is_flag=True, help="That have no successor: nobody has renewed them."
)
@click.option("--serial", metavar="SERIAL", default="", help="With this serial number, in hex.")
@click.option(
    "--issued-since",
    metavar="TIME",
    callback=a_moment,
    help="Valid since this time or later, such as 2026-11-01 (UTC).",
)
@with_listing
@told(DatabaseUnavailable, DatabaseUnfit)
def list_(
    config_file: Path,
    name: str,
    account: str,
    authority: str,
    status: str | None,
    expiring_within: timedelta | None,
    serial: str,
    issued_since: str,
    limit: int | None,
    after: str,
    *,
    not_replaced: bool,
    as_json: bool,
    as_csv: bool,
) -> None:
    """List certificates, those first whose orders were placed first. May be run beside the server.

    Filters narrow it down together. A long listing is read and printed a page at a time; with
    --limit, the next part is what comes --after the last id of this one. Those that nobody got, and
    those that retention has taken out of the tables, are not among them: `certeasy audit show name
    NAME -f config.yml` tells of them, too.

    Exit codes: 0 listed, be it nothing; 1 the database cannot be read; 2 the command line is wrong.
    """
    how = form(as_json=as_json, as_csv=as_csv)
    if expiring_within and status not in {None, VALID}:
        raise click.UsageError("--expiring-within is about valid certificates: leave --status out")
    now = SystemClock().now()
    name = looking.wanted(looking.NAME, name)
    wanted = CertificatesWanted(
        now=rfc3339(now),
        account_id=account,
        serial=_serial(serial) if serial else "",
        name="" if name.startswith(".") else name,
        status=VALID if expiring_within else status or "",
        until=rfc3339(now + expiring_within) if expiring_within else "",
    )

    def is_wanted(each: Certificate) -> bool:
        return (
            (not authority or each.authority == authority)
            and (not issued_since or each.not_before >= issued_since.removesuffix("Z"))
            and not (not_replaced and each.replaced_by)
            and (not name.startswith(".") or any(one.endswith(name) for one in each.names))
        )

    with tables_of(read(config_file).database) as store:
        every = store.certificates_wanted(wanted, after)
        found = (_listed(each, wanted.now) for each in every if is_wanted(each))
        tell(found, Listed, how, limit, LINES)


@certs.command(
    short_help="Show a certificate.", epilog="Example: certeasy certs show 4f2a -f config.yml"
)
@with_certificate
@with_config
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@told(DatabaseUnavailable, DatabaseUnfit)
def show(certificate: str, config_file: Path, *, as_json: bool) -> None:
    """Show what is known of CERTIFICATE. May be run beside the server.

    Who did what with it, and when, tells `certeasy audit show serial SERIAL -f config.yml`.

    Exit codes: 0 shown, 1 there is none such, or the database cannot be read.
    """
    with tables_of(read(config_file).database) as store:
        shown = _shown(store, _found(store, certificate))
    tell_one(shown, _sheet(shown), 12, as_json=as_json)


@certs.command(
    short_help="Write a certificate and its chain to a file.",
    epilog="Example: certeasy certs export 4f2a -f config.yml --output web.pem",
)
@with_certificate
@with_config
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A new file; without, it is printed.",
)
@told(DatabaseUnavailable, DatabaseUnfit)
def export(certificate: str, config_file: Path, output: Path | None) -> None:
    """Write CERTIFICATE and its chain as PEM, as its account can fetch it: the certificate first,
    each issuer after it, the root left out. May be run beside the server.

    The private key never was here. A file that is there already is not written over.

    Exit codes: 0 written, 1 there is none such, the file is there, or the database cannot be read.
    """
    with tables_of(read(config_file).database) as store:
        found = _found(store, certificate)
        chain = [_issuer(store, each) for each in found.chain]
    pem = chain_pem(found.certificate, chain)
    if output is None:
        click.echo(pem.decode(), nl=False)
        return
    write_once(output, pem)
    click.echo(f"{output}: {1 + pem.count(b'BEGIN', 30)} certificates", err=True)


@certs.command(
    short_help="Revoke a certificate.",
    epilog="Example: certeasy certs revoke 4f2a -f config.yml --reason keyCompromise --yes",
)
@with_certificate
@with_config
@click.option(
    "--reason",
    type=click.Choice(list(REASONS), case_sensitive=False),
    default="unspecified",
    show_default=True,
    help="Why, as RFC 5280 calls it.",
)
@click.option("--yes", is_flag=True, help="Do it: without, only tell which one it is.")
@refusals_told
def revoke(certificate: str, config_file: Path, reason: str, *, yes: bool) -> None:
    """Revoke CERTIFICATE as its account could. With the server running or stopped.

    It is revoked when this command ends; its authority is told as soon as it can be, as often as it
    takes (`certeasy unsettled -f config.yml` lists what waits), unless it is not told of
    revocations. It cannot be undone.

    Exit codes: 0 done, told what would be done, or it was revoked already; 1 there is none such,
    refused or failed; 2 the command line is wrong.
    """
    settings = read(config_file)
    with tables_of(settings.database) as store:
        found = _found(store, certificate)
    if not yes:
        shown = _listed(found, rfc3339(SystemClock().now()))
        click.echo(printable("  ".join(_cells(shown))))
        click.echo("nothing was changed: with --yes, it is revoked, for good")
        return
    done = carry_out_with(settings, RevokeCertificate(found.id, found.sha256, REASONS[reason]))
    if not done.anew:
        click.echo(f"certificate {found.serial} was revoked already")
        return
    told = "is told" if done.told else "is not told of revocations: revoke it there by hand"
    authority = printable(found.authority)
    click.echo(f"certificate {found.serial} is revoked ({reason}); authority {authority} {told}")


def _found(store: Store, text: str) -> Certificate:
    """Return the certificate that is meant, or end the command."""
    word = text.strip().lower()
    found = store.get(CERTIFICATES, word) if _ID.fullmatch(word) else None
    digits = word.replace(":", "")
    if found is None and _SHA256.fullmatch(digits):
        found = store.certificate_with_sha256(digits)
    if found is None:
        found = _with_serial(store, text)
    if sha256(found.certificate).hexdigest() != found.sha256:
        fail(
            f"the row of certificate {found.id} is not what was issued: see 'certeasy projections"
            " check -f config.yml'"
        )
    return found


def _with_serial(store: Store, text: str) -> Certificate:
    try:
        some = store.certificates_with_serial(looking.wanted(looking.SERIAL, text))
    except ValueError:
        some = []
    if len(some) > 1:
        ids = ", ".join(each.id for each in some)
        fail(f"several certificates have this serial number: name one by its id: {ids}")
    if not some:
        fail(
            f"there is no certificate {printable(text)[:80]}: 'certeasy certs list -f config.yml'"
            " lists them; older ones, and those that nobody got, tells 'certeasy audit show serial"
            " SERIAL -f config.yml'"
        )
    return some[0]


def _serial(text: str) -> str:
    try:
        return looking.wanted(looking.SERIAL, text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no serial number in hex") from None


def _issuer(store: Store, sha256: str) -> bytes:
    issuer = store.get(ISSUERS, sha256)
    if issuer is None:
        fail(f"the issuer {sha256} is lost: see 'certeasy projections check -f config.yml'")
    return issuer.certificate


def _status(certificate: Certificate, now: str) -> str:
    if certificate.revoked:
        return REVOKED
    return VALID if certificate.not_after > now else EXPIRED


def _listed(certificate: Certificate, now: str) -> Listed:
    return Listed(
        id=certificate.id,
        status=_status(certificate, now),
        serial=certificate.serial,
        names=certificate.names,
        authority=certificate.authority,
        account=certificate.account_id,
        not_before=certificate.not_before,
        not_after=certificate.not_after,
        revoked=certificate.revoked,
        reason=_NAMES.get(certificate.reason, ""),
        replaces=certificate.replaces,
        replaced_by=certificate.replaced_by,
        request=certificate.request_id,
        sha256=certificate.sha256,
    )


def _cells(each: Listed) -> list[str]:
    parts = [each.id, each.status, each.serial, each.authority, f"to {each.not_after}"]
    parts += [" ".join(each.names)]
    parts += [f"revoked {each.revoked} ({each.reason})"] if each.revoked else []
    parts += [f"replaced by {each.replaced_by}"] if each.replaced_by else []
    return parts


LINES = Lines(
    (("id", 26), ("status", 7), ("serial", 40), ("authority", 10), ("valid", 23), ("names", 0)),
    _cells,
)


def _shown(store: Store, certificate: Certificate) -> Shown:
    order = store.get(ORDERS, certificate.id)
    renewal = store.get(RENEWALS, certificate.id)
    id_ = revocation_id(certificate.id, certificate.certificate)
    states = [row.state for row in store.revocations_of(certificate.id) if row.id == id_]
    issuers = [Issuer(each, _subject(_issuer(store, each))) for each in certificate.chain]
    return Shown(
        certificate=_listed(certificate, rfc3339(SystemClock().now())),
        at_authority=states[0] if states else RECORDED if certificate.revoked else "",
        ordered=order.created if order else "",
        policy=order.policy if order else "",
        profile=order.profile if order else "",
        renewal=(renewal.start, renewal.end) if renewal and renewal.campaign else (),
        issuers=tuple(issuers),
    )


def _subject(certificate: bytes) -> str:
    try:
        return x509.load_der_x509_certificate(certificate).subject.rfc4514_string()
    except UNREADABLE:
        return "unreadable"


def _sheet(shown: Shown) -> Iterator[tuple[str, str]]:
    """Yield what is told of a certificate, line by line."""
    each = shown.certificate
    yield "id", each.id
    yield "status", each.status
    yield "serial", each.serial
    yield "names", " ".join(each.names)
    yield "valid", f"{each.not_before} to {each.not_after}"
    yield "authority", f"{each.authority}{', request ' * bool(each.request)}{each.request}"
    yield "account", each.account
    if shown.ordered:
        under = f"policy {shown.policy}" + (f", profile {shown.profile}" if shown.profile else "")
        yield "ordered", f"{shown.ordered}, under {under}"
    if each.revoked:
        yield "revoked", f"{each.revoked}, {TOLD[REASONS[each.reason]]}"
        yield "", _AT_THE_AUTHORITY[shown.at_authority]
    if each.replaces:
        yield "replaces", each.replaces
    if each.replaced_by:
        yield "replaced by", each.replaced_by
    if shown.renewal:
        yield "renewal", f"asked for, from {shown.renewal[0]} to {shown.renewal[1]}"
    yield "sha256", each.sha256
    for issuer in shown.issuers:
        yield "issuer", f"{issuer.subject} ({issuer.sha256})"
