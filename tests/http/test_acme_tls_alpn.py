"""tls-alpn-01 from the order to the certificate. RFC 8737."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from certeasy.settings import Settings
from tests.fakes.web_server import WebServer
from tests.make.alpn import AlpnShelf, right_certificate
from tests.make.csrs import a_csr
from tests.make.lab import Client, Lab, a_lab


@dataclass
class Place:
    """A lab, and what a TLS server shows that every name leads to."""

    lab: Lab
    shelf: AlpnShelf


def by_tls(settings: Settings, port: int) -> Settings:
    """Return settings whose policy offers tls-alpn-01 first, looked for on this port."""
    (policy,), (profile,) = settings.issuance_policies, settings.dns_validation_profiles
    policy = msgspec.structs.replace(policy, challenges=("tls-alpn-01", "http-01"))
    profile = msgspec.structs.replace(profile, tls_alpn_01_port=port)
    return msgspec.structs.replace(
        settings, issuance_policies=(policy,), dns_validation_profiles=(profile,)
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    shelf = AlpnShelf(tmp_path_factory.mktemp("certificates"))
    with (
        WebServer(lambda _: [], tls=shelf.context) as server,
        a_lab(
            tmp_path_factory.mktemp("lab"), change=lambda settings: by_tls(settings, server.port)
        ) as lab,
    ):
        yield Place(lab, shelf)


@pytest.fixture
def client(place: Place) -> Client:
    made = place.lab.client()
    made.register()
    return made


def offered(client: Client, order: str) -> dict[str, dict[str, Any]]:
    (url,) = client.see(order)["authorizations"]
    return {each["type"]: each for each in client.see(url)["challenges"]}


def evidence(place: Place, order: str, kind: str) -> dict[str, Any]:
    """Return what an event of an order says was seen."""
    lines = map(msgspec.json.decode, place.lab.journal())
    stream = f"order/{order.rpartition('/')[2]}"
    (line,) = [line for line in lines if (line["stream"], line["type"]) == (stream, kind)]
    seen: dict[str, Any] = line["data"]["evidence"]
    return seen


def test_the_way_to_a_certificate_by_tls_alpn_01(place: Place, client: Client) -> None:
    """RFC 8737 section 3; what was seen goes into the event."""
    order = client.placed("web.lab.test")
    challenges = offered(client, order)
    assert list(challenges) == ["tls-alpn-01", "http-01"]
    challenge = challenges["tls-alpn-01"]
    proof = client.key_authorization(challenge["token"])
    place.shelf.lay("web.lab.test", right_certificate("web.lab.test", proof))
    assert client.post(challenge["url"], {}).status_code == 200
    assert client.wait(order, "ready", "invalid")["status"] == "ready"
    assert list(offered(client, order)) == ["tls-alpn-01"]
    seen = evidence(place, order, "challenge.validated")
    assert (seen["address"], seen["alpn"]) == ("127.0.0.1", "acme-tls/1")
    assert len(seen["certificate_sha256"]) == 64
    client.finalize(order, a_csr("web.lab.test"))
    assert client.wait(order, "valid", "invalid")["status"] == "valid"


def test_a_wrong_certificate_fails_the_order_with_the_reason(place: Place, client: Client) -> None:
    """Pitfall 28: the challenge and the order say what was seen."""
    order = client.placed("api.lab.test")
    challenge = offered(client, order)["tls-alpn-01"]
    place.shelf.lay("api.lab.test", right_certificate("api.lab.test", "another challenge"))
    client.post(challenge["url"], {})
    ended = client.wait(order, "ready", "invalid")
    error = client.see(challenge["url"])["error"]
    assert ended["error"] == error
    assert error["type"].endswith(":unauthorized")
    assert "acmeIdentifier is that of another challenge or account" in error["detail"]
    assert evidence(place, order, "challenge.failed")["alpn"] == "acme-tls/1"
