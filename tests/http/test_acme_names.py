"""Names in orders as clients meet them."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from cryptography import x509

from certeasy.commit import Command
from certeasy.decide.decision import Decision
from certeasy.settings import NameRules, Settings
from events.envelope import Actor
from events.orders import ChallengeAccepted, ChallengeValidated, OrderReady
from tests.make.csrs import a_csr, cn
from tests.make.lab import Client, Lab, a_lab, problem


def with_wildcards(settings: Settings) -> Settings:
    """Return settings whose policy permits wildcards, and offers a challenge that proves them."""
    names = NameRules(allow=(".lab.test/3", "=lab.test", "*.lab.test", "*..lab.test/2"))
    (policy,) = settings.issuance_policies
    policy = msgspec.structs.replace(policy, dns=names, challenges=("http-01", "dns-01"))
    return msgspec.structs.replace(settings, issuance_policies=(policy,))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with a_lab(tmp_path_factory.mktemp("lab"), change=with_wildcards) as made:
        yield made


@pytest.fixture
def client(lab: Lab) -> Client:
    made = lab.client()
    made.register()
    return made


def authorizations(client: Client, order: str) -> list[dict[str, Any]]:
    return [client.see(url) for url in client.see(order)["authorizations"]]


def seen_in_the_dns(lab: Lab, order: str, *numbers: int) -> None:
    """Commit that these authorizations of an order, all that it lacks, were proven."""
    facts = [
        fact for n in numbers for fact in (ChallengeAccepted(n, 0), ChallengeValidated(n, 0, {}))
    ]
    stream = f"order/{order.rpartition('/')[2]}"
    decision = Decision(tuple((stream, fact) for fact in (*facts, OrderReady())))
    lab.server.committer.submit(Command(lambda _rows, _now: decision, Actor("system", "test")))


def test_a_wildcards_authorization_is_without_its_star_and_offers_dns_alone(client: Client) -> None:
    """Pitfalls 23 and 26, RFC 8555 section 7.1.4."""
    order = client.placed("*.Lab.test.")
    assert client.see(order)["identifiers"] == [{"type": "dns", "value": "*.lab.test"}]
    (one,) = authorizations(client, order)
    assert one["identifier"] == {"type": "dns", "value": "lab.test"}
    assert one["wildcard"] is True
    assert [each["type"] for each in one["challenges"]] == ["dns-01"]


def test_a_zone_and_its_wildcard_have_an_authorization_each(client: Client) -> None:
    """Pitfall 23, RFC 8555 section 7.1.4."""
    order = client.placed("lab.test", "*.lab.test")
    assert client.see(order)["identifiers"] == [
        {"type": "dns", "value": "lab.test"},
        {"type": "dns", "value": "*.lab.test"},
    ]
    apex, wildcard = authorizations(client, order)
    assert apex["identifier"] == wildcard["identifier"] == {"type": "dns", "value": "lab.test"}
    assert "wildcard" not in apex
    assert wildcard["wildcard"] is True
    assert [each["type"] for each in apex["challenges"]] == ["http-01", "dns-01"]
    assert [each["type"] for each in wildcard["challenges"]] == ["dns-01"]
    tokens = [each["token"] for one in (apex, wildcard) for each in one["challenges"]]
    assert len(set(tokens)) == 3


@pytest.mark.parametrize("common_name", [None, "*.web.lab.test", "web.lab.test"])
def test_a_certificate_has_the_wildcards_that_were_ordered(
    lab: Lab, client: Client, common_name: str | None
) -> None:
    """RFC 8555 section 7.4: the request's names are the order's, with their `*.`."""
    names = ("web.lab.test", "*.web.lab.test")
    order = client.placed(*names)
    seen_in_the_dns(lab, order, 0, 1)
    subject = cn(common_name) if common_name else None
    for wrong in (("web.lab.test",), ("*.web.lab.test",), (*names, "*.lab.test")):
        assert problem(client.finalize(order, a_csr(*wrong)))[:2] == (400, "badCSR")
    assert client.finalize(order, a_csr(*names, subject=subject)).status_code == 200
    chain = client.post(client.wait(order, "valid", "invalid")["certificate"]).content
    leaf = x509.load_pem_x509_certificates(chain)[0]
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert san.get_values_for_type(x509.DNSName) == list(names)


@pytest.mark.parametrize("name", ["*.*.lab.test", "a.*.lab.test", "w*.lab.test", "*", "*.test"])
def test_a_star_stands_alone_in_front_of_a_name(client: Client, name: str) -> None:
    """RFC 8555 section 7.1.3: a wildcard is `*.` and a name, once."""
    assert problem(client.order(name))[:2] == (400, "rejectedIdentifier")


def test_a_wildcard_that_no_rule_permits_is_refused(client: Client) -> None:
    """A rule for names is none for wildcards: `.lab.test/3` permits a.b.c.lab.test alone."""
    status, kind, detail = problem(client.order("*.b.c.d.lab.test"))
    assert (status, kind) == (400, "rejectedIdentifier")
    assert "not covered by any allow rule" in detail


def test_a_wildcard_is_refused_where_no_policy_offers_a_dns_challenge(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Pitfall 26: nothing is offered that could not succeed."""
    with a_lab(tmp_path_factory.mktemp("http")) as lab:
        client = lab.client()
        client.register()
        status, kind, detail = problem(client.order("*.lab.test"))
    assert (status, kind) == (400, "rejectedIdentifier")
    assert "only a DNS challenge proves; no policy offers one (dns-01)" in detail
