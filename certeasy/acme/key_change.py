"""An account changes its key. RFC 8555 section 7.3.5.

The request is signed with the old key; what it carries is a second JWS, signed with the new one:
nobody gets an account by the word of one key alone. The steps, in their order:

(1) The outer request is let in as every request of an account is: its key is the old one.
(2) The payload is a JWS of its own, with the new key in it, and that key is one that we take.
(3) The new key made its signature.
(4) It was made for this resource, and has no nonce, which would be another request's.
(5) It speaks of the account that sends it, by any of our addresses.
(6) The old key in it is the account's own, however it is written.
(7) No account has the new key: else 409, with that account's URL.
"""

from datetime import datetime

import falcon
import msgspec

from certeasy.acme import jws, messages
from certeasy.acme.accounts import AccountShown
from certeasy.acme.jws import AccountKey
from certeasy.acme.messages import read
from certeasy.acme.orders import account_of
from certeasy.acme.requests import Signed
from certeasy.acme.strict_json import shown
from certeasy.commit import GuardFailed
from certeasy.decide import accounts
from certeasy.decide.decision import Decision, Reader
from certeasy.decide.problems import Problem, Refused
from projections.accounts import ACCOUNTS, Account


class KeyChangeResource(AccountShown):
    """The old key says that the new one shall take its place, and the new one that it will."""

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Change the key: 200, and the account."""
        # (1) The outer request is let in as every request of an account is.
        signed = self._desk.door.admit(req)
        new = self._new_key(signed)
        try:
            self._show(resp, self._changed(req, signed, new))
        except GuardFailed as failed:
            # (7) No account has the new key.
            raise self._taken(new) from failed

    def _new_key(self, signed: Signed) -> AccountKey:
        try:
            return self._proven(signed)
        except Refused as refused:
            detail = f"in the JWS of the new key: {refused.detail}"
            raise Refused(
                refused.problem, detail, status=refused.status, algorithms=refused.algorithms
            ) from None

    def _proven(self, signed: Signed) -> AccountKey:
        """Return the new key, which wants to be this account's. Raises Refused."""
        # (2) The payload is a JWS of its own, with the new key in it, and one that we take.
        inner = jws.parse(signed.payload)
        header = inner.header
        if not isinstance(header.jwk, msgspec.Raw):
            raise Refused(Problem.MALFORMED, "this is signed with a 'jwk', not with a 'kid'")
        new = AccountKey.from_jwk(bytes(header.jwk))
        # (3) The new key made its signature.
        new.verify(header.alg, inner.signing_input, inner.signature)
        # (4) It was made for this resource, and has no nonce.
        if header.url != signed.url:
            detail = f"it is for the url {shown(header.url, 200)}, not for {shown(signed.url, 200)}"
            raise Refused(Problem.MALFORMED, detail)
        if header.nonce:
            raise Refused(Problem.MALFORMED, "it has a nonce, which only the outer JWS has")
        # (5) It speaks of the account that sends it.
        wish = read(messages.KEY_CHANGE, inner.payload)
        if self._desk.urls.account_of(wish.account) != account_of(signed):
            # It is not said again: a JWS that was stolen does not tell of whom through us.
            raise Refused(Problem.UNAUTHORIZED, "the account in it is not the one that signed")
        # (6) The old key in it is the account's own.
        if AccountKey.from_jwk(bytes(wish.old_key)).thumbprint != signed.key.thumbprint:
            raise Refused(Problem.MALFORMED, "the oldKey is not the account's key")
        return new

    def _changed(self, req: falcon.Request, signed: Signed, new: AccountKey) -> Account:
        account_id = account_of(signed)

        def decide(rows: Reader, _now: datetime) -> Decision:
            return accounts.change_key(
                rows,
                account_id=account_id,
                thumbprint=signed.key.thumbprint,
                new_thumbprint=new.thumbprint,
                new_jwk=new.to_jwk(),
            )

        with self._changing(req, account_id):
            committed = self._desk.commit(signed, self._desk.actor(req, account_id), decide)
        account = committed.get(ACCOUNTS, account_id)
        if account is None:
            raise LookupError("an account that was just there is gone")
        return account

    def _taken(self, new: AccountKey) -> Refused:
        """Return the refusal for a key that an account has: only here is a 409 in its place."""
        holder = self._desk.committer.account_with_key(new.thumbprint)
        location = None if holder is None else self._desk.urls.account(holder.id)
        return Refused(
            Problem.MALFORMED,
            "The new key is an account's already, whose URL is in the Location",
            status=409,
            location=location,
        )
