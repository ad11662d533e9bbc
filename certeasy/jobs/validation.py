"""Validating a challenge, as a job: look at the network, then have the outcome decided and
committed."""

from collections.abc import Callable, Mapping
from functools import partial

import msgspec

from certeasy.clock import Clock
from certeasy.commit import Command, Committer
from certeasy.decide import validation as deciding
from certeasy.decide.decision import Decision, Reader
from certeasy.decide.problems import Problem as Kind
from certeasy.decide.problems import Refused
from certeasy.jobs.workers import TryAgain
from certeasy.log import logger
from certeasy.metrics import Metrics
from certeasy.validate import Asked, Evidence, Failed, Validated, Validator
from events.envelope import Actor
from events.orders import Problem
from projections.accounts import ACCOUNTS
from projections.jobs import Job
from projections.orders import ORDERS, PENDING, PROCESSING

ATTEMPTS = 3  # what may pass by itself (a timeout, SERVFAIL) is looked at so often before it counts
SYSTEM = Actor("system", "validation")

OURS = "an error of the server, not of the challenge; its log has more"

log = logger("validation")

Validators = Mapping[tuple[str, str], Validator]


class Validation:
    """Performs jobs of kind `validate`. `validators` are by policy and challenge type.

    `account_urls` says which URLs an account has, by its id.
    """

    def __init__(
        self,
        committer: Committer,
        validators: Validators,
        account_urls: Callable[[str], tuple[str, ...]],
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._committer = committer
        self._validators = validators
        self._account_urls = account_urls
        self._clock = clock
        self._metrics = metrics

    def look_with(self, validators: Validators) -> None:
        """Use these validators from the next look on."""
        self._validators = validators

    def perform(self, job: Job, attempt: int, _fresh: bool) -> None:
        """Look once. Raises TryAgain where a failure may pass, and what `submit` raises."""
        order_id, n, m = parts_of(job.id)
        order = self._committer.get(ORDERS, order_id)
        if order is None:
            return
        account = self._committer.get(ACCOUNTS, order.account_id)
        if account is None:
            return
        authorization = order.authorizations[n]
        challenge = authorization.challenges[m]
        if order.status != PENDING or challenge.status != PROCESSING:
            return  # it has its outcome, or the order has failed by another name
        validator = self._validators.get((order.policy, challenge.type))
        if validator is None:
            raise TryAgain(f"no policy {order.policy!r} in the settings validates {challenge.type}")
        identifier = authorization.identifier
        asked = deciding.Asked.of(order, n, m, account.thumbprint)
        begun = self._clock.monotonic()
        result = _looked(
            validator,
            Asked(
                name=identifier.value,
                token=challenge.token,
                key_authorization=f"{challenge.token}.{account.thumbprint}",
                account_urls=self._account_urls(order.account_id),
                identifier_type=identifier.type,
                wildcard=authorization.wildcard,
            ),
        )
        outcome = "invalid" if isinstance(result, Failed) else "valid"
        took = self._clock.monotonic() - begun
        self._metrics.validations.labels(challenge.type, outcome).observe(took)
        evidence: dict[str, object] = msgspec.to_builtins(result.evidence)
        if isinstance(result, Failed):
            if result.transient and attempt < ATTEMPTS:
                raise TryAgain(result.detail)
            error = Problem(result.problem.urn, result.detail, result.problem.status)
            decide = partial(
                deciding.failed,
                order_id=order_id,
                n=n,
                m=m,
                asked=asked,
                error=error,
                evidence=evidence,
            )
        else:
            decide = partial(
                deciding.validated, order_id=order_id, n=n, m=m, asked=asked, evidence=evidence
            )
        self.submit(decide)

    def submit(self, decide: Callable[[Reader], Decision]) -> None:
        """Have an outcome decided and stored. Raises what the committer's `submit` raises."""
        try:
            self._committer.submit(Command(lambda rows, _now: decide(rows), SYSTEM))
        except Refused:  # the order ended meanwhile: there is nothing left to record
            return


def _looked(validator: Validator, asked: Asked) -> Validated | Failed:
    """Return what a validator says. That it fails in a way that nobody thought of is our error: it
    may pass, and if it does not, the client is told, who would wait until the order expires."""
    try:
        return validator.validate(asked)
    except Exception as error:
        log.exception("looking for a challenge of %s failed in a way nobody thought of", asked.name)
        seen = Evidence(fault=type(error).__name__)
        return Failed(Kind.SERVER_INTERNAL, OURS, seen, transient=True)


def parts_of(job_id: str) -> tuple[str, int, int]:
    """Return order, authorization and challenge of a job `<order>-<n>-<m>`."""
    order_id, n, m = job_id.split("-")
    return order_id, int(n), int(m)
