"""A long history, made quickly: a workdir filled with orders that all went the same way.

    python -m tools.history -f config.yml --events 100000

Every event is decided, signed, stored and journalled as the server does it; only the network, the
keys of clients and the CA are left out: certificates are made-up bytes. For measuring what takes
long on a long log.
"""

import hashlib
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import click

from certeasy import config
from certeasy.clock import SystemClock
from certeasy.cluster import boot
from certeasy.cluster.boot import Opened
from certeasy.commit import Command, Committer
from certeasy.decide import accounts, issuance, orders, validation
from certeasy.decide.decision import Decision, Reader
from certeasy.ids import Ids, RandomIds
from certeasy.settings import Settings
from events.certificates import CertificateIssued
from events.envelope import Actor
from events.nodes import SettingsLoaded
from projections.orders import ORDERS, Order

EVENTS_PER_ORDER = 7
ORDERS_PER_ACCOUNT = 500
THREADS = 64
CERTIFICATE_SIZE = 550  # bytes of a P-256 leaf with one name


class Door(Protocol):
    """Where decisions are recorded: a committer."""

    def submit(self, command: Command) -> object:
        """Return once what was decided is recorded."""
        ...


def _row(rows: Reader, order_id: str) -> Order:
    order = rows.get(ORDERS, order_id)
    if order is None:
        raise LookupError("an order that was just there is gone")
    return order


class Historian:
    """Writes orders into a node's log, as many at once as there are threads."""

    def __init__(self, committer: Door, ids: Ids) -> None:
        self._committer = committer
        self._ids = ids

    def write(self, count: int, told: Callable[[int], None]) -> None:
        """Write so many orders, spread over accounts; `told` hears of each thread's progress."""
        shares = [count // THREADS + (n < count % THREADS) for n in range(THREADS)]
        threads = [
            threading.Thread(target=self.write_some, args=(share, told))
            for share in shares
            if share
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def write_some(self, count: int, told: Callable[[int], None]) -> None:
        """Write so many orders, one after the other."""
        account = ("", "")
        for n in range(count):
            if n % ORDERS_PER_ACCOUNT == 0:
                account = self.account()
            self.order(account)
            told(1)

    def account(self) -> tuple[str, str]:
        """Have an account made; return its id and its key's thumbprint."""
        account_id, thumbprint = self._ids.new(), self._ids.token()

        def decide(rows: Reader, now: datetime) -> Decision:
            jwk = {"kty": "EC", "crv": "P-256", "x": self._ids.token(), "y": self._ids.token()}
            return accounts.create(
                rows,
                now,
                account_id=account_id,
                thumbprint=thumbprint,
                jwk=jwk,
                contact=None,
                terms_agreed=True,
            )

        self._commit(decide, Actor("account", account_id))
        return account_id, thumbprint

    def order(self, account: tuple[str, str]) -> None:
        """Write an order of an account, up to its certificate."""
        account_id, thumbprint = account
        order_id, csr = self._ids.new(), self._ids.random(300)
        client = Actor("account", account_id)
        who = {"account_id": account_id, "thumbprint": thumbprint, "order_id": order_id}
        name = f"host-{order_id[-8:]}.lab.test"
        token = self._ids.token()
        self._commit(
            lambda rows, now: orders.new_order(
                rows,
                now,
                account_id=account_id,
                thumbprint=thumbprint,
                order_id=order_id,
                names=[name],
                challenges=["http-01"],
                tokens=iter([token]),
                lifetime=timedelta(days=7),
                policy="lab",
                authority="lab-ca",
                key=None,
            ),
            client,
        )
        self._commit(lambda rows, now: orders.accept_challenge(rows, now, **who, n=0, m=0), client)
        evidence: dict[str, object] = {"address": "127.0.0.1", "port": 80, "status": 200}
        system = Actor("system", "history")

        def validated(rows: Reader, _now: datetime) -> Decision:
            asked = validation.Asked.of(_row(rows, order_id), 0, 0, thumbprint)
            return validation.validated(rows, order_id, 0, 0, asked, evidence)

        self._commit(validated, system)
        self._commit(
            lambda rows, now: orders.finalize(
                rows,
                now,
                account_id=account_id,
                thumbprint=thumbprint,
                order_id=order_id,
                csr=csr,
                held=_row(rows, order_id),
                submit_to="lab-ca",
            ),
            client,
        )
        fact = self._certificate(order_id, account_id, name)
        self._commit(lambda rows, _now: issuance.issued(rows, _row(rows, order_id), fact), system)

    def _certificate(self, order_id: str, account_id: str, name: str) -> CertificateIssued:
        made_up = self._ids.random(CERTIFICATE_SIZE)
        return CertificateIssued(
            order_id=order_id,
            account_id=account_id,
            authority="lab-ca",
            attempt=1,
            certificate=made_up,
            chain=(hashlib.sha256(b"issuer").hexdigest(),),
            serial=self._ids.random(20).hex(),
            sha256=hashlib.sha256(made_up).hexdigest(),
            spki_sha256=hashlib.sha256(made_up[:64]).hexdigest(),
            names=(name,),
            not_before="2026-01-01T00:00:00Z",
            not_after="2026-04-01T00:00:00Z",
        )

    def _commit(self, decide: Callable[[Reader, datetime], Decision], actor: Actor) -> None:
        self._committer.submit(Command(decide, actor))


def fill(settings: Settings, events: int, told: Callable[[int], None] = lambda _done: None) -> int:
    """Add at least so many events to the workdir's log, in whole orders; return its position then.

    `told` hears of each order. Raises what `certeasy serve` would raise at its start.
    """
    clock = SystemClock()
    ids = RandomIds(clock)
    node = boot.open_node(settings, ids)
    try:
        _write(node, settings, clock, ids, -(-events // EVENTS_PER_ORDER), told)
        return node.store.head().position
    finally:
        node.close()


def _write(
    node: Opened,
    settings: Settings,
    clock: SystemClock,
    ids: Ids,
    count: int,
    told: Callable[[int], None],
) -> None:
    standing = boot.level(node)
    committer = Committer(node.store, node.journal, clock)
    committer.start(boot.take_place(node, clock, ids), standing)
    try:
        redacted = SettingsLoaded(config.fingerprint(settings), dict(config.redacted(settings)))
        boot.announce(node, committer, settings, redacted)
        Historian(committer, ids).write(count, told)
    finally:
        committer.stop()


@click.command()
@click.option("-f", "--config", "config_file", required=True, type=click.Path(path_type=Path))
@click.option("--events", default=100_000, show_default=True, type=click.IntRange(1))
def main(config_file: Path, events: int) -> None:
    """Fill the workdir of a configuration with a long history."""
    settings = config.load(config_file)
    with Bar(-(-events // EVENTS_PER_ORDER)) as told:
        position = fill(settings, events, told)
    click.echo(f"the log is at position {position}")


class Bar:
    """A progress bar that threads may advance."""

    def __init__(self, total: int) -> None:
        self._bar = click.progressbar(length=total, label="orders")
        self._lock = threading.Lock()

    def __enter__(self) -> Callable[[int], None]:
        """Show the bar; return what advances it."""
        self._bar.__enter__()
        return self.advance

    def __exit__(self, *_: object) -> None:
        """Finish the bar."""
        self._bar.render_finish()

    def advance(self, orders_done: int) -> None:
        """Advance by so many orders."""
        with self._lock:
            self._bar.update(orders_done)


if __name__ == "__main__":
    main()
