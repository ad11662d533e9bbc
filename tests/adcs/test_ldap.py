"""LDAP's messages: made as others read them, read as others make them."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from impacket.ldap import ldapasn1
from pyasn1.codec.ber import decoder, encoder

from certeasy.ca.adcs import ldap
from certeasy.ca.adcs.ldap import Malformed, Object, Outcome


def read_by_others(data: bytes):
    message, rest = decoder.decode(data, asn1Spec=ldapasn1.LDAPMessage())
    assert not rest
    return message


def test_a_bind_is_read_by_others():
    message = read_by_others(ldap.bind(7, b"token" * 100))
    request = message["protocolOp"]["bindRequest"]
    assert (int(message["messageID"]), int(request["version"])) == (7, 3)
    assert str(request["authentication"]["sasl"]["mechanism"]) == "GSS-SPNEGO"
    assert bytes(request["authentication"]["sasl"]["credentials"]) == b"token" * 100


def test_a_search_is_read_by_others():
    data = ldap.search(300, "DC=é", "children", ("cn", "flags"), equals=("cn", "a*)("), limit=200)
    message = read_by_others(data)
    request = message["protocolOp"]["searchRequest"]
    assert (int(message["messageID"]), str(request["baseObject"])) == (300, "DC=é")
    assert (int(request["scope"]), int(request["sizeLimit"])) == (1, 200)
    assert str(request["filter"]["equalityMatch"]["attributeDesc"]) == "cn"
    assert bytes(request["filter"]["equalityMatch"]["assertionValue"]) == b"a*)(", "no injection"
    assert [str(each) for each in request["attributes"]] == ["cn", "flags"]
    assert not message["controls"].isValue


def test_descriptors_are_asked_for_without_their_auditing_part():
    message = read_by_others(ldap.search(1, "", "object", (), descriptors=True))
    [control] = message["controls"]
    assert str(control["controlType"]) == ldap.SD_FLAGS
    assert bytes(control["controlValue"]) == bytes.fromhex("3003020107")
    assert str(message["protocolOp"]["searchRequest"]["filter"]["present"]) == "objectClass"


def test_a_good_bye_is_read_by_others():
    assert read_by_others(ldap.unbind(2))["protocolOp"].getName() == "unbindRequest"


def made_by_others(number: int, operation) -> bytes:
    message = ldapasn1.LDAPMessage()
    message["messageID"] = number
    message["protocolOp"].setComponentByType(operation.getTagSet(), operation)
    return encoder.encode(message)


def test_an_entry_of_others_is_read():
    entry = ldapasn1.SearchResultEntry()
    entry["objectName"] = "CN=a"
    for n, (name, values) in enumerate((("cn", [b"a"]), ("Member;range=0-1", [b"b", b"\0"]))):
        entry["attributes"][n]["type"] = name
        entry["attributes"][n]["vals"].setComponents(*values)
    number, found = ldap.answer(made_by_others(70000, entry))
    assert number == 70000
    assert isinstance(found, Object)
    assert found.dn == "CN=a"
    assert found.attributes == {"cn": [b"a"], "member": [b"b", b"\0"]}
    assert (found.first("CN"), found.first("none")) == (b"a", b"")


def test_how_a_bind_or_a_search_ended_is_read():
    bound = ldapasn1.BindResponse()
    bound["resultCode"], bound["matchedDN"], bound["diagnosticMessage"] = 14, "", "more"
    bound["serverSaslCreds"] = b"token"
    assert ldap.answer(made_by_others(1, bound)) == (1, Outcome(14, "more", b"token"))
    done = ldapasn1.SearchResultDone()
    done["resultCode"], done["matchedDN"], done["diagnosticMessage"] = 49, "", "80090308: data 52e"
    _, outcome = ldap.answer(made_by_others(1, done))
    assert isinstance(outcome, Outcome)
    assert outcome.symbol == "invalidCredentials"
    assert Outcome(99, "").symbol == "result 99"


def test_a_reference_to_elsewhere_is_not_followed():
    data = bytes.fromhex("300d020101730804066c6461703a2f")
    assert ldap.answer(data) == (1, None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30\x00",
        bytes.fromhex("3105020101650a"),
        bytes.fromhex("30800201016500"),  # indefinite
        bytes.fromhex("3085000000000002010165"),
        bytes.fromhex("3005020101420000"),  # something behind it
        bytes.fromhex("30050201014200"),  # an unbind is no answer
        bytes.fromhex("30050401016500"),  # no number
        bytes.fromhex("30080201016503040100"),  # no result
        bytes.fromhex("30050201016400"),  # an entry without a name
        bytes.fromhex("300502010165"),
        bytes.fromhex("30840000"),
    ],
)
def test_other_bytes_are_no_answer(data: bytes):
    with pytest.raises(Malformed):
        ldap.answer(data)


@given(st.binary(max_size=100))
def test_any_bytes_are_an_answer_or_malformed(data: bytes):
    for each in (data, ldap._tlv(0x30, data), ldap._tlv(0x30, b"\x02\x01\x01\x64" + data)):
        with contextlib.suppress(Malformed):
            ldap.answer(each)
        with contextlib.suppress(Malformed):
            ldap.length_of(each)


def test_the_length_is_known_from_the_head():
    assert ldap.length_of(b"") is None
    assert ldap.length_of(b"\x30") is None
    assert ldap.length_of(b"\x30\x05") == 7
    assert ldap.length_of(b"\x30\x82\x01") is None
    assert ldap.length_of(b"\x30\x82\x01\x00") == 260
    for large in (b"\x30\x84\x7f\xff\xff\xff", b"\x30\x83\x40\x00\x00", b"\x30\x80", b"HTTP/1.1"):
        with pytest.raises(Malformed):
            ldap.length_of(large)
