"""How a POST gets in, over a real falcon app whose only resource says who came in."""

import os
from typing import Any
from wsgiref.util import setup_testing_defaults

import falcon
import falcon.testing
import msgspec
import pytest

from certeasy.acme import responses
from certeasy.acme.jws import AccountKey
from certeasy.acme.nonces import MemoryRedeemedNonces, Nonces
from certeasy.acme.requests import Door, KnownAccount, SignedBy
from certeasy.acme.urls import Urls
from certeasy.decide.problems import Problem, Refused
from tests.fakes.clocks import HeldClock
from tests.make.signers import ALGORITHMS, a_signer, b64, the_signer

URLS = Urls(["https://acme.corp.test", "https://old.corp.test:8443"])
ID, GONE, UNKNOWN = "0" * 26, "1" * 26, "2" * 26
KID = URLS.account(ID)
JOSE = {"Content-Type": "application/jose+json"}
MAX_BODY = 8192


class WhoCame(msgspec.Struct, omit_defaults=True):
    payload: str
    thumbprint: str
    account: str = ""


class Reception:
    """A resource that lets in who is signed `by`, and says who it was."""

    def __init__(self, door: Door, by: SignedBy) -> None:
        self.door = door
        self.by = by

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        signed = self.door.admit(req, self.by)
        who = WhoCame(signed.payload.decode(), signed.key.thumbprint, signed.account_id or "")
        responses.answer(resp, who, location="https://acme.corp.test/here", retry_after=3)
        responses.add_link(resp, "up", "https://acme.corp.test/up")


class Broken:
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        raise RuntimeError("secret words")

    on_post = on_get


class Busy:
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        link = ("help", "https://acme.corp.test/help")
        raise Refused(Problem.RATE_LIMITED, "too many", retry_after=60, link=link)


class House:
    """The app, its nonces, and a client of it."""

    def __init__(self) -> None:
        self.clock = HeldClock()
        self.nonces = Nonces(bytes(32), MemoryRedeemedNonces(self.clock), self.clock, os.urandom)
        self.door = Door(URLS, self.nonces, self.find, MAX_BODY)
        app = responses.App(middleware=[responses.OnEveryAnswer(URLS.directory, self.nonces)])
        responses.answer_errors(app)
        app.add_route("/acme/new-order", Reception(self.door, "account"))
        app.add_route("/acme/new-account", Reception(self.door, "key"))
        app.add_route("/acme/revoke-cert", Reception(self.door, "either"))
        app.add_route("/broken", Broken())
        app.add_route("/busy", Busy())
        self.app: Any = app
        self.client = falcon.testing.TestClient(self.app)
        self.accounts = {
            ID: KnownAccount(ID, AccountKey.from_jwk(the_signer().jwk), "valid"),
            GONE: KnownAccount(GONE, AccountKey.from_jwk(the_signer().jwk), "deactivated"),
        }

    def find(self, account_id: str) -> KnownAccount | None:
        return self.accounts.get(account_id)

    def post(
        self, body: bytes, path: str = "/acme/new-order", **more: Any
    ) -> falcon.testing.Result:
        return self.client.simulate_post(path, body=body, headers=more.pop("headers", JOSE), **more)

    def request(self, payload: bytes = b"{}", *, alg: str = "ES256", **more: Any) -> bytes:
        nonce = more.pop("nonce", None) or self.nonces.issue()
        return the_signer(alg).request(payload, nonce=nonce, **{"kid": KID} | more)


@pytest.fixture
def house() -> House:
    return House()


def check_problem(result: falcon.testing.Result, status: int, problem: Problem) -> dict[str, Any]:
    """Check that an answer is the problem document it should be; return it."""
    assert result.status_code == status
    assert result.headers["content-type"] == "application/problem+json"
    assert result.headers["cache-control"] == "no-store"
    assert result.headers["link"].endswith(';rel="index"')
    document: dict[str, Any] = msgspec.json.decode(result.content)
    assert document["status"] == status
    assert document["type"] == problem.urn
    assert document["detail"]
    assert b"\n" not in result.content
    assert b"null" not in result.content
    return document


# --- Who gets in


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_a_new_key_gets_in_with_every_algorithm(house: House, alg: str) -> None:
    body = house.request(b"hello", alg=alg, kid=None, url=URLS.new_account)
    result = house.post(body, "/acme/new-account")
    assert result.status_code == 200
    assert result.json == {
        "payload": "hello",
        "thumbprint": AccountKey.from_jwk(the_signer(alg).jwk).thumbprint,
    }


def test_an_account_gets_in(house: House) -> None:
    result = house.post(house.request(b""))
    assert (result.json["payload"], result.json["account"]) == ("", ID)


@pytest.mark.parametrize("kid", [None, KID])
def test_a_revocation_may_be_signed_either_way(house: House, kid: str | None) -> None:
    body = house.request(kid=kid, url=URLS.revoke_cert)
    assert house.post(body, "/acme/revoke-cert").status_code == 200


def test_every_address_of_the_server_is_home(house: House) -> None:
    body = house.request(
        url="https://old.corp.test:8443/acme/new-order",
        kid=f"https://old.corp.test:8443/acme/acct/{ID}",
    )
    assert house.post(body).status_code == 200


@pytest.mark.parametrize(
    "content_type",
    ["application/jose+json", "Application/JOSE+JSON", "application/jose+json; charset=utf-8"],
)
def test_the_content_type_may_have_parameters_and_any_case(house: House, content_type: str) -> None:
    result = house.post(house.request(), headers={"Content-Type": content_type})
    assert result.status_code == 200


# --- Who does not

MALFORMED, UNAUTHORIZED = Problem.MALFORMED, Problem.UNAUTHORIZED
NOT_HERE = Problem.ACCOUNT_DOES_NOT_EXIST
WRONG: dict[str, tuple[dict[str, Any], int, Problem]] = {
    "a jwk where a kid must be": ({"kid": None}, 400, MALFORMED),
    "both": ({"header": {"jwk": the_signer().jwk}}, 400, MALFORMED),
    "an unknown account": ({"kid": URLS.account(UNKNOWN)}, 400, NOT_HERE),
    "an account elsewhere": ({"kid": f"https://evil.test/acme/acct/{ID}"}, 400, NOT_HERE),
    "an empty kid": ({"kid": ""}, 400, NOT_HERE),
    "a deactivated account": ({"kid": URLS.account(GONE)}, 403, UNAUTHORIZED),
    "another url": ({"url": URLS.new_account}, 403, UNAUTHORIZED),
    "an http url": ({"url": "http://acme.corp.test/acme/new-order"}, 403, UNAUTHORIZED),
    "a foreign url": ({"url": "https://evil.test/acme/new-order"}, 403, UNAUTHORIZED),
    "no url": ({"header": {"url": None}}, 403, UNAUTHORIZED),
    "no nonce": ({"header": {"nonce": None}}, 400, Problem.BAD_NONCE),
    "an invented nonce": ({"nonce": "AAAAAAAAAAAAAAAA"}, 400, Problem.BAD_NONCE),
    "a nonce that is no base64url": ({"nonce": "+/=?"}, 400, Problem.BAD_NONCE),
    "alg none": ({"header": {"alg": "none"}}, 400, Problem.BAD_SIGNATURE_ALGORITHM),
    "alg HS256": ({"header": {"alg": "HS256"}}, 400, Problem.BAD_SIGNATURE_ALGORITHM),
    "alg of another key": ({"alg": "RS256"}, 400, Problem.BAD_SIGNATURE_ALGORITHM),
    "no signature": ({"signature": b""}, 400, MALFORMED),
    "another's signature": ({"signature": a_signer().sign(b"x")}, 400, MALFORMED),
    "a changed payload": ({"outer": {"payload": b64(b"[]")}}, 400, MALFORMED),
    "an unprotected header": ({"outer": {"header": {"kid": KID}}}, 400, MALFORMED),
}


@pytest.mark.parametrize(("spoiled", "status", "problem"), WRONG.values(), ids=WRONG)
def test_a_wrong_request_is_told_so_and_gets_a_nonce(
    house: House, spoiled: dict[str, Any], status: int, problem: Problem
) -> None:
    result = house.post(house.request(**spoiled))
    check_problem(result, status, problem)
    house.nonces.redeem(result.headers["replay-nonce"])
    assert house.post(house.request()).status_code == 200


def test_a_kid_where_a_new_key_must_be_is_refused(house: House) -> None:
    result = house.post(house.request(url=URLS.new_account), "/acme/new-account")
    assert "'jwk'" in check_problem(result, 400, MALFORMED)["detail"]


def test_a_key_that_is_too_weak_is_named_so(house: House) -> None:
    weak = {"kty": "RSA", "n": b64(b"\xf1" * 128), "e": "AQAB"}
    body = house.request(kid=None, url=URLS.new_account, header={"jwk": weak, "alg": "RS256"})
    check_problem(house.post(body, "/acme/new-account"), 400, Problem.BAD_PUBLIC_KEY)


@pytest.mark.parametrize("body", [b"", b"{}", b"\0", b"{" * 4000, b"[1]", b'{"protected":1}'])
def test_rubbish_is_malformed(house: House, body: bytes) -> None:
    check_problem(house.post(body), 400, MALFORMED)


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "", "jose+json"])
def test_another_content_type_is_415(house: House, content_type: str) -> None:
    result = house.post(house.request(), headers={"Content-Type": content_type})
    check_problem(result, 415, MALFORMED)
    assert "replay-nonce" in result.headers


def test_a_body_too_large_is_413(house: House) -> None:
    check_problem(house.post(house.request(b"x" * MAX_BODY)), 413, MALFORMED)


def test_no_more_is_read_than_was_announced(house: House) -> None:
    result = house.post(house.request(), headers=JOSE | {"Content-Length": "10"})
    check_problem(result, 400, MALFORMED)


# --- Replays


def test_a_request_sent_twice_gets_in_once(house: House) -> None:
    body = house.request()
    assert house.post(body).status_code == 200
    document = check_problem(house.post(body), 400, Problem.BAD_NONCE)
    assert document["detail"].startswith("JWS has an invalid anti-replay nonce")


def test_an_authentic_request_uses_its_nonce_up_even_if_refused(house: House) -> None:
    nonce = house.nonces.issue()
    check_problem(house.post(house.request(nonce=nonce, kid=URLS.account(GONE))), 403, UNAUTHORIZED)
    check_problem(house.post(house.request(nonce=nonce)), 400, Problem.BAD_NONCE)


def test_a_stranger_cannot_use_up_anybodys_nonce(house: House) -> None:
    nonce = house.nonces.issue()
    forged = a_signer().request(b"{}", nonce=nonce, kid=KID)
    check_problem(house.post(forged), 400, MALFORMED)
    assert house.post(house.request(nonce=nonce)).status_code == 200


def test_the_nonce_of_an_answer_is_good_for_the_next_request(house: House) -> None:
    nonce = house.nonces.issue()
    for _ in range(5):
        result = house.post(house.request(nonce=nonce))
        assert result.status_code == 200
        nonce = result.headers["replay-nonce"]


# --- What every answer has


def headers_of(house: House, method: str, path: str) -> list[tuple[str, str]]:
    """Ask as a WSGI server does, and return the headers one by one."""
    environ: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": path}
    setup_testing_defaults(environ)
    seen: list[tuple[str, str]] = []

    def start(_status: str, headers: list[tuple[str, str]], *_exc_info: Any) -> None:
        seen.extend(headers)

    house.app(environ, start)
    return seen


def test_each_link_has_a_header_of_its_own(house: House) -> None:
    links = [value for name, value in headers_of(house, "POST", "/busy") if name == "link"]
    assert links == [
        '<https://acme.corp.test/help>;rel="help"',
        '<https://acme.corp.test/acme/directory>;rel="index"',
    ]


def test_a_limit_says_when_to_come_back_in_whole_seconds(house: House) -> None:
    result = house.post(b"", "/busy")
    check_problem(result, 429, Problem.RATE_LIMITED)
    assert result.headers["retry-after"] == "60"


def test_an_answer_carries_what_the_resource_said(house: House) -> None:
    headers = house.post(house.request()).headers
    assert headers["content-type"] == "application/json"
    assert headers["location"] == "https://acme.corp.test/here"
    assert headers["retry-after"] == "3"
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_what_does_not_exist_is_404_in_json(house: House, method: str) -> None:
    result = house.client.simulate_request(method, "/nowhere")
    assert result.status_code == 404
    if method != "HEAD":
        check_problem(result, 404, MALFORMED)
    assert ("replay-nonce" in result.headers) == (method == "POST")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "TRACE"])
def test_another_method_is_405_in_json(house: House, method: str) -> None:
    result = house.client.simulate_request(method, "/acme/new-order")
    check_problem(result, 405, MALFORMED)
    assert "POST" in result.headers["allow"]


def test_head_and_options_are_answered(house: House) -> None:
    assert house.client.simulate_head("/acme/new-order").status_code == 405
    assert house.client.simulate_options("/acme/new-order").status_code in (200, 204)


def test_an_error_of_ours_is_500_in_json_and_kept_to_ourselves(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    result = house.post(b"", "/broken")
    check_problem(result, 500, Problem.SERVER_INTERNAL)
    assert b"secret" not in result.content
    assert "secret words" in caplog.text
    assert "replay-nonce" in result.headers
