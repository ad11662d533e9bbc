"""CAs of a domain go away and come back while orders are under way: nothing is lost, nothing is
issued twice unnoticed."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509

from tests.fakes.clocks import MovedClock
from tests.make.adcs import a_ca
from tests.make.adcs_lab import AdcsLab, an_adcs_lab, served
from tests.make.csrs import a_csr, p256
from tests.make.lab import Client
from tests.make.waiting import soon
from tools.adcs_sim.behaviour import issues

QUICK, SLOW = issues(after=0.01), issues(after=0.05)
ENDED = {"valid", "invalid"}


class Load:
    """Clients that each place orders one after another, in a thread, until told to stop."""

    def __init__(self, lab: AdcsLab, clients: int) -> None:
        self._stopping = threading.Event()
        self._clients = [lab.a_client() for _ in range(clients)]
        self.placed: dict[str, Client] = {}
        """Finalized orders, and whose they are."""
        self._threads = [
            threading.Thread(target=self._work, args=(number, client))
            for number, client in enumerate(self._clients)
        ]
        for thread in self._threads:
            thread.start()

    def _work(self, number: int, client: Client) -> None:
        count = 0
        while not self._stopping.is_set():
            name = f"host{number}-{count}.lab.test"
            order = client.ready(name)
            self.placed[order.rpartition("/")[2]] = client
            client.finalize(order, a_csr(name, key=p256(number)))
            count += 1

    def end(self) -> list[str]:
        """Let nobody place another; return the ids of all orders."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        return list(self.placed)


@contextmanager
def load(lab: AdcsLab, clients: int = 3) -> Iterator[Load]:
    running = Load(lab, clients)
    try:
        yield running
    finally:
        running.end()


def minute(lab: AdcsLab) -> None:
    """Let a minute pass as it does: workers and whoever looks after the CAs go on."""
    for _ in range(12):
        lab.pass_by(seconds=5)
        lab.look()


def issuers(lab: AdcsLab, order_ids: list[str]) -> dict[str, set[str]]:
    """Return which orders each CA has issued for."""
    found: dict[str, set[str]] = {ca.name: set() for ca in lab.cas}
    for ca in lab.cas:
        for request in ca.requests:
            if request.certificate and request.attributes["certeasyorder"] in order_ids:
                found[ca.name].add(request.attributes["certeasyorder"])
    return found


def test_a_ca_is_down_for_a_minute_under_load_and_every_order_becomes_valid(
    tmp_path: Path,
) -> None:
    """The answers that were on their way when it went are looked for when it is back."""
    clock = MovedClock()
    with (
        a_ca(clock=clock, templates={"WebServer": QUICK}) as ca,
        an_adcs_lab(tmp_path, ca, clock=clock, lost_answers="probe") as lab,
    ):
        first = lab.finalized(lab.a_client())
        lab.ends(first, "valid")  # the CA's numbers are known from then on
        with load(lab) as running:
            ca.has(7)
            ca.down()
            before = len(running.placed)
            soon(lambda: lab.said("authority.failed"))
            minute(lab)
            status, checks = lab.readyz()
            assert (status, "cannot be used" in checks[f"authority {ca.name}"]) == (200, True)
            soon(lambda: len(running.placed) > before + 3)
            ca.up()
            order_ids = [first, *running.end()]
        lab.until(lambda: lab.statuses(order_ids) <= ENDED, seconds=15)
        assert lab.statuses(order_ids) == {"valid"}
        certificates = [each.certificate for each in ca.requests if each.certificate]
        assert sorted(certificates) == sorted(filter(None, map(lab.given, order_ids)))
        assert len(certificates) == len(order_ids)
        assert lab.said("issuance.abandoned") == []
        lab.look()
        (failed,), (recovered,) = lab.said("authority.failed"), lab.said("authority.recovered")
        assert failed["authority"] == recovered["authority"] == ca.name
        assert lab.readyz() == (200, {**checks, f"authority {ca.name}": "ok"})
        for order_id, client in running.placed.items():
            leaf = x509.load_pem_x509_certificates(served(client, order_id))[0]
            assert leaf.issuer.rfc4514_string() == f"CN={ca.name}"


@contextmanager
def two_of_which_one_dies(
    folder: Path, strategy: str, lost_answers: str
) -> Iterator[tuple[AdcsLab, list[str], set[str]]]:
    """Yield a lab after that, the ids of all orders, and of those whose answer was lost."""
    clock = MovedClock()
    with (
        a_ca(clock=clock, name="CA-1", templates={"WebServer": SLOW}) as first,
        a_ca(clock=clock, name="CA-2", templates={"WebServer": QUICK}) as second,
        an_adcs_lab(
            folder, first, second, clock=clock, strategy=strategy, lost_answers=lost_answers
        ) as lab,
    ):
        client = lab.a_client()
        while not first.issued:  # its numbers are known from then on
            lab.ends(lab.finalized(client), "valid")
        with load(lab) as running:
            first.has(6)
            if strategy == "round_robin":
                second.has(6)
            first.down()
            soon(lambda: lab.said("authority.failed"))
            known = len(running.placed)
            soon(lambda: len(running.placed) > known + 6)
            order_ids = running.end()
        lost = {each["stream"][len("order/") :] for each in lab.said("issuance.in-doubt")}
        others = [each for each in order_ids if each not in lost]
        lab.until(lambda: lab.statuses(others) == {"valid"}, seconds=15)
        served_by = issuers(lab, others)
        assert served_by["CA-1"] | served_by["CA-2"] == set(others)
        assert not served_by["CA-1"] & served_by["CA-2"]
        yield lab, order_ids, lost
        lab.check()
        assert [each["authority"] for each in lab.said("authority.failed")] == ["CA-1"]
        assert lab.said("authority.recovered") == []


@pytest.mark.parametrize("strategy", ["first_available", "round_robin"])
def test_of_two_cas_one_dies_and_the_other_serves_everybody(tmp_path: Path, strategy: str) -> None:
    """Those too whose request was on its way to the dead one: what there may be of it stands in the
    log, and is looked for."""
    with two_of_which_one_dies(tmp_path, strategy, "resubmit") as (lab, order_ids, lost):
        lab.until(lambda: lab.statuses(order_ids) == {"valid"}, seconds=15)
        suspects = {each["stream"][len("order/") :] for each in lab.said("issuance.abandoned")}
        assert suspects <= lost
        twice = issuers(lab, order_ids)
        assert twice["CA-1"] & twice["CA-2"] <= suspects


@pytest.mark.parametrize("strategy", ["first_available", "round_robin"])
def test_where_answers_are_looked_for_no_other_ca_is_asked_before(
    tmp_path: Path, strategy: str
) -> None:
    """An order whose request was on its way to the CA that died waits for it, as long as orders
    wait."""
    with two_of_which_one_dies(tmp_path, strategy, "probe") as (lab, order_ids, lost):
        lab.until(lambda: lab.statuses(order_ids) <= ENDED, minutes=10)
        assert lab.statuses(list(lost)) <= {"invalid"}
        assert not issuers(lab, list(lost))["CA-2"]
        assert len(lab.said("issuance.abandoned")) == len(lost)
