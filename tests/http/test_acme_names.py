"""Names and addresses in orders as clients meet them."""

import threading
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certeasy.settings import DnsZone, IpRules, NameRules, Settings
from certeasy.validate.dns01 import digest
from projections.orders import ORDER_NAMES
from tests.fakes.dns_server import DnsServer
from tests.fakes.web_server import WebServer
from tests.make.alpn import AlpnShelf, right_certificate
from tests.make.csrs import a_csr, cn, san
from tests.make.lab import PATIENCE, URL, Client, Lab, a_lab, problem
from tests.make.server import ZONE
from tests.make.signers import b64


def with_wildcards(settings: Settings) -> Settings:
    """Return settings whose policy permits wildcards, and offers a challenge that proves them."""
    names = NameRules(allow=(".lab.test/4", "=lab.test", "*.lab.test", "*..lab.test/2"))
    (policy,) = settings.issuance_policies
    policy = msgspec.structs.replace(policy, dns=names, challenges=("http-01", "dns-01"))
    return msgspec.structs.replace(settings, issuance_policies=(policy,))


@pytest.fixture(scope="module")
def dns() -> Iterator[DnsServer]:
    with DnsServer({f"*.{ZONE}": ["A 127.0.0.1"], ZONE: ["A 127.0.0.1"]}) as server:
        yield server


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, dns: DnsServer) -> Iterator[Lab]:
    def change(settings: Settings) -> Settings:
        settings = with_wildcards(settings)
        (profile,) = settings.dns_validation_profiles
        zone = DnsZone(suffixes=(ZONE,), dns_server=(dns.endpoint,))
        profile = msgspec.structs.replace(profile, zones=(zone,))
        return msgspec.structs.replace(settings, dns_validation_profiles=(profile,))

    folder = tmp_path_factory.mktemp("lab")
    with a_lab(folder, change=change, pre_authorization=True) as made:
        yield made


@pytest.fixture
def client(lab: Lab) -> Client:
    made = lab.client()
    made.register()
    return made


def authorizations(client: Client, order: str) -> list[dict[str, Any]]:
    return [client.see(url) for url in client.see(order)["authorizations"]]


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
    client: Client, dns: DnsServer, common_name: str | None
) -> None:
    """Pitfall 23, RFC 8555 section 7.4: both are proven at one place, by two records at once."""
    names = ("web.lab.test", "*.web.lab.test")
    order = client.placed(*names)
    challenges = client.challenges(order, "dns-01")
    dns.records["_acme-challenge.web.lab.test"] = [
        f"TXT {digest(client.key_authorization(each['token'])).decode()}" for each in challenges
    ]
    for challenge in challenges:
        assert client.post(challenge["url"], {}).status_code == 200
    assert client.wait(order, "ready", "invalid")["status"] == "ready"
    subject = cn(common_name) if common_name else None
    for wrong in (("web.lab.test",), ("*.web.lab.test",), (*names, "*.lab.test")):
        assert problem(client.finalize(order, a_csr(*wrong)))[:2] == (400, "badCSR")
    assert client.finalize(order, a_csr(*names, subject=subject)).status_code == 200
    chain = client.post(client.wait(order, "valid", "invalid")["certificate"]).content
    leaf = x509.load_pem_x509_certificates(chain)[0]
    names_in = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names_in.get_values_for_type(x509.DNSName) == list(names)


def test_a_wildcard_whose_record_is_another_is_refused_with_its_order(
    client: Client, dns: DnsServer
) -> None:
    """RFC 8555 section 8.4: the record of the zone itself is not that of its wildcard."""
    order = client.placed("zone.lab.test", "*.zone.lab.test")
    first, second = client.challenges(order, "dns-01")
    shown = digest(client.key_authorization(first["token"])).decode()
    dns.records["_acme-challenge.zone.lab.test"] = [f"TXT {shown}"]
    client.post(first["url"], {})
    client.post(second["url"], {})
    assert client.wait(order, "ready", "invalid")["status"] == "invalid"
    assert client.see(second["url"])["status"] == "invalid"


@pytest.mark.parametrize("name", ["*.*.lab.test", "a.*.lab.test", "w*.lab.test", "*", "*.test"])
def test_a_star_stands_alone_in_front_of_a_name(client: Client, name: str) -> None:
    """RFC 8555 section 7.1.3: a wildcard is `*.` and a name, once."""
    assert problem(client.order(name))[:2] == (400, "rejectedIdentifier")


def test_a_wildcard_that_no_rule_permits_is_refused(client: Client) -> None:
    """A rule for names is none for wildcards: `.lab.test/4` permits none."""
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


# IP addresses (RFC 8738)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, AlpnShelf]]:
    """A lab whose policy permits loopback addresses, and the TLS server that is there."""
    shelf = AlpnShelf(tmp_path_factory.mktemp("certificates"))

    def change(settings: Settings) -> Settings:
        (policy,), (profile,) = settings.issuance_policies, settings.dns_validation_profiles
        ip = IpRules(
            (ip_network("127.0.0.0/8"), ip_network("10.0.0.0/8")), (ip_network("127.0.0.9"),)
        )
        policy = msgspec.structs.replace(
            policy, ip=ip, challenges=("http-01", "dns-01", "tls-alpn-01")
        )
        profile = msgspec.structs.replace(profile, tls_alpn_01_port=server.port)
        return msgspec.structs.replace(
            settings, issuance_policies=(policy,), dns_validation_profiles=(profile,)
        )

    with (
        WebServer(lambda _: [], tls=shelf.context) as server,
        a_lab(tmp_path_factory.mktemp("lab"), change=change, pre_authorization=True) as lab,
    ):
        yield lab, shelf


def ips(*addresses: str) -> list[dict[str, str]]:
    return [{"type": "ip", "value": address} for address in addresses]


def test_an_address_is_proven_by_http_01_and_issued_beside_a_name(
    host: tuple[Lab, AlpnShelf],
) -> None:
    """RFC 8738: the identifier's type, the challenges, the SAN."""
    client = host[0].client()
    client.register()
    identifiers = [*ips("127.0.0.1"), {"type": "dns", "value": "web.lab.test"}]
    result = client.order(identifiers=identifiers)
    assert result.status_code == 201, result.text
    assert result.json["identifiers"] == identifiers
    order = result.headers["location"]
    first, second = authorizations(client, order)
    assert first["identifier"] == {"type": "ip", "value": "127.0.0.1"}
    assert [each["type"] for each in first["challenges"]] == ["http-01", "tls-alpn-01"]
    assert [each["type"] for each in second["challenges"]] == ["http-01", "dns-01", "tls-alpn-01"]
    assert client.prove(order)["status"] == "ready"
    wrong = x509.SubjectAlternativeName([x509.DNSName("127.0.0.1"), x509.DNSName("web.lab.test")])
    refused = client.finalize(order, a_csr(extensions=[wrong]))
    assert problem(refused)[:2] == (400, "badCSR")
    csr = a_csr("web.lab.test", "127.0.0.1", subject=cn("127.0.0.1"))
    assert client.finalize(order, csr).status_code == 200
    chain = client.post(client.wait(order, "valid", "invalid")["certificate"]).content
    leaf = x509.load_pem_x509_certificates(chain)[0]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names == san("127.0.0.1", "web.lab.test")
    order_id = order.rpartition("/")[2]
    rows = host[0].server.committer
    assert rows.get(ORDER_NAMES, "127.0.0.1", order_id) is not None


def test_an_address_is_proven_by_tls_alpn_01(host: tuple[Lab, AlpnShelf]) -> None:
    """RFC 8738 section 6: the handshake asks for the address's name in the reverse DNS."""
    lab, shelf = host
    client = lab.client()
    client.register()
    order = client.order(identifiers=ips("127.0.0.1")).headers["location"]
    (one,) = authorizations(client, order)
    challenge = next(each for each in one["challenges"] if each["type"] == "tls-alpn-01")
    proof = client.key_authorization(challenge["token"])
    shelf.lay("1.0.0.127.in-addr.arpa", right_certificate("127.0.0.1", proof))
    client.post(challenge["url"], {})
    assert client.wait(order, "ready", "invalid")["status"] == "ready"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.9", "is denied by the deny-cidr 127.0.0.9/32"),
        ("192.0.2.1", "is in none of the ip allow-cidrs"),
        ("2001:db8::1", "is in none of the ip allow-cidrs"),
        ("127.0.0.01", "is no IP address"),
        ("::ffff:127.0.0.1", 'send "127.0.0.1"'),
        ("web.lab.test", "is no IP address"),
    ],
)
def test_an_address_that_cannot_be_ordered_is_refused_with_the_reason(
    host: tuple[Lab, AlpnShelf], address: str, words: str
) -> None:
    """RFC 8738 section 3."""
    client = host[0].client()
    client.register()
    result = client.order(identifiers=ips(address))
    status, kind, detail = problem(result)
    assert (status, kind) == (400, "rejectedIdentifier")
    assert words in detail
    assert result.json["identifier"] == {"type": "ip", "value": address}


def test_an_address_that_may_be_ordered_is_not_connected_to_unless_the_profile_allows_it(
    host: tuple[Lab, AlpnShelf],
) -> None:
    """RFC 8738: the policy permits 10.0.0.0/8; the profile connects to 127.0.0.0/8 alone."""
    client = host[0].client()
    client.register()
    order = client.order(identifiers=ips("10.0.0.1")).headers["location"]
    failed = client.prove(order)
    assert failed["status"] == "invalid"
    assert failed["error"]["type"].endswith(":connection")
    assert "10.0.0.1, which is in none of the allow-cidrs" in failed["error"]["detail"]


def test_where_no_policy_permits_an_address_its_type_is_not_supported(client: Client) -> None:
    """RFC 8555 section 6.7: unsupportedIdentifier."""
    status, kind, detail = problem(client.order(identifiers=ips("127.0.0.1")))
    assert (status, kind) == (400, "unsupportedIdentifier")
    assert 'only "dns" is' in detail


# Names in their one form


@pytest.mark.parametrize(
    ("sent", "echoed"),
    [
        ("Web.LAB.Test", "web.lab.test"),
        ("web.lab.test.", "web.lab.test"),
        ("WEB.LAB.TEST.", "web.lab.test"),
        ("xn--BCHER-kva.lab.test", "xn--bcher-kva.lab.test"),
        ("a.b.c.lab.test", "a.b.c.lab.test"),
        ("3com.lab.test", "3com.lab.test"),
    ],
)
def test_a_name_is_echoed_as_it_was_sent_but_for_its_case_and_last_dot(
    client: Client, sent: str, echoed: str
) -> None:
    """Pitfall 24, RFC 8555 section 7.1.3."""
    order = client.placed(sent)
    assert client.see(order)["identifiers"] == [{"type": "dns", "value": echoed}]
    (one,) = authorizations(client, order)
    assert one["identifier"] == {"type": "dns", "value": echoed}


def test_duplicates_are_dropped_in_silence(client: Client) -> None:
    """Pitfall 24: also those that differ in case, in a last dot, and among wildcards."""
    order = client.placed(
        "b.lab.test", "*.lab.test", "B.lab.test.", "a.lab.test", "*.LAB.test", "a.lab.test"
    )
    values = [each["value"] for each in client.see(order)["identifiers"]]
    assert values == ["b.lab.test", "*.lab.test", "a.lab.test"]
    assert len(authorizations(client, order)) == 3


@pytest.mark.parametrize(
    ("sent", "form"),
    [
        ("bücher.lab.test", "xn--bcher-kva.lab.test"),
        ("BÜCHER.lab.test", "xn--bcher-kva.lab.test"),
        ("例え.lab.test", "xn--r8jz45g.lab.test"),
        ("*.bücher.lab.test", "*.xn--bcher-kva.lab.test"),
    ],
)
def test_a_u_label_is_refused_with_the_a_label_to_send(
    client: Client, sent: str, form: str
) -> None:
    """Pitfall 24, RFC 8555 section 7.1.4: names are in their ASCII form."""
    status, kind, detail = problem(client.order(sent))
    assert (status, kind) == (400, "rejectedIdentifier")
    assert f'send its A-label form, "{form}"' in detail


@pytest.mark.parametrize(
    "name", ["xn--.lab.test", "xn--a.lab.test", "xn--99999999.lab.test", "xn--bcher-kva-.lab.test"]
)
def test_what_only_looks_like_an_a_label_is_refused(client: Client, name: str) -> None:
    """RFC 5890 section 2.3.2.1."""
    assert problem(client.order(name))[:2] == (400, "rejectedIdentifier")


LONGEST = f"{'a' * 63}.{'b' * 63}.{'c' * 63}.{'d' * 52}.lab.test"


def test_a_name_of_full_length_is_issued_and_a_longer_one_refused(client: Client) -> None:
    """RFC 1035 section 2.3.4: 253 characters, 63 in a label."""
    assert len(LONGEST) == 253
    chain = client.certificate(LONGEST)
    leaf = x509.load_pem_x509_certificates(chain)[0]
    assert leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value == san(
        LONGEST
    )
    for longer in (f"d{LONGEST[192:]}{'x' * 200}", "a" + LONGEST, f"{'a' * 64}.lab.test"):
        assert problem(client.order(longer))[:2] == (400, "rejectedIdentifier")


def test_a_request_in_mixed_case_is_for_the_same_names(client: Client) -> None:
    """Pitfall 35: names are compared without regard to case, RFC 4343."""
    order = client.ready("web.lab.test", "www.lab.test")
    csr = a_csr("WWW.lab.test", "Web.Lab.Test", "web.lab.test", subject=cn("WEB.lab.test"))
    assert client.finalize(order, csr).status_code == 200
    chain = client.post(client.wait(order, "valid", "invalid")["certificate"]).content
    leaf = x509.load_pem_x509_certificates(chain)[0]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names == san("web.lab.test", "www.lab.test")


# A hundred names

HUNDRED = tuple(f"n{n}.lab.test" for n in range(100))
AT_ONCE = 3
"""Of the lab's four workers one account has three."""


def accept_all(client: Client, order: str) -> None:
    for challenge in client.challenges(order):
        client.lab.shown[challenge["token"]] = client.key_authorization(challenge["token"])
        assert client.post(challenge["url"], {}).status_code == 200


def test_a_hundred_names_are_ordered_and_one_more_is_not(client: Client) -> None:
    """RFC 8555 section 7.4: a limit of the server's, told in words."""
    status, kind, detail = problem(client.order(*HUNDRED, "one-more.lab.test"))
    assert (status, kind) == (400, "malformed")
    assert detail == "An order may have at most 100 names; this one has 101"


def test_a_hundred_names_are_validated_several_at_a_time_and_issued_together(
    lab: Lab, client: Client
) -> None:
    """RFC 8555 section 7.1.6: the order is ready once all of them are proven."""
    under_way, most = 0, 0
    condition = threading.Condition()

    def meet(_request: bytes) -> None:
        """Answer nobody before several have asked."""
        nonlocal under_way, most
        with condition:
            under_way += 1
            most = max(most, under_way)
            condition.notify_all()
            condition.wait_for(lambda: most >= AT_ONCE, PATIENCE)
            under_way -= 1

    lab.on_request = meet
    try:
        order = client.placed(*HUNDRED)
        accept_all(client, order)
        assert client.wait(order, "ready", "invalid")["status"] == "ready"
    finally:
        lab.on_request = lambda _request: None
    assert most == AT_ONCE
    csr = a_csr(*HUNDRED)
    assert client.finalize(order, csr).status_code == 200
    chain = client.post(client.wait(order, "valid", "invalid")["certificate"]).content
    leaf = x509.load_pem_x509_certificates(chain)[0]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names == san(*HUNDRED)


def test_a_hundred_slow_names_of_one_account_do_not_keep_another_waiting(
    lab: Lab, client: Client
) -> None:
    """One account has at most three quarters of the threads."""
    another = lab.client()
    another.register()
    held = threading.Semaphore(0)
    release = threading.Event()

    def hold(request: bytes) -> None:
        if b"\r\nHost: slow" in request:
            held.release()
            release.wait(PATIENCE)

    lab.on_request = hold
    try:
        slow = client.placed(*(f"slow-{n}.lab.test" for n in range(100)))
        accept_all(client, slow)
        assert all(held.acquire(timeout=PATIENCE) for _ in range(AT_ONCE))
        another.ready("quick.lab.test")
        assert client.see(slow)["status"] == "pending"
        assert not held.acquire(blocking=False)
        release.set()
        assert client.wait(slow, "ready", "invalid")["status"] == "ready"
    finally:
        release.set()
        lab.on_request = lambda _request: None


# Names of one kind are no proof of the other


def by_dns(client: Client, dns: DnsServer, order: str) -> None:
    """Prove all of an order by records of the DNS."""
    for url in client.see(order)["authorizations"]:
        authorization = client.see(url)
        challenge = next(each for each in authorization["challenges"] if each["type"] == "dns-01")
        place = f"_acme-challenge.{authorization['identifier']['value']}"
        shown = digest(client.key_authorization(challenge["token"])).decode()
        dns.records[place] = [*dns.records.get(place, []), f"TXT {shown}"]
        assert client.post(challenge["url"], {}).status_code == 200
    assert client.wait(order, "ready", "invalid")["status"] == "ready"


def proven_ahead(client: Client, kind: str, value: str) -> None:
    """Prove a name by http-01 ahead of any order."""
    asked = {"identifier": {"type": kind, "value": value}}
    result = client.post(f"{URL}/acme/new-authz", asked)
    assert result.status_code == 201, result.text
    challenge = next(each for each in result.json["challenges"] if each["type"] == "http-01")
    client.lab.shown[challenge["token"]] = client.key_authorization(challenge["token"])
    client.post(challenge["url"], {})
    assert client.wait(result.headers["location"], "valid", "invalid")["status"] == "valid"


def test_a_name_that_was_proven_ahead_proves_no_wildcard_of_it(client: Client) -> None:
    """RFC 8555 section 7.4.1: one host of a zone does not speak for all of it."""
    proven_ahead(client, "dns", "lab.test")
    order = client.placed("lab.test", "*.lab.test")
    first, second = authorizations(client, order)
    assert (first["status"], second["status"]) == ("valid", "pending")
    assert [each["type"] for each in second["challenges"]] == ["dns-01"]
    assert client.see(order)["status"] == "pending"


def test_a_wildcard_is_not_proven_ahead_of_an_order(client: Client) -> None:
    """RFC 8555 section 7.4.1: a server may refuse it."""
    asked = {"identifier": {"type": "dns", "value": "*.lab.test"}}
    status, kind, detail = problem(client.post(f"{URL}/acme/new-authz", asked))
    assert (status, kind) == (400, "malformed")
    assert "wildcard" in detail


def test_an_address_is_proven_ahead_of_an_order(host: tuple[Lab, AlpnShelf]) -> None:
    """RFC 8738, RFC 8555 section 7.4.1."""
    client = host[0].client()
    client.register()
    proven_ahead(client, "ip", "127.0.0.1")
    result = client.order(identifiers=ips("127.0.0.1"))
    assert (result.status_code, result.json["status"]) == (201, "ready")
    finalized = client.finalize(result.headers["location"], a_csr("127.0.0.1"))
    assert finalized.json["status"] == "valid"


def test_who_controls_a_name_revokes_no_certificate_of_its_wildcard(
    lab: Lab, client: Client, dns: DnsServer
) -> None:
    """RFC 8555 section 7.6: valid authorizations for all of the identifiers, stars included."""
    names = ("rev.lab.test", "*.rev.lab.test")
    order = client.placed(*names)
    by_dns(client, dns, order)
    client.finalize(order, a_csr(*names))
    chain = client.post(client.wait(order, "valid", "invalid")["certificate"]).content
    leaf = x509.load_pem_x509_certificates(chain)[0].public_bytes(Encoding.DER)
    other = lab.client()
    other.register()
    revoke = f"{URL}/acme/revoke-cert"
    other.ready("rev.lab.test")
    refused = other.post(revoke, {"certificate": b64(leaf)})
    assert problem(refused)[:2] == (403, "unauthorized")
    by_dns(other, dns, other.placed("*.rev.lab.test"))
    assert other.post(revoke, {"certificate": b64(leaf)}).status_code == 200
