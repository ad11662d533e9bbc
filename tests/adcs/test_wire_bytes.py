"""What is sent and read is, byte for byte, what the specifications say: written here by hand.

MS-ICPR section 3.2.4.1, MS-WCCE section 2.2.2, C706 chapters 12 and 14 and appendix O.
"""

import pytest

from certeasy.ca.adcs import mapper, ndr, pdu
from certeasy.ca.adcs.errors import HResult, NotReached
from certeasy.ca.adcs.ndr import Reply, read_reply, write_request
from certeasy.ca.adcs.security import Tampered

QUESTION = """
00000000                                        dwFlags
00000200                                        pwszAuthority: a pointer,
03000000 00000000 03000000 430041000000 0000    three letters of at most three, CA and NUL, aligned
07000000                                        requestId
00000000 00000000                               pctbAttribs: none
00000000 00000000                               pctbRequest: none
"""
SUBMISSION = """
00000000
00000200
03000000 00000000 03000000 430041000000 0000
00000000
10000000 04000200 10000000                      pctbAttribs: 16 bytes
54003a00 57000a00 4e003a00 31000000             T:W, a line break, N:1, NUL
03000000 08000200 03000000 300141               pctbRequest: 3 bytes, and nothing behind
"""
ISSUED = """
2a000000                                        requestId
03000000                                        disposition: CR_DISP_ISSUED
02000000 00000200 02000000 aabb 0000            pctbCert: the chain
03000000 04000200 03000000 ccddee 00            pctbEncodedCert
08000000 08000200 08000000 4f004b000d000000     pctbDispositionMessage: OK, CR, NUL
00000000                                        the return value
"""
DENIED = """
2b000000
12400980                                        disposition: CERTSRV_E_TEMPLATE_DENIED
00000000 00000000
00000000 00000000
00000000 00000000
00000000
"""
FAILED = "2b000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 57000780"
ISSUED_REPLY = Reply(3, 42, b"\xaa\xbb", b"\xcc\xdd\xee", "OK")

ASKED_OF_THE_MAPPER = """
01000000 00000000000000000000000000000000       an object: none
02000000 4b000000 4b000000                      a tower of 75 bytes
0500                                            of five floors:
1300 0d 2060ae913c9ecf118d7c00aa00c091be 0000 0200 0000     ICertPassage 0.0
1300 0d 045d888aeb1cc9119fe808002b104860 0200 0200 0000     NDR 2.0
0100 0b 0200 0000                               connection-oriented
0100 07 0200 0000                               TCP, which port?
0100 09 0400 00000000                           IP, which address?
00
00000000 00000000000000000000000000000000       no handle
04000000                                        four towers at most
"""
TOLD_BY_THE_MAPPER = """
00000000 00000000000000000000000000000000
01000000
04000000 00000000 01000000 03000000
4b000000 4b000000
0500
1300 0d 2060ae913c9ecf118d7c00aa00c091be 0000 0200 0000
1300 0d 045d888aeb1cc9119fe808002b104860 0200 0200 0000
0100 0b 0200 0000
0100 07 0200 c030                               TCP 49200
0100 09 0400 7f000001
00
00000000
"""
NOT_REGISTERED = "00" * 20 + "00000000 04000000 00000000 00000000 d6a0c916"

BIND = """
05 00 0b 03 10000000 4800 0000 01000000         version 5.0, BIND, whole, 72 bytes, call 1
b810 b810 00000000                              4280 bytes each way, a new association
01 000000                                       one context:
0000 01 00                                      number 0, one syntax
2060ae913c9ecf118d7c00aa00c091be 0000 0000
045d888aeb1cc9119fe808002b104860 0200 0000
"""


def the_bytes(dump):
    lines = [line.split("  ", 1)[0] for line in dump.splitlines()]
    return bytes.fromhex("".join(lines).replace(" ", ""))


def test_a_question_for_a_request():
    assert write_request("CA", request_id=7) == the_bytes(QUESTION)


def test_a_submission():
    sent = write_request("CA", attributes={"T": "W", "N": "1"}, csr=b"\x30\x01\x41")
    assert sent == the_bytes(SUBMISSION)


def test_a_certificate():
    assert read_reply(the_bytes(ISSUED)) == ISSUED_REPLY


def test_a_refusal():
    assert read_reply(the_bytes(DENIED)) == Reply(0x80094012, 43, b"", b"", "")


def test_a_method_that_failed():
    with pytest.raises(HResult) as failed:
        read_reply(the_bytes(FAILED))
    assert failed.value.code == 0x80070057


def test_no_part_of_a_reply_is_a_reply():
    whole = the_bytes(ISSUED)
    for length in range(len(whole)):
        with pytest.raises((Tampered, HResult)):
            read_reply(whole[:length])


@pytest.mark.parametrize(
    ("what", "at"), [("another length of the array", 16), ("a length and no pointer", 12)]
)
def test_a_reply_that_contradicts_itself_is_refused(what, at):
    reply = bytearray(the_bytes(ISSUED))
    reply[at : at + 4] = bytes(4)
    with pytest.raises(Tampered):
        read_reply(bytes(reply))


def test_nothing_stands_behind_a_reply():
    with pytest.raises(Tampered, match="behind the end"):
        read_reply(the_bytes(ISSUED) + bytes(4))


@pytest.mark.parametrize(
    "attributes",
    [{"T": "W\nCertificateTemplate:Other"}, {"T": "W\r"}, {"T": "\0"}, {"": "W"}, {"a:b": "c"}],
    ids=repr,
)
def test_a_value_never_becomes_another_attribute(attributes):
    with pytest.raises(ValueError, match="not one line"):
        write_request("CA", attributes=attributes, csr=b"x")


@pytest.mark.parametrize("name", ["", "A" * 1536, "C\0A"], ids=["empty", "too long", "NUL"])
def test_what_is_no_name_of_a_ca_is_not_sent(name):
    with pytest.raises(ValueError, match="name of a CA"):
        write_request(name, request_id=1)


def test_a_question_for_a_port():
    assert mapper.question() == the_bytes(ASKED_OF_THE_MAPPER)


def test_a_port():
    assert mapper.read_answer(the_bytes(TOLD_BY_THE_MAPPER)) == 49200


def test_an_interface_that_is_not_there():
    with pytest.raises(NotReached, match="not registered") as missing:
        mapper.read_answer(the_bytes(NOT_REGISTERED))
    assert (missing.value.layer, missing.value.code) == ("mapper", 0x16C9A0D6)


def test_no_part_of_a_mappers_answer_is_an_answer():
    whole = the_bytes(TOLD_BY_THE_MAPPER)
    for length in range(len(whole)):
        with pytest.raises((Tampered, NotReached)):
            mapper.read_answer(whole[:length])


def test_a_binding():
    assert pdu.write(pdu.BIND, 1, pdu.binding(ndr.INTERFACE, 0)) == the_bytes(BIND)
