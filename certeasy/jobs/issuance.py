"""Having a certificate issued, as a job. The order of things is what keeps a certificate from
existing unnoticed:

(1) `issuance.submitted` is committed before the authority hears anything.
(2) A submission without an outcome is in doubt: the authority is asked what became of it, before
    another.
(3) What comes back is held against the order before anybody gets it.
(4) The outcome is committed; only then is the order valid or invalid.

Of several authorities the next one is asked when one said that it surely issued nothing, never
while a submission is in doubt: that one has to be told apart by the authority it went to.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from certeasy.ca import (
    Authority,
    Denied,
    InDoubt,
    Issued,
    Outcome,
    Pending,
    Submission,
    Trace,
    Unavailable,
)
from certeasy.ca.breaker import Breakers
from certeasy.clock import Clock
from certeasy.commit import Command, Committer
from certeasy.decide import issuance as deciding
from certeasy.decide.certificates import IssuedFacts, check_issued
from certeasy.decide.chains import Mismatch
from certeasy.decide.decision import Decision, Reader
from certeasy.decide.policy import Policies, Rules
from certeasy.decide.problems import Problem as Kind
from certeasy.jobs.workers import TryAgain
from certeasy.log import logger
from events.certificates import CertificateIssued, CertificateMismatched
from events.envelope import Actor
from events.nodes import AuthorityCertificateSeen
from events.orders import Problem
from projections.certificates import ISSUERS
from projections.jobs import Job
from projections.orders import ORDERS, PROCESSING, Order

log = logger("issuance")
SYSTEM = Actor("system", "issuance")
AT_ONCE = timedelta(milliseconds=1)
"""When the next authority is asked."""
_CANNOT_BE_REACHED = "the authority cannot be reached"
_CANNOT_SERVE = "the authority cannot serve this order as it is configured"


class Issuance:
    """Performs jobs of kind `issue`."""

    def __init__(
        self,
        committer: Committer,
        clock: Clock,
        server_id: str,
        authorities: Mapping[str, Authority],
        policies: Policies,
        breakers: Breakers,
        authority_wait: timedelta,
    ) -> None:
        self._committer = committer
        self._clock = clock
        self._server_id = server_id
        self._authorities = authorities
        self._policies = policies
        self._breakers = breakers
        self._authority_wait = authority_wait

    def perform(self, job: Job, _attempt: int, fresh: bool) -> None:
        """Do what is next for an order. Raises TryAgain, and what `Committer.submit` raises."""
        order = self._committer.get(ORDERS, job.order_id)
        if order is None or order.status != PROCESSING:
            return
        rules = self._rules(order)
        # What was submitted and has no outcome is asked of the authority that it went to.
        name = order.authority if order.in_doubt else self._choice(order, rules)
        authority = self._authorities.get(name)
        if authority is None:
            raise TryAgain(f"authority {name!r} is not in the settings")
        if not order.in_doubt and not self._breakers.available(name):
            self._wait(order, name, rules)
            return
        self._go_on(order, authority, rules, fresh=fresh)

    def _rules(self, order: Order) -> Rules:
        rules = self._policies.today(order.policy, order.profile)
        if rules is None:
            what = f"profile {order.profile!r} of " if order.profile else ""
            raise TryAgain(f"{what}policy {order.policy!r} is not in the settings")
        return rules

    def _choice(self, order: Order, rules: Rules) -> str:
        """Return whom to ask next: of those that can be used, another one than the last, which has
        said no."""
        asked = order.authority if order.attempt else ""

        def fresh(name: str) -> bool:
            return name != asked and self._breakers.available(name)

        chosen = rules.signer(order.id, fresh).name
        return chosen if fresh(chosen) else rules.signer(order.id, self._breakers.available).name

    def _wait(self, order: Order, name: str, rules: Rules) -> None:
        """Put an order off until an authority is worth asking; end it if it has waited enough."""
        sickness = self._breakers.sickness(name)
        reason = "it did not answer" if sickness is None else sickness.reason
        if self._out_of_time(order):
            self._refused(order, name, reason, _CANNOT_BE_REACHED, Kind.SERVER_INTERNAL)
            return
        rest = self._breakers.rest(signer.name for signer in rules.signers)
        raise TryAgain(f"no authority can be used; {name}: {reason}", max(rest, AT_ONCE))

    def _out_of_time(self, order: Order) -> bool:
        """Whether an order has waited as long as it may for an authority that can be used."""
        waited: timedelta = self._clock.now() - datetime.fromisoformat(order.finalized)
        return waited >= self._authority_wait

    def _go_on(self, order: Order, authority: Authority, rules: Rules, *, fresh: bool) -> None:
        outcome = None
        if order.in_doubt and not fresh:
            outcome = _recovered(authority, self._submission(order, rules))
        if outcome is None and (not order.in_doubt or not fresh):
            order = self._submitted(order, authority)
            rules = self._rules(order)  # it was read from a table before; now it is the log's
        if outcome is None:
            outcome = self._answer(order, authority, rules)
        match outcome:
            case Issued():
                self._issued(order, authority, rules, outcome)
            case Denied():
                told = outcome.reason_for_client
                self._refused(order, authority.name, outcome.reason, told, Kind.UNAUTHORIZED)
            case None:
                return
            case Pending():
                raise TryAgain(f"pending as request {outcome.request_id}", outcome.retry_after)

    def _answer(self, order: Order, authority: Authority, rules: Rules) -> Outcome | None:
        """Hand the request over, and return what the authority says; None: it was given up."""
        self._breakers.asking(authority.name)
        try:
            outcome = authority.submit(self._submission(order, rules))
        except InDoubt as error:
            self._breakers.failed(authority.name, error.reason)
            raise TryAgain(f"in doubt: {error.reason}") from error
        except Unavailable as error:
            if error.sick:
                self._breakers.failed(authority.name, error.reason, error.code)
            else:
                self._breakers.answered(authority.name)
            if not self._out_of_time(order):
                raise self._put_off(order, authority.name, error, rules) from error
            told = _CANNOT_BE_REACHED if error.sick else _CANNOT_SERVE
            self._refused(order, authority.name, error.reason, told, Kind.SERVER_INTERNAL)
            return None
        self._breakers.answered(authority.name)
        return outcome

    def _put_off(self, order: Order, authority: str, error: Unavailable, rules: Rules) -> TryAgain:
        """Record that an authority surely issued nothing; return when to go on, with whom."""

        def decide(rows: Reader, _now: datetime) -> Decision:
            return deciding.attempt_failed(
                rows, order.id, authority, error.reason, attempt=order.attempt
            )

        self._committer.submit(Command(decide, SYSTEM))
        # Each of them is asked once without delay; who has said no is asked again after a while.
        another = self._choice(order, rules) != authority and order.attempt < len(rules.signers)
        return TryAgain(f"{authority}: {error.reason}", AT_ONCE if another else error.retry_after)

    def _submission(self, order: Order, rules: Rules) -> Submission:
        return Submission(
            order_id=order.id,
            attempt=order.attempt,
            csr=order.csr,
            names=tuple(identifier.value for identifier in order.identifiers),
            server_id=self._server_id,
            allowed_extra_eku=rules.csr.allowed_extra_eku,
            max_validity=rules.max_validity,
            template=rules.template,
            fill_common_name=rules.csr.common_name == "fill",
            must_staple=rules.csr.must_staple,
        )

    def _submitted(self, order: Order, authority: Authority) -> Order:
        def decide(rows: Reader, _now: datetime) -> Decision:
            return deciding.submit(rows, order.id, authority.name, after=order.attempt)

        committed = self._committer.submit(Command(decide, SYSTEM))
        if not committed.records:
            raise TryAgain("somebody else has gone on with it")
        return committed.get(ORDERS, order.id) or order

    def _issued(self, order: Order, authority: Authority, rules: Rules, outcome: Issued) -> None:
        try:
            issuers = authority.issuers()
        except Unavailable as error:
            # The certificate exists; it is asked for again, never ordered again.
            raise TryAgain(f"no issuers to check it against: {error.reason}") from error
        try:
            facts = check_issued(
                outcome.certificate,
                issuers=issuers,
                names=[identifier.value for identifier in order.identifiers],
                request=order.csr,
                rules=rules.csr,
                max_validity=rules.max_validity,
                now=self._clock.now(),
            )
        except Mismatch as mismatch:
            self._mismatched(order, outcome, str(mismatch))
            return
        issued = _issued_fact(order, outcome, facts)

        def decide(rows: Reader, _now: datetime) -> Decision:
            decision = deciding.issued(rows, order, issued)
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

    def _refused(self, order: Order, authority: str, reason: str, told: str, kind: Kind) -> None:
        error = _problem(kind, told)

        def decide(rows: Reader, _now: datetime) -> Decision:
            return deciding.refused(rows, order.id, authority, reason, error, attempt=order.attempt)

        self._committer.submit(Command(decide, SYSTEM))


def _recovered(authority: Authority, submission: Submission) -> Outcome | None:
    """Ask what became of a submission. One that cannot be asked now has not said that nothing
    was issued."""
    try:
        return authority.recover(submission, Trace())
    except Unavailable as error:
        raise TryAgain(
            f"in doubt, and not to be asked: {error.reason}", error.retry_after
        ) from error


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
