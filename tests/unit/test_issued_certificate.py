from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from certeasy.decide import chains, csr, distinguished_names, renewal
from certeasy.decide.certificates import (
    IssuedFacts,
    Mismatch,
    chain_pem,
    check_issued,
    key_and_serial,
    names_of,
)
from certeasy.settings import CsrRules
from tests.make.csrs import (
    a_csr,
    a_dh_key,
    cn,
    oid,
    p256,
    raw_extension,
    raw_san,
    rsa_key,
    san,
    tlv,
    with_an_unused_bit,
)

NAME = "web.corp.test"
TLS_FEATURE = "1.3.6.1.5.5.7.1.24"
NOW = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
REQUEST = a_csr(NAME)
SERVER = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
NO_CA = x509.BasicConstraints(ca=False, path_length=None)


class Ca:
    """A certificate authority of a test: a name, a key, and a certificate by itself or another."""

    def __init__(self, name="Root", key=None, above=None, *, extensions=None, **how):
        self.key = key or p256(100)
        self.name = cn(name)
        self.key_id = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
        if extensions is None:
            extensions = [x509.BasicConstraints(ca=True, path_length=None), self.key_id]
        validity = {"begins": -DAY, "ends": 3650 * DAY} | how
        self.der = (above or self).sign(self.name, self.key, *extensions, **validity)

    def sign(self, subject, key, *extensions, begins=-HOUR, ends=90 * DAY, serial=77):
        builder = x509.CertificateBuilder(self.name, subject, key.public_key(), serial)
        builder = builder.not_valid_before(NOW + begins).not_valid_after(NOW + ends)
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.DER)

    def leaf(self, *more, names=(NAME,), purposes=(SERVER,), key=None, subject=None, **how):
        own = [x509.ExtendedKeyUsage(purposes)] if purposes else []
        own += [san(*names)] if names else []
        own += [x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(self.key_id)]
        return self.sign(subject or x509.Name([]), key or p256(), *own, *more, **how)


ROOT = Ca()
ISSUING = Ca("Issuing", p256(101), ROOT)
ISSUERS = (ISSUING.der, ROOT.der)


def check(
    leaf, *, issuers=ISSUERS, names=(NAME,), request=REQUEST, extra=(), max_validity=None, now=NOW
) -> IssuedFacts:
    return check_issued(
        leaf,
        issuers=issuers,
        names=names,
        request=request,
        rules=CsrRules(allowed_extra_eku=extra),
        max_validity=max_validity,
        now=now,
    )


def mismatch(leaf, **how) -> str:
    with pytest.raises(Mismatch) as raised:
        check(leaf, **how)
    return str(raised.value)


# ---------------------------------------------------------------- what was ordered


def test_a_certificate_as_ordered_is_accepted_and_its_facts_are_told():
    leaf = ISSUING.leaf(NO_CA, names=("WEB.corp.test", NAME), subject=cn("Web.corp.test"))
    facts = check(leaf)
    certificate = x509.load_der_x509_certificate(leaf)
    assert facts.serial == "4d"
    assert facts.aki == ISSUING.key_id.digest.hex()
    assert facts.sha256 == certificate.fingerprint(hashes.SHA256()).hex()
    assert len(facts.spki_sha256) == 64
    assert facts.names == (NAME, NAME)
    assert (facts.not_before, facts.not_after) == (NOW - HOUR, NOW + 90 * DAY)
    assert facts.chain == ISSUERS


def test_a_wildcard_is_no_name_below_it():
    wildcard = ISSUING.leaf(names=["*.Corp.test", "corp.test"], subject=cn("*.corp.test"))
    assert check(wildcard, names=["corp.test", "*.corp.test"]).names == ("*.corp.test", "corp.test")
    assert "is for '*.corp.test', 'corp.test'" in mismatch(wildcard, names=["corp.test", NAME])
    assert mismatch(ISSUING.leaf(names=[NAME]), names=["*.corp.test"]).startswith(
        f"is for '{NAME}'"
    )


@pytest.mark.parametrize("ip", ["10.1.2.3", "2001:db8::7"])
def test_an_address_stands_in_the_san_as_one(ip):
    """RFC 8738 section 3."""
    assert check(ISSUING.leaf(names=[NAME, ip]), names=[ip, NAME]).names == (NAME, ip)
    assert check(ISSUING.leaf(names=[ip], subject=cn(ip)), names=[ip]).names == (ip,)
    as_a_name = x509.SubjectAlternativeName([x509.DNSName(ip)])
    assert mismatch(ISSUING.leaf(as_a_name, names=()), names=[ip]) == (
        "has an address as a DNS name in its SAN"
    )
    assert mismatch(ISSUING.leaf(names=["::ffff:10.1.2.3"]), names=[ip]).startswith(
        "is for '::ffff:"
    )


def test_only_ascii_has_capitals():
    leaf = ISSUING.leaf(names=["k.corp.test"], subject=cn("\u212a.corp.test"))
    told = mismatch(leaf, names=["k.corp.test"])
    assert told == "has the common name '\\u212a.corp.test', which was not ordered"
    san = x509.UnrecognizedExtension(
        x509.ObjectIdentifier("2.5.29.17"), tlv(0x30, tlv(0x82, "\u212a.corp.test".encode()))
    )
    told = mismatch(ISSUING.leaf(san, names=()), names=["k.corp.test"])
    assert told == "is for '\\u212a.corp.test'; ordered was 'k.corp.test'"


def test_serial_numbers_keep_whole_octets():
    assert check(ISSUING.leaf(serial=0x0ABC)).serial == "0abc"
    longest = (1 << 159) - 1
    assert check(ISSUING.leaf(serial=longest)).serial == f"{longest:040x}"


def test_more_purposes_pass_if_the_policy_allows_them():
    leaf = ISSUING.leaf(purposes=[SERVER, CLIENT])
    check(leaf, extra=("clientAuth",))
    assert "1.3.6.1.5.5.7.3.2 (clientAuth), which the policy does not allow" in mismatch(leaf)


LEAF = ISSUING.leaf()


# cryptography warns of a serial number that has become negative; what is read is refused by us.
@pytest.mark.filterwarnings("ignore:Parsed a serial number which wasn't positive")
@given(st.integers(0, len(LEAF) - 1), st.integers(1, 255))
def test_one_changed_byte_anywhere_is_a_mismatch(at, change):
    leaf = bytearray(LEAF)
    leaf[at] ^= change
    mismatch(bytes(leaf))


# ---------------------------------------------------------------- what was not


def usage(**on):
    words = """digital_signature content_commitment key_encipherment data_encipherment
        key_agreement key_cert_sign crl_sign encipher_only decipher_only""".split()
    return x509.KeyUsage(**{word: on.get(word, False) for word in words})


def unknown(dotted):
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(dotted), b"\x05\x00")


@pytest.mark.parametrize(
    ("leaf", "said"),
    [
        (b"rubbish", "cannot be read"),
        (LEAF + b"\0", "cannot be read"),
        (ISSUING.leaf(serial=1 << 160), "a serial number longer than 20 octets"),
        (ISSUING.leaf(key=p256(1)), "has another key than the request"),
        (ISSUING.leaf(key=rsa_key()), "has another key than the request"),
        (ISSUING.leaf(names=()), "has no subject alternative name"),
        (ISSUING.leaf(names=("x.test",)), "is for 'x.test'; ordered was 'web.corp.test'"),
        (ISSUING.leaf(names=(NAME, "x.test")), "is for 'web.corp.test', 'x.test'; ordered"),
        (ISSUING.leaf(subject=cn("svc-acme")), "has the common name 'svc-acme', which was not"),
        (
            ISSUING.leaf(x509.SubjectAlternativeName([x509.RFC822Name("a@corp.test")]), names=()),
            "has a RFC822Name in its SAN",
        ),
        (ISSUING.leaf(purposes=()), "has no extended key usage, so it is good for every purpose"),
        (ISSUING.leaf(purposes=[CLIENT]), "clientAuth), which the policy does not allow"),
        (
            ISSUING.leaf(purposes=[SERVER, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]),
            "2.5.29.37.0 (any purpose)",
        ),
        (ISSUING.leaf(x509.BasicConstraints(ca=True, path_length=0)), "is a CA's certificate"),
        (ISSUING.leaf(usage(key_cert_sign=True)), "is a CA's certificate"),
        (ISSUING.leaf(usage(crl_sign=True)), "is a CA's certificate"),
        (ISSUING.leaf(unknown("1.3.6.1.4.1.311.25.2")), "has a security identifier (extension"),
        (ISSUING.leaf(unknown("1.3.6.1.4.1.311.21.10")), "has application policies (extension"),
        (ISSUING.leaf(begins=timedelta(minutes=6)), "is valid from 2026-11-02T09:06:00+00:00 to"),
        (ISSUING.leaf(begins=-2 * DAY, ends=timedelta(0)), "not today"),
        (ISSUING.leaf(ends=4000 * DAY), "is valid for longer than its issuer"),
        (Ca("Issuing", p256(102)).leaf(), "was signed by nobody whom the authority is known"),
        (Ca("Stranger", p256(101)).leaf(), "was signed by nobody whom the authority is known"),
    ],
)
def test_what_was_not_ordered_is_a_mismatch(leaf, said):
    assert said in mismatch(leaf)


def test_harmless_extensions_and_a_clock_a_little_ahead_pass():
    template = x509.MSCertificateTemplate(x509.ObjectIdentifier("1.2.3"), 1, 0)
    check(ISSUING.leaf(template, usage(digital_signature=True)))
    check(ISSUING.leaf(begins=timedelta(minutes=4)))


def test_clientauth_alone_is_no_servers_certificate_even_where_it_is_allowed():
    leaf = ISSUING.leaf(purposes=[CLIENT])
    assert mismatch(leaf, extra=("clientAuth",)) == "lacks the extended key usage serverAuth"


def test_a_critical_extension_that_clients_do_not_know_is_a_mismatch():
    leaf = x509.load_der_x509_certificate(LEAF)
    builder = x509.CertificateBuilder(
        ISSUING.name, x509.Name([]), leaf.public_key(), 7, NOW, NOW + DAY
    )
    builder = builder.add_extension(unknown("1.2.3.4"), critical=True)
    der = builder.sign(ISSUING.key, hashes.SHA256()).public_bytes(Encoding.DER)
    assert mismatch(der) == "has the critical extension 1.2.3.4, which clients do not know"


def test_a_certificate_for_fewer_names_than_ordered_is_a_mismatch():
    assert "ordered was 'mail.test', 'web.corp.test'" in mismatch(LEAF, names=(NAME, "mail.test"))


def test_the_policys_longest_validity_holds_and_backdating_is_not_held_against_it():
    leaf = ISSUING.leaf(begins=-HOUR, ends=30 * DAY)
    check(leaf, max_validity=30 * DAY)
    said = mismatch(leaf, max_validity=29 * DAY)
    assert said == "is valid for 30 days, 1:00:00; the policy allows 29 days, 0:00:00"


# ---------------------------------------------------------------- bytes that no library makes


def parts(element):
    """The elements inside an element."""
    return list(distinguished_names._parts(element))


def raw(*, version=2, serial=b"\x4d", spki=None, extensions=()):
    """A leaf in DER whose parts are given; what is not is as in LEAF."""
    _, _, algorithm, issuer, validity, subject, key, own = parts(parts(LEAF)[0])
    listed = tlv(0xA3, tlv(0x30, *extensions)) if extensions else own
    tbs = tlv(
        0x30,
        tlv(0xA0, tlv(2, bytes([version]))) if version else b"",
        tlv(2, serial),
        *(algorithm, issuer, validity, subject, spki or key),
        listed if version == 2 else b"",
    )
    signature = ISSUING.key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    return tlv(0x30, tbs, algorithm, tlv(3, b"\0", signature))


def test_the_certificates_made_by_hand_are_well_made():
    check(raw())


@pytest.mark.parametrize(
    ("leaf", "said"),
    [
        (raw(version=0), "is not of version 3"),
        (raw(spki=tlv(0x30, tlv(0x30, oid("1.2.3")), b"\3\2\0\1")), "has a key of a kind"),
        (raw(spki=a_dh_key()), "has a key of a kind"),
        (
            raw(spki=tlv(0x30, tlv(0x30, oid("1.2.840.10045.2.1"), oid("1.2.3")), b"\3\2\0\4")),
            "has a key that cannot be read",
        ),
        (with_an_unused_bit(ISSUING.leaf), "has a signature that is not whole octets"),
        (raw(extensions=[raw_san(NAME), raw_san(NAME)]), "has the extension 2.5.29.17 twice"),
        (raw(extensions=[raw_extension("2.5.29.17", b"\x30\x02\x82")]), "cannot be read"),
        (raw(extensions=[raw_extension("2.5.29.17", tlv(0x30, tlv(0xA3)))]), "cannot be read"),
        (raw(extensions=[raw_extension(TLS_FEATURE, tlv(0x30))]), "cannot be read"),
        (raw(extensions=[raw_extension(TLS_FEATURE, tlv(0x30, tlv(2, b"c")))]), "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_a_mismatch(leaf, said):
    assert said in mismatch(leaf)


@pytest.mark.parametrize("value", [tlv(0x30), tlv(0x30, tlv(2, b"c"))])
def test_a_certificate_whose_extensions_cannot_be_read_signs_nothing_and_names_no_issuer(value):
    """What reads it says so, and raises nothing: the library has more ways than it tells."""
    der = raw(extensions=[raw_extension(TLS_FEATURE, value)])
    assert chains.read_issuer(der) is None
    assert renewal.key_id(der) is None


@pytest.mark.parametrize("serial", [b"\x91", b"\x00", b"\x80" + bytes(200)])
def test_a_serial_number_that_is_not_positive_is_a_mismatch(serial):
    assert "a serial number that is not positive" in mismatch(raw(serial=serial))


def test_sha1_proves_nothing():
    key = rsa_key()
    ca = Ca("Old", key)
    sha256, sha1 = (tlv(0x30, oid(f"1.2.840.113549.1.1.{last}"), b"\5\0") for last in (11, 5))
    tbs = x509.load_der_x509_certificate(ca.leaf()).tbs_certificate_bytes

    def leaf(algorithm, sha):
        signed = tbs.replace(sha256, algorithm)
        signature = key.sign(signed, padding.PKCS1v15(), sha)
        return tlv(0x30, signed, algorithm, tlv(3, b"\0", signature))

    check(leaf(sha256, hashes.SHA256()), issuers=[ca.der])
    forgeable = leaf(sha1, hashes.SHA1())  # noqa: S303 - what is to be refused
    assert "was signed by nobody" in mismatch(forgeable, issuers=[ca.der])


# ---------------------------------------------------------------- chains


@given(st.permutations([*ISSUERS, Ca("Root", p256(104)).der, Ca("Issuing", p256(105), ROOT).der]))
def test_the_chain_is_found_in_whatever_order_the_issuers_are_told(issuers):
    assert check(LEAF, issuers=issuers).chain == ISSUERS


def test_a_chain_ends_where_nobody_is_known():
    assert check(LEAF, issuers=[ISSUING.der]).chain == (ISSUING.der,)
    assert check(ROOT.leaf(), issuers=[ROOT.der]).chain == (ROOT.der,)
    stranger = Ca("Root", p256(104))
    assert check(LEAF, issuers=[ISSUING.der, stranger.der]).chain == (ISSUING.der,)


def test_a_ring_of_cross_certificates_ends_somewhere():
    one, other = Ca("One", p256(106)), Ca("Other", p256(107))
    ring = [Ca("One", p256(106), other).der, Ca("Other", p256(107), one).der]
    assert len(check(one.leaf(), issuers=ring).chain) == 1 + chains.MAX_LENGTH


def test_of_a_renewed_ca_the_certificate_that_lives_longest_counts():
    older = Ca("Issuing", p256(101), ROOT, ends=100 * DAY)
    expired = Ca("Issuing", p256(101), ROOT, begins=-2 * DAY, ends=-DAY)
    for issuers in ([older.der, ISSUING.der], [ISSUING.der, older.der], [expired.der, ISSUING.der]):
        assert check(LEAF, issuers=issuers).chain == (ISSUING.der,)
    assert check(LEAF, issuers=[older.der, expired.der]).chain == (older.der,)


def test_an_expired_ca_signs_nothing_today():
    expired = Ca("Issuing", p256(101), ROOT, begins=-2 * DAY, ends=-DAY)
    assert "whose own certificate is not valid today" in mismatch(LEAF, issuers=[expired.der])


@pytest.mark.parametrize(
    "extensions",
    [
        [],
        [NO_CA],
        [x509.BasicConstraints(ca=True, path_length=None), usage(digital_signature=True)],
    ],
    ids=["no constraints", "no CA", "no CA by its usage"],
)
def test_nobody_but_a_ca_signs_certificates(extensions):
    someone = Ca("Issuing", p256(101), ROOT, extensions=extensions)
    assert "was signed by nobody" in mismatch(LEAF, issuers=[someone.der])


def test_an_issuer_that_cannot_be_read_is_nobody():
    assert "was signed by nobody" in mismatch(LEAF, issuers=[b"rubbish"])


def test_a_path_length_holds():
    short = x509.BasicConstraints(ca=True, path_length=0)
    root = Ca("Root", extensions=[short])
    assert "path length" in mismatch(LEAF, issuers=[ISSUING.der, root.der])
    check(root.leaf(), issuers=[root.der])


def test_key_identifiers_are_no_must():
    bare = Ca("Issuing", p256(101), extensions=[x509.BasicConstraints(ca=True, path_length=None)])
    assert check(LEAF, issuers=[bare.der]).chain == (bare.der,)
    leaf = x509.load_der_x509_certificate(LEAF)
    own = [one.value for one in leaf.extensions][:2]
    facts = check(ISSUING.sign(x509.Name([]), p256(), *own))
    assert (facts.aki, facts.chain) == ("", ISSUERS)


# ---------------------------------------------------------------- written down


def test_a_chain_is_written_leaf_first_without_its_root():
    text = chain_pem(LEAF, ISSUERS)
    assert b"\r" not in text
    assert text.endswith(b"-----END CERTIFICATE-----\n")
    assert b"\n\n" not in text
    read = x509.load_pem_x509_certificates(text)
    assert [one.public_bytes(Encoding.DER) for one in read] == [LEAF, ISSUING.der]


def test_a_root_that_is_the_leafs_own_issuer_stays():
    leaf = ROOT.leaf()
    text = chain_pem(leaf, [ROOT.der])
    assert [text.count(chains.pem(one)) for one in (leaf, ROOT.der)] == [1, 1]
    assert chain_pem(leaf, []) == chains.pem(leaf)


def test_a_certificate_is_written_as_others_write_it():
    written = x509.load_der_x509_certificate(LEAF).public_bytes(Encoding.PEM)
    assert chains.pem(LEAF) == written


# ---------------------------------------------------------------- other chains


def others(*issuers, chosen=ISSUERS, leaf=LEAF, now=NOW):
    return chains.alternates(x509.load_der_x509_certificate(leaf), chosen, issuers, now)


OLD_ROOT = Ca("Old root", p256(110))
CROSS = Ca("Root", p256(100), OLD_ROOT)  # our root, signed by an older one
CROSS_ISSUING = Ca("Issuing", p256(101), OLD_ROOT)  # our issuing CA, signed by it directly


def test_without_a_cross_signature_there_is_one_chain():
    assert others(*ISSUERS) == ()
    assert others(*ISSUERS, Ca("Stranger", p256(111)).der, b"rubbish", ISSUING.der) == ()


def test_a_cross_signed_root_makes_another_chain():
    assert others(*ISSUERS, CROSS.der, OLD_ROOT.der) == ((ISSUING.der, CROSS.der, OLD_ROOT.der),)
    # Whether its root is known makes no difference to what is written down.
    assert others(*ISSUERS, CROSS.der) == ((ISSUING.der, CROSS.der),)


def test_a_cross_signed_issuing_ca_makes_another_chain():
    assert others(*ISSUERS, CROSS_ISSUING.der) == ((CROSS_ISSUING.der,),)


def test_other_chains_have_a_fixed_order():
    known = [*ISSUERS, CROSS.der, CROSS_ISSUING.der, OLD_ROOT.der]
    assert others(*known) == others(*reversed(known))
    assert set(others(*known)) == {
        (ISSUING.der, CROSS.der, OLD_ROOT.der),
        (CROSS_ISSUING.der, OLD_ROOT.der),
    }
    default = (CROSS_ISSUING.der, OLD_ROOT.der)
    assert set(others(*known, chosen=default)) == {
        (ISSUING.der, CROSS.der, OLD_ROOT.der),
        (ISSUING.der, ROOT.der),
    }


def test_a_chain_through_what_has_expired_is_none():
    expired = Ca("Root", p256(100), OLD_ROOT, begins=-2 * DAY, ends=-DAY)
    assert others(*ISSUERS, expired.der, OLD_ROOT.der) == ()


def test_a_chain_beyond_a_path_length_is_none():
    short = x509.BasicConstraints(ca=True, path_length=0)
    cross = Ca("Root", p256(100), OLD_ROOT, extensions=[short])
    assert others(*ISSUERS, cross.der, OLD_ROOT.der) == ()


def test_however_many_sign_each_other_the_chains_have_a_bound():
    rings = [Ca("Root", p256(100), Ca(f"Old {n}", p256(120 + n))).der for n in range(12)]
    assert len(others(*ISSUERS, *rings)) == chains.MOST_ALTERNATES
    one, other = Ca("One", p256(106)), Ca("Other", p256(107))
    ring = [Ca("One", p256(106), other).der, Ca("Other", p256(107), one).der]
    assert others(*ring, chosen=tuple(ring), leaf=one.leaf()) == ()


def test_of_any_certificate_its_key_and_serial_number_can_be_told():
    """Also of one that nobody ordered: it is revoked by them."""
    wrong = Ca().leaf(names=("other.corp.test",), serial=0xABC)
    key, serial = key_and_serial(wrong)
    assert (key == csr.spki_of(REQUEST), serial) == (True, "0abc")
    with pytest.raises(Mismatch, match="cannot be read"):
        key_and_serial(b"rubbish")


def test_of_any_certificate_its_names_can_be_told():
    """By them somebody else's is known who uses the same key."""
    assert set(names_of(Ca().leaf(names=("B.corp.test", "a.corp.test")))) == {
        "a.corp.test",
        "b.corp.test",
    }
    assert names_of(Ca().leaf(names=())) == ()
    with pytest.raises(Mismatch, match="cannot be read"):
        names_of(b"rubbish")


def test_what_no_line_of_the_log_has_room_for_is_no_certificate():
    large = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), bytes(chains.MAX_BYTES))
    assert "bytes; at most 65536 are taken" in mismatch(ISSUING.leaf(large))
    above = Ca("Large", p256(102), extensions=[x509.BasicConstraints(True, None), large])
    assert chains.read_issuer(above.der) is None
