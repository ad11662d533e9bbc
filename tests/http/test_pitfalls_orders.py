"""Orders, authorizations and challenges, where clients are known to stumble: pitfalls 18 to 34."""

import itertools
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from certeasy.commit import Unavailable
from certeasy.settings.limits import AbuseLimit, OrderCreation
from tests.fakes.clocks import HeldClock
from tests.make.csrs import a_csr, p256
from tests.make.lab import URL, Client, Lab, Result, a_lab, problem
from tests.make.pitfalls import VERBS, everything, links, values
from tools.generous import GENEROUS

NEW_ORDER = f"{URL}/acme/new-order"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with a_lab(tmp_path_factory.mktemp("lab")) as made:
        yield made


@pytest.fixture
def client(lab: Lab) -> Client:
    made = lab.client()
    made.register()
    return made


def log(lab: Lab) -> list[dict[str, Any]]:
    """Return every line, from where others see a change first."""
    return list(map(msgspec.json.decode, lab.server.node.store.lines(0)))


def failed(client: Client, name: str = "web.lab.test") -> str:
    """Place an order and fail it; return its URL."""
    order = client.placed(name)
    (challenge,) = client.challenges(order)
    client.post(challenge["url"], {})
    assert client.wait(order, "ready", "invalid")["status"] == "invalid"
    return order


def test_pitfall_18_a_new_order_is_201_with_its_url(client: Client) -> None:
    """Pitfall 18, RFC 8555 section 7.4: exactly 201, and Location, which clients poll."""
    result = client.order("web.lab.test")
    assert result.status_code == 201
    assert client.see(result.headers["location"]) == result.json


def test_pitfall_19_finalize_is_200_and_tells_the_orders_url(client: Client) -> None:
    """Pitfall 19, RFC 8555 section 7.4: exactly 200; Location is the order's, as on every look."""
    order = client.ready("web.lab.test")
    result = client.finalize(order, a_csr("web.lab.test"))
    assert result.status_code == 200
    for answer in (result, client.post(order)):
        assert answer.headers["location"] == order
        assert answer.json["status"] == "valid"
        assert answer.json["certificate"] != order


def test_pitfall_20_the_same_request_again_is_answered_with_the_order(
    lab: Lab, client: Client
) -> None:
    """Pitfall 20, RFC 8555 section 7.4: some poll by finalizing again; another CSR is refused."""
    order, csr = client.ready("web.lab.test"), a_csr("web.lab.test")
    answers = [client.finalize(order, csr) for _ in range(4)]
    assert [(a.status_code, a.json["status"]) for a in answers] == [(200, "valid")] * 4
    other = client.finalize(order, a_csr("web.lab.test", key=p256(9)))
    assert problem(other)[:2] == (403, "orderNotReady")
    order_id = order.rpartition("/")[2]
    facts = [line["type"] for line in log(lab) if line["stream"].endswith(order_id)]
    assert facts.count("order.finalized") == facts.count("certificate.issued") == 1


def test_pitfall_21_an_order_that_is_not_ready_is_403(client: Client) -> None:
    """Pitfall 21, RFC 8555 section 7.4: certbot knows orderNotReady, and polls."""
    order = client.placed("web.lab.test")
    assert problem(client.finalize(order, a_csr("web.lab.test")))[:2] == (403, "orderNotReady")


def test_pitfall_21_an_order_is_ready_in_the_moment_of_its_last_proof(
    lab: Lab, client: Client
) -> None:
    """Pitfall 21, RFC 8555 section 7.1.6: one commit makes both, so nobody sees one alone."""
    order = client.ready("web.lab.test", "www.lab.test")
    order_id = order.rpartition("/")[2]
    facts = [line for line in log(lab) if line["stream"] == f"order/{order_id}"]
    at = [line["type"] for line in facts].index("order.ready")
    before, ready = facts[at - 1], facts[at]
    assert before["type"] == "challenge.validated"
    assert ready["position"] == before["position"] + 1
    assert ready["at"] == before["at"]


def test_pitfall_22_what_will_pass_is_503_and_says_when(tmp_path: Path) -> None:
    """Pitfall 22: clients take every 4xx for the end of the order, and try again after a 5xx."""
    with a_lab(tmp_path) as lab:
        client = lab.client()
        client.register()
        order = client.ready("web.lab.test")
        finalize = client.see(order)["finalize"]
        lab.server.committer.stop()
        for result in (
            client.order("web.lab.test"),
            client.finalize(order, a_csr("web.lab.test")),
            client.post(str(client.kid), {"contact": ["mailto:a@b.test"]}),
            client.post(finalize, {"csr": "AA"}),
        ):
            if problem(result)[0] != 400:  # what is wrong is wrong on the best of days
                assert problem(result)[:2] == (503, "serverInternal")
                assert int(result.headers["retry-after"]) <= 60


def test_pitfall_22_what_will_not_pass_is_never_a_500(client: Client) -> None:
    """Pitfall 22: a permanent refusal is a 4xx."""
    order = client.ready("web.lab.test")
    for result in (
        client.order("web.corp.test"),
        client.order(""),
        client.finalize(order, b"nonsense"),
        client.post(f"{order}x"),
        client.post(NEW_ORDER, {"identifiers": []}),
    ):
        assert 400 <= problem(result)[0] < 500


@pytest.fixture(scope="module")
def wild(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a server that offers DNS challenges."""

    def offering(settings: Any) -> Any:
        (policy,) = settings.issuance_policies
        rules = msgspec.structs.replace(
            policy.dns, allow=("=lab.test", ".lab.test/3", "*.lab.test")
        )
        ways = ("http-01", "dns-01")
        policy = msgspec.structs.replace(policy, challenges=ways, dns=rules)
        return msgspec.structs.replace(settings, issuance_policies=(policy,))

    with a_lab(tmp_path_factory.mktemp("wild"), change=offering) as lab:
        client = lab.client()
        client.register()
        yield client


def test_pitfall_23_a_wildcard_is_one_in_the_order_and_marked_in_its_authorization(
    wild: Client,
) -> None:
    """Pitfall 23, RFC 8555 section 7.1.4: apex and wildcard have two, with one identifier."""
    seen = wild.see(wild.placed("lab.test", "*.lab.test"))
    assert [each["value"] for each in seen["identifiers"]] == ["lab.test", "*.lab.test"]
    apex, star = [wild.see(url) for url in seen["authorizations"]]
    assert apex["identifier"] == star["identifier"] == {"type": "dns", "value": "lab.test"}
    assert "wildcard" not in apex
    assert star["wildcard"] is True


def test_pitfall_24_names_come_back_as_they_were_sent_but_for_their_case(client: Client) -> None:
    """Pitfall 24, RFC 8555 section 7.4: none is added, none left out, duplicates said once."""
    result = client.order("WWW.lab.test", "web.LAB.test.", "www.lab.test")
    assert [each["value"] for each in result.json["identifiers"]] == [
        "www.lab.test",
        "web.lab.test",
    ]
    assert len(result.json["authorizations"]) == 2
    status, kind, detail = problem(client.order("bücher.lab.test"))
    assert (status, kind) == (400, "rejectedIdentifier")
    assert "xn--bcher-kva" in detail


def test_pitfall_25_a_valid_authorization_lists_what_was_solved(client: Client) -> None:
    """Pitfall 25, RFC 8555 section 7.1.4: one authorization a name, and a challenge in each."""
    seen = client.see(client.ready("web.lab.test", "www.lab.test"))
    assert len(seen["authorizations"]) == len(seen["identifiers"]) == 2
    for url in seen["authorizations"]:
        authorization = client.see(url)
        assert authorization["status"] == "valid"
        assert [each["status"] for each in authorization["challenges"]] == ["valid"]


def test_pitfall_26_only_what_the_policy_has_is_offered(client: Client, wild: Client) -> None:
    """Pitfall 26, RFC 8555 section 7.1.5: strict decoders end at a type that they do not know."""

    def offered(who: Client, name: str) -> list[str]:
        (url,) = who.see(who.placed(name))["authorizations"]
        return [each["type"] for each in who.see(url)["challenges"]]

    assert offered(client, "web.lab.test") == ["http-01"]
    assert offered(wild, "web.lab.test") == ["http-01", "dns-01"]
    assert offered(wild, "*.lab.test") == ["dns-01"]


def test_pitfall_27_a_challenge_is_200_with_the_way_up_however_often(
    lab: Lab, client: Client
) -> None:
    """Pitfall 27, RFC 8555 section 7.5.1: and once more is no error."""
    order = client.placed("web.lab.test")
    (authorization,) = client.see(order)["authorizations"]
    (challenge,) = client.challenges(order)
    lab.shown[challenge["token"]] = client.key_authorization(challenge["token"])
    for _ in range(3):
        result = client.post(challenge["url"], {})
        assert result.status_code == 200
        assert result.json["url"] == challenge["url"]
        assert links(lab, "up") == [authorization]
    client.wait(order, "ready", "invalid")
    result = client.post(challenge["url"], {})
    assert (result.status_code, result.json["status"]) == (200, "valid")
    assert links(lab, "up") == [authorization]


def test_pitfall_28_a_failed_challenge_says_why_and_ends_all_at_once(client: Client) -> None:
    """Pitfall 28, RFC 8555 sections 7.1.6 and 8: certbot prints the order's error alone."""
    order = failed(client)
    seen = client.see(order)
    (authorization,) = [client.see(url) for url in seen["authorizations"]]
    (challenge,) = authorization["challenges"]
    assert (seen["status"], authorization["status"], challenge["status"]) == ("invalid",) * 3
    for error in (seen["error"], challenge["error"]):
        assert error["type"] in {
            f"urn:ietf:params:acme:error:{kind}"
            for kind in ("dns", "connection", "incorrectResponse", "tls", "unauthorized")
        }
        assert "web.lab.test" in error["detail"]
        assert "404" in error["detail"]
        assert error["status"] >= 400


def test_pitfall_29_a_new_order_after_a_failure_is_another(client: Client) -> None:
    """Pitfall 29, RFC 8555 section 7.4: never the dead one."""
    order = failed(client)
    again = client.order("web.lab.test")
    assert again.status_code == 201
    assert again.headers["location"] != order
    assert again.json["status"] == "pending"
    assert not set(again.json["authorizations"]) & set(client.see(order)["authorizations"])
    assert client.prove(again.headers["location"])["status"] == "ready"


def test_pitfall_30_times_are_whole_seconds_of_utc_and_nothing_is_null(client: Client) -> None:
    """Pitfall 30, RFC 8555 section 7.1.3 and RFC 3339: certbot refuses a null."""
    for order in (client.placed("web.lab.test"), client.issued("web.lab.test"), failed(client)):
        for result in everything(client, order):
            assert None not in values(result.json)
            times = [result.json[name] for name in ("expires",) if name in result.json]
            assert all(TIME.fullmatch(time) for time in times)
        (authorization,) = client.see(order)["authorizations"]
        assert TIME.fullmatch(client.see(order)["expires"])
        assert TIME.fullmatch(client.see(authorization)["expires"])
    refused = client.order("a.corp.test", "b.corp.test")
    problem(refused)
    assert None not in values(refused.json)


def test_pitfall_31_an_answer_is_one_line_and_its_status_stands_in_it_once(client: Client) -> None:
    """Pitfall 31: acme.sh looks for `"status":"valid"` and the other words as plain text."""
    for order in (client.placed("web.lab.test"), client.ready("web.lab.test"), failed(client)):
        result = client.post(order)
        assert result.headers["content-type"].startswith("application/json")
        assert b"\n" not in result.content
        assert b": " not in result.content.replace(b'": ', b"")
        status = result.json["status"]
        assert f'"status":"{status}"'.encode() in result.content
        for word in VERBS:
            found = result.content.count(f'"{word}"'.encode())
            assert found == (1 if word == status else 0)
        assert b"processing" not in result.content


def test_pitfall_32_retry_after_is_a_whole_number_of_seconds(lab: Lab, client: Client) -> None:
    """Pitfall 32, RFC 8555 section 6.6: acme.sh calculates with it; short while work is done."""
    order = client.placed("web.lab.test")
    (authorization,) = client.see(order)["authorizations"]
    (challenge,) = client.challenges(order)
    lab.shown[challenge["token"]] = client.key_authorization(challenge["token"])
    seen: list[Result] = [client.post(challenge["url"], {})]
    for _ in range(3):
        seen += [client.post(url) for url in (order, authorization, challenge["url"])]
    waits = [result.headers["retry-after"] for result in seen if "retry-after" in result.headers]
    assert waits
    assert all(wait.isdecimal() and 1 <= int(wait) <= 5 for wait in waits)
    client.wait(order, "ready", "invalid")
    for url in (order, authorization, challenge["url"]):
        assert "retry-after" not in client.post(url).headers


def test_pitfall_33_a_limit_is_429_with_seconds_and_a_link_to_help(tmp_path: Path) -> None:
    """Pitfall 33, RFC 8555 section 6.6: in the form that clients can read, and exact."""
    clock, few = HeldClock(), OrderCreation(limit=20, window=timedelta(hours=1), burst=1)
    limits = replace(GENEROUS, order_creation=few)
    with a_lab(tmp_path, clock=clock, sections={"rate_limiting": limits}) as lab:
        client = lab.client()
        client.register()
        client.placed("web.lab.test")
        clock.pass_by(0.5)
        result = client.order("www.lab.test")
        status, kind, detail = problem(result)
        assert (status, kind) == (429, "rateLimited")
        assert "order-creation" in detail
        assert result.headers["retry-after"] == "180"
        assert f'<{URL}/acme/limits>;rel="help"' in lab.links
        assert lab.wire.simulate_get("/acme/limits").status_code == 200
        clock.pass_by(180)
        client.drop_nonce()
        assert client.order("www.lab.test").status_code == 201


def test_pitfall_34_a_bad_nonce_and_what_expired_are_held_against_nobody(tmp_path: Path) -> None:
    """Pitfall 34: they are nobody's fault, and no refusal that would be written down or counted."""
    clock, limits = HeldClock(), replace(GENEROUS, abuse=AbuseLimit(marks=1, recovery=1))
    with a_lab(tmp_path, clock=clock, sections={"rate_limiting": limits}) as lab:
        client = lab.client()
        client.register()
        order = client.ready("web.lab.test")
        for _ in range(20):
            assert problem(client.post(order, nonce="AAAAAAAAAAAA"))[1] == "badNonce"
        clock.pass_by(8 * 24 * 3600)
        client.drop_nonce()
        for _ in range(20):
            client.see(order)
            result = client.finalize(order, a_csr("web.lab.test"))
            assert problem(result)[1] == "orderNotReady"
        lab.server.refusals.close()
        assert [line for line in log(lab) if line["type"] == "request.refused"] == []


def test_pitfall_34_while_the_server_is_at_fault_nobody_is_blamed(
    lab: Lab, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pitfall 34: a fault of ours is a 503, and no refusal of the client's."""
    committer = lab.server.committer
    faults = itertools.count()

    def out_of_service(_command: Any) -> Any:
        raise Unavailable(f"fault {next(faults)}")

    with monkeypatch.context() as patched:
        patched.setattr(committer, "submit", out_of_service)
        for _ in range(5):
            assert problem(client.order("web.lab.test"))[:2] == (503, "serverInternal")
    account_id = str(client.kid).rpartition("/")[2]
    refused = [line for line in log(lab) if line["type"] == "request.refused"]
    assert [line for line in refused if line["actor"]["id"] == account_id] == []
