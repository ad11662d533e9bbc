"""Renewals on PostgreSQL: one successor, a campaign beside the server, and tables that agree."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import msgspec
from click.testing import CliRunner
from cryptography import x509

from certeasy.cli import group
from projections.renewals import RENEWALS
from tests.make.certificates import cert_id_of
from tests.make.checks import check_node
from tests.make.configs import a_config
from tests.make.csrs import a_csr
from tests.make.lab import JOSE, URL, a_lab
from tests.make.postgres import Postgres, settings_of
from tests.make.signers import b64


def test_a_renewal_and_a_campaign_are_recorded_as_everywhere(
    tmp_path: Path, postgres: Postgres
) -> None:
    dsn = postgres.a_database()
    workdir = tmp_path / "node"
    config = a_config(
        tmp_path, workdir=f'"{workdir}"', database=f"{{driver: postgres, dsn: '{dsn}'}}"
    )

    def run(*words: str) -> str:
        result = CliRunner().invoke(group, ["renew-all", *words, "-f", str(config)])
        assert result.exit_code == 0, result.output
        return result.stdout

    with a_lab(workdir, sections={"database": settings_of(dsn)}) as lab:
        client = lab.client()
        client.register()
        first = client.issued("web.lab.test")
        chain = client.post(client.see(first)["certificate"]).content
        name = cert_id_of(x509.load_pem_x509_certificate(chain))
        told = msgspec.json.decode(run("--authority", "lab-ca", "--json"))
        assert told["certificates"] == 1
        renewal = lab.server.committer.get(RENEWALS, first.rpartition("/")[2])
        assert renewal is not None
        assert renewal.campaign == told["campaign"]
        orders = [client.order("web.lab.test", replaces=name).headers["location"] for _ in range(3)]
        bodies = []
        for order in orders:
            client.prove(order)
            url = client.see(order)["finalize"]
            client.drop_nonce()
            bodies.append((url, client.signed(url, {"csr": b64(a_csr("web.lab.test"))})))
        barrier = Barrier(len(bodies))

        def finalize(request: tuple[str, bytes]) -> int:
            url, body = request
            barrier.wait()
            return lab.wire.simulate_post(
                url.removeprefix(URL), body=body, headers=JOSE
            ).status_code

        with ThreadPoolExecutor(len(bodies)) as pool:
            assert sorted(pool.map(finalize, bodies)) == [200, 409, 409]
        client.drop_nonce()
        [valid] = [o for o in orders if client.wait(o, "valid", "ready")["status"] == "valid"]
        said = run("--campaign", told["campaign"])
        assert said == "1 certificate: 1 renewed, 0 revoked, 0 expired, 0 left\n"
        assert client.order("web.lab.test", replaces=name).status_code == 409
        assert client.see(valid)["replaces"] == name
    check_node(workdir, database=settings_of(dsn))
