"""Certipy, other people's client of Windows CAs, against the simulated one.

It knows no other port of the endpoint mapper than Windows' own, so an address apart is taken.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs12

from tests.make.adcs import PASSWORD, USER, LabCa, Plan, a_ca
from tests.make.certipy import certipy
from tools.adcs_sim.behaviour import issues, pends

pytestmark = pytest.mark.interop

WINDOWS = Plan(address="127.0.0.7", mapper_port=135)


@pytest.fixture
def ca() -> Iterator[LabCa]:
    with a_ca(WINDOWS, templates={"WebServer": issues(), "Manual": pends()}) as running:
        yield running


def account(ca: LabCa) -> list[str]:
    words = ["-u", f"{USER}@lab.test", "-p", PASSWORD, "-ca", ca.name, "-target", ca.host]
    return [*words, "-dc-ip", ca.host, "-ns", ca.host, "-dns-tcp", "-timeout", "5"]


def saved(file: Path) -> x509.Certificate:
    _, certificate, _ = pkcs12.load_key_and_certificates(file.read_bytes(), None)
    assert certificate
    return certificate


def test_certipy_gets_a_certificate(ca: LabCa, tmp_path: Path):
    words = ["-template", "WebServer", "-dns", "web.lab.test", "-dynamic-endpoint"]
    told = certipy("req", *account(ca), *words, cwd=tmp_path)
    assert "Request ID is 1" in told
    assert [saved(tmp_path / "web.pfx").public_bytes(Encoding.DER)] == ca.issued


def test_certipy_waits_for_an_officer_and_fetches_what_he_approved(ca: LabCa, tmp_path: Path):
    words = ["-template", "Manual", "-dns", "web.lab.test", "-dynamic-endpoint"]
    told = certipy("req", *account(ca), *words, cwd=tmp_path)
    assert "pending approval" in told
    assert ca.issued == []
    certipy("ca", *account(ca), "-issue-request", "1", cwd=tmp_path)
    assert [one.state for one in ca.requests] == ["issued"]
    certipy("req", *account(ca), "-retrieve", "1", "-dynamic-endpoint", cwd=tmp_path)
    assert [saved(tmp_path / "web.pfx").public_bytes(Encoding.DER)] == ca.issued
