"""The server under test: `certeasy serve` as an administrator starts it, in a folder of its own."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from tools.crashlab.ports import LOOPBACK, free_ports
from tools.crashlab.trouble import NotHeld
from tools.generous import TEXT

ROOT = Path(__file__).resolve().parents[2]
ZONE = "lab.test"
AUTHORITY = "lab-ca"
START_SECONDS = 90.0
STOP_SECONDS = 90.0
COMMAND_SECONDS = 300.0
POLL = 0.02
READY = 200
CONFIG = """\
workdir: {workdir}
server:
  url: ["https://127.0.0.1:{front_port}"]
  listen: 127.0.0.1:{port}
  threads: {threads}
admin:
  listen: 127.0.0.1:{admin_port}
database: {database}
secrets:
  key-file: {key_file}
audit:
  path: {journal}
  min-free-bytes: {min_free_bytes}
{limits}logs:
  format: text
tls-certificate-manager:
  bundles:
    - name: own
      hosts: ["127.0.0.1"]
      mode: pki
      authority: {authority}
dns-validation-profiles:
  - name: lab
    http-01-port: {http_port}
    resolved-ip-policy:
      allow-cidrs: ["127.0.0.0/8"]
    zones:
      - suffixes: ["{zone}"]
        hosts: {{"*.{zone}": 127.0.0.1}}
authorities:
  - name: {authority}
    type: embedded
{others}issuance-policies:
  - name: lab
    dns-validation-profile: lab
    dns:
      allow: [".{zone}/3"]
policy-bindings:
  - policy: lab
    authorities: [{issuer}]
"""


class Readiness(msgspec.Struct):
    """What /readyz says."""

    status: str
    checks: dict[str, str] = {}

    def __str__(self) -> str:
        """Say what is not well."""
        said = [f"{name}: {text}" for name, text in self.checks.items() if text != "ok"]
        return "; ".join(said) or self.status


READINESS = msgspec.json.Decoder(Readiness)


class Server:
    """One workdir, and at most one process at work in it."""

    def __init__(
        self,
        folder: Path,
        *,
        journal: Path | None = None,
        database: Path | str | None = None,
        beside: "Server | None" = None,
        at_once: bool = False,
        front_port: int = 0,
        min_free_bytes: int = 1 << 20,
        issuer: tuple[str, str] = (AUTHORITY, ""),
        threads: int = 32,
        limits: str = TEXT,
    ) -> None:
        """Write the configuration.

        `journal` and `database` may lie outside of the workdir; a text is the address of a
        PostgreSQL database. A server `beside` another is a second node of its installation, that
        takes its address when its turn comes, or has one of its own to run `at_once`.
        Clients come to `front_port`, if something stands in front. `issuer` is the name of another
        authority that serves the orders, and what stands in the configuration about it; `threads`
        answer clients, who are held to `limits`.
        """
        self.folder = folder
        self.workdir = folder / "work"
        self.journal = journal or self.workdir / "audit.log"
        shared: Path | str | None = beside.database if beside else None
        self.database: Path | str = database or shared or self.workdir / "db.sqlite"
        self.key_file: Path = beside.key_file if beside else self.workdir / "secret.key"
        others: list[Path] = beside.journals if beside else []
        self.journals: list[Path] = [*others, self.journal]
        self.config = folder / "config.yml"
        self.log = folder / "server.log"
        same = beside is not None and not at_once
        self.ports: tuple[int, int, int] = beside.ports if beside and same else free_ports()
        self.port, self.admin_port, self.http_port = self.ports
        self.front_port = front_port or self.port
        self.directory = f"https://{LOOPBACK}:{self.front_port}/acme/directory"
        self.root = self.workdir / f"{AUTHORITY}.root.pem"
        self.process: subprocess.Popen[bytes] | None = None
        self.workdir.mkdir(parents=True)
        self._min_free_bytes = min_free_bytes
        self._issuer, self._others = issuer
        self._threads = threads
        self._limits = limits
        self.configure()

    def configure(self) -> None:
        """Write config.yml as things are now."""
        text = CONFIG.format(
            workdir=self.workdir,
            limits=self._limits,
            journal=self.journal,
            database=_section(self.database),
            key_file=self.key_file,
            min_free_bytes=self._min_free_bytes,
            port=self.port,
            threads=self._threads,
            front_port=self.front_port,
            admin_port=self.admin_port,
            http_port=self.http_port,
            zone=ZONE,
            authority=AUTHORITY,
            others=self._others,
            issuer=self._issuer,
        )
        self.config.write_text(text)

    # -- the process -----------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """The process's id. Raises NotHeld if none was started."""
        if self.process is None:
            raise NotHeld("no server was started")
        return self.process.pid

    def start(self, *under: str) -> None:
        """Start the process, perhaps `under` another program; it is not ready yet."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own program
                [*under, sys.executable, "-m", "certeasy", "serve", "-f", self.config],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(),
            )

    def readiness(self) -> tuple[bool, str]:
        """Return whether /readyz is green, and what it says. Raises OSError if nobody answers."""
        connection = http.client.HTTPConnection(LOOPBACK, self.admin_port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            said = READINESS.decode(answer.read())
        except http.client.HTTPException as error:
            raise ConnectionAbortedError(str(error)) from error
        finally:
            connection.close()
        return answer.status == READY, str(said)

    def wait_ready(self, seconds: float = START_SECONDS) -> float:
        """Wait until clients are served; return after how many seconds. Raises NotHeld."""
        begun = time.monotonic()
        said = "nobody answers"
        while time.monotonic() - begun < seconds:
            self.check_alive()
            try:
                ready, said = self.readiness()
            except OSError:
                ready = False
            if ready and is_listening(self.port):
                return time.monotonic() - begun
            time.sleep(POLL)
        raise NotHeld(f"not ready after {seconds:.0f} s: {said}; see {self.log}")

    def wait_red(self, seconds: float) -> str:
        """Wait until /readyz is red; return what it says. Raises NotHeld."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            self.check_alive()
            ready, said = self.readiness()
            if not ready:
                return said
            time.sleep(POLL)
        raise NotHeld(f"/readyz is still green after {seconds:.0f} s of the fault")

    def check_alive(self) -> None:
        """Raise NotHeld if the process has ended by itself."""
        code = None if self.process is None else self.process.poll()
        if code is not None:
            raise NotHeld(f"the server ended with {code}: {self.last_words()}")

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End the process as a power switch would: SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def wait_end(self, seconds: float) -> str:
        """Wait until the process ends by itself with 1; return its last words. Raises NotHeld."""
        assert self.process is not None
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise NotHeld(f"the server does not end by itself in {seconds:.0f} s") from None
        self.process = None
        if code != 1:
            raise NotHeld(f"the server ended by itself with {code}: {self.last_words()}")
        return self.last_words()

    def stop(self) -> None:
        """Ask for an orderly end. Raises NotHeld if it is none."""
        if self.process is None:
            return
        self.check_alive()
        self.process.terminate()
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise NotHeld(f"the server does not stop in {STOP_SECONDS:.0f} s") from None
        self.process = None
        if code != 0:
            raise NotHeld(f"after SIGTERM the server ended with {code}: {self.last_words()}")

    def refused(self, seconds: float = START_SECONDS) -> str:
        """Start the process where it must refuse to run; return its last words. Raises NotHeld."""
        before = self.log.stat().st_size if self.log.exists() else 0
        self.start()
        assert self.process is not None
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise NotHeld("the server runs where it must refuse to") from None
        self.process = None
        words = self.log.read_bytes()[before:].decode("utf-8", "replace").strip()
        if code != 1 or "Traceback" in words:
            raise NotHeld(f"a start that must be refused in words ended with {code}: {words}")
        return words.rpartition("\n")[2]

    # -- what it says ----------------------------------------------------------------------------

    def command(self, *words: str) -> tuple[int, str]:
        """Run `certeasy WORDS -f config.yml`; return exit code and output."""
        done = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-m", "certeasy", *words, "-f", self.config],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_SECONDS,
            env=environment(),
            check=False,
        )
        return done.returncode, done.stdout.strip()

    def check_command(self, *words: str) -> str:
        """Run `certeasy WORDS -f config.yml`, return its output; NotHeld unless it exits 0."""
        code, output = self.command(*words)
        if code != 0:
            raise NotHeld(f"certeasy {' '.join(words)} ended with {code}: {output}")
        return output

    def last_words(self) -> str:
        """Return the end of the log."""
        lines = self.log.read_text("utf-8", "replace").splitlines()
        return " | ".join(lines[-3:])

    def surprises(self) -> list[str]:
        """Return what the log tells of exceptions that nobody thought of."""
        lines = self.log.read_text("utf-8", "replace").splitlines()
        return [f"{self.log}:{n}: {line}" for n, line in enumerate(lines, 1) if "Traceback" in line]


def _section(database: Path | str) -> str:
    """Return the section `database` of a configuration."""
    if isinstance(database, Path):
        return f"{{path: {database}}}"
    return f"{{driver: postgres, dsn: '{database}'}}"


def environment() -> dict[str, str]:
    """Return what our processes need of the environment: nothing that changes them."""
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "HOME": "/nonexistent"}


def is_listening(port: int) -> bool:
    """Tell whether somebody accepts connections on a port of 127.0.0.1."""

    try:
        socket.create_connection((LOOPBACK, port), timeout=5).close()
    except OSError:
        return False
    return True
