"""Limits at the door: what an address may ask at all, and what is told to those who met a limit.

An address is looked at before the request is: before its body is read, a key is looked for or a
signature is verified. What is asked about the limits themselves is always answered.
"""

from collections.abc import Callable
from contextlib import suppress

import falcon
from msgspec.structs import fields

from certeasy.acme import responses, urls
from certeasy.config.forms import duration_text
from certeasy.decide.problems import Problem, Refused
from certeasy.limits.clients import Limits
from certeasy.metrics import Metrics
from certeasy.settings.limits import RateLimiting
from certeasy.store import DatabaseUnavailable

AddressOf = Callable[[falcon.Request], str]


class Limited:
    """falcon asks it before any resource, and once the answer is known."""

    def __init__(
        self, limits: Limits, address_of: AddressOf, help_url: str, metrics: Metrics
    ) -> None:
        self._limits = limits
        self._address_of = address_of
        self._help_url = help_url
        self._metrics = metrics
        for limit in _LINES:
            metrics.limited.labels(limit)  # there from the beginning, at 0

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Count the request. Raises Refused (rateLimited) where its address has sent too many."""
        req.context.address = self._address_of(req)
        if req.path != urls.LIMITS:
            self._limits.admit(req.context.address)

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, _resource: object, _succeeded: bool
    ) -> None:
        """Note what was refused, and tell where there is help."""
        refused: Refused | None = getattr(resp.context, "refused", None)
        if refused is None:
            return
        if refused.problem is Problem.RATE_LIMITED:
            responses.add_link(resp, "help", self._help_url)
            self._metrics.limited.labels(refused.limit).inc()
        if refused.weight:
            with suppress(DatabaseUnavailable):  # the answer does not depend on it
                self._limits.mark(req.context.address, refused.weight)


class LimitsPage:
    """Tells which limits there are: to people, who were shown the way in an answer."""

    def __init__(self, settings: RateLimiting) -> None:
        self._page = page(settings).encode()

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Show it."""
        resp.content_type = "text/plain; charset=utf-8"
        resp.data = self._page

    on_head = on_get


_LINES = {
    "global": "requests of one address: {limit} in {window}, {burst} at once",
    "abuse": "wrong signatures, other accounts' objects, unknown ids: {marks} of one address",
    "account-creation": "new accounts of one address: {limit} in {window}, {burst} at once",
    "account-changes": "new contacts or keys of one account: {limit} in {window}, {burst} at once",
    "order-creation": "orders of one account: {limit} in {window}, {burst} at once",
    "san-budget": "names in the orders of one account: {limit} in {window}",
    "duplicate-certificate": "certificates for exactly the same names: {limit} in {window}",
    "failed-validation": "failed validations of one name by one account: {limit} in {window}",
    "pending-authorizations": "open authorizations of one account: {limit} at a time",
}
_BEFORE = """\
This server limits how often something may be done, so that there is enough for all. Whoever meets a
limit is told when it is free again (Retry-After, in seconds).

"""
_AFTER = """
A renewal is no order that is counted: one for exactly the names of a certificate in force, or, when
it is time for that, one that names the certificate that it replaces (ARI, RFC 9773). Some accounts
may have other limits. Whoever runs this server can change them.
"""


def page(settings: RateLimiting) -> str:
    """Return which limits hold, as text for people."""
    lines = []
    for field in fields(settings):
        limit = getattr(settings, field.name)
        line = _LINES.get(field.encode_name)
        if line is not None and settings.enabled and limit.enabled:
            known = {each.name: getattr(limit, each.name) for each in fields(limit)}
            if "window" in known:
                known["window"] = duration_text(known["window"])
            lines.append(f"{field.encode_name}: {line.format(**known)}\n")
    return _BEFORE + "".join(lines) + _AFTER
