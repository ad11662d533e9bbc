"""Having a certificate issued, as a job. The order of things is what keeps a certificate from
existing unnoticed:

(1) `issuance.submitted` is committed before the authority hears anything.
(2) A submission without an outcome is in doubt: the authority is asked what became of it, before
    another.
(3) What comes back is held against the order before anybody gets it.
(4) The outcome is committed; only then is the order valid or invalid.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime

import msgspec

from certeasy.ca import Authority, Denied, InDoubt, Issued, Pending, Submission, Unavailable
from certeasy.clock import Clock
from certeasy.commit import Command, Committer
from certeasy.decide import issuance as deciding
from certeasy.decide.certificates import IssuedFacts, check_issued
from certeasy.decide.chains import Mismatch
from certeasy.decide.decision import Decision, Reader
from certeasy.decide.problems import Problem as Kind
from certeasy.jobs.workers import TryAgain
from certeasy.log import logger
from certeasy.settings import IssuancePolicy
from events.certificates import CertificateIssued, CertificateMismatched
from events.envelope import Actor
from events.nodes import AuthorityCertificateSeen
from events.orders import Problem
from projections.certificates import ISSUERS
from projections.jobs import Job
from projections.orders import ORDERS, PROCESSING, Order

log = logger("issuance")
SYSTEM = Actor("system", "issuance")


class Issuance:
    """Performs jobs of kind `issue`."""

    def __init__(
        self,
        committer: Committer,
        clock: Clock,
        server_id: str,
        authorities: Mapping[str, Authority],
        policies: Mapping[str, IssuancePolicy],
        max_attempts: int,
    ) -> None:
        self._committer = committer
        self._clock = clock
        self._server_id = server_id
        self._authorities = authorities
        self._policies = policies
        self._max_attempts = max_attempts

    def perform(self, job: Job, attempt: int, fresh: bool) -> None:
        """Do what is next for an order. Raises TryAgain, and what `Committer.submit` raises."""
        order = self._committer.get(ORDERS, job.order_id)
        if order is None or order.status != PROCESSING:
            return
        authority = self._authorities.get(order.authority)
        policy = self._policies.get(order.policy)
        if authority is None or policy is None:
            raise TryAgain(
                f"authority {order.authority!r} or policy {order.policy!r} is not in the settings"
            )
        try:
            self._go_on(order, authority, policy, fresh=fresh)
        except Unavailable as error:
            self._unavailable(order, error, last=attempt >= self._max_attempts)
        except InDoubt as error:
            raise TryAgain(f"in doubt: {error.reason}") from error

    def _go_on(
        self, order: Order, authority: Authority, policy: IssuancePolicy, *, fresh: bool
    ) -> None:
        submission = self._submission(order, policy)
        outcome = None
        if order.in_doubt and not fresh:
            outcome = authority.recover(submission)
        if outcome is None and (not order.in_doubt or not fresh):
            order = self._submitted(order)
            submission = self._submission(order, policy)
        if order.status != PROCESSING:
            return
        outcome = outcome or authority.submit(submission)
        match outcome:
            case Issued():
                self._issued(order, authority, policy, outcome)
            case Denied():
                self._refused(order, outcome.reason, outcome.reason_for_client, Kind.UNAUTHORIZED)
            case Pending():
                raise TryAgain(f"pending as request {outcome.request_id}", outcome.retry_after)

    def _submission(self, order: Order, policy: IssuancePolicy) -> Submission:
        return Submission(
            order_id=order.id,
            attempt=order.attempt,
            csr=order.csr,
            names=tuple(identifier.value for identifier in order.identifiers),
            server_id=self._server_id,
            allowed_extra_eku=policy.csr.allowed_extra_eku,
            max_validity=policy.max_validity,
        )

    def _submitted(self, order: Order) -> Order:
        def decide(rows: Reader, _now: datetime) -> Decision:
            return deciding.submit(rows, order.id, order.authority)

        committed = self._committer.submit(Command(decide, SYSTEM))
        return committed.get(ORDERS, order.id) or order

    def _issued(
        self, order: Order, authority: Authority, policy: IssuancePolicy, outcome: Issued
    ) -> None:
        try:
            facts = check_issued(
                outcome.certificate,
                issuers=authority.issuers(),
                names=[identifier.value for identifier in order.identifiers],
                request=order.csr,
                rules=policy.csr,
                max_validity=policy.max_validity,
                now=self._clock.now(),
            )
        except Mismatch as mismatch:
            self._mismatched(order, outcome, str(mismatch))
            return
        issued = _issued_fact(order, outcome, facts)

        def decide(rows: Reader, _now: datetime) -> Decision:
            decision = deciding.issued(rows, order.id, issued)
            return (
                _with_issuers(rows, decision, order.authority, facts)
                if decision.facts
                else decision
            )

        self._committer.submit(Command(decide, SYSTEM))

    def _mismatched(self, order: Order, outcome: Issued, reason: str) -> None:
        log.error(
            "order %s: authority %s returned a certificate that %s; it is given to nobody",
            order.id,
            order.authority,
            reason,
        )
        fact = CertificateMismatched(
            order.id, order.authority, order.attempt, reason, outcome.certificate
        )
        error = _problem(
            Kind.SERVER_INTERNAL, "the authority returned something other than what was ordered"
        )

        def decide(rows: Reader, _now: datetime) -> Decision:
            return deciding.mismatched(rows, order.id, fact, error)

        self._committer.submit(Command(decide, SYSTEM))

    def _refused(self, order: Order, reason: str, told: str, kind: Kind) -> None:
        error = _problem(kind, told)

        def decide(rows: Reader, _now: datetime) -> Decision:
            return deciding.refused(rows, order.id, order.authority, reason, error)

        self._committer.submit(Command(decide, SYSTEM))

    def _unavailable(self, order: Order, error: Unavailable, *, last: bool) -> None:
        if last:
            self._refused(
                order, error.reason, "the authority cannot be reached", Kind.SERVER_INTERNAL
            )
            return

        def decide(rows: Reader, _now: datetime) -> Decision:
            return deciding.attempt_failed(rows, order.id, order.authority, error.reason)

        self._committer.submit(Command(decide, SYSTEM))
        raise TryAgain(error.reason, error.retry_after)


def _problem(kind: Kind, detail: str) -> Problem:
    return Problem(kind.urn, detail, kind.status)


def _issued_fact(order: Order, outcome: Issued, facts: IssuedFacts) -> CertificateIssued:
    return CertificateIssued(
        order_id=order.id,
        account_id=order.account_id,
        authority=order.authority,
        attempt=order.attempt,
        certificate=outcome.certificate,
        chain=tuple(hashlib.sha256(issuer).hexdigest() for issuer in facts.chain),
        serial=facts.serial,
        sha256=facts.sha256,
        spki_sha256=facts.spki_sha256,
        names=tuple(facts.names),
        not_before=_whole_seconds(facts.not_before),
        not_after=_whole_seconds(facts.not_after),
        request_id=outcome.request_id or "",
    )


def _with_issuers(rows: Reader, decision: Decision, authority: str, facts: IssuedFacts) -> Decision:
    """Put certificates of the chain that the log has not seen before the facts that name them."""
    seen = []
    for issuer in facts.chain:
        sha256 = hashlib.sha256(issuer).hexdigest()
        if rows.get(ISSUERS, sha256) is None:
            seen.append(
                (f"authority/{authority}", AuthorityCertificateSeen(authority, sha256, issuer))
            )
    return msgspec.structs.replace(decision, facts=(*seen, *decision.facts)) if seen else decision


def _whole_seconds(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S}Z"
