"""certbot, served by a CA of a domain: NTLM over TCP, on loopback."""

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from tests.make.acme_client import assert_certificate
from tests.make.acme_server import AcmeServer
from tests.make.adcs import LabCa, a_ca, authority_entry
from tests.make.certbot import Certbot
from tests.make.certeasy_server import certeasy
from tests.make.client_matrix import version_of
from tools.adcs_sim.behaviour import denies, pends

pytestmark = pytest.mark.timeout(180)
CERTBOT = Path(sys.executable).with_name("certbot")


@pytest.fixture(scope="module")
def ca() -> Iterator[LabCa]:
    with a_ca(name="Corp Issuing CA") as running:
        yield running


@pytest.fixture(scope="module")
def server(ca: LabCa, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AcmeServer]:
    folder = tmp_path_factory.mktemp("adcs")
    with certeasy(folder, authority_entry(ca, folder)) as running:
        yield running


@pytest.fixture
def certbot(server: AcmeServer, tmp_path: Path) -> Certbot:
    return Certbot(CERTBOT, server, tmp_path)


def events_of(server: AcmeServer, *types: str) -> list[dict[str, object]]:
    journal = server.root_pem.parent / "work/audit.log"
    lines = map(msgspec.json.decode, journal.read_bytes().splitlines())
    return [line["data"] for line in lines if line["type"] in types]


@pytest.mark.parametrize("key_type", ["ecdsa", "rsa"])
def test_certbot_is_given_what_the_ca_of_the_domain_has_issued(
    certbot: Certbot, ca: LabCa, key_type: str, exercised: Callable[..., None]
) -> None:
    version = version_of(CERTBOT, "--version")
    exercised("certbot", version, "http-01", "AD CS over NTLM/TCP", key_type)
    names = [certbot.server.name(f"{part}adcs-{key_type}") for part in ("", "www.")]
    certbot.certonly(*names, more=["--key-type", key_type])
    assert_certificate(*certbot.stored(), names)
    request = ca.requests[-1]
    issued = events_of(certbot.server, "certificate.issued")[-1]
    assert (issued["authority"], issued["request_id"]) == ("lab-ca", str(request.id))
    assert request.attributes["certeasyorder"] == issued["order_id"]


def test_certbot_waits_until_an_officer_has_approved(certbot: Certbot, ca: LabCa) -> None:
    ca.once(pends())
    name = certbot.server.name("adcs-pending")

    def officer() -> None:
        ca.has(1, "pending", seconds=60)
        ca.approve(ca.requests[-1].id)

    with ThreadPoolExecutor(1) as people:
        approved = people.submit(officer)
        certbot.certonly(name)
        approved.result()
    assert_certificate(*certbot.stored(), [name])
    (pending,) = events_of(certbot.server, "issuance.pending")
    assert pending["request_id"] == str(ca.requests[-1].id)


def test_certbot_is_told_why_the_ca_refuses(certbot: Certbot, ca: LabCa) -> None:
    ca.once(denies(0x80094811, "Der Schluessel ist zu kurz. CA1.lab.test"))
    with pytest.raises(AssertionError) as told:
        certbot.certonly(certbot.server.name("adcs-denied"))
    assert "CERTSRV_E_KEY_LENGTH" in str(told.value)
    assert "Schluessel" not in str(told.value)
    (failed,) = events_of(certbot.server, "issuance.failed")
    assert "Der Schluessel ist zu kurz" in str(failed["reason"])
    assert failed["code"] == "0x80094811"
