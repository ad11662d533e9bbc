"""Two readers of one CSR: what they do not agree on is refused, and nothing else happens."""

from collections.abc import Iterable
from ipaddress import ip_address, ip_network

import pytest
from asn1crypto import csr as pkcs10
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields, replace

from certeasy.decide import csr, csr_readings, distinguished_names
from certeasy.decide.csr_readings import Reading
from certeasy.decide.problems import Problem, Refused
from certeasy.settings import CsrRules, SignatureRules
from tests.make import client_csrs as by
from tests.make.csrs import (
    MICROSOFT_EXTENSION_REQUEST,
    P256_SHA256,
    a_csr,
    a_raw_csr,
    asking_for,
    cn,
    oid,
    p256,
    raw_attribute,
    raw_extension,
    raw_san,
    tlv,
)

NAME = "web.corp.test"
READING = Reading(b"signed", b"signature", "1.2", b"key", (("2.5.4.3", b"x"),), ("1.3",), ())
OTHERS = {
    bytes: b"other",
    str: "other",
    tuple: (("other", True, ()),),
}


@pytest.mark.parametrize("member", [field.name for field in fields(Reading)])
def test_whatever_the_readers_see_differently_is_refused_by_its_name(member: str) -> None:
    other = replace(READING, **{member: OTHERS[type(getattr(READING, member))]})
    with pytest.raises(Refused) as refused:
        csr_readings.compare(READING, other)
    assert refused.value.problem is Problem.BAD_CSR
    named = member.replace("_", " ")
    assert refused.value.detail == f"Two readers disagree on what the CSR says: its {named}"
    csr_readings.compare(READING, replace(READING))


def readings(der: bytes) -> tuple[Reading, Reading]:
    """Return what both readers see in a request that one of them accepts."""
    request = csr.load(der)
    spki = csr.spki_of(der)
    first = csr_readings._first(
        der, request, request.tbs_certrequest_bytes, spki, tuple(request.extensions)
    )
    return first, csr_readings._second(der)


USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=True,
    key_cert_sign=False,
    crl_sign=True,
    encipher_only=True,
    decipher_only=False,
)
EVERY_NAME = x509.SubjectAlternativeName(
    [
        x509.DNSName(NAME),
        x509.IPAddress(ip_address("192.0.2.7")),
        x509.IPAddress(ip_address("2001:db8::7")),
        x509.IPAddress(ip_network("10.0.0.0/8")),
        x509.RFC822Name("root@corp.test"),
        x509.UniformResourceIdentifier("https://corp.test"),
        x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x01a"),
    ]
)


@pytest.mark.parametrize(
    "extension",
    [
        EVERY_NAME,
        USAGE,
        x509.BasicConstraints(ca=True, path_length=3),
        x509.BasicConstraints(ca=False, path_length=None),
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, x509.ObjectIdentifier("1.2.3.4")]),
        x509.TLSFeature([x509.TLSFeatureType.status_request]),
        x509.TLSFeature(list(x509.TLSFeatureType)),
        x509.NameConstraints([x509.DNSName("test")], None),
        x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2"), b"\5\0"),
    ],
)
@pytest.mark.parametrize("critical", [False, True])
def test_the_readers_agree_on_every_extension(
    extension: x509.ExtensionType, critical: bool
) -> None:
    first, second = readings(a_csr(extensions=[extension], critical=critical))
    assert first == second
    [(dotted, seen_critical, _)] = first.extensions
    assert (dotted, seen_critical) == (extension.oid.dotted_string, critical)


def test_the_readers_agree_on_an_old_windows_list_of_extensions() -> None:
    first, second = readings(
        a_raw_csr(asking_for(raw_san(NAME), dotted=MICROSOFT_EXTENSION_REQUEST))
    )
    assert first == second
    assert first.extensions == (("2.5.29.17", False, ((2, NAME.encode()),)),)


def test_the_readers_agree_on_a_request_that_says_version_3() -> None:
    csr.parse(a_raw_csr(asking_for(raw_san(NAME)), version=2))


def test_a_request_that_only_one_of_them_can_read_is_refused() -> None:
    constructed = tlv(0x30, tlv(0x31, tlv(0x30, oid("2.5.4.3"), tlv(0x24))))
    strange = a_raw_csr(asking_for(raw_san(NAME)), subject=constructed)
    with pytest.raises(Refused, match="by one of two readers only") as refused:
        csr.parse(strange)
    assert refused.value.problem is Problem.BAD_CSR
    assert refused.value.detail.isprintable()


def test_a_key_has_one_spelling() -> None:
    """A compressed point is the same key, and other bytes than the certificate will have."""
    point = p256().public_key().public_numbers()
    compressed = bytes([2 + point.y % 2]) + point.x.to_bytes(32, "big")
    algorithm = tlv(0x30, oid("1.2.840.10045.2.1"), oid("1.2.840.10045.3.1.7"))
    spki = tlv(0x30, algorithm, tlv(0x03, b"\0", compressed))
    with pytest.raises(Refused, match="disagree on what the CSR says: its key"):
        csr.parse(a_raw_csr(asking_for(raw_san(NAME)), spki=spki))


# ---------------------------------------------------------------- the law

SEEDS = [
    a_csr(NAME, subject=cn(NAME), extensions=[x509.BasicConstraints(ca=False, path_length=None)]),
    by.by_posh_acme(NAME),
    by.by_cert_manager(NAME, usages=True),
    a_raw_csr(
        raw_attribute("1.3.6.1.4.1.311.13.2.3", tlv(0x16, b"10.0.20348.2")),
        asking_for(raw_san(NAME, "mail.corp.test"), raw_extension("2.5.29.19", tlv(0x30))),
    ),
]


def signed_anew(info: bytes) -> bytes:
    """A request with this signed part, whatever it is, and a signature that verifies."""
    signature = p256().sign(info, ec.ECDSA(hashes.SHA256()))
    return tlv(0x30, info, tlv(0x30, oid(P256_SHA256)), tlv(0x03, b"\0", signature))


def names_of(der: bytes) -> set[str]:
    """The names in the SAN and common name, by way of the other library alone."""
    info = pkcs10.CertificationRequest.load(der)["certification_request_info"]
    found = set(distinguished_names.common_names(info["subject"].dump()))
    for attribute in info["attributes"]:
        for extension in _extensions(attribute):
            if extension["extn_id"].dotted == "2.5.29.17":
                found |= {name.chosen.contents.decode() for name in extension["extn_value"].parsed}
    return {name.lower() for name in found}


def _extensions(attribute: pkcs10.CRIAttribute) -> Iterable[object]:
    return attribute["values"][0] if attribute["type"].native == "extension_request" else ()


changes = st.lists(
    st.tuples(
        st.sampled_from(["change", "insert", "remove", "repeat"]),
        st.integers(0, 1 << 16),
        st.binary(min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=4,
)


@given(st.sampled_from(SEEDS), changes)
def test_no_mutation_of_a_request_passes_with_other_names(
    seed: bytes, mutations: list[tuple[str, int, bytes]]
) -> None:
    """A changed request, signed anew by its key, is refused, or is for the order's names alone."""
    info = bytearray(next(distinguished_names._parts(seed)))
    for kind, where, what in mutations:
        place = where % (len(info) + 1)
        if kind == "change":
            info[place : place + len(what)] = what
        elif kind == "insert":
            info[place:place] = what
        elif kind == "remove":
            del info[place : place + len(what)]
        else:
            info[place:place] = info[place : place + 16]
    der = signed_anew(bytes(info))
    refused = refusal_of(der)
    if refused is None:
        assert names_of(der) == {NAME}
    else:
        assert refused.problem is Problem.BAD_CSR
        assert refused.detail.isprintable()


def refusal_of(der: bytes) -> Refused | None:
    """Return why a request for the one name is refused, where anything in it would be copied."""
    try:
        request = csr.parse(der)
        csr.check(request, (NAME,), SignatureRules(), CsrRules(), copied=True)
    except Refused as refused:
        return refused
    return None


def test_what_is_mutated_is_good_to_begin_with() -> None:
    assert [refusal_of(seed) is None for seed in SEEDS] == [True, True, True, False]
