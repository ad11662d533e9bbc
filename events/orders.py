"""Facts about orders, their authorizations, their challenges and their issuance (RFC 8555 section
7.4).

An order is one aggregate: authorization `n` of order `o` is `o-n`, its challenge `m` is `o-n-m`,
and facts name them by these numbers.
"""

import msgspec

from events.registry import Event, event, upcaster


class Identifier(msgspec.Struct, frozen=True):
    """What a certificate is asked for: RFC 8555 section 9.7.7."""

    type: str
    value: str


class OfferedChallenge(msgspec.Struct, frozen=True):
    """A way to prove control: its type and its token."""

    type: str
    token: str


class OfferedAuthorization(msgspec.Struct, frozen=True, omit_defaults=True):
    """What must be proven for one identifier, and how it may be."""

    identifier: Identifier
    challenges: tuple[OfferedChallenge, ...]
    wildcard: bool = False


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """An RFC 7807 problem as it was told to the client."""

    type: str
    detail: str
    status: int = 0


@event("order.created", schema=2)
class OrderCreated(Event, frozen=True):
    """An account asked for a certificate; `expires` is RFC 3339 in UTC.

    `profile` is the one that it asked for by name, `replaces` the id of the certificate whose
    successor is ordered (RFC 9773 section 5). A `preauthorization` is a proof ahead of any order,
    for one identifier (RFC 8555 section 7.4.1): it is never finalized.
    """

    order_id: str
    account_id: str
    identifiers: tuple[Identifier, ...]
    authorizations: tuple[OfferedAuthorization, ...]
    expires: str
    policy: str
    authority: str
    profile: str = ""
    replaces: str = ""
    preauthorization: bool = False


@upcaster("order.created", 1)
def _without_profiles(data: dict[str, object]) -> dict[str, object]:
    """Schema 1 had no profiles, replacements and proofs ahead of an order."""
    return data


@event("challenge.accepted")
class ChallengeAccepted(Event, frozen=True):
    """The client said that it is ready to be asked."""

    authorization: int
    challenge: int


@event("challenge.validated")
class ChallengeValidated(Event, frozen=True):
    """Control was proven. `evidence` is what the validator saw."""

    authorization: int
    challenge: int
    evidence: dict[str, object]


@event("challenge.failed")
class ChallengeFailed(Event, frozen=True):
    """Control was not proven, and will not be tried again. `evidence` is what the validator saw."""

    authorization: int
    challenge: int
    error: Problem
    evidence: dict[str, object]


@event("authorization.prevalidated")
class AuthorizationPrevalidated(Event, frozen=True):
    """Control needs no proof in this order: the authorization is valid from the beginning.

    `rule` says why, for whoever reads the log: `authorization <order>-0` (proven ahead of any
    order, RFC 8555 section 7.4.1) or `eab <kid>` (names granted with an external account).
    `challenge` is the one that is shown as solved: a valid authorization always has one.
    """

    authorization: int
    rule: str
    challenge: int = 0


@event("authorization.deactivated")
class AuthorizationDeactivated(Event, frozen=True):
    """The client gave an authorization up (RFC 8555 section 7.5.2): it counts for nothing more."""

    authorization: int


@event("order.ready")
class OrderReady(Event, frozen=True):
    """Every authorization is valid."""


class CaaCheck(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the CAA records of an authorization's name meant (RFC 8659): `permits`, `forbids` or
    `unknown`, why, and at which name the records are that count."""

    authorization: int
    verdict: str
    reason: str = ""
    at: str = ""


@event("order.caa-checked")
class OrderCaaChecked(Event, frozen=True):
    """CAA records were looked at again for an order that is being finalized, and stood in nobody's
    way: they let this CA issue, or are only written down."""

    checks: tuple[CaaCheck, ...]


@event("order.finalized")
class OrderFinalized(Event, frozen=True):
    """The client sent its certificate signing request, DER, and it fits the order and the
    policy."""

    csr: bytes
    csr_sha256: str


@event("issuance.submitted", schema=2)
class IssuanceSubmitted(Event, frozen=True):
    """The request is about to be handed to the authority: from here on a certificate may exist.

    `after` is the highest request number of that authority that the log knew by then and that could
    be believed (`projections.marks`); empty: none.
    """

    attempt: int
    authority: str
    csr_sha256: str
    after: str = ""


@upcaster("issuance.submitted", 1)
def _without_mark(data: dict[str, object]) -> dict[str, object]:
    """Schema 1 did not say what was known before."""
    return data


@event("issuance.pending")
class IssuancePending(Event, frozen=True):
    """The authority took the request, as its `request_id`, and waits for somebody to approve it."""

    attempt: int
    authority: str
    request_id: str


@event("issuance.in-doubt")
class IssuanceInDoubt(Event, frozen=True):
    """The authority's answer was lost: whether a certificate exists is not known.

    `request_id` is the authority's number for it, if that much was learnt.
    """

    attempt: int
    authority: str
    reason: str
    request_id: str = ""


@event("issuance.failed", schema=2)
class IssuanceFailed(Event, frozen=True):
    """An attempt ended without a certificate; `final` if there will be no other.

    `reason` is everything that the authority said, `code` and `request_id` are its own.
    """

    attempt: int
    authority: str
    reason: str
    final: bool
    code: str = ""
    request_id: str = ""


@upcaster("issuance.failed", 1)
def _without_codes(data: dict[str, object]) -> dict[str, object]:
    """Schema 1 had nothing but the reason."""
    return data


@event("issuance.abandoned")
class IssuanceAbandoned(Event, frozen=True):
    """An attempt is given up, and a certificate of it may exist, or come to exist: a twin that
    nobody will get.

    Where its `request_id` is known, it can be found there in the authority's own records.
    """

    attempt: int
    authority: str
    reason: str
    request_id: str = ""


@event("issuance.searched")
class IssuanceSearched(Event, frozen=True):
    """It was asked what became of an attempt that was given up; `reason` is the answer.

    `settled`: it surely made no certificate. Otherwise none was found, which proves nothing.
    """

    attempt: int
    authority: str
    settled: bool
    reason: str


@event("order.expired")
class OrderExpired(Event, frozen=True):
    """Its time ran out before its client was done; what it has proven has run out with it."""

    error: Problem


@event("order.invalidated")
class OrderInvalidated(Event, frozen=True):
    """The order will never be a certificate: a challenge failed, or the authority refused."""

    source: str
    error: Problem
