"""An authority that fails as a real one does; what it signs is real."""

from collections import deque
from typing import Literal

from certeasy.ca import (
    Authority,
    Denied,
    InDoubt,
    Issued,
    Outcome,
    Revocation,
    Submission,
    Trace,
    Unavailable,
)

Trouble = Literal["away", "lost", "denied", "no issuers", "no template"]


class TroubledAuthority:
    """Another authority, with troubles in the order in which they are to happen.

    `away`: nothing was issued. `lost`: it was issued, and the answer got lost; `recover` finds it.
    `denied`: it says no. `no template`: it cannot serve this one, and is well. `no issuers`: it
    issues, and cannot say right then under which issuers.
    After the last trouble all is well.
    """

    def __init__(self, inner: Authority, *troubles: Trouble, in_process: bool = True) -> None:
        self.inner = inner
        self.name = inner.name
        self.in_process = in_process
        self.copies_request = inner.copies_request
        self.revokes = inner.revokes
        self.troubles = deque(troubles)
        self.signed: list[tuple[str, Issued]] = []
        """Everything it ever signed, with the order it was for."""
        self.asked = 0
        self.recovering_fails = 0
        """So many times it cannot be asked what became of a submission."""
        self.sick = ""
        """What a probe finds, unless it is empty."""
        self._silent = False

    def submit(self, submission: Submission) -> Outcome:
        """Sign, or have the next trouble."""
        self.asked += 1
        trouble = self.troubles.popleft() if self.troubles else None
        if trouble == "away":
            raise Unavailable("the RPC server is unavailable")
        if trouble == "no template":
            raise Unavailable("it does not offer this template", sick=False, code="0x80094800")
        if trouble == "denied":
            return Denied("the authority said no", "denied by policy module 0x80094012")
        outcome = self.inner.submit(submission)
        assert isinstance(outcome, Issued)
        self.signed.append((submission.order_id, outcome))
        if trouble == "lost":
            raise InDoubt("no answer came")
        self._silent = trouble == "no issuers"
        return outcome

    def poll(self, submission: Submission, request_id: str) -> Outcome:
        """Nothing ever waits here."""
        return self.inner.poll(submission, request_id)

    def recover(self, submission: Submission, trace: Trace) -> Outcome | None:
        """Return what was signed for an order, if anything was."""
        if self.recovering_fails:
            self.recovering_fails -= 1
            raise Unavailable("the RPC server is unavailable")
        found = (issued for order, issued in self.signed if order == submission.order_id)
        return next(found, None)

    def issuers(self) -> tuple[bytes, ...]:
        """Return the issuers."""
        if self._silent:
            self._silent = False
            raise Unavailable("the CA certificates are not known yet")
        return self.inner.issuers()

    def twins(self, submission: Submission, trace: Trace, known: str) -> tuple[Issued, ...]:
        """Return what else the inner one has signed for an order."""
        return self.inner.twins(submission, trace, known)

    def revoke(self, revocation: Revocation) -> None:
        """Have it revoked."""
        self.inner.revoke(revocation)

    def probe(self) -> None:
        """Tell whether it is well."""
        if self.sick:
            raise Unavailable(self.sick)
        self.inner.probe()

    def close(self) -> None:
        """Give everything back."""
        self.inner.close()
