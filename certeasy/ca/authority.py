"""What every authority can be asked, and how it may answer.

An authority signs certificates: the one inside this server (`ca.embedded`), or a company's own CA
at the other end of a network. They differ in what can go wrong, and the answers have room for all
of it, because each leads somewhere else:

| answer | what it means | what follows |
|---|---|---|
| `Issued` | a certificate, not yet trusted | compare it with the order, then hand it out |
| `Pending` | taken, waits for a person | keep `request_id`, `poll` later |
| `Denied` | no, and asking again will not help | the order becomes invalid |
| `Unavailable` | surely nothing was issued; later perhaps | ask again, or another authority |
| `InDoubt` | asked, and no answer came | only `recover` may follow |
| `Untraceable` | of `recover`: it cannot be told, and never will be | submit again, and say so |

Whoever submits has committed that he is about to (`issuance.submitted`) before; so after a crash
the record alone tells that a certificate may exist, and `recover` is asked first.
"""

from datetime import datetime, timedelta
from typing import Literal, Protocol

from msgspec import Struct


class Submission(Struct, frozen=True):
    """One attempt at one order.

    `names` are the order's, lower-case, addresses among them; `csr` was parsed and checked against
    them and the policy. `attempt` counts from 1. `allowed_extra_eku` is the policy's (names or
    dotted OIDs).
    `max_validity` (the policy's) and `not_after` (the order's, aware) bound how long the
    certificate may be valid; None bounds nothing. `server_id` is the node that submits. `template`
    is the one to use where the authority has templates; empty: its own. `fill_common_name`: an
    authority that makes the subject itself takes the first of the names, if the request has none.
    `must_staple`: a request for the TLS feature extension is granted.
    """

    order_id: str
    attempt: int
    csr: bytes
    names: tuple[str, ...]
    server_id: str
    allowed_extra_eku: tuple[str, ...] = ()
    max_validity: timedelta | None = None
    not_after: datetime | None = None
    template: str = ""
    fill_common_name: bool = False
    must_staple: bool = False


class Issued(Struct, frozen=True):
    """A certificate (DER), and what came along with it.

    `issuers` are DER, the leaf's own first, the root last if the authority sent it. They are no
    proof of anything: the certificate is verified under `Authority.issuers`. `request_id` is the
    authority's own number for it, if it has one.
    """

    certificate: bytes
    issuers: tuple[bytes, ...]
    request_id: str | None = None


class Pending(Struct, frozen=True):
    """The authority took the request and somebody has to approve it. Ask again after a while.

    `request_id` holds all that is needed to ask again, on this node or another: where the
    authority is several machines that number on their own, it also tells which.
    """

    request_id: str
    retry_after: timedelta


DenialProblem = Literal[
    "unauthorized",
    "badCSR",
    "badPublicKey",
    "badSignatureAlgorithm",
    "rejectedIdentifier",
    "serverInternal",
]
"""Which of RFC 8555's errors a denial is to the client."""


class Denied(Struct, frozen=True):
    """The authority said no, for good.

    `reason_for_client` is safe to show to whoever ordered: nothing of the authority's own text,
    which may name machines and people. `reason` is everything, for the record. `code` is the
    authority's, as it is usually written (`0x80094012`).
    """

    reason_for_client: str
    reason: str
    code: str | None = None
    request_id: str | None = None
    problem: DenialProblem = "unauthorized"


Outcome = Issued | Pending | Denied


class Trace(Struct, frozen=True):
    """What the log knows of a submission whose answer was lost.

    `request_id` is the authority's number for it, if that much was learnt. `after` is the highest
    number of that authority's that was known when it was submitted, and could be believed; empty:
    none was.
    """

    request_id: str = ""
    after: str = ""


class Revocation(Struct, frozen=True):
    """A certificate (DER) that the authority is to revoke.

    `serial` is lower-case hex with an even number of digits. `reason` is RFC 5280's, as it was
    accepted from the client; a connector maps what its authority does not know. `at` is when it was
    accepted, aware.
    """

    certificate: bytes
    serial: str
    reason: int
    at: datetime


class Unavailable(Exception):
    """The authority cannot be used now, and surely nothing was issued.

    `retry_after` is when it is worth another try, as far as the authority can tell. `sick` is False
    where it is well, and only this one request cannot be served by it as things are configured (a
    template that it does not offer): that says nothing about others. `code` is the authority's, if
    it gave one.
    """

    def __init__(
        self,
        reason: str,
        retry_after: timedelta | None = None,
        *,
        sick: bool = True,
        code: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after
        self.sick = sick
        self.code = code


class InDoubt(Exception):
    """The request was sent and the answer was lost: a certificate may exist.

    `request_id` is the authority's number for it, if that much was learnt.
    """

    def __init__(self, reason: str, request_id: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.request_id = request_id


class Untraceable(Exception):
    """What became of a submission cannot be told, now or ever: a certificate may exist that nobody
    will see. Another may be submitted, and the possible twin is recorded."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class RevocationRefused(Exception):
    """The authority will not revoke this certificate, however often it is asked.

    `code` is the authority's own.
    """

    def __init__(self, reason: str, code: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


class Authority(Protocol):
    """Someone who signs certificates. Every method may be called by several threads at once."""

    @property
    def name(self) -> str:
        """Its name in the settings."""
        ...

    @property
    def in_process(self) -> bool:
        """Whether it answers within a millisecond, without I/O: then there is no need to wait."""
        ...

    @property
    def copies_request(self) -> bool:
        """Whether it copies subject and extensions out of the request instead of making its own."""
        ...

    def submit(self, submission: Submission) -> Outcome:
        """Ask for a certificate. Raises Unavailable or InDoubt."""
        ...

    def poll(self, submission: Submission, request_id: str) -> Outcome:
        """Ask what became of a request that was `Pending`. Raises Unavailable.

        Asking is safe at any time and any number of times; nothing is issued by it.
        """
        ...

    def recover(self, submission: Submission, trace: Trace) -> Outcome | None:
        """Ask what became of a submission in doubt, after a crash or a lost answer.

        None: no certificate of that submission is in anybody's hands or will be; submit again.
        Raises InDoubt as long as that cannot be told, Untraceable if it never will be, and
        Unavailable if the authority cannot be asked. How an authority finds out is its connector's
        to document.
        """
        ...

    def twins(self, submission: Submission, trace: Trace, known: str) -> tuple[Issued, ...]:
        """Look for other certificates of a submission than the one with the request number `known`.

        They can be there after it was Untraceable and submitted again. Empty: none was found, or
        the authority does not let us look. Raises Unavailable.
        """
        ...

    @property
    def revokes(self) -> bool:
        """Whether a revocation that was accepted here is passed on to it."""
        ...

    def revoke(self, revocation: Revocation) -> None:
        """Have a certificate revoked; one that is revoked already is no error.

        Raises Unavailable (again later) or RevocationRefused (never).
        """
        ...

    def probe(self) -> None:
        """Find out cheaply whether it can be used; nothing is issued. Raises Unavailable."""
        ...

    def close(self) -> None:
        """Give back connections and threads. It is not used afterwards."""
        ...

    def issuers(self) -> tuple[bytes, ...]:
        """Return the CA certificates (DER) that it is known to have, in any order, roots included.

        They come from the settings or from where the authority publishes them, never from an answer
        to a submission. Raises Unavailable if they are not known yet.
        """
        ...
