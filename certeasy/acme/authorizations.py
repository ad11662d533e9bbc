"""What must be proven, and the client's word that it can be. RFC 8555 section 7.5."""

from datetime import datetime

import falcon

from certeasy.acme import messages, rendering, responses
from certeasy.acme.messages import read
from certeasy.acme.orders import NewOrderResource, account_of, vanished
from certeasy.acme.requests import Signed
from certeasy.acme.site import Desk
from certeasy.decide import authorizations, orders
from certeasy.decide.decision import Decision, Reader
from certeasy.decide.problems import Problem, Refused
from projections.orders import DEACTIVATED, ORDERS, PENDING, Order

NOT_TAKEN = (
    'An authorization is shown to a POST-as-GET, and given up with {"status":"deactivated"}; '
    "nothing else of it can be changed"
)


class NewAuthorizationResource(NewOrderResource):
    """An account proves a name ahead of any order. RFC 8555 section 7.4.1."""

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Open an authorization: 201."""
        desk = self._desk
        signed = desk.door.admit(req)
        asked = read(messages.NEW_AUTHORIZATION, signed.payload).identifier
        if asked.value.startswith("*."):
            detail = "A wildcard cannot be proven ahead of an order; order it"
            raise Refused(Problem.MALFORMED, detail)
        actor = desk.actor(req, account_of(signed))
        key = self._bound_with(signed)
        names, rules = self._permitted(messages.NewOrder((asked,)), actor, key)
        with self._counted(req, actor, names, key, order=False):
            order = self._placed(signed, actor, names, rules, key=key, ahead=True)
        shown = rendering.authorization(order, 0, desk.urls, desk.clock.now())
        responses.answer(resp, shown, status=201, location=desk.urls.authorization(order.id, 0))


class AuthorizationResource:
    """What must be proven for one name of an order."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_post(self, req: falcon.Request, resp: falcon.Response, place: tuple[str, int]) -> None:
        """Show it, or give it up (RFC 8555 section 7.5.2)."""
        desk = self._desk
        signed = desk.door.admit(req)
        order_id, n = place
        order = orders.of_account(desk.committer, order_id, account_of(signed))
        one = orders.authorization_of(order, n)
        if signed.payload:
            wish = read(messages.AUTHORIZATION_UPDATE, signed.payload)
            if wish.status != DEACTIVATED:
                raise Refused(Problem.MALFORMED, NOT_TAKEN)
            order = self._given_up(req, signed, order, n)
            one = order.authorizations[n]
        shown = rendering.authorization(order, n, desk.urls, desk.clock.now())
        responses.answer(resp, shown, retry_after=rendering.retry_authorization(one))

    def _given_up(self, req: falcon.Request, signed: Signed, order: Order, n: int) -> Order:
        def decide(rows: Reader, now: datetime) -> Decision:
            return authorizations.deactivate(
                rows,
                now,
                account_id=order.account_id,
                thumbprint=signed.key.thumbprint,
                order_id=order.id,
                n=n,
            )

        actor = self._desk.actor(req, order.account_id)
        return self._desk.commit(signed, actor, decide).get(ORDERS, order.id) or vanished()


class ChallengeResource:
    """One way to prove it."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_post(
        self, req: falcon.Request, resp: falcon.Response, place: tuple[str, int, int]
    ) -> None:
        """Show the challenge; with an object as payload, begin to look whether it is met."""
        desk = self._desk
        signed = desk.door.admit(req)
        account_id = account_of(signed)
        order_id, n, m = place
        order = orders.of_account(desk.committer, order_id, account_id)
        one = orders.challenge_of(order, n, m)
        if signed.payload:
            read(messages.CHALLENGE_RESPONSE, signed.payload)
            # One that was accepted before is answered as it stands, without a commit.
            if one.status == PENDING:

                def decide(rows: Reader, now: datetime) -> Decision:
                    return orders.accept_challenge(
                        rows,
                        now,
                        account_id=account_id,
                        thumbprint=signed.key.thumbprint,
                        order_id=order_id,
                        n=n,
                        m=m,
                    )

                committed = desk.commit(signed, desk.actor(req, account_id), decide)
                order = committed.get(ORDERS, order_id) or vanished()
        self._show(resp, order, n, m)

    def _show(self, resp: falcon.Response, order: Order, n: int, m: int) -> None:
        urls = self._desk.urls
        retry_after = rendering.retry_challenge(order.authorizations[n].challenges[m])
        responses.answer(resp, rendering.challenge(order, n, m, urls), retry_after=retry_after)
        responses.add_link(resp, "up", urls.authorization(order.id, n))
