"""The demo's story, told while it happens: step, then the events that the step left in the log."""

import contextlib
import shlex
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509

from certeasy.audit import verifying
from certeasy.audit.verifying import Given
from certeasy.cli.demo_client import DemoClient, Interrupted, check
from certeasy.cli.demo_folder import ZONE, Folder
from certeasy.cli.demo_screen import Screen
from certeasy.cli.printing import program
from certeasy.clock import Clock
from certeasy.cluster.files import write_once
from certeasy.serve.node import Node
from certeasy.serve.stopping import LOOK_AROUND, StopRequest
from certeasy.store import DatabaseUnavailable, Store
from events.envelope import parse


class Story:
    """One demo. `certified` tells whether its certificate was obtained and the journal verified."""

    beginning = "A server starts, with a CA of its own (not for production)"

    def __init__(
        self,
        folder: Folder,
        name: str,
        screen: Screen,
        stop: StopRequest,
        *,
        after: int,
        clock: Clock,
    ) -> None:
        """`after` is the position that the log ended at before this demo."""
        self.certified = False
        self._folder = folder
        self._name = name
        self._screen = screen
        self._stop = stop
        self._clock = clock
        self._begun = clock.monotonic()
        self._position = after

    def begin(self) -> None:
        """Say where everything is, before the server is started."""
        folder = self._folder
        was = "where an earlier demo stopped" if folder.kept_from_before else "new"
        self._screen.say(f"Everything of this demo is in {folder.path} ({was}). It is kept.")
        url = folder.settings.server.url[0]
        self._screen.step(f"{self.beginning}: {url}")

    def tell(self, node: Node, *, once: bool) -> None:
        """Tell it with a server that serves, and ask for its end if `once`; else watch until asked.

        Raises ClientFailed where the client did not get its certificate, JournalBroken where the
        journal is not whole.
        """
        self._news(node.application.node.store)
        self._folder.publish_root()
        with contextlib.suppress(Interrupted):
            self._obtain(node)
            self._verify()
            self.certified = True
        if self.certified:
            self.explain()
        if once:
            self._stop.ask("the demo is over")
        elif self.certified:
            self._watch(node)

    # -- the steps -------------------------------------------------------------------------------

    def _obtain(self, node: Node) -> None:
        folder, screen = self._folder, self._screen
        client = DemoClient(
            folder.root_pem, folder.http_01_port, self._clock.now, self._stop.asked_within
        )
        with contextlib.closing(client):
            store = node.application.node.store
            self._step(store, "A client, the acme library, makes a key and an account")
            client.register(folder.directory_url)
            self._step(store, f"It orders a certificate for {self._name}")
            client.order(self._name)
            self._step(store, "It answers http-01, and the server looks")
            screen.say(f"  http://{self._name}:{folder.http_01_port}{client.challenge_path}", "dim")
            client.prove()
            self._step(store, "It sends its request, and the CA signs")
            chain = client.finalize()
            self._news(store)
            took = self._clock.monotonic() - self._begun
            root = folder.issuer_pem.read_bytes()
            leaf = check(chain, root, self._name, self._clock.now())
            path = self._keep(chain, client.key_pem)
            self.describe(leaf, path, took)

    def _step(self, store: Store, text: str) -> None:
        """Show what the last step left, and begin the next one."""
        self._news(store)
        if self._stop.asked_within(0):
            raise Interrupted
        self._screen.step(text)

    def _news(self, store: Store) -> None:
        """Show the events that are not shown yet."""
        records = [parse(line) for line in store.lines(self._position)]
        self._screen.events(records)
        self._position += len(records)

    def _keep(self, chain: bytes, key: bytes) -> Path:
        """Store a certificate with its key as a client does; return where the certificate is."""
        clients = self._folder.clients
        clients.mkdir(mode=0o700, exist_ok=True)
        files = {".key": key, ".pem": chain}
        for suffix, content in files.items():
            path = clients / f"{self._name}{suffix}"
            path.unlink(missing_ok=True)
            write_once(path, content)
        return clients / f"{self._name}.pem"

    def describe(self, leaf: x509.Certificate, path: Path, took: float) -> None:
        """Tell about the certificate that the client has."""
        screen = self._screen
        screen.say(
            f"  {took:.1f} s after the start the client has it, and trusts it by the CA's root:"
        )
        screen.found("certificate", str(path))
        screen.found("serial", f"{leaf.serial_number:x}")
        screen.found("valid until", f"{leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")

    def _verify(self) -> None:
        settings, screen = self._folder.settings, self._screen
        screen.step("The journal is verified, as `audit verify` does it")
        given = Given()
        given.add_node(settings.workdir, settings.audit.path, settings.database.path)
        summary = verifying.verify(given)
        screen.say(
            f"  {summary.lines} lines: chained without a gap, each signed by its node,"
            " each the same in the database"
        )
        screen.found("journal", str(settings.audit.path))
        screen.found("signed by", summary.anchor)

    # -- what now --------------------------------------------------------------------------------

    def explain(self) -> None:
        """Tell what can be done now."""
        folder, screen = self._folder, self._screen
        screen.step("What you can do with it")
        screen.found("directory", folder.directory_url)
        screen.found("CA root", str(folder.root_pem))
        screen.found("server's log", str(folder.log_file))
        screen.command("while the server runs, a certificate with certbot", certbot(folder))
        screen.command("and one with lego", lego(folder))
        config = shlex.quote(str(folder.config_file))
        screen.command("prove the journal", f"{program()} audit verify -f {config}")
        show = f"{program()} audit show name {self._name} -f {config}"
        screen.command("see who asked for the certificate, and why it was given", show)
        screen.command("start the server again, later", f"{program()} serve -f {config}")

    def _watch(self, node: Node) -> None:
        """Show events as they happen, until somebody asks for the end or the server has ended."""
        self._screen.say()
        self._screen.say("It serves until Ctrl-C. What happens meanwhile shows up here:", "bold")
        while not self._stop.asked_within(LOOK_AROUND) and node.alive():
            # What the database has to say about itself, the server's log says.
            with contextlib.suppress(DatabaseUnavailable):
                self._news(node.application.node.store)

    def end(self) -> None:
        """Say what is left, when the server has stopped."""
        self._screen.step("The server has stopped")
        with stored(self._folder) as store:
            self._news(store)
        self._screen.say(f"  {self._folder.path} is yours to go on with, or to delete.")


@contextlib.contextmanager
def stored(folder: Folder) -> Iterator[Store]:
    """Open the database while no server has it."""
    store = Store.sqlite(folder.settings.database.path)
    try:
        yield store
    finally:
        store.close()


def end_of_log(folder: Folder) -> int:
    """Return the position of the last event; 0 in a new folder."""
    if not folder.settings.database.path.exists():
        return 0
    with stored(folder) as store:
        return store.head().position


def certbot(folder: Folder) -> str:
    """Return a line for a shell that obtains a certificate with certbot, without privileges."""
    place = str(folder.clients / "certbot")
    words = ["certbot", "certonly", "--standalone", "--http-01-address", "127.0.0.1"]
    words += ["--http-01-port", str(folder.http_01_port), "--server", folder.directory_url]
    words += ["--agree-tos", "--register-unsafely-without-email", "--non-interactive"]
    words += ["--config-dir", place, "--work-dir", place, "--logs-dir", place]
    return _line("REQUESTS_CA_BUNDLE", folder, [*words, "--domain", f"certbot.{ZONE}"])


def lego(folder: Folder) -> str:
    """Return a line for a shell that obtains a certificate with lego, without privileges."""
    words = ["lego", "--server", folder.directory_url, "--accept-tos", "--email", f"you@{ZONE}"]
    words += ["--path", str(folder.clients / "lego")]
    words += ["--http", "--http.port", f"127.0.0.1:{folder.http_01_port}"]
    return _line("LEGO_CA_CERTIFICATES", folder, [*words, "--domains", f"lego.{ZONE}", "run"])


def _line(trust: str, folder: Folder, words: list[str]) -> str:
    return f"{trust}={shlex.quote(str(folder.root_pem))} {shlex.join(words)}"
