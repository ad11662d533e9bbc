"""What clients send and what they are sent: the JSON objects of RFC 8555 section 7.

Requests: members that we do not know are ignored, and so are known ones that are null: Caddy sends
`"authorizations":null` in a new order, the `acme` library its whole account object. What we do read
has a type and a bound.

Answers: compact JSON on one line, never a null, whole seconds in UTC. acme.sh looks for
`"status":"valid"`, `"ready"` and `"processing"` as plain text, so an order has these words as its
status only.
"""

from datetime import UTC, datetime
from typing import Annotated, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from certeasy.acme import base64url, strict_json
from certeasy.decide.problems import Problem, Refused
from events.orders import Identifier
from events.orders import Problem as ToldProblem

MAX_CSR = 64 * 1024
"""Characters of base64url: ten times what the largest key with a hundred names needs."""

T = TypeVar("T")
_Text = Annotated[str, Meta(max_length=1024)]
_Encoded = Annotated[str, Meta(max_length=MAX_CSR)]


class Binding(msgspec.Struct, frozen=True):
    """RFC 8555 section 7.3.4: a flattened JWS around the key of the account."""

    protected: Annotated[str, Meta(max_length=8 * 1024)]
    payload: Annotated[str, Meta(max_length=8 * 1024)]
    signature: Annotated[str, Meta(max_length=128)]
    header: Raw | UnsetType = UNSET
    signatures: Raw | UnsetType = UNSET


class NewAccount(msgspec.Struct, frozen=True, rename="camel"):
    """RFC 8555 section 7.3."""

    contact: Annotated[tuple[_Text, ...], Meta(max_length=20)] | None = None
    terms_of_service_agreed: bool | None = None
    only_return_existing: bool | None = None
    external_account_binding: Binding | None = None


class AccountUpdate(msgspec.Struct, frozen=True, rename="camel"):
    """RFC 8555 sections 7.3.2 and 7.3.6. `contact` replaces all; None leaves them."""

    contact: Annotated[tuple[_Text, ...], Meta(max_length=20)] | None = None
    status: _Text | None = None


class AskedIdentifier(msgspec.Struct, frozen=True):
    """RFC 8555 section 7.4, not looked at yet."""

    type: _Text
    value: _Text


class NewOrder(msgspec.Struct, frozen=True, rename="camel"):
    """RFC 8555 section 7.4."""

    identifiers: Annotated[tuple[AskedIdentifier, ...], Meta(min_length=1, max_length=1000)]
    not_before: Annotated[datetime, Meta(tz=True)] | None = None
    not_after: Annotated[datetime, Meta(tz=True)] | None = None
    replaces: _Text | None = None
    profile: _Text | None = None


class NewAuthorization(msgspec.Struct, frozen=True):
    """RFC 8555 section 7.4.1."""

    identifier: AskedIdentifier


class Finalize(msgspec.Struct, frozen=True):
    """RFC 8555 section 7.4: a certificate signing request in base64url."""

    csr: _Encoded


class Revocation(msgspec.Struct, frozen=True):
    """RFC 8555 section 7.6: a certificate in base64url, and a code of RFC 5280 section 5.3.1."""

    certificate: _Encoded
    reason: int | None = None


class KeyChange(msgspec.Struct, frozen=True, rename="camel"):
    """RFC 8555 section 7.3.5: what the new key signs."""

    account: _Text
    old_key: msgspec.Raw


class AuthorizationUpdate(msgspec.Struct, frozen=True):
    """RFC 8555 section 7.5.2."""

    status: _Text | None = None


class ChallengeResponse(msgspec.Struct, frozen=True):
    """RFC 8555 section 7.5.1: `{}`."""


NEW_ACCOUNT = msgspec.json.Decoder(NewAccount)
ACCOUNT_UPDATE = msgspec.json.Decoder(AccountUpdate)
NEW_ORDER = msgspec.json.Decoder(NewOrder)
NEW_AUTHORIZATION = msgspec.json.Decoder(NewAuthorization)
FINALIZE = msgspec.json.Decoder(Finalize)
REVOCATION = msgspec.json.Decoder(Revocation)
KEY_CHANGE = msgspec.json.Decoder(KeyChange)
AUTHORIZATION_UPDATE = msgspec.json.Decoder(AuthorizationUpdate)
CHALLENGE_RESPONSE = msgspec.json.Decoder(ChallengeResponse)


def read(decoder: msgspec.json.Decoder[T], payload: bytes) -> T:
    """Decode a payload. Raises Refused (malformed), saying where it is wrong and how."""
    if not payload:
        raise Refused(Problem.MALFORMED, "the payload is empty, where a JSON object must be")
    return strict_json.read(decoder, payload, "the payload")


def der(encoded: str, what: str) -> bytes:
    """Return the DER of a CSR or certificate. Raises Refused (malformed), with a hint."""
    if encoded.lstrip().startswith("-----BEGIN"):
        raise Refused(Problem.MALFORMED, f"{what} is PEM; send its DER in unpadded base64url")
    return base64url.decode(encoded, what)


class DirectoryMeta(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """The directory's `meta`, RFC 8555 section 7.1.1."""

    terms_of_service: str | None = None
    website: str | None = None
    profiles: dict[str, str] | None = None
    """Names and what they stand for, draft-ietf-acme-profiles section 3."""
    caa_identities: tuple[str, ...] = ()
    external_account_required: bool = False


class Directory(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """RFC 8555 section 7.1.1. It lists what exists, nothing else."""

    new_nonce: str
    new_account: str
    new_order: str
    revoke_cert: str
    renewal_info: str
    key_change: str
    new_authz: str | None = None
    meta: DirectoryMeta | None = None


class SuggestedWindow(msgspec.Struct, frozen=True):
    """RFC 9773 section 4.2: `end` is after `start`."""

    start: str
    end: str


class RenewalInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """RFC 9773 section 4.2."""

    suggested_window: SuggestedWindow = msgspec.field(name="suggestedWindow")
    explanation_url: str = msgspec.field(default="", name="explanationURL")


class Account(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """RFC 8555 section 7.1.2. `contact` is always there: one client crashes without it."""

    status: str
    contact: tuple[str, ...]
    orders: str
    terms_of_service_agreed: bool = False
    external_account_binding: Binding | None = None


class Orders(msgspec.Struct, frozen=True):
    """RFC 8555 section 7.1.2.1."""

    orders: tuple[str, ...]


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """RFC 8555 section 7.1.3. `replaces`: RFC 9773 section 5."""

    status: str
    expires: str
    identifiers: tuple[Identifier, ...]
    authorizations: tuple[str, ...]
    finalize: str
    certificate: str = ""
    error: ToldProblem | None = None
    replaces: str = ""
    profile: str = ""


class Challenge(msgspec.Struct, frozen=True, omit_defaults=True):
    """RFC 8555 sections 7.1.5 and 8.

    `token` is there wherever the type has one: two clients crash without it. The last two are of
    dns-persist-01, which has none (draft-ietf-acme-dns-persist-01 section 3.1).
    """

    type: str
    url: str
    status: str
    token: str = ""
    validated: str = ""
    error: ToldProblem | None = None
    accounturi: str = ""
    issuer_domain_names: tuple[str, ...] = msgspec.field(default=(), name="issuer-domain-names")


class Authorization(msgspec.Struct, frozen=True, omit_defaults=True):
    """RFC 8555 section 7.1.4. The identifier is without `*.`; `wildcard` says that it had one."""

    identifier: Identifier
    status: str
    expires: str
    challenges: tuple[Challenge, ...]
    wildcard: bool = False


def moment(at: datetime) -> str:
    """Return a time as clients read it: RFC 3339, UTC, whole seconds, `Z`."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def whole_seconds(at: str) -> str:
    """Return a time of the log, RFC 3339 in UTC, without its fraction."""
    return at[:19] + "Z"
