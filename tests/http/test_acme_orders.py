"""Orders, authorizations and challenges as clients meet them."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from certeasy.jobs.validation import ATTEMPTS
from certeasy.settings import WorkerSettings
from certeasy.validate import Asked, Failed, Validated
from certeasy.validate.http01 import Http01Validator
from tests.fakes.clocks import HeldClock
from tests.make.csrs import a_csr, p256
from tests.make.lab import URL, Client, Lab, a_lab, problem
from tests.make.signers import b64


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with a_lab(tmp_path_factory.mktemp("lab")) as made:
        yield made


@pytest.fixture
def client(lab: Lab) -> Client:
    made = lab.client()
    made.register()
    return made


def types(lab: Lab, order: str) -> list[str]:
    """Return what the journal has about an order and its certificate."""
    order_id = order.rpartition("/")[2]
    made = map(msgspec.json.decode, lab.journal())
    streams = (f"order/{order_id}", f"certificate/{order_id}")
    return [line["type"] for line in made if line["stream"] in streams]


def test_a_new_order_is_201_with_its_url(client: Client) -> None:
    result = client.order("web.lab.test", "www.lab.test")
    assert result.status_code == 201
    order = result.headers["location"]
    assert order.startswith(f"{URL}/acme/order/")
    assert client.see(order) == result.json
    assert result.json["status"] == "pending"
    assert result.json["identifiers"] == [
        {"type": "dns", "value": "web.lab.test"},
        {"type": "dns", "value": "www.lab.test"},
    ]
    assert len(result.json["authorizations"]) == 2
    assert result.json["expires"].endswith("Z")
    assert len(result.json["expires"]) == 20
    assert "certificate" not in result.json


def test_names_are_lowered_and_said_once(client: Client) -> None:
    result = client.order("WEB.lab.test", "web.lab.test", "web.Lab.Test.")
    assert result.json["identifiers"] == [{"type": "dns", "value": "web.lab.test"}]
    assert len(result.json["authorizations"]) == 1


def test_an_authorization_says_what_to_prove(client: Client) -> None:
    order = client.placed("web.lab.test")
    (url,) = client.see(order)["authorizations"]
    authorization = client.see(url)
    assert authorization["identifier"] == {"type": "dns", "value": "web.lab.test"}
    assert authorization["status"] == "pending"
    assert authorization["expires"] == client.see(order)["expires"]
    assert "wildcard" not in authorization
    (challenge,) = authorization["challenges"]
    assert challenge.keys() == {"type", "url", "status", "token"}
    assert (challenge["type"], challenge["status"]) == ("http-01", "pending")
    assert len(challenge["token"]) == 43


def test_every_authorization_has_a_token_of_its_own(client: Client) -> None:
    tokens = [
        each["token"] for each in client.challenges(client.placed("a.lab.test", "b.lab.test"))
    ]
    assert len(set(tokens)) == 2


def test_the_way_to_a_certificate(lab: Lab, client: Client) -> None:
    order = client.placed("web.lab.test", "www.lab.test")
    ready = client.prove(order)
    assert ready["status"] == "ready"
    for url in ready["authorizations"]:
        authorization = client.see(url)
        assert authorization["status"] == "valid"
        (challenge,) = authorization["challenges"]
        assert challenge["status"] == "valid"
        assert len(challenge["validated"]) == 20
    result = client.finalize(order, a_csr("web.lab.test", "www.lab.test"))
    assert result.status_code == 200
    assert result.headers["location"] == order
    assert result.json["status"] == "valid"
    assert "retry-after" not in result.headers
    assert result.json["certificate"] == order.replace("/order/", "/cert/")
    assert types(lab, order) == [
        "order.created",
        "challenge.accepted",
        *types(lab, order)[2:5],
        "order.ready",
        "order.finalized",
        "issuance.submitted",
        "certificate.issued",
    ]


def test_an_order_shows_its_url_wherever_it_is_shown(client: Client) -> None:
    order = client.placed("web.lab.test")
    assert client.post(order).headers["location"] == order


def test_a_challenge_that_is_tried_is_200_with_the_way_up(client: Client) -> None:
    order = client.placed("web.lab.test")
    (challenge,) = client.challenges(order)
    client.lab.shown[challenge["token"]] = client.key_authorization(challenge["token"])
    result = client.post(challenge["url"], {})
    assert result.status_code == 200
    assert result.json["url"] == challenge["url"]
    assert result.json["status"] == "processing"
    assert result.headers["retry-after"] == "1"
    (authorization,) = client.see(order)["authorizations"]
    client.post(challenge["url"])
    assert f'<{authorization}>;rel="up"' in client.lab.links
    assert client.wait(order, "ready", "invalid")["status"] == "ready"
    for payload in ({}, b"", {"keyAuthorization": "old"}):
        again = client.post(challenge["url"], payload)
        assert (again.status_code, again.json["status"]) == (200, "valid")
        assert "retry-after" not in again.headers


def test_looking_at_a_challenge_does_not_begin_it(client: Client) -> None:
    order = client.placed("web.lab.test")
    (challenge,) = client.challenges(order)
    assert client.post(challenge["url"]).json == challenge
    assert client.see(order)["status"] == "pending"


def test_a_failed_challenge_ends_all_of_it_and_says_why(lab: Lab, client: Client) -> None:
    order = client.placed("web.lab.test", "www.lab.test")
    first, second = client.challenges(order)
    client.post(first["url"], {})
    over = client.wait(order, "invalid", "ready")
    assert over["status"] == "invalid"
    assert over["error"]["type"].startswith("urn:ietf:params:acme:error:")
    challenge = client.see(first["url"])
    assert challenge["status"] == "invalid"
    assert challenge["error"]["detail"]
    assert client.see(over["authorizations"][0])["status"] == "invalid"
    assert "certificate" not in over
    # What is left of it leads nowhere.
    assert problem(client.post(second["url"], {}))[:2] == (400, "malformed")
    assert problem(client.finalize(order, a_csr("web.lab.test", "www.lab.test")))[:2] == (
        403,
        "orderNotReady",
    )
    assert client.placed("web.lab.test", "www.lab.test") != order


def test_an_order_is_ready_with_its_last_name_and_not_before(client: Client) -> None:
    order = client.placed("a.lab.test", "b.lab.test")
    first, second = client.challenges(order)
    for challenge in (first, second):
        client.lab.shown[challenge["token"]] = client.key_authorization(challenge["token"])
    client.post(first["url"], {})
    client.wait(client.see(order)["authorizations"][0], "valid", "invalid")
    assert client.see(order)["status"] == "pending"
    status, kind, detail = problem(client.finalize(order, a_csr("a.lab.test", "b.lab.test")))
    assert (status, kind) == (403, "orderNotReady")
    assert "b.lab.test" in detail
    client.post(second["url"], {})
    client.wait(client.see(order)["authorizations"][1], "valid", "invalid")
    assert client.see(order)["status"] == "ready"


def test_the_same_request_again_is_answered_with_the_order(lab: Lab, client: Client) -> None:
    order = client.ready("web.lab.test")
    csr = a_csr("web.lab.test")
    answers = [client.finalize(order, csr) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert [answer.json["status"] for answer in answers] == ["valid"] * 3
    assert types(lab, order).count("certificate.issued") == 1


def test_another_request_for_a_finalized_order_is_refused(client: Client) -> None:
    order = client.issued("web.lab.test")
    result = client.finalize(order, a_csr("web.lab.test", key=p256(7)))
    assert problem(result)[:2] == (403, "orderNotReady")


BAD_REQUESTS = {
    "other names": a_csr("other.lab.test"),
    "more names": a_csr("web.lab.test", "other.lab.test"),
    "no names": a_csr(),
    "not DER": b"nonsense",
    "cut off": a_csr("web.lab.test")[:-3],
}


@pytest.mark.parametrize("csr", BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_a_bad_request_leaves_the_order_ready(client: Client, csr: bytes) -> None:
    order = client.ready("web.lab.test")
    assert problem(client.finalize(order, csr))[:2] == (400, "badCSR")
    assert client.see(order)["status"] == "ready"
    assert client.finalize(order, a_csr("web.lab.test")).json["status"] == "valid"


@pytest.mark.parametrize("spoil", ["{}=", "{}+", "-----BEGIN {}", "{}\n"])
def test_a_badly_encoded_request_is_malformed(client: Client, spoil: str) -> None:
    order = client.ready("web.lab.test")
    payload = {"csr": spoil.format(b64(a_csr("web.lab.test")))}
    result = client.post(client.see(order)["finalize"], payload)
    assert problem(result)[:2] == (400, "malformed")


def test_the_accounts_own_key_gets_no_certificate(client: Client) -> None:
    order = client.ready("web.lab.test")
    csr = a_csr("web.lab.test", key=client.signer.private_key)
    assert problem(client.finalize(order, csr))[:2] == (400, "badCSR")


@pytest.mark.parametrize(
    ("names", "kind", "says"),
    [
        (["web.corp.test"], "rejectedIdentifier", 'policy "lab"'),
        (["lab.test"], "rejectedIdentifier", 'policy "lab"'),
        (["a.b.c.d.lab.test"], "rejectedIdentifier", 'policy "lab"'),
        (["*.lab.test"], "rejectedIdentifier", "dns-01"),
        (["web_1.lab.test"], "rejectedIdentifier", "web_1"),
        (["bücher.lab.test"], "rejectedIdentifier", "xn--bcher-kva"),
        (["192.0.2.1"], "rejectedIdentifier", "IP address"),
        ([""], "rejectedIdentifier", "empty"),
        (["ok.lab.test", "web.corp.test"], "rejectedIdentifier", "web.corp.test"),
    ],
)
def test_a_name_that_is_not_permitted_is_named(
    client: Client, names: list[str], kind: str, says: str
) -> None:
    status, seen, detail = problem(client.order(*names))
    assert (status, seen) == (400, kind)
    assert says in detail


def test_several_bad_names_are_told_one_by_one(client: Client) -> None:
    result = client.order("a.corp.test", "ok.lab.test", "b.corp.test")
    problem(result)
    parts = msgspec.json.decode(result.content)["subproblems"]
    assert [part["identifier"]["value"] for part in parts] == ["a.corp.test", "b.corp.test"]


def test_another_kind_of_identifier_is_unsupported(client: Client) -> None:
    payload = {"identifiers": [{"type": "ip", "value": "192.0.2.1"}]}
    result = client.post(f"{URL}/acme/new-order", payload)
    assert problem(result)[:2] == (400, "unsupportedIdentifier")


@pytest.mark.parametrize(
    ("wish", "kind"),
    [
        ({"notBefore": "2026-12-01T00:00:00Z"}, "malformed"),
        ({"notAfter": "2026-12-01T00:00:00Z"}, "malformed"),
        ({"profile": "tlsserver"}, "invalidProfile"),
    ],
)
def test_a_wish_that_would_be_ignored_is_refused(
    client: Client, wish: dict[str, Any], kind: str
) -> None:
    assert problem(client.order("web.lab.test", **wish))[:2] == (400, kind)


def test_a_refusal_by_policy_is_written_down(lab: Lab, client: Client) -> None:
    problem(client.order("web.corp.test"))
    account_id = str(client.kid).rpartition("/")[2]
    made = map(msgspec.json.decode, lab.journal())
    refused = [
        line
        for line in made
        if line["type"] == "request.refused" and line["actor"]["id"] == account_id
    ]
    assert [line["data"]["names"] for line in refused] == [["web.corp.test"]]


def test_what_was_counted_of_refusals_is_written_down_before_a_node_stops(tmp_path: Path) -> None:
    with a_lab(tmp_path) as lab:
        client = lab.client()
        client.register()
        for _ in range(3):
            problem(client.order("web.corp.test"))
        journal = lab.server.node.journal.path
    lines = [msgspec.json.decode(line) for line in journal.read_bytes().splitlines()]
    counts = [line["data"].get("count", 1) for line in lines if line["type"] == "request.refused"]
    assert counts == [1, 2]


def test_an_order_that_ran_out_of_time_is_invalid(tmp_path: Path) -> None:
    clock = HeldClock()
    with a_lab(tmp_path, clock=clock) as lab:
        client = lab.client()
        client.register()
        order, proven = client.placed("web.lab.test"), client.ready("www.lab.test")
        (challenge,) = client.challenges(order)
        clock.pass_by(7 * 24 * 3600)
        client.drop_nonce()
        for url in (order, proven):
            assert client.see(url)["status"] == "invalid"
        (authorization,) = client.see(order)["authorizations"]
        assert client.see(authorization)["status"] == "expired"
        assert problem(client.post(challenge["url"], {}))[:2] == (400, "malformed")
        status, kind, detail = problem(client.finalize(proven, a_csr("www.lab.test")))
        assert (status, kind) == (403, "orderNotReady")
        assert "expired" in detail


def test_an_authorization_that_is_given_up_ends_its_order(lab: Lab, client: Client) -> None:
    """RFC 8555 section 7.5.2."""
    placed, ready = client.placed("web.lab.test", "www.lab.test"), client.ready("web.lab.test")
    for order in (placed, ready):
        url, *others = client.see(order)["authorizations"]
        for _ in range(2):  # once more changes nothing
            result = client.post(url, {"status": "deactivated"})
            assert (result.status_code, result.json["status"]) == (200, "deactivated")
        assert client.see(url) == result.json
        over = client.see(order)
        assert over["status"] == "invalid"
        assert "deactivated" in over["error"]["detail"]
        assert types(lab, order)[-2:] == ["authorization.deactivated", "order.invalidated"]
        for other in others:
            assert client.see(other)["status"] == "invalid"
    assert problem(client.finalize(ready, a_csr("web.lab.test")))[:2] == (403, "orderNotReady")
    assert client.placed("web.lab.test", "www.lab.test") not in (placed, ready)


def test_an_authorization_is_given_up_after_it_was_used(client: Client) -> None:
    order = client.issued("web.lab.test")
    (url,) = client.see(order)["authorizations"]
    assert client.post(url, {"status": "deactivated"}).json["status"] == "deactivated"
    assert client.see(order)["status"] == "valid"
    assert client.post(client.see(order)["certificate"]).status_code == 200


def test_nothing_else_of_an_authorization_can_be_changed(client: Client) -> None:
    (url,) = client.see(client.placed("web.lab.test"))["authorizations"]
    for payload in ({}, {"status": "valid"}, {"status": "revoked"}):
        status, kind, detail = problem(client.post(url, payload))
        assert (status, kind) == (400, "malformed")
        assert "deactivated" in detail
    assert client.see(url)["status"] == "pending"


def test_an_order_that_ran_out_is_ended_by_itself(tmp_path: Path) -> None:
    clock = HeldClock()
    with a_lab(tmp_path, clock=clock) as lab:
        client = lab.client()
        client.register()
        orders = [client.placed(f"web{n}.lab.test") for n in range(60)]
        ready, done = client.ready("www.lab.test"), client.issued("ftp.lab.test")
        lab.server.expiry.expire()
        assert client.see(orders[0])["status"] == "pending"
        clock.pass_by(7 * 24 * 3600)
        client.drop_nonce()
        before = client.see(ready)
        lab.server.expiry.expire()
        lab.server.expiry.expire()
        assert [types(lab, order)[-1] for order in (*orders, ready)] == ["order.expired"] * 61
        assert types(lab, orders[-1]).count("order.expired") == 1
        assert client.see(ready) == before
        assert before["status"] == "invalid"
        assert "expired" in before["error"]["detail"]
        (authorization,) = before["authorizations"]
        assert client.see(authorization)["status"] == "expired"
        assert client.see(done)["status"] == "valid"
        # While nothing can be stored, it waits for the next time.
        late = client.placed("late.lab.test")
        clock.pass_by(7 * 24 * 3600)
        lab.server.committer.stop()
        lab.server.expiry.expire()
        assert types(lab, late) == ["order.created"]


def test_a_change_cannot_be_replayed_over_a_restart(tmp_path: Path) -> None:
    with a_lab(tmp_path) as lab:
        client = lab.client()
        client.register()
        payload = {"identifiers": [{"type": "dns", "value": "web.lab.test"}]}
        body = client.signed(f"{URL}/acme/new-order", payload)
        assert client.send("/acme/new-order", body).status_code == 201
    with a_lab(tmp_path) as lab:
        result = Client(lab, client.signer).send("/acme/new-order", body)
        status, kind, detail = problem(result)
        assert (status, kind) == (400, "badNonce")
        assert detail.startswith("JWS has an invalid anti-replay nonce")
        again = Client(lab, client.signer)
        again.kid = client.kid
        assert len(again.see(f"{client.kid}/orders")["orders"]) == 1


def test_a_nonce_of_before_a_restart_is_good_after_it(tmp_path: Path) -> None:
    with a_lab(tmp_path) as lab:
        nonce = lab.a_nonce()
    with a_lab(tmp_path) as lab:
        assert lab.client().post(f"{URL}/acme/new-account", {}, nonce=nonce).status_code == 201


def test_while_nothing_can_be_stored_clients_are_told_to_come_back(tmp_path: Path) -> None:
    with a_lab(tmp_path) as lab:
        client = lab.client()
        client.register()
        lab.server.committer.stop()
        result = client.order("web.lab.test")
        assert problem(result)[:2] == (503, "serverInternal")
        assert result.headers["retry-after"] == "5"
        assert "replay-nonce" in result.headers


@pytest.mark.parametrize("passes", [True, False])
def test_an_error_of_ours_while_a_challenge_is_looked_at_is_tried_a_few_times_and_then_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passes: bool
) -> None:
    """RFC 8555 section 8.2: the client is told at last, and does not wait until its order expires;
    what went wrong is in the log, and its kind in the event."""
    looked = Http01Validator.validate
    tries: list[Asked] = []

    def broken(self: Http01Validator, asked: Asked) -> Validated | Failed:
        tries.append(asked)
        if passes and len(tries) == ATTEMPTS:
            return looked(self, asked)
        raise KeyError(asked.key_authorization)

    monkeypatch.setattr(Http01Validator, "validate", broken)
    quick = WorkerSettings(workers=1, base_backoff=timedelta(milliseconds=5))
    with a_lab(tmp_path, sections={"workers": quick}) as lab:
        client = lab.client()
        client.register()
        order = client.placed("web.lab.test")
        (challenge,) = client.challenges(order)
        lab.shown[challenge["token"]] = client.key_authorization(challenge["token"])
        client.post(challenge["url"], {})
        ended = client.wait(order, "ready", "invalid")
        assert (ended["status"], len(tries)) == ("ready" if passes else "invalid", ATTEMPTS)
        if not passes:
            assert ended["error"]["type"] == "urn:ietf:params:acme:error:serverInternal"
            (line,) = [each for each in lab.journal() if b'"challenge.failed"' in each]
            assert b'"evidence":{"fault":"KeyError"}' in line
