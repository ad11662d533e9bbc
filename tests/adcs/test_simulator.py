"""The simulated CA behaves as a Windows CA does, to a client that is not ours."""

from datetime import datetime

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import pkcs7
from impacket.dcerpc.v5.rpcrt import (
    RPC_C_AUTHN_LEVEL_NONE,
    RPC_C_AUTHN_LEVEL_PKT_INTEGRITY,
    DCERPCException,
)

from certeasy.clock import SystemClock
from tests.make.adcs import a_ca
from tests.make.adcs_client import Client, DCERPCSessionError, mapped
from tests.make.csrs import a_csr, rsa_key
from tools.adcs_sim.behaviour import cuts, denies, faults, issues, pends
from tools.adcs_sim.machine import Plan

CSR = a_csr("web.lab.test")
SERVER_AUTH = x509.oid.ExtendedKeyUsageOID.SERVER_AUTH
WEB_SERVER = "CertificateTemplate:WebServer"


def test_a_certificate_is_issued_for_the_key_and_the_names_of_the_request():
    with a_ca() as ca, Client(ca) as client:
        result = client.enrol(CSR, WEB_SERVER, "CerteasyOrder:abc")
        leaf = x509.load_der_x509_certificate(result.certificate)
        (root,) = x509.load_pem_x509_certificates(ca.roots)
        leaf.verify_directly_issued_by(root)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == ["web.lab.test"]
        assert leaf.public_key() == x509.load_der_x509_csr(CSR).public_key()
        assert (result.request_id, result.disposition, result.message) == (1, 3, "Issued")
        assert set(pkcs7.load_der_pkcs7_certificates(result.chain)) == {leaf, root}
        (request,) = ca.requests
        assert request.attributes == {
            "certificatetemplate": "WebServer",
            "certeasyorder": "abc",
        }
        assert request.requester == "LAB\\svc-acme"
        assert ca.issued == [result.certificate]


def test_requests_and_answers_of_many_fragments_pass():
    csr = a_csr(*(f"host-{number:03}.lab.test" for number in range(600)))
    with a_ca() as ca, Client(ca) as client:
        assert len(client.enrol(csr, WEB_SERVER).chain) > 9000


def test_a_pending_request_is_issued_once_it_was_asked_for_often_enough():
    with a_ca(templates={"ManualWeb": pends(polls=2)}) as ca, Client(ca) as client:
        number = client.enrol(CSR, "CertificateTemplate:ManualWeb").request_id
        assert [client.retrieve(number).disposition for _ in range(3)] == [5, 3, 3]


def test_a_pending_request_waits_for_an_officer():
    with a_ca(templates={"ManualWeb": pends()}) as ca, Client(ca) as client:
        one, other = (client.enrol(CSR, "CertificateTemplate:ManualWeb") for _ in range(2))
        assert (one.disposition, client.retrieve(one.request_id).disposition) == (5, 5)
        ca.approve(one.request_id)
        ca.deny(other.request_id)
        assert client.retrieve(one.request_id).certificate == ca.issued[0]
        assert client.retrieve(other.request_id).disposition == 2


@pytest.mark.parametrize(
    ("csr", "attributes", "code"),
    [
        (CSR, ["CertificateTemplate:Web Server"], 0x80094800),
        (CSR, [], 0x80094801),
        (b"\x30\x03abc", [WEB_SERVER], 0x8009310B),
        (a_csr("web.lab.test", key=rsa_key(1024)), [WEB_SERVER], 0x80094811),
    ],
)
def test_what_a_ca_refuses_is_refused_with_its_code(csr, attributes, code):
    with a_ca() as ca, Client(ca) as client:
        result = client.enrol(csr, *attributes)
        assert (result.disposition, result.certificate) == (code, b"")
        assert f"0x{code:08x}" in result.message
        assert not ca.issued


def test_a_denial_carries_whatever_code_was_asked_for():
    with a_ca() as ca, Client(ca) as client:
        ca.once(denies(0x80094012, "Nein."), denies(0x8007000E, result=True))
        result = client.enrol(CSR, WEB_SERVER)
        assert (result.disposition, result.message) == (0x80094012, "Nein.")
        with pytest.raises(DCERPCSessionError) as raised:
            client.enrol(CSR, WEB_SERVER)
        assert raised.value.get_error_code() == 0x8007000E
        assert client.enrol(CSR, WEB_SERVER).disposition == 3


def test_a_ca_of_another_name_is_an_invalid_argument():
    with a_ca() as ca, Client(ca) as client:
        with pytest.raises(DCERPCSessionError) as raised:
            client.enrol(CSR, WEB_SERVER, authority="OTHER-CA")
        assert raised.value.get_error_code() == 0x80070057


@pytest.mark.parametrize(
    "wrong",
    [
        {"password": "wrong"},
        {"user": "nobody"},
        {"level": RPC_C_AUTHN_LEVEL_PKT_INTEGRITY},
        {"level": RPC_C_AUTHN_LEVEL_NONE},
    ],
    ids=repr,
)
def test_who_is_not_known_or_does_not_seal_is_refused(wrong):
    with a_ca() as ca, Client(ca, **wrong) as client:
        with pytest.raises(DCERPCException, match="access_denied"):
            client.enrol(CSR, WEB_SERVER)
        assert not ca.requests


def test_a_ca_that_does_not_ask_for_privacy_takes_less():
    with (
        a_ca(private=False) as ca,
        Client(ca, level=RPC_C_AUTHN_LEVEL_PKT_INTEGRITY) as client,
    ):
        assert client.enrol(CSR, WEB_SERVER).disposition == 3


def test_a_fault_is_a_fault():
    with a_ca() as ca, Client(ca) as client:
        ca.once(faults(0x1C010014))
        with pytest.raises(DCERPCException, match="nca_s_server_too_busy"):
            client.enrol(CSR, WEB_SERVER)
        assert not ca.issued


@pytest.mark.parametrize("at", [0, 1, 20, 100])
def test_a_line_that_is_cut_after_issuing_leaves_a_certificate_behind(at):
    with a_ca() as ca, Client(ca) as client:
        ca.once(cuts(at=at))
        with pytest.raises(Exception):  # noqa: B017, PT011 - impacket raises whatever it stumbles on
            client.enrol(CSR, WEB_SERVER)
        assert len(ca.issued) == 1


def test_a_line_that_is_cut_before_issuing_leaves_none():
    with a_ca() as ca, Client(ca) as client:
        ca.once(cuts(before=True))
        with pytest.raises(Exception):  # noqa: B017, PT011 - impacket raises whatever it stumbles on
            client.enrol(CSR, WEB_SERVER)
        assert not ca.issued


def test_a_wrong_certificate_is_issued_on_request():
    with a_ca() as ca, Client(ca) as client:
        first = client.enrol(CSR, WEB_SERVER).certificate
        ca.once(issues("other-order"), issues("other-key"), issues("extra-name"))
        other_order, other_key, extra_name = (
            client.enrol(CSR, WEB_SERVER).certificate for _ in range(3)
        )
        assert other_order == first
        key = x509.load_der_x509_csr(CSR).public_key()
        assert x509.load_der_x509_certificate(other_key).public_key() != key
        names = x509.load_der_x509_certificate(extra_name).extensions
        assert len(names.get_extension_for_class(x509.SubjectAlternativeName).value) == 2
        assert len(ca.issued) == 4


@pytest.mark.parametrize(
    ("wrong", "holds"),
    [
        ("expired", lambda leaf: leaf.not_valid_after_utc < now()),
        ("not-yet-valid", lambda leaf: leaf.not_valid_before_utc > now()),
        ("no-server-auth", lambda leaf: SERVER_AUTH not in usages(leaf)),
        ("missing-name", lambda leaf: names(leaf) == ["alt.lab.test"]),
    ],
)
def test_a_certificate_is_wrong_in_the_way_that_was_asked_for(wrong, holds):
    with a_ca() as ca, Client(ca) as client:
        ca.once(issues(wrong))
        answer = client.enrol(a_csr("web.lab.test", "alt.lab.test"), WEB_SERVER)
        assert holds(x509.load_der_x509_certificate(answer.certificate))
        assert ca.issued == [answer.certificate]


def test_a_certificate_of_another_ca_of_that_name_does_not_verify():
    with a_ca() as ca, Client(ca) as client:
        ca.once(issues("other-issuer"), issues("garbage"))
        leaf = x509.load_der_x509_certificate(client.enrol(CSR, WEB_SERVER).certificate)
        (root,) = x509.load_pem_x509_certificates(ca.roots)
        assert leaf.issuer == root.subject
        with pytest.raises(InvalidSignature):
            leaf.verify_directly_issued_by(root)
        garbage = client.enrol(CSR, WEB_SERVER).certificate
        with pytest.raises(ValueError, match="parsing"):
            x509.load_der_x509_certificate(garbage)
        assert len(ca.issued) == 2


def test_a_chain_is_as_long_as_was_asked_for():
    with a_ca() as ca, Client(ca) as client:
        ca.once(issues(chain=40))
        assert len(pkcs7.load_der_pkcs7_certificates(client.enrol(CSR, WEB_SERVER).chain)) == 42


def now() -> datetime:
    return SystemClock().now()


def usages(leaf: x509.Certificate) -> x509.ExtendedKeyUsage:
    return leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value


def names(leaf: x509.Certificate) -> list[str]:
    found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return found.get_values_for_type(x509.DNSName)


def test_a_stopped_service_is_not_registered_and_comes_back_on_the_same_port():
    with a_ca() as ca:
        ca.down("not-registered")
        with pytest.raises(DCERPCException, match="ept_s_not_registered"):
            mapped(ca)
        ca.up()
        with Client(ca) as client:
            assert client.enrol(CSR, WEB_SERVER).disposition == 3
        ca.down()
        with pytest.raises(DCERPCException, match="Could not connect"):
            mapped(ca)


def test_a_renewed_ca_signs_with_its_new_certificate():
    with a_ca() as ca, Client(ca) as client:
        ca.ca.renew()
        old, new = x509.load_pem_x509_certificates(ca.roots)
        leaf = x509.load_der_x509_certificate(client.enrol(CSR, WEB_SERVER).certificate)
        leaf.verify_directly_issued_by(new)
        with pytest.raises(Exception):  # noqa: B017, PT011 - of cryptography, which raises several
            leaf.verify_directly_issued_by(old)


def test_a_ca_remembers_over_a_restart(tmp_path):
    plan = Plan(folder=tmp_path / "ca")
    with a_ca(plan) as ca, Client(ca) as client:
        client.enrol(CSR, WEB_SERVER)
        before = ca.requests, ca.roots
    with a_ca(plan) as ca, Client(ca) as client:
        assert (ca.requests, ca.roots) == before
        assert client.enrol(CSR, WEB_SERVER).request_id == 2
        assert client.retrieve(1).certificate == ca.issued[0]
