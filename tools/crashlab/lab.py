"""A server, its clients, and the question whether everything has held."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from certeasy.store.errors import is_from_database
from tools.acmeload.client import TROUBLE
from tools.acmeload.https import Connection
from tools.crashlab import evidence
from tools.crashlab.crew import Crew, crew
from tools.crashlab.ledger import ISSUED, ORDER, Fact, Ledger
from tools.crashlab.ports import LOOPBACK
from tools.crashlab.server import Server
from tools.crashlab.trouble import NotHeld

SHOWN = 5
LOOK = 0.02
REPLAY_TIMEOUT = 20.0


class Lab:
    """What an experiment works with."""

    def __init__(self, server: Server, clients: Crew, ledger: Ledger) -> None:
        self.server = server
        self.crew = clients
        self.ledger = ledger
        self._level: frozenset[Fact] = frozenset()

    def restart(self) -> float:
        """Start the server after its end; return how many seconds it took. Raises NotHeld.

        Once it is ready, all that clients knew before must be in its journal too.
        """
        before = self.ledger.known().all
        self.server.start()
        seconds = self.server.wait_ready()
        self._level = before
        return seconds

    def recover(self, seconds: float) -> float:
        """Wait until the server is well again by itself; return how long. Raises NotHeld."""
        before = self.ledger.known().all
        took = self.server.wait_ready(seconds)
        self._level = before
        return took

    def work(self, seconds: float) -> None:
        """Let the clients work for a while."""
        self.crew.begin()
        time.sleep(seconds)

    def work_until(self, done: Callable[[], bool], seconds: float, what: str) -> None:
        """Let the clients work until something is so. Raises NotHeld if it takes too long."""
        self.crew.begin()
        ends = time.monotonic() + seconds
        while not done():
            if time.monotonic() > ends:
                raise NotHeld(f"{what}: not in {seconds:.0f} s")
            self.server.check_alive()
            time.sleep(LOOK)

    def issue(self, certificates: int, seconds: float = 180.0) -> None:
        """Let the clients work until they have so many certificates more. Raises NotHeld."""
        goal = self.ledger.counts[ISSUED] + certificates
        self.work_until(
            lambda: self.ledger.counts[ISSUED] >= goal, seconds, f"{certificates} certificates"
        )

    def look(
        self, *, at_rest: bool = False, gone: tuple[str, frozenset[Fact]] | None = None
    ) -> evidence.Kept:
        """Hold journal and database against what clients know. Raises NotHeld.

        `gone`: the id of a node that was killed and has not started again, and what was promised
        when it was. Others have gone on behind what it stored last.
        """
        known = self.ledger.known()
        try:
            kept = evidence.read(self.server.journals, self.server.database)
        except OSError as error:
            raise NotHeld(f"journal or database cannot be read: {error}") from error
        except Exception as error:
            if not is_from_database(error):
                raise
            raise NotHeld(f"journal or database cannot be read: {error}") from error
        if gone is not None:
            kept = evidence.mended(kept, *gone)
        if found := evidence.contradictions(known, kept, level=self._level, at_rest=at_rest):
            more = f" (and {len(found) - SHOWN} more)" if len(found) > SHOWN else ""
            raise NotHeld("; ".join(found[:SHOWN]) + more)
        return kept

    def verify(self) -> None:
        """Have the server's own commands look. Raises NotHeld."""
        given = [f"--journal={path}" for path in self.server.journals if path.exists()]
        self.server.check_command("audit", "verify", *given)
        self.server.check_command("projections", "check")

    def replay(self) -> None:
        """Send a request that was answered once more: it must change nothing. Raises NotHeld."""
        request = self.ledger.replayable
        if request is None:
            return
        before = self.ledger.counts[ORDER]
        connection = Connection(LOOPBACK, self.server.port, self.crew.context, REPLAY_TIMEOUT)
        try:
            reply = connection.ask("POST", urlsplit(request.url).path, request.body)
        except OSError as error:
            raise NotHeld(f"a replayed newOrder got no answer: {error}") from error
        finally:
            connection.close()
        kind = TROUBLE.decode(reply.body).kind if reply.status >= 400 else "accepted"  # noqa: PLR2004 - HTTP
        if kind != "badNonce":
            raise NotHeld(
                f"a replayed newOrder was answered {reply.status} {kind} ({before} known)"
            )

    def settle(self) -> evidence.Kept:
        """Let the clients finish, stop the server, look at everything again. Raises NotHeld."""
        self.crew.rest()
        self.look(at_rest=True)
        self.verify()
        self.server.stop()
        self.verify()
        kept = self.look(at_rest=True)
        if lost := self.ledger.lost:
            raise NotHeld(f"{len(lost)} orders were lost: {'; '.join(lost[:SHOWN])}")
        if surprises := self.server.surprises():
            raise NotHeld(f"{len(surprises)} surprises in the server's log: {surprises[0]}")
        return kept


@contextmanager
def lab(server: Server, clients: int, seed: str) -> Iterator[Lab]:
    """Start a server for the first time, and its clients; end both, whatever happens."""
    ledger = Ledger()
    try:
        server.start()
        server.wait_ready()
        with crew(server, ledger, clients, seed) as all_clients:
            try:
                yield Lab(server, all_clients, ledger)
            finally:
                server.kill()  # so that no client waits for an answer
    finally:
        server.kill()
