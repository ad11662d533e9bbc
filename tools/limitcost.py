"""What limits cost, and what a flood costs that they refuse: as JSON.

    python -m tools.limitcost order --pairs 10
    python -m tools.limitcost flood --addresses 1000000
    python -m tools.limitcost flood-http --requests 20000

`order`: two servers, one with every limit on (and out of reach), one without any, do the same
orders, both at once: so whatever else the machine does meets both of a pair. `ratio` is the CPU of
an order with limits over one without, in the median pair.

`flood`: so many addresses, each refused once, below HTTP: nothing but the limit itself. `cpu_us` is
what a refusal costs, `kept_mib` what is allocated for all that is kept of them at the end.

`flood-http`: refused requests over kept TLS connections. `cpu_us` is the server's CPU for each, and
`journal_bytes` by how much the journal has grown.
"""

import gc
import ssl
import statistics
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import msgspec

from certeasy.clock import SystemClock
from certeasy.decide.problems import Refused
from certeasy.limits.buckets import MOST_KEPT, MemoryBuckets
from certeasy.limits.clients import GLOBAL, Limits
from certeasy.settings.limits import AbuseLimit, GlobalLimit, RateLimiting
from tools.acmeload.https import Connection
from tools.acmeload.process import usage
from tools.acmeload.run import Plan, run
from tools.crashlab.ports import LOOPBACK
from tools.crashlab.server import ZONE, Server
from tools.generous import TEXT

OFF = "rate-limiting: {enabled: false}\n"
ONE_AN_HOUR = """\
rate-limiting:
  global: {limit: 1, window: 1h, burst: 1}
"""
CONNECTIONS = 4
REFUSED = 429
TIMEOUT = 30.0
MANY = click.IntRange(min=1)


class CostOfOrder(msgspec.Struct, frozen=True):
    """Milliseconds of CPU of an order, pair by pair, and the median of the pairs' ratios."""

    orders: int
    with_limits_ms: tuple[float, ...]
    without_ms: tuple[float, ...]
    ratios: tuple[float, ...]
    ratio: float


class CostOfFlood(msgspec.Struct, frozen=True):
    """What it cost to refuse `refused` addresses, and what is kept of them."""

    refused: int
    cpu_us: float
    subjects_kept: int
    most_kept: int
    kept_mib: float


class CostOfHttp(msgspec.Struct, frozen=True):
    """What it cost a server to refuse so many requests."""

    refused: int
    cpu_us: float
    journal_bytes: int
    rss_mib_before: float
    rss_mib_after: float


@click.group()
def main() -> None:
    """Measure what limits cost."""


@main.command()
@click.option("--pairs", type=MANY, default=10, show_default=True)
@click.option("--orders", type=MANY, default=400, show_default=True)
@click.option("--clients", type=MANY, default=4, show_default=True)
def order(pairs: int, orders: int, clients: int) -> None:
    """Compare orders with limits and without."""
    with TemporaryDirectory(prefix="certeasy-limitcost-") as folder:
        base = Path(folder)
        with serving(base / "on", TEXT) as limited, serving(base / "off", OFF) as unlimited:
            found = [_at_once((limited, unlimited), orders, clients) for _ in range(pairs + 1)]
    # The first pair is for warming up.
    on, off = zip(*found[1:], strict=True)
    ratios = [one / other for one, other in zip(on, off, strict=True)]
    _print(
        CostOfOrder(
            orders,
            _rounded(on),
            _rounded(off),
            _rounded(ratios),
            round(statistics.median(ratios), 3),
        )
    )


@main.command()
@click.option("--addresses", type=MANY, default=1_000_000, show_default=True)
@click.option("--most", type=click.IntRange(100), default=MOST_KEPT, help="How many are kept.")
def flood(addresses: int, most: int) -> None:
    """Refuse so many addresses below HTTP."""
    clock = SystemClock()
    buckets = MemoryBuckets(clock, most)
    every = GlobalLimit(limit=1, window=timedelta(hours=1), burst=1)
    limits = Limits(RateLimiting(global_=every, abuse=AbuseLimit()), buckets, clock)
    limits.admit("203.0.113.7")
    gc.collect()
    refused, spent = 0, 0.0
    # So many come, and come again, before others do: they are not forgotten in between.
    at_once = most // 5
    for first in range(0, addresses, at_once):
        some = [_address(number) for number in range(first, min(first + at_once, addresses))]
        for address in some:
            limits.admit(address)
        begun = time.process_time()
        refused += sum(_is_refused(limits, address) for address in some)
        spent += time.process_time() - begun
    kept, _ = limits.standings(GLOBAL, 0)
    each, weight = spent / refused * 1e6, _weight(most) / (1 << 20)
    _print(CostOfFlood(refused, round(each, 2), kept, most, round(weight, 1)))


@main.command("flood-http")
@click.option("--requests", type=MANY, default=20_000, show_default=True)
def flood_http(requests: int) -> None:
    """Refuse so many requests through HTTP."""
    with (
        TemporaryDirectory(prefix="certeasy-limitcost-") as folder,
        serving(Path(folder) / "server", ONE_AN_HOUR) as server,
    ):
        _ask(server, CONNECTIONS)  # the one that is let in, and connections
        size, before = server.journal.stat().st_size, usage(server.pid)
        met = _ask(server, requests)
        after = usage(server.pid)
        cost = CostOfHttp(
            met[REFUSED],
            round((after.cpu - before.cpu) / met[REFUSED] * 1e6, 1),
            server.journal.stat().st_size - size,
            round(before.vm_rss / 1024, 1),
            round(after.vm_rss / 1024, 1),
        )
    _print(cost)


@contextmanager
def serving(folder: Path, limits: str) -> Iterator[Server]:
    """Run a server with these limits."""
    server = Server(folder, limits=limits)
    server.start()
    try:
        server.wait_ready()
        yield server
    finally:
        server.stop()


def _at_once(servers: Sequence[Server], orders: int, clients: int) -> list[float]:
    """Return what an order costs each of the servers while all of them are at work."""
    with ThreadPoolExecutor(len(servers)) as threads:
        return list(threads.map(lambda each: _cost(each, orders, clients), servers))


def _cost(server: Server, orders: int, clients: int) -> float:
    """Return the milliseconds of CPU that an order costs a server."""
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
    _, before, after = run(plan)
    if before is None or after is None:
        raise AssertionError("the server's process is known")
    return (after.cpu - before.cpu) / orders * 1000


def _ask(server: Server, requests: int) -> Counter[int]:
    """Ask for the directory so many times over some connections; return the answers' statuses."""
    met: Counter[int] = Counter()
    lock = threading.Lock()

    def ask(count: int) -> None:
        context = ssl.create_default_context(cafile=str(server.root))
        connection = Connection(LOOPBACK, server.port, context, TIMEOUT)
        mine = Counter(connection.ask("GET", "/acme/directory").status for _ in range(count))
        connection.close()
        with lock:
            met.update(mine)

    threads = [
        threading.Thread(target=ask, args=[requests // CONNECTIONS]) for _ in range(CONNECTIONS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return met


def _address(number: int) -> str:
    """Return one of sixteen million addresses."""
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def _is_refused(limits: Limits, address: str) -> bool:
    try:
        limits.admit(address)
    except Refused as refused:
        refused.document()
        return True
    return False


def _weight(most: int) -> int:
    """Return the bytes that a full memory of buckets takes."""
    clock = SystemClock()
    every = GlobalLimit(limit=1, window=timedelta(hours=1), burst=1)
    tracemalloc.start()
    limits = Limits(RateLimiting(global_=every), MemoryBuckets(clock, most), clock)
    for number in range(3 * most):
        limits.admit(_address(number))
    gc.collect()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return taken


def _rounded(figures: Sequence[float]) -> tuple[float, ...]:
    return tuple(round(each, 3) for each in figures)


def _print(cost: msgspec.Struct) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(cost), indent=2))


if __name__ == "__main__":
    main()
