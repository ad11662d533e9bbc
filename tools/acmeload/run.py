"""Many clients at once: a few processes, a thread per client, one count of orders for all of them.

Every process makes its accounts and its share of the warm-up first, says that it is ready, and
waits; so the measured time, and the server's CPU in it, holds orders only. Whoever is free takes
the next order.
"""

import contextlib
import multiprocessing
import multiprocessing.connection
import multiprocessing.process
import resource
import signal
import ssl
import threading
import time
from collections.abc import Callable
from typing import Protocol
from urllib.parse import urlsplit

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from tools.acmeload.client import Client, OrderFailed, thumbprint
from tools.acmeload.https import Connection
from tools.acmeload.process import usage
from tools.acmeload.report import Tally, Usage, merged
from tools.acmeload.responder import Responder, name_of

TIMEOUT = 15.0
GRACE = 2.0
MAX_FAILURES_IN_A_ROW = 5
"""After these a client stops: a dead server is not asked for thousands of certificates."""
READY, GO = b"ready", b"go"
TALLY = msgspec.msgpack.Decoder(Tally)


class Plan(msgspec.Struct, frozen=True):
    """What is to be done."""

    directory: str
    ca: str
    clients: int
    orders: int
    warmup: int
    names: int
    domain: str
    http_port: int
    pid: int | None = None
    processes: int = 2
    first_poll_ms: int = 10


class Count(Protocol):
    """A number that processes share; what `multiprocessing` makes of a `Value`."""

    value: int

    def get_lock(self) -> threading.Lock:
        """Return what must be held to change it."""
        ...


class RunFailed(Exception):
    """The run could not begin, or a process of it broke."""


def run(plan: Plan) -> tuple[Tally, Usage | None, Usage | None]:
    """Carry the plan out; return what was counted, and the server's usage before and after.

    Raises RunFailed, OSError.
    """
    spawn = multiprocessing.get_context("spawn")
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(plan.clients)]
    counts = spawn.Value("q", plan.warmup), spawn.Value("q", plan.orders)
    crews = [list(range(plan.clients))[part :: plan.processes] for part in range(plan.processes)]
    with _responder(plan, keys):
        pipes, workers = [], []
        for crew in (crew for crew in crews if crew):
            ours, theirs = spawn.Pipe()
            mine = {client: _der(keys[client]) for client in crew}
            workers.append(spawn.Process(target=_work, args=(plan, mine, counts, theirs)))
            workers[-1].start()
            theirs.close()
            pipes.append(ours)
        try:
            return _measure(plan, pipes)
        finally:
            _end(workers, pipes)


def _responder(plan: Plan, keys: list[ec.EllipticCurvePrivateKey]) -> Responder:
    try:
        return Responder(plan.http_port, [thumbprint(key) for key in keys])
    except OSError as error:
        raise RunFailed(f"http-01 cannot be answered on port {plan.http_port}: {error}") from error


def _measure(
    plan: Plan, pipes: list[multiprocessing.connection.Connection]
) -> tuple[Tally, Usage | None, Usage | None]:
    for pipe in pipes:
        if (said := _hear(pipe)) != READY:
            raise RunFailed(said.decode())
    before = None if plan.pid is None else usage(plan.pid)
    for pipe in pipes:
        pipe.send_bytes(GO)
    tallies = [TALLY.decode(_hear(pipe)) for pipe in pipes]
    after = None if plan.pid is None else usage(plan.pid)
    return merged(tallies), before, after


def _hear(pipe: multiprocessing.connection.Connection) -> bytes:
    try:
        return pipe.recv_bytes()
    except EOFError:
        raise RunFailed("a process of the load generator ended early") from None


def _end(
    workers: list[multiprocessing.context.SpawnProcess],
    pipes: list[multiprocessing.connection.Connection],
) -> None:
    for pipe in pipes:
        pipe.close()
    for worker in workers:
        worker.join(GRACE)
        if worker.is_alive():
            worker.terminate()
            worker.join()


def _work(
    plan: Plan,
    keys: dict[int, bytes],
    counts: tuple[Count, Count],
    pipe: multiprocessing.connection.Connection,
) -> None:
    """One process: its clients, from their accounts to the sum of what they did."""
    # Ctrl-C reaches all processes of a terminal; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    context = ssl.create_default_context(cafile=plan.ca)
    warmup, orders = counts
    crew = [_Runner(plan, number, der, context) for number, der in keys.items()]
    # If the parent gave up because of another process, it listens no longer: so do we.
    with contextlib.suppress(BrokenPipeError, EOFError):
        _together(crew, lambda one: one.register())
        _together(crew, lambda one: one.work(warmup))
        broken = next((one.broken for one in crew if one.broken), None)
        pipe.send_bytes(READY if broken is None else broken.encode())
        if broken is None and pipe.recv_bytes() == GO:
            pipe.send_bytes(msgspec.msgpack.encode(_measured(crew, orders)))
    for one in crew:
        one.connection.close()


def _measured(crew: list["_Runner"], orders: Count) -> Tally:
    for one in crew:
        one.begin()
    began = _cpu()
    _together(crew, lambda one: one.work(orders))
    tally = merged([one.client.tally for one in crew])
    tally.cpu = _cpu() - began
    return tally


class _Runner:
    """One client in its thread."""

    def __init__(self, plan: Plan, number: int, der: bytes, context: ssl.SSLContext) -> None:
        where = urlsplit(plan.directory)
        self._plan = plan
        self._number = number
        key = load_der_private_key(der, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError("account keys are P-256")
        self.connection = Connection(where.hostname or "", where.port or 443, context, TIMEOUT)
        keys = key, ec.generate_private_key(ec.SECP256R1())
        self.client = Client(self.connection, keys, plan.first_poll_ms / 1000)
        self.broken: str | None = None

    def register(self) -> None:
        """Make the account."""
        try:
            self.client.register(self._plan.directory)
        except (OSError, OrderFailed, KeyError, msgspec.DecodeError) as error:
            self.broken = f"no account at {self._plan.directory}: {error!r}"

    def begin(self) -> None:
        """Forget what was counted so far."""
        self.client.tally = Tally()
        self.connection.opened = 0

    def work(self, left: Count) -> None:
        """Take orders until none are left."""
        failures = 0
        while self.broken is None and failures < MAX_FAILURES_IN_A_ROW:
            order = _take(left)
            if order is None:
                break
            failures = 0 if self._order(order) else failures + 1
        self.client.tally.reconnects = self.connection.opened

    def _order(self, order: int) -> bool:
        """Get one certificate, and tell whether that went well."""
        plan, tally = self._plan, self.client.tally
        names = [name_of(self._number, order, i, plan.domain) for i in range(plan.names)]
        began, good = time.monotonic(), False
        try:
            self.client.certificate(names)
        except OrderFailed as failure:
            tally.failed(str(failure))
        except (OSError, KeyError, ValueError) as error:
            # What the server sent made no sense: a missing header, no JSON, no certificate.
            tally.failed(f"nonsense: {type(error).__name__}")
        else:
            good = True
        ended = time.monotonic()
        tally.took(began, ended)
        if good:
            tally.latencies.append(ended - began)
        return good


def _together(crew: list[_Runner], step: Callable[[_Runner], None]) -> None:
    threads = [threading.Thread(target=step, args=(one,)) for one in crew]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _take(left: Count) -> int | None:
    with left.get_lock():
        if left.value <= 0:
            return None
        left.value -= 1
        return left.value


def _cpu() -> float:
    mine = resource.getrusage(resource.RUSAGE_SELF)
    return mine.ru_utime + mine.ru_stime


def _der(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
