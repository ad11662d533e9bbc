"""Finalizing while the authority takes its time: held for a while, then polled."""

import threading
import time
from datetime import timedelta
from pathlib import Path

import falcon.testing

from tests.make.csrs import a_csr, p256
from tests.make.lab import PATIENCE, Client, problem
from tests.make.slow_lab import a_lab_with_a_slow_authority
from tests.make.waiting import soon


def finalized(client: Client, order: str, name: str) -> falcon.testing.Result:
    return client.finalize(order, a_csr(name))


def test_a_finalize_whose_authority_takes_its_time_is_processing(tmp_path: Path) -> None:
    with a_lab_with_a_slow_authority(tmp_path, finalize_wait=timedelta(seconds=0.05)) as lab:
        client = lab.client()
        client.register()
        order = client.ready("web.lab.test")
        csr, began = a_csr("web.lab.test"), time.monotonic()
        result = client.finalize(order, csr)
        assert time.monotonic() - began >= 0.05
        assert (result.status_code, result.json["status"]) == (200, "processing")
        assert result.headers["retry-after"] == "1"
        assert result.headers["location"] == order
        assert client.post(order).headers["retry-after"] == "1"
        # The same again is answered, another one is refused.
        assert client.finalize(order, csr).json["status"] == "processing"
        other = client.finalize(order, a_csr("web.lab.test", key=p256(3)))
        assert problem(other)[:2] == (403, "orderNotReady")
        lab.server.workers.look_around()
        assert client.wait(order, "valid", "invalid")["status"] == "valid"


def test_a_finalize_is_held_until_the_certificate_is_there(tmp_path: Path) -> None:
    with a_lab_with_a_slow_authority(tmp_path, finalize_wait=timedelta(seconds=PATIENCE)) as lab:
        client = lab.client()
        client.register()
        order = client.ready("web.lab.test")
        done = threading.Event()

        def work_goes_on() -> None:
            while not done.wait(0.02):
                lab.server.workers.look_around()

        worker = threading.Thread(target=work_goes_on)
        worker.start()
        try:
            result = finalized(client, order, "web.lab.test")
        finally:
            done.set()
            worker.join()
        assert result.json["status"] == "valid"
        assert "retry-after" not in result.headers


def test_a_finalize_is_held_even_if_it_comes_before_ready_was_told(tmp_path: Path) -> None:
    with a_lab_with_a_slow_authority(tmp_path, finalize_wait=timedelta(seconds=0.05)) as lab:
        committer, journal = lab.server.committer, lab.server.node.journal
        append, deadline = journal.append, time.monotonic() + PATIENCE

        def append_ready_late(lines: list[bytes]) -> None:
            """Others see that the order is ready; its journal line waits for the finalize."""
            if any(b'"type":"order.ready"' in line for line in lines):
                while committer._queue.empty() and time.monotonic() < deadline:
                    time.sleep(0.001)
            append(lines)

        journal.append = append_ready_late
        client = lab.client()
        client.register()
        order = client.ready("web.lab.test")
        began = time.monotonic()
        assert finalized(client, order, "web.lab.test").json["status"] == "processing"
        assert began + 0.05 <= time.monotonic() < deadline


def test_one_thread_in_four_is_held_and_no_more(tmp_path: Path) -> None:
    wait = timedelta(seconds=PATIENCE)
    with a_lab_with_a_slow_authority(tmp_path, finalize_wait=wait, threads=4) as lab:
        clients = [lab.client(), lab.client()]
        orders = []
        for n, client in enumerate(clients):
            client.register()
            orders.append(client.ready(f"web{n}.lab.test"))
        answers: list[str] = []

        def first() -> None:
            answers.append(finalized(clients[0], orders[0], "web0.lab.test").json["status"])

        held = threading.Thread(target=first)
        held.start()
        try:
            order_id = orders[0].rpartition("/")[2]
            soon(lambda: order_id in lab.server.committer.watch._waiting)
            result = finalized(clients[1], orders[1], "web1.lab.test")
            assert result.json["status"] == "processing"
            assert held.is_alive()
        finally:
            lab.server.workers.look_around()
            held.join()
        assert answers == ["valid"]


def test_a_finalize_is_held_no_longer_when_the_node_stops(tmp_path: Path) -> None:
    wait = timedelta(seconds=PATIENCE)
    with a_lab_with_a_slow_authority(tmp_path, finalize_wait=wait) as lab:
        client = lab.client()
        client.register()
        orders = [client.ready(f"web{n}.lab.test") for n in range(2)]
        answers: list[falcon.testing.Result] = []
        held = threading.Thread(
            target=lambda: answers.append(finalized(client, orders[0], "web0.lab.test"))
        )
        held.start()
        order_id = orders[0].rpartition("/")[2]
        soon(lambda: order_id in lab.server.committer.watch._waiting)
        began = time.monotonic()
        lab.server.hasten()
        held.join()
        answers.append(finalized(client, orders[1], "web1.lab.test"))
        assert time.monotonic() - began < PATIENCE
        for answer in answers:
            assert (answer.status_code, answer.json["status"]) == (200, "processing")
            assert answer.headers["retry-after"] == "1"
