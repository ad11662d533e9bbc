"""Names that are proven ahead of any order. RFC 8555 section 7.4.1."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from tests.fakes.clocks import HeldClock
from tests.make.csrs import a_csr, p256
from tests.make.lab import URL, Client, Lab, Result, a_lab, problem
from tests.make.signers import b64

NEW_AUTHZ = f"{URL}/acme/new-authz"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with a_lab(tmp_path_factory.mktemp("lab"), pre_authorization=True) as made:
        yield made


@pytest.fixture
def client(lab: Lab) -> Client:
    made = lab.client()
    made.register()
    return made


def asked(client: Client, name: str, kind: str = "dns") -> Result:
    return client.post(NEW_AUTHZ, {"identifier": {"type": kind, "value": name}})


def proven(client: Client, name: str) -> str:
    """Prove a name ahead of any order; return the authorization's URL."""
    result = asked(client, name)
    assert result.status_code == 201, result.text
    (challenge,) = result.json["challenges"]
    client.lab.shown[challenge["token"]] = client.key_authorization(challenge["token"])
    client.post(challenge["url"], {})
    url = str(result.headers["location"])
    assert client.wait(url, "valid", "invalid")["status"] == "valid"
    return url


def facts(lab: Lab, order: str) -> list[dict[str, Any]]:
    """Return the lines of an order, from the journal."""
    made = map(msgspec.json.decode, lab.journal())
    return [line for line in made if line["stream"] == f"order/{order.rpartition('/')[2]}"]


def test_the_directory_lists_it_where_it_is_offered(lab: Lab) -> None:
    assert lab.wire.simulate_get("/acme/directory").json["newAuthz"] == NEW_AUTHZ


def test_it_is_not_there_by_default(tmp_path_factory: pytest.TempPathFactory) -> None:
    with a_lab(tmp_path_factory.mktemp("lab")) as lab:
        client = lab.client()
        client.register()
        assert "newAuthz" not in lab.wire.simulate_get("/acme/directory").json
        assert problem(asked(client, "web.lab.test"))[:2] == (404, "malformed")


def test_a_new_authorization_is_201_with_its_url(client: Client) -> None:
    result = asked(client, "WEB.lab.test")
    assert result.status_code == 201
    url = result.headers["location"]
    assert url.startswith(f"{URL}/acme/authz/")
    assert url.endswith("-0")
    assert client.see(url) == result.json
    assert result.json["status"] == "pending"
    assert result.json["identifier"] == {"type": "dns", "value": "web.lab.test"}
    assert len(result.json["expires"]) == 20


def test_a_name_that_was_proven_is_valid_in_the_next_order(lab: Lab, client: Client) -> None:
    """RFC 8555 section 7.4.1, and pitfall 25: a valid authorization lists what was solved."""
    url = proven(client, "web.lab.test")
    result = client.order("web.lab.test")
    assert (result.status_code, result.json["status"]) == (201, "ready")
    order = result.headers["location"]
    (own,) = result.json["authorizations"]
    assert own != url
    authorization = client.see(own)
    assert authorization["status"] == "valid"
    (challenge,) = authorization["challenges"]
    assert (challenge["type"], challenge["status"]) == ("http-01", "valid")
    assert len(challenge["validated"]) == 20
    first, second, third = facts(lab, order)
    assert [first["type"], second["type"], third["type"]] == [
        "order.created",
        "authorization.prevalidated",
        "order.ready",
    ]
    assert second["data"]["rule"] == f"authorization {url.rpartition('/')[2]}"
    assert client.finalize(order, a_csr("web.lab.test")).json["status"] == "valid"


def test_the_other_names_of_an_order_are_still_to_be_proven(client: Client) -> None:
    proven(client, "web.lab.test")
    order = client.placed("web.lab.test", "www.lab.test")
    seen = client.see(order)
    assert seen["status"] == "pending"
    statuses = [client.see(url)["status"] for url in seen["authorizations"]]
    assert statuses == ["valid", "pending"]
    _first, second = client.challenges(order)
    client.lab.shown[second["token"]] = client.key_authorization(second["token"])
    client.post(second["url"], {})
    assert client.wait(order, "ready", "invalid")["status"] == "ready"
    csr = a_csr("web.lab.test", "www.lab.test")
    assert client.finalize(order, csr).json["status"] == "valid"


def test_nobody_else_has_anything_of_it(lab: Lab, client: Client) -> None:
    url = proven(client, "web.lab.test")
    other = lab.client()
    other.register()
    assert problem(other.post(url))[:2] == (403, "unauthorized")
    assert other.order("web.lab.test").json["status"] == "pending"


def test_what_was_given_up_is_to_be_proven_again(client: Client) -> None:
    url = proven(client, "web.lab.test")
    assert client.post(url, {"status": "deactivated"}).json["status"] == "deactivated"
    assert client.order("web.lab.test").json["status"] == "pending"


def test_an_order_that_is_ready_by_what_is_given_up_gets_no_certificate(client: Client) -> None:
    """RFC 8555 section 7.5.2."""
    url = proven(client, "web.lab.test")
    order = client.placed("web.lab.test")
    assert client.see(order)["status"] == "ready"
    assert client.post(url, {"status": "deactivated"}).json["status"] == "deactivated"
    result = problem(client.finalize(order, a_csr("web.lab.test", key=p256(1))))
    assert result[:2] == (403, "unauthorized")
    assert "web.lab.test was known was deactivated; place a new order" in result[2]


def test_what_has_expired_is_to_be_proven_again(tmp_path_factory: pytest.TempPathFactory) -> None:
    clock = HeldClock()
    with a_lab(tmp_path_factory.mktemp("lab"), clock=clock, pre_authorization=True) as lab:
        client = lab.client()
        client.register()
        url = proven(client, "web.lab.test")
        clock.pass_by(7 * 24 * 3600)
        client.drop_nonce()
        assert client.see(url)["status"] == "expired"
        assert client.order("web.lab.test").json["status"] == "pending"


def test_it_is_no_order_and_never_will_be(client: Client) -> None:
    url = proven(client, "web.lab.test")
    order_id = url.rpartition("/")[2].removesuffix("-0")
    assert client.see(f"{client.kid}/orders") == {"orders": []}
    csr = {"csr": b64(a_csr("web.lab.test"))}
    for place, payload in (("order", b""), ("finalize", csr), ("cert", b"")):
        result = client.post(f"{URL}/acme/{place}/{order_id}", payload)
        assert problem(result)[:2] == (404, "malformed")


@pytest.mark.parametrize(
    ("name", "kind", "error"),
    [
        ("*.lab.test", "dns", "malformed"),
        ("web.corp.test", "dns", "rejectedIdentifier"),
        ("", "dns", "rejectedIdentifier"),
        ("web.lab.test", "email", "unsupportedIdentifier"),
    ],
)
def test_what_cannot_be_ordered_cannot_be_proven_ahead(
    client: Client, name: str, kind: str, error: str
) -> None:
    assert problem(asked(client, name, kind))[:2] == (400, error)


@pytest.mark.parametrize("payload", [b"{}", b"", b'{"identifier":[]}'])
def test_a_request_without_an_identifier_is_malformed(client: Client, payload: bytes) -> None:
    assert problem(client.post(NEW_AUTHZ, payload))[:2] == (400, "malformed")
