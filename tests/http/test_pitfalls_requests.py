"""Nonces and signed requests, where clients are known to stumble: pitfalls 1 to 10."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.clocks import HeldClock
from tests.make.csrs import a_csr
from tests.make.lab import URL, Client, Lab, a_lab, problem
from tests.make.pitfalls import everything, links, values
from tests.make.signers import ALGORITHMS, Signer, a_signer, b64, the_signer

BAD = "JWS has an invalid anti-replay nonce"
NEW_ACCOUNT = f"{URL}/acme/new-account"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with a_lab(tmp_path_factory.mktemp("lab")) as made:
        yield made


@pytest.fixture
def client(lab: Lab) -> Client:
    made = lab.client()
    made.register()
    return made


def test_pitfall_01_a_bad_nonce_is_told_in_the_words_that_acme_sh_knows(tmp_path: Path) -> None:
    """Pitfall 1, RFC 8555 section 6.5: whatever is wrong with it, the detail begins alike."""
    clock = HeldClock()
    with a_lab(tmp_path, clock=clock) as lab:
        client = lab.client()
        used, old = lab.a_nonce(), lab.a_nonce()
        assert client.post(NEW_ACCOUNT, {}, nonce=used).status_code == 201
        clock.pass_by(121)
        for nonce in (used, old, "AAAAAAAAAAAAAAAAAAAA", "x", "*"):
            detail = problem(client.post(NEW_ACCOUNT, {}, nonce=nonce))[2]
            assert detail.startswith(f"{BAD}: ")
            assert len(detail) > len(BAD) + 4


def test_pitfall_02_a_bad_nonce_is_400_and_the_next_one_is_good(lab: Lab, client: Client) -> None:
    """Pitfall 2, RFC 8555 section 6.5: some clients try once more, with the answer's nonce."""
    for _ in range(20):
        result = client.post(str(client.kid), nonce="AAAAAAAAAAAAAAAAAAAA")
        assert problem(result)[:2] == (400, "badNonce")
        assert result.headers["content-type"] == "application/problem+json"
        again = client.post(str(client.kid), nonce=result.headers["replay-nonce"])
        assert again.status_code == 200


def test_pitfall_02_a_nonce_is_good_after_a_restart(tmp_path: Path) -> None:
    """Pitfall 2: three clients never ask again."""
    with a_lab(tmp_path) as lab:
        client = lab.client()
        nonce = client.register().headers["replay-nonce"]
    with a_lab(tmp_path) as lab:
        again = Client(lab, client.signer)
        again.kid = client.kid
        assert again.post(str(client.kid), nonce=nonce).status_code == 200


def test_pitfall_03_a_nonce_is_base64url_without_padding(lab: Lab) -> None:
    """Pitfall 3, RFC 8555 section 6.5.1: certbot decodes it."""
    for _ in range(50):
        nonce = lab.a_nonce()
        assert len(nonce) % 4 != 1
        assert "=" not in nonce
        decoded = base64.urlsafe_b64decode(nonce + "=" * (-len(nonce) % 4))
        assert b64(decoded) == nonce


def test_pitfall_04_every_answer_to_a_post_has_a_nonce(lab: Lab, client: Client) -> None:
    """Pitfall 4, RFC 8555 section 6.5: certbot raises without one, also after a success."""
    order = client.ready("web.lab.test")
    seen = client.see(order)
    (authorization,) = seen["authorizations"]
    (challenge,) = client.challenges(order)
    answers = [
        client.post(order),
        client.post(authorization),
        client.post(challenge["url"], {}),
        client.finalize(order, b"nonsense"),
        client.finalize(order, a_csr("web.lab.test")),
    ]
    certificate = client.post(client.see(order)["certificate"])
    der = certificate.content.split(b"-----")[2].replace(b"\n", b"").decode()
    encoded = der.rstrip("=").replace("+", "-").replace("/", "_")
    answers += [
        certificate,
        client.post(f"{URL}/acme/revoke-cert", {"certificate": encoded}),
        client.post(f"{URL}/acme/revoke-cert", {"certificate": encoded}),
        client.post(str(client.kid), {}),
        client.post(f"{client.kid}/orders"),
        client.post(f"{URL}/acme/nowhere"),
        client.send("/acme/new-order", b"{}"),
        client.send("/acme/new-order", b"{}", {"Content-Type": "text/plain"}),
        client.post(str(client.kid), {"status": "deactivated"}),
    ]
    nonces = [answer.headers.get("replay-nonce") for answer in answers]
    assert all(nonces)
    assert len(set(nonces)) == len(answers)
    assert [a.status_code for a in answers].count(200) == 9


def test_pitfall_04_nonces_are_not_kept_by_caches(lab: Lab) -> None:
    """Pitfall 4, RFC 8555 section 7.2."""
    for result in (
        lab.wire.simulate_head("/acme/new-nonce"),
        lab.wire.simulate_get("/acme/new-nonce"),
    ):
        assert result.headers["cache-control"] == "no-store"
    info = lab.wire.simulate_get("/acme/renewal-info/x")
    assert "replay-nonce" not in info.headers


def test_pitfall_05_a_nonce_is_given_by_both_verbs(lab: Lab) -> None:
    """Pitfall 5, RFC 8555 section 7.2: HEAD is 200, GET is 204, and some clients know one only."""
    head = lab.wire.simulate_head("/acme/new-nonce")
    get = lab.wire.simulate_get("/acme/new-nonce")
    assert (head.status_code, get.status_code) == (200, 204)
    assert (head.content, get.content) == (b"", b"")
    nonces = [head.headers["replay-nonce"], get.headers["replay-nonce"]]
    for nonce in nonces:
        assert lab.client().post(NEW_ACCOUNT, {}, nonce=nonce).status_code == 201
        assert links(lab, "index") == [f"{URL}/acme/directory"]


class _Short(Signer):
    """Signs until R or S begins with a zero octet, and leaves that out."""

    def sign(self, data: bytes) -> bytes:
        while True:
            whole = super().sign(data)
            r, s = whole[:32], whole[32:]
            if r[0] == 0:
                return r[1:] + s


def test_pitfall_06_an_es256_signature_without_its_leading_zero_is_read(lab: Lab) -> None:
    """Pitfall 6, RFC 7518 section 3.4: macOS leaves it out."""
    client = lab.client(_Short("ES256", a_signer().private_key))
    body = client.signed(NEW_ACCOUNT, {})
    assert client.send("/acme/new-account", body).status_code == 201


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_pitfall_07_the_algorithms_of_the_field_are_taken(lab: Lab, alg: str) -> None:
    """Pitfall 7, RFC 8555 section 6.2."""
    assert lab.client(a_signer(alg)).post(NEW_ACCOUNT, {}).status_code == 201
    if alg == "ES512":
        assert len(a_signer(alg).sign(b"x")) == 132


@pytest.mark.parametrize("alg", ["none", "HS256", "HS512", "PS256", "RS384", "ES256K", "x"])
def test_pitfall_07_what_is_not_taken_is_answered_with_what_is(lab: Lab, alg: str) -> None:
    """Pitfall 7, RFC 8555 section 6.2: an `algorithms` array is in the problem."""
    result = lab.client().post(NEW_ACCOUNT, {}, header={"alg": alg})
    assert problem(result)[:2] == (400, "badSignatureAlgorithm")
    assert sorted(result.json["algorithms"]) == sorted(ALGORITHMS)


def test_pitfall_07_a_key_of_the_wrong_size_is_a_bad_public_key(lab: Lab) -> None:
    """Pitfall 7, RFC 8555 section 6.7."""
    weak = the_signer("RS256").jwk | {"n": b64(b"\xff" * 128)}
    result = lab.client(the_signer("RS256")).post(NEW_ACCOUNT, {}, header={"jwk": weak})
    assert problem(result)[:2] == (400, "badPublicKey")


def test_pitfall_08_a_request_may_name_the_server_by_any_of_its_addresses(tmp_path: Path) -> None:
    """Pitfall 8, RFC 8555 section 6.4: behind a proxy that ends TLS, with two public names."""
    other = "https://acme.other.test:8443"
    with a_lab(tmp_path, url=(URL, other)) as lab:
        client = lab.client()
        client.register()
        named = str(client.kid).replace(URL, other)
        for url, kid in ((client.kid, named), (named, client.kid), (named, named)):
            body = client.signed(str(url), b"", kid=kid)
            assert client.send(str(client.kid), body).status_code == 200
        for wrong in ("http://acme.lab.test", "https://acme.lab.test:443", "https://evil.test"):
            body = client.signed(str(client.kid).replace(URL, wrong))
            assert problem(client.send(str(client.kid), body))[:2] == (403, "unauthorized")


def test_pitfall_08_no_url_is_http(lab: Lab, client: Client) -> None:
    """Pitfall 8: lego refuses a directory with one, also where TLS ends at a load balancer."""
    order = client.issued("web.lab.test")
    for result in everything(client, order):
        for value in values(result.json):
            assert not str(value).startswith("http:")
            if isinstance(value, str) and "://" in value:
                assert value.startswith(f"{URL}/acme/")
        for link in lab.links:
            assert link.startswith(f"<{URL}/acme/")
        assert result.headers.get("location", URL).startswith(URL)


def test_pitfall_09_a_key_is_itself_whatever_else_its_jwk_says(lab: Lab, client: Client) -> None:
    """Pitfall 9, RFC 7638 section 3.2: identity is the thumbprint."""
    adorned = Signer("ES256", client.signer.private_key)
    adorned.jwk = client.signer.jwk | {"kid": "mine", "use": "sig", "alg": "ES256", "x5t": "x"}
    result = lab.client(adorned).post(NEW_ACCOUNT, {"onlyReturnExisting": True})
    assert (result.status_code, result.headers["location"]) == (200, client.kid)


@pytest.mark.parametrize(
    "content_type",
    [
        "application/jose+json",
        "application/jose+json; charset=utf-8",
        "APPLICATION/JOSE+JSON",
        'Application/Jose+Json;charset="utf-8"',
    ],
)
def test_pitfall_10_the_content_type_is_read_as_http_has_it(
    client: Client, content_type: str
) -> None:
    """Pitfall 10, RFC 8555 section 6.2."""
    body = client.signed(str(client.kid))
    result = client.send(str(client.kid), body, {"Content-Type": content_type})
    assert result.status_code == 200


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", ""])
def test_pitfall_10_another_content_type_is_415(client: Client, content_type: str) -> None:
    """Pitfall 10, RFC 8555 section 6.2."""
    body = client.signed(str(client.kid))
    result = client.send(str(client.kid), body, {"Content-Type": content_type})
    assert problem(result)[:2] == (415, "malformed")


def test_pitfall_10_an_empty_payload_looks_and_an_object_begins(client: Client) -> None:
    """Pitfall 10, RFC 8555 sections 6.3 and 7.5.1."""
    order = client.placed("web.lab.test")
    (challenge,) = client.challenges(order)
    client.lab.shown[challenge["token"]] = client.key_authorization(challenge["token"])
    assert client.post(challenge["url"], b"").json["status"] == "pending"
    assert client.post(challenge["url"], {}).json["status"] in ("processing", "valid")


def test_pitfall_10_what_is_protected_is_not_shown_to_a_get(lab: Lab, client: Client) -> None:
    """Pitfall 10, RFC 8555 section 6.3: 405, except for what everybody may see."""
    order = client.issued("web.lab.test")
    seen = client.see(order)
    (challenge,) = client.challenges(order)
    protected: list[Any] = [
        order, seen["finalize"], seen["certificate"], *seen["authorizations"], challenge["url"],
        client.kid, f"{client.kid}/orders", f"{URL}/acme/new-account", f"{URL}/acme/new-order",
        f"{URL}/acme/revoke-cert", f"{URL}/acme/key-change",
    ]  # fmt: skip
    for url in protected:
        result = lab.wire.simulate_get(str(url).removeprefix(URL))
        assert problem(result)[:2] == (405, "malformed")
        assert "POST" in result.headers["allow"]
    for path in ("/acme/directory", "/acme/new-nonce"):
        assert lab.wire.simulate_get(path).status_code in (200, 204)
