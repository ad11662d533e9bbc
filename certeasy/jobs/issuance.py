"""Having a certificate issued, as a job. The order of things is what keeps a certificate from
existing unnoticed:

(1) `issuance.submitted` is committed before the authority hears anything.
(2) A submission without an outcome is in doubt: the authority is asked what became of it, before
    another. If that cannot be told, now or ever, it is given up as one that may have made a
    certificate, and `twins` looks for that.
(3) What comes back is held against the order before anybody gets it.
(4) The outcome is committed; only then is the order valid or invalid. One that comes when its
    attempt is over, because others have gone on meanwhile, changes nothing of the order; a
    certificate that it brings is recorded and revoked.

Of several authorities the next one is asked when one said that it surely issued nothing, never
while a submission is in doubt: that one has to be told apart by the authority it went to.

A request that a person has to approve is asked for as long as the policy says, at growing
intervals.
"""

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import msgspec
from msgspec import Struct

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
    Untraceable,
)
from certeasy.ca.breaker import FIRST_REST, Breakers
from certeasy.clock import Clock
from certeasy.commit import Command, Committed, Committer
from certeasy.config.forms import duration_text
from certeasy.decide import authorities, csr, waiting
from certeasy.decide import issuance as deciding
from certeasy.decide.certificates import MAX_BYTES, IssuedFacts, check_issued, key_and_serial
from certeasy.decide.chains import Mismatch
from certeasy.decide.decision import Decision, Reader
from certeasy.decide.policy import Policies, Rules
from certeasy.decide.problems import Problem as Kind
from certeasy.jobs.ownership import Ownership
from certeasy.jobs.plain import plain
from certeasy.jobs.workers import TryAgain
from certeasy.log import logger
from certeasy.metrics import Metrics
from events.certificates import (
    CertificateIssued,
    CertificateMismatched,
    CertificateTwinFound,
)
from events.envelope import Actor
from events.orders import IssuanceAbandoned, IssuanceInDoubt, IssuancePending, Problem
from projections.accounts import ACCOUNTS, VALID
from projections.jobs import ISSUE, Job
from projections.orders import ORDERS, PROCESSING, Order
from projections.revocations import REVOCATIONS, revocation_id

log = logger("issuance")
SYSTEM = Actor("system", "issuance")
AT_ONCE = timedelta(milliseconds=1)
"""When the next authority is asked."""
MOST_IN_DOUBT = 5
"""So many attempts at an order may come to nothing that can be told; each may be a certificate."""
_CANNOT_BE_REACHED = "the authority cannot be reached"
_CANNOT_SERVE = "the authority cannot serve this order as it is configured"
_KINDS: Mapping[str, Kind] = {
    "unauthorized": Kind.UNAUTHORIZED,
    "badCSR": Kind.BAD_CSR,
    "badPublicKey": Kind.BAD_PUBLIC_KEY,
    "badSignatureAlgorithm": Kind.BAD_SIGNATURE_ALGORITHM,
    "rejectedIdentifier": Kind.REJECTED_IDENTIFIER,
    "serverInternal": Kind.SERVER_INTERNAL,
}


class _Over(Struct, frozen=True):
    """What was found out about a submission in doubt, so that another one may follow; `untold`:
    that it cannot be told whether it made a certificate."""

    reason: str
    untold: bool


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
        ownership: Ownership,
        metrics: Metrics,
    ) -> None:
        self._committer = committer
        self._clock = clock
        self._server_id = server_id
        self._authorities = authorities
        self._policies = policies
        self._breakers = breakers
        self._authority_wait = authority_wait
        self._ownership = ownership
        self._metrics = metrics

    def perform(self, job: Job, _attempt: int, fresh: bool) -> None:
        """Do what is next for an order. Raises TryAgain, and what `Committer.submit` raises."""
        order = self._committer.get(ORDERS, job.order_id)
        if order is None or order.status != PROCESSING:
            return
        if not order.in_doubt:
            self._ask(order, self._rules(order))
        elif fresh:  # this process has just recorded that it is about to submit, and has not yet
            rules = self._rules(order)
            authority = self._authority(order.authority)
            self._conclude(order, authority, rules, self._answer(order, authority, rules))
        else:
            self._ask_again(order)

    def is_now(self, committed: Committed, job: Job) -> bool:
        """Whether the request that finalized an order has it issued in its own thread."""
        if job.kind != ISSUE:
            return False
        order = committed.get(ORDERS, job.order_id)
        if order is None or not order.in_doubt:
            return False
        authority = self._authorities.get(order.authority)
        return authority is not None and authority.in_process

    def _ask(self, order: Order, rules: Rules, over: _Over | None = None) -> None:
        """Submit, after what was found out about the submission before."""
        if self._is_closed(order, over):
            return
        name = self._choice(order, rules)
        authority = self._authority(name)
        if not self._breakers.available(name):
            self._wait(order, name, rules, over)
            return
        order = self._submitted(order, authority, over)
        rules = self._rules(order)  # it was read from a table before; now it is the log's
        self._conclude(order, authority, rules, self._answer(order, authority, rules))

    def _ask_again(self, order: Order) -> None:
        """Find out what became of what was submitted, at the authority that it went to; submit anew
        where it came to nothing."""
        order = self._of_the_log(order)
        if not order.in_doubt:
            raise TryAgain("somebody else has gone on with it")
        rules = self._rules(order)
        authority = self._authority(order.authority)
        try:
            outcome = self._what_became_of(order, authority, rules)
        except TryAgain as later:
            if order.pending and self._left(order, rules) <= timedelta():
                outcome = Pending(order.request_id, AT_ONCE)
            elif not order.pending and self._out_of_time(order):
                self._give_up(order, str(later))
                return
            else:
                raise
        if isinstance(outcome, _Over):
            if outcome.untold and self._is_enough(order):
                self._give_up(order, outcome.reason)
            else:
                self._ask(order, rules, outcome)
        else:
            self._conclude(order, authority, rules, outcome)

    def _what_became_of(self, order: Order, authority: Authority, rules: Rules) -> Outcome | _Over:
        """Ask. What cannot be told apart now has not said that nothing was issued."""
        submission = self._submission(order, rules)
        try:
            if order.pending:
                return authority.poll(submission, order.request_id)
            outcome = authority.recover(submission, Trace(order.request_id, order.after))
        except Unavailable as error:
            what = f"in doubt, and not to be asked: {error.reason}"
            wait = error.retry_after or waiting.poll(order, self._clock.now())
            raise TryAgain(what, wait) from error
        except InDoubt as error:
            raise self._in_doubt(order, error.reason, error.request_id) from error
        except Untraceable as error:
            return _Over(error.reason, untold=True)
        if isinstance(outcome, Issued) and self._may_be_another_s(order, outcome):
            return _Over("what was found at the authority may be another order's", untold=True)
        return outcome or _Over("the authority has made no certificate of it", untold=False)

    def _may_be_another_s(self, order: Order, found: Issued) -> bool:
        """Whether a certificate that was found may be that of another order with the same key and
        the same names: it has it, or, unless it was found by its number, waits for one."""
        key, names = csr.spki_of(order.csr), frozenset(order.identifiers)
        waits = not order.request_id and self._ownership.awaited_by(
            key, beside=order.id, names=names
        )
        # In this order: whoever does not wait any more has his by now.
        return bool(waits) or self._is_taken(order, found.certificate)

    def _is_taken(self, order: Order, certificate: bytes) -> bool:
        """Whether somebody has a certificate, or it was found before to be one that nobody gets."""
        id_ = revocation_id(order.id, certificate)
        return self._committer.get(
            REVOCATIONS, order.id, id_
        ) is not None or self._ownership.is_given(certificate)

    def _authority(self, name: str) -> Authority:
        authority = self._authorities.get(name)
        if authority is None:
            raise TryAgain(f"authority {name!r} is not in the settings")
        return authority

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

    def _wait(self, order: Order, name: str, rules: Rules, over: _Over | None) -> None:
        """Put an order off until an authority is worth asking; end it if it has waited enough."""
        sickness = self._breakers.sickness(name)
        reason = "it did not answer" if sickness is None else sickness.reason
        if self._out_of_time(order):
            if over is not None and over.untold:
                self._give_up(order, over.reason)
            else:
                told = _problem(Kind.SERVER_INTERNAL, _CANNOT_BE_REACHED)
                self._refused(order, name, reason, told)
            return
        rest = self._breakers.rest(signer.name for signer in rules.signers)
        # A probe may find out long before its rest is over that an authority is back.
        wait = min(max(rest, AT_ONCE), FIRST_REST)
        raise TryAgain(f"no authority can be used; {name}: {reason}", wait)

    def _give_up(self, order: Order, reason: str) -> None:
        """End an order whose last attempt may have made a certificate."""
        fact = IssuanceAbandoned(order.attempt, order.authority, plain(reason), order.request_id)
        error = _problem(Kind.SERVER_INTERNAL, _CANNOT_BE_REACHED)
        self._commit(lambda rows: deciding.given_up(rows, order.id, fact, error))

    def _is_enough(self, order: Order) -> bool:
        """Whether another attempt is one too many: each of those that were given up may have made
        a certificate. Who loses every answer would have them made for ever."""
        twins = len(order.abandoned) + 1
        return twins >= MOST_IN_DOUBT or (twins > 1 and self._out_of_time(order))

    def _out_of_time(self, order: Order) -> bool:
        """Whether an order has waited as long as it may for an authority that can be used."""
        waited: timedelta = self._clock.now() - datetime.fromisoformat(order.finalized)
        return waited >= self._authority_wait

    def _conclude(
        self, order: Order, authority: Authority, rules: Rules, outcome: Outcome | None
    ) -> None:
        """Record what an authority said; None: nothing is left to say."""
        match outcome:
            case Issued():
                self._issued(order, authority, rules, outcome)
            case Denied():
                told = outcome.reason_for_client
                self._refused(
                    order,
                    authority.name,
                    outcome.reason,
                    _problem(_KINDS[outcome.problem], told),
                    code=outcome.code or "",
                    request_id=outcome.request_id or "",
                )
            case Pending():
                self._pending(order, authority.name, rules, outcome)
            case None:
                return

    def _pending(self, order: Order, authority: str, rules: Rules, outcome: Pending) -> None:
        """Wait until a person has approved the request, if the policy does, and for as long."""
        fact = IssuancePending(order.attempt, authority, outcome.request_id)
        left = self._left(order, rules)
        if not rules.pending.accept:
            why = "this policy does not wait for a person to approve a request at the authority"
        elif left <= timedelta():
            limit = duration_text(rules.pending.limit)
            why = f"nobody has approved the request at the authority within {limit}"
        else:
            self._commit(lambda rows: deciding.pending(rows, order.id, fact))
            wait = waiting.poll(order, self._clock.now()) or waiting.SHORTEST_POLL
            what = f"pending as request {outcome.request_id}"
            raise TryAgain(what, min(max(wait, outcome.retry_after), left))
        error = _problem(Kind.UNAUTHORIZED, why)
        self._commit(lambda rows: deciding.not_awaited(rows, order.id, fact, why, error))

    def _left(self, order: Order, rules: Rules) -> timedelta:
        """Return how long a person may still take to approve the request of an order."""
        now = self._clock.now()
        since = datetime.fromisoformat(order.pending) if order.pending else now
        return since + rules.pending.limit - now

    def _in_doubt(self, order: Order, reason: str, request_id: str | None) -> TryAgain:
        """Record that an answer was lost, and what is known of it; return when to go on."""
        fact = IssuanceInDoubt(order.attempt, order.authority, plain(reason), request_id or "")
        self._commit(lambda rows: deciding.in_doubt(rows, order.id, fact))
        return TryAgain(f"in doubt: {reason}")

    def _answer(self, order: Order, authority: Authority, rules: Rules) -> Outcome | None:
        """Hand the request over, and return what the authority says; None: it was given up."""
        asked = self._breakers.asking(authority.name)
        try:
            outcome = self._submit(order, authority, rules)
        except InDoubt as error:
            self._breakers.failed(authority.name, asked, error.reason)
            raise self._in_doubt(order, error.reason, error.request_id) from error
        except Unavailable as error:
            if error.sick:
                self._breakers.failed(authority.name, asked, error.reason, error.code)
            else:
                self._breakers.answered(authority.name, asked)
            if not self._out_of_time(order):
                raise self._put_off(order, authority.name, error, rules) from error
            told = _problem(
                Kind.SERVER_INTERNAL, _CANNOT_BE_REACHED if error.sick else _CANNOT_SERVE
            )
            self._refused(order, authority.name, error.reason, told, code=error.code or "")
            return None
        self._breakers.answered(authority.name, asked)
        return outcome

    def _submit(self, order: Order, authority: Authority, rules: Rules) -> Outcome:
        """Submit, and note how long that took and what came of it. Raises what `submit` raises."""
        submission = self._submission(order, rules)
        begun, said = self._clock.monotonic(), "failed"
        try:
            outcome = authority.submit(submission)
            said = type(outcome).__name__.lower()
        except InDoubt:
            said = "in-doubt"
            raise
        except Unavailable:
            said = "unavailable"
            raise
        finally:
            took = self._clock.monotonic() - begun
            self._metrics.authority_requests.labels(authority.name, said).observe(took)
        return outcome

    def _put_off(self, order: Order, authority: str, error: Unavailable, rules: Rules) -> TryAgain:
        """Record that an authority surely issued nothing; return when to go on, with whom."""
        reason, code = plain(error.reason), error.code or ""

        def decide(rows: Reader) -> Decision:
            return deciding.attempt_failed(
                rows, order.id, authority, reason, attempt=order.attempt, code=code
            )

        self._commit(decide)
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

    def _is_closed(self, order: Order, over: _Over | None) -> bool:
        """Whether an order's account was closed meanwhile; then the order has ended."""
        account = self._committer.get(ACCOUNTS, order.account_id)
        if account is not None and account.status == VALID:
            return False

        def decide(rows: Reader) -> Decision:
            return deciding.closed(
                rows,
                order.id,
                after=order.attempt,
                outcome="" if over is None else plain(over.reason),
                abandoned=over is not None and over.untold,
            )

        return bool(self._commit(decide).records)

    def _submitted(self, order: Order, authority: Authority, over: _Over | None) -> Order:
        """Record that a submission is about to be made; return the order as the log has it."""

        def decide(rows: Reader) -> Decision:
            return deciding.submit(
                rows,
                order.id,
                authority.name,
                after=order.attempt,
                outcome="" if over is None else plain(over.reason),
                abandoned=over is not None and over.untold,
            )

        committed = self._commit(decide)
        if not committed.records:
            raise TryAgain("somebody else has gone on with it")
        if over is not None and over.untold:
            log.error(
                "order %s: what became of attempt %d at authority %s cannot be told: %s; it is"
                " submitted again, and there may be a certificate that nobody has",
                *(order.id, order.attempt, order.authority, over.reason),
            )
        return committed.get(ORDERS, order.id) or order

    def _of_the_log(self, order: Order) -> Order:
        """Return an order as its events make it, whatever stands in a table."""
        seen: list[Order | None] = []

        def decide(rows: Reader) -> Decision:
            seen.append(rows.get(ORDERS, order.id))
            return Decision()

        self._commit(decide)
        return seen[-1] or order

    def _issued(self, order: Order, authority: Authority, rules: Rules, outcome: Issued) -> None:
        try:
            issuers = authority.issuers()
        except Unavailable as error:
            # The certificate exists; it is asked for again, never ordered again.
            what = f"no issuers to check it against: {error.reason}"
            raise self._in_doubt(order, what, outcome.request_id) from error
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
            self._mismatched(order, authority, outcome, str(mismatch))
            return
        if self._is_taken(order, outcome.certificate):
            self._mismatched(order, authority, outcome, "was there before this attempt")
            return
        issued = _issued_fact(order, outcome, facts)

        def decide(rows: Reader) -> Decision:
            decision = deciding.issued(rows, order, issued, publish=authority.revokes)
            return (
                _with_issuers(rows, decision, order.authority, facts)
                if decision.facts
                else decision
            )

        self._commit(decide)

    def _mismatched(self, order: Order, authority: Authority, outcome: Issued, reason: str) -> None:
        serial, publish, own = "", False, None
        try:
            key, serial = key_and_serial(outcome.certificate)
        except Mismatch:
            own = outcome.request_id or ""  # the CA's records may have it as it is
        else:
            if self._is_another_s(order, outcome, key):
                own = ""  # the number is the other's, too
            else:
                publish = authority.revokes
        log.error(
            "order %s: authority %s returned a certificate that %s; it is given to nobody%s",
            *(order.id, order.authority, reason),
            f", and revoked: serial number {serial}" if publish else "",
        )
        fact = CertificateMismatched(
            order_id=order.id,
            authority=order.authority,
            attempt=order.attempt,
            reason=plain(reason),
            certificate=outcome.certificate[:MAX_BYTES],
            serial=serial,
            request_id=outcome.request_id or "",
            publish=publish,
        )
        error = _problem(
            Kind.SERVER_INTERNAL, "the authority returned something other than what was ordered"
        )
        abandoned = None
        if own is not None:
            what = "what came back is not what it made"
            abandoned = IssuanceAbandoned(order.attempt, order.authority, what, own)
        self._commit(lambda rows: deciding.mismatched(rows, order.id, fact, error, abandoned))

    def _is_another_s(self, order: Order, outcome: Issued, key: bytes) -> bool:
        """Whether an answer was somebody else's: it is not for this order's key, but for that of
        one who has it, or waits for it.

        What is there under a number that was learnt before may be of somebody whom we do not know:
        a CA that was restored from a backup gives its numbers once more.
        """
        foreign = key != csr.spki_of(order.csr)
        if foreign and order.request_id:
            return True
        waits = foreign and self._ownership.awaited_by(key, beside=order.id)
        # In this order: whoever does not wait any more has his by now.
        return bool(waits) or self._ownership.is_given(outcome.certificate)

    def _refused(
        self,
        order: Order,
        authority: str,
        reason: str,
        error: Problem,
        *,
        code: str = "",
        request_id: str = "",
    ) -> None:
        def decide(rows: Reader) -> Decision:
            return deciding.refused(
                rows,
                order.id,
                authority,
                plain(reason),
                error,
                attempt=order.attempt,
                code=code,
                request_id=request_id or order.request_id,
            )

        self._commit(decide)

    def _commit(self, decide: Callable[[Reader], Decision]) -> Committed:
        """Have something decided and stored; a certificate that nobody gets is told aloud."""
        committed = self._committer.submit(Command(lambda rows, _now: decide(rows), SYSTEM))
        for record in committed.records:
            if isinstance(fact := record.event, CertificateTwinFound):
                log.error(
                    "order %s: authority %s issued certificate %s, which nobody gets: %s",
                    *(fact.order_id, fact.authority, fact.serial, fact.reason),
                )
        return committed


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
    seen = [
        fact for issuer in facts.chain for fact in authorities.seen(rows, authority, issuer).facts
    ]
    return msgspec.structs.replace(decision, facts=(*seen, *decision.facts)) if seen else decision


def _whole_seconds(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S}Z"
