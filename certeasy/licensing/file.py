"""The license file: a block of text that the vendor signed. docs/license.md is its specification.

    -----BEGIN CERTEASY LICENSE-----
    Signature: <base64 of an Ed25519 signature over the payload's bytes>

    <base64 of the payload, lines of 64 characters>
    -----END CERTEASY LICENSE-----

The same form, with REVOCATION in the place of LICENSE, takes a license back. What is read here:

(1) The file is a text of at most 16 KiB; lines end with LF or CRLF, as mail and editors leave them.
(2) It is one such block, with nothing around it; its base64 is written in the one right way.
(3) The signature is the vendor's. Nothing of the payload is looked at before.
(4) The payload is JSON in its one form: no unknown member, none twice, no white space.
(5) Its members fit together: keys with their check characters, times in their order.

Whatever is wrong is told by name: WrongLicense.
"""

import base64
import binascii
import re
from datetime import datetime
from typing import Annotated, Literal, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from msgspec import Meta

from certeasy.licensing import keys
from events.license import LicenseInstalled
from projections.license import UNLIMITED, Installed, Limits

LARGEST = 16 << 10
LINE = 64
LICENSE, REVOCATION = "LICENSE", "LICENSE REVOCATION"
_HEADER = "Signature: "
_BLOCK = re.compile(
    r"-----BEGIN CERTEASY (?P<kind>LICENSE|LICENSE REVOCATION)-----\n"
    r"Signature: (?P<signature>[^\n]*)\n"
    r"\n"
    r"(?P<payload>[^-]*)"
    r"-----END CERTEASY (?P=kind)-----\n",
    re.ASCII,
)
_UTC = "%Y-%m-%dT%H:%M:%SZ"
_UNKNOWN = re.compile("unknown field `([^`]{1,100})`")
_STRING = re.compile(rb'"(?:\\.|[^"\\])*"', re.DOTALL)
_SPACE = re.compile(rb"[ \t\r\n]")

Identity = Annotated[str, Meta(pattern="^[0-9a-v]{26}$")]
Text = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Number = Annotated[int, Meta(ge=0, le=1_000_000_000)] | Literal["unlimited"]
Driver = Literal["sqlite", "postgres", "sqlserver"]
Topology = Literal["single", "standby", "active-active"]
Plan = Literal["free", "starter", "pro", "enterprise"]


class WrongLicense(ValueError):
    """A file is no license of the vendor's; one line says why."""


class Bounds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be used under a license."""

    managed_servers: Number
    authorities: Number
    databases: Annotated[tuple[Driver, ...], Meta(max_length=3)]
    topologies: Annotated[tuple[Topology, ...], Meta(max_length=3)]


class Payload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the vendor signs for a license; times are RFC 3339 in UTC, to the second."""

    format: Literal[1]
    id: Identity
    key: str
    plan: Plan
    holder: Text
    installation: str
    limits: Bounds
    issued_at: str
    not_before: str
    expires: str
    trial: bool

    @property
    def may(self) -> Limits:
        """Return what may be used under it, as decisions take it."""
        bounds = self.limits
        return Limits(
            managed_servers=_number(bounds.managed_servers),
            authorities=_number(bounds.authorities),
            databases=bounds.databases,
            topologies=bounds.topologies,
        )


class Withdrawal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the vendor signs to take the license `id` back."""

    format: Literal[1]
    id: Identity
    revoked_at: str
    reason: Text


P = TypeVar("P", Payload, Withdrawal)
_KINDS: dict[str, type[Payload | Withdrawal]] = {LICENSE: Payload, REVOCATION: Withdrawal}


def read(block: bytes, vendor: Ed25519PublicKey) -> Payload | Withdrawal:
    """Return what the vendor signed. Raises WrongLicense."""
    found = _found(block)
    signature = _plain(found["signature"], "the signature")
    lines = found["payload"].removesuffix("\n").split("\n")
    if any(len(line) != LINE for line in lines[:-1]) or not 0 < len(lines[-1]) <= LINE:
        raise WrongLicense(f"its payload is not in lines of {LINE} characters")
    payload = _plain("".join(lines), "the payload")
    try:
        vendor.verify(signature, payload)
    except InvalidSignature:
        raise WrongLicense(
            "its signature is not the vendor's: it was altered on its way, or is of another vendor;"
            " have it sent again"
        ) from None
    return _decoded(payload, _KINDS[found["kind"]])


def canonical(block: bytes) -> str:
    """Return a block that `read` takes, as it is kept: lines end with LF."""
    return block.replace(b"\r\n", b"\n").decode("ascii")


def installing(payload: Payload, block: str, source: str) -> LicenseInstalled:
    """Return the fact that a license was taken into use; `block` is the canonical file."""
    limits = payload.may
    return LicenseInstalled(
        id=payload.id,
        key=payload.key,
        plan=payload.plan,
        holder=payload.holder,
        installation=payload.installation,
        managed_servers=limits.managed_servers,
        authorities=limits.authorities,
        databases=limits.databases,
        topologies=limits.topologies,
        issued_at=payload.issued_at,
        not_before=payload.not_before,
        expires=payload.expires,
        block=block,
        trial=payload.trial,
        source=source,
    )


def fault(used: Installed, vendor: Ed25519PublicKey, installation: str) -> str:
    """Return why what the log says of a license is not what the vendor signed for an installation;
    "" if it is."""
    try:
        found = read(used.block.encode(), vendor)
    except WrongLicense as error:
        return f"the license {used.id} cannot be believed: {error}"
    if not isinstance(found, Payload) or not _is_of(found, used):
        return f"the license {used.id} says in the log something other than what the vendor signed"
    if found.installation != installation:
        return f"the license {used.id} is for the installation {found.installation}, not this one"
    return ""


def _is_of(found: Payload, used: Installed) -> bool:
    same = ("id", "key", "plan", "holder", "installation", "issued_at", "not_before", "expires")
    return used.limits == found.may and all(
        getattr(used, name) == getattr(found, name) for name in same
    )


def encode(payload: Payload | Withdrawal) -> bytes:
    """Return the bytes that are signed."""
    return msgspec.json.encode(payload)


def write(kind: str, payload: bytes, signature: bytes) -> str:
    """Return the block for a payload and its signature."""
    told = base64.b64encode(payload).decode()
    lines = [told[start : start + LINE] for start in range(0, len(told), LINE)]
    head = f"-----BEGIN CERTEASY {kind}-----"
    signed = f"{_HEADER}{base64.b64encode(signature).decode()}"
    return "\n".join([head, signed, "", *lines, f"-----END CERTEASY {kind}-----", ""])


def _found(block: bytes) -> dict[str, str]:
    """Return the parts of the block."""
    if len(block) > LARGEST:
        raise WrongLicense(f"it is larger than {LARGEST} bytes, which no license is")
    try:
        text = block.decode("ascii")
    except UnicodeDecodeError:
        raise WrongLicense("it has bytes that are no ASCII, which no license has") from None
    lines = text.count("\n")
    if text.count("\r\n") in (0, lines):
        text = text.replace("\r\n", "\n")
    if "\r" in text:
        raise WrongLicense("it has lines that end in different ways: it was altered on its way")
    found = _BLOCK.fullmatch(text)
    if found is None:
        raise WrongLicense(
            "it is not one block from '-----BEGIN CERTEASY LICENSE-----' to its end, with nothing"
            " around it, and a line Signature and an empty line behind the first"
        )
    return found.groupdict()


def _plain(text: str, what: str) -> bytes:
    """Return what a base64 text stands for, if it is the one text for it."""
    try:
        found = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise WrongLicense(f"{what} is no base64") from None
    if base64.b64encode(found).decode() != text:
        raise WrongLicense(f"{what} is base64 in a form that nobody writes")
    return found


def _decoded(payload: bytes, kind: type[Payload | Withdrawal]) -> Payload | Withdrawal:
    try:
        found = msgspec.json.decode(payload, type=kind)
    except msgspec.ValidationError as error:
        strange = _UNKNOWN.search(str(error))
        if strange is not None:
            raise WrongLicense(
                f"it has the member {strange[1]!r}, which this version does not know: a newer one"
                " does"
            ) from None
        raise WrongLicense(f"its payload is not that of a license: {error}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise WrongLicense("its payload is no JSON") from None
    if encode(found) != payload:
        raise WrongLicense(f"its payload is not in its one form: it has {_difference(payload)}")
    if isinstance(found, Withdrawal):
        _moment(found.revoked_at, "revoked_at")
        return found
    _check(found)
    return found


def _difference(payload: bytes) -> str:
    """Return what a payload has too much, of one that could be read."""
    spaced = _SPACE.search(_STRING.sub(b"", payload))
    return "white space" if spaced else "a member twice, out of its place, or spelt otherwise"


def _check(found: Payload) -> None:
    """Hold the members of a license against each other."""
    for told, prefix, name in (
        (found.key, keys.LICENSE, "key"),
        (found.installation, keys.INSTALLATION, "installation"),
    ):
        try:
            plain = keys.read(told, prefix)
        except keys.WrongKey as error:
            raise WrongLicense(f"its {name} {error}") from None
        if plain != told:
            raise WrongLicense(f"its {name} is not written as {plain}")
    for each in ("databases", "topologies"):
        values = getattr(found.limits, each)
        if len(set(values)) != len(values):
            raise WrongLicense(f"its {each} name one of them twice")
    times = [_moment(getattr(found, n), n) for n in ("issued_at", "not_before", "expires")]
    if not times[1] < times[2]:
        raise WrongLicense("it would expire before it begins")


def _moment(text: str, name: str) -> datetime:
    try:
        found = datetime.strptime(text, _UTC)  # noqa: DTZ007 - both ends are in UTC
    except ValueError:
        found = None
    if found is None or found.strftime(_UTC) != text:
        raise WrongLicense(f"its {name} is no time such as 2026-11-01T12:00:00Z")
    return found


def _number(told: int | str) -> int:
    return UNLIMITED if isinstance(told, str) else told
