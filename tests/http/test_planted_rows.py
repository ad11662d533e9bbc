"""Who can write to the database changes rows while the server is down, and knows a client: what an
order is held against is what the log says, whatever stands in the tables.
"""

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from certeasy.settings import PolicyBinding, Settings, SignatureRules, WorkerSettings
from tests.fakes.web_server import WebServer, page
from tests.make.acme_server import free_port
from tests.make.bindings import bound_client
from tests.make.csrs import a_csr, p256
from tests.make.lab import Client, Lab, a_lab, problem
from tests.make.waiting import soon
from tests.make.workdirs import sql

replace = msgspec.structs.replace
NAME = "web.bank.lab.test"


def planted(folder: Path, table: str, key: str, *members: str) -> None:
    """Change members of a row; the log is left as it is."""
    changed = ", ".join(members)
    column = "kid" if table == "eab_keys" else "id"
    sql(
        folder / "db.sqlite",
        f"UPDATE {table} SET body = CAST(json_set(body, {changed}) AS BLOB)"  # noqa: S608 - ours
        f" WHERE {column} = '{key}'",
    )


def moved(client: Client, lab: Lab) -> Client:
    """Have a client speak to the server that was started again."""
    client.lab = lab
    client.drop_nonce()
    return client


def two_policies(settings: Settings) -> Settings:
    """A strict policy that is tried first, and a lax one."""
    (policy,) = settings.issuance_policies
    (profile,) = settings.dns_validation_profiles
    closed = replace(profile, name="closed", http_01_port=free_port())
    strict = replace(
        policy,
        name="strict",
        dns_validation_profile="closed",
        signature=SignatureRules(allowed_ec_curves=("P-384",)),
    )
    return replace(
        settings,
        workers=WorkerSettings(workers=2, base_backoff=timedelta(milliseconds=10)),
        dns_validation_profiles=(profile, closed),
        issuance_policies=(strict, policy),
        policy_bindings=tuple(
            PolicyBinding(policy=each.name, authorities=("lab-ca",)) for each in (strict, policy)
        ),
    )


@pytest.mark.parametrize("where", ["key", "account"])
def test_a_binding_is_worth_what_the_log_says(tmp_path: Path, where: str) -> None:
    """Neither names nor proofs are granted by a row that says so; and the next order is as ever."""
    with a_lab(tmp_path) as lab:
        client, key = bound_client(lab, allow=(".shop.lab.test/1",))
        assert problem(client.order(NAME))[1] == "rejectedIdentifier"
    assert client.kid is not None
    if where == "key":
        granted = (
            "'$.allow'",
            "json_array('.bank.lab.test/1')",
            "'$.prevalidated'",
            "json('true')",
        )
        planted(tmp_path, "eab_keys", key.kid, *granted)
    else:
        planted(tmp_path, "accounts", client.kid.rpartition("/")[2], "'$.eab'", "''")
    with a_lab(tmp_path) as lab:
        moved(client, lab)
        status, kind, detail = problem(client.order(NAME))
        assert (status, kind) == (500, "serverInternal")
        assert "is not what the order was held against" in detail
        assert problem(client.order(NAME))[1] == "rejectedIdentifier"
        client.certificate("web.shop.lab.test")


def test_a_request_is_held_against_the_order_of_the_log(tmp_path: Path) -> None:
    """A row says that the order is under another policy, which takes smaller keys."""
    csr = a_csr("web.lab.test", key=p256(1))

    def change(settings: Settings) -> Settings:
        wide = two_policies(settings)
        profile = settings.dns_validation_profiles[0].name
        strict, lax = wide.issuance_policies
        strict = replace(strict, dns_validation_profile=profile)
        return replace(wide, issuance_policies=(strict, lax))

    with a_lab(tmp_path, change=change) as lab:
        client = lab.client()
        client.register()
        order = client.ready("web.lab.test")
        assert problem(client.finalize(order, csr))[1] == "badCSR"
    planted(tmp_path, "orders", order.rpartition("/")[2], "'$.policy'", "'lab'")
    with a_lab(tmp_path, change=change) as lab:
        moved(client, lab)
        assert problem(client.finalize(order, csr))[1] == "serverInternal"
        assert problem(client.finalize(order, csr))[1] == "badCSR"


def test_a_proof_counts_for_the_order_of_the_log(tmp_path: Path) -> None:
    """A row says that the order is under a policy that looks elsewhere, where the answer is."""
    shown: dict[str, str] = {}
    asked: list[bytes] = []

    def answer(request: bytes) -> list[bytes | float]:
        asked.append(request)
        return [page(shown["it"].encode())]

    with WebServer(answer) as web:

        def change(settings: Settings) -> Settings:
            wide = two_policies(settings)
            profile, closed = wide.dns_validation_profiles
            profile = replace(profile, http_01_port=web.port)
            return replace(wide, dns_validation_profiles=(profile, closed))

        patient = WorkerSettings(workers=2, base_backoff=timedelta(minutes=1))
        with a_lab(tmp_path, change=change, sections={"workers": patient}) as lab:
            client = lab.client()
            client.register()
            order = client.placed("web.lab.test")
            (challenge,) = client.challenges(order)
            assert client.post(challenge["url"], {}).status_code == 200
        shown["it"] = client.key_authorization(challenge["token"])
        planted(tmp_path, "orders", order.rpartition("/")[2], "'$.policy'", "'lab'")
        assert asked == []
        with a_lab(tmp_path, change=change) as lab:
            moved(client, lab)
            soon(lambda: asked and lab.server.workers.waiting() == 0)
            assert client.see(order)["status"] == "pending"
            lab.server.workers.look_around()
            assert client.wait(order, "ready", "invalid")["status"] == "invalid"
