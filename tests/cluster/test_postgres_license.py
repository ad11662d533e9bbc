"""The license's seats on PostgreSQL: counted in the transaction that takes them."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from tests.make.checks import check_node
from tests.make.csrs import a_csr, p256
from tests.make.lab import JOSE, URL, a_lab
from tests.make.licenses import install, trusting
from tests.make.postgres import Postgres, settings_of
from tests.make.signers import b64

MANY, SEATS = 20, 7


def test_of_first_orders_at_once_exactly_as_many_are_issued_as_there_are_seats(
    tmp_path: Path, postgres: Postgres
) -> None:
    database = settings_of(postgres.a_database())
    workdir = tmp_path / "node"
    with trusting(tmp_path), a_lab(workdir, sections={"database": database}) as lab:
        requests = []
        for number in range(MANY):
            client = lab.client()
            client.register()
            order = client.ready(f"web{number}.lab.test")
            url = client.see(order)["finalize"]
            client.drop_nonce()
            csr = b64(a_csr(f"web{number}.lab.test", key=p256(number + 1)))
            requests.append((url.removeprefix(URL), client.signed(url, {"csr": csr})))
        install(lab.server, plan="pro", managed_servers=SEATS)
        barrier = Barrier(MANY)

        def send(request: tuple[str, bytes]) -> int:
            barrier.wait()
            path, body = request
            return lab.wire.simulate_post(path, body=body, headers=JOSE).status_code

        with ThreadPoolExecutor(MANY) as pool:
            statuses = list(pool.map(send, requests))
        assert sorted(statuses) == [200] * SEATS + [403] * (MANY - SEATS)
        assert lab.server.committer.seats() == SEATS
    check_node(workdir, database=database)
