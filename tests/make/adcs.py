"""A CA for a test: the simulator, in threads of this process.

    with a_ca(issues=("WebServer",)) as ca:
        ca.host, ca.mapper_port, ca.port     # where it is
        ca.name, ca.user, ca.password        # what to tell the connector
        ca.roots, ca.roots_file(folder)      # PEM of its certificates
        ca.once(cuts(at=20))                 # what becomes of the next request
        ca.behaves("WebServer", pends())     # of all requests for a template
        ca.issued, ca.requests, ca.revoked   # what it knows

Behaviours are told in `tools.adcs_sim.behaviour`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import UNSET, UnsetType

from certeasy.clock import Clock
from tools.adcs_sim.behaviour import Behaviour, issues
from tools.adcs_sim.ca import Template
from tools.adcs_sim.database import Request
from tools.adcs_sim.machine import Down, Machine, Plan

USER, PASSWORD, DOMAIN = "svc-acme", "Secret.123", "LAB"


class LabCa:
    """A running CA, as a test sees it."""

    user, password, domain = USER, PASSWORD, DOMAIN

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.ca = machine.ca

    @property
    def host(self) -> str:
        """The address it listens on."""
        return self.machine.plan.address

    @property
    def mapper_port(self) -> int:
        """Where the endpoint mapper listens."""
        return self.machine.mapper_port

    @property
    def port(self) -> int:
        """Where ICertPassage listens."""
        return self.machine.port

    @property
    def name(self) -> str:
        """The CA's common name."""
        return self.ca.name

    @property
    def roots(self) -> bytes:
        """Its certificates in PEM; they are self-signed."""
        return self.ca.roots

    def roots_file(self, folder: Path) -> Path:
        """Write its certificates into a folder."""
        file = folder / f"{self.name}.pem"
        file.write_bytes(self.roots)
        return file

    @property
    def issued(self) -> list[bytes]:
        """Every certificate (DER) that it ever signed."""
        return self.ca.issued

    @property
    def requests(self) -> list[Request]:
        """Every request that it ever got, oldest first."""
        return self.ca.requests

    @property
    def revoked(self) -> dict[str, int]:
        """Reasons by serial number in lower-case hex."""
        return self.ca.revoked

    def behaves(self, template: str, behaviour: Behaviour) -> None:
        """Tell what becomes of requests for a template from now on."""
        self.ca.behaves(template, behaviour)

    def once(self, *behaviours: Behaviour) -> None:
        """Tell what becomes of the next requests, whatever their template."""
        self.ca.once(*behaviours)

    def approve(self, number: int) -> None:
        """Approve a pending request, as an officer does."""
        assert self.ca.approve(number) == 3

    def deny(self, number: int) -> None:
        """Deny a pending request, as an officer does."""
        assert self.ca.deny(number) == 0

    def down(self, how: Down = "refused") -> None:
        """Be unavailable until `up`: off the network, or with its service stopped."""
        self.machine.down(how)

    def up(self) -> None:
        """Be there again, on the same ports."""
        self.machine.up()

    def drop(self) -> None:
        """Cut every connection there is."""
        self.machine.drop()

    def has(self, count: int, state: str = "issued", seconds: float = 10) -> None:
        """Wait until so many requests are in a state."""

        def so() -> bool:
            return sum(one.state == state for one in self.requests) >= count

        assert self.ca.database.wait_for(so, seconds), self.requests


@contextmanager
def a_ca(
    plan: Plan | None = None,
    *,
    clock: Clock | None = None,
    templates: dict[str, Behaviour] | None = None,
    name: str | UnsetType = UNSET,
    **settings: object,
) -> Iterator[LabCa]:
    """Run a CA. `templates` are behaviours by name; what else can be told is in `Plan`."""
    plan = plan or Plan()
    if templates is not None:
        made = tuple(Template(name=one, behaviour=how) for one, how in templates.items())
        plan = msgspec.structs.replace(plan, templates=made)
    if name is not UNSET:
        plan = msgspec.structs.replace(plan, name=name)
    plan = msgspec.structs.replace(plan, **settings)
    with Machine(plan, clock) as machine:
        yield LabCa(machine)


__all__ = ["LabCa", "Plan", "Template", "a_ca", "issues"]
