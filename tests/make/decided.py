"""Rows that only deciders have made: what they decide is folded at once, as the committer does.

world = World()
account = world.account()
order = world.order("web.corp.test", account=account)
world.decide(orders.accept_challenge, ...)
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from certeasy.decide import accounts, issuance, orders, validation
from certeasy.decide.decision import Decision
from certeasy.settings.limits import AccountLimits
from events.certificates import CertificateIssued
from events.envelope import Envelope, timestamp
from events.orders import CaaCheck
from events.registry import Event, encode_data, name_of
from projections import fold
from projections.accounts import ACCOUNTS, Account
from projections.eab import EAB_KEYS
from projections.orders import ORDERS, Order
from projections.tables import WorkingRows

START = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
NO_ID = "0" * 26


def _nothing_stored(_table: Any, _key: Any) -> None:
    return None


class World:
    """Rows, the facts that made them, the lines that say so, and a clock that a test moves."""

    def __init__(self) -> None:
        self.rows = WorkingRows(_nothing_stored)
        self.facts: list[tuple[str, Event]] = []
        self.lines: list[Envelope] = []
        self.now = START
        self._ids = 0

    def do(self, decision: Decision) -> list[str]:
        """Fold what was decided; return the names of the facts."""
        for stream, fact in decision.facts:
            kind, schema = name_of(fact)
            self.facts.append((stream, fact))
            line = Envelope(
                v=1,
                position=len(self.facts),
                server_id="node",
                seq=len(self.facts),
                prev="",
                head="",
                at=timestamp(self.now),
                stream=stream,
                version=1,
                type=kind,
                schema=schema,
                actor=msgspec.Raw(b"{}"),
                data=msgspec.Raw(encode_data(fact)),
            )
            self.lines.append(line)
            fold.apply(fact, line, self.rows)
        return [name_of(fact)[0] for _, fact in decision.facts]

    def decide(self, decider: Callable[..., Decision], *args: Any, **named: Any) -> list[str]:
        """Ask a decider of the rows, and fold what it says."""
        return self.do(decider(self.rows, *args, **named))

    def new_id(self) -> str:
        """Return an id that is not taken."""
        self._ids += 1
        return f"{self._ids:026d}"

    def account(self, thumbprint: str | None = None, *, eab: str = "") -> Account:
        """Return a new account."""
        account_id = self.new_id()
        self.decide(
            accounts.create,
            self.now,
            account_id=account_id,
            thumbprint=thumbprint or f"key-of-{account_id}",
            jwk={"kty": "EC"},
            contact=None,
            terms_agreed=True,
            eab=eab,
        )
        account = self.rows.get(ACCOUNTS, account_id)
        assert account is not None
        return account

    def order(
        self,
        *names: str,
        account: Account,
        challenges: tuple[str, ...] = ("http-01",),
        known: Mapping[str, orders.Known] = orders.NOTHING_KNOWN,
        replaces: str = "",
        policy: str = "default",
        preauthorization: bool = False,
        lifetime: timedelta = timedelta(days=7),
        limits: AccountLimits = orders.NO_LIMITS,
    ) -> str:
        """Place an order; return its id."""
        order_id = self.new_id()
        self.decide(
            orders.new_order,
            self.now,
            account_id=account.id,
            thumbprint=account.thumbprint,
            order_id=order_id,
            names=names,
            challenges=challenges,
            tokens=iter(f"token-{n}" for n in range(1000)),
            lifetime=lifetime,
            policy=policy,
            authority="ca",
            key=self.rows.get(EAB_KEYS, account.eab) if account.eab else None,
            known=known,
            replaces=replaces,
            preauthorization=preauthorization,
            limits=limits,
        )
        return order_id

    def row(self, order_id: str) -> Order:
        """Return an order as it is now."""
        order = self.rows.get(ORDERS, order_id)
        assert order is not None
        return order

    def accept(self, account: Account, order_id: str, n: int = 0, m: int = 0) -> list[str]:
        """Accept a challenge."""
        return self.decide(
            orders.accept_challenge,
            self.now,
            account_id=account.id,
            thumbprint=account.thumbprint,
            order_id=order_id,
            n=n,
            m=m,
        )

    def prove(self, account: Account, order_id: str) -> None:
        """Prove every name of an order."""
        for n in range(len(self.row(order_id).authorizations)):
            self.accept(account, order_id, n)
            self.decide(validation.validated, order_id, n, 0, self.asked(order_id, n), {})

    def asked(self, order_id: str, n: int = 0, m: int = 0) -> validation.Asked:
        """Return what a validator would look at for a challenge."""
        order = self.row(order_id)
        account = self.rows.get(ACCOUNTS, order.account_id)
        assert account is not None
        return validation.Asked.of(order, n, m, account.thumbprint)

    def finalize(
        self,
        account: Account,
        order_id: str,
        csr: bytes = b"csr",
        *,
        submit_now: bool = False,
        caa: Sequence[CaaCheck] = (),
        held: Order | None = None,
        limits: AccountLimits = orders.NO_LIMITS,
    ) -> list[str]:
        """Send a certificate request."""
        return self.decide(
            orders.finalize,
            self.now,
            account_id=account.id,
            thumbprint=account.thumbprint,
            order_id=order_id,
            csr=csr,
            held=self.row(order_id) if held is None else held,
            submit_to="ca" if submit_now else None,
            caa=caa,
            limits=limits,
        )

    def ready(self, *names: str, account: Account, replaces: str = "") -> str:
        """Return the id of an order that is ready."""
        order_id = self.order(*names, account=account, replaces=replaces)
        self.prove(account, order_id)
        return order_id

    def processing(self, *names: str, account: Account, replaces: str = "") -> str:
        """Return the id of an order whose first submission has no outcome yet."""
        order_id = self.ready(*names, account=account, replaces=replaces)
        self.finalize(account, order_id, submit_now=True)
        return order_id

    def issue(self, order_id: str) -> list[str]:
        """Let the authority answer an order that is processing."""
        return self.decide(issuance.issued, self.row(order_id), self.issued_fact(order_id))

    def issued(self, *names: str, account: Account, replaces: str = "") -> str:
        """Return the id of an order that has its certificate."""
        order_id = self.processing(*names, account=account, replaces=replaces)
        self.issue(order_id)
        return order_id

    def sha256_of(self, order_id: str) -> str:
        """Return the hash of the certificate that an authority would make for an order."""
        return hashlib.sha256(order_id.encode()).hexdigest()

    def issued_fact(self, order_id: str) -> CertificateIssued:
        """Return the certificate that an authority would make for an order."""
        order = self.row(order_id)
        return CertificateIssued(
            order_id=order_id,
            account_id=order.account_id,
            authority=order.authority,
            attempt=order.attempt,
            certificate=b"certificate of " + order_id.encode(),
            chain=("00",),
            serial="01",
            sha256=self.sha256_of(order_id),
            spki_sha256=f"spki-of-{order_id}",
            names=tuple(identifier.value for identifier in order.identifiers),
            not_before="2026-11-02T08:00:00Z",
            not_after="2027-02-02T08:00:00Z",
        )
