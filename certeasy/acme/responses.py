"""How answers look, good and bad: JSON on one line, and the headers that clients live by.

Every answer has a Link to the directory and is not to be cached; every answer to a POST, whatever
came of it, has a fresh nonce (RFC 8555 section 6.5; certbot raises without one). Everything that is
no success is a problem document, also what the router says before any resource is asked.
"""

from collections.abc import Callable, Iterable
from typing import Any

import falcon
import msgspec

from certeasy.acme.nonces import Nonces
from certeasy.acme.strict_json import shown
from certeasy.decide.problems import Problem, Refused, Weight
from certeasy.log import logger, request

JSON = "application/json"
PROBLEM_JSON = "application/problem+json"

log = logger("acme")
_encode = msgspec.json.Encoder().encode

Headers = list[tuple[str, str]]


def answer(
    resp: falcon.Response,
    body: msgspec.Struct,
    *,
    status: int = 200,
    location: str | None = None,
    retry_after: int | None = None,
) -> None:
    """Answer with a JSON object; `retry_after` is in whole seconds."""
    resp.status = status
    resp.content_type = JSON
    resp.data = _encode(body)
    if location is not None:
        resp.set_header("Location", location)
    if retry_after is not None:
        resp.set_header("Retry-After", str(retry_after))


def add_link(resp: falcon.Response, relation: str, url: str) -> None:
    """Add a Link. There is no space after the semicolon: Posh-ACME's pattern needs it so."""
    resp.append_header("Link", f'<{url}>;rel="{relation}"')


def refuse(resp: falcon.Response, refused: Refused) -> None:
    """Answer with a problem document. RFC 8555 section 6.7, RFC 7807."""
    resp.status = refused.status
    resp.content_type = PROBLEM_JSON
    document = refused.document()
    if name := request():
        document = msgspec.structs.replace(document, instance=f"urn:uuid:{name}")
    resp.data = _encode(document)
    resp.context.problem, resp.context.refused = refused.problem, refused
    resp.text = None
    if refused.retry_after is not None:
        resp.set_header("Retry-After", str(refused.retry_after))
    if refused.link is not None:
        add_link(resp, *refused.link)
    if refused.location is not None:
        resp.set_header("Location", refused.location)


class OnEveryAnswer:
    """The headers that no resource has to think of. falcon asks it last, also after an error."""

    def __init__(self, directory: str, nonces: Nonces) -> None:
        self._directory = directory
        self._nonces = nonces

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, _resource: object, _succeeded: bool
    ) -> None:
        """Add them."""
        add_link(resp, "index", self._directory)
        resp.set_header("Cache-Control", "no-store")
        if req.method == "POST":
            resp.set_header("Replay-Nonce", self._nonces.issue())


class App(falcon.App[falcon.Request, falcon.Response]):
    """falcon's application, which sends each Link in a header of its own.

    falcon joins headers of one name, and some clients read only the first link of a header.
    """

    def __call__(self, env: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a WSGI request."""

        def start(status: str, headers: Headers, *exc_info: Any) -> Any:
            return start_response(status, _apart(headers), *exc_info)

        return super().__call__(env, start)


def answer_errors(app: App) -> None:
    """Have every exception answered with a problem document."""
    app.add_error_handler(Exception, _on_surprise)
    app.add_error_handler(falcon.HTTPError, _on_http_error)
    app.add_error_handler(Refused, _on_refused)


def _on_refused(
    _req: falcon.Request, resp: falcon.Response, refused: Refused, _params: dict[str, Any]
) -> None:
    refuse(resp, refused)


def _on_http_error(
    req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError, _params: dict[str, Any]
) -> None:
    """What the router and falcon's own reading of a request object to."""
    resp.set_headers(error.headers or {})
    problem = Problem.MALFORMED if error.status_code < 500 else Problem.SERVER_INTERNAL  # noqa: PLR2004 - the server's own
    weight = Weight.GUESS if isinstance(error, falcon.HTTPNotFound) else Weight.NONE
    words = _words(req, error)
    refuse(resp, Refused(problem, words, status=error.status_code, weight=weight))


def _words(req: falcon.Request, error: falcon.HTTPError) -> str:
    if isinstance(error, falcon.HTTPNotFound):
        return f"there is nothing at {shown(req.path)}"
    if isinstance(error, falcon.HTTPMethodNotAllowed):
        return f"{shown(req.method)} is not for {shown(req.path)}"
    return error.description or error.title or "the request is not understood"


def _on_surprise(
    req: falcon.Request, resp: falcon.Response, error: Exception, _params: dict[str, Any]
) -> None:
    """An error of ours: the client learns that much, the log all of it."""
    log.error("%s %s failed", req.method, shown(req.path), exc_info=error)
    detail = "an error of the server, not of the request; its log has more"
    refuse(resp, Refused(Problem.SERVER_INTERNAL, detail))


def _apart(headers: Headers) -> Headers:
    return [
        (name, link)
        for name, value in headers
        for link in (value.split(", ") if name == "link" else (value,))
    ]
