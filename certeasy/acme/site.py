"""What the ACME resources are handed, and what several of them do with it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

import falcon
import msgspec

from certeasy.acme.bindings import MacKey
from certeasy.acme.jws import AccountKey
from certeasy.acme.nonces import Nonces
from certeasy.acme.requests import Door, KnownAccount, Signed
from certeasy.acme.urls import Urls
from certeasy.clock import Clock
from certeasy.commit import Command, Committed, Committer, NonceUsed, UsedNonce
from certeasy.commit.command import Decide
from certeasy.commit.subjects import Subjects
from certeasy.decide.client_address import client_address
from certeasy.decide.decision import Decision, Reader
from certeasy.decide.policy import Policies
from certeasy.ids import Ids
from certeasy.licensing.seats import Seats
from certeasy.limits.clients import Limits
from certeasy.metrics import Metrics
from certeasy.settings import Settings
from events.envelope import Actor
from events.orders import CaaCheck
from events.sealing import Subject
from projections.accounts import ACCOUNTS
from projections.orders import Order

LONGEST_USER_AGENT = 256
KEPT, LONGEST_KEPT = 4096, 200
"""So many addresses, and what proxies say of them up to that length, are not worked out again."""

NoteRefusal = Callable[[Actor, str, str, Sequence[str]], None]
"""Record that an account's request was refused: who, kind, detail, names."""

IssueNow = Callable[[Order], None]
"""Have a certificate issued in this thread, by an authority that answers at once."""

CheckCaa = Callable[[Order], Sequence[CaaCheck]]
"""Look at the CAA records of an order's names again, where that is due, and return what was seen.
Raises Refused where they forbid it."""


def _no_objection(_order: Order) -> Sequence[CaaCheck]:
    return ()


_encode = msgspec.json.Encoder().encode


class Origin(msgspec.Struct, frozen=True):
    """Where a request came from; sealed before anybody writes it down."""

    address: str
    user_agent: str


@dataclass(frozen=True)
class Site:
    """The parts of the server that ACME is spoken with."""

    settings: Settings
    clock: Clock
    ids: Ids
    committer: Committer
    nonces: Nonces
    subjects: Subjects
    policies: Policies
    available: Callable[[str], bool]
    """Whether an authority is worth asking now."""
    refused: NoteRefusal
    issue_now: IssueNow
    mac_key: MacKey
    limits: Limits
    told: Callable[[str], bool]
    """Whether an authority is told what is revoked."""
    seats: Seats
    """Who may order under the license."""
    check_caa: CheckCaa = _no_objection
    metrics: Metrics = field(default_factory=Metrics)


def _nothing(_rows: Reader, _now: datetime) -> Decision:
    return Decision()


class Desk:
    """What every resource has at hand: the site, its URLs and policies, and the door."""

    def __init__(self, site: Site) -> None:
        settings = site.settings
        self.site = site
        self.committer = site.committer
        self.clock = site.clock
        self.urls = Urls(settings.server.url, settings.server.caa_identities)
        self.policies = site.policies
        self.limits = site.limits
        self._client: Callable[[str, str | None], str] = lru_cache(KEPT)(self._client_address)
        self.door = Door(self.urls, site.nonces, self._known, settings.server.max_body_bytes)

    def _known(self, account_id: str) -> KnownAccount | None:
        account = self.committer.get(ACCOUNTS, account_id)
        if account is None:
            return None
        return KnownAccount(account_id, AccountKey.from_jwk(account.jwk), account.status)

    def commit(
        self,
        signed: Signed,
        actor: Actor,
        decide: Decide,
        subject_keys: tuple[tuple[str, bytes], ...] = (),
    ) -> Committed:
        """Have a change made on behalf of a request; return when it is stored for good.

        Raises what `Committer.submit` raises; its errors have their answers in `app`.
        """
        nonce = UsedNonce(signed.nonce, signed.nonce_expires)
        return self.committer.submit(Command(decide, actor, nonce, subject_keys))

    def actor(self, req: falcon.Request, account_id: str) -> Actor:
        """Return the account as the one who acts, with the sealed origin of its request."""
        subject = self.site.subjects.get(f"account/{account_id}")
        return self.actor_for(req, account_id, subject)

    def actor_for(self, req: falcon.Request, account_id: str, subject: Subject | None) -> Actor:
        """Return the actor where the subject is known already; None: it was erased."""
        key = req.context.signed.key.thumbprint
        if subject is None:
            return Actor("account", account_id, key=key)
        sealed = self.site.subjects.seal(subject, self._origin(req))
        return Actor("account", account_id, sealed, key)

    def spend(self, req: falcon.Request) -> None:
        """Store the nonce of a request that was let in and then refused.

        Nothing else is stored of it; but should this node be killed, the same bytes must not be
        good once more, at a moment when they would not be refused. Raises what `submit` raises.
        """
        signed: Signed | None = getattr(req.context, "signed", None)
        if signed is None or not signed.payload:
            return
        nonce = UsedNonce(signed.nonce, signed.nonce_expires)
        try:
            self.committer.submit(Command(_nothing, Actor("system", "door"), nonce))
        except NonceUsed:
            return  # the change was decided and then refused: its nonce is stored already

    def address(self, req: falcon.Request) -> str:
        """Return the address of the client that sent a request."""
        header = self.site.settings.server.remote_ip_header
        sent = req.get_header(header) if header else None
        if sent is not None and len(sent) > LONGEST_KEPT:
            return self._client_address(req.remote_addr, sent)
        return self._client(req.remote_addr, sent)

    def _client_address(self, peer: str, sent: str | None) -> str:
        return client_address(peer, sent, self.site.settings.server.trusted_proxies)

    def _origin(self, req: falcon.Request) -> bytes:
        address: str = req.context.address
        return _encode(Origin(address, (req.user_agent or "")[:LONGEST_USER_AGENT]))
