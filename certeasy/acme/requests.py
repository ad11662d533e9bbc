"""How a POST gets in: from bytes on the wire to who sent what, for good and only once.

RFC 8555 section 6.2 to 6.5. The steps, in their order:

(1) The content type is application/jose+json, and the body within its bound.
(2) The body is a JWS as ACME has it: one algorithm we take, `kid` or `jwk`, all in the signature.
(3) It is signed in the way this resource asks for, and the key is found: the account that `kid`
    names, or the key in the request itself.
(4) The signature is that key's. From here on we know who is speaking.
(5) The `url` in the protected header is the one that was asked for, so that nobody can carry a
    request to another door.
(6) The nonce is ours, young and unused; now it is used, whatever else is wrong with the request.
(7) The account may act: it is valid. Deciders check this once more when they are run.

A step that fails raises Refused, and what comes after it is not looked at.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Literal

import falcon
import msgspec

from certeasy.acme import jws
from certeasy.acme.jws import AccountKey, Jws
from certeasy.acme.nonces import Nonces
from certeasy.acme.strict_json import shown
from certeasy.acme.urls import Urls
from certeasy.decide.problems import Problem, Refused, Weight

JOSE = "application/jose+json"
VALID = "valid"
_WEIGHTS = {
    Problem.MALFORMED: Weight.HOSTILE,
    Problem.ACCOUNT_DOES_NOT_EXIST: Weight.GUESS,
}
"""What those are suspected of whose request is not what it says; keys and algorithms that are not
taken are a matter of taste."""

SignedBy = Literal["account", "key", "either"]


class KnownAccount(msgspec.Struct, frozen=True):
    """What a request's way in has to know of an account. `status`: RFC 8555 section 7.1.6."""

    id: str
    key: AccountKey
    status: str


AccountLookup = Callable[[str], KnownAccount | None]
"""Find an account by its id, which has an id's form."""


class Signed(msgspec.Struct, frozen=True):
    """A request that got in. `payload` is b"" for a POST-as-GET.

    `account_id` is None if the request brought its key along; the nonce is used up by now.
    """

    payload: bytes
    key: AccountKey
    account_id: str | None
    url: str
    nonce: str
    nonce_expires: datetime


class Door:
    """Lets requests in. Safe to use from any thread."""

    def __init__(
        self, urls: Urls, nonces: Nonces, accounts: AccountLookup, max_body_bytes: int
    ) -> None:
        self._urls = urls
        self._nonces = nonces
        self._accounts = accounts
        self._max_body_bytes = max_body_bytes

    def admit(self, req: falcon.Request, by: SignedBy = "account") -> Signed:
        """Return what a POST says and who says it. Raises Refused."""
        query = f"?{req.query_string}" if req.query_string else ""
        signed = self.authenticate(self._body(req), req.path + query, by)
        req.context.signed = signed
        return signed

    def _body(self, req: falcon.Request) -> bytes:
        # (1) The content type is application/jose+json, and the body within its bound.
        content_type = req.content_type or ""
        if content_type.partition(";")[0].strip().lower() != JOSE:
            raise Refused(
                Problem.MALFORMED,
                f"the content type is {shown(content_type)}, where it must be {JOSE}",
                status=415,
            )
        # The HTTP server has counted a body that came in chunks; without a length there is none.
        if (req.content_length or 0) > self._max_body_bytes:
            raise Refused(
                Problem.MALFORMED,
                f"the request is larger than {self._max_body_bytes} bytes",
                status=413,
            )
        body: bytes = req.bounded_stream.read()
        return body

    def authenticate(self, body: bytes, path: str, by: SignedBy) -> Signed:
        """Take a body that was posted to `path` through the steps (2) to (7). Raises Refused."""
        try:
            # (2) The body is a JWS as ACME has it.
            request = jws.parse(body)
            header = request.header
            # (3) It is signed in the way this resource asks for, and the key is found.
            key, account = self._signer(request, by)
            # (4) The signature is that key's.
            key.verify(header.alg, request.signing_input, request.signature)
        except Refused as refused:
            refused.weight = _WEIGHTS.get(refused.problem, Weight.NONE)
            raise
        # (5) The url in the protected header is the one that was asked for.
        if not self._urls.is_at(path, header.url):
            raise Refused(
                Problem.UNAUTHORIZED,
                f"the JWS is for the url {shown(header.url, 200)}, but came to {shown(path, 200)}",
            )
        # (6) The nonce is ours, young and unused; now it is used.
        expires = self._nonces.redeem(header.nonce)
        # (7) The account may act.
        if account is not None and account.status != VALID:
            raise Refused(Problem.UNAUTHORIZED, f"the account is {account.status}")
        return Signed(
            payload=request.payload,
            key=key,
            account_id=None if account is None else account.id,
            url=header.url,
            nonce=header.nonce,
            nonce_expires=expires,
        )

    def _signer(self, request: Jws, by: SignedBy) -> tuple[AccountKey, KnownAccount | None]:
        kid, jwk = request.header.kid, request.header.jwk
        if isinstance(jwk, msgspec.Raw):
            if by == "account":
                raise Refused(
                    Problem.MALFORMED, "this is signed with an account's 'kid', not with a 'jwk'"
                )
            return AccountKey.from_jwk(bytes(jwk)), None
        if by == "key":
            raise Refused(Problem.MALFORMED, "this is signed with a 'jwk', not with a 'kid'")
        account_id = self._urls.account_of(str(kid))
        if account_id is None:
            raise Refused(
                Problem.ACCOUNT_DOES_NOT_EXIST,
                f"the 'kid' {shown(str(kid), 200)} is no account URL of this server",
            )
        if (account := self._accounts(account_id)) is None:
            raise Refused(Problem.ACCOUNT_DOES_NOT_EXIST, f"there is no account {account_id}")
        return account.key, account
