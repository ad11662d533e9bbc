"""Orders: to place one, to look at it, to finalize it. RFC 8555 section 7.4."""

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Never

import falcon
from msgspec.structs import replace

from certeasy.acme import messages, rendering, renewal, responses
from certeasy.acme.directory import check_empty
from certeasy.acme.messages import NewOrder, read
from certeasy.acme.requests import Signed
from certeasy.acme.site import Desk
from certeasy.commit import GuardFailed
from certeasy.decide import authorizations, csr, eab, identifiers, orders
from certeasy.decide import renewal as deciding
from certeasy.decide.decision import Decision, Reader
from certeasy.decide.license import Unlicensed
from certeasy.decide.policy import Rules
from certeasy.decide.problems import Problem, Refused
from certeasy.decide.seats import is_renewal
from certeasy.licensing import seats
from certeasy.limits.clients import Renewed, Renews, never
from certeasy.settings.limits import AccountLimits
from events.envelope import Actor
from events.orders import CaaCheck
from projections.accounts import ACCOUNTS
from projections.certificates import Certificate
from projections.eab import EAB_KEYS, EabKey
from projections.name_sets import set_id
from projections.orders import ORDERS, PROCESSING, VALID, Order

LICENSE = "license"
"""The kind of refusals by the license, as they are written down."""
MOST_HELD = 4
"""One of so many threads may hold a finalize while the authority is at work."""
_RFC_REFUSALS = frozenset({Problem.REJECTED_IDENTIFIER, Problem.UNSUPPORTED_IDENTIFIER})


def account_of(signed: Signed) -> str:
    """Return the account that signed; requests without one do not get here."""
    if signed.account_id is None:
        raise AssertionError("the door lets only accounts in here")
    return signed.account_id


class NewOrderResource:
    """An account asks for a certificate."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Place an order: 201."""
        desk = self._desk
        signed = desk.door.admit(req)
        wish = read(messages.NEW_ORDER, signed.payload)
        _check_wishes(wish)
        actor = desk.actor(req, account_of(signed))
        key = self._bound_with(signed)
        names, rules = self._permitted(wish, actor, key)
        before = None
        if wish.replaces is not None:
            before = renewal.predecessor(desk.committer, wish.replaces)
        account_id, now, advice = actor.id, desk.committer.now(), desk.site.settings.renewal_info
        replaces = "" if before is None else before.id

        def renews() -> Renewed:
            rows = desk.committer
            if before is not None and deciding.is_due(rows, now, replaces, advice):
                return Renewed(replaces, len(set(names).difference(before.names)))
            same = is_renewal(rows, account_id, names, now)
            return Renewed(set_id(names)) if same else Renewed()

        with self._counted(req, actor, names, key, renews=renews):
            order = self._placed(signed, actor, names, rules, before, key=key)
        shown = rendered(desk, order)
        responses.answer(resp, shown, status=201, location=desk.urls.order(order.id))

    def _bound_with(self, signed: Signed) -> EabKey | None:
        """Return the key of the external account binding that the account has, if it has one."""
        rows = self._desk.committer
        return eab.key_of(rows, rows.get(ACCOUNTS, account_of(signed)))

    @contextmanager
    def _counted(
        self,
        req: falcon.Request,
        actor: Actor,
        names: tuple[str, ...],
        key: EabKey | None,
        *,
        renews: Renews = never,
        order: bool = True,
    ) -> Iterator[None]:
        """Count what the block places, but no renewal; who met a limit is written down.

        `order` False: it is a proof ahead of any order, of which the names alone are counted.
        """
        limits, address = self._desk.limits, req.context.address
        placing = limits.placing_order(
            actor.id, address, _binding(key), len(names), order=order, renews=renews
        )
        try:
            with placing:
                yield
        except Refused as refused:
            if refused.limit:
                self._desk.site.refused(actor, refused.limit, refused.detail, names)
            raise

    def _permitted(
        self, wish: NewOrder, actor: Actor, key: EabKey | None
    ) -> tuple[tuple[str, ...], Rules]:
        """Return the names and what holds for them; a refusal is written down.

        `key` is the one that the account was bound with, if it was.
        """
        try:
            policies = self._desk.policies
            names = identifiers.names(
                wish.identifiers, wildcards=policies.wildcards, ips=policies.ips
            )
        except Refused as refused:
            if refused.problem in _RFC_REFUSALS:
                # What is no DNS name may be an e-mail address: it is not written down.
                self._desk.site.refused(actor, "identifier", refused.problem.urn, ())
            raise
        try:
            eab.check_names(key, names)
            rules = self._chosen(names, wish.profile, key)
            offered = eab.challenges(key, rules.challenges, names)
            return names, replace(rules, challenges=offered)
        except Refused as refused:
            self._note(refused, actor, names)
            raise

    def _note(self, refused: Refused, actor: Actor, names: tuple[str, ...]) -> None:
        if refused.problem is Problem.INVALID_PROFILE:
            # What was typed in the place of a profile may be anything: it is not written down.
            self._desk.site.refused(actor, "profile", refused.problem.urn, names)
        else:
            self._desk.site.refused(actor, "policy", refused.detail, names)

    def _chosen(self, names: tuple[str, ...], profile: str | None, key: EabKey | None) -> Rules:
        wanted = eab.profile(key, profile or None)
        only = "" if key is None else key.policy
        return self._desk.policies.choose(names, wanted, policy=only)

    def _placed(
        self,
        signed: Signed,
        actor: Actor,
        names: tuple[str, ...],
        rules: Rules,
        before: Certificate | None = None,
        *,
        key: EabKey | None,
        ahead: bool = False,
    ) -> Order:
        """Place an order, or open an authorization ahead of any. `before`: what it replaces."""
        desk = self._desk
        if not ahead:
            self._check_license(actor, names, before)
        look_back = desk.site.settings.server.pre_authorization
        account_id, order_id = account_of(signed), desk.site.ids.new()
        tokens = [desk.site.ids.token() for _ in range(len(names) * len(rules.challenges))]
        lifetime = desk.site.settings.server.order_lifetime
        authority = rules.signer(order_id, desk.site.available).name
        limits = desk.limits.holding_for(*_binding(key))
        granted = {n: orders.Known(rule) for n, rule in eab.prevalidated(key, names).items()}

        def known(rows: Reader, now: datetime) -> Mapping[str, orders.Known]:
            if ahead:
                return orders.NOTHING_KNOWN
            if not look_back:
                return granted
            return granted | authorizations.known_ahead(
                rows,
                now,
                account_id=account_id,
                names=names,
                challenges=rules.challenges,
                policy=rules.policy,
            )

        def decide(rows: Reader, now: datetime) -> Decision:
            if before is not None:
                deciding.check_named(rows, before)
            return orders.new_order(
                rows,
                now,
                account_id=account_id,
                thumbprint=signed.key.thumbprint,
                order_id=order_id,
                names=names,
                challenges=rules.challenges,
                tokens=iter(tokens),
                lifetime=lifetime,
                policy=rules.policy,
                authority=authority,
                key=key,
                replaces="" if before is None else before.id,
                profile=rules.profile,
                known=known(rows, now),
                preauthorization=ahead,
                limits=limits,
                advice=desk.site.settings.renewal_info,
            )

        return desk.commit(signed, actor, decide).get(ORDERS, order_id) or vanished()

    def _check_license(
        self, actor: Actor, names: tuple[str, ...], before: Certificate | None
    ) -> None:
        """See whether the license lets the account order; a refusal is written down."""
        replaces = "" if before is None else before.id
        try:
            self._desk.site.seats.check(actor.id, names, replaces=replaces)
        except Unlicensed as refused:
            self._desk.site.refused(actor, LICENSE, refused.detail, names)
            raise


def _binding(key: EabKey | None) -> tuple[str, str]:
    """Return id and comment of the key that an account was bound with, or nothing."""
    return ("", "") if key is None else (key.kid, key.comment)


def _check_wishes(wish: NewOrder) -> None:
    """Refuse what we would have to leave out in silence. RFC 8555 section 7.4."""
    if wish.not_before is not None or wish.not_after is not None:
        detail = "notBefore and notAfter are not taken; the policy says how long it will be valid"
        raise Refused(Problem.MALFORMED, detail)


class OrderResource:
    """An order, for the account that placed it."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_post(self, req: falcon.Request, resp: falcon.Response, order_id: str) -> None:
        """Show it."""
        signed = self._desk.door.admit(req)
        check_empty(signed)
        show(self._desk, resp, orders.placed_by(self._desk.committer, order_id, account_of(signed)))


def rendered(desk: Desk, order: Order) -> messages.Order:
    """Return an order as clients are shown it."""
    replaces = renewal.replaced_by(desk.committer, order)
    return rendering.order(order, desk.urls, desk.clock.now(), replaces)


def show(desk: Desk, resp: falcon.Response, order: Order) -> None:
    """Answer with an order; half of the clients depend on Location being its URL."""
    responses.answer(
        resp,
        rendered(desk, order),
        location=desk.urls.order(order.id),
        retry_after=rendering.retry_order(order, desk.clock.now()),
    )


class FinalizeResource:
    """The certificate request of an order that is ready.

    While the authority is quick, the answer is held until the certificate is there: one request
    instead of several. Some clients poll by finalizing again; the same request changes nothing.
    """

    def __init__(self, desk: Desk) -> None:
        server = desk.site.settings.server
        self._desk = desk
        self._wait = server.finalize_wait.total_seconds()
        self._holding = threading.BoundedSemaphore(max(1, server.threads // MOST_HELD))

    def on_post(self, req: falcon.Request, resp: falcon.Response, order_id: str) -> None:
        """Take the request: 200, and the order as it is now."""
        desk = self._desk
        signed = desk.door.admit(req)
        der = csr.from_base64url(read(messages.FINALIZE, signed.payload).csr)
        order = orders.placed_by(desk.committer, order_id, account_of(signed))
        if not _was_finalized_with(order, der):
            orders.check_ready(order, desk.clock.now())
            actor = desk.actor(req, account_of(signed))
            rules = self._checked(order, signed, der, actor)
            caa = self._caa(order, actor)
            order = self._finalized(signed, actor, order, der, rules, caa)
        show(desk, resp, order)

    def _checked(self, order: Order, signed: Signed, der: bytes, actor: Actor) -> Rules:
        """Hold the request against the order and what its policy says today."""
        names = [identifier.value for identifier in order.identifiers]
        try:
            rules = self._desk.policies.check(order.policy, names, order.profile)
            request = csr.parse(der)
            csr.check(request, names, rules.signature, rules.csr, copied=rules.copied)
            csr.check_not_account_key(request, signed.key.thumbprint)
        except Refused as refused:
            self._desk.site.refused(actor, "csr", refused.problem.urn, names)
            raise
        return rules

    def _caa(self, order: Order, actor: Actor) -> Sequence[CaaCheck]:
        """Look at CAA records again where that is due; a refusal is written down."""
        try:
            return self._desk.site.check_caa(order)
        except Refused as refused:
            if refused.problem is Problem.CAA:
                names = [identifier.value for identifier in order.identifiers]
                self._desk.site.refused(actor, "caa", refused.detail, names)
            raise

    def _finalized(
        self,
        signed: Signed,
        actor: Actor,
        order: Order,
        der: bytes,
        rules: Rules,
        caa: Sequence[CaaCheck],
    ) -> Order:
        desk = self._desk
        signer = rules.signer(order.id, desk.site.available)
        names = [identifier.value for identifier in order.identifiers]
        limits = self._limits_of(order.account_id)

        def decide(rows: Reader, now: datetime) -> Decision:
            decision = orders.finalize(
                rows,
                now,
                account_id=order.account_id,
                thumbprint=signed.key.thumbprint,
                order_id=order.id,
                csr=der,
                held=order,
                submit_to=signer.name if signer.in_process else None,
                caa=caa,
                limits=limits,
                advice=desk.site.settings.renewal_info,
            )
            return desk.site.seats.guarded(
                decision,
                rows,
                now,
                account_id=order.account_id,
                names=names,
                replaces=order.replaces,
            )

        try:
            committed = desk.commit(signed, actor, decide)
        except (Unlicensed, GuardFailed) as failed:
            refusal = seats.refusal(failed)
            desk.site.refused(actor, LICENSE, refusal.detail, names)
            raise refusal from None
        except Refused as refused:
            if refused.limit:
                desk.site.refused(actor, refused.limit, refused.detail, names)
            raise
        latest = committed.get(ORDERS, order.id) or vanished()
        if signer.in_process and committed.records:
            desk.site.issue_now(latest)
            latest = self._now(order.id)
        return self._held(latest)

    def _limits_of(self, account_id: str) -> AccountLimits:
        """Return the limits that hold for an account, by the key that it was bound with."""
        rows = self._desk.committer
        account = rows.get(ACCOUNTS, account_id)
        kid = "" if account is None else account.eab
        key = rows.get(EAB_KEYS, kid) if kid else None
        return self._desk.limits.holding_for(*_binding(key))

    def _held(self, order: Order) -> Order:
        """Wait for the order to end, if a thread can be spared, and return it as it is then."""
        if order.status != PROCESSING or not self._holding.acquire(blocking=False):
            return order
        watch = self._desk.committer.watch
        # Known only from here on: what made the order ready could still be told until our own
        # change was committed. What has ended since then is seen by looking once more.
        ended = watch.register(order.id)
        try:
            if self._now(order.id).status == PROCESSING:
                ended.wait(self._wait)
        finally:
            watch.forget(order.id, ended)
            self._holding.release()
        return self._now(order.id)

    def _now(self, order_id: str) -> Order:
        return self._desk.committer.get(ORDERS, order_id) or vanished()


def _was_finalized_with(order: Order, der: bytes) -> bool:
    return order.status in (PROCESSING, VALID) and (
        order.csr_sha256 == hashlib.sha256(der).hexdigest()
    )


def vanished() -> Never:
    """Say that a row is gone that nobody may remove."""
    raise LookupError("an order that was just there is gone")
