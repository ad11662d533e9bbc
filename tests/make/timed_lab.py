"""A lab in which time is in the test's hands: `lab.pass_by(minutes=10)`."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec

from events.envelope import Record, parse
from projections.orders import ORDERS, Order
from tests.fakes.clocks import MovedClock
from tests.make.csrs import a_csr, p256
from tests.make.lab import Client, Lab
from tests.make.waiting import soon

NAME = "web.lab.test"


class TimedLab(Lab):
    """Such a lab, around another one that uses the same clock."""

    def __init__(self, lab: Lab, clock: MovedClock) -> None:
        self.__dict__.update(lab.__dict__)
        self.clock = clock

    def pass_by(self, **time: float) -> None:
        """Let time pass, and let workers see it."""
        self.clock.pass_by(timedelta(**time).total_seconds())
        self.server.workers.look_around()

    def until(self, condition: Callable[[], object], **time: float) -> None:
        """Let time pass, so much again and again, until something is so."""

        def so() -> bool:
            if condition():
                return True
            self.pass_by(**time)
            return False

        soon(so)

    def a_client(self) -> Client:
        """Return a client with an account."""
        client = self.client()
        client.register()
        return client

    def finalized(self, client: Client, name: str = NAME, *, key: int = 1) -> str:
        """Place an order, prove it and finalize it; return its id."""
        client.drop_nonce()  # time may have passed
        order = client.ready(name)
        assert client.finalize(order, a_csr(name, key=p256(key))).status_code == 200
        return order.rpartition("/")[2]

    def order(self, order_id: str) -> Order:
        """Return an order as the server has it."""
        order = self.server.committer.get(ORDERS, order_id)
        assert order is not None
        return order

    def ends(self, order_id: str, status: str) -> Order:
        """Wait until an order has ended so, with time passing by a quarter of a minute each."""

        self.until(lambda: self.order(order_id).status in ("valid", "invalid"), seconds=15)
        assert self.order(order_id).status == status
        return self.order(order_id)

    def records(self, order_id: str) -> list[Record]:
        """Return what the log says of an order's issuance and its certificates."""
        return [
            record
            for record in map(parse, self.journal())
            if record.envelope.stream.endswith(f"/{order_id}")
            if record.envelope.type.startswith(("issuance.", "certificate.", "revocation."))
        ]

    def story(self, order_id: str) -> list[str]:
        """Return the types of these."""
        return [record.envelope.type for record in self.records(order_id)]

    def tells(self, order_id: str, kind: str, **passing: float) -> Record:
        """Wait until the log has an event of this type, with so much time passing each time."""

        self.until(lambda: kind in self.story(order_id), **passing)
        return next(r for r in self.records(order_id) if r.envelope.type == kind)


def evidence(record: Record) -> dict[str, Any]:
    """Return what an event says."""
    data: dict[str, Any] = msgspec.json.decode(record.envelope.data)
    return data
