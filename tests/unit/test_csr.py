import base64
import math
from collections.abc import Callable
from ipaddress import ip_network

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st
from jwcrypto.jwk import JWK

from certeasy.decide import csr, distinguished_names, public_keys, purposes
from certeasy.decide.problems import Problem, Refused
from certeasy.settings import CsrRules, SignatureRules
from tests.make import edwards
from tests.make.csrs import (
    EXTENSION_REQUEST,
    MICROSOFT_EXTENSION_REQUEST,
    P256_SHA256,
    RSA_SHA256,
    a_csr,
    a_dh_key,
    a_raw_csr,
    asking_for,
    cn,
    oid,
    p256,
    raw_attribute,
    raw_cn,
    raw_extension,
    raw_name,
    raw_san,
    rsa_key,
    subject,
    tlv,
    with_an_unused_bit,
)

TLS_FEATURE = "1.3.6.1.5.5.7.1.24"
NAME = "web.corp.test"
OTHER = "mail.corp.test"
RULES = SignatureRules()
ED25519 = SignatureRules(allowed_algorithms=("ED25519",))
SERVER = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH


def check(
    der: bytes,
    *names: str,
    rules: SignatureRules = RULES,
    extra: tuple[str, ...] = (),
    copied: bool = False,
) -> csr.CertificateRequest:
    request = csr.parse(der)
    csr.check(request, names or (NAME,), rules, CsrRules(allowed_extra_eku=extra), copied=copied)
    return request


def refusal(do: Callable[[], object], problem: Problem = Problem.BAD_CSR) -> str:
    with pytest.raises(Refused) as refused:
        do()
    assert refused.value.problem is problem
    assert refused.value.detail.isprintable()
    return refused.value.detail


def usage(*on: str) -> x509.KeyUsage:
    words = """digital_signature content_commitment key_encipherment data_encipherment
        key_agreement key_cert_sign crl_sign encipher_only decipher_only""".split()
    return x509.KeyUsage(**{word: word in on for word in words})


SKI = x509.SubjectKeyIdentifier.from_public_key(p256().public_key())
NO_CA = x509.BasicConstraints(ca=False, path_length=None)
BOTH = x509.ExtendedKeyUsage([SERVER, CLIENT])

# ---------------------------------------------------------------- what clients send

CLIENTS = {
    "certbot": a_csr(NAME),
    "lego with a common name": a_csr(NAME, subject=cn(NAME)),
    "acme.sh": a_csr(NAME, subject=cn(NAME), key=rsa_key(), extensions=[BOTH]),
    "Posh-ACME": a_csr(
        NAME,
        subject=cn(NAME),
        extensions=[NO_CA, usage("digital_signature", "key_encipherment"), SKI],
        critical=True,
    ),
    "cert-manager": a_csr(
        NAME,
        extensions=[
            usage("digital_signature", "key_encipherment"),
            x509.ExtendedKeyUsage([SERVER]),
        ],
        critical=True,
    ),
    "a common name alone": a_csr(subject=cn(NAME)),
    "other capitals": a_csr("Web.CORP.test", subject=cn("WEB.corp.test")),
    "an appliance": a_csr(
        NAME,
        subject=subject(
            (NameOID.COUNTRY_NAME, "DE"),
            (NameOID.ORGANIZATION_NAME, "Lab"),
            (NameOID.COMMON_NAME, NAME),
        ),
        extensions=[usage("digital_signature", "content_commitment", "data_encipherment")],
    ),
    "Windows certreq": a_raw_csr(
        raw_attribute("1.3.6.1.4.1.311.13.2.3", tlv(0x16, b"10.0.20348.2")),
        asking_for(raw_san(NAME), raw_extension("1.2.840.113549.1.9.15", b"\x30\x00")),
    ),
    "an old Windows": a_raw_csr(asking_for(raw_san(NAME), dotted=MICROSOFT_EXTENSION_REQUEST)),
    "a name twice": a_csr(NAME, NAME),
    "P-384": a_csr(NAME, key=ec.generate_private_key(ec.SECP384R1()), sha=hashes.SHA384()),
}


@pytest.mark.parametrize("der", CLIENTS.values(), ids=CLIENTS.keys())
def test_what_clients_really_send_is_accepted(der):
    request = check(der)
    assert request.der == der
    assert {name.lower() for name in (*request.names, *request.common_names)} == {NAME}


@pytest.mark.parametrize("client", ["certbot", "acme.sh", "Posh-ACME", "cert-manager"])
def test_it_is_accepted_too_where_the_authority_copies_it(client):
    check(CLIENTS[client], copied=True)


def test_the_key_of_an_accepted_request_is_found_again():
    for der in (CLIENTS["certbot"], CLIENTS["acme.sh"]):
        assert csr.spki_of(der) == csr.parse(der).spki


@pytest.mark.parametrize(
    ("key", "algorithm"), [(p256(), P256_SHA256), (rsa_key(), RSA_SHA256)], ids=["EC", "RSA"]
)
def test_the_version_that_rubys_library_writes_is_overlooked(key, algorithm):
    """RFC 2986 section 4.1 knows version 0 only; acme-client signs requests that say 2."""
    der = a_raw_csr(asking_for(raw_san(NAME)), version=2, key=key, algorithm=algorithm)
    assert check(der).der == der
    assert csr.spki_of(der) == spki(key.public_key())


def test_an_ed25519_key_is_the_policys_choice():
    der = a_csr(NAME, key=ed25519.Ed25519PrivateKey.generate())
    check(der, rules=ED25519)
    assert "signed with ED25519; the policy takes RSA-SHA256, " in refusal(lambda: check(der))


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("der", "said"),
    [
        (a_csr(NAME, OTHER), "asks for 'mail.corp.test', which the order has not"),
        (a_csr(OTHER), "asks for 'mail.corp.test', which the order has not"),
        (a_csr(NAME, subject=cn(OTHER)), "common name 'mail.corp.test' is not in the order"),
        (a_csr(NAME, subject=cn("10.1.2.3")), "IP address 10.1.2.3 as common name"),
        (a_csr(NAME, subject=cn("2001:db8::7")), "IP address 2001:db8::7 as common name"),
        (
            a_raw_csr(asking_for(raw_san(NAME)), subject=raw_cn(0x0C, b"")),
            "(CN) with an empty value",
        ),
        (a_csr(NAME, subject=subject(*[(NameOID.COMMON_NAME, NAME)] * 2)), "has 2 common names"),
        (a_csr(NAME + "."), "asks for 'web.corp.test.', which the order has not"),
        (a_csr(), "does not ask for 'web.corp.test', which the order has"),
        (a_raw_csr(asking_for(raw_san("w\xe4b.test"))), "asks for 'w\\xe4b.test', which"),
        (
            a_raw_csr(asking_for(raw_san("web.corp.test\0.evil.test"))),
            "asks for 'web.corp.test\\x00.",
        ),
        (a_raw_csr(asking_for(raw_san("web.corp.test\n"))), "asks for 'web.corp.test\\n'"),
        (a_csr(*[f"n{n}.test" for n in range(9)]), "'n3.test', 'n4.test' and 4 more, which"),
    ],
)
def test_other_names_than_the_orders_are_refused_by_name(der, said):
    assert said in refusal(lambda: check(der))


@pytest.mark.parametrize("address", ["10.1.2.3", "2001:db8::7"])
@pytest.mark.parametrize("common_name", [None, NAME, "ADDRESS"])
@pytest.mark.parametrize("copied", [False, True])
def test_an_address_that_was_ordered_is_asked_for_as_one(address, common_name, copied):
    """RFC 8738 section 3: an iPAddress in the SAN; as a common name it may stand beside it."""
    common_name = common_name and common_name.replace("ADDRESS", address.upper())
    der = a_csr(NAME, address, subject=cn(common_name) if common_name else None)
    assert check(der, address, NAME, copied=copied).names == (NAME, address)


@pytest.mark.parametrize(
    ("der", "said"),
    [
        (a_csr("10.1.2.4"), "asks for '10.1.2.4', which the order has not"),
        (a_csr("::ffff:10.1.2.3"), "asks for '::ffff:"),
        (a_csr(NAME, "10.1.2.3"), "asks for 'web.corp.test', which the order has not"),
        (a_csr(subject=cn("10.1.2.4")), "the IP address 10.1.2.4 as common name"),
        (
            a_csr(extensions=[x509.SubjectAlternativeName([x509.DNSName("10.1.2.3")])]),
            "has the address 10.1.2.3 as a DNS name in its SAN",
        ),
        (
            a_csr(
                extensions=[x509.SubjectAlternativeName([x509.IPAddress(ip_network("10.0.0.0/8"))])]
            ),
            "asks for '10.0.0.0/8', which the order has not",
        ),
    ],
)
def test_another_address_or_one_as_a_name_is_refused(der, said):
    """RFC 8738 section 3: what is compared is the address, and its kind."""
    assert said in refusal(lambda: check(der, "10.1.2.3"))


def test_an_address_that_was_not_ordered_is_refused():
    assert "asks for '10.0.0.1', which" in refusal(lambda: check(a_csr(NAME, "10.0.0.1")))


def test_every_name_of_the_order_must_be_asked_for():
    der = a_csr(NAME)
    assert "does not ask for 'mail.corp.test', which" in refusal(lambda: check(der, NAME, OTHER))


KELVIN = "\u212a.corp.test"  # whose lower case in Unicode is k.corp.test


@pytest.mark.parametrize("copied", [False, True])
def test_only_ascii_has_capitals(copied):
    for attributes in ((), (asking_for(raw_san("k.corp.test")),)):
        der = a_raw_csr(*attributes, subject=raw_cn(0x0C, KELVIN.encode()))
        detail = refusal(lambda der=der: check(der, "k.corp.test", copied=copied))
        assert detail == "The CSR's common name '\\u212a.corp.test' is not in the order"
    der = a_raw_csr(asking_for(raw_san(KELVIN)))
    detail = refusal(lambda: check(der, "k.corp.test", copied=copied))
    assert detail == "The CSR asks for '\\u212a.corp.test', which the order has not"


def test_a_common_name_counts_as_one_of_the_names():
    der = a_csr(OTHER, subject=cn(NAME))
    check(der, NAME, OTHER)
    said = refusal(lambda: check(der, NAME, OTHER, copied=True))
    assert "'web.corp.test' in its subject alternative name (SAN)" in said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (x509.RFC822Name("root@corp.test"), "RFC822Name 'root@corp.test'"),
        (x509.UniformResourceIdentifier("http://corp.test"), "UniformResourceIdentifier 'http:"),
        (x509.DirectoryName(cn("x")), "DirectoryName '<Name(CN=x)>'"),
        (x509.RegisteredID(x509.ObjectIdentifier("1.2.3")), "RegisteredID"),
        (
            x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x01a"),
            "user principal name (1.3.6.1.4.1.311.20.2.3)",
        ),
        (x509.OtherName(x509.ObjectIdentifier("1.2.3.4"), b"\x0c\x01a"), "other name (1.2.3.4)"),
    ],
)
def test_only_names_and_addresses_may_stand_in_the_san(name, said):
    der = a_csr(extensions=[x509.SubjectAlternativeName([x509.DNSName(NAME), name])])
    refused = refusal(lambda: check(der))
    assert said in refused
    assert refused.endswith("in its SAN; only DNS names and IP addresses are taken")


labels = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=12)
dns_names = st.lists(labels, min_size=2, max_size=4).map(".".join)


@given(st.lists(dns_names, min_size=1, max_size=4), st.lists(dns_names, min_size=1, max_size=4))
def test_a_request_is_accepted_exactly_if_the_two_sets_of_names_are_equal(asked, ordered):
    def accepted(names: list[str]) -> bool:
        try:
            check(a_csr(*asked), *names)
        except Refused:
            return False
        return True

    assert accepted(asked)
    assert accepted(ordered) == (set(asked) == set(ordered))


# ---------------------------------------------------------------- extensions


def eku(*dotted: str) -> x509.ExtendedKeyUsage:
    return x509.ExtendedKeyUsage([x509.ObjectIdentifier(one) for one in dotted])


def unknown(dotted: str) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(dotted), b"\x05\x00")


@pytest.mark.parametrize(
    ("extension", "said"),
    [
        (x509.BasicConstraints(ca=True, path_length=None), "asks to be a CA (basic constraints"),
        (
            usage("digital_signature", "key_cert_sign"),
            "a CA's key usage (2.5.29.15 with keyCertSign",
        ),
        (usage("crl_sign"), "a CA's key usage"),
        (eku(SERVER.dotted_string, "2.5.29.37.0"), "2.5.29.37.0 (any purpose)"),
        (eku(SERVER.dotted_string, "1.3.6.1.4.1.311.20.2.1"), "20.2.1 (certificate request agent)"),
        (eku(SERVER.dotted_string, "1.2.3.4"), "key usage 1.2.3.4, which the policy does not"),
        (eku(CLIENT.dotted_string), "(2.5.29.37) without serverAuth (1.3.6.1.5.5.7.3.1)"),
        (x509.TLSFeature([x509.TLSFeatureType.status_request]), "1.3.6.1.5.5.7.1.24, must-staple"),
        (x509.TLSFeature([x509.TLSFeatureType.status_request_v2]), "1.3.6.1.5.5.7.1.24, must-"),
        (unknown("1.3.6.1.4.1.311.25.2"), "1.3.6.1.4.1.311.25.2 (security identifier)"),
        (unknown("1.3.6.1.4.1.311.20.2"), "1.3.6.1.4.1.311.20.2 (certificate template name)"),
        (
            x509.MSCertificateTemplate(x509.ObjectIdentifier("1.2.3"), 1, 0),
            "(certificate template)",
        ),
        (unknown("1.3.6.1.4.1.311.21.10"), "1.3.6.1.4.1.311.21.10 (application policies)"),
        (x509.NameConstraints([x509.DNSName("test")], None), "2.5.29.30 (name constraints)"),
        (unknown("1.2.3.4.5"), "has the extension 1.2.3.4.5, which is not taken"),
    ],
)
def test_dangerous_extensions_are_refused_by_their_oid(extension, said):
    assert said in refusal(lambda: check(a_csr(NAME, extensions=[extension])))


def test_of_the_tls_features_only_must_staple_is_ever_taken():
    features = list(x509.TLSFeatureType)
    der = a_csr(NAME, extensions=[x509.TLSFeature(features)])
    request = csr.parse(der)
    rules = CsrRules(must_staple=True)
    said = refusal(lambda: csr.check(request, (NAME,), RULES, rules, copied=False))
    assert "TLS features (1.3.6.1.5.5.7.1.24) other than status_request" in said


@pytest.mark.parametrize("on", ["content_commitment", "data_encipherment"])
def test_usages_that_no_server_needs_are_refused_where_they_would_be_copied(on):
    der = a_csr(NAME, extensions=[usage("digital_signature", on)])
    check(der)
    assert "nonRepudiation or dataEncipherment" in refusal(lambda: check(der, copied=True))


@pytest.mark.parametrize("extra", [("codeSigning",), ("1.3.6.1.5.5.7.3.3",)])
def test_a_policy_may_allow_more_purposes_by_name_or_by_oid(extra):
    der = a_csr(NAME, extensions=[eku(SERVER.dotted_string, "1.3.6.1.5.5.7.3.3")])
    check(der, extra=extra)
    assert "1.3.6.1.5.5.7.3.3 (codeSigning)" in refusal(lambda: check(der))


@pytest.mark.parametrize("oid", sorted(purposes.NEVER))
def test_no_policy_allows_purposes_that_let_their_holder_be_somebody_else(oid):
    der = a_csr(NAME, extensions=[eku(SERVER.dotted_string, oid)])
    assert oid in refusal(lambda: check(der, extra=(oid, purposes.NAMES[oid])))


def test_a_subject_of_more_than_a_common_name_is_refused_where_it_would_be_copied():
    der = a_csr(
        NAME, subject=subject((NameOID.COMMON_NAME, NAME), (NameOID.ORGANIZATION_NAME, "Lab\t"))
    )
    check(der)
    assert "subject has O='Lab\\t', and the CA would copy it" in refusal(
        lambda: check(der, copied=True)
    )


# ---------------------------------------------------------------- keys


def spki(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def rsa_spki(n: int, e: int = 65537) -> bytes:
    def integer(value: int) -> bytes:
        return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))

    key = tlv(0x03, b"\0", tlv(0x30, integer(n), integer(e)))
    return tlv(0x30, tlv(0x30, oid("1.2.840.113549.1.1.1"), b"\x05\x00"), key)


def is_prime(n: int) -> bool:
    return n % 2 == 1 and pow(2, n - 1, n) == 1 and pow(3, n - 1, n) == 1


def next_prime(n: int, step: int = 2) -> int:
    while not is_prime(n):
        n += step
    return n


def flawed_prime(seed: int) -> int:
    """A prime of the flawed kind: a power of 65537 modulo the product of the first primes."""
    product = math.prod(n for n in range(2, 168) if all(n % d for d in range(2, n)))
    return next_prime(((1 << 383) // product + seed) * product + pow(65537, seed, product), product)


CLOSE = next_prime((1 << 512) + 12345)


@pytest.mark.parametrize(
    ("public", "said"),
    [
        (rsa_spki(rsa_key().public_key().public_numbers().n, 3), "an unusual public exponent"),
        (rsa_spki((1 << 2048) + 981, (1 << 256) + 1), "an unusual public exponent"),
        (rsa_spki((1 << 8192) + 1), "has 8193 bits; at most 8192 are taken"),
        (rsa_spki((1 << 2047) + 2), "a modulus with a small factor"),
        (rsa_spki(751 * next_prime((1 << 700) + 1)), "a modulus with a small factor"),
        (rsa_spki(flawed_prime(7) * flawed_prime(1007)), "a known flaw (ROCA, CVE-2017-15361)"),
        (rsa_spki(CLOSE * next_prime(CLOSE + 2)), "two factors are too close to each other"),
        (spki(ec.generate_private_key(ec.SECP256K1()).public_key()), "on the curve secp256k1;"),
    ],
    ids=[
        "small e",
        "large e",
        "too large",
        "even",
        "small factor",
        "ROCA",
        "close primes",
        "curve",
    ],
)
def test_a_key_that_nobody_should_rely_on_is_refused(public, said):
    der = a_raw_csr(asking_for(raw_san(NAME)), spki=public)
    assert said in refusal(lambda: csr.parse(der))


def ed25519_spki(point: bytes) -> bytes:
    """A SubjectPublicKeyInfo of an Ed25519 key, whatever its bytes."""
    return tlv(0x30, tlv(0x30, oid("1.3.101.112")), tlv(3, b"\0", point))


@pytest.mark.parametrize("point", sorted(edwards.small_order_points()))
def test_an_ed25519_key_under_which_anybody_can_sign_is_refused(point):
    for spelled in edwards.encodings(point):
        der = a_raw_csr(asking_for(raw_san(NAME)), spki=ed25519_spki(spelled))
        assert "The CSR's key is a point of small order" in refusal(lambda der=der: csr.parse(der))


def test_an_ed25519_key_has_one_spelling():
    key = (edwards.PRIME + 3).to_bytes(32, "little")
    der = a_raw_csr(asking_for(raw_san(NAME)), spki=ed25519_spki(key))
    assert "The CSR's key is not in its one spelling" in refusal(lambda: csr.parse(der))


@pytest.mark.parametrize("number", range(3))
def test_sound_rsa_keys_pass(number):
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024 + 8 * number)
    public_keys.check_sound(key.public_key())


def test_how_large_an_rsa_key_must_be_is_the_policys_choice():
    der = a_csr(NAME, key=rsa_key(2048))
    check(der)
    larger = SignatureRules(min_rsa_bits=3072)
    assert "RSA key has 2048 bits; 3072 are the least" in refusal(lambda: check(der, rules=larger))


def test_which_curves_are_welcome_is_the_policys_choice():
    der = a_csr(NAME, key=ec.generate_private_key(ec.SECP521R1()), sha=hashes.SHA512())
    check(der, rules=SignatureRules(allowed_ec_curves=("P-521",)))
    assert "key is on P-521; the policy takes P-256, P-384" in refusal(lambda: check(der))


@pytest.mark.parametrize("kind", ["P-256", "P-384", "P-521", "RSA", "Ed25519"])
def test_the_accounts_own_key_is_refused(kind):
    key = {
        "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
        "RSA": rsa_key,
        "Ed25519": ed25519.Ed25519PrivateKey.generate,
    }[kind]()
    request = csr.parse(a_csr(NAME, key=key))
    account = JWK.from_pyca(key.public_key()).thumbprint()
    assert "has the account's key" in refusal(lambda: csr.check_not_account_key(request, account))
    csr.check_not_account_key(request, JWK.from_pyca(p256(1).public_key()).thumbprint())


# ---------------------------------------------------------------- bytes

POINT = spki(p256().public_key())


def on_curve(curve: bytes) -> bytes:
    """An elliptic curve's key, of whatever curve."""
    return tlv(0x30, tlv(0x30, oid("1.2.840.10045.2.1"), curve), b"\3\2\0\4")


@pytest.mark.parametrize(
    ("der", "said"),
    [
        (b"", "is not one PKCS#10 request in DER"),
        (b"rubbish", "is not one PKCS#10 request in DER"),
        (CLIENTS["certbot"] + b"\0", "ExtraData"),
        (b"\0" * 70_000, "has 70000 bytes; at most 65536 are taken"),
        (a_raw_csr(asking_for(raw_san(NAME)), version=1), "its version is unknown"),
        (a_raw_csr(version=2, algorithm=RSA_SHA256), "does not verify under its own key"),
        (a_raw_csr(version=2, spki=spki(p256(1).public_key())), "does not verify under its own"),
        (a_raw_csr(algorithm="1.2.840.10045.4.1"), "signed with ECDSA with SHA-1, which is not"),
        (a_raw_csr(algorithm="1.2.840.113549.1.1.4"), "signed with RSA with MD5"),
        (a_raw_csr(algorithm="1.2.840.113549.1.1.10"), "signed with RSASSA-PSS"),
        (a_raw_csr(algorithm="1.2.3.4"), "signed with 1.2.3.4, which is not taken"),
        (a_raw_csr(algorithm="1.2.840.113549.1.1.11"), "does not verify under its own key"),
        (a_raw_csr(asking_for(raw_san(NAME)), spki=spki(p256(1).public_key())), "does not verify"),
        (a_raw_csr(spki=POINT[:-1] + bytes([POINT[-1] ^ 1])), "public key is not valid"),
        (a_raw_csr(spki=on_curve(oid("1.2.3"))), "public key is not valid"),
        (a_raw_csr(spki=tlv(0x30, tlv(0x30, oid("1.2.3")), b"\3\2\0\1")), "key is of a kind"),
        (a_raw_csr(spki=a_dh_key()), "key is of a kind"),
        (with_an_unused_bit(lambda: a_csr(NAME)), "does not verify under its own key"),
        (
            a_raw_csr(
                spki=ed448.Ed448PrivateKey.generate()
                .public_key()
                .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            ),
            "key is of a kind that is not taken",
        ),
        (a_raw_csr(asking_for(raw_san(NAME), raw_san(NAME))), "the extension 2.5.29.17 twice"),
        (
            a_raw_csr(asking_for(raw_san(NAME)), asking_for(raw_san(NAME))),
            "two lists of extensions",
        ),
        (
            a_raw_csr(
                asking_for(raw_san(NAME)),
                asking_for(raw_san(NAME), dotted=MICROSOFT_EXTENSION_REQUEST),
            ),
            "two lists of extensions",
        ),
        (
            a_raw_csr(raw_attribute(EXTENSION_REQUEST, tlv(0x30), tlv(0x30, raw_san(NAME)))),
            "attributes cannot be read",
        ),
        (
            a_raw_csr(raw_attribute(EXTENSION_REQUEST, tlv(0x30, b"\2\1\1"))),
            "extensions cannot be read",
        ),
        (a_raw_csr(asking_for(raw_extension("2.5.29.17", b"\x30\x02\x82"))), "cannot be read"),
        (a_raw_csr(asking_for(raw_extension("2.5.29.17", tlv(0x30, tlv(0xA3))))), "cannot be read"),
        (
            a_raw_csr(asking_for(raw_extension(TLS_FEATURE, tlv(0x30)))),
            "extensions cannot be read: features must be a list",
        ),
        (
            a_raw_csr(asking_for(raw_extension(TLS_FEATURE, tlv(0x30, tlv(2, b"\x63"))))),
            "extensions cannot be read: a value without a name, 99",
        ),
        (a_csr(NAME, attributes=[("1.2.840.113549.1.9.7", b"secret")]), "has a challenge password"),
        (
            a_csr(NAME, attributes=[("1.3.6.1.4.1.311.13.2.1", b"x")]),
            "attribute 1.3.6.1.4.1.311.13.2.1",
        ),
    ],
)
def test_what_is_not_strictly_one_signed_request_is_refused(der, said):
    assert said in refusal(lambda: csr.parse(der))


@given(st.integers(0, len(CLIENTS["an appliance"]) - 1), st.integers(1, 255))
def test_one_changed_byte_anywhere_is_refused_and_nothing_else_happens(at, change):
    der = bytearray(CLIENTS["an appliance"])
    der[at] ^= change
    refusal(lambda: csr.parse(bytes(der)))


@given(st.binary(max_size=200))
def test_rubbish_is_refused_and_nothing_else_happens(data):
    refusal(lambda: csr.parse(data))


texts = st.text(st.characters(min_codepoint=1, max_codepoint=0x2FFF), min_size=1, max_size=16)
attribute_types = st.sampled_from(
    [NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, x509.ObjectIdentifier("2.999.1.16384")]
)


@given(st.lists(st.tuples(attribute_types, texts), max_size=4))
def test_a_subject_is_read_as_it_was_written(attributes):
    name = subject(*attributes)
    der = a_csr(NAME, subject=name)
    assert distinguished_names.request_subject(der) == name.public_bytes()
    expected = tuple((oid.dotted_string, text) for oid, text in attributes)
    assert csr.parse(der).subject == expected


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (tlv(0x0C, "w\xe4b".encode()), "w\xe4b"),
        (tlv(0x0C, b"\xff"), "\ufffd"),
        (tlv(0x13, b"web"), "web"),
        (tlv(0x14, b"w\xe4b"), "w\xe4b"),
        (tlv(0x1E, "web".encode("utf-16-be")), "web"),
        (tlv(0x1C, "web".encode("utf-32-be")), "web"),
        (tlv(0x0C, b"w" * 300), "w" * 300),
        (b"\x1f\x81\x01\x03web", "web"),
    ],
)
def test_a_common_name_of_any_string_type_is_read(value, text):
    der = a_raw_csr(asking_for(raw_san(NAME)), subject=raw_name(value))
    assert distinguished_names.common_names(distinguished_names.request_subject(der)) == (text,)
    if value[0] != 0x1F:  # which only one of the two readers takes for a string
        assert csr.parse(der).common_names == (text,)


# ---------------------------------------------------------------- base64url


@given(st.binary(min_size=1, max_size=100))
def test_base64url_reads_back(data):
    assert csr.from_base64url(base64.urlsafe_b64encode(data).rstrip(b"=").decode()) == data


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("-----BEGIN CERTIFICATE REQUEST-----", "is PEM"),
        ("TWFu TQ==", "is padded with '='"),
        ("TWF+", "standard base64 alphabet"),
        ("TW/u", "standard base64 alphabet"),
        ("TWFu\nTWFu", "line breaks"),
        ("TWFu\n", "line breaks"),
        ("", "is empty"),
        ("TWFuT", "is cut off"),
        ("TR", "not canonical"),
        ("w\xe4b", "other characters"),
    ],
)
def test_what_is_not_base64url_is_malformed_with_a_hint(text, hint):
    assert hint in refusal(lambda: csr.from_base64url(text), Problem.MALFORMED)
