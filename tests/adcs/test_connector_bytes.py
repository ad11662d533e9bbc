"""What the connector writes to and reads from objects is what the specifications say: `golden`.

What it says to ICertPassage and to the endpoint mapper is in `test_wire_bytes` byte for byte; here
it is held against the same bytes as the simulator, so that the two mean the same.
"""

from contextlib import contextmanager

import pytest

from certeasy.ca.adcs import activation, csra, mapper, ndr, wcce
from certeasy.ca.adcs.dcom import Remote
from certeasy.ca.adcs.deadline import Deadline
from certeasy.ca.adcs.errors import HResult
from tests.make.golden_bytes import golden

CAUSE = slice(12, 28)
IPID = bytes.fromhex("00112233445566778899aabbccddeeff")


class Recorded:
    """Objects of a machine that has one answer, and keeps what it was asked."""

    def __init__(self, answer: str) -> None:
        self.answer = golden(answer)
        self.asked = b""
        self.method = 0
        self.deadline = Deadline(10)

    def exchange(self, method, stub, crossing, uuid):
        self.method = method
        self.asked = stub[: CAUSE.start] + IPID + stub[CAUSE.stop :]
        assert uuid == IPID
        return self.answer

    @contextmanager
    def made(self, clsid, interface, deadline):
        yield Remote("ca1.lab.test", self, self, IPID)


def test_a_submission_is_the_one_that_the_simulator_reads():
    attributes = {"CertificateTemplate": "WebS"}
    csr = bytes.fromhex("3003020101")
    written = ndr.write_request("LAB-CA", attributes=attributes, csr=csr)
    assert written == golden("icpr-submission")


def test_a_question_for_a_request_is_the_one_that_the_simulator_reads():
    assert ndr.write_request("LAB-CA", request_id=9) == golden("icpr-retrieval")


def test_the_simulators_answers_are_read():
    reply = ndr.Reply(3, 258, b"\1\2\3", b"\xaa\xbb", "Ok")
    assert ndr.read_reply(golden("icpr-issued")) == reply
    with pytest.raises(HResult) as raised:
        ndr.read_reply(golden("icpr-wrong-authority"))
    assert raised.value.code == 0x80070057


def test_the_mapper_is_asked_and_read():
    assert mapper.question()[20:] == golden("ept-map")[20:]
    assert mapper.read_answer(golden("ept-mapped")) == 49200


def test_an_object_that_was_made_is_found():
    assert activation.answer(golden("dcom-activated")) == activation.Exported(IPID, 49201)


def test_a_revocation_is_written():
    objects = Recorded("dcom-not-found")
    with pytest.raises(HResult) as raised:
        csra.revoke(objects, "LAB-CA", "ff", 1, objects.deadline)
    assert raised.value.code == 0x80094004
    assert objects.method == 10
    # One zero ahead would be one too many here: MS-CSRA 3.1.4.1.8.
    assert objects.asked == golden("dcom-revoke-short")


def test_a_value_of_the_configuration_is_asked_for_and_read():
    objects = Recorded("dcom-config-flags")
    found = csra.config_entry(objects, "LAB-CA", "", "InterfaceFlags", objects.deadline)
    assert (found, objects.method, objects.asked) == (0x11014E, 44, golden("dcom-get-config"))


def test_a_ping_is_written():
    objects = Recorded("dcom-done")
    wcce.ping(objects, "LAB-CA", objects.deadline)
    assert (objects.method, objects.asked) == (9, golden("dcom-ping"))
