"""Accounts: to register, to be found again, to change and to leave. RFC 8555 section 7.3."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Never

import falcon
import msgspec

from certeasy.acme import bindings, messages, responses, urls
from certeasy.acme.directory import check_empty
from certeasy.acme.messages import NewAccount, read
from certeasy.acme.requests import Signed
from certeasy.acme.site import Desk
from certeasy.commit import GuardFailed
from certeasy.decide import accounts, contacts, orders
from certeasy.decide.decision import Decision, Reader
from certeasy.decide.problems import Problem, Refused, Weight
from events.sealing import Sealed
from projections.accounts import ACCOUNTS, DEACTIVATED, VALID, Account
from projections.orders import INVALID, Order

PAGE = 100
"""So many orders are looked through for one page of an account's list."""

_CONTACTS = msgspec.json.Decoder(tuple[str, ...])


class AccountShown:
    """How accounts are shown."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def _contacts(self, account: Account) -> tuple[str, ...]:
        """Return the contacts in clear; of an account that was erased, none."""
        clear = self._desk.site.subjects.open(account.contact)
        return () if clear is None else _CONTACTS.decode(clear)

    def _show(
        self,
        resp: falcon.Response,
        account: Account,
        status: int = 200,
        binding: messages.Binding | None = None,
    ) -> None:
        told = self._desk.urls
        shown = messages.Account(
            status=account.status,
            contact=self._contacts(account),
            orders=told.orders(account.id),
            terms_of_service_agreed=account.terms_agreed,
            external_account_binding=binding,
        )
        responses.answer(resp, shown, status=status, location=told.account(account.id))

    @contextmanager
    def _changing(self, req: falcon.Request, account_id: str) -> Iterator[None]:
        """Count what the block changes of an account; who met the limit is written down."""
        desk = self._desk
        try:
            with desk.limits.changing_account(account_id, req.context.address):
                yield
        except Refused as refused:
            if refused.limit:
                actor = desk.actor(req, account_id)
                desk.site.refused(actor, refused.limit, refused.detail, ())
            raise


class NewAccountResource(AccountShown):
    """A key registers itself, or asks which account it has."""

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Create an account: 201; or find the key's own: 200, with all of it in either case."""
        signed = self._desk.door.admit(req, "key")
        wish = read(messages.NEW_ACCOUNT, signed.payload)
        existing = self._existing(signed)
        if existing is not None:
            self._show(resp, existing)
            return
        if wish.only_return_existing:
            raise Refused(Problem.ACCOUNT_DOES_NOT_EXIST, "This key has no account here")
        try:
            with self._desk.limits.creating_account(req.context.address):
                created = self._create(req, signed, wish)
        except (GuardFailed, Refused) as refusal:
            # The same key may have registered itself a moment ago, by another request.
            existing = self._existing(signed)
            if existing is None and isinstance(refusal, Refused):
                raise
            self._show(resp, existing or _vanished())
        else:
            self._show(resp, created, 201, wish.external_account_binding)

    def _existing(self, signed: Signed) -> Account | None:
        account = self._desk.committer.account_with_key(signed.key.thumbprint)
        if account is not None and account.status != VALID:
            detail = f"The account of this key is {account.status}"
            raise Refused(Problem.UNAUTHORIZED, detail)
        return account

    def _create(self, req: falcon.Request, signed: Signed, wish: NewAccount) -> Account:
        desk = self._desk
        self._check_terms(agreed=bool(wish.terms_of_service_agreed))
        whom = contacts.checked(wish.contact or ())
        eab = self._bound(signed, wish)
        account_id = desk.site.ids.new()
        subject, key = desk.site.subjects.new(f"account/{account_id}")
        contact = desk.site.subjects.seal(subject, msgspec.json.encode(whom)) if whom else None
        decide = functools.partial(
            accounts.create,
            account_id=account_id,
            thumbprint=signed.key.thumbprint,
            jwk=signed.key.to_jwk(),
            contact=contact,
            terms_agreed=bool(wish.terms_of_service_agreed),
            eab=eab,
        )
        committed = desk.commit(
            signed, desk.actor_for(req, account_id, subject), decide, ((subject.subject, key),)
        )
        return committed.get(ACCOUNTS, account_id) or _vanished()

    def _bound(self, signed: Signed, wish: NewAccount) -> str:
        """Return the key that the account is bound with, empty where it is with none."""
        site = self._desk.site
        if wish.external_account_binding is not None:
            return bindings.verified(
                wish.external_account_binding,
                url=signed.url,
                key=signed.key,
                mac_key=site.mac_key,
            )
        if site.settings.server.external_account_required:
            raise Refused(
                Problem.EXTERNAL_ACCOUNT_REQUIRED,
                "Accounts need an external account binding here: ask whoever runs this server for"
                " a key, and give its id (kid) and the key itself (hmac) to the client",
            )
        return ""

    def _check_terms(self, *, agreed: bool) -> None:
        """RFC 8555 section 7.3.3."""
        terms = self._desk.site.settings.server.terms_of_service
        if terms is not None and not agreed:
            raise Refused(
                Problem.USER_ACTION_REQUIRED,
                f"Agree to the terms of service first ({terms}): send termsOfServiceAgreed",
                link=("terms-of-service", terms),
            )


class AccountResource(AccountShown):
    """An account, for itself alone."""

    def on_post(self, req: falcon.Request, resp: falcon.Response, account_id: str) -> None:
        """Show the account, change its contacts, or close it."""
        signed = own(self._desk, req, account_id)
        if not signed.payload:
            self._show(resp, self._present(account_id))
            return
        wish = read(messages.ACCOUNT_UPDATE, signed.payload)
        if wish.status == DEACTIVATED:
            self._show(resp, self._deactivated(req, signed, account_id))
            return
        # Other members and other states are those of the whole object, which some clients send.
        account = self._present(account_id)
        if wish.contact is not None:
            whom = contacts.checked(wish.contact)
            if whom != self._contacts(account):
                account = self._changed(req, signed, account_id, whom)
        self._show(resp, account)

    def _present(self, account_id: str) -> Account:
        return self._desk.committer.get(ACCOUNTS, account_id) or _vanished()

    def _deactivated(self, req: falcon.Request, signed: Signed, account_id: str) -> Account:
        def decide(rows: Reader, _now: datetime) -> Decision:
            return accounts.deactivate(
                rows, account_id=account_id, thumbprint=signed.key.thumbprint
            )

        desk = self._desk
        committed = desk.commit(signed, desk.actor(req, account_id), decide)
        return committed.get(ACCOUNTS, account_id) or _vanished()

    def _changed(
        self, req: falcon.Request, signed: Signed, account_id: str, whom: tuple[str, ...]
    ) -> Account:
        desk, contact = self._desk, self._sealed(account_id, whom)

        def decide(rows: Reader, _now: datetime) -> Decision:
            return accounts.change_contact(
                rows, account_id=account_id, thumbprint=signed.key.thumbprint, contact=contact
            )

        with self._changing(req, account_id):
            committed = desk.commit(signed, desk.actor(req, account_id), decide)
        return committed.get(ACCOUNTS, account_id) or _vanished()

    def _sealed(self, account_id: str, whom: tuple[str, ...]) -> Sealed | None:
        if not whom:
            return None
        subject = self._desk.site.subjects.get(f"account/{account_id}")
        if subject is None:
            raise Refused(Problem.UNAUTHORIZED, "The person behind this account was erased")
        return self._desk.site.subjects.seal(subject, msgspec.json.encode(whom))


class OrdersOfAccount:
    """The list of an account's orders, the newest last. RFC 8555 section 7.1.2.1."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_post(self, req: falcon.Request, resp: falcon.Response, account_id: str) -> None:
        """Show a page of them, without those that failed or ran out, and say where the next is."""
        check_empty(own(self._desk, req, account_id))
        told, now = self._desk.urls, self._desk.clock.now()
        rows = self._desk.committer.orders_of(account_id, _cursor(req), PAGE + 1)
        listed = (row.id for row in rows[:PAGE] if _is_listed(row, now))
        responses.answer(resp, messages.Orders(tuple(map(told.order, listed))))
        if len(rows) > PAGE:
            responses.add_link(resp, "next", told.orders(account_id, rows[PAGE - 1].id))


def _cursor(req: falcon.Request) -> str:
    """Return behind which order the page begins; "": the first page."""
    asked = req.get_param_as_list(urls.CURSOR) or [""]
    if asked != [""] and (len(asked) > 1 or urls.an_id(asked[0]) is None):
        detail = "The cursor is none of ours; begin at the account's 'orders'"
        raise Refused(Problem.MALFORMED, detail)
    return asked[0]


def _is_listed(row: Order, now: datetime) -> bool:
    return not row.preauthorization and orders.visible_status(row, now) != INVALID


def own(desk: Desk, req: falcon.Request, account_id: str) -> Signed:
    """Let an account in to what is its own. Raises Refused: 404, or 403 for another's."""
    signed = desk.door.admit(req)
    if signed.account_id != account_id:
        if desk.committer.get(ACCOUNTS, account_id) is None:
            detail = "There is no such account"
            raise Refused(Problem.MALFORMED, detail, status=404, weight=Weight.GUESS)
        detail = "This account belongs to another key"
        raise Refused(Problem.UNAUTHORIZED, detail, weight=Weight.HOSTILE)
    return signed


def _vanished() -> Never:
    raise LookupError("an account that was just there is gone")
