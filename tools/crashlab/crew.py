"""The load: clients that order, prove, finalize, download and sometimes revoke, again and again."""

import random
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cryptography.hazmat.primitives.asymmetric import ec

from tools.acmeload.client import OrderFailed, thumbprint
from tools.acmeload.responder import Responder, name_of
from tools.crashlab.client import ORDER_PATIENCE, PATIENCE, PatientClient
from tools.crashlab.ledger import Ledger
from tools.crashlab.server import ZONE, Server
from tools.crashlab.trouble import NotHeld

IDENTITIES = 12
"""Every client changes its account now and then, and so comes back to one that exists."""
ORDERS_PER_IDENTITY = 8
REVOKED_PART = 0.15
Keys = tuple[ec.EllipticCurvePrivateKey, ec.EllipticCurvePrivateKey]


class Crew:
    """So many clients, each in its thread, between `with crew(...)` and its end."""

    def __init__(self, server: Server, ledger: Ledger, clients: int, seed: str) -> None:
        curve = ec.SECP256R1()
        self.ledger = ledger
        self.keys: list[Keys] = [
            (ec.generate_private_key(curve), ec.generate_private_key(curve))
            for _ in range(clients * IDENTITIES)
        ]
        self.pause = 0.0
        """Seconds between two orders of a client."""
        self._clients = clients
        self._server = server
        self.context = ssl.create_default_context(cafile=str(server.root))
        self._go = threading.Event()
        self._over = threading.Event()
        self._at_work = 0
        self._rest = threading.Condition()
        self._threads = [
            threading.Thread(target=self._run, args=(n, random.Random(f"{seed}/{n}")), daemon=True)  # noqa: S311 - repeatable
            for n in range(clients)
        ]

    def begin(self) -> None:
        """Let the clients work."""
        self._go.set()
        for thread in self._threads:
            if thread.ident is None:
                thread.start()

    def rest(self, seconds: float = ORDER_PATIENCE + PATIENCE) -> None:
        """Let every client finish its order, and wait until all have. Raises NotHeld."""
        self._go.clear()
        with self._rest:
            if not self._rest.wait_for(lambda: self._at_work == 0, seconds):
                raise NotHeld(f"{self._at_work} clients do not finish in {seconds:.0f} s")

    def end(self) -> None:
        """End the clients, in the middle of an order if need be."""
        self._over.set()
        self._go.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _run(self, number: int, chance: random.Random) -> None:
        order = 0
        client: PatientClient | None = None
        identity = number
        while self._taken():
            try:
                if client is None or order % ORDERS_PER_IDENTITY == 0:
                    identity = number + self._clients * chance.randrange(IDENTITIES)
                    client = self._joined(client, identity)
                self._order(client, name_of(identity, order, 0, ZONE), chance)
            except (OrderFailed, OSError, KeyError, ValueError) as error:
                self.ledger.lose(f"client {number}, order {order}: {type(error).__name__} {error}")
            order += 1
            self._done()
            self._over.wait(self.pause)
        if client is not None:
            client.close()

    def _joined(self, old: PatientClient | None, identity: int) -> PatientClient:
        if old is not None:
            old.close()
        keys = self.keys[identity]
        client = PatientClient(self.ledger, self._server.directory, self.context, keys, self._over)
        client.join()
        return client

    def _order(self, client: PatientClient, name: str, chance: random.Random) -> None:
        chain = client.certificate([name])
        self.ledger.count("certificates")
        if chance.random() < REVOKED_PART:
            client.revoke(chain)

    def _taken(self) -> bool:
        """Wait until there is work; return False when it is time to end."""
        while True:
            self._go.wait()
            with self._rest:
                if self._over.is_set():
                    return False
                if self._go.is_set():
                    self._at_work += 1
                    return True

    def _done(self) -> None:
        with self._rest:
            self._at_work -= 1
            self._rest.notify_all()


@contextmanager
def crew(server: Server, ledger: Ledger, clients: int, seed: str) -> Iterator[Crew]:
    """Bring clients and their http-01 responder together; the server must have been ready once."""
    made = Crew(server, ledger, clients, seed)
    thumbprints = [thumbprint(account) for account, _ in made.keys]
    with Responder(server.http_port, thumbprints):
        try:
            yield made
        finally:
            made.end()
