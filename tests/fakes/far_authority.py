"""A CA at the other end of a line, with records of its own, and the connector to it.

    ca = FarCa(embedded)
    lab.server.authorities["lab"] = FarAuthority(ca, shows=True)
    ca.next("lost", "pending")          # what becomes of the next requests
    ca.approve(2)

The CA numbers its requests, and keeps everything that it ever issued; a test asks it at the end
whether the log knows all of that. Its connector finds a lost request in the CA's records where
these may be seen; else what was lost without a number stays lost.
"""

import threading
from collections import deque
from datetime import timedelta
from typing import Literal

from cryptography import x509
from msgspec.structs import replace

from certeasy.ca import (
    Authority,
    Denied,
    InDoubt,
    Issued,
    Outcome,
    Pending,
    Revocation,
    RevocationRefused,
    Submission,
    Trace,
    Unavailable,
    Untraceable,
)
from certeasy.decide import csr

Fate = Literal[
    "issued",
    "away",
    "lost",
    "cut before",
    "numbered",
    "pending",
    "pending lost",
    "denied",
    "wrong",
    "another's",
    "rubbish",
]
"""`away`: it cannot be reached. `lost`: it is issued, and no answer comes. `cut before`: no answer
comes, and nothing was done. `numbered`: as `lost`, but its number is learnt. `pending`: a person
has to approve it; `pending lost`: and the answer that says so is lost. `wrong`: what is issued is
for other names. `another's`: what comes back is the certificate of the request before. `rubbish`:
what comes back is no certificate."""


class Request:
    """A request in the CA's records. `state` is issued, pending or denied."""

    def __init__(self, number: int, submission: Submission, state: str) -> None:
        self.number = number
        self.submission = submission
        self.state = state
        self.issued: Issued | None = None

    @property
    def certificate(self) -> bytes:
        """What was issued, DER."""
        assert self.issued is not None
        return self.issued.certificate


class FarCa:
    """The CA, which signs with another authority's keys."""

    def __init__(self, signer: Authority) -> None:
        self.signer = signer
        self.requests: list[Request] = []
        self.revoked: dict[str, int] = {}
        """Reasons by serial number."""
        self.fates: deque[Fate] = deque()
        self.polls = 0
        """How often it was asked for a request by its number."""
        self.shown = 0
        """How often twins were looked for."""
        self.refused = 0
        """How often it could not be reached."""
        self.away = False
        self.refuses = False
        """It does not let us revoke anything."""
        self.holds: deque[threading.Event] = deque()
        """The answers to the next submissions wait for these."""
        self.told_slowly = threading.Semaphore(0)
        """Released when such an answer begins to wait."""
        self._lock = threading.Lock()

    def next(self, *fates: Fate) -> None:
        """Tell what becomes of the next requests; all later ones are issued."""
        self.fates.extend(fates)

    def hold(self) -> threading.Event:
        """Let the answer to the next request wait until this is set."""
        self.holds.append(threading.Event())
        return self.holds[-1]

    def take(self, submission: Submission) -> tuple[Request | None, Fate]:
        """Decide on a request."""
        with self._lock:
            fate = self.fates.popleft() if self.fates else "issued"
            if self.away or fate in ("away", "cut before"):
                return None, "away" if self.away else fate
            state = "pending" if fate.startswith("pending") else "issued"
            if fate == "wrong":
                submission = replace(submission, names=("wrong.lab.test",))
            request = Request(len(self.requests) + 1, submission, state)
            self.requests.append(request)
            if fate == "denied":
                request.state = "denied"
            elif state == "issued":
                self._issue(request)
            return request, fate

    def approve(self, number: int) -> None:
        """A person has a pending request issued."""
        with self._lock:
            self._issue(self.requests[number - 1])

    def deny(self, number: int) -> None:
        """A person denies a pending request."""
        self.requests[number - 1].state = "denied"

    def certificates(self) -> list[bytes]:
        """Everything that it ever issued."""
        return [request.certificate for request in self.requests if request.state == "issued"]

    def _issue(self, request: Request) -> None:
        outcome = self.signer.submit(request.submission)
        assert isinstance(outcome, Issued)
        number = name_of(request.number)
        request.issued = Issued(outcome.certificate, outcome.issuers, number)
        request.state = "issued"


def name_of(number: int) -> str:
    """Return a request's number as the CA writes it."""
    return f"lab\\{number}"


def number_of(request_id: str) -> int:
    """Return the number in what the CA wrote."""
    return int(request_id.rpartition("\\")[2] or 0)


class FarAuthority:
    """The connector to such a CA: an `Authority`."""

    in_process = False
    copies_request = False

    def __init__(
        self, ca: FarCa, *, probes: bool = True, shows: bool = True, revokes: bool = True
    ) -> None:
        """`probes`: a lost request is looked for before another; `shows`: twins may be seen."""
        self.ca = ca
        self.name = ca.signer.name
        self.probes = probes
        self.shows = shows
        self.revokes = revokes

    def submit(self, submission: Submission) -> Outcome:
        """Hand it over."""
        hold = self.ca.holds.popleft() if self.ca.holds else None
        request, fate = self.ca.take(submission)
        if hold is not None:
            self.ca.told_slowly.release()
            assert hold.wait(30)
        if fate == "away":
            raise Unavailable("the RPC server is unavailable")
        if request is None or fate in ("lost", "pending lost"):
            raise InDoubt("the connection was cut")
        if fate == "rubbish":
            return Issued(b"rubbish", (), name_of(request.number))
        if fate == "another's":
            return self._outcome(self.ca.requests[request.number - 2])
        if fate == "numbered":
            raise InDoubt("the connection was cut", name_of(request.number))
        return self._outcome(request)

    def poll(self, submission: Submission, request_id: str) -> Outcome:
        """Ask for a request by its number."""
        self._reach()
        self.ca.polls += 1
        number = number_of(request_id)
        if not 0 < number <= len(self.ca.requests):
            reason = f"request {request_id} of order {submission.order_id} is unknown"
            return Denied("the authority knows no such request", reason, "0x80094002")
        return self._outcome(self.ca.requests[number - 1])

    def recover(self, submission: Submission, trace: Trace) -> Outcome | None:
        """Look for it by its number, or among the requests that came later."""
        self._reach()
        if trace.request_id:
            return self.poll(submission, trace.request_id)
        if not self.probes:
            raise Untraceable("the CA lets nobody look at its records")
        found = self._later(submission, trace)
        return self._outcome(found[-1]) if found else None

    def twins(self, submission: Submission, trace: Trace, known: str) -> tuple[Issued, ...]:
        """Look for others among the requests that came later."""
        self._reach()
        self.ca.shown += 1
        if not self.shows:
            return ()
        later = [one.issued for one in self._later(submission, trace)]
        return tuple(one for one in later if one is not None and one.request_id != known)

    def revoke(self, revocation: Revocation) -> None:
        """Have it revoked."""
        self._reach()
        if self.ca.refuses:
            raise RevocationRefused("access is denied", "0x80070005")
        if revocation.certificate not in self.ca.certificates():
            raise RevocationRefused("no such certificate was issued here", "0x80070002")
        self.ca.revoked[revocation.serial] = revocation.reason

    def issuers(self) -> tuple[bytes, ...]:
        """Return the CA's certificates."""
        return self.ca.signer.issuers()

    def probe(self) -> None:
        """Tell whether it can be reached."""
        self._reach()

    def close(self) -> None:
        """Give nothing back."""

    def _reach(self) -> None:
        if self.ca.away:
            self.ca.refused += 1
            raise Unavailable("the RPC server is unavailable")

    def _later(self, submission: Submission, trace: Trace) -> list[Request]:
        key = csr.spki_of(submission.csr)
        return [
            request
            for request in self.ca.requests[number_of(trace.after) :]
            if csr.spki_of(request.submission.csr) == key
        ]

    @staticmethod
    def _outcome(request: Request) -> Outcome:
        number = name_of(request.number)
        if request.state == "pending":
            return Pending(number, timedelta(seconds=1))
        if request.issued is None:
            told, reason = "the authority said no", "denied by policy module: Kurt said no"
            return Denied(told, reason, "0x80094012", number, "badCSR")
        return request.issued


def serial_of(certificate: bytes) -> str:
    """Return a certificate's serial number, as revocations have it."""
    number = x509.load_der_x509_certificate(certificate).serial_number
    return number.to_bytes((number.bit_length() + 7) // 8, "big").hex()
