"""A whole server in the test's process, and simulated CAs that serve it: NTLM over TCP.

    with a_ca(clock=clock) as ca, an_adcs_lab(tmp_path, ca, clock=clock) as lab:
        order_id = lab.finalized(lab.a_client())
        lab.ends(order_id, "valid")
        lab.check(ca)       # everything that the CA issued is accounted for

Time is in the test's hands, and the CAs' clocks are the server's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import falcon.testing
import msgspec
from msgspec.structs import replace

from certeasy.settings import AuthoritySettings, PolicyBinding, Settings, WorkerSettings
from certeasy.settings.adcs import AdcsSettings
from projections.certificates import CERTIFICATES
from projections.orders import ORDERS
from projections.revocations import REVOCATIONS, revocation_id
from projections.suspects import SUSPECTS
from tests.fakes.clocks import MovedClock
from tests.make.adcs import LabCa
from tests.make.lab import URL, Client, Lab, Result, a_lab
from tests.make.signers import a_signer
from tests.make.timed_lab import TimedLab
from tools.adcs_sim.database import Request


def adcs_settings(ca: LabCa, folder: Path, **more: object) -> AdcsSettings:
    """Return what a server has to know to be served by a CA; its files go into the folder."""
    password = folder / f"{ca.name}.password"
    password.touch(mode=0o600)
    password.write_text(ca.password)
    known: dict[str, Any] = {
        "ca_name": ca.name,
        "certificate_template": "WebServer",
        "host": "ca1.lab.test",
        "address": ca.host,
        "endpoint_mapper_port": ca.mapper_port,
        "transport": "tcp",
        "auth": "ntlm",
        "domain": ca.domain,
        "user": ca.user,
        "password_file": password,
        "ca_certificates": ca.roots_file(folder),
    }
    return AdcsSettings(**known | more)


class FreshClient(Client):
    """A client that asks for a nonce before each request."""

    def send(self, url: str, body: bytes, headers: dict[str, str] | None = None) -> Result:
        """Send a body as it is."""
        result = super().send(url, body, headers)
        self.drop_nonce()
        return result


class AdcsLab(TimedLab):
    """Such a server."""

    def __init__(self, lab: Lab, clock: MovedClock, cas: tuple[LabCa, ...]) -> None:
        super().__init__(lab, clock)
        self.cas = cas

    def said(self, *types: str) -> list[dict[str, Any]]:
        """Return what the log's events of some types say, and the streams they are in."""
        lines = map(msgspec.json.decode, self.journal())
        return [{"stream": e["stream"]} | e["data"] for e in lines if e["type"] in types]

    def a_client(self) -> Client:
        """Return a client with an account, for which no nonce becomes too old."""
        client = FreshClient(self, a_signer())
        client.register()
        return client

    def readyz(self) -> tuple[int, dict[str, str]]:
        """Return what a load balancer is told."""
        told = falcon.testing.TestClient(self.server.admin).simulate_get("/readyz")
        return told.status_code, told.json["checks"]

    def look(self) -> None:
        """Look at every authority, as happens every half a minute."""
        for name in self.server.authorities:
            self.server.health.look(name)

    def statuses(self, order_ids: list[str]) -> set[str]:
        """Return how some orders are."""
        found = [self.server.committer.get(ORDERS, each) for each in order_ids]
        return {"lost" if order is None else order.status for order in found}

    def given(self, order_id: str) -> bytes | None:
        """Return the certificate (DER) that an order's client may have."""
        row = self.server.committer.get(CERTIFICATES, order_id)
        return None if row is None else row.certificate

    def requests(self) -> list[Request]:
        """Return what the CAs have issued something for."""
        return [each for ca in self.cas for each in ca.requests if each.certificate]

    def check(self) -> None:
        """Whatever the CAs issued was given to whom it is for, or stands in the log as what nobody
        gets, or as what there may be."""
        rows = self.server.committer
        for request in self.requests():
            order_id = request.attributes["certeasyorder"]
            given = self.given(order_id) == request.certificate
            id_ = revocation_id(order_id, request.certificate)
            recorded = rows.get(REVOCATIONS, order_id, id_) is not None
            suspected = any(
                rows.get(SUSPECTS, f"{order_id}-{attempt}") is not None for attempt in range(1, 20)
            )
            assert given or recorded or suspected, request
            assert not (given and recorded), request


def served(client: Client, order_id: str) -> bytes:
    """Return the chain (PEM) that the client of an order is given."""
    url = client.see(f"{URL}/acme/order/{order_id}")["certificate"]
    return client.post(url).content


@contextmanager
def an_adcs_lab(
    folder: Path,
    *cas: LabCa,
    clock: MovedClock,
    strategy: Any = "first_available",
    wait: timedelta = timedelta(hours=1),
    **more: object,
) -> Iterator[AdcsLab]:
    """Open one; in the folder of another one it is as after a restart. `more` is what is to be
    different about the CAs' settings."""
    made = tuple(
        AuthoritySettings(
            name=ca.name, type="adcs", configuration=adcs_settings(ca, folder, **more)
        )
        for ca in cas
    )
    names = tuple(each.name for each in made)

    def change(settings: Settings) -> Settings:
        binding = PolicyBinding(policy="lab", authorities=names, strategy=strategy)
        return replace(settings, authorities=made, policy_bindings=(binding,))

    workers = WorkerSettings(workers=8, base_backoff=timedelta(milliseconds=5), authority_wait=wait)
    with a_lab(
        folder,
        clock=clock,
        change=change,
        sections={"workers": workers},
        finalize_wait=timedelta(milliseconds=1),
    ) as lab:
        yield AdcsLab(lab, clock, cas)
