"""A simulated enterprise CA, as a process of its own that outlives the server under test."""

import base64
import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from tools.adcs_sim.behaviour import Behaviour
from tools.adcs_sim.control import (
    Away,
    Back,
    Behave,
    Command,
    Description,
    Drop,
    Forget,
    Issued,
    Once,
    Requests,
    Revoked,
    Stop,
    ask,
)
from tools.crashlab.server import ROOT, environment

TEMPLATE = "WebServer"
PASSWORD = "Secret.123"  # noqa: S105 - the simulator tells it to everybody
END_SECONDS = 10.0
AUTHORITY = """\
  - name: corp
    type: adcs
    configuration:
      ca-name: '{ca.host}\\{ca.name}'
      certificate-template: {template}
      address: {ca.address}
      endpoint-mapper-port: {ca.mapper_port}
      transport: tcp
      auth: ntlm
      domain: LAB
      user: svc-acme
      password-file: {folder}/password
      ca-certificates: {folder}/ca.pem
      connect-timeout: 5s
      default-timeout: 20s
      lost-answers: {lost_answers}
"""


class Said(msgspec.Struct):
    """What the simulator prints when it is there."""

    cas: list[Description]
    control: int


class Request(msgspec.Struct):
    """What is of interest in a row of the CA's database; `certificate` is DER in base64."""

    id: int
    attributes: dict[str, str]
    certificate: str = ""

    @property
    def order_id(self) -> str:
        """The order that it was for."""
        return self.attributes["certeasyorder"]

    @property
    def sha256(self) -> str:
        """Of its certificate; empty: there is none."""
        der = base64.b64decode(self.certificate)
        return hashlib.sha256(der).hexdigest() if der else ""


class Corp:
    """The CA, from its start to its end."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        words = ["--folder", str(folder / "ca"), "--template", TEMPLATE, "--control", "0", "--json"]
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "tools.adcs_sim", *words],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=environment(),
        )
        assert self._process.stdout is not None
        said = msgspec.json.decode(self._process.stdout.readline(), type=Said)
        self._ca, self._control = said.cas[0], said.control
        (folder / "ca.pem").write_text(self._ca.roots)
        password = folder / "password"
        password.touch(mode=0o600)
        password.write_text(PASSWORD)

    def section(self, lost_answers: str) -> str:
        """Return what stands in a configuration's list of authorities."""
        return AUTHORITY.format(
            ca=self._ca, template=TEMPLATE, folder=self._folder, lost_answers=lost_answers
        )

    def end(self) -> None:
        """End it."""
        if self._process.poll() is None:
            self._ask(Stop())
            self._process.wait(END_SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()

    # -- what it is told -------------------------------------------------------------------------

    def behaves(self, behaviour: Behaviour) -> None:
        """Tell what becomes of all requests from now on."""
        self._ask(Behave(template=TEMPLATE, behaviour=behaviour))

    def once(self, *behaviours: Behaviour) -> None:
        """Tell what becomes of the next requests."""
        self._ask(Once(behaviours=behaviours))

    def well(self) -> None:
        """Do nothing out of the ordinary from now on."""
        self.behaves(Behaviour())
        self._ask(Forget())

    def drop(self) -> None:
        """Cut every connection."""
        self._ask(Drop())

    def away(self) -> None:
        """Be off the network until `back`, with every connection cut."""
        self._ask(Away())
        self._ask(Drop())

    def back(self) -> None:
        """Be there again."""
        self._ask(Back())

    # -- what it knows ---------------------------------------------------------------------------

    def requests(self) -> list[Request]:
        """Return every request that it ever decided on."""
        return msgspec.convert(self._ask(Requests()), list[Request])

    def issued(self) -> set[str]:
        """Return the SHA-256 of every certificate that it ever signed."""
        encoded = msgspec.convert(self._ask(Issued()), list[str])
        return {hashlib.sha256(base64.b64decode(each)).hexdigest() for each in encoded}

    def revoked(self) -> set[str]:
        """Return the serial numbers that it revoked, in hex without leading zeros."""
        return {serial.lstrip("0") for serial in self._ask(Revoked())}

    def _ask(self, command: Command) -> Any:
        return ask(self._control, command)
