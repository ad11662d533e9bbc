"""Requests that are wrong in every way, at every door: the right words, and nobody is harmed.

The table is generated: each resource that takes a POST, times each way of spoiling a request.
"""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from tests.make.csrs import a_csr
from tests.make.lab import URL, Client, Lab, Result, a_lab, problem
from tests.make.signers import Signer, a_signer, b64

MAX_BODY = 8192


def key_change(client: Client, new: Signer) -> bytes:
    """Return what a new key of an account signs."""
    payload = {"account": client.kid, "oldKey": client.signer.jwk}
    return new.request(payload, url=f"{URL}/acme/key-change", header={"nonce": None})


class World:
    """A server, an account that has one of everything, and another account."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.client = lab.client()
        self.client.register()
        self.other = lab.client()
        self.other.register()
        order = self.client.placed("web.lab.test")
        seen = self.client.see(order)
        (authorization,) = seen["authorizations"]
        (challenge,) = self.client.challenges(order)
        issued = self.client.issued("www.lab.test")
        chain = self.client.post(self.client.see(issued)["certificate"]).content
        pem = chain.split(b"-----")[2].replace(b"\n", b"").decode()
        encoded = pem.rstrip("=").replace("+", "-").replace("/", "_")
        taken = self.other.signer  # so that the account keeps its key, whatever else is right
        csr = {"csr": b64(a_csr("web.lab.test"))}
        identifiers = [{"type": "dns", "value": "web.lab.test"}]
        self.doors: dict[str, tuple[str, bytes | dict[str, Any]]] = {
            "directory": (f"{URL}/acme/directory", b""),
            "new-nonce": (f"{URL}/acme/new-nonce", b""),
            "new-account": (f"{URL}/acme/new-account", {}),
            "account": (str(self.client.kid), b""),
            "orders": (f"{self.client.kid}/orders", b""),
            "new-order": (f"{URL}/acme/new-order", {"identifiers": identifiers}),
            "order": (order, b""),
            "finalize": (seen["finalize"], csr),
            "authorization": (authorization, b""),
            "challenge": (challenge["url"], b""),
            "certificate": (self.client.see(issued)["certificate"], b""),
            "revoke-cert": (f"{URL}/acme/revoke-cert", {"certificate": encoded}),
            "key-change": (f"{URL}/acme/key-change", key_change(self.client, taken)),
        }

    def spoiled(self, door: str, *, who: Client | None = None, **spoil: Any) -> Result:
        """Send what would be right at a door, spoiled."""
        client = who or self.client
        url, payload = self.doors[door]
        if door == "new-account":
            spoil = {"kid": None} | spoil
        return client.post(url, spoil.pop("payload", payload), **spoil)

    def sent(self, door: str, body: bytes, headers: dict[str, str] | None = None) -> Result:
        """Send bytes to a door."""
        return self.client.send(self.doors[door][0], body, headers)

    def body(self, door: str) -> bytes:
        """Return the body of a request that is right."""
        url, payload = self.doors[door]
        return self.client.signed(url, payload, **{"kid": None} if door == "new-account" else {})


DOORS = (
    "directory new-nonce new-account account orders new-order order finalize authorization "
    "challenge certificate revoke-cert key-change"
).split()

Spoil = Callable[[World, str], Result]

EVERYWHERE: dict[str, tuple[Spoil, int, str]] = {
    "no body": (lambda w, d: w.sent(d, b""), 400, "malformed"),
    "no JSON": (lambda w, d: w.sent(d, b"{oops"), 400, "malformed"),
    "no UTF-8": (lambda w, d: w.sent(d, b'{"protected":"\xff"}'), 400, "malformed"),
    "an array": (lambda w, d: w.sent(d, b"[]"), 400, "malformed"),
    "depth": (lambda w, d: w.sent(d, b"[" * 8000), 400, "malformed"),
    "a NUL": (
        lambda w, d: w.sent(d, w.body(d).replace(b"{", b'{"x":"\\u0000",')),
        400,
        "malformed",
    ),
    "a bare NUL": (lambda w, d: w.sent(d, b"\0" + w.body(d)), 400, "malformed"),
    "no content type": (lambda w, d: w.sent(d, w.body(d), {"Content-Type": ""}), 415, "malformed"),
    "application/json": (
        lambda w, d: w.sent(d, w.body(d), {"Content-Type": "application/json"}),
        415,
        "malformed",
    ),
    "oversized": (lambda w, d: w.sent(d, b"x" * (MAX_BODY + 1)), 413, "malformed"),
    "oversized and signed": (
        lambda w, d: w.spoiled(d, payload=b"x" * MAX_BODY),
        413,
        "malformed",
    ),
    "another url": (lambda w, d: w.spoiled(d, header={"url": f"{URL}/x"}), 403, "unauthorized"),
    "an http url": (
        lambda w, d: w.spoiled(d, header={"url": w.doors[d][0].replace("https", "http")}),
        403,
        "unauthorized",
    ),
    "no url": (lambda w, d: w.spoiled(d, header={"url": None}), 403, "unauthorized"),
    "no nonce": (lambda w, d: w.spoiled(d, header={"nonce": None}), 400, "badNonce"),
    "an invented nonce": (lambda w, d: w.spoiled(d, nonce="AAAAAAAAAAAA"), 400, "badNonce"),
    "alg none": (lambda w, d: w.spoiled(d, header={"alg": "none"}), 400, "badSignatureAlgorithm"),
    "alg HS256": (lambda w, d: w.spoiled(d, header={"alg": "HS256"}), 400, "badSignatureAlgorithm"),
    "alg RS256": (lambda w, d: w.spoiled(d, header={"alg": "RS256"}), 400, "badSignatureAlgorithm"),
    "no alg": (lambda w, d: w.spoiled(d, header={"alg": None}), 400, "malformed"),
    "no signature": (lambda w, d: w.spoiled(d, signature=b""), 400, "malformed"),
    "another signature": (lambda w, d: w.spoiled(d, signature=b"\1" * 64), 400, "malformed"),
    "neither jwk nor kid": (
        lambda w, d: w.spoiled(d, header={"jwk": None, "kid": None}),
        400,
        "malformed",
    ),
    "jwk and kid": (
        lambda w, d: w.spoiled(d, header={"jwk": a_signer().jwk, "kid": w.client.kid}),
        400,
        "malformed",
    ),
    "crit": (lambda w, d: w.spoiled(d, header={"crit": ["exp"]}), 400, "malformed"),
    "an unprotected header": (lambda w, d: w.spoiled(d, outer={"header": {}}), 400, "malformed"),
    "a secret key": (
        lambda w, d: w.spoiled(d, kid=None, header={"jwk": a_signer().jwk | {"d": "AA"}}),
        400,
        "malformed",
    ),
}  # fmt: skip
WITH_AN_ACCOUNT: dict[str, tuple[Spoil, int, str]] = {
    "a kid of nobody": (
        lambda w, d: w.spoiled(d, kid=f"{URL}/acme/acct/{'0' * 26}"),
        400,
        "accountDoesNotExist",
    ),
    "a kid elsewhere": (
        lambda w, d: w.spoiled(d, kid="https://evil.test/acme/acct/1"),
        400,
        "accountDoesNotExist",
    ),
    "another's kid": (lambda w, d: w.spoiled(d, kid=w.other.kid), 400, "malformed"),
}
WITH_A_PAYLOAD = [
    "new-account",
    "new-order",
    "finalize",
    "revoke-cert",
    "account",
    "challenge",
    "authorization",
    "key-change",
]
WRONG_PAYLOADS: dict[str, bytes] = {
    "no JSON": b"{oops",
    "an array": b"[]",
    "a number": b"7",
    "null": b"null",
    "a NUL": b'{"x":"a\\u0000"}',
    "a member twice": b'{"x":1,"x":2}',
    "no UTF-8": b'{"csr":"\xff"}',
    "depth": b'{"x":' * 900,
}
OWNED = ["account", "orders", "order", "finalize", "authorization", "challenge", "certificate"]
SHOWN_ONLY = ["directory", "new-nonce", "orders", "order", "certificate"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with a_lab(tmp_path_factory.mktemp("lab"), max_body_bytes=MAX_BODY) as lab:
        made = World(lab)
        yield made
        # After all of that the server is as good as new.
        assert made.client.certificate("after.lab.test").startswith(b"-----BEGIN CERTIFICATE")


def check(result: Result, status: int, kind: str) -> None:
    """Check an answer: the problem, and a nonce for the next request."""
    assert problem(result)[:2] == (status, kind)
    assert "replay-nonce" in result.headers
    assert result.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(("spoil", "status", "kind"), EVERYWHERE.values(), ids=EVERYWHERE)
@pytest.mark.parametrize("door", DOORS)
def test_a_wrong_request_is_refused_at_every_door(
    world: World, door: str, spoil: Spoil, status: int, kind: str
) -> None:
    check(spoil(world, door), status, kind)


@pytest.mark.parametrize(("spoil", "status", "kind"), WITH_AN_ACCOUNT.values(), ids=WITH_AN_ACCOUNT)
@pytest.mark.parametrize("door", [door for door in DOORS if door != "new-account"])
def test_who_is_not_the_account_is_refused(
    world: World, door: str, spoil: Spoil, status: int, kind: str
) -> None:
    check(spoil(world, door), status, kind)


@pytest.mark.parametrize(
    "door", [door for door in DOORS if door not in ("new-account", "revoke-cert")]
)
def test_a_key_alone_is_not_an_account(world: World, door: str) -> None:
    check(world.spoiled(door, kid=None), 400, "malformed")


def test_an_account_is_not_a_new_key(world: World) -> None:
    check(world.spoiled("new-account", kid=world.client.kid), 400, "malformed")


@pytest.mark.parametrize("payload", WRONG_PAYLOADS.values(), ids=WRONG_PAYLOADS)
@pytest.mark.parametrize("door", WITH_A_PAYLOAD)
def test_a_wrong_payload_is_malformed(world: World, door: str, payload: bytes) -> None:
    check(world.spoiled(door, payload=payload), 400, "malformed")


@pytest.mark.parametrize("door", ["new-account", "new-order", "finalize", "revoke-cert"])
def test_an_empty_payload_is_malformed_where_something_must_be_said(
    world: World, door: str
) -> None:
    check(world.spoiled(door, payload=b""), 400, "malformed")


@pytest.mark.parametrize("payload", [b"{}", b'""', b"null"])
@pytest.mark.parametrize("door", SHOWN_ONLY)
def test_what_is_only_shown_takes_no_payload(world: World, door: str, payload: bytes) -> None:
    check(world.spoiled(door, payload=payload), 400, "malformed")


@pytest.mark.parametrize("door", OWNED)
def test_another_accounts_object_is_unauthorized_and_said_so(world: World, door: str) -> None:
    result = world.spoiled(door, who=world.other)
    check(result, 403, "unauthorized")
    assert "another" in problem(result)[2]


@pytest.mark.parametrize("door", OWNED)
@pytest.mark.parametrize(
    "other", ["0" * 26, "x", "0" * 25, "0" * 26 + "x", "%00", "0-0", "..", "'"]
)
def test_what_never_was_is_not_found(world: World, door: str, other: str) -> None:
    url, payload = world.doors[door]
    own = url.removesuffix("/orders").rpartition("/")[2].partition("-")[0]
    check(world.client.post(url.replace(own, other), payload), 404, "malformed")


@pytest.mark.parametrize("place", ["99", "00", "-1", "x", "0-9", "0-00", "0-0-0", ""])
@pytest.mark.parametrize("door", ["authorization", "challenge"])
def test_a_part_that_an_order_has_not_is_not_found(world: World, door: str, place: str) -> None:
    order_id = world.doors["order"][0].rpartition("/")[2]
    base = "authz" if door == "authorization" else "challenge"
    check(world.client.post(f"{URL}/acme/{base}/{order_id}-{place}"), 404, "malformed")


@pytest.mark.parametrize("place", ["new-authz", "renewal-info", "", "acct/", "order"])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS", "DELETE"])
def test_what_does_not_exist_is_404(world: World, place: str, method: str) -> None:
    result = world.lab.wire.simulate_request(method, f"/acme/{place}")
    assert result.status_code == 404
    if method != "HEAD":
        assert problem(result)[1] == "malformed"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "TRACE"])
@pytest.mark.parametrize("door", [door for door in DOORS if door not in ("directory", "new-nonce")])
def test_what_is_asked_by_post_is_405_by_anything_else(
    world: World, door: str, method: str
) -> None:
    path = world.doors[door][0].removeprefix(URL)
    result = world.lab.wire.simulate_request(method, path)
    assert result.status_code == 405
    assert "POST" in result.headers["allow"]
    if method != "HEAD":
        assert problem(result)[1] == "malformed"


@pytest.mark.parametrize("door", DOORS)
def test_options_are_answered(world: World, door: str) -> None:
    path = world.doors[door][0].removeprefix(URL)
    assert world.lab.wire.simulate_options(path).status_code in (200, 204)


@pytest.mark.parametrize("door", DOORS)
def test_a_request_is_good_once(world: World, door: str) -> None:
    body = world.body(door)
    world.sent(door, body)
    result = world.sent(door, body)
    check(result, 400, "badNonce")
    assert problem(result)[2].startswith("JWS has an invalid anti-replay nonce")


# --- The doors that anybody may open


@pytest.mark.parametrize("path", ["/", "/directory", "/dir", "/acme/directory"])
def test_the_directory_is_where_people_look_for_it(world: World, path: str) -> None:
    result = world.lab.wire.simulate_get(path)
    assert result.status_code == 200
    assert result.headers["content-type"] == "application/json"
    assert result.json == {
        "newNonce": f"{URL}/acme/new-nonce",
        "newAccount": f"{URL}/acme/new-account",
        "newOrder": f"{URL}/acme/new-order",
        "revokeCert": f"{URL}/acme/revoke-cert",
        "renewalInfo": f"{URL}/acme/renewal-info",
        "keyChange": f"{URL}/acme/key-change",
    }
    assert world.lab.wire.simulate_head(path).status_code == 200


@pytest.mark.parametrize("door", ["directory", "new-nonce"])
def test_accounts_may_ask_by_post_as_get(world: World, door: str) -> None:
    result = world.spoiled(door)
    assert result.status_code in (200, 204)
    assert "replay-nonce" in result.headers


def test_a_nonce_is_200_by_head_and_204_by_get(world: World) -> None:
    by_head = world.lab.wire.simulate_head("/acme/new-nonce")
    by_get = world.lab.wire.simulate_get("/acme/new-nonce")
    assert (by_head.status_code, by_get.status_code) == (200, 204)
    nonces = [by_head.headers["replay-nonce"], by_get.headers["replay-nonce"]]
    assert nonces[0] != nonces[1]
    for result in (by_head, by_get):
        assert result.headers["cache-control"] == "no-store"
        assert result.content == b""
    for nonce in nonces:
        client = world.lab.client()
        assert client.post(f"{URL}/acme/new-account", {}, nonce=nonce).status_code == 201


def test_every_url_that_clients_are_told_is_https(world: World) -> None:
    for url in msgspec.json.decode(world.lab.wire.simulate_get("/").content).values():
        assert url.startswith("https://")
