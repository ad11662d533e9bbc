"""A line to a simulator that runs as a process: one JSON document a line, and one in answer.

    {"do": "once", "behaviours": [{"cut": "after", "cut_at": 20}]}      ->  {"result": null}
    {"do": "requests", "ca": "LAB-CA"}                                  ->  {"result": [...]}
    {"do": "approve", "request": 99}                                    ->  {"error": "0x80094004"}

`ca` may be left out where there is one. It listens on loopback alone, and asks nobody who he is.
"""

import contextlib
import socket
from collections.abc import Sequence
from threading import Event, Thread
from typing import Any

import msgspec
from msgspec import Struct

from tools.adcs_sim.behaviour import Behaviour
from tools.adcs_sim.ca import ISSUED, Template
from tools.adcs_sim.machine import LOOPBACK, Down, Machine

MOST_LINE = 4 * 1024 * 1024


class _Command(Struct, frozen=True, forbid_unknown_fields=True, tag_field="do", tag=str.lower):
    """What can be asked for; the CA's name is empty where there is one."""

    ca: str = ""

    def on(self, machine: Machine) -> object:
        """Do it, and return what is asked for."""
        raise NotImplementedError


class Describe(_Command, frozen=True):
    """Return where the CA is, what it is called, and its certificates."""

    def on(self, machine: Machine) -> object:
        """Do it."""
        return describe(machine)


class Requests(_Command, frozen=True):
    """Return every request."""

    def on(self, machine: Machine) -> object:
        """Do it."""
        return machine.ca.requests


class Issued(_Command, frozen=True):
    """Return every certificate that was ever signed (DER in base64)."""

    def on(self, machine: Machine) -> object:
        """Do it."""
        return machine.ca.issued


class Revoked(_Command, frozen=True):
    """Return reasons by serial number."""

    def on(self, machine: Machine) -> object:
        """Do it."""
        return machine.ca.revoked


class Behave(_Command, frozen=True, kw_only=True):
    """Tell what becomes of requests for a template from now on."""

    template: str
    behaviour: Behaviour

    def on(self, machine: Machine) -> None:
        """Do it."""
        machine.ca.behaves(self.template, self.behaviour)


class Offer(_Command, frozen=True, kw_only=True):
    """Put a template in the place of the one of that name, or add it."""

    template: Template

    def on(self, machine: Machine) -> None:
        """Do it."""
        machine.ca.templates[self.template.name] = self.template


class Once(_Command, frozen=True, kw_only=True):
    """Tell what becomes of the next requests."""

    behaviours: tuple[Behaviour, ...]

    def on(self, machine: Machine) -> None:
        """Do it."""
        machine.ca.once(*self.behaviours)


class Forget(_Command, frozen=True):
    """Forget what was told of the next requests and calls."""

    def on(self, machine: Machine) -> None:
        """Do it."""
        machine.ca.forget()


class Meet(_Command, frozen=True, kw_only=True):
    """Tell what becomes of the next calls by officers."""

    behaviours: tuple[Behaviour, ...]

    def on(self, machine: Machine) -> None:
        """Do it."""
        machine.ca.officers_meet(*self.behaviours)


class Approve(_Command, frozen=True, kw_only=True):
    """Approve a pending request."""

    request: int

    def on(self, machine: Machine) -> None:
        """Do it."""
        _check(machine.ca.approve(self.request), ISSUED)


class Deny(_Command, frozen=True, kw_only=True):
    """Deny a pending request."""

    request: int

    def on(self, machine: Machine) -> None:
        """Do it."""
        _check(machine.ca.deny(self.request), 0)


class Renew(_Command, frozen=True):
    """Let the CA have a new key and certificate."""

    def on(self, machine: Machine) -> None:
        """Do it."""
        machine.ca.renew()


class Away(_Command, frozen=True):
    """Be unavailable."""

    how: Down = "refused"

    def on(self, machine: Machine) -> None:
        """Do it."""
        machine.down(self.how)


class Back(_Command, frozen=True):
    """Be there again."""

    def on(self, machine: Machine) -> None:
        """Do it."""
        machine.up()


class Drop(_Command, frozen=True):
    """Cut every connection."""

    def on(self, machine: Machine) -> None:
        """Do it."""
        machine.drop()


class Stop(_Command, frozen=True):
    """End the simulator."""


Command = (
    Describe
    | Requests
    | Issued
    | Revoked
    | Behave
    | Offer
    | Once
    | Forget
    | Meet
    | Approve
    | Deny
    | Renew
    | Away
    | Back
    | Drop
    | Stop
)
_COMMANDS = msgspec.json.Decoder(Command)


class Description(Struct, frozen=True):
    """A CA as it is found from outside."""

    name: str
    host: str
    address: str
    mapper_port: int
    port: int
    objects_port: int
    roots: str


class _Answer(Struct, frozen=True, omit_defaults=True):
    result: object = None
    error: str = ""


class ControlFailed(Exception):
    """A command was refused, or is none."""


class Control:
    """Listens for commands; `stopped` is set by `Stop`."""

    def __init__(self, machines: Sequence[Machine], port: int = 0) -> None:
        self.stopped = Event()
        self._machines = {one.ca.name: one for one in machines}
        self._socket = socket.create_server((LOOPBACK, port))
        self.port: int = self._socket.getsockname()[1]
        Thread(target=self._accept, daemon=True, name="adcs-sim-control").start()

    def close(self) -> None:
        """Stop listening."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def answer(self, line: bytes) -> bytes:
        """Do what a line says, and return the answer."""
        try:
            answer = _Answer(self._do(_COMMANDS.decode(line)))
        except (msgspec.DecodeError, ControlFailed, OSError) as error:
            answer = _Answer(error=str(error))
        return msgspec.json.encode(answer) + b"\n"

    def _accept(self) -> None:
        while True:
            try:
                connected, _ = self._socket.accept()
            except OSError:
                return
            Thread(target=self._serve, args=(connected,), daemon=True).start()

    def _serve(self, connected: socket.socket) -> None:
        with contextlib.suppress(OSError), connected, connected.makefile("rb") as lines:
            while (line := lines.readline(MOST_LINE)).endswith(b"\n"):
                connected.sendall(self.answer(line))

    def _do(self, command: Command) -> object:
        if isinstance(command, Stop):
            self.stopped.set()
            return None
        return command.on(self._machine(command.ca))

    def _machine(self, name: str) -> Machine:
        if not name and len(self._machines) == 1:
            return next(iter(self._machines.values()))
        if name not in self._machines:
            raise ControlFailed(f"which CA: {', '.join(self._machines)}")
        return self._machines[name]


def describe(machine: Machine) -> Description:
    """Return where a CA is."""
    return Description(
        machine.ca.name,
        machine.plan.host,
        machine.plan.address,
        machine.mapper_port,
        machine.port,
        machine.objects_port,
        machine.ca.roots.decode(),
    )


def ask(port: int, command: Command, timeout: float = 30) -> Any:
    """Have a command done and return its result. Raises ControlFailed or OSError."""
    with socket.create_connection((LOOPBACK, port), timeout) as line:
        line.sendall(msgspec.json.encode(command) + b"\n")
        with line.makefile("rb") as lines:
            answer = msgspec.json.decode(lines.readline(), type=_Answer)
    if answer.error:
        raise ControlFailed(answer.error)
    return answer.result


def _check(code: int, right: int) -> None:
    if code != right:
        raise ControlFailed(f"0x{code:08x}")
