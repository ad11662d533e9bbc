"""What a CA is asked beside enrolment, by the product's own DCOM, at the simulated CA."""

import socket
import threading
from uuid import UUID

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from impacket.dcerpc.v5 import dcomrt

from certeasy.ca.adcs import activation, csra, ndr
from certeasy.ca.adcs.deadline import Deadline
from certeasy.ca.adcs.errors import AnswerLost, HResult, NotReached
from certeasy.ca.adcs.identity import NtlmIdentity
from certeasy.ca.adcs.officers import Officers
from certeasy.ca.adcs.security import Tampered
from certeasy.ca.adcs.transport import Target
from tests.make.adcs import DOMAIN, PASSWORD, USER, a_ca
from tests.make.adcs_client import Client
from tests.make.csrs import a_csr
from tools.adcs_sim.behaviour import cuts, denies, faults

ACCESS_DENIED = 0x80070005
NO_SUCH_CLASS = 0x80040154


def the_officers(ca, folder, *, name=None, password=PASSWORD, timeout=5.0):
    file = folder / "password"
    file.touch(mode=0o600)
    file.write_text(password)
    target = Target(ca.host, mapper_port=ca.mapper_port, connect_timeout=timeout)
    return Officers(target, NtlmIdentity(USER, DOMAIN, file), name or ca.name)


@pytest.fixture
def ca():
    with a_ca() as running:
        yield running


@pytest.fixture
def officers(ca, tmp_path):
    made = the_officers(ca, tmp_path)
    yield made
    made.close()


def soon():
    return Deadline(10)


def a_serial(ca):
    with Client(ca) as client:
        issued = client.enrol(a_csr("web.corp.test"), "CertificateTemplate:WebServer")
    return f"{x509.load_der_x509_certificate(issued.certificate).serial_number:x}"


def test_a_certificate_is_revoked_and_again_is_no_error(ca, officers):
    serial = a_serial(ca)
    officers.revoke(serial, 1, soon())
    officers.revoke(serial, 1, soon())
    assert {int(one, 16): reason for one, reason in ca.revoked.items()} == {int(serial, 16): 1}


@pytest.mark.parametrize(("reason", "told"), [(0, 0), (4, 4), (5, 5), (9, 0), (10, 0)])
def test_reasons_that_a_ca_does_not_know_become_unspecified(ca, officers, reason, told):
    officers.revoke(a_serial(ca), reason, soon())
    assert list(ca.revoked.values()) == [told]


@pytest.mark.parametrize(
    ("serial", "written"),
    [("1", "01"), ("01", "01"), ("0001", "01"), ("abc", "0abc"), ("00ABCD", "abcd"), ("0", "00")],
)
def test_a_serial_has_an_even_number_of_digits_and_no_more_zeros(serial, written):
    assert csra.written(serial) == written


def test_the_cas_certificates_are_those_of_all_its_keys(ca, officers):
    found = officers.ca_certificates(soon())
    assert set(found) == {
        one.public_bytes(Encoding.DER) for one in x509.load_pem_x509_certificates(ca.roots)
    }


def test_the_templates_on_offer_are_told(ca, officers):
    offered = [one.name for one in officers.templates(soon())]
    assert offered == [name for name, one in ca.ca.templates.items() if one.published]


def test_a_ping_tells_whether_this_is_the_ca(ca, officers, tmp_path):
    officers.ping(soon())
    with pytest.raises(HResult) as refused:
        the_officers(ca, tmp_path, name="Another CA").ping(soon())
    assert refused.value.code == 0x80070057


def test_flags_that_matter_can_be_read(officers):
    assert isinstance(officers.edit_flags(soon()), int)
    assert isinstance(officers.interface_flags(soon()), int)
    assert officers.security(soon())[:1] == b"\x01"


def test_a_value_that_there_is_not_is_told_by_a_code(officers):
    with pytest.raises(HResult):
        officers.config_entry("", "NoSuchValue", soon())


def test_a_crl_is_published_when_it_is_asked_for(ca, officers):
    before = len(ca.ca.published_crls)
    officers.publish_crl(soon())
    assert len(ca.ca.published_crls) == before + 1


def test_who_may_not_is_refused_by_a_code(ca, officers):
    ca.ca.officers_meet(denies(ACCESS_DENIED))
    with pytest.raises(HResult) as refused:
        officers.revoke("01", 0, soon())
    assert refused.value.code == ACCESS_DENIED


def test_a_wrong_password_is_no_authority(ca, tmp_path):
    with pytest.raises(NotReached):
        the_officers(ca, tmp_path, password="Wrong.1").revoke("01", 0, soon())
    assert not ca.revoked


@pytest.mark.parametrize("behaviour", [cuts(before=True), cuts(at=10), faults(0x6BE)])
def test_a_revocation_whose_answer_is_lost_may_have_happened(ca, officers, behaviour):
    serial = a_serial(ca)
    ca.ca.officers_meet(behaviour)
    with pytest.raises(AnswerLost):
        officers.revoke(serial, 1, soon())
    officers.revoke(serial, 1, soon())
    assert len(ca.revoked) == 1


def test_a_ca_that_is_gone_was_not_reached(ca, officers):
    ca.down()
    with pytest.raises(NotReached):
        officers.revoke("01", 0, soon())
    with pytest.raises(NotReached):
        officers.ca_certificates(soon())


def test_a_machine_that_says_nothing_costs_no_more_than_the_deadline(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as mute:

        class Ca:
            host, name = "127.0.0.1", "CA"
            mapper_port = mute.getsockname()[1]

        with pytest.raises(NotReached, match="no answer within"):
            the_officers(Ca, tmp_path, timeout=0.5).ping(soon())


def test_many_ask_at_once_and_each_gets_his_own_answer(ca, officers):
    serials = [a_serial(ca) for _ in range(6)]
    others = [threading.Thread(target=officers.ping, args=(soon(),)) for _ in range(4)]
    revoking = [
        threading.Thread(target=officers.revoke, args=(one, n % 3, soon()))
        for n, one in enumerate(serials)
    ]
    for thread in (*revoking, *others):
        thread.start()
    for thread in (*revoking, *others):
        thread.join()
    assert {int(s, 16): r for s, r in ca.revoked.items()} == {
        int(one, 16): n % 3 for n, one in enumerate(serials)
    }


def test_nothing_is_asked_after_the_end(officers):
    officers.close()
    with pytest.raises(NotReached, match="shutting down"):
        officers.ping(soon())


def test_the_question_is_what_another_client_asks():
    """impacket's reader takes it apart, and finds what its own writer puts there."""
    clsid = UUID("d99e6e74-fc88-11d0-b498-00a0c90312f3").bytes_le
    interface = UUID("5422fd3a-d4b8-4cef-a12e-e87d4ca22e90").bytes_le
    stub = activation.question(clsid, interface, bytes(range(16)))
    call = dcomrt.RemoteCreateInstance(stub)
    assert call["ORPCthis"]["cid"] == bytes(range(16))
    reference = dcomrt.OBJREF_CUSTOM(b"".join(call["pActProperties"]["abData"]))
    blob = dcomrt.ACTIVATION_BLOB(reference["pObjectData"])
    header = blob["CustomHeader"]
    assert header["totalSize"] == blob["dwSize"]
    sizes = [one["Data"] for one in header["pSizes"]]
    assert sum(sizes) == len(blob["Property"])
    assert [one["Data"] for one in header["pclsid"]] == [
        dcomrt.CLSID_InstantiationInfo,
        dcomrt.CLSID_ActivationContextInfo,
        dcomrt.CLSID_ServerLocationInfo,
        dcomrt.CLSID_ScmRequestInfo,
    ]
    wanted = dcomrt.InstantiationInfoData()
    size = wanted.fromString(blob["Property"])
    wanted.fromStringReferents(blob["Property"][size:])
    assert wanted["classId"] == clsid
    assert [one["Data"] for one in wanted["pIID"]] == [interface]


@given(st.binary(max_size=300))
def test_any_bytes_in_the_place_of_an_answer_are_answered(data):
    with pytest.raises((Tampered, HResult)):
        activation.answer(data)


def test_extensions_of_an_answer_are_passed_over():
    body = ndr.Writer().number(1).number(2).number(1).number(0).number(4).number(2)
    body.number(8).number(0).number(5).raw(bytes(16)).number(5).raw(b"12345").number(77)
    assert activation.orpc_that(body.done()).number() == 77
