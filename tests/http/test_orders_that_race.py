"""What happens to one order, or one account, at the same time: each thing once, and none too late.

The requests are signed beforehand and let go together; what the log has afterwards is looked at as
a whole. RFC 8555 sections 7.3.6, 7.4 and 7.5.1.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.make.checks import check_node
from tests.make.csrs import a_csr, p256
from tests.make.lab import JOSE, URL, Client, Lab, Result, a_lab, problem
from tests.make.signers import b64

MANY = 6


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with a_lab(tmp_path) as made:
        yield made
    check_node(tmp_path)


@pytest.fixture
def client(lab: Lab) -> Client:
    made = lab.client()
    made.register()
    return made


def signed(client: Client, url: str, payload: bytes | dict[str, Any]) -> tuple[str, bytes]:
    client.drop_nonce()
    return url, client.signed(url, payload)


def at_once(lab: Lab, requests: Sequence[tuple[str, bytes]]) -> list[Result]:
    """Let requests go at the same time; return the answers in their order."""
    barrier = Barrier(len(requests))

    def send(request: tuple[str, bytes]) -> Result:
        url, body = request
        barrier.wait()
        return lab.wire.simulate_post(url.removeprefix(URL), body=body, headers=JOSE)

    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(send, requests))


def facts(lab: Lab, *types: str) -> list[dict[str, Any]]:
    """Return what the journal has of some types, in order."""
    lines = map(msgspec.json.decode, lab.journal())
    return [line for line in lines if line["type"] in types]


def an_order(*names: str) -> dict[str, Any]:
    return {"identifiers": [{"type": "dns", "value": name} for name in names]}


def test_orders_for_the_same_names_are_orders_of_their_own(lab: Lab, client: Client) -> None:
    url = f"{URL}/acme/new-order"
    answers = at_once(lab, [signed(client, url, an_order("a.lab.test")) for _ in range(MANY)])
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.headers["location"] for answer in answers}) == MANY
    assert len(facts(lab, "order.created")) == MANY


@pytest.mark.parametrize("attempt", range(3))
def test_no_order_is_placed_once_the_account_is_closed(
    lab: Lab, client: Client, attempt: int
) -> None:
    del attempt
    url = f"{URL}/acme/new-order"
    requests = [signed(client, url, an_order(f"n{n}.lab.test")) for n in range(MANY)]
    requests.insert(MANY // 2, signed(client, str(client.kid), {"status": "deactivated"}))
    answers = at_once(lab, requests)
    assert answers[MANY // 2].status_code == 200
    happened = [line["type"] for line in facts(lab, "order.created", "account.deactivated")]
    assert happened[-1] == "account.deactivated"
    placed = [answer for answer in answers if answer.status_code == 201]
    assert happened.count("order.created") == len(placed)
    for answer in answers:
        if answer.status_code not in (200, 201):
            assert problem(answer)[:2] == (403, "unauthorized")


def test_a_challenge_is_accepted_once(lab: Lab, client: Client) -> None:
    order = client.placed("web.lab.test")
    [challenge] = client.challenges(order)
    client.lab.shown[challenge["token"]] = client.key_authorization(challenge["token"])
    answers = at_once(lab, [signed(client, challenge["url"], {}) for _ in range(MANY)])
    assert {answer.status_code for answer in answers} == {200}
    assert client.wait(order, "ready", "invalid")["status"] == "ready"
    happened = [line["type"] for line in facts(lab, "challenge.accepted", "challenge.validated")]
    assert happened == ["challenge.accepted", "challenge.validated"]


def test_of_several_requests_for_one_order_one_is_taken(lab: Lab, client: Client) -> None:
    order = client.ready("web.lab.test")
    url = client.see(order)["finalize"]
    csrs = [b64(a_csr("web.lab.test", key=p256(n + 1))) for n in range(MANY)]
    answers = at_once(lab, [signed(client, url, {"csr": csr}) for csr in csrs])
    assert sorted(answer.status_code for answer in answers) == [200, *[403] * (MANY - 1)]
    assert all(problem(a)[1] == "orderNotReady" for a in answers if a.status_code == 403)
    assert client.wait(order, "valid", "invalid")["status"] == "valid"
    happened = facts(lab, "order.finalized", "certificate.issued")
    assert [line["type"] for line in happened] == ["order.finalized", "certificate.issued"]


def test_the_same_request_sent_many_times_is_one_certificate(lab: Lab, client: Client) -> None:
    """Pitfall 20: some clients poll by finalizing again."""
    order = client.ready("web.lab.test")
    url, csr = client.see(order)["finalize"], b64(a_csr("web.lab.test"))
    answers = at_once(lab, [signed(client, url, {"csr": csr}) for _ in range(MANY)])
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.headers["location"] for answer in answers} == {order}
    assert client.wait(order, "valid", "invalid")["status"] == "valid"
    assert len(facts(lab, "order.finalized", "certificate.issued")) == 2


def test_a_certificate_is_revoked_once(lab: Lab, client: Client) -> None:
    chain = client.certificate("web.lab.test")
    der = b64(x509.load_pem_x509_certificate(chain).public_bytes(Encoding.DER))
    url = f"{URL}/acme/revoke-cert"
    answers = at_once(lab, [signed(client, url, {"certificate": der}) for _ in range(MANY)])
    assert sorted(answer.status_code for answer in answers) == [200, *[400] * (MANY - 1)]
    assert all(problem(a)[1] == "alreadyRevoked" for a in answers if a.status_code == 400)
    assert len(facts(lab, "certificate.revoked")) == 1


def test_a_key_that_registers_itself_many_times_has_one_account(lab: Lab) -> None:
    stranger = lab.client()
    url, payload = f"{URL}/acme/new-account", {"termsOfServiceAgreed": True}
    answers = at_once(lab, [signed(stranger, url, payload) for _ in range(MANY)])
    assert sorted(answer.status_code for answer in answers) == [*[200] * (MANY - 1), 201]
    assert len({answer.headers["location"] for answer in answers}) == 1
    assert len(facts(lab, "account.created")) == 1
