"""CAA records as a client meets them: when a name is validated, and again when an order that is not
fresh is finalized."""

import copy
import datetime as dt
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from certeasy.acme.caa import AT_ONCE, MOST_HELD
from certeasy.validate.dns01 import digest
from tests.fakes.clocks import HeldClock
from tests.fakes.dns_server import DnsServer
from tests.make.bindings import bound_client
from tests.make.csrs import a_csr, p256
from tests.make.dns_lab import a_dns_lab, lines_of
from tests.make.lab import PATIENCE, URL, Client, Lab, problem

HOUR = 3600
SERVER = {"caa_identities": ("ca.lab.test",)}
LET, NOBODY = 'CAA 0 issue "ca.lab.test"', 'CAA 0 issue ";"'
NAMES = ("web.lab.test", "www.lab.test")


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    with DnsServer({}) as server:
        yield server


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock()


@pytest.fixture
def lab(request, tmp_path, dns: DnsServer, clock: HeldClock) -> Iterator[Lab]:
    caa = getattr(request, "param", "strict")
    with a_dns_lab(tmp_path, dns, ("dns-01",), clock=clock, server=SERVER, caa=caa) as made:
        yield made


@pytest.fixture
def client(lab: Lab) -> Client:
    made = lab.client()
    made.register()
    return made


def prove(client: Client, dns: DnsServer, *names: str, clock: HeldClock | None = None) -> str:
    """Place an order and, a second later if there is a clock, prove its names, whatever comes of
    it."""
    order = client.placed(*names)
    if clock is not None:
        clock.pass_by(1)
    for name, challenge in zip(names, client.challenges(order, "dns-01"), strict=True):
        shown = digest(client.key_authorization(challenge["token"])).decode()
        dns.records[f"_acme-challenge.{name.removeprefix('*.')}"] = [f"TXT {shown}"]
        assert client.post(challenge["url"], {}).status_code == 200
    client.wait(order, "ready", "invalid")
    return order


def evidence(lab: Lab, kind: str = "challenge.validated") -> Any:
    return lines_of(lab, kind)[-1]["data"]["evidence"]["caa"]


def test_a_domain_that_lets_us_is_issued_for(lab: Lab, client: Client, dns: DnsServer) -> None:
    dns.records["lab.test"] = [LET]
    order = prove(client, dns, "web.lab.test")
    assert client.finalize(order, a_csr("web.lab.test", key=p256(1))).status_code == 200
    assert evidence(lab)["verdict"] == "permits"
    assert evidence(lab)["at"] == "lab.test"


def test_a_domain_that_forbids_it_fails_the_challenge(
    lab: Lab, client: Client, dns: DnsServer
) -> None:
    """RFC 8659 section 3; the problem `caa` of RFC 8555 section 6.7."""
    dns.records["lab.test"] = [NOBODY]
    order = client.see(prove(client, dns, "web.lab.test"))
    assert order["status"] == "invalid"
    assert order["error"]["type"] == "urn:ietf:params:acme:error:caa"
    assert "the CAA records of lab.test (issue) do not name this CA" in order["error"]["detail"]
    assert evidence(lab, "challenge.failed")["verdict"] == "forbids"


def test_another_account_is_not_meant(client: Client, dns: DnsServer) -> None:
    """RFC 8657 section 3."""
    dns.records["lab.test"] = [f'CAA 0 issue "ca.lab.test; accounturi={client.kid}0"']
    assert client.see(prove(client, dns, "web.lab.test"))["status"] == "invalid"
    dns.records["lab.test"] = [f'CAA 0 issue "ca.lab.test; accounturi={client.kid}"']
    assert client.see(prove(client, dns, "web.lab.test"))["status"] == "ready"


@pytest.mark.parametrize("lab", ["soft"], indirect=True)
def test_soft_writes_down_what_it_saw_and_issues(lab: Lab, client: Client, dns: DnsServer) -> None:
    dns.records["lab.test"] = [NOBODY]
    order = prove(client, dns, "web.lab.test")
    assert client.finalize(order, a_csr("web.lab.test", key=p256(1))).status_code == 200
    assert evidence(lab)["verdict"] == "forbids"


@pytest.mark.parametrize("lab", ["off"], indirect=True)
def test_off_asks_nobody(client: Client, dns: DnsServer) -> None:
    prove(client, dns, "web.lab.test")
    assert "CAA" not in {kind for _, kind, _ in dns.asked}


def test_what_was_looked_at_lately_is_not_looked_at_again(
    client: Client, dns: DnsServer, clock: HeldClock
) -> None:
    dns.records["lab.test"] = [LET]
    order = prove(client, dns, "web.lab.test", clock=clock)
    clock.pass_by(8 * HOUR - 60)
    client.drop_nonce()
    dns.records["lab.test"] = [NOBODY]
    assert client.finalize(order, a_csr("web.lab.test", key=p256(1))).status_code == 200


def test_what_was_looked_at_long_ago_is_looked_at_again(
    lab: Lab, client: Client, dns: DnsServer, clock: HeldClock
) -> None:
    """RFC 8659 section 3: what counts is what the records say when the certificate is issued."""
    dns.records["lab.test"] = [LET]
    order = prove(client, dns, *NAMES)
    clock.pass_by(9 * HOUR)
    client.drop_nonce()
    dns.records["web.lab.test"] = [NOBODY]
    csr = a_csr(*NAMES, key=p256(1))
    status, kind, detail = problem(client.finalize(order, csr))
    assert (status, kind) == (403, "caa")
    assert detail.startswith("No certificate for web.lab.test")
    dns.records["lab.test"] = [NOBODY]
    document = client.finalize(order, csr).json
    assert [each["identifier"]["value"] for each in document["subproblems"]] == list(NAMES)
    assert client.see(order)["status"] == "ready"  # the domain may change its mind
    assert lines_of(lab, "request.refused")[0]["data"]["kind"] == "caa"
    dns.records["web.lab.test"] = dns.records["lab.test"] = [LET]
    assert client.finalize(order, csr).status_code == 200
    (line,) = lines_of(lab, "order.caa-checked")
    assert [check["at"] for check in line["data"]["checks"]] == ["web.lab.test", "lab.test"]


@pytest.mark.parametrize("lab", ["soft"], indirect=True)
def test_soft_writes_down_what_it_sees_again(
    lab: Lab, client: Client, dns: DnsServer, clock: HeldClock
) -> None:
    order = prove(client, dns, *NAMES)
    clock.pass_by(9 * HOUR)
    client.drop_nonce()
    dns.records |= {"web.lab.test": [NOBODY], "www.lab.test": ["SERVFAIL"]}
    assert client.finalize(order, a_csr(*NAMES, key=p256(1))).status_code == 200
    (line,) = lines_of(lab, "order.caa-checked")
    seen = [(check["authorization"], check["verdict"]) for check in line["data"]["checks"]]
    assert seen == [(0, "forbids"), (1, "unknown")]


def test_records_that_cannot_be_looked_up_are_no_refusal(
    client: Client, dns: DnsServer, clock: HeldClock
) -> None:
    """Pitfall 22: what may pass is 503, and the order stays as it is."""
    dns.records["lab.test"] = [LET]
    order = prove(client, dns, "web.lab.test")
    clock.pass_by(9 * HOUR)
    client.drop_nonce()
    dns.records["web.lab.test"] = ["SERVFAIL"]
    result = client.finalize(order, a_csr("web.lab.test", key=p256(1)))
    assert problem(result)[0] == 503
    assert int(result.headers["retry-after"]) > 0
    dns.records["web.lab.test"] = ["A 192.0.2.1"]
    assert client.finalize(order, a_csr("web.lab.test", key=p256(1))).status_code == 200


def test_records_that_take_too_long_are_no_refusal(
    tmp_path, dns: DnsServer, clock: HeldClock
) -> None:
    wait = {"finalize_wait": dt.timedelta(milliseconds=200)}
    with a_dns_lab(
        tmp_path, dns, ("dns-01",), clock=clock, server=SERVER | wait, caa="strict"
    ) as made:
        client = made.client()
        client.register()
        dns.records["lab.test"] = [LET]
        order = prove(client, dns, "web.lab.test")
        clock.pass_by(9 * HOUR)
        client.drop_nonce()
        dns.records["web.lab.test"] = ["SILENCE"]
        result = client.finalize(order, a_csr("web.lab.test", key=p256(1)))
        assert problem(result)[0] == 503


def test_what_was_known_before_there_was_an_order_is_looked_at_when_it_is_finalized(
    tmp_path, dns: DnsServer
) -> None:
    server = SERVER | {"pre_authorization": True}
    with a_dns_lab(tmp_path, dns, ("dns-01",), server=server, caa="strict") as made:
        client = made.client()
        client.register()
        dns.records["lab.test"] = [LET]
        known = client.post(
            f"{URL}/acme/new-authz", {"identifier": {"type": "dns", "value": "web.lab.test"}}
        )
        (challenge,) = known.json["challenges"]
        shown = digest(client.key_authorization(challenge["token"])).decode()
        dns.records["_acme-challenge.web.lab.test"] = [f"TXT {shown}"]
        client.post(challenge["url"], {})
        client.wait(known.headers["location"], "valid", "invalid")
        order = client.placed("web.lab.test")
        assert client.see(order)["status"] == "ready"
        dns.records["lab.test"] = [NOBODY]
        csr = a_csr("web.lab.test", key=p256(1))
        assert problem(client.finalize(order, csr))[:2] == (403, "caa")
        dns.records["lab.test"] = [LET]
        assert client.finalize(order, csr).status_code == 200
        (line,) = lines_of(made, "order.caa-checked")
        assert line["data"]["checks"] == [
            {"authorization": 0, "verdict": "permits", "at": "lab.test"}
        ]


def test_what_an_administrator_has_granted_was_proven_by_no_challenge_type(
    lab: Lab, dns: DnsServer
) -> None:
    """RFC 8657 section 4: though one is shown as solved, nobody has looked."""
    client, _ = bound_client(lab, allow=(".lab.test/1",), prevalidated=True)
    order = client.placed("web.lab.test")
    assert client.see(order)["status"] == "ready"
    csr = a_csr("web.lab.test", key=p256(1))
    dns.records["lab.test"] = ['CAA 0 issue "ca.lab.test; validationmethods=dns-01"']
    status, kind, detail = problem(client.finalize(order, csr))
    assert (status, kind) == (403, "caa")
    assert "want a challenge of their choice" in detail
    dns.records["lab.test"] = [LET]
    assert client.finalize(order, csr).status_code == 200


def test_whose_dns_is_slow_keeps_nobody_else_waiting(
    tmp_path, dns: DnsServer, clock: HeldClock
) -> None:
    """Few requests wait for records; where these wait already, others are told to come back."""
    few = SERVER | {"threads": MOST_HELD}
    with a_dns_lab(tmp_path, dns, ("dns-01",), clock=clock, server=few, caa="strict") as lab:
        client, other = lab.client(), lab.client()
        client.register()
        other.register()
        dns.records["lab.test"] = [LET]
        slow, quick = prove(client, dns, NAMES[0]), prove(other, dns, NAMES[1])
        clock.pass_by(9 * HOUR)
        client.drop_nonce()
        other.drop_nonce()
        asked = threading.Event()

        def silence() -> list[str]:
            asked.set()
            return ["SILENCE"]

        dns.records[NAMES[0]] = silence
        done: list[int] = []

        def finalize() -> None:
            result = client.finalize(slow, a_csr(NAMES[0], key=p256(1)))
            done.append(result.status_code)

        waiting = threading.Thread(target=finalize)
        waiting.start()
        assert asked.wait(PATIENCE)
        csr = a_csr(NAMES[1], key=p256(2))
        result = other.finalize(quick, csr)
        assert problem(result)[0] == 503
        assert int(result.headers["retry-after"]) > 0
        assert done == []
        dns.records[NAMES[0]] = [LET]
        waiting.join()
        assert done == [200]
        assert other.finalize(quick, csr).status_code == 200


def test_one_account_does_not_take_every_place(tmp_path, dns: DnsServer, clock: HeldClock) -> None:
    """Where some of its requests wait for records, its others are told to come back."""
    few = SERVER | {"threads": 2 * MOST_HELD}
    with a_dns_lab(tmp_path, dns, ("dns-01",), clock=clock, server=few, caa="strict") as lab:
        client, other = lab.client(), lab.client()
        client.register()
        other.register()
        dns.records["lab.test"] = [LET]
        slow, second = prove(client, dns, NAMES[0]), prove(client, dns, NAMES[1])
        theirs = prove(other, dns, NAMES[1])
        clock.pass_by(9 * HOUR)
        client.drop_nonce()
        other.drop_nonce()
        asked = threading.Event()

        def silence() -> list[str]:
            asked.set()
            return ["SILENCE"]

        dns.records[NAMES[0]] = silence
        done: list[int] = []
        again = copy.copy(client)

        def finalize() -> None:
            result = client.finalize(slow, a_csr(NAMES[0], key=p256(1)))
            done.append(result.status_code)

        waiting = threading.Thread(target=finalize)
        waiting.start()
        assert asked.wait(PATIENCE)
        csr = a_csr(NAMES[1], key=p256(2))
        assert problem(again.finalize(second, csr))[0] == 503
        assert other.finalize(theirs, csr).status_code == 200
        assert done == []
        dns.records[NAMES[0]] = [LET]
        waiting.join()
        assert done == [200]
        assert again.finalize(second, csr).status_code == 200


def test_a_look_that_goes_on_after_the_answer_still_counts(
    tmp_path, dns: DnsServer, clock: HeldClock
) -> None:
    """Whose order of many names was answered goes on to be looked at: by few threads, so that
    there are some for everybody else."""
    few = SERVER | {"threads": 2 * MOST_HELD, "finalize_wait": dt.timedelta(milliseconds=500)}
    with a_dns_lab(tmp_path, dns, ("dns-01",), clock=clock, server=few, caa="strict") as lab:
        client, other = lab.client(), lab.client()
        client.register()
        other.register()
        dns.records["lab.test"] = [LET]
        many = tuple(f"n{n}.lab.test" for n in range(4 * AT_ONCE))
        slow, second = prove(client, dns, *many), prove(client, dns, NAMES[0])
        theirs = prove(other, dns, NAMES[1])
        clock.pass_by(9 * HOUR)
        client.drop_nonce()
        other.drop_nonce()
        dns.asked.clear()
        dns.records |= {name: ["SILENCE"] for name in many}
        assert problem(client.finalize(slow, a_csr(*many, key=p256(1))))[0] == 503
        assert other.finalize(theirs, a_csr(NAMES[1], key=p256(2))).status_code == 200
        assert problem(client.finalize(second, a_csr(NAMES[0], key=p256(3))))[0] == 503
        asked = {name for name, kind, _ in dns.asked if name in many and kind == "CAA"}
        assert len(asked) == AT_ONCE
        dns.records |= {name: [LET] for name in many}
