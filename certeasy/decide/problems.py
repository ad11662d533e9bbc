"""Every way of saying no: the error types of ACME, and the exception that carries one.

A refusal is raised where it is decided, as `Refused(Problem.BAD_CSR, "the reason, for a person")`,
and turned into an RFC 7807 document at one place of the wire. The rules that this file keeps:

* A type has one usual status. Clients go by the type, but some of them compare the status as well
  (badNonce must be 400), and some take every 4xx for final: what will pass by itself is
  `SERVICE_UNAVAILABLE` (503 with Retry-After), what will not is never a 5xx.
* A document never has a null in it; a member without a value is left out.
* The detail is for the person who reads a client's log: what was wrong, and with what.
"""

import enum
from collections.abc import Iterable

import msgspec

from certeasy.decide.addresses import DNS, kind

URN = "urn:ietf:params:acme:error:"
RETRY_SOON = 5
"""Seconds after which to come back, where a passing fault gives no better number."""


class Problem(enum.Enum):
    """The error types of RFC 8555 section 6.7 with their usual HTTP status, and two younger ones.

    alreadyReplaced is RFC 9773's, invalidProfile that of draft-ietf-acme-profiles.
    """

    ACCOUNT_DOES_NOT_EXIST = ("accountDoesNotExist", 400)
    ALREADY_REPLACED = ("alreadyReplaced", 409)
    ALREADY_REVOKED = ("alreadyRevoked", 400)
    BAD_CSR = ("badCSR", 400)
    BAD_NONCE = ("badNonce", 400)
    BAD_PUBLIC_KEY = ("badPublicKey", 400)
    BAD_REVOCATION_REASON = ("badRevocationReason", 400)
    BAD_SIGNATURE_ALGORITHM = ("badSignatureAlgorithm", 400)
    CAA = ("caa", 403)
    COMPOUND = ("compound", 400)
    CONNECTION = ("connection", 400)
    DNS = ("dns", 400)
    EXTERNAL_ACCOUNT_REQUIRED = ("externalAccountRequired", 403)
    INCORRECT_RESPONSE = ("incorrectResponse", 403)
    INVALID_CONTACT = ("invalidContact", 400)
    INVALID_PROFILE = ("invalidProfile", 400)
    MALFORMED = ("malformed", 400)
    ORDER_NOT_READY = ("orderNotReady", 403)
    RATE_LIMITED = ("rateLimited", 429)
    REJECTED_IDENTIFIER = ("rejectedIdentifier", 400)
    SERVER_INTERNAL = ("serverInternal", 500)
    # The same type as SERVER_INTERNAL on the wire; the status tells a client to try again.
    SERVICE_UNAVAILABLE = ("serverInternal", 503)
    TLS = ("tls", 400)
    UNAUTHORIZED = ("unauthorized", 403)
    UNSUPPORTED_CONTACT = ("unsupportedContact", 400)
    UNSUPPORTED_IDENTIFIER = ("unsupportedIdentifier", 400)
    USER_ACTION_REQUIRED = ("userActionRequired", 403)

    @property
    def urn(self) -> str:
        """The type as it stands in a document: `urn:ietf:params:acme:error:badNonce`."""
        return URN + self.value[0]

    @property
    def status(self) -> int:
        """The HTTP status that goes with it when nothing else is said."""
        return self.value[1]


class Weight(enum.IntEnum):
    """How much a refusal looks like an attack, in quarters of a mark.

    What clients do by mistake, or because nobody told them, weighs nothing: an old nonce, an order
    that has expired, a name that the policy does not permit.
    """

    NONE = 0
    GUESS = 1
    """Something was asked for by an id that nothing has."""
    HOSTILE = 4
    """A signature or an envelope that is wrong, or an object of another account."""


class Identifier(msgspec.Struct, frozen=True):
    """An ACME identifier, as in orders: `{"type": "dns", "value": "web.corp.test"}`."""

    type: str
    value: str

    @classmethod
    def dns(cls, name: str) -> "Identifier":
        """The identifier of a DNS name, or of what was sent as one."""
        return cls(DNS, name)

    @classmethod
    def of(cls, name: str) -> "Identifier":
        """The identifier of a canonical name: a DNS name, or an address."""
        return cls(kind(name), name)


class Subproblem(msgspec.Struct, frozen=True, omit_defaults=True):
    """One part of a refusal that speaks of one identifier. RFC 8555 section 6.7.1."""

    type: str
    detail: str
    identifier: Identifier | None = None

    @classmethod
    def of(cls, problem: Problem, detail: str, name: str) -> "Subproblem":
        """What was wrong (`problem`, `detail`) with a canonical name."""
        return cls(problem.urn, detail, Identifier.of(name))


class ProblemDocument(msgspec.Struct, frozen=True, omit_defaults=True):
    """A problem as JSON: RFC 7807 section 3, with the members that RFC 8555 section 6.7 adds."""

    type: str
    detail: str
    status: int
    identifier: Identifier | None = None
    algorithms: tuple[str, ...] = ()
    subproblems: tuple[Subproblem, ...] = ()
    instance: str = ""
    """Which time this was: the request's id, as lines of the log have it."""


class Refused(Exception):
    """No, and why. Raised by deciders and by the wire; answered as a problem document.

    `limit` is the name of the limit that was met, `weight` how much it looks like an attack.
    `status` replaces the problem's usual one. `retry_after` is in whole seconds. `identifier` is
    the one this is about; a plain string is a canonical name. `algorithms` are those that would
    have been taken instead. `link` is (relation, URL), for a Link header beside the document,
    `location` the URL of what is in the way.
    """

    def __init__(
        self,
        problem: Problem,
        detail: str,
        *,
        status: int | None = None,
        retry_after: int | None = None,
        subproblems: Iterable[Subproblem] = (),
        algorithms: Iterable[str] = (),
        identifier: Identifier | str | None = None,
        link: tuple[str, str] | None = None,
        location: str | None = None,
        limit: str = "",
        weight: Weight = Weight.NONE,
    ) -> None:
        super().__init__(detail)
        self.problem = problem
        self.detail = detail
        self.status = problem.status if status is None else status
        if retry_after is None and problem is Problem.SERVICE_UNAVAILABLE:
            retry_after = RETRY_SOON
        self.retry_after = retry_after
        self.subproblems = tuple(subproblems)
        self.algorithms = tuple(algorithms)
        self.identifier = Identifier.of(identifier) if isinstance(identifier, str) else identifier
        self.link = link
        self.location = location
        self.limit = limit
        self.weight = weight

    def document(self) -> ProblemDocument:
        """Return the refusal as it is shown to a client."""
        return ProblemDocument(
            type=self.problem.urn,
            detail=self.detail,
            status=self.status,
            identifier=self.identifier,
            algorithms=self.algorithms,
            subproblems=self.subproblems,
        )
