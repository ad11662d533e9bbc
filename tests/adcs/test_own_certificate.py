"""The server's own certificate: issued by a CA of a domain, kept, renewed while there is time."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from msgspec.structs import replace

from certeasy.commit import Unavailable
from certeasy.settings import AuthoritySettings, TlsBundle, TlsSettings
from certeasy.tls.material import secret_name, taken
from certeasy.tls.own import NoCertificate, OwnCertificates
from tests.adcs.test_authority import an_authority
from tests.fakes.clocks import MovedClock
from tests.make.adcs import a_ca
from tests.make.adcs_lab import AdcsLab, adcs_settings
from tests.make.lab import a_lab
from tools.adcs_sim.behaviour import cuts, hides, issues, pends
from tools.adcs_sim.ca import Template
from tools.adcs_sim.machine import Plan

HOSTS = ("acme.lab.test", "10.0.0.7", "fd00::7")
DAY, MINUTE = 86400, 60
LIFE, BEFORE = 90, 30
"""Days: of the template, and of `renew-before`."""


class Bundle:
    """What a server has of one bundle over its starts: a clock, a log, and a secret."""

    def __init__(self, authority, clock):
        self.clock = clock
        self.authority = authority
        self.hosts = HOSTS
        self.said = []
        self.secret = None
        self.full = False
        self.starts()

    def starts(self):
        bundle = TlsBundle(name="own", hosts=self.hosts, mode="pki", authority="corp")
        self.own = OwnCertificates(
            TlsSettings(bundles=(bundle,)),
            {"corp": self.authority},
            self.clock,
            "node-1",
            self._install,
            lambda _name: self.secret,
        )

    def _install(self, fact, secret):
        if self.full:
            raise Unavailable("the journal's disk is full")
        self.said.append(fact)
        self.secret = secret

    def shown(self):
        [held] = self.own.all()
        return held.chain_pem

    def days_pass(self, days):
        self.clock.pass_by(days * DAY)
        return self.own.refresh()


@pytest.fixture
def clock():
    return MovedClock()


@pytest.fixture
def ca(clock):
    with a_ca(clock=clock) as ca:
        yield ca


@pytest.fixture
def bundle(ca, clock, tmp_path):
    with an_authority(ca, tmp_path) as corp:
        yield Bundle(corp, clock)


def test_it_has_the_names_of_the_bundle(bundle):
    leaf, *_ = x509.load_pem_x509_certificates(bundle.shown())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(one.value) for one in names] == list(HOSTS)
    assert [fact.authority for fact in bundle.said] == ["corp"]


@pytest.mark.parametrize(
    ("behaviour", "told"),
    [
        (cuts(at=10), "may have issued a certificate that nobody has"),
        (issues("other-key"), "something else than was asked"),
        (issues("garbage"), "something else than was asked"),
        (issues("missing-name"), "is not for acme.lab.test"),
        (issues("expired"), "has expired already"),
        (pends(), "request 1 waits at authority corp for somebody's approval"),
        (hides(3), "has issued a certificate, and shows none"),
    ],
)
def test_what_is_not_one_is_told_and_not_used(ca, bundle, behaviour, told):
    ca.once(behaviour)
    with pytest.raises(NoCertificate, match=told):
        bundle.shown()
    assert bundle.said == []


def test_a_ca_that_is_away_has_no_certificate_for_the_server(ca, bundle):
    ca.down()
    with pytest.raises(NoCertificate, match="bundle own: "):
        bundle.shown()
    ca.up()
    assert bundle.shown()


def test_every_start_shows_the_same_certificate_until_it_is_due(ca, bundle):
    first = bundle.shown()
    for _ in range(3):
        bundle.starts()
        assert bundle.shown() == first
        assert not bundle.days_pass(15)
    assert bundle.own.failing("own") is None
    assert bundle.days_pass(LIFE - BEFORE - 45 + 1)
    second = bundle.shown()
    assert second != first
    bundle.starts()
    assert bundle.shown() == second
    assert [len(ca.issued), len(bundle.said)] == [2, 2]


def test_a_start_without_the_ca_shows_what_was_kept_though_it_is_due(ca, bundle):
    """And without waiting: the renewal comes a moment later."""
    first = bundle.shown()
    bundle.clock.pass_by(70 * DAY)
    ca.down("silent")
    bundle.starts()
    assert bundle.shown() == first
    assert bundle.own.ended() is None


def test_a_renewal_that_fails_is_told_long_before_the_end(ca, bundle, caplog):
    first = bundle.shown()
    ca.down()
    assert not bundle.days_pass(LIFE - BEFORE + 1)
    assert bundle.shown() == first
    failing = bundle.own.failing("own")
    assert failing.startswith("bundle own: ")
    assert f"in {BEFORE - 2} days" in failing
    assert "the certificate in use stays" in caplog.text
    assert bundle.own.ended() is None
    ca.up()
    bundle.clock.pass_by(MINUTE)
    assert bundle.own.refresh()
    assert bundle.own.failing("own") is None
    assert bundle.shown() != first


def test_a_ca_that_cannot_issue_is_asked_once_an_hour_in_the_end(ca, bundle):
    """Each question may make a certificate that nobody has."""
    bundle.shown()
    ca.behaves("WebServer", cuts(at=10))
    bundle.clock.pass_by((LIFE - BEFORE + 1) * DAY)
    for _ in range(24 * 60):
        bundle.own.refresh()
        bundle.clock.pass_by(MINUTE)
    assert 24 <= len(ca.issued) - 1 <= 30


def test_an_old_certificate_is_better_than_none(ca, bundle):
    """It is shown beyond its end, and that is told."""
    first = bundle.shown()
    ca.down()
    bundle.days_pass(LIFE + 1)
    assert bundle.shown() == first
    assert "has ended" in bundle.own.failing("own")
    assert "has ended" in bundle.own.ended()
    bundle.starts()
    assert bundle.shown() == first
    assert "has ended" in bundle.own.ended()
    ca.up()
    bundle.clock.pass_by(MINUTE)
    assert bundle.own.refresh()
    assert bundle.own.ended() is None


def test_another_list_of_hosts_is_another_certificate(ca, bundle):
    first = bundle.shown()
    bundle.hosts = (*HOSTS, "more.lab.test")
    ca.down()
    bundle.starts()
    assert bundle.shown() == first
    assert bundle.own.failing("own")
    ca.up()
    bundle.clock.pass_by(MINUTE)
    assert bundle.own.refresh()
    leaf = x509.load_pem_x509_certificate(bundle.shown())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "more.lab.test" in [str(one.value) for one in names]
    assert not bundle.days_pass(0)


@pytest.mark.parametrize("behaviour", [pends(polls=2), hides(3)], ids=["pending", "not shown"])
def test_a_request_is_followed_to_its_end_before_there_is_another(ca, bundle, behaviour):
    bundle.shown()
    ca.behaves("WebServer", behaviour) if behaviour.then == "pend" else ca.once(behaviour)
    bundle.clock.pass_by((LIFE - BEFORE + 1) * DAY)
    renewed = 0
    for _ in range(10):
        renewed += bundle.own.refresh()
        bundle.clock.pass_by(10 * MINUTE)
        if renewed:
            break
    assert renewed == 1
    assert len(ca.requests) == 2
    assert bundle.own.failing("own") is None


def test_what_was_issued_and_could_not_be_recorded_is_not_asked_for_again(ca, bundle):
    bundle.shown()
    bundle.full = True
    assert not bundle.days_pass(LIFE - BEFORE + 1)
    assert "disk is full" in bundle.own.failing("own")
    bundle.full = False
    bundle.clock.pass_by(MINUTE)
    assert bundle.own.refresh()
    assert [len(ca.issued), len(bundle.said)] == [2, 2]


def test_a_certificate_that_another_node_has_renewed_is_taken(ca, bundle):
    bundle.shown()
    here = bundle.own
    bundle.clock.pass_by((LIFE - BEFORE + 1) * DAY)
    bundle.starts()
    bundle.shown()
    assert bundle.own.refresh()
    there = bundle.shown()
    assert here.refresh()
    assert [held.chain_pem for held in here.all()] == [there]
    assert len(ca.issued) == 2


def test_a_template_for_rsa_keys_gets_an_rsa_key(tmp_path, clock):
    template = Template(name="WebServer", elliptic=False, minimal_key_size=4096)
    plan = Plan(templates=(template,))
    with a_ca(plan, clock=clock) as ca, an_authority(ca, tmp_path) as corp:
        key = x509.load_pem_x509_certificate(Bundle(corp, clock).shown()).public_key()
        assert isinstance(key, rsa.RSAPublicKey)
        assert key.key_size == 4096
        assert len(ca.issued) == 1


def test_a_template_of_short_life_is_renewed_at_half_of_it(ca, bundle):
    """`renew-before` is longer than the whole: it would be renewed without end."""
    ca.behaves("WebServer", issues(days=10))
    bundle.shown()
    assert [bundle.days_pass(1) for _ in range(12)].count(True) == 2
    assert len(ca.issued) == 3


@pytest.mark.parametrize("secret", [b"", b"{}", b"\xff", b'{"authority":"corp"}'])
def test_what_was_kept_and_cannot_be_read_is_asked_for_anew(bundle, secret):
    bundle.secret = secret
    assert taken(secret) is None
    assert bundle.shown()


def test_its_key_is_never_printed(bundle):
    [held] = bundle.own.all()
    assert b"PRIVATE KEY" in held.key_pem
    assert "KEY" not in repr(held)


def test_a_server_keeps_it_from_start_to_start_and_tells_how_it_is(tmp_path):
    """Through a whole server: in the database, wrapped, and in the log."""
    clock = MovedClock()
    with a_ca(clock=clock) as ca:
        chosen = AuthoritySettings(
            name=ca.name, type="adcs", configuration=adcs_settings(ca, tmp_path)
        )
        own = TlsBundle(name="own", hosts=HOSTS, mode="pki", authority=ca.name)

        def change(settings):
            bundles = TlsSettings(bundles=(own,))
            authorities = (*settings.authorities, chosen)
            server = replace(settings.server, tls=True)
            return replace(
                settings, tls_certificate_manager=bundles, authorities=authorities, server=server
            )

        shown = []
        for down in (False, True):
            if down:
                ca.down()
            with a_lab(tmp_path, clock=clock, change=change) as lab:
                server = AdcsLab(lab, clock, (ca,))
                shown += [held.chain_pem for held in server.server.own_certificates.all()]
                told = server.readyz()[1]
                assert (told["certificate"], told["certificate own"]) == ("ok", "ok")
                assert len(server.said("tls.certificate-installed")) == 1
                if down:
                    clock.pass_by((LIFE - BEFORE + 1) * DAY)
                    assert not server.server.own_certificates.refresh()
                    code, told = server.readyz()
                    assert (code, told["certificate"]) == (200, "ok")
                    assert f"in {BEFORE - 2} days" in told["certificate own"]
                    clock.pass_by(BEFORE * DAY)
                    code, told = server.readyz()
                    assert code == 503
                    assert "has ended" in told["certificate"]
                assert server.server.node.secrets.get(secret_name("own"))
        assert shown[0] == shown[1]
        assert len(ca.issued) == 1
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and "keys" not in path.parts]
    assert [path.name for path in kept if b"PRIVATE KEY" in path.read_bytes()] == []
