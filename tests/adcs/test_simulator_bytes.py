"""The simulator's wire format is what the specifications say, byte for byte: see `golden`."""

import struct
from uuid import UUID

import pytest
from msgspec.structs import replace

from certeasy.clock import SystemClock
from tests.fakes.clocks import HeldClock
from tests.make.golden_bytes import golden
from tools.adcs_sim import activation, csra, dcom, icpr, mapper, pdu, wcce
from tools.adcs_sim.ca import Ca, Reply
from tools.adcs_sim.connection import (
    SECURITY_PACKAGE_FAILED,
    Caller,
    Connection,
    Endpoint,
)
from tools.adcs_sim.ndr import Reader
from tools.adcs_sim.ntlm import (
    Direction,
    Flag,
    NtlmAcceptor,
    Server,
    nt_hash,
    response_key_v2,
    sealing_key,
    signing_key,
)
from tools.adcs_sim.security import NotAuthenticated

SOMEBODY = Caller("LAB\\svc-acme", 6, "tcp")
SERVER = Server("Domain", "Server", "domain.test", {"user": nt_hash("Password")})
IPID = "00112233445566778899aabbccddeeff"
REM_UNKNOWN = "ffeeddccbbaa99887766554433221100"
SESSION = b"\x55" * 16
FLAGS = Flag(0xE28A8233)


@pytest.fixture
def ca():
    ca = Ca("LAB-CA", HeldClock())
    yield ca
    ca.close()


def ntlm() -> NtlmAcceptor:
    return NtlmAcceptor(SERVER, SystemClock(), lambda _: bytes.fromhex("0123456789abcdef"))


def test_a_submission_is_read(ca):
    answer = icpr.CertPassage(ca).call(SOMEBODY, 0, golden("icpr-submission"))
    (request,) = ca.requests
    assert (request.attributes, request.csr) == (
        {"certificatetemplate": "WebS"},
        bytes.fromhex("3003020101"),
    )
    assert struct.unpack_from("<II", answer.stub) == (1, 0x8009310B)


def test_a_retrieval_is_read(ca):
    answer = icpr.CertPassage(ca).call(SOMEBODY, 0, golden("icpr-retrieval"))
    assert answer.stub[:4] == b"\x09\0\0\0"
    assert answer.stub[-4:] == bytes.fromhex("04400980")


def test_results_are_written():
    reply = Reply(
        request_id=258, disposition=3, chain=b"\1\2\3", certificate=b"\xaa\xbb", message="Ok"
    )
    assert icpr.encode(reply) == golden("icpr-issued")
    assert icpr.encode(Reply(result=0x80070057)) == golden("icpr-wrong-authority")


def test_a_binding_is_answered():
    endpoint = Endpoint({icpr.ICERT_PASSAGE: icpr.CertPassage}, lambda _: ntlm(), "49200")
    (answer,) = Connection(endpoint, 1337).receive(golden("bind"))
    told = pdu.parse(answer)
    assert answer.startswith(golden("bind-ack-head"))
    assert told.body == golden("bind-ack-results")
    assert told.trailer == pdu.Trailer(10, 6, 0, 42)
    assert told.token.startswith(b"NTLMSSP\0\2\0\0\0")


def test_a_fault_is_written():
    body = pdu.fault_body(0, 5)
    flags = pdu.WHOLE | pdu.DID_NOT_EXECUTE
    assert pdu.message(pdu.FAULT, 7, body, flags=flags) == golden("fault-access-denied")


def test_a_port_is_told():
    ports = {icpr.ICERT_PASSAGE: 49200}
    found = mapper.EndpointMapper(ports, "127.0.0.1")
    assert found.call(SOMEBODY, mapper.MAP, golden("ept-map")) == golden("ept-mapped")


def test_the_keys_of_ntlm_are_those_of_the_specification():
    assert nt_hash("Password").hex() == "a4f49c406510bdcab6824ee7c30fd852"
    key = response_key_v2(nt_hash("Password"), "User", "Domain")
    assert key.hex() == "0c868a403bfd7a93a3001ef22ef02e3f"
    way = "client-to-server"
    assert signing_key(SESSION, way).hex() == "4788dc861b4782f35d43fd98fe1a2d39"
    assert sealing_key(SESSION, FLAGS, way).hex() == "59f600973cc4960a25480a7c196e4c58"


def test_ntlm_seals_as_in_the_specification():
    plain = "Plaintext".encode("utf-16-le")
    sealed, signature = Direction(SESSION, FLAGS, "client-to-server").protect(
        b"", plain, b"", seal=True
    )
    assert sealed.hex() == "54e50165bf1936dc996020c1811b0f06fb5f"
    assert signature.hex() == "010000007fb38ec5c55d497600000000"
    receiving = Direction(SESSION, FLAGS, "client-to-server")
    assert receiving.unprotect(b"", sealed, b"", signature, seal=True) == plain


def test_ntlm_accepts_the_client_of_the_specification():
    accepting = ntlm()
    challenge = accepting.step(pdu.parse(golden("bind")).token)
    assert challenge[24:32].hex() == "0123456789abcdef"
    assert accepting.step(golden("ntlm-authenticate")) == b""
    assert accepting.user == "Domain\\User"
    sealed, token = Direction(SESSION, FLAGS, "client-to-server").protect(
        b"head", b"stub", b"trailer", seal=True
    )
    assert accepting.unwrap(b"head", sealed, b"trailer", token, seal=True) == b"stub"
    with pytest.raises(NotAuthenticated):
        accepting.unwrap(b"head", sealed, b"trailer", token, seal=True)


def test_every_changed_byte_of_a_proof_is_noticed():
    right = golden("ntlm-authenticate")
    for at in range(132, 132 + 0x54):
        accepting = ntlm()
        accepting.step(pdu.parse(golden("bind")).token)
        wrong = right[:at] + bytes((right[at] ^ 1,)) + right[at + 1 :]
        with pytest.raises(NotAuthenticated):
            accepting.step(wrong)


def test_an_activation_is_read():
    wanted = activation.wanted(golden("dcom-activation"))
    assert wanted == activation.Wanted(csra.CLASS, (csra.ICERT_ADMIN_D,))


def test_an_activation_is_answered():
    ipids = [UUID(bytes_le=bytes.fromhex(one)) for one in (IPID, REM_UNKNOWN)]
    bindings = ("CA1[49201]", "127.0.0.1[49201]")
    exporter = activation.Exporter(0x1122334455667788, ipids[1], bindings)
    made = activation.Exported(csra.ICERT_ADMIN_D, ipids[0], 0x99)
    assert activation.created(exporter, [made]) == golden("dcom-activated")


def test_a_value_of_the_configuration_is_told(ca):
    objects = dcom.Objects(bytes, {csra.CLASS: {csra.ICERT_ADMIN_D2}})
    made = objects.make(csra.CLASS, csra.ICERT_ADMIN_D2)
    methods = csra.CertAdmin(ca).methods2
    admin = dcom.ObjectInterface(csra.ICERT_ADMIN_D2, objects, methods, private=True)
    caller = replace(SOMEBODY, target=made.ipid)
    ca.config["", "InterfaceFlags"] = 0x11014E
    assert admin.call(caller, 44, golden("dcom-get-config")) == golden("dcom-config-flags")


def test_calls_of_objects_are_read_and_answered(ca):
    objects = dcom.Objects(bytes, {csra.CLASS: {csra.ICERT_ADMIN_D}, wcce.CLASS: set()})
    made = objects.make(csra.CLASS, csra.ICERT_ADMIN_D)
    methods = csra.CertAdmin(ca).methods
    admin = dcom.ObjectInterface(csra.ICERT_ADMIN_D, objects, methods, private=True)
    caller = replace(SOMEBODY, target=made.ipid)
    assert admin.call(caller, 10, golden("dcom-revoke")) == golden("dcom-not-found")

    objects = dcom.Objects(bytes, {wcce.CLASS: {wcce.ICERT_REQUEST_D2}})
    made = objects.make(wcce.CLASS, wcce.ICERT_REQUEST_D2)
    methods = wcce.CertRequest(ca).methods2
    request = dcom.ObjectInterface(wcce.ICERT_REQUEST_D2, objects, methods, private=True)
    caller = replace(SOMEBODY, target=made.ipid)
    assert request.call(caller, 7, golden("dcom-get-property")) == golden("dcom-property")


def test_a_call_that_does_not_verify_is_the_last_one():
    endpoint = Endpoint({icpr.ICERT_PASSAGE: icpr.CertPassage}, lambda _: ntlm(), "49200")
    connection = Connection(endpoint, 1)
    connection.receive(golden("bind"))
    trailer = pdu.Trailer(10, 6, 0, 42)
    authenticate = pdu.message(
        pdu.AUTH3, 1, bytes(4), trailer=trailer, token=golden("ntlm-authenticate")
    )
    assert connection.receive(authenticate) == []
    body = struct.pack("<IHH", 4, 0, 0) + b"stub"
    call = pdu.message(pdu.REQUEST, 2, body, trailer=trailer, token=bytes(16))
    for _ in range(2):
        (fault,) = connection.receive(call)
        assert Reader(pdu.parse(fault).body[8:]).u32() == SECURITY_PACKAGE_FAILED
