"""A lab whose authority is a CA at the other end of a line, which keeps records of its own.

    with a_far_lab(tmp_path, probes=False) as lab:
        lab.ca.next("lost")
        ...
        lab.check()     # everything that the CA issued is accounted for

Time is in the test's hands: `lab.pass_by(minutes=10)`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from certeasy.app import Application
from certeasy.ca import Authority
from certeasy.clock import Clock
from certeasy.cluster.secrets import Secrets
from certeasy.settings import PendingRules, Settings, WorkerSettings
from projections.certificates import CERTIFICATES
from projections.revocations import PUBLISHED, REVOCATIONS, revocation_id
from tests.fakes.clocks import MovedClock
from tests.fakes.far_authority import FarAuthority, FarCa, serial_of
from tests.make.lab import Lab, a_lab
from tests.make.timed_lab import NAME, TimedLab, evidence

__all__ = ["NAME", "FarLab", "a_far_lab", "evidence"]


class FarLab(TimedLab):
    """Such a lab."""

    def __init__(self, lab: Lab, ca: FarCa, clock: MovedClock) -> None:
        super().__init__(lab, clock)
        self.ca = ca

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
            order_id = request.submission.order_id
            id_ = revocation_id(order_id, certificate)
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
    beside: Path | None = None,
) -> Iterator[FarLab]:
    """Open one; with the CA and the clock of another one it is as after a restart.

    `beside` is the folder of another node, whose place this one takes: they share the database.
    """
    held: list[FarCa] = [] if ca is None else [ca]

    class FarApplication(Application):
        """The server, with a CA that is far away."""

        def _authorities(self, secrets: Secrets) -> dict[str, Authority]:
            inner = super()._authorities(secrets)
            if not held:
                held.append(FarCa(inner["lab-ca"]))
            far = FarAuthority(held[0], probes=probes, shows=shows, revokes=revokes)
            return {"lab-ca": far}

    def build(settings: Settings, *, clock: Clock | None) -> Application:
        return FarApplication(settings, clock=clock, unendorsed=beside is not None)

    def change(settings: Settings) -> Settings:
        if beside is not None:
            database = replace(settings.database, path=beside / "db.sqlite")
            secrets = replace(settings.secrets, key_file=beside / "secret.key")
            settings = replace(settings, database=database, secrets=secrets)
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
        build=build,
        finalize_wait=timedelta(milliseconds=1),
    ) as lab:
        yield FarLab(lab, held[0], clock)
