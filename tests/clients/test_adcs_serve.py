"""certbot gets certificates of a CA of a domain: `certeasy serve` asks it as an account with a
keytab, over RPC by TCP or through the pipe of Debian's smbd, and tells it what is revoked.

The CA is the simulator, which takes nobody's word but Kerberos'. Root.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509

from tests.make.acme_client import assert_certificate
from tests.make.adcs import LabCa
from tests.make.certbot import Certbot
from tests.make.certeasy_server import certeasy
from tests.make.samba import CA, CA_AT, DC, SambaDomain, samba_domain
from tools.adcs_sim.machine import Machine, Plan

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(240),
    pytest.mark.allow_hosts(["127.0.0.1", "127.0.0.2", "::1"]),
]

CERTBOT = Path(sys.executable).with_name("certbot")
AUTHORITY = """\
  - name: lab-ca
    type: adcs
    configuration:
      ca-name: '{host}\\LAB-CA'
      certificate-template: WebServer
      transport: {transport}
      domain: lab.test
      user: svc-acme
      keytab: {keytab}
      ca-certificates: {roots}"""


@pytest.fixture(scope="module")
def lab() -> Iterator[SambaDomain]:
    with samba_domain() as lab:
        yield lab


@pytest.fixture
def ca(lab: SambaDomain) -> Iterator[LabCa]:
    plan = Plan(
        address=CA_AT, mapper_port=135, port=49200, objects_port=49201, accounts={},
        keytab=lab.machine_keytab, pipe=lab.pipe,
    )  # fmt: skip
    with lab.inside(lambda: Machine(plan)) as machine:
        yield LabCa(machine)


@contextmanager
def served(
    lab: SambaDomain, ca: LabCa, folder: Path, host: str, transport: str
) -> Iterator[Certbot]:
    """Run a server, where it can reach the domain, and lend a certbot that asks it."""
    keytab, roots = lab.keytab, ca.roots_file(folder)
    said = AUTHORITY.format(host=host, transport=transport, keytab=keytab, roots=roots)
    with certeasy(folder, said) as server:
        yield Certbot(CERTBOT, server, folder)


def ordered(certbot: Certbot, ca: LabCa, label: str) -> None:
    names = [certbot.server.name(label), certbot.server.name(f"www.{label}")]
    certbot.certonly(*names, more=["--key-type", "rsa"])
    assert_certificate(*certbot.stored(), names)
    assert ca.requests[-1].requester.lower().startswith("svc-acme@")


@pytest.mark.parametrize(("host", "transport"), [(CA, "tcp"), (DC, "np")])
def test_certbot_gets_certificates_of_a_domains_ca(
    lab: SambaDomain, ca: LabCa, tmp_path: Path, host: str, transport: str
):
    def order_twice() -> None:
        with served(lab, ca, tmp_path, host, transport) as certbot:
            ordered(certbot, ca, "one")
            ordered(certbot, ca, "two")

    lab.inside(order_twice)
    assert len(ca.issued) == 2


def test_what_certbot_revokes_is_revoked_at_the_domains_ca(
    lab: SambaDomain, ca: LabCa, tmp_path: Path
):
    def order_and_revoke() -> None:
        with served(lab, ca, tmp_path, CA, "tcp") as certbot:
            ordered(certbot, ca, "gone")
            path = str(certbot.live / "cert.pem")
            certbot(
                "revoke",
                "--cert-path",
                path,
                "--reason",
                "keycompromise",
                "--no-delete-after-revoke",
            )
            assert ca.ca.database.wait_for(lambda: bool(ca.revoked), 30)

    lab.inside(order_and_revoke)
    serial = x509.load_der_x509_certificate(ca.issued[0]).serial_number
    assert {int(number, 16): reason for number, reason in ca.revoked.items()} == {serial: 1}
