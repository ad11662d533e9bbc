"""Make licenses: what the vendor does, with a key that is nobody else's.

    python -m tools.license_issue key --out vendor.key --public vendor.pem
    python -m tools.license_issue license --key vendor.key --plan pro --holder "Example Ltd" \
        --installation INST-... --days 365 --out example.lic
    python -m tools.license_issue revocation --key vendor.key --id ID --reason WHY --out gone.lic

Servers built with `python -m tools.release build --vendor-key vendor.pem` take what this key signs.
docs/license.md tells the form of these files.
"""

import os
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace

from certeasy.clock import SystemClock
from certeasy.decide.license import PLANS
from certeasy.ids import RandomIds
from certeasy.licensing import keys
from certeasy.licensing.file import (
    LICENSE,
    REVOCATION,
    Bounds,
    Payload,
    Withdrawal,
    WrongLicense,
    encode,
    read,
    write,
)
from projections.license import UNLIMITED

new_file = click.Path(path_type=Path, dir_okay=False)
key_file = click.option(
    "--key", "key_file", type=click.Path(path_type=Path, exists=True), required=True
)


def bounds_of(plan: str) -> Bounds:
    """Return the limits of a plan, as a license has them."""
    limits = PLANS[plan]
    told = {
        "managed_servers": _number(limits.managed_servers),
        "authorities": _number(limits.authorities),
        "databases": limits.databases,
        "topologies": limits.topologies,
    }
    return msgspec.convert(told, Bounds)


def sign(private: Ed25519PrivateKey, payload: Payload | Withdrawal) -> str:
    """Return the file for a payload."""
    told = encode(payload)
    kind = LICENSE if isinstance(payload, Payload) else REVOCATION
    return write(kind, told, private.sign(told))


def utc(at: datetime) -> str:
    """Return a time as licenses write it."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def license_issue() -> None:
    """Make a vendor's key, licenses, and what takes them back."""


@license_issue.command()
@click.option("--out", type=new_file, required=True, help="The private key; nobody else's.")
@click.option("--public", type=new_file, required=True, help="What servers are built with.")
def key(out: Path, public: Path) -> None:
    """Make a vendor's key; no file is written over."""
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    _write_new(out, pem, 0o600)
    half = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    _write_new(public, half, 0o644)
    click.echo(f"wrote {out}, which nobody else may read, and {public}, to build servers with")


@license_issue.command(name="license")
@key_file
@click.option("--plan", type=click.Choice(list(PLANS)), required=True)
@click.option("--holder", required=True)
@click.option("--installation", required=True, help="As 'certeasy license status' tells it.")
@click.option("--days", type=click.IntRange(1, 3660), required=True)
@click.option("--managed-servers", type=click.IntRange(0), help="Other than the plan's.")
@click.option("--authorities", type=click.IntRange(0), help="Other than the plan's.")
@click.option("--trial", is_flag=True)
@click.option("--out", type=new_file, required=True)
def license_(
    key_file: Path,
    *,
    plan: str,
    holder: str,
    installation: str,
    days: int,
    managed_servers: int | None,
    authorities: int | None,
    trial: bool,
    out: Path,
) -> None:
    """Make a license that counts from now on."""
    try:
        bound = keys.read(installation, keys.INSTALLATION)
    except keys.WrongKey as error:
        raise click.BadParameter(f"{installation!r} {error}", param_hint="--installation") from None
    limits = bounds_of(plan)
    if managed_servers is not None:
        limits = replace(limits, managed_servers=managed_servers)
    if authorities is not None:
        limits = replace(limits, authorities=authorities)
    clock = SystemClock()
    now = clock.now()
    payload = Payload(
        format=1,
        id=RandomIds(clock).new(),
        key=keys.license_key(secrets.token_bytes(19)),  # noqa: TID251 - no server's ids
        plan=plan,  # type: ignore[arg-type] # one of PLANS
        holder=holder,
        installation=bound,
        limits=limits,
        issued_at=utc(now),
        not_before=utc(now),
        expires=utc(now + timedelta(days=days)),
        trial=trial,
    )
    _hand_out(out, key_file, payload)
    click.echo(f"wrote {out}: license {payload.id}, key {payload.key}, until {payload.expires}")


@license_issue.command()
@key_file
@click.option("--id", "id_", required=True)
@click.option("--reason", required=True)
@click.option("--out", type=new_file, required=True)
def revocation(key_file: Path, *, id_: str, reason: str, out: Path) -> None:
    """Make what takes a license back."""
    payload = Withdrawal(format=1, id=id_, revoked_at=utc(SystemClock().now()), reason=reason)
    _hand_out(out, key_file, payload)
    click.echo(f"wrote {out}: license {id_} is taken back where this is installed")


def _hand_out(out: Path, key_file: Path, payload: Payload | Withdrawal) -> None:
    """Write a file that a server would take."""
    private = serialization.load_pem_private_key(key_file.read_bytes(), None)
    if not isinstance(private, Ed25519PrivateKey):
        raise click.ClickException(f"{key_file} is no Ed25519 key")
    block = sign(private, payload).encode()
    try:
        read(block, private.public_key())
    except WrongLicense as error:
        raise click.ClickException(f"no server would take it: {error}") from None
    _write_new(out, block, 0o644)


def _write_new(path: Path, data: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def _number(limit: int) -> int | str:
    return "unlimited" if limit == UNLIMITED else limit


if __name__ == "__main__":
    license_issue()
