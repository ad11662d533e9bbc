"""A lab whose authority is a CA at the other end of a line, which keeps records of its own.

    with a_far_lab(tmp_path, probes=False) as lab:
        lab.ca.next("lost")
        ...
        lab.check()     # everything that the CA issued is accounted for

Time is in the test's hands: `lab.pass_by(minutes=10)`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from certeasy.app import Application
from certeasy.ca import Authority
from certeasy.cluster.secrets import Secrets
from certeasy.settings import PendingRules, Settings, WorkerSettings
from events.envelope import Record, parse
from projections.certificates import CERTIFICATES
from projections.orders import ORDERS, Order
from projections.revocations import PUBLISHED, REVOCATIONS, revocation_id
from tests.fakes.clocks import MovedClock
from tests.fakes.far_authority import FarAuthority, FarCa, serial_of
from tests.make.csrs import a_csr, p256
from tests.make.lab import Client, Lab, a_lab
from tests.make.waiting import soon

NAME = "web.lab.test"


class FarLab(Lab):
    """Such a lab."""

    def __init__(self, lab: Lab, ca: FarCa, clock: MovedClock) -> None:
        self.__dict__.update(lab.__dict__)
        self.ca = ca
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

    def given(self) -> list[bytes]:
        """Return the certificates of the CA that somebody was given."""
        orders = dict.fromkeys(one.submission.order_id for one in self.ca.requests)
        rows = (self.server.committer.get(CERTIFICATES, order_id) for order_id in orders)
        return [row.certificate for row in rows if row is not None]

    def check(self) -> None:
        """Everything that the CA issued was given to whom it is for, or is recorded and revoked
        there; and nothing of both."""
        given = self.given()
        for request in self.ca.requests:
            if request.issued is None:
                continue
            certificate = request.certificate
            id_ = revocation_id(certificate)
            order_id = request.submission.order_id
            kept = self.server.committer.get(REVOCATIONS, order_id, id_)
            revoked = serial_of(certificate) in self.ca.revoked
            assert (certificate in given) != (kept is not None and kept.state == PUBLISHED)
            assert revoked == (kept is not None)


@contextmanager
def a_far_lab(
    folder: Path,
    *,
    ca: FarCa | None = None,
    clock: MovedClock | None = None,
    pending: PendingRules | None = None,
    probes: bool = True,
    shows: bool = True,
    revokes: bool = True,
) -> Iterator[FarLab]:
    """Open one; with the CA and the clock of another one it is as after a restart."""
    held: list[FarCa] = [] if ca is None else [ca]

    class FarApplication(Application):
        """The server, with a CA that is far away."""

        def _authorities(self, secrets: Secrets) -> dict[str, Authority]:
            inner = super()._authorities(secrets)
            if not held:
                held.append(FarCa(inner["lab-ca"]))
            far = FarAuthority(held[0], probes=probes, shows=shows, revokes=revokes)
            return {"lab-ca": far}

    def change(settings: Settings) -> Settings:
        policies = settings.issuance_policies
        if pending is not None:
            policies = tuple(replace(policy, pending=pending) for policy in policies)
        return replace(settings, issuance_policies=policies)

    clock = clock or MovedClock()
    sections: dict[str, Any] = {
        "workers": WorkerSettings(workers=4, base_backoff=timedelta(milliseconds=5))
    }
    with a_lab(
        folder,
        clock=clock,
        change=change,
        sections=sections,
        build=FarApplication,
        finalize_wait=timedelta(milliseconds=1),
    ) as lab:
        yield FarLab(lab, held[0], clock)


def evidence(record: Record) -> dict[str, Any]:
    """Return what an event says."""
    data: dict[str, Any] = msgspec.json.decode(record.envelope.data)
    return data
