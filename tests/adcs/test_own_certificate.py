"""The server's own certificate, issued by a CA of a domain."""

import pytest
from cryptography import x509

from certeasy.clock import SystemClock
from certeasy.settings import TlsBundle, TlsSettings
from certeasy.tls.own import NoCertificate, OwnCertificates
from tests.adcs.test_authority import an_authority
from tests.make.adcs import a_ca
from tools.adcs_sim.behaviour import cuts, issues, pends

HOSTS = ("acme.lab.test", "10.0.0.7", "fd00::7")


def own_certificates(authority):
    bundle = TlsBundle(name="own", hosts=HOSTS, mode="pki", authority="corp")
    settings = TlsSettings(bundles=(bundle,))
    installed = []
    own = OwnCertificates(settings, {"corp": authority}, SystemClock(), "node-1", installed.append)
    return own, installed


def test_it_has_the_names_of_the_bundle(tmp_path):
    with a_ca() as ca, an_authority(ca, tmp_path) as corp:
        own, installed = own_certificates(corp)
        [held] = own.all()
        leaf, *_ = x509.load_pem_x509_certificates(held.chain_pem)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert [str(one.value) for one in names] == list(HOSTS)
        assert [fact.authority for fact in installed] == ["corp"]


@pytest.mark.parametrize(
    ("behaviour", "told"),
    [
        (cuts(at=10), "may have issued a certificate that nobody has"),
        (issues("other-key"), "something else than was asked"),
        (issues("garbage"), "something else than was asked"),
        (pends(), "answered Pending"),
    ],
)
def test_what_is_not_one_is_told_and_not_used(tmp_path, behaviour, told):
    with a_ca() as ca, an_authority(ca, tmp_path) as corp:
        own, installed = own_certificates(corp)
        ca.once(behaviour)
        with pytest.raises(NoCertificate, match=told):
            own.all()
        assert installed == []


def test_a_ca_that_is_away_has_no_certificate_for_the_server(tmp_path):
    with a_ca() as ca, an_authority(ca, tmp_path) as corp:
        own, _ = own_certificates(corp)
        ca.down()
        with pytest.raises(NoCertificate, match="bundle own: "):
            own.all()
        ca.up()
        assert own.all()
