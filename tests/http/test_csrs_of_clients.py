"""A certificate for the CSR of every client. Pitfall 37, RFC 8555 section 7.4."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from msgspec.structs import replace

from certeasy.settings import CsrRules, Settings
from tests.make import client_csrs as by
from tests.make.lab import Client, Lab, a_lab, problem
from tests.make.server import lab_settings

NAMES = ("web.lab.test", "www.lab.test")

CLIENTS: dict[str, Callable[[Path], bytes]] = {
    "certbot": lambda _: by.by_certbot(*NAMES),
    "lego and Traefik": lambda _: by.by_lego(*NAMES),
    "Caddy": lambda _: by.by_caddy(*NAMES),
    "simple-acme": lambda _: by.by_simple_acme(*NAMES),
    "acme.sh": lambda folder: by.by_acme_sh(folder, *NAMES),
    "Posh-ACME": lambda _: by.by_posh_acme(*NAMES),
    "cert-manager": lambda _: by.by_cert_manager(*NAMES),
    "cert-manager with more": lambda _: by.by_cert_manager(*NAMES, common_name=True, usages=True),
    "OpenSSL by hand": lambda folder: by.by_hand(folder, *NAMES),
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with a_lab(tmp_path_factory.mktemp("lab")) as made:
        yield made


def certificate(client: Client, csr: bytes) -> x509.Certificate:
    order = client.ready(*NAMES)
    result = client.finalize(order, csr)
    assert result.status_code == 200, result.text
    chain = client.post(client.see(order)["certificate"]).content
    return x509.load_pem_x509_certificates(chain)[0]


@pytest.mark.parametrize("made", CLIENTS.values(), ids=CLIENTS)
def test_pitfall_37_the_csr_of_a_client_becomes_a_certificate_for_a_server_and_nothing_else(
    lab: Lab, tmp_path: Path, made: Callable[[Path], bytes]
) -> None:
    client = lab.client()
    client.register()
    leaf = certificate(client, made(tmp_path))
    found = {type(each.value): each.value for each in leaf.extensions}
    names = found[x509.SubjectAlternativeName]
    assert sorted(names.get_values_for_type(x509.DNSName)) == sorted(NAMES)
    assert [purpose._name for purpose in found[x509.ExtendedKeyUsage]] == ["serverAuth"]
    assert [attribute.rfc4514_attribute_name for attribute in leaf.subject] in ([], ["CN"])


def rules(**csr: object) -> Callable[[Settings], Settings]:
    """Settings whose one policy has these rules for CSRs."""

    def change(settings: Settings) -> Settings:
        policies = (replace(settings.issuance_policies[0], csr=CsrRules(**csr)),)
        return replace(settings, issuance_policies=policies)

    return change


def test_what_a_policy_grants_is_in_the_certificate(tmp_path: Path) -> None:
    granted = rules(must_staple=True, common_name="fill", allowed_extra_eku=("clientAuth",))
    with a_lab(tmp_path, change=granted) as lab:
        client = lab.client()
        client.register()
        leaf = certificate(client, by.by_certbot(*NAMES, must_staple=True))
        assert leaf.subject.rfc4514_string() == f"CN={NAMES[0]}"
        assert leaf.extensions.get_extension_for_class(x509.TLSFeature)
        both = certificate(client, by.by_acme_sh(tmp_path, *NAMES))
        purposes = both.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert [purpose._name for purpose in purposes] == ["serverAuth", "clientAuth"]


@pytest.mark.parametrize(
    ("strict", "says"),
    [
        ({"common_name": "refuse"}, "the policy takes none, so leave CN out"),
        ({"subject": "refuse"}, "the policy takes only CN; leave it out"),
    ],
)
def test_what_a_policy_does_not_take_leaves_the_order_ready(
    tmp_path: Path, strict: dict[str, str], says: str
) -> None:
    with a_lab(tmp_path, change=rules(**strict)) as lab:
        client = lab.client()
        client.register()
        order = client.ready(*NAMES)
        status, kind, detail = problem(client.finalize(order, by.by_hand(tmp_path, *NAMES)))
        assert (status, kind) == (400, "badCSR")
        assert detail.endswith(says)
        assert client.finalize(order, by.by_certbot(*NAMES)).json["status"] == "valid"


def test_the_lab_has_the_rules_of_a_file_that_says_nothing(tmp_path: Path) -> None:
    assert lab_settings(tmp_path).issuance_policies[0].csr == CsrRules()
