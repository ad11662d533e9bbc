"""One order of many names, each proven by dns-01, on a whole server in this process: what it costs.

    python -m tools.manynames [--names 100] [--workers 16] [--clients 16] [--slow MILLISECONDS]

Everything is real: the server on SQLite and its journal, a DNS server on loopback, a signed request
for each challenge. Printed as JSON:

    looks       how often the DNS was looked at, per outcome: 1.0 unless something was tried again
    submitted   how often an outcome was handed to the committer: 1.0, or one was refused
    attempts    how often an outcome was decided: 1.0, and once more where another outcome of the
                same order was stored in between; never more, for that is done under the lock
    commits     transactions per change (a challenge accepted, an outcome): less than 1 where
                several were stored together
"""

import argparse
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from certeasy.decide import validation as deciding
from certeasy.jobs.validation import Validation
from certeasy.settings import DnsZone, WorkerSettings
from certeasy.store import Store
from certeasy.validate.dns01 import Dns01Validator, digest
from tests.fakes.dns_server import DnsServer
from tests.make.csrs import a_csr
from tests.make.lab import PATIENCE, Client, Lab
from tests.make.server import ZONE, a_server, lab_settings
from tests.make.signers import b64

LOOK, SUBMIT, ATTEMPT, COMMIT = "looks", "submitted", "attempts", "commits"


class Told(msgspec.Struct):
    """What an order of many names has cost."""

    looks: float
    submitted: float
    attempts: float
    commits: float
    names: int
    workers: int
    events: dict[str, int]
    seconds: dict[str, float]


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count what is done for outcomes until the end of the block, from any thread."""
    count: Counter[str] = Counter()
    lock = threading.Lock()

    def counting(what: str, does: Callable[..., Any]) -> Callable[..., Any]:
        def do(*given: Any, **named: Any) -> Any:
            with lock:
                count[what] += 1
            return does(*given, **named)

        return do

    look, transaction, decide = Dns01Validator.validate, Store.transaction, deciding.validated
    submit = Validation.submit
    Dns01Validator.validate = counting(LOOK, look)
    Validation.submit = counting(SUBMIT, submit)
    Store.transaction = counting(COMMIT, transaction)
    deciding.validated = counting(ATTEMPT, decide)
    try:
        yield count
    finally:
        Dns01Validator.validate, Validation.submit = look, submit
        Store.transaction, deciding.validated = transaction, decide


def measure(folder: Path, *, names: int, workers: int, clients: int, slow: float = 0.0) -> Told:
    """Order, prove and finalize so many names with one order; return what it has cost.

    `clients` requests are under way at once; the DNS takes `slow` seconds for each answer.
    """
    settings = lab_settings(folder)
    (profile,), (policy,) = settings.dns_validation_profiles, settings.issuance_policies
    with DnsServer({}) as dns:
        zone = DnsZone(suffixes=(ZONE,), dns_server=(dns.endpoint,))
        settings = msgspec.structs.replace(
            settings,
            workers=WorkerSettings(workers=workers),
            dns_validation_profiles=(msgspec.structs.replace(profile, zones=(zone,)),),
            issuance_policies=(msgspec.structs.replace(policy, challenges=("dns-01",)),),
        )
        with a_server(folder, settings=settings) as application:
            return _Run(Lab(application, {}), dns, slow).measured(names, workers, clients)


class _Run:
    def __init__(self, lab: Lab, dns: DnsServer, slow: float) -> None:
        self.lab = lab
        self.dns = dns
        self.slow = slow
        self.client = lab.client()
        self.client.register()
        self.seconds: dict[str, float] = {}

    def measured(self, names: int, workers: int, clients: int) -> Told:
        every = [f"host-{n}.{ZONE}" for n in range(names)]
        before = self.lab.server.node.store.head().position
        with counted() as count:
            order = self._timed("order", lambda: self.client.placed(*every))
            challenges = self._timed("challenges", lambda: self._challenges(order, clients))
            count.clear()
            self._timed("proof", lambda: self._prove(order, challenges, clients))
            proven = Counter(count)
        done = self._timed("finalize", lambda: self._finalize(order, every))
        assert done["status"] == "valid", done
        events = Counter(self._events(before))
        outcomes = events["challenge.validated"]
        assert outcomes == names, events
        return Told(
            looks=proven[LOOK] / outcomes,
            submitted=proven[SUBMIT] / outcomes,
            attempts=proven[ATTEMPT] / outcomes,
            commits=proven[COMMIT] / (events["challenge.accepted"] + outcomes),
            names=names,
            workers=workers,
            events=dict(sorted(events.items())),
            seconds={what: round(took, 3) for what, took in self.seconds.items()},
        )

    def _timed(self, what: str, do: Callable[[], Any]) -> Any:
        began = time.monotonic()
        try:
            return do()
        finally:
            self.seconds[what] = time.monotonic() - began

    def _challenges(self, order: str, clients: int) -> list[dict[str, Any]]:
        """Return all challenges, once the DNS has what proves them."""
        urls = self.client.see(order)["authorizations"]
        with ThreadPoolExecutor(clients) as pool:
            seen = list(pool.map(lambda url: self._another().see(url), urls))
        for authorization in seen:
            (challenge,) = authorization["challenges"]
            value = digest(self.client.key_authorization(challenge["token"])).decode()
            self.dns.records[f"_acme-challenge.{authorization['identifier']['value']}"] = (
                self._record(value)
            )
        return [challenge for authorization in seen for challenge in authorization["challenges"]]

    def _record(self, value: str) -> Callable[[], Sequence[str]]:
        def answer() -> Sequence[str]:
            if self.slow:
                time.sleep(self.slow)
            return [f"TXT {value}"]

        return answer

    def _prove(self, order: str, challenges: list[dict[str, Any]], clients: int) -> None:
        def accept(challenge: dict[str, Any]) -> None:
            result = self._another().post(challenge["url"], {})
            assert result.status_code == 200, result.text

        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(accept, challenges))
        deadline = time.monotonic() + PATIENCE + self.slow * len(challenges)
        while (seen := self.client.see(order))["status"] == "pending":
            assert time.monotonic() < deadline, seen
            time.sleep(0.01)
        assert seen["status"] == "ready", seen

    def _finalize(self, order: str, names: Sequence[str]) -> dict[str, Any]:
        url = self.client.see(order)["finalize"]
        result = self.client.post(url, {"csr": b64(a_csr(*names))})
        assert result.status_code == 200, result.text
        return self.client.wait(order, "valid", "invalid")

    def _another(self) -> Client:
        """Return the same account once more, for a thread of its own: each keeps one nonce."""
        client = self.lab.client(self.client.signer)
        client.kid = self.client.kid
        return client

    def _events(self, after: int) -> Iterator[str]:
        for line in self.lab.journal():
            record = msgspec.json.decode(line)
            if record["position"] > after:
                yield record["type"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure once and print it."""
    parser = argparse.ArgumentParser(prog="tools.manynames", description=__doc__)
    parser.add_argument("--names", type=int, default=100)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--slow", type=float, default=0.0, help="milliseconds of each DNS answer")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="certeasy-manynames-") as folder:
        told = measure(
            Path(folder),
            names=asked.names,
            workers=asked.workers,
            clients=asked.clients,
            slow=asked.slow / 1000,
        )
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(told), indent=2) + b"\n")


if __name__ == "__main__":
    main()
