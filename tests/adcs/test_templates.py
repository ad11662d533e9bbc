"""What is said about a certificate template."""

import re
import struct
from datetime import timedelta

import pytest

from certeasy.ca.adcs import templates
from certeasy.ca.adcs.findings import listed, shown
from certeasy.ca.adcs.templates import KeyRules, PendingRule, Unreadable, read
from tests.make.descriptors import (
    ADMINS,
    AUTHENTICATED,
    ENROLL,
    FULL,
    SERVICE,
    USERS,
    a_descriptor,
    a_template,
    an_entry,
)

RSA_ONLY = KeyRules("web", rsa=True, min_rsa_bits=2048, curves=())
EC_ONLY = KeyRules("web", rsa=False, min_rsa_bits=2048, curves=("P-256", "P-384"))
BOTH = KeyRules("web", rsa=True, min_rsa_bits=2048, curves=("P-256", "P-384"))
EC = b"msPKI-Asymmetric-Algorithm`PZPWSTR`ECDSA_P256`msPKI-Hash-Algorithm`PZPWSTR`SHA256`"
SERVER = b"1.3.6.1.5.5.7.3.1"
SIDS = frozenset({SERVICE, AUTHENTICATED})


def a_period(days: int) -> bytes:
    return struct.pack("<q", -days * 86400 * 10**7)


def test_a_duplicate_of_web_server_with_a_right_of_its_own_is_in_order():
    found = templates.judge(read(a_template()), [RSA_ONLY], [], timedelta(days=90))
    assert {finding.status for finding in found} == {"ok"}
    assert templates.enroll_right(read(a_template()), "svc", SIDS).status == "ok"
    assert templates.others(read(a_template())).status == "ok"


@pytest.mark.parametrize(
    ("flag", "status"),
    [
        (b"1", "ok"),
        (b"65537", "ok"),
        (b"65536", "warn"),
        (b"0", "fail"),
        (b"-2147483648", "fail"),
        (b"-2147483647", "ok"),
        ((), "fail"),
    ],
)
def test_the_subject_has_to_come_from_the_request(flag, status: str):
    finding = templates.subject(read(a_template(name_flag=flag)))
    assert finding.status == status
    assert (finding.remedy == "") is (status == "ok")


@pytest.mark.parametrize(
    ("purposes", "status", "told"),
    [
        ((SERVER,), "ok", "server authentication"),
        ((), "warn", "ESC1"),
        ((SERVER, b"1.3.6.1.5.5.7.3.2"), "warn", "client authentication; .*ESC1"),
        ((SERVER, b"1.3.6.1.4.1.311.20.2.2"), "warn", "smart card logon"),
        ((b"2.5.29.37.0",), "warn", "any purpose"),
        ((SERVER, b"1.3.6.1.4.1.311.20.2.1"), "warn", "request agent"),
        ((b"1.3.6.1.5.5.7.3.3",), "fail", "1.3.6.1.5.5.7.3.3"),
        ((b"\x1b[2J",), "fail", r"\\u001b"),
    ],
)
def test_certificates_are_for_servers_and_log_nobody_on(purposes, status: str, told: str):
    template = read(a_template(extendedkeyusage=purposes, application_policy=purposes))
    finding = templates.purposes(template)
    assert finding.status == status
    assert re.search(told, finding.text)


def test_a_purpose_in_either_of_the_two_places_counts():
    for place in ("extendedkeyusage", "application_policy"):
        template = read(a_template(**{place: (SERVER, b"1.3.6.1.5.5.7.3.2")}))
        assert templates.purposes(template).status == "warn"


def test_a_subject_from_the_directory_is_no_esc1():
    purposes = (SERVER, b"1.3.6.1.5.5.7.3.2")
    finding = templates.purposes(read(a_template(name_flag=b"0", extendedkeyusage=purposes)))
    assert finding.status == "warn"
    assert "ESC1" not in finding.text


def test_templates_of_schema_version_1_and_of_cas_are_told():
    old = a_template(schema_version=b"1")
    assert "ESC15" in templates.purposes(read(old)).text
    assert templates.purposes(read(a_template(schema_version=()))).status == "warn"
    assert templates.purposes(read(a_template(schema_version=b"1", name_flag=b"0"))).status == "ok"
    assert templates.purposes(read({**a_template(), "flags": (b"193",)})).status == "fail"


@pytest.mark.parametrize(
    ("size", "rules", "status", "told"),
    [
        (b"2048", [RSA_ONLY], "ok", "RSA keys of at least 2048"),
        (b"2048", [], "ok", "2048"),
        (b"2048", [BOTH], "warn", "P-256 and P-384"),
        (b"2048", [EC_ONLY], "fail", "no RSA"),
        (b"3072", [RSA_ONLY], "warn", "keys of 2048 bits"),
        (b"2048", [KeyRules("a", True, 2048, (), ed25519=True)], "warn", "Ed25519"),
        (b"2048", [BOTH, EC_ONLY], "fail", "no RSA"),
        (b"2048", [EC_ONLY, BOTH], "fail", "no RSA"),
        (b"2048", [BOTH, RSA_ONLY], "warn", "P-256"),
        (b"0", [BOTH], "ok", "0 bits"),
    ],
)
def test_the_keys_let_in_have_to_be_those_taken(size, rules, status: str, told: str):
    finding = templates.key(read(a_template(minimal_key_size=size)), tuple(rules))
    assert finding.status == status
    assert told in finding.text
    assert (finding.code == "0x80094811") is (status != "ok")


@pytest.mark.parametrize(
    ("size", "rules", "status", "told"),
    [
        (b"256", EC_ONLY, "ok", "ECDSA_P256"),
        (b"256", BOTH, "warn", "RSA"),
        (b"384", EC_ONLY, "warn", "P-256"),
        (b"521", EC_ONLY, "fail", "none of these"),
        (b"256", RSA_ONLY, "fail", "none of these"),
    ],
)
def test_a_template_for_elliptic_curves_takes_these_alone(size, rules, status: str, told: str):
    template = read(a_template(schema_version=b"4", minimal_key_size=size, algorithms=EC))
    finding = templates.key(template, (rules,))
    assert finding.status == status
    assert told in finding.text


def test_other_properties_beside_the_algorithm_are_passed_over():
    properties = b"msPKI-RA-Policies`PZPWSTR`1.2`msPKI-Asymmetric-Algorithm`PZPWSTR`RSA`"
    assert read(a_template(algorithms=properties)).algorithm == "RSA"
    assert read(a_template(algorithms=b"1.2.3")).algorithm == ""
    assert not read(a_template(algorithms=properties)).elliptic


def test_a_managers_approval_is_for_the_policies_to_allow():
    week = timedelta(days=7)
    waits = read(a_template(enrollment_flag=b"2"))
    assert templates.approval(read(a_template()), ()).status == "ok"
    assert templates.approval(waits, ()).status == "ok"
    told = templates.approval(waits, (PendingRule("web", True, week), PendingRule("b", True, week)))
    assert told.status == "ok"
    assert "7 days" in told.text
    refused = templates.approval(waits, (PendingRule("web", False, week),))
    assert refused.status == "fail"
    assert "web" in refused.text


def test_signatures_of_agents_cannot_be_given():
    assert templates.signatures(read(a_template())).status == "ok"
    assert templates.signatures(read(a_template(ra_signature=()))).status == "ok"
    assert templates.signatures(read(a_template(ra_signature=b"1"))).status == "fail"


@pytest.mark.parametrize(
    ("changed", "status", "told"),
    [
        ({}, "ok", "neither"),
        ({"private_key_flag": b"1"}, "fail", "archives"),
        ({"private_key_flag": b"8192"}, "fail", "attested"),
        ({"private_key_flag": b"64"}, "warn", "PSS"),
        ({"enrollment_flag": b"8"}, "warn", "object in the directory"),
    ],
)
def test_the_private_key_stays_with_the_client(changed, status: str, told: str):
    finding = templates.private_key(read(a_template(**changed)))
    assert finding.status == status
    assert told in finding.text


@pytest.mark.parametrize(
    ("period", "longest", "status", "told"),
    [
        (a_period(90), None, "ok", "90 days"),
        (a_period(90), timedelta(days=90), "ok", "90 days"),
        (a_period(730), timedelta(days=90), "fail", "90 days at most"),
        (struct.pack("<q", -36 * 3600 * 10**7), None, "ok", "36 hours"),
        (struct.pack("<q", -(2**63)), None, "warn", "does not say"),
        (struct.pack("<q", 5 * 10**7), None, "warn", "does not say"),
        (b"\0", None, "warn", "does not say"),
        ((), None, "warn", "does not say"),
    ],
)
def test_how_long_certificates_live(period, longest, status: str, told: str):
    finding = templates.validity(read(a_template(expirationperiod=period)), longest)
    assert finding.status == status
    assert told in finding.text


def test_the_right_to_enrol_is_the_service_accounts():
    granted = templates.enroll_right(read(a_template()), "svc-acme", SIDS)
    assert granted.status == "ok"
    assert SERVICE in granted.text

    missing = read(a_template(securitydescriptor=a_descriptor(an_entry(ADMINS, FULL))))
    told = templates.enroll_right(missing, "svc-acme", SIDS)
    assert (told.status, told.code) == ("fail", "0x80094012")
    assert "no entry" in told.text
    assert "Read and Enroll" in told.remedy

    denied = a_descriptor(an_entry(AUTHENTICATED, FULL, denies=True))
    told = templates.enroll_right(read(a_template(securitydescriptor=denied)), "svc-acme", SIDS)
    assert told.status == "fail"
    assert "Authenticated Users (S-1-5-11) denies" in told.text

    open_to_all = read(a_template(securitydescriptor=a_descriptor(dacl=False)))
    assert templates.enroll_right(open_to_all, "svc-acme", SIDS).status == "ok"

    hidden = read(a_template(securitydescriptor=()))
    assert templates.enroll_right(hidden, "svc-acme", SIDS).status == "skipped"


@pytest.mark.parametrize(
    ("entry", "changed", "status", "told"),
    [
        (an_entry(USERS, 0x100, ENROLL), {}, "warn", "past this server"),
        (an_entry(AUTHENTICATED, FULL), {}, "warn", "ESC4"),
        (an_entry(USERS, 0x100, ENROLL), {"enrollment_flag": b"2"}, "ok", "not for any name"),
        (an_entry(USERS, 0x100, ENROLL), {"name_flag": b"0"}, "ok", "not for any name"),
        (an_entry(USERS, 0x20094), {}, "ok", "no group of all users"),
    ],
)
def test_nobody_else_enrols_past_this_server(entry: bytes, changed, status: str, told: str):
    template = read(a_template(securitydescriptor=a_descriptor(entry), **changed))
    finding = templates.others(template)
    assert finding.status == status
    assert told in finding.text


def test_who_else_may_is_not_guessed():
    assert templates.others(read(a_template(securitydescriptor=()))).status == "skipped"


@pytest.mark.parametrize(
    "changed",
    [
        {"ra_signature": b"one"},
        {"ra_signature": b"-"},
        {"ra_signature": b"9" * 11},
        {"ra_signature": "\u0664".encode()},
        {"securitydescriptor": b"\0"},
    ],
)
def test_what_is_no_template_is_told(changed):
    with pytest.raises(Unreadable):
        read(a_template(**changed))


def test_what_the_directory_says_is_harmless_on_a_terminal():
    template = read(a_template("\x1b]0;own\x07" + "x" * 500))
    assert template.name.isprintable()
    assert len(template.name) < 230
    assert shown(b"\xff\xfe") == "\ufffd\ufffd"
    assert listed(str(n) for n in range(10)) == "0, 1, 2, 3, 4, 5, 6, 7 and 2 more"
    assert read({}).name == "?"
