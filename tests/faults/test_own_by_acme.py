"""The server's own certificate from another ACME server: a second Certeasy, in this process, which
issues, refuses, is away or talks nonsense."""

import socket
from contextlib import closing
from datetime import timedelta
from ipaddress import ip_network

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from msgspec.structs import replace

from certeasy.commit import Unavailable
from certeasy.outward import Reply
from certeasy.serve.node import listen_for_proofs
from certeasy.settings import (
    AcmeBinding,
    AcmeSettings,
    IpPolicy,
    IpRules,
    KeySettings,
    TlsBundle,
    TlsSettings,
)
from certeasy.tls.acme_server import _rest
from certeasy.tls.by_acme import LETS_ENCRYPT, ByAcme, account_key, directory_of
from certeasy.tls.material import taken
from certeasy.tls.own import OwnCertificates
from certeasy.tls.showing import Showing
from tests.fakes.authorities import TroubledAuthority
from tests.fakes.clocks import MovedClock
from tests.http.test_acme_eab import a_key
from tests.make.acme_server import free_port
from tests.make.lab import Lab
from tests.make.upstream import an_upstream, saying
from tests.make.waiting import soon

HOSTS = ("acme.lab.test",)
DAY, HOUR, MINUTE = 86400, 3600, 60
PROBLEM = ("Content-Type", "application/problem+json")


class Bundle:
    """What a server has of one bundle over its starts: a clock, a log, and a secret."""

    def __init__(self, upstream, clock, **settings):
        self.upstream = upstream
        self.clock = clock
        self.said = []
        self.secret = None
        self.full = False
        self.hosts = HOSTS
        self.key = account_key()
        given = {
            "directory": upstream.directory,
            "ca_file": upstream.root,
            "http_addr": upstream.http_addr,
            "timeout": timedelta(seconds=30),
        }
        self.settings = AcmeSettings(**given | settings)
        self.starts()

    def starts(self):
        bundle = TlsBundle(name="own", hosts=self.hosts, mode="acme")
        showing = Showing(self.settings.http_addr, listen_for_proofs)
        self.by_acme = ByAcme(bundle, self.settings, self.key, self.clock, showing)
        self.own = OwnCertificates(
            TlsSettings(bundles=(bundle,), acme=self.settings),
            {},
            self.clock,
            "node-1",
            self._install,
            lambda _name: self.secret,
            {"own": self.by_acme},
        )
        self.own.all()

    def _install(self, fact, secret):
        if self.full:
            raise Unavailable("the journal's disk is full")
        self.said.append(fact)
        self.secret = secret

    @property
    def held(self):
        [held] = self.own.all()
        return held

    def renewed(self):
        """Look after it until there is another certificate; return it."""
        soon(self.own.refresh, 30)
        return self.held

    def fails(self):
        """Look after it until that failed once more, and return how that is told."""
        before = self.own._failures.get("own")

        def failed():
            assert not self.own.refresh()
            return self.own._failures.get("own") is not before

        soon(failed, 30)
        return self.own.failing("own")

    def idle(self):
        """Look after it until nothing is under way."""

        def is_idle():
            assert not self.own.refresh()
            return self.by_acme._aside is None and self.by_acme._asked_when is None

        soon(is_idle)


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr("certeasy.tls.by_acme.FIRST_PAUSE", 0.05)
    return MovedClock()


@pytest.fixture
def upstream(tmp_path, clock):
    with an_upstream(tmp_path / "upstream", clock=clock) as upstream:
        yield upstream


def test_the_first_one_is_signed_by_itself_until_there_is_another_and_that_is_said(
    upstream, clock, caplog
):
    bundle = Bundle(upstream, clock)
    assert bundle.held.placeholder
    told = f"until {upstream.directory} has issued a certificate, one is shown that is signed by"
    assert told in caplog.text
    assert told in bundle.own.failing("own")
    assert told in bundle.own.ended()
    assert (bundle.said, bundle.secret) == ([], None)
    own = bundle.renewed()
    assert (bundle.own.failing("own"), bundle.own.ended()) == (None, None)
    leaf, issuer = x509.load_pem_x509_certificates(own.chain_pem)
    leaf.verify_directly_issued_by(issuer)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == list(HOSTS)
    assert isinstance(leaf.public_key().curve, ec.SECP256R1)
    [fact] = bundle.said
    assert (fact.bundle, fact.authority, fact.hosts) == ("own", upstream.directory, list(HOSTS))
    assert taken(bundle.secret) == own
    assert b"PRIVATE" not in repr(own).encode()


def test_its_port_is_open_only_while_somebody_looks(upstream, clock):
    bundle = Bundle(upstream, clock)
    bundle.renewed()
    with pytest.raises(ConnectionRefusedError):
        asked(upstream.http_addr, "/")


def test_a_start_shows_what_was_kept_and_asks_nobody(upstream, clock):
    bundle = Bundle(upstream, clock)
    first = bundle.renewed()
    bundle.idle()
    before = upstream.asked("new-order")
    bundle.starts()
    bundle.idle()
    assert bundle.held == first
    assert upstream.asked("new-order") == before
    assert len(bundle.said) == 1


def test_it_is_renewed_in_the_window_that_the_server_advises_and_says_what_it_replaces(
    upstream, clock
):
    bundle = Bundle(upstream, clock)
    bundle.renewed()
    for _ in range(58):
        bundle.clock.pass_by(DAY)
        bundle.idle()
    assert len(bundle.said) == 1
    assert upstream.asked("renewal-info") > 50
    bundle.clock.pass_by(4 * DAY)
    bundle.renewed()
    assert len(bundle.said) == 2
    old, new = upstream.server.node.store.certificates_ending(
        clock.now(), clock.now() + timedelta(days=365)
    ).__next__()
    assert old.replaced_by == new.id


def test_it_is_renewed_ahead_of_time_where_the_server_wants_that(upstream, clock):
    """A CA that has to revoke says so in its renewal information. And only once."""
    bundle = Bundle(upstream, clock)
    bundle.renewed()
    bundle.idle()
    bundle.clock.pass_by(10 * DAY)
    past = b'{"suggestedWindow":{"start":"2026-01-01T00:00:00Z","end":"2026-01-02T00:00:00Z"}}'
    for _ in range(50):
        upstream.instead.append(("renewal-info", saying("200 OK", past)))
    bundle.renewed()
    for _ in range(20):
        bundle.clock.pass_by(HOUR)
        bundle.idle()
    assert len(bundle.said) == 2


@pytest.mark.parametrize(
    "answer",
    [
        saying("404 Not Found"),
        saying("200 OK", b"{}"),
        saying("200 OK", b'{"suggestedWindow":{"start":"0001-01-01T00:00:00+14:00","end":"x"}}'),
    ],
    ids=["none", "empty", "no time"],
)
def test_without_advice_it_is_renewed_before_its_end_as_any_other(upstream, clock, answer):
    bundle = Bundle(upstream, clock)
    bundle.renewed()
    upstream.instead.extend([("renewal-info", answer)] * 500)
    bundle.idle()
    bundle.clock.pass_by(59 * DAY)
    bundle.idle()
    assert len(bundle.said) == 1
    bundle.clock.pass_by(2 * DAY)
    bundle.renewed()
    assert len(bundle.said) == 2


def test_what_it_replaces_is_not_said_where_another_has_replaced_it(upstream, clock):
    """As after a restore of the database."""
    bundle = Bundle(upstream, clock)
    bundle.renewed()
    old = bundle.secret
    bundle.clock.pass_by(62 * DAY)
    bundle.renewed()
    bundle.secret = old
    bundle.starts()
    bundle.renewed()
    assert len(bundle.said) == 3


def test_a_server_that_is_away_leaves_the_old_one_in_use_and_that_is_told(upstream, clock, caplog):
    bundle = Bundle(upstream, clock)
    first = bundle.renewed()
    bundle.idle()
    bundle.clock.pass_by(70 * DAY)
    upstream.listener.close()
    told = bundle.fails()
    assert "Connection refused" in told
    assert "in 19 days" in told or "in 20 days" in told
    assert "the certificate in use stays" in caplog.text
    assert bundle.own.ended() is None
    bundle.clock.pass_by(30 * DAY)
    bundle.fails()
    assert "has ended" in bundle.own.ended()
    assert bundle.held == first


def test_a_server_that_cannot_issue_is_asked_once_an_hour_in_the_end(upstream, clock):
    bundle = Bundle(upstream, clock)
    upstream.instead.extend([("directory", saying("500 Internal Server Error"))] * 1000)
    asked = [len(upstream.requests)]
    for _ in range(12):
        bundle.fails()
        rest = bundle.own._failures["own"].again - clock.now()
        asked.append(rest)
        clock.pass_by(rest.total_seconds() + 1)
    assert asked[-1] <= timedelta(hours=1)
    assert asked[-1] > timedelta(minutes=59)


def test_a_server_that_wants_to_be_left_alone_is(upstream, clock):
    bundle = Bundle(upstream, clock)
    limited = b'{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many certificates"}'
    upstream.instead.append(
        ("new-order", saying("429 Too Many Requests", limited, PROBLEM, ("Retry-After", "7200")))
    )
    assert "answered 429: too many certificates" in bundle.fails()
    clock.pass_by(7100)
    before = len(upstream.requests)
    for _ in range(5):
        bundle.own.refresh()
    assert len(upstream.requests) == before
    clock.pass_by(200)
    assert not bundle.renewed().placeholder


def test_a_nonce_that_is_refused_is_followed_by_another(upstream, clock):
    """RFC 8555 section 6.5."""
    refused = b'{"type":"urn:ietf:params:acme:error:badNonce","detail":"unknown"}'
    bundle = Bundle(upstream, clock)
    upstream.instead.extend([("new-order", saying("400 Bad Request", refused, PROBLEM))] * 2)
    assert not bundle.renewed().placeholder


def test_a_server_that_never_takes_a_nonce_is_told(upstream, clock):
    refused = b'{"type":"urn:ietf:params:acme:error:badNonce","detail":"unknown"}'
    bundle = Bundle(upstream, clock)
    upstream.instead.extend([("new-order", saying("400 Bad Request", refused, PROBLEM))] * 10)
    assert "answered 400: unknown" in bundle.fails()
    assert len(upstream.instead) == 2


@pytest.mark.parametrize(
    ("hosts", "settings", "told"),
    [
        (("acme.other.test",), {}, "acme.other.test"),
        (HOSTS, {"http_addr": "127.0.0.1:0"}, "acme.lab.test was not proven: acme.lab.test port"),
        (HOSTS, {"ca_file": None}, "its certificate is not believed"),
        (
            HOSTS,
            {"resolved_ip_policy": IpPolicy(deny_cidrs=(ip_network("127.0.0.0/8"),))},
            "is in the deny-cidr 127.0.0.0/8",
        ),
    ],
)
def test_what_is_refused_is_told_with_its_reason(upstream, clock, hosts, settings, told):
    bundle = Bundle(upstream, clock, **settings)
    bundle.hosts = hosts
    bundle.starts()
    assert told in bundle.fails()
    assert bundle.held.placeholder


def test_an_address_that_is_taken_is_told_by_its_key(upstream, clock):
    host, _, port = upstream.http_addr.rpartition(":")
    bundle = Bundle(upstream, clock)
    with closing(socket.create_server((host, int(port)))):
        told = bundle.fails()
    assert f"tls-certificate-manager.acme.http-addr: {upstream.http_addr} cannot be" in told
    clock.pass_by(HOUR)
    assert not bundle.renewed().placeholder


def test_a_server_that_proves_names_in_another_way_only_is_told(tmp_path, clock):
    def by_dns(settings):
        (policy,) = settings.issuance_policies
        policies = (replace(policy, challenges=("dns-01",)),)
        return replace(settings, issuance_policies=policies)

    with an_upstream(tmp_path / "u", clock=clock, change=by_dns) as upstream:
        told = Bundle(upstream, clock).fails()
    assert "acme.lab.test cannot be proven by http-01: the server does not offer it" in told


def test_an_order_that_the_ca_denies_is_told_and_another_is_placed(upstream, clock):
    ca = TroubledAuthority(upstream.server.authorities["lab-ca"], "denied", in_process=False)
    upstream.server.authorities["lab-ca"] = ca
    bundle = Bundle(upstream, clock)
    assert "the authority said no" in bundle.fails()
    clock.pass_by(HOUR)
    assert not bundle.renewed().placeholder
    assert upstream.asked("new-order") == 2


def test_an_address_is_a_host_like_any_other(tmp_path, clock):
    def with_addresses(settings):
        (policy,) = settings.issuance_policies
        rules = IpRules(allow_cidrs=(ip_network("127.0.0.1"),))
        return replace(settings, issuance_policies=(replace(policy, ip=rules),))

    with an_upstream(tmp_path / "u", clock=clock, change=with_addresses) as upstream:
        bundle = Bundle(upstream, clock)
        bundle.hosts = (*HOSTS, "127.0.0.1")
        bundle.starts()
        leaf = x509.load_pem_x509_certificate(bundle.renewed().chain_pem)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(each.value) for each in names] == list(bundle.hosts)


def test_a_server_without_renewal_information_is_asked_for_none(upstream, clock):
    plain = {
        name: f"{upstream.directory.removesuffix('directory')}{path}"
        for name, path in (
            ("newNonce", "new-nonce"),
            ("newAccount", "new-account"),
            ("newOrder", "new-order"),
        )
    }
    answer = saying("200 OK", msgspec.json.encode(plain))
    upstream.instead.extend([("directory", answer)] * 100)
    bundle = Bundle(upstream, clock)
    bundle.renewed()
    bundle.idle()
    clock.pass_by(61 * DAY)
    bundle.renewed()
    assert len(bundle.said) == 2
    assert upstream.asked("renewal-info") == 0


@pytest.mark.parametrize(
    ("after", "rest"),
    [
        ("120", timedelta(minutes=2)),
        ("999999", timedelta(days=1)),
        ("Mon, 02 Nov 2026 09:02:00 GMT", timedelta(minutes=2)),
        ("Mon, 02 Nov 2026 08:00:00 GMT", timedelta()),
        ("Mon, 02 Nov 2099 08:00:00 GMT", timedelta(days=1)),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("9" * 5000, None),
        ("٣", None),  # a digit, but none of HTTP's
    ],
    ids=range(10),
)
def test_how_long_a_server_is_left_alone_is_told_in_seconds_or_as_a_time(after, rest):
    """RFC 9110 section 10.2.3; a time is taken by the server's own clock."""
    headers = {"retry-after": after, "date": "Mon, 02 Nov 2026 09:00:00 GMT"}
    assert _rest(Reply(503, headers, b"")) == rest


def test_terms_of_service_are_agreed_to_by_the_operator_alone(tmp_path, clock):
    terms = "https://corp.example/terms"
    with an_upstream(tmp_path / "u", clock=clock, terms_of_service=terms) as upstream:
        bundle = Bundle(upstream, clock)
        told = bundle.fails()
        assert terms in told
        assert "terms-of-service-agreed: true" in told
        bundle = Bundle(upstream, clock, terms_of_service_agreed=True, contact=("p@corp.example",))
        assert not bundle.renewed().placeholder


def test_an_account_is_bound_with_the_key_that_was_handed_out(tmp_path, clock):
    with an_upstream(tmp_path / "u", clock=clock, external_account_required=True) as upstream:
        assert "set tls-certificate-manager.acme.eab" in Bundle(upstream, clock).fails()
        made = a_key(Lab(upstream.server, {}))
        secret = tmp_path / "hmac"
        for content, mode, told in (
            (b"no base64!", 0o600, "has no key in base64url"),
            (made.hmac_key.encode(), 0o644, "has mode 0644"),
            (b"AAAA" * 11, 0o600, "answered 4"),
        ):
            secret.write_bytes(content)
            secret.chmod(mode)
            eab = AcmeBinding(key_id=made.kid, hmac_file=secret)
            said = Bundle(upstream, clock, eab=eab).fails()
            assert told in said
            assert content.decode() not in said
        secret.write_bytes(made.hmac_key.encode() + b"\n")
        bundle = Bundle(upstream, clock, eab=eab)
        assert not bundle.renewed().placeholder
        bundle.starts()  # and is found again by its key
        bundle.clock.pass_by(62 * DAY)
        bundle.renewed()


@pytest.mark.parametrize(
    "key",
    [KeySettings(curve="P-384"), KeySettings(type="rsa", size=2048)],
    ids=["P-384", "RSA"],
)
def test_its_key_is_of_the_kind_that_was_chosen(upstream, clock, key):
    own = Bundle(upstream, clock, key=key).renewed()
    found = x509.load_pem_x509_certificate(own.chain_pem).public_key()
    if key.type == "rsa":
        assert isinstance(found, rsa.RSAPublicKey)
    else:
        assert isinstance(found.curve, ec.SECP384R1)


def test_another_list_of_hosts_or_another_server_is_another_certificate(upstream, clock, tmp_path):
    bundle = Bundle(upstream, clock)
    first = bundle.renewed()
    bundle.hosts = (*HOSTS, "acme2.lab.test")
    bundle.starts()
    assert bundle.held == first
    second = bundle.renewed()
    assert second.hosts == bundle.hosts
    with an_upstream(tmp_path / "other", clock=clock) as other:
        bundle.settings = replace(
            bundle.settings,
            directory=other.directory,
            ca_file=other.root,
            http_addr=other.http_addr,
        )
        bundle.starts()
        assert bundle.held == second
        assert bundle.renewed().authority == other.directory


def test_what_was_issued_and_could_not_be_recorded_is_not_asked_for_again(upstream, clock):
    bundle = Bundle(upstream, clock)
    bundle.full = True
    assert "disk is full" in bundle.fails()
    bundle.full = False
    clock.pass_by(HOUR)
    bundle.renewed()
    assert upstream.asked("new-order") == 1


def test_an_order_whose_certificate_takes_its_time_is_followed_to_its_end(upstream, clock):
    """What waits for somebody's approval there, for example: no second order is placed."""
    ca = TroubledAuthority(upstream.server.authorities["lab-ca"], "away", in_process=False)
    upstream.server.authorities["lab-ca"] = ca
    bundle = Bundle(upstream, clock)
    bundle.own.refresh()
    soon(lambda: upstream.asked("finalize"))
    upstream.instead.append(("/order/", saying("503 Service Unavailable")))
    assert "answered 503" in bundle.fails()
    clock.pass_by(10 * MINUTE)
    upstream.server.workers.look_around()
    assert not bundle.renewed().placeholder
    assert upstream.asked("new-order") == 1


def test_a_stop_waits_for_no_server(upstream, clock):
    ca = TroubledAuthority(upstream.server.authorities["lab-ca"], *["away"] * 50, in_process=False)
    upstream.server.authorities["lab-ca"] = ca
    bundle = Bundle(upstream, clock)
    bundle.own.refresh()
    soon(lambda: upstream.asked("finalize"))
    bundle.own.stop()
    aside = bundle.by_acme._aside
    soon(aside.done)


LINKS = b'{"newNonce":"http://a.test/","newAccount":"https://a.test/","newOrder":"x"}'
INSIDE = LINKS.replace(b"http://a.test/", b"https://169.254.169.254/latest")
HERE = LINKS.replace(b"http://a.test/", b"https://127.0.0.2/")
MANY = b'{"status":"pending","authorizations":["https://a.test/"%s]}' % (
    b',"https://a.test/"' * 100
)
DEEP = b'{"subproblems":[' * 10_000


@pytest.mark.parametrize(
    ("part", "status", "body", "told"),
    [
        ("directory", "200 OK", b"no JSON", "answered no Directory"),
        ("directory", "200 OK", b"[1]", "answered no Directory"),
        ("directory", "200 OK", b"x" * 300_000, "more than 262144 bytes"),
        ("directory", "302 Found", b"", "answered 302"),
        ("directory", "200 OK", LINKS, "leads to something that is no https URL"),
        ("directory", "200 OK", INSIDE, "169.254.169.254, which"),
        ("directory", "200 OK", HERE, "127.0.0.2, which"),
        ("directory", "200 OK", LINKS.replace(b"x", b"\xff"), "answered no Directory"),
        ("new-order", "403 Forbidden", DEEP, "answered 403"),
        ("new-order", "201 Created", MANY, "more authorizations than names"),
        ("new-nonce", "204 No Content", b"", "gives no nonces"),
        ("new-account", "200 OK", b"{}", "does not say where our account is"),
        ("new-order", "201 Created", b"{}", "answered no Order"),
        ("new-order", "403 Forbidden", b"go away\x1b[2J", "answered 403"),
        ("/cert/", "200 OK", b"no PEM", "cannot be read"),
        ("finalize", "500 Internal Server Error", b"\xff", "answered 500"),
    ],
    ids=range(16),
)
def test_a_server_that_talks_nonsense_is_told_and_not_believed(
    upstream, clock, part, status, body, told
):
    bundle = Bundle(upstream, clock)
    upstream.instead.append((part, saying(status, body)))
    said = bundle.fails()
    assert told in said
    assert said.isprintable()
    assert bundle.said == []


def test_a_certificate_for_another_key_is_not_shown(upstream, clock):
    other = Bundle(upstream, clock)
    chain = other.renewed().chain_pem
    bundle = Bundle(upstream, clock)
    upstream.instead.append(("/cert/", saying("200 OK", chain)))
    assert "something else than was asked for" in bundle.fails()
    assert bundle.held.placeholder


def test_letsencrypt_is_a_server_like_any_other():
    bundle = TlsBundle(name="own", hosts=HOSTS, mode="letsencrypt")
    assert directory_of(bundle, AcmeSettings()) == LETS_ENCRYPT
    assert directory_of(bundle, AcmeSettings(directory="https://a.test/")) == "https://a.test/"


# ---------------------------------------------------------------- what is shown


def asked(place, path, method="GET"):
    host, _, port = place.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
        )
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def test_nothing_but_proofs_is_shown():
    place = f"127.0.0.1:{free_port()}"
    showing = Showing(place, listen_for_proofs)
    well_known = "/.well-known/acme-challenge/"
    with showing.shown({"token": "token.thumbprint"}):
        assert asked(place, f"{well_known}token") == (200, b"token.thumbprint")
        with showing.shown({"other": "other.thumbprint"}):
            assert asked(place, f"{well_known}other") == (200, b"other.thumbprint")
        for path in ("/", well_known, f"{well_known}other", "/token", f"{well_known}../token"):
            assert asked(place, path) == (404, b"")
        assert asked(place, f"{well_known}token", "POST")[0] == 404
        assert asked(place, f"{well_known}token", "HEAD") == (200, b"")
    with pytest.raises(ConnectionRefusedError):
        asked(place, "/")
    with showing.shown({}), pytest.raises(ConnectionRefusedError):
        asked(place, "/")
