"""ACME put together: which resource is where, and what each trouble of the server is answered."""

from typing import Any

import falcon
from falcon.routing import BaseConverter

from certeasy.acme import responses, urls
from certeasy.acme.accounts import AccountResource, NewAccountResource, OrdersOfAccount
from certeasy.acme.authorizations import (
    AuthorizationResource,
    ChallengeResource,
    NewAuthorizationResource,
)
from certeasy.acme.certificates import CertificateResource, RevokeResource
from certeasy.acme.counted import Counted
from certeasy.acme.directory import DirectoryResource, FrontDoor, NewNonce
from certeasy.acme.key_change import KeyChangeResource
from certeasy.acme.limited import Limited, LimitsPage
from certeasy.acme.nonces import bad_nonce
from certeasy.acme.orders import FinalizeResource, NewOrderResource, OrderResource
from certeasy.acme.renewal import RenewalInfoResource
from certeasy.acme.responses import App
from certeasy.acme.site import Desk, Site
from certeasy.commit import NonceUsed, Unavailable
from certeasy.decide.problems import Problem, Refused
from certeasy.store import DatabaseUnavailable

__all__ = ["App", "Site", "build"]

DIRECTORIES = ("/directory", "/dir", urls.DIRECTORY)
"""People type what they know from other servers; and the directory is at the bare address, too."""


class _Id(BaseConverter):
    """The last part of an account's or order's path."""

    def convert(self, value: str) -> str | None:
        """Return the id, or None, which is a 404."""
        return urls.an_id(value)


class _Chain(BaseConverter):
    """The number behind a certificate's path."""

    def convert(self, value: str) -> int | None:
        """Return which chain, or None, which is a 404."""
        return urls.chain_number(value)


class _Authorization(BaseConverter):
    """The last part of an authorization's path."""

    def convert(self, value: str) -> tuple[str, int] | None:
        """Return order and number, or None, which is a 404."""
        return urls.authorization_id(value)


class _Challenge(BaseConverter):
    """The last part of a challenge's path."""

    def convert(self, value: str) -> tuple[str, int, int] | None:
        """Return order, authorization and number, or None, which is a 404."""
        return urls.challenge_id(value)


CONVERTERS = {"id": _Id, "chain": _Chain, "authorization": _Authorization, "challenge": _Challenge}


def build(site: Site) -> App:
    """Return the WSGI application that speaks ACME."""
    desk, settings = Desk(site), site.settings.rate_limiting
    app = App(
        middleware=[
            responses.OnEveryAnswer(desk.urls.directory, site.nonces),
            Counted(site.clock, site.ids, site.metrics),
            Limited(site.limits, desk.address, settings.help_url or desk.urls.limits, site.metrics),
        ]
    )
    responses.answer_errors(app)
    app.add_error_handler(NonceUsed, _on_nonce_used)

    def on_refused(
        req: falcon.Request, resp: falcon.Response, refused: Refused, params: dict[str, Any]
    ) -> None:
        try:
            desk.spend(req)
        except Unavailable as error:
            _on_unavailable(req, resp, error, params)
        else:
            responses.refuse(resp, refused)

    app.add_error_handler(Refused, on_refused)
    app.add_error_handler(Unavailable, _on_unavailable)
    app.add_error_handler(DatabaseUnavailable, _on_unavailable)
    app.router_options.converters.update(CONVERTERS)
    directory = DirectoryResource(desk)
    for path in DIRECTORIES:
        app.add_route(path, directory)
    app.add_route("/", FrontDoor(desk))
    app.add_route(urls.NEW_NONCE, NewNonce(desk))
    app.add_route(urls.NEW_ACCOUNT, NewAccountResource(desk))
    app.add_route(urls.ACCOUNT + "{account_id:id}", AccountResource(desk))
    app.add_route(urls.ACCOUNT + "{account_id:id}/orders", OrdersOfAccount(desk))
    app.add_route(urls.KEY_CHANGE, KeyChangeResource(desk))
    app.add_route(urls.NEW_ORDER, NewOrderResource(desk))
    if site.settings.server.pre_authorization:
        app.add_route(urls.NEW_AUTHORIZATION, NewAuthorizationResource(desk))
    app.add_route(urls.ORDER + "{order_id:id}", OrderResource(desk))
    app.add_route(urls.FINALIZE + "{order_id:id}", FinalizeResource(desk))
    app.add_route(urls.AUTHORIZATION + "{place:authorization}", AuthorizationResource(desk))
    app.add_route(urls.CHALLENGE + "{place:challenge}", ChallengeResource(desk))
    certificate = CertificateResource(desk)
    app.add_route(urls.CERTIFICATE + "{order_id:id}", certificate)
    app.add_route(urls.CERTIFICATE + "{order_id:id}/{chain:chain}", certificate)
    app.add_route(urls.REVOKE_CERT, RevokeResource(desk))
    app.add_route(urls.RENEWAL_INFO + "/{place:path}", RenewalInfoResource(desk))
    app.add_route(urls.LIMITS, LimitsPage(settings))
    return app


def _on_nonce_used(
    _req: falcon.Request, resp: falcon.Response, _error: NonceUsed, _params: dict[str, Any]
) -> None:
    """An earlier change has stored this nonce, perhaps before this node was restarted."""
    responses.refuse(resp, bad_nonce("it has been used"))


def _on_unavailable(
    _req: falcon.Request,
    resp: falcon.Response,
    error: Unavailable | DatabaseUnavailable,
    _params: dict[str, Any],
) -> None:
    """What passes by itself is a 503: clients take every 4xx for final. The log has the reason."""
    retry_after = error.retry_after if isinstance(error, Unavailable) else None
    detail = "The server cannot store or read anything at the moment; try again soon"
    responses.refuse(resp, Refused(Problem.SERVICE_UNAVAILABLE, detail, retry_after=retry_after))
