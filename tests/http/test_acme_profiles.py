"""Profiles: draft-ietf-acme-profiles, sections 3 to 5."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography import x509

from certeasy.settings import AuthoritySettings, CertificateProfile
from tests.make.csrs import a_csr
from tests.make.lab import Client, Lab, a_lab, problem

SHORT = CertificateProfile(
    name="short-lived",
    description="https://www.corp.test/profiles#short-lived",
    policy="lab",
    max_validity=timedelta(days=7),
)
OTHER = CertificateProfile(
    name="other", description="Of the other CA", policy="lab", authority="other-ca"
)
OFFERED = {
    "authorities": (
        AuthoritySettings(name="lab-ca", type="embedded"),
        AuthoritySettings(name="other-ca", type="embedded"),
    ),
    "profiles": (SHORT, OTHER),
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with a_lab(tmp_path_factory.mktemp("lab"), sections=OFFERED) as made:
        yield made


@pytest.fixture
def client(lab: Lab) -> Client:
    made = lab.client()
    made.register()
    return made


def leaf_of(client: Client, order: str) -> x509.Certificate:
    chain = client.post(client.see(order)["certificate"]).content
    return x509.load_pem_x509_certificates(chain)[0]


def issued(client: Client, order: str, *names: str) -> x509.Certificate:
    assert client.prove(order)["status"] == "ready"
    result = client.finalize(order, a_csr(*names))
    assert result.status_code == 200, result.text
    return leaf_of(client, order)


def test_the_directory_tells_which_profiles_there_are(lab: Lab) -> None:
    """draft-ietf-acme-profiles section 3: names and descriptions, in `meta`."""
    assert lab.wire.simulate_get("/acme/directory").json["meta"]["profiles"] == {
        "short-lived": "https://www.corp.test/profiles#short-lived",
        "other": "Of the other CA",
    }


def test_without_profiles_the_directory_does_not_speak_of_them(tmp_path: Path) -> None:
    with a_lab(tmp_path) as lab:
        assert "meta" not in lab.wire.simulate_get("/acme/directory").json
        client = lab.client()
        client.register()
        status, kind, detail = problem(client.order("web.lab.test", profile="short"))
        assert (status, kind) == (400, "invalidProfile")
        assert "nor any other" in detail
        assert "profile" not in client.order("web.lab.test").json


def test_an_order_shows_its_profile_and_its_certificate_is_of_that_profile(client: Client) -> None:
    """draft-ietf-acme-profiles section 4."""
    placed = client.order("web.lab.test", profile="short-lived")
    assert (placed.status_code, placed.json["profile"]) == (201, "short-lived")
    order = placed.headers["location"]
    leaf = issued(client, order, "web.lab.test")
    assert client.see(order)["profile"] == "short-lived"
    lives = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    assert timedelta(days=6) < lives <= timedelta(days=7)


def test_the_authority_of_a_profile_signs(lab: Lab, client: Client) -> None:
    order = client.order("web.lab.test", profile="other").headers["location"]
    issuing = x509.load_der_x509_certificate(lab.server.authorities["other-ca"].issuers()[0])
    issued(client, order, "web.lab.test").verify_directly_issued_by(issuing)


def test_an_order_without_a_profile_has_none(client: Client) -> None:
    order = client.order("web.lab.test")
    assert "profile" not in order.json
    leaf = issued(client, order.headers["location"], "web.lab.test")
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc > timedelta(days=80)


def test_an_unknown_profile_is_refused_with_the_list(client: Client) -> None:
    """draft-ietf-acme-profiles section 4; people type the name into pfSense."""
    status, kind, detail = problem(client.order("web.lab.test", profile="shortlived"))
    assert (status, kind) == (400, "invalidProfile")
    assert detail == 'There is no profile "shortlived"; choose one of: other, short-lived'


def test_names_that_a_profile_does_not_permit_are_told_with_the_profile(client: Client) -> None:
    status, kind, detail = problem(client.order("web.corp.test", profile="other"))
    assert (status, kind) == (400, "rejectedIdentifier")
    assert 'profile "other" (policy "lab")' in detail


def test_what_was_typed_in_the_place_of_a_profile_is_not_written_down(client: Client) -> None:
    problem(client.order("web.lab.test", profile="anna@corp.test"))
    journal = client.lab.server.node.journal.path.read_bytes()
    assert b"anna" not in journal
    kinds = [
        line["data"]["kind"]
        for line in map(msgspec.json.decode, journal.splitlines())
        if line["type"] == "request.refused"
    ]
    assert "profile" in kinds


def test_an_order_that_names_no_profile_gets_the_default_one(tmp_path: Path) -> None:
    """draft-ietf-acme-profiles section 4: a server is advised to select one."""
    with a_lab(tmp_path, sections={**OFFERED, "default_profile": "short-lived"}) as lab:
        client = lab.client()
        client.register()
        for wish in ({}, {"profile": ""}, {"profile": None}):
            assert client.order("web.lab.test", **wish).json["profile"] == "short-lived"


def test_an_order_whose_profile_is_gone_when_it_is_finalized_is_refused(tmp_path: Path) -> None:
    """draft-ietf-acme-profiles section 4: invalidProfile at finalize."""
    with a_lab(tmp_path, sections=OFFERED) as lab:
        client = lab.client()
        client.register()
        order = client.order("web.lab.test", profile="short-lived").headers["location"]
        assert client.prove(order)["status"] == "ready"
    with a_lab(tmp_path, sections={**OFFERED, "profiles": ()}) as lab:
        again = Client(lab, client.signer)
        again.kid = client.kid
        status, kind, detail = problem(again.finalize(order, a_csr("web.lab.test")))
        assert (status, kind) == (400, "invalidProfile")
        assert "order again" in detail


def test_a_profile_that_got_shorter_holds_for_orders_that_are_finalized_today(
    tmp_path: Path,
) -> None:
    with a_lab(tmp_path, sections=OFFERED) as lab:
        client = lab.client()
        client.register()
        order = client.order("web.lab.test", profile="short-lived").headers["location"]
        assert client.prove(order)["status"] == "ready"
    shorter = msgspec.structs.replace(SHORT, max_validity=timedelta(days=1), authority="other-ca")
    with a_lab(tmp_path, sections={**OFFERED, "profiles": (shorter,)}) as lab:
        again = Client(lab, client.signer)
        again.kid = client.kid
        assert again.finalize(order, a_csr("web.lab.test")).json["status"] == "valid"
        leaf = leaf_of(again, order)
        assert leaf.not_valid_after_utc - leaf.not_valid_before_utc <= timedelta(days=1)
        issuing = x509.load_der_x509_certificate(lab.server.authorities["other-ca"].issuers()[0])
        leaf.verify_directly_issued_by(issuing)
