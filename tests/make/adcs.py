"""A CA for a test: the simulator, in threads of this process.

    with a_ca(issues=("WebServer",)) as ca:
        ca.host, ca.mapper_port, ca.port     # where it is
        ca.name, ca.user, ca.password        # what to tell the connector
        ca.roots, ca.roots_file(folder)      # PEM of its certificates
        ca.once(cuts(at=20))                 # what becomes of the next request
        ca.behaves("WebServer", pends())     # of all requests for a template
        ca.issued, ca.requests, ca.revoked   # what it knows

Behaviours are told in `tools.adcs_sim.behaviour`. `a_ca_process(folder)` is the same in a process
of its own, which can be killed and comes back with all that it issued.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import UNSET, UnsetType

from certeasy.clock import Clock
from tools.adcs_sim import control
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


class CaProcess:
    """A CA in a process of its own, with the names that `LabCa` has."""

    user, password, domain = USER, PASSWORD, DOMAIN

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._folder = folder
        self._arguments = arguments
        self._ports: tuple[str, ...] = ()
        self.start()

    def start(self) -> None:
        """Run it, on the ports that it had before."""
        command = [sys.executable, "-m", "tools.adcs_sim", "--json", "--control", "0"]
        command += ["--folder", str(self._folder), *self._arguments, *self._ports]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.process.stdout
        told = msgspec.json.decode(self.process.stdout.readline())
        (self._found,) = msgspec.convert(told["cas"], list[control.Description])
        self._control: int = told["control"]
        found = self._found
        self._ports = ("--mapper-port", str(found.mapper_port), "--port", str(found.port))
        self._ports += ("--objects-port", str(found.objects_port))

    def kill(self) -> None:
        """End it at once, whatever it does."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()

    @property
    def host(self) -> str:
        """The address it listens on."""
        return self._found.address

    @property
    def mapper_port(self) -> int:
        """Where the endpoint mapper listens."""
        return self._found.mapper_port

    @property
    def port(self) -> int:
        """Where ICertPassage listens."""
        return self._found.port

    @property
    def name(self) -> str:
        """The CA's common name."""
        return self._found.name

    @property
    def roots(self) -> bytes:
        """Its certificates in PEM."""
        return msgspec.convert(self.ask(control.Describe()), control.Description).roots.encode()

    @property
    def issued(self) -> list[bytes]:
        """Every certificate (DER) that it ever signed."""
        return msgspec.convert(self.ask(control.Issued()), list[bytes])

    @property
    def requests(self) -> list[Request]:
        """Every request that it ever got, oldest first."""
        return msgspec.convert(self.ask(control.Requests()), list[Request])

    @property
    def revoked(self) -> dict[str, int]:
        """Reasons by serial number in lower-case hex."""
        return msgspec.convert(self.ask(control.Revoked()), dict[str, int])

    def behaves(self, template: str, behaviour: Behaviour) -> None:
        """Tell what becomes of requests for a template from now on."""
        self.ask(control.Behave(template=template, behaviour=behaviour))

    def once(self, *behaviours: Behaviour) -> None:
        """Tell what becomes of the next requests, whatever their template."""
        self.ask(control.Once(behaviours=behaviours))

    def approve(self, number: int) -> None:
        """Approve a pending request, as an officer does."""
        self.ask(control.Approve(request=number))

    def deny(self, number: int) -> None:
        """Deny a pending request, as an officer does."""
        self.ask(control.Deny(request=number))

    def ask(self, command: control.Command) -> object:
        """Have a command done."""
        return control.ask(self._control, command)


@contextmanager
def a_ca_process(folder: Path, *arguments: str) -> Iterator[CaProcess]:
    """Run a CA as `python -m tools.adcs_sim` does; `arguments` are its own."""
    process = CaProcess(folder, *arguments)
    try:
        yield process
    finally:
        process.kill()


__all__ = ["CaProcess", "LabCa", "Plan", "Template", "a_ca", "a_ca_process", "issues"]


def authority_entry(ca: LabCa | CaProcess, folder: Path, **more: object) -> str:
    """Return the entry of config.yml's authorities, named lab-ca, for a CA of these."""
    password = folder / f"{ca.name}.password"
    password.write_text(ca.password)
    password.chmod(0o600)
    roots = folder / f"{ca.name}.pem"
    roots.write_bytes(ca.roots)
    keys = {
        "ca-name": ca.name,
        "certificate-template": "WebServer",
        "host": "ca1.lab.test",
        "address": ca.host,
        "endpoint-mapper-port": ca.mapper_port,
        "transport": "tcp",
        "auth": "ntlm",
        "domain": ca.domain,
        "user": ca.user,
        "password-file": password,
        "ca-certificates": roots,
        **{name.replace("_", "-"): value for name, value in more.items()},
    }
    lines = [f"      {name}: {value}" for name, value in keys.items()]
    return "\n".join(["  - name: lab-ca", "    type: adcs", "    configuration:", *lines])
