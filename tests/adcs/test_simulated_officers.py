"""What officers of the simulated CA can do from afar, by a client that is not ours."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from impacket.dcerpc.v5.rpcrt import DCERPCException
from impacket.ldap.ldaptypes import SR_SECURITY_DESCRIPTOR

from tests.make.adcs import a_ca
from tests.make.adcs_admin import (
    ADMIN,
    I_REQUEST,
    DCERPCSessionError,
    Ping,
    an_officer,
)
from tests.make.adcs_client import Client
from tests.make.csrs import a_csr
from tools.adcs_sim.behaviour import denies, faults, issues, pends

CSR = a_csr("web.lab.test")


def test_a_certificate_is_revoked_and_in_the_list():
    with a_ca() as ca, Client(ca) as client, an_officer(ca) as officer:
        issued = client.enrol(CSR, "CertificateTemplate:WebServer")
        (serial,) = [
            format(x509.load_der_x509_certificate(one).serial_number, "x") for one in ca.issued
        ]
        officer.revoke(serial, 1)
        assert ca.revoked == {serial: 1}
        officer.revoke(serial, 4)
        assert ca.revoked == {serial: 1}
        assert client.retrieve(issued.request_id).disposition == 6
        crl = x509.load_der_x509_crl(officer.property(0x11, 3))
        assert [format(one.serial_number, "x") for one in crl] == [serial]


def test_what_came_in_the_place_of_another_is_revoked_where_it_came():
    """The answer to the second request is the first's; the third gets what the second was to
    have."""
    with a_ca() as ca, Client(ca) as client, an_officer(ca) as officer:
        ca.once(issues(), issues("other-order"), issues("other-order"))
        first, second, third = (
            client.enrol(CSR, "CertificateTemplate:WebServer").certificate for _ in range(3)
        )
        assert first == second != third
        serial = format(x509.load_der_x509_certificate(third).serial_number, "x")
        officer.revoke(serial, 4)
        assert ca.revoked == {serial: 4}


def test_a_certificate_that_it_did_not_issue_is_not_revoked():
    with a_ca() as ca, an_officer(ca) as officer:
        with pytest.raises(DCERPCException) as raised:
            officer.revoke("00ff", 1)
        assert raised.value.get_error_code() == 0x80094004


def test_who_is_no_officer_changes_nothing():
    accounts = {"svc-acme": "Secret.123", "boss": "Other.456"}
    with a_ca(officers=("boss",), accounts=accounts) as ca, an_officer(ca) as somebody:
        for refused in (lambda: somebody.revoke("00ff", 1), lambda: somebody.resubmit(1)):
            with pytest.raises(DCERPCException) as raised:
                refused()
            assert raised.value.get_error_code() == 0x80070005
        somebody.ping()


def test_pending_requests_are_approved_and_denied():
    with (
        a_ca(templates={"Manual": pends()}) as ca,
        Client(ca) as client,
        an_officer(ca) as officer,
    ):
        one, other = (client.enrol(CSR, "CertificateTemplate:Manual").request_id for _ in range(2))
        assert officer.resubmit(one) == 3
        officer.deny(other)
        assert client.retrieve(one).disposition == 3
        denied = client.retrieve(other)
        assert (denied.disposition, denied.message) == (2, "Denied by LAB\\svc-acme")
        assert officer.resubmit(77) == 0x80094004
        assert officer.resubmit(other) == 0x80094003


def test_a_ca_tells_about_itself():
    with a_ca(name="Lab CA (1)") as ca, an_officer(ca) as officer:
        first = ca.ca.signers[0]
        newest = ca.ca.renew()
        assert officer.property(0x06, 4) == "Lab CA (1)\0".encode("utf-16-le")
        assert officer.property(0x07, 4) == "Lab CA !00281!0029\0".encode("utf-16-le")
        assert officer.property(0x0B, 1) == b"\x02\0\0\0"
        assert [officer.property(0x0C, 3, index) for index in (0, 1)] == [first.der, newest.der]
        (chained,) = pkcs7.load_der_pkcs7_certificates(officer.property(0x0D, 3, 1))
        assert chained.public_bytes(Encoding.DER) == newest.der
        assert officer.property(0x1D, 4).decode("utf-16-le").split("\n")[0] == "WebServer"
        with pytest.raises(DCERPCException) as raised:
            officer.property(0x77, 4)
        assert raised.value.get_error_code() == 0x80070057


def test_a_ca_shows_its_configuration_and_its_rights():
    with a_ca() as ca, an_officer(ca) as officer:
        assert officer.config("", "interfaceflags") == 0x641
        ca.ca.config["", "CommonName"] = ca.name
        assert officer.config("", "CommonName") == ca.name
        with pytest.raises(DCERPCException) as raised:
            officer.config("", "Nothing")
        assert raised.value.get_error_code() == 0x80070002
        entries = SR_SECURITY_DESCRIPTOR(officer.security())["Dacl"].aces
        assert [
            (one["Ace"]["Mask"]["Mask"], one["Ace"]["Sid"].formatCanonical()) for one in entries
        ] == [
            (0x3, "S-1-5-32-544"),
            (0x300, "S-1-5-11"),
        ]


def test_revocation_lists_are_published_by_kind():
    with a_ca() as ca, an_officer(ca) as officer:
        officer.publish(1)
        officer.publish(3)
        assert ca.ca.published_crls == ["base", "base", "delta"]


def test_officers_meet_what_they_are_told_to_meet():
    with a_ca() as ca, an_officer(ca) as officer:
        ca.ca.officers_meet(denies(0x80094008), faults(0x1C010014))
        with pytest.raises(DCERPCSessionError) as raised:
            officer.publish(1)
        assert raised.value.get_error_code() == 0x80094008
        with pytest.raises(DCERPCException, match="too_busy"):
            officer.publish(1)
        officer.publish(1)
        assert ca.ca.published_crls == ["base"]


def test_an_object_has_only_the_interfaces_of_its_class():
    with a_ca() as ca, an_officer(ca) as officer, pytest.raises(DCERPCException) as raised:
        officer.call(ADMIN, I_REQUEST, Ping)
    assert raised.value.get_error_code() == 0x80004002


def test_a_wrong_password_makes_no_object():
    with (
        a_ca() as ca,
        an_officer(ca, password="wrong") as officer,
        pytest.raises(DCERPCException, match="access_denied"),
    ):
        officer.ping()
