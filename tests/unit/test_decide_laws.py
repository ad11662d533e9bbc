"""Whatever is asked, in whatever order: an order stays one that RFC 8555 section 7.1.6 knows."""

import contextlib
from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from certeasy.decide import accounts, authorizations, issuance, orders, validation
from certeasy.decide.problems import Refused
from events.certificates import CertificateMismatched
from events.orders import Problem as Told
from projections.certificates import CERTIFICATES
from projections.jobs import JOBS
from projections.orders import DEACTIVATED, INVALID, PENDING, PROCESSING, READY, VALID
from tests.make.decided import World

NEXT = {
    PENDING: {PENDING, READY, INVALID},
    READY: {READY, PROCESSING, INVALID},
    PROCESSING: {PROCESSING, VALID, INVALID},
    VALID: {VALID},
    INVALID: {INVALID},
}
WRONG = Told("urn:ietf:params:acme:error:dns", "wrong", 400)
parts = st.integers(0, 2)


class AnOrdersLife(RuleBasedStateMachine):
    """An order of three names, and everybody who has a say in it, all at once."""

    @initialize()
    def begin(self) -> None:
        self.world = World()
        self.account = self.world.account()
        self.order_id = self.world.order("a.test", "b.test", "c.test", account=self.account)
        self.seen = PENDING

    def ask(self, attempt) -> None:
        """Ask for something: all of it is done, or it is refused and nothing is."""
        before = len(self.world.facts)
        decided: list[str] = []
        with contextlib.suppress(Refused):
            decided = attempt()
        assert len(self.world.facts) == before + len(decided)

    @rule(n=parts)
    def accept(self, n: int) -> None:
        self.ask(lambda: self.world.accept(self.account, self.order_id, n))

    @rule(n=parts)
    def validate(self, n: int) -> None:
        self.ask(
            lambda: self.world.decide(
                validation.validated, self.order_id, n, 0, self.world.asked(self.order_id, n), {}
            )
        )

    @rule(n=parts)
    def prove(self, n: int) -> None:
        self.accept(n)
        self.validate(n)

    @rule(n=parts, really=st.integers(0, 9))
    def fail(self, n: int, really: int) -> None:
        if really == 0:
            self.ask(
                lambda: self.world.decide(
                    validation.failed,
                    self.order_id,
                    n,
                    0,
                    self.world.asked(self.order_id, n),
                    WRONG,
                    {},
                )
            )

    @rule(csr=st.sampled_from([b"one", b"other"]), submit_now=st.booleans())
    def finalize(self, csr: bytes, submit_now: bool) -> None:
        self.ask(
            lambda: self.world.finalize(self.account, self.order_id, csr, submit_now=submit_now)
        )

    @rule()
    def submit(self) -> None:
        done = self.world.row(self.order_id).attempt
        self.ask(lambda: self.world.decide(issuance.submit, self.order_id, "ca", after=done))

    @rule()
    def issue(self) -> None:
        fact = self.world.issued_fact(self.order_id)
        if self.world.row(self.order_id).in_doubt:
            self.ask(
                lambda: self.world.decide(issuance.issued, self.world.row(self.order_id), fact)
            )

    @rule()
    def attempt_failed(self) -> None:
        order = self.world.row(self.order_id)
        told = {"attempt": order.attempt}
        if order.in_doubt:
            self.ask(
                lambda: self.world.decide(issuance.attempt_failed, order.id, "ca", "x", **told)
            )

    @rule(how=st.sampled_from(["refused", "mismatched"]))
    def end(self, how: str) -> None:
        order = self.world.row(self.order_id)
        if not order.in_doubt:
            return
        if how == "refused":
            told = {"attempt": order.attempt}
            self.ask(
                lambda: self.world.decide(issuance.refused, order.id, "ca", "no", WRONG, **told)
            )
        else:
            fact = CertificateMismatched(order.id, "ca", order.attempt, "x", b"y")
            self.ask(lambda: self.world.decide(issuance.mismatched, order.id, fact, WRONG))

    @rule(days=st.sampled_from([0, 0, 0, 1, 4]))
    def wait(self, days: int) -> None:
        self.world.now += timedelta(days=days)

    @rule(n=parts, really=st.integers(0, 9))
    def give_up(self, n: int, really: int) -> None:
        if really == 0:
            self.ask(
                lambda: self.world.decide(
                    authorizations.deactivate,
                    self.world.now,
                    account_id=self.account.id,
                    thumbprint=self.account.thumbprint,
                    order_id=self.order_id,
                    n=n,
                )
            )

    @rule()
    def expire(self) -> None:
        self.ask(lambda: self.world.decide(orders.expire, self.world.now, [self.order_id]))

    @rule(really=st.integers(0, 9))
    def leave(self, really: int) -> None:
        if really == 0:
            self.ask(
                lambda: self.world.decide(
                    accounts.deactivate,
                    account_id=self.account.id,
                    thumbprint=self.account.thumbprint,
                )
            )

    @invariant()
    def it_only_goes_forward(self) -> None:
        status = self.world.row(self.order_id).status
        assert status in NEXT[self.seen]
        self.seen = status

    @invariant()
    def it_is_ready_just_when_all_is_proven(self) -> None:
        order = self.world.row(self.order_id)
        seen = [each.status for each in order.authorizations]
        if order.status in (PROCESSING, VALID):  # by then one may be given up
            assert set(seen) <= {VALID, DEACTIVATED}
            return
        proven = all(status == VALID for status in seen)
        assert proven == (order.status in (READY, PROCESSING, VALID)) or order.status == INVALID

    @invariant()
    def there_is_a_certificate_just_when_it_is_valid(self) -> None:
        there = self.world.rows.get(CERTIFICATES, self.order_id) is not None
        assert there == (self.world.row(self.order_id).status == VALID)

    @invariant()
    def it_says_why_it_failed(self) -> None:
        order = self.world.row(self.order_id)
        assert (order.error is not None) == (order.status == INVALID)

    @invariant()
    def there_is_work_just_when_something_is_awaited(self) -> None:
        order = self.world.row(self.order_id)
        assert (self.world.rows.get(JOBS, order.id) is not None) == (order.status == PROCESSING)
        for n, each in enumerate(order.authorizations):
            tried = order.status == PENDING and each.challenges[0].status == PROCESSING
            assert (self.world.rows.get(JOBS, f"{order.id}-{n}-0") is not None) == tried

    @invariant()
    def what_clients_see_is_what_may_still_happen(self) -> None:
        order = self.world.row(self.order_id)
        shown = orders.visible_status(order, self.world.now)
        assert shown == order.status or (order.status in (PENDING, READY) and shown == INVALID)


AnOrdersLife.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAnOrdersLife = AnOrdersLife.TestCase
