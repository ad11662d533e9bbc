"""dns-account-01 and dns-persist-01 as a client meets them: challenges of the drafts, which a
policy has to list."""

from collections.abc import Iterator

import pytest

from certeasy.validate.dns01 import digest
from certeasy.validate.dns_account01 import place
from tests.fakes.dns_server import DnsServer
from tests.make.csrs import a_csr, p256
from tests.make.dns_lab import a_dns_lab, lines_of
from tests.make.lab import Client, Lab, a_lab

OURS = ("ca.lab.test", "acme.lab.test")


@pytest.fixture(scope="module")
def dns() -> Iterator[DnsServer]:
    with DnsServer({}) as server:
        yield server


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, dns: DnsServer) -> Iterator[Lab]:
    folder, types = tmp_path_factory.mktemp("lab"), ("dns-account-01", "dns-persist-01")
    with a_dns_lab(folder, dns, types, server={"caa_identities": OURS}) as made:
        yield made


@pytest.fixture
def client(lab: Lab, dns: DnsServer) -> Client:
    dns.records.clear()
    made = lab.client()
    made.register()
    return made


def test_neither_is_offered_unless_a_policy_lists_it(tmp_path) -> None:
    """Pitfall 26: strict decoders die on types that they do not know."""
    with a_lab(tmp_path) as plain:
        client = plain.client()
        client.register()
        (url,) = client.see(client.placed("web.lab.test"))["authorizations"]
        assert [each["type"] for each in client.see(url)["challenges"]] == ["http-01"]


def test_an_account_proves_a_name_at_its_own_place(
    lab: Lab, client: Client, dns: DnsServer
) -> None:
    """draft-ietf-acme-dns-account-label-03 section 3."""
    order = client.placed("web.lab.test")
    (challenge,) = client.challenges(order, "dns-account-01")
    assert client.kid is not None
    at = place("web.lab.test", client.kid)
    dns.records[at] = [f"TXT {digest(client.key_authorization(challenge['token'])).decode()}"]
    assert client.post(challenge["url"], {}).status_code == 200
    assert client.wait(order, "ready", "invalid")["status"] == "ready"
    assert lines_of(lab, "challenge.validated")[-1]["data"]["evidence"]["names"] == [at]


def test_a_persistent_challenge_says_who_is_to_be_named_and_has_no_token(client: Client) -> None:
    """draft-ietf-acme-dns-persist-01 section 3.1."""
    (challenge,) = client.challenges(client.placed("web.lab.test"), "dns-persist-01")
    assert challenge == {
        "type": "dns-persist-01",
        "url": challenge["url"],
        "status": "pending",
        "accounturi": client.kid,
        "issuer-domain-names": list(OURS),
    }


def test_a_persistent_record_proves_a_name_again_and_again(client: Client, dns: DnsServer) -> None:
    dns.records["_validation-persist.web.lab.test"] = [
        "TXT v=spf1 -all",
        f'TXT "{OURS[1]}; accounturi={client.kid}"',
    ]
    for _ in range(2):
        order = client.placed("web.lab.test")
        (challenge,) = client.challenges(order, "dns-persist-01")
        assert client.post(challenge["url"], {}).status_code == 200
        assert client.wait(order, "ready", "invalid")["status"] == "ready"


def test_a_persistent_record_of_another_account_proves_nothing(
    lab: Lab, client: Client, dns: DnsServer
) -> None:
    dns.records["_validation-persist.web.lab.test"] = [f'TXT "{OURS[0]}; accounturi={client.kid}"']
    other = lab.client()
    other.register()
    order = other.placed("web.lab.test")
    (challenge,) = other.challenges(order, "dns-persist-01")
    assert other.post(challenge["url"], {}).status_code == 200
    assert other.wait(order, "ready", "invalid")["status"] == "invalid"
    error = other.see(challenge["url"])["error"]
    assert error["type"] == "urn:ietf:params:acme:error:unauthorized"
    assert "does not name this account" in error["detail"]


def test_a_wildcard_is_had_by_a_persistent_record_that_permits_it(
    client: Client, dns: DnsServer
) -> None:
    dns.records["_validation-persist.lab.test"] = [
        f'TXT "{OURS[0]}; accounturi={client.kid}; policy=wildcard"'
    ]
    order = client.placed("*.lab.test")
    (challenge,) = client.challenges(order, "dns-persist-01")
    assert client.post(challenge["url"], {}).status_code == 200
    assert client.wait(order, "ready", "invalid")["status"] == "ready"
    assert client.finalize(order, a_csr("*.lab.test", key=p256(1))).status_code == 200
