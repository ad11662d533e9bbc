"""`make demo-adcs`: the demo, with a simulated Windows CA in the place of the server's own.

The server is the one that `serve` runs, with `type: adcs` in its config.yml: it enrols over RPC, by
NTLM. The CA runs in this process and keeps what it issued in the demo's folder; a second demo there
goes on with it. The server's own certificate comes from a CA inside it, as in `certeasy demo`.
"""

import shlex
import sys
from pathlib import Path

import click
import msgspec
from cryptography import x509

from certeasy import config
from certeasy.cli import demo, demo_folder
from certeasy.cli.demo_folder import HOST, ZONE, DemoFailed, Folder
from certeasy.cli.demo_story import Story
from certeasy.clock import SystemClock
from certeasy.cluster.files import write_once
from certeasy.ids import RandomIds
from certeasy.serve.node import Node
from certeasy.settings.adcs import AdcsSettings
from events.certificates import CertificateIssued
from events.envelope import parse
from events.registry import decode_data
from tools.adcs_sim.database import Request
from tools.adcs_sim.machine import Machine, Plan

AUTHORITY = "windows-ca"
PLAN = Plan(name="Simulated Enterprise CA", host=f"ca1.{ZONE}", domain="DEMO")
USER, SECRET = next(iter(PLAN.accounts.items()))
_ANCHOR = "\nissuance-policies:\n"
_AUTHORITY = """
  # The simulated Windows CA, which runs only as long as the demo does.
  - name: {name}
    type: adcs
    configuration:
      # How certutil writes it: the machine, and the CA's common name.
      ca-name: '{host}\\{ca}'
      # There is no DNS for that machine, and its ports are not Windows' own.
      address: {address}
      endpoint-mapper-port: {mapper_port}
      certificate-template: WebServer
      auth: ntlm
      domain: {zone}
      user: {user}
      password-file: {password_file}
      # What its certificates are verified under.
      ca-certificates: {ca_certificates}

policy-bindings:
  - policy: demo
    authorities: [{name}]
"""


class AdcsFolder(Folder, frozen=True):
    """The demo's folder, and what a CA of Windows needs in it."""

    @property
    def issuer_pem(self) -> Path:
        """The CA's certificate, which it lays there as a domain would publish it."""
        return self.path / "windows-ca.pem"

    @property
    def plan(self) -> Plan:
        """How the CA is set up here; its port is the one that config.yml says, if it does."""
        found = [one for one in self.settings.authorities if one.name == AUTHORITY]
        port = 0
        if found and isinstance(found[0].configuration, AdcsSettings):
            port = found[0].configuration.endpoint_mapper_port
        folder = self.path / "windows-ca"
        return msgspec.structs.replace(PLAN, mapper_port=port, folder=folder)


class AdcsStory(Story):
    """The story of a certificate from Windows."""

    beginning = "A server starts, with a Windows CA behind it (a simulated one)"

    def __init__(self, machine: Machine, *arguments: object, **more: object) -> None:
        super().__init__(*arguments, **more)  # type: ignore[arg-type]
        self._machine = machine
        self._node: Node | None = None

    def tell(self, node: Node, *, once: bool) -> None:
        """Tell it with a server that serves."""
        self._node = node
        super().tell(node, once=once)

    def describe(self, leaf: x509.Certificate, path: Path, took: float) -> None:
        """Tell about the certificate, and what both sides have in their records about it."""
        super().describe(leaf, path, took)
        assert self._node
        lines = [parse(line) for line in self._node.application.node.store.lines(0)]
        facts = [
            decode_data(line.envelope.type, line.envelope.schema, bytes(line.envelope.data))
            for line in lines
            if line.envelope.type == "certificate.issued"
        ]
        issued = facts[-1]
        assert isinstance(issued, CertificateIssued)
        row = self._machine.ca.database.get(int(issued.request_id.rpartition("/")[2] or 0))
        screen = self._screen
        screen.found("its CA", str(self._folder.issuer_pem))
        screen.say("  The event certificate.issued names the CA's own number of the request:")
        screen.found("request", f"{issued.request_id} at {issued.authority}")
        if row:
            screen.say("  and in that row of its database the CA has:")
            for what, value in told(row):
                screen.found(what, value)

    def explain(self) -> None:
        """Tell what can be done now."""
        super().explain()
        plan = self._machine.plan
        words = ["--name", plan.name, "--host", plan.host, "--domain", plan.domain]
        words += ["--folder", str(plan.folder), "--mapper-port", str(self._machine.mapper_port)]
        line = shlex.join([sys.executable, "-m", "tools.adcs_sim", *words])
        self._screen.command("for which the CA has to run as well, from this checkout", line)


def told(row: Request) -> list[tuple[str, str]]:
    """Return what an administrator of the CA sees of a request."""
    seen = [("requester", row.requester), ("template", row.template), ("state", row.state)]
    return seen + [("attribute", f"{name}: {value}") for name, value in row.attributes.items()]


@click.command(epilog="Example: python -m tools.adcs_sim.demo --workdir ./demo --once")
@click.option(
    "--workdir",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="A new or empty folder, or that of an earlier demo.  [default: a temporary one]",
)
@click.option("--once", is_flag=True, help="End when the certificate is there.")
@click.option(
    "--listen",
    metavar="ADDRESS:PORT",
    callback=demo.as_listen,
    help="Where the server listens, on loopback.",
)
@click.option("--name", default=f"web.{ZONE}", show_default=True, callback=demo.as_name)
def main(workdir: Path | None, once: bool, listen: str | None, name: str) -> None:
    """Obtain a certificate from a simulated Windows CA through a real server, then go on serving.

    Exit codes: 0 after Ctrl-C, or with --once when the certificate is there; 1 where something
    failed; 2 for a wrong command line.
    """
    running: list[Machine] = []

    def prepare() -> Folder:
        folder, machine = begin(workdir, listen)
        running.append(machine)
        return folder

    def tell(*arguments: object, **more: object) -> Story:
        return AdcsStory(running[0], *arguments, **more)

    try:
        demo.show(prepare, name, once=once, tell=tell)
    finally:
        for machine in running:
            machine.close()


def begin(workdir: Path | None, listen: str | None) -> tuple[AdcsFolder, Machine]:
    """Make or find the folder, and start the CA. Raises DemoFailed."""
    clock = SystemClock()
    made = demo_folder.prepare(workdir, listen, RandomIds(clock))
    folder = AdcsFolder(made.path, made.settings, made.kept_from_before)
    if made.kept_from_before and not folder.plan.mapper_port:
        raise DemoFailed(
            f"{made.config_file} has no {AUTHORITY}: 'certeasy demo' goes on with it, or name"
            " another --workdir"
        )
    try:
        machine = Machine(folder.plan, clock)
    except OSError as error:
        raise DemoFailed(f"the simulated CA could not begin: {error}") from None
    folder.issuer_pem.write_bytes(machine.ca.roots)
    if not made.kept_from_before:
        try:
            folder = _with_authority(folder, machine)
        except config.ConfigurationError as error:
            machine.close()
            raise DemoFailed(str(error.mistakes[0])) from None
    return folder, machine


def _with_authority(folder: AdcsFolder, machine: Machine) -> AdcsFolder:
    """Write the CA into config.yml."""
    password_file = folder.path / "svc-acme.password"
    write_once(password_file, SECRET.encode())
    text = folder.config_file.read_text()
    assert _ANCHOR in text
    authority = _AUTHORITY.format(
        name=AUTHORITY,
        host=PLAN.host,
        ca=PLAN.name,
        address=HOST,
        mapper_port=machine.mapper_port,
        zone=ZONE,
        user=USER,
        password_file=_quoted(password_file),
        ca_certificates=_quoted(folder.issuer_pem),
    )
    folder.config_file.write_text(text.replace(_ANCHOR, authority + _ANCHOR))
    settings = config.load(folder.config_file)
    return AdcsFolder(folder.path, settings, kept_from_before=False)


def _quoted(path: Path) -> str:
    return msgspec.json.encode(str(path)).decode()


if __name__ == "__main__":
    main()
