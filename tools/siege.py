"""Good clients among a thousand slow ones: what these cost those, as JSON.

    python -m tools.siege --slow 1000 --clients 32 --orders 320 --rounds 5

Each round measures the same orders twice, in turns: with nobody else there, and while so many slow
clients hold connections to `certeasy serve`: a quarter of them in the midst of a TLS handshake, of
a request's headers, of its body, and with a connection on which nothing was ever said. Each says
an octet a second, for as long as it is let, and comes again when it is cut. They come from
addresses of their own, `--per-address` from each.

`ratio` is the p99 of an order under siege over the quiet one's, in the median round. Where one
machine does it all, the slow clients' own CPU is part of what the good ones suffer; it is told.
"""

import asyncio
import multiprocessing
import multiprocessing.connection
import os
import socket
import ssl
import statistics
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import msgspec

from tools.acmeload.process import usage
from tools.acmeload.report import report
from tools.acmeload.run import Plan, run
from tools.crashlab.ports import LOOPBACK
from tools.crashlab.server import ZONE, Server

TICK = 1.0
"""Seconds between two octets of a slow client."""
AGAIN = 0.5
"""Seconds after which one that was cut comes again."""
SETTLE = 3.0
"""Seconds until all slow clients have found, or not found, their place."""
HELLO = b"\x16\x03\x01\x01\xfc\x01\x00\x01\xf8\x03\x03" + bytes(500)
"""A record with the beginning of a ClientHello: as much of it as comes is well-formed."""
HEAD = b"GET /acme/directory HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: " + b"x" * 4096
BODY = (
    b"POST /acme/new-order HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    b"Content-Type: application/jose+json\r\nContent-Length: 60000\r\n\r\n" + b"x" * 4096
)
MANY = click.IntRange(min=1)
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Slow:
    """Slow clients of one server, in one event loop."""

    def __init__(self, port: int, number: int, per_address: int) -> None:
        self._port = port
        self._number = number
        self._per_address = per_address
        self._context = ssl.create_default_context()
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE
        self.met: Counter[str] = Counter()
        kinds = (self._handshake, self._headers, self._body, self._nothing)
        self._kinds: tuple[Callable[[str], Coroutine[None, None, None]], ...] = kinds

    async def run(self, pipe: multiprocessing.connection.Connection) -> None:
        """Be slow until something comes through the pipe."""
        each = [asyncio.create_task(self._one(number)) for number in range(self._number)]
        await asyncio.get_running_loop().run_in_executor(None, pipe.recv)
        for task in each:
            task.cancel()
        await asyncio.gather(*each, return_exceptions=True)

    async def _one(self, number: int) -> None:
        address = f"127.0.2.{1 + number // self._per_address}"
        kind = self._kinds[number % len(self._kinds)]
        await asyncio.sleep(number / self._number)  # not all in one instant
        while True:
            try:
                self.met["connections"] += 1
                await kind(address)
                self.met["ended by the server"] += 1
            except OSError:
                self.met["cut by the server"] += 1
            await asyncio.sleep(AGAIN)

    async def _open(self, address: str, tls: ssl.SSLContext | None = None) -> Streams:
        return await asyncio.open_connection(
            LOOPBACK, self._port, local_addr=(address, 0), ssl=tls, family=socket.AF_INET
        )

    async def _trickle(self, streams: Streams, text: bytes) -> None:
        """Say the text, an octet a second, until the server ends the connection."""
        reader, writer = streams
        ended = asyncio.create_task(reader.read(1))
        try:
            for octet in text:
                writer.write(bytes([octet]))
                done, _ = await asyncio.wait([ended], timeout=TICK)
                if done:
                    return
            await ended
        finally:
            ended.cancel()
            writer.transport.abort()

    async def _handshake(self, address: str) -> None:
        await self._trickle(await self._open(address), HELLO)

    async def _headers(self, address: str) -> None:
        await self._trickle(await self._open(address, self._context), HEAD)

    async def _body(self, address: str) -> None:
        streams = await self._open(address, self._context)
        streams[1].write(BODY[:-4096])
        await self._trickle(streams, BODY[-4096:])

    async def _nothing(self, address: str) -> None:
        await self._trickle(await self._open(address), b"")


def _slow(
    port: int, number: int, per_address: int, pipe: multiprocessing.connection.Connection
) -> None:
    """One process of slow clients; tell at the end what they met, and their CPU (seconds)."""
    slow = Slow(port, number, per_address)
    asyncio.run(slow.run(pipe))
    pipe.send(dict(slow.met) | {"cpu_s": round(time.process_time(), 1)})


class Round(msgspec.Struct):
    """What one round has measured."""

    quiet: dict[str, object]
    siege: dict[str, object]
    slow: dict[str, float]

    def p99(self, which: str) -> float:
        """Return the p99 of an order in milliseconds."""
        figures = msgspec.convert(getattr(self, which)["order_ms"], dict[str, float])
        return figures["p99"]


def besieged(
    server: Server, slow: int, per_address: int, measure: Callable[[], dict[str, object]]
) -> tuple[dict[str, object], dict[str, float]]:
    """Measure while slow clients are there; return the figures, and what the slow ones met."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=_slow, args=(server.port, slow, per_address, there))
    process.start()
    try:
        time.sleep(SETTLE)
        figures = measure()
        here.send("end")
        met: dict[str, float] = here.recv()
    finally:
        process.join(10)
        process.kill()
    return figures, met


@click.command()
@click.option("--slow", default=1000, show_default=True, type=MANY, help="Slow clients at once.")
@click.option("--per-address", default=20, show_default=True, type=MANY, help="Of one address.")
@click.option("--clients", default=32, show_default=True, type=MANY, help="Good clients at once.")
@click.option("--orders", default=320, show_default=True, type=MANY, help="Their orders.")
@click.option("--rounds", default=5, show_default=True, type=MANY, help="Pairs of measurements.")
@click.option("--folder", type=click.Path(path_type=Path), help="Keep all files here.")
def main(
    slow: int, per_address: int, clients: int, orders: int, rounds: int, folder: Path | None
) -> None:
    """Measure, and print JSON."""
    with TemporaryDirectory(prefix="certeasy-siege-") as temporary:
        server = Server((folder or Path(temporary)) / "server")
        server.start()
        try:
            server.wait_ready()
            plan = Plan(
                directory=server.directory,
                ca=str(server.root),
                clients=clients,
                orders=orders,
                warmup=clients,
                names=1,
                domain=ZONE,
                http_port=server.http_port,
                pid=server.pid,
            )
            done = [_round(server, plan, slow, per_address) for _ in range(rounds)]
            memory = usage(server.pid)
            server.stop()
        finally:
            server.kill()
    ratios = sorted(each.p99("siege") / each.p99("quiet") for each in done)
    told = {
        "slow": slow,
        "clients": clients,
        "ratio": round(statistics.median(ratios), 2),
        "ratios": [round(ratio, 2) for ratio in ratios],
        "server_vm_hwm_mib": round(memory.vm_hwm / 1024, 1),
        "failures": [failed for each in done if (failed := each.siege["failures"])],
        "rounds": done,
        "machine": {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)},
    }
    click.echo(msgspec.json.format(msgspec.json.encode(told), indent=2))


def _round(server: Server, plan: Plan, slow: int, per_address: int) -> Round:
    def measure() -> dict[str, object]:
        return report(*run(plan))

    quiet = measure()
    siege, met = besieged(server, slow, per_address, measure)
    return Round(quiet, siege, met)


if __name__ == "__main__":
    main()
