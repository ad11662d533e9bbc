"""dns-01 as a client meets it: a whole server, and a DNS server that it asks."""

from collections.abc import Iterator
from typing import Any

import pytest

from certeasy.validate.dns01 import digest
from tests.fakes.dns_server import DnsServer
from tests.make.dns_lab import a_dns_lab, lines_of
from tests.make.lab import Client, Lab

PLACE = "_acme-challenge.web.lab.test"


@pytest.fixture(scope="module")
def dns() -> Iterator[DnsServer]:
    with DnsServer({}) as server:
        yield server


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, dns: DnsServer) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    with a_dns_lab(folder, dns, ("http-01", "dns-01")) as made:
        yield made


@pytest.fixture
def client(lab: Lab) -> Client:
    made = lab.client()
    made.register()
    return made


def answer(client: Client, challenge: dict[str, Any], dns: DnsServer, *others: str) -> str:
    """Show what proves the name, beside other values, and say so; return what was shown."""
    shown = digest(client.key_authorization(challenge["token"])).decode()
    dns.records[PLACE] = [f"TXT {value}" for value in (*others, shown)]
    assert client.post(challenge["url"], {}).status_code == 200
    return shown


def last_evidence(lab: Lab, kind: str) -> dict[str, Any]:
    evidence: dict[str, Any] = lines_of(lab, kind)[-1]["data"]["evidence"]
    return evidence


def test_a_name_is_proven_by_a_record(lab: Lab, client: Client, dns: DnsServer) -> None:
    """RFC 8555 section 8.4."""
    order = client.placed("web.lab.test")
    (challenge,) = client.challenges(order, "dns-01")
    shown = answer(client, challenge, dns, "of-somebody-else")
    assert client.wait(order, "ready", "invalid")["status"] == "ready"
    evidence = last_evidence(lab, "challenge.validated")
    assert evidence["names"] == [PLACE]
    assert evidence["servers"] == [dns.endpoint]
    assert evidence["record_count"] == 2
    assert shown not in str(evidence)


def test_a_record_that_is_not_there_is_told_and_ends_the_order(
    lab: Lab, client: Client, dns: DnsServer
) -> None:
    """Pitfall 28, RFC 8555 section 8.2."""
    dns.records.clear()
    order = client.placed("web.lab.test")
    (challenge,) = client.challenges(order, "dns-01")
    assert client.post(challenge["url"], {}).status_code == 200
    seen = client.wait(order, "ready", "invalid")
    assert seen["status"] == "invalid"
    error = client.see(challenge["url"])["error"]
    assert error["type"] == "urn:ietf:params:acme:error:dns"
    assert error["detail"] == f"TXT {PLACE} does not exist in the DNS (NXDOMAIN)"
    assert last_evidence(lab, "challenge.failed")["rcode"] == "NXDOMAIN"


def test_a_passing_failure_of_the_dns_is_looked_at_again(client: Client, dns: DnsServer) -> None:
    """Pitfall 22: what may pass is no refusal."""
    order = client.placed("web.lab.test")
    (challenge,) = client.challenges(order, "dns-01")
    shown = f"TXT {digest(client.key_authorization(challenge['token'])).decode()}"
    answers = iter([["SERVFAIL"]])
    dns.records[PLACE] = lambda: next(answers, [shown])
    assert client.post(challenge["url"], {}).status_code == 200
    assert client.wait(order, "ready", "invalid")["status"] == "ready"
