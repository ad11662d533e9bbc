"""Orders through `certeasy serve` to a slow CA of a domain, and others' requests meanwhile: JSON.

    python -m tools.adcsload --clients 32 --orders 400 --ca-ms 300

Three parties on loopback, each in processes of its own: the server as an administrator starts it; a
simulated CA, asked by NTLM over TCP, that takes so long for each request; and the clients of
`tools.acmeload`, each with an account of its own, that order one certificate after another by
http-01.

Clients ask for what became of an order `--first-poll-ms` after the first time, then after twice as
long, and so on: with an interval much shorter than what the CA takes, it is their polling that is
measured. A finalize is held by one in four of the server's `--threads`. Where there are as many
clients as workers, the workers wait for them: take twice as many.

`others` are one more client that orders nothing in earnest: it asks for the directory, for nonces,
for new orders, and looks at these, thirty times a second, while the load lasts; milliseconds until
the answer. Its requests are part of `server.cpu_ms_per_certificate`. `machine.load` is the load
average before and after: on a machine that others use as well, times say more about them.
"""

import multiprocessing
import multiprocessing.connection
import os
import ssl
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import click
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from tools.acmeload.client import Client
from tools.acmeload.https import Connection, Reply
from tools.acmeload.report import latencies, report
from tools.acmeload.run import Plan, run
from tools.adcs_sim.behaviour import issues
from tools.crashlab.corp import Corp
from tools.crashlab.server import ZONE, Server

PAUSE = 1 / 30
Times = dict[str, list[float]]
MANY = click.IntRange(min=1)


class TimedConnection(Connection):
    """A connection that keeps how long each answer took, by what was asked for."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext) -> None:
        super().__init__(host, port, context, timeout=60)
        self.kind = ""
        self.times: Times = {}

    def ask(self, method: str, target: str, body: bytes = b"") -> Reply:
        """Send a request and return its answer."""
        begun = time.monotonic()
        reply = super().ask(method, target, body)
        if self.kind:
            self.times.setdefault(self.kind, []).append(time.monotonic() - begun)
        return reply


class Other(Client):
    """A client that wants nothing but answers."""

    def __init__(self, directory: str, root: str) -> None:
        where = urlsplit(directory)
        context = ssl.create_default_context(cafile=root)
        self.line = TimedConnection(where.hostname or "", where.port or 443, context)
        key = ec.generate_private_key(ec.SECP256R1())
        super().__init__(self.line, (key, key), first_poll=1)
        self._at = where.path
        self.register(directory)

    def round(self, number: int) -> None:
        """Ask for everything once."""
        identifiers = [{"type": "dns", "value": f"other-{number}.{ZONE}"}]
        self._next("directory")
        self.line.ask("GET", self._at)
        self._next("newNonce")
        self.line.ask("HEAD", urlsplit(self._directory.new_nonce).path)
        self._next("newOrder")
        reply = self._post("newOrder", self._directory.new_order, {"identifiers": identifiers})
        self._next("order")
        self._post("order", reply.headers["location"], None)

    def _next(self, kind: str) -> None:
        time.sleep(PAUSE)
        self.line.kind = kind


def _others(directory: str, root: str, pipe: multiprocessing.connection.Connection) -> None:
    """One process: ask until told to end, and tell how long it took."""
    other, number = Other(directory, root), 0
    pipe.send(None)
    pipe.recv()
    while not pipe.poll():
        other.round(number)
        number += 1
    pipe.send(other.line.times)


def measure(plan: Plan, server: Server) -> dict[str, object]:
    """Carry the plan out, with somebody else asking meanwhile; return the figures."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=_others, args=(server.directory, str(server.root), there))
    process.start()
    try:
        here.recv()
        before = os.getloadavg()[0]
        here.send("begin")
        done = report(*run(plan))
        here.send("end")
        times: Times = here.recv()
    finally:
        process.join(5)
        process.kill()
    load = [round(before, 1), round(os.getloadavg()[0], 1)]
    asked = sorted(each for some in times.values() for each in some)
    return done | {
        "others_ms": {kind: latencies(some) for kind, some in times.items()},
        "others_all_ms": latencies(asked),
        "machine": {"cores": os.cpu_count(), "load": load},
    }


@click.command()
@click.option("--clients", default=32, show_default=True, type=MANY, help="Clients at once.")
@click.option("--orders", default=400, show_default=True, type=MANY, help="Orders in all.")
@click.option("--warmup", default=40, show_default=True, help="Orders before measuring.")
@click.option("--ca-ms", default=300, show_default=True, help="What the CA takes for a request.")
@click.option("--workers", default=16, show_default=True, type=MANY, help="The server's workers.")
@click.option("--threads", default=64, show_default=True, type=MANY, help="That answer clients.")
@click.option("--first-poll-ms", default=100, show_default=True, type=MANY, help="Of a client.")
@click.option("--folder", type=click.Path(path_type=Path), help="Keep all files here.")
def main(
    clients: int,
    orders: int,
    warmup: int,
    ca_ms: int,
    workers: int,
    threads: int,
    first_poll_ms: int,
    folder: Path | None,
) -> None:
    """Measure, and print JSON."""
    with TemporaryDirectory(prefix="certeasy-adcsload-") as temporary:
        where = folder or Path(temporary)
        corp = Corp(where / "corp")
        try:
            corp.behaves(issues(after=ca_ms / 1000))
            sections = corp.section("resubmit") + f"workers:\n  workers: {workers}\n"
            server = Server(where / "server", issuer=("corp", sections), threads=threads)
            server.start()
            try:
                server.wait_ready()
                plan = Plan(
                    directory=server.directory,
                    ca=str(server.root),
                    clients=clients,
                    orders=orders,
                    warmup=warmup,
                    names=1,
                    domain=ZONE,
                    http_port=server.http_port,
                    pid=server.pid,
                    first_poll_ms=first_poll_ms,
                )
                measured = measure(plan, server)
                measured["twice"] = len(corp.issued()) - orders - warmup
                server.stop()
            finally:
                server.kill()
        finally:
            corp.end()
    asked = {"clients": clients, "workers": workers, "ca_ms": ca_ms, "threads": threads}
    told = asked | {"first_poll_ms": first_poll_ms} | measured
    click.echo(msgspec.json.format(msgspec.json.encode(told), indent=2))


if __name__ == "__main__":
    main()
