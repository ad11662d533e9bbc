from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st
from pkilint.bin import lint_pkix_cert

from certeasy.ca import Authority, Denied, Issued, Revocation, Submission, Trace, Unavailable
from certeasy.ca.embedded import EmbeddedAuthority, EmbeddedKeys, generate
from certeasy.ids import RandomIds
from certeasy.settings import EmbeddedSettings, KeySettings
from tests.fakes.clocks import HeldClock
from tests.make.csrs import a_csr, a_raw_csr, asking_for, cn, p256, raw_cn, raw_san, rsa_key, san

NAME = "web.corp.test"
SETTINGS = EmbeddedSettings(common_name="Lab CA")
SERVER = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
BOTH = x509.ExtendedKeyUsage([SERVER, CLIENT])
HOUR = timedelta(hours=1)


def an_authority(
    clock: HeldClock | None = None,
    keys: EmbeddedKeys | None = None,
    settings: EmbeddedSettings = SETTINGS,
) -> EmbeddedAuthority:
    clock = clock or HeldClock()
    ids = RandomIds(clock)
    return EmbeddedAuthority("lab", keys or generate(settings, clock, ids), settings, clock, ids)


def a_submission(
    csr: bytes | None = None,
    *names: str,
    extra: tuple[str, ...] = (),
    max_validity: timedelta | None = None,
    not_after: datetime | None = None,
    **wishes: bool,
) -> Submission:
    names = names or (NAME,)
    return Submission(
        order_id="o1",
        attempt=1,
        csr=csr or a_csr(*names),
        names=names,
        server_id="n1",
        allowed_extra_eku=extra,
        max_validity=max_validity,
        not_after=not_after,
        **wishes,
    )


def issue(authority: EmbeddedAuthority, submission: Submission) -> x509.Certificate:
    outcome = authority.submit(submission)
    assert isinstance(outcome, Issued)
    return x509.load_der_x509_certificate(outcome.certificate)


def value(certificate: x509.Certificate, kind):
    return certificate.extensions.get_extension_for_class(kind).value


@pytest.fixture(scope="module")
def lab() -> EmbeddedAuthority:
    return an_authority()


def test_it_is_an_authority_that_answers_at_once(lab):
    authority: Authority = lab
    assert (authority.name, authority.in_process, authority.copies_request) == ("lab", True, False)


def test_a_verifier_by_others_accepts_the_leaf_for_a_server():
    clock = HeldClock()
    authority = an_authority(clock)
    outcome = authority.submit(a_submission())
    assert isinstance(outcome, Issued)
    leaf, issuing, root = (
        x509.load_der_x509_certificate(der) for der in (outcome.certificate, *outcome.issuers)
    )
    verifier = (
        verification.PolicyBuilder()
        .store(verification.Store([root]))
        .time(clock.now())
        .build_server_verifier(x509.DNSName(NAME))
    )
    assert verifier.verify(leaf, [issuing]) == [leaf, issuing, root]


@pytest.mark.parametrize(
    ("common_name", "critical", "subject"),
    [
        (None, True, []),
        (NAME, False, [NAME]),
        ("WEB.corp.test", False, [NAME]),
        ("x.test", True, []),
    ],
)
def test_a_common_name_stays_if_it_is_one_of_the_names(lab, common_name, critical, subject):
    der = a_csr(NAME, subject=cn(common_name) if common_name else None)
    leaf = issue(lab, a_submission(der))
    assert [attribute.value for attribute in leaf.subject] == subject
    alternative = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert (alternative.critical, alternative.value) == (critical, san(NAME))


def test_a_common_name_that_only_looks_like_one_of_the_names_is_left_out(lab):
    der = a_csr("k.corp.test", subject=cn("\u212a.corp.test"))
    assert list(issue(lab, a_submission(der, "k.corp.test")).subject) == []


@pytest.mark.parametrize("ip", ["10.1.2.3", "2001:db8::7"])
def test_an_address_is_issued_as_one(lab, ip):
    """RFC 8738 section 3."""
    leaf = issue(lab, a_submission(a_csr(NAME, ip, subject=cn(ip)), NAME, ip))
    assert value(leaf, x509.SubjectAlternativeName) == san(NAME, ip)
    assert [attribute.value for attribute in leaf.subject] == [ip]


def test_a_name_too_long_for_a_common_name_stands_in_the_san_alone(lab):
    long = ".".join(["a" * 30] * 3) + ".test"
    der = a_raw_csr(asking_for(raw_san(long)), subject=raw_cn(0x0C, long.encode()))
    leaf = issue(lab, a_submission(der, long))
    assert list(leaf.subject) == []
    assert value(leaf, x509.SubjectAlternativeName) == san(long)


@given(st.lists(st.from_regex(r"(\*\.)?[a-z]{1,9}\.test", fullmatch=True), min_size=1, max_size=5))
def test_the_names_are_the_orders_whatever_the_request_says(lab, names):
    leaf = issue(lab, a_submission(a_csr("other.test"), *names))
    assert value(leaf, x509.SubjectAlternativeName) == san(*names)


@pytest.mark.parametrize(
    ("asked", "allowed", "given"),
    [
        ((), ("clientAuth",), [SERVER]),
        ((BOTH,), (), [SERVER]),
        ((BOTH,), ("clientAuth",), [SERVER, CLIENT]),
        ((BOTH,), ("1.2.3",), [SERVER]),
    ],
)
def test_client_auth_is_given_if_the_request_asks_and_the_policy_allows(lab, asked, allowed, given):
    leaf = issue(lab, a_submission(a_csr(NAME, extensions=asked), extra=allowed))
    assert list(value(leaf, x509.ExtendedKeyUsage)) == given


LONG = ".".join(["a" * 60, "corp", "test"])


@pytest.mark.parametrize(
    ("names", "subject", "filled"),
    [
        ((NAME, "mail.corp.test"), None, f"CN={NAME}"),
        ((LONG, NAME), None, f"CN={NAME}"),
        (("192.0.2.7", NAME), None, f"CN={NAME}"),
        (("192.0.2.7",), None, ""),
        ((LONG,), None, ""),
        ((NAME, "mail.corp.test"), cn("mail.corp.test"), "CN=mail.corp.test"),
    ],
)
def test_a_common_name_is_filled_from_the_names_where_that_is_wished(lab, names, subject, filled):
    csr = a_csr("x.test", subject=subject)
    leaf = issue(lab, a_submission(csr, *names, fill_common_name=True))
    assert leaf.subject.rfc4514_string() == filled


STAPLE = x509.TLSFeature([x509.TLSFeatureType.status_request])


@pytest.mark.parametrize("granted", [False, True])
@pytest.mark.parametrize("asked", [False, True])
def test_must_staple_is_given_if_the_request_asks_and_the_policy_allows(lab, asked, granted):
    csr = a_csr(NAME, extensions=[STAPLE] if asked else [])
    leaf = issue(lab, a_submission(csr, must_staple=granted))
    found = [each.value for each in leaf.extensions if isinstance(each.value, x509.TLSFeature)]
    assert found == ([STAPLE] if asked and granted else [])


@pytest.mark.parametrize(
    ("key", "enciphers"),
    [(p256(), False), (rsa_key(), True), (ed25519.Ed25519PrivateKey.generate(), False)],
    ids=["ecdsa", "rsa", "ed25519"],
)
def test_a_leaf_signs_and_only_with_rsa_enciphers(lab, key, enciphers):
    leaf = issue(lab, a_submission(a_csr(NAME, key=key)))
    usage = value(leaf, x509.KeyUsage)
    assert usage.digital_signature
    assert usage.key_encipherment == enciphers
    assert not usage.key_cert_sign
    assert leaf.public_key() == key.public_key()
    assert not value(leaf, x509.BasicConstraints).ca


def test_serial_numbers_are_random_positive_and_short_enough(lab):
    serials = [issue(lab, a_submission()).serial_number for _ in range(50)]
    assert len(set(serials)) == len(serials)
    assert all(16 * 8 < serial.bit_length() <= 159 for serial in serials)


def test_a_leaf_names_its_issuers_key(lab):
    issuing, root = map(x509.load_der_x509_certificate, lab.issuers())
    key_ids = [value(one, x509.SubjectKeyIdentifier).digest for one in (issuing, root)]
    leaf = issue(lab, a_submission())
    below = [
        value(one, x509.AuthorityKeyIdentifier).key_identifier for one in (leaf, issuing, root)
    ]
    assert below == [key_ids[0], key_ids[1], key_ids[1]]


# ---------------------------------------------------------------- validity

DAY = timedelta(days=1)
START = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("ca_days", "ordered", "policy", "begins", "lasts"),
    [
        (3650, None, None, -HOUR, 90 * DAY),
        (3650, None, 7 * DAY, -HOUR, 7 * DAY),
        (3650, None, 365 * DAY, -HOUR, 90 * DAY),
        (3650, None, HOUR, -HOUR / 2, HOUR),
        (30, None, None, -HOUR, 30 * DAY - DAY),
        (3650, START + 3 * DAY, None, -HOUR, 2 * DAY + HOUR + timedelta(seconds=1)),
    ],
    ids=["as set", "policy", "long policy", "short-lived", "short-lived CA", "order"],
)
def test_a_leaf_is_valid_for_no_longer_than_anyone_concerned_allows(
    ca_days, ordered, policy, begins, lasts
):
    clock = HeldClock(START)
    settings = EmbeddedSettings(validity=timedelta(days=ca_days))
    authority = an_authority(clock, settings=settings)
    clock.pass_by(DAY.total_seconds())
    leaf = issue(authority, a_submission(max_validity=policy, not_after=ordered))
    assert leaf.not_valid_before_utc == START + DAY + begins
    # Both the first and the last second count.
    ends = leaf.not_valid_after_utc + timedelta(seconds=1)
    assert ends - leaf.not_valid_before_utc == lasts


def test_a_leaf_never_begins_before_its_issuer(lab):
    begins = [
        x509.load_der_x509_certificate(der).not_valid_before_utc for der in reversed(lab.issuers())
    ]
    assert sorted(begins) == begins
    assert issue(lab, a_submission()).not_valid_before_utc >= begins[-1]


def test_an_expired_ca_is_unavailable():
    clock = HeldClock()
    authority = an_authority(clock)
    clock.pass_by(SETTINGS.validity.total_seconds())
    with pytest.raises(Unavailable, match="embedded CA lab has expired"):
        authority.probe()
    with pytest.raises(Unavailable, match="embedded CA lab has expired"):
        authority.submit(a_submission())


def test_a_validity_that_is_over_is_denied(lab):
    outcome = lab.submit(a_submission(not_after=START - DAY))
    assert isinstance(outcome, Denied)
    assert "2026-11-01" in outcome.reason


# ---------------------------------------------------------------- a crash, a restart


def test_the_ca_is_the_same_after_a_restart():
    first = generate(SETTINGS, HeldClock(), RandomIds(HeldClock()))
    again = EmbeddedKeys.decode(first.encode())
    assert again == first
    issued = an_authority(keys=again).submit(a_submission())
    assert isinstance(issued, Issued)
    assert issued.issuers == (first.issuing_certificate, first.root_certificate)
    assert x509.load_pem_x509_certificate(first.root_pem).subject == cn("Lab CA")
    assert an_authority(keys=again).root_pem == first.root_pem


def test_a_submission_in_doubt_is_submitted_again(lab):
    assert lab.recover(a_submission(), Trace()) is None


def test_nothing_of_the_embedded_ca_exists_unrecorded_or_is_published_elsewhere(lab):
    assert lab.twins(a_submission(), Trace(), "7") == ()
    assert not lab.revokes
    lab.revoke(Revocation(b"", "0a", 1, START))
    lab.probe()
    lab.close()


def test_nothing_ever_waits_here(lab):
    outcome = lab.poll(a_submission(), "7")
    assert isinstance(outcome, Denied)
    assert "7 of order o1" in outcome.reason
    assert "o1" not in outcome.reason_for_client


# ---------------------------------------------------------------- the CA itself


@pytest.mark.parametrize(
    ("key", "kind", "sha"),
    [
        (KeySettings(), "secp256r1", "sha256"),
        (KeySettings(curve="P-384"), "secp384r1", "sha384"),
        (KeySettings(curve="P-521"), "secp521r1", "sha512"),
        (KeySettings(type="rsa", size=2048), 2048, "sha256"),
    ],
)
def test_the_ca_has_the_key_that_was_set(key, kind, sha):
    authority = an_authority(settings=EmbeddedSettings(key=key))
    for der in authority.issuers():
        certificate = x509.load_der_x509_certificate(der)
        public = certificate.public_key()
        is_curve = isinstance(public, ec.EllipticCurvePublicKey)
        assert (public.curve.name if is_curve else public.key_size) == kind
        assert certificate.signature_hash_algorithm.name == sha
    assert issue(authority, a_submission()).signature_hash_algorithm.name == sha


def test_the_root_has_one_level_below_it_and_the_issuing_ca_none(lab):
    lengths = [
        value(x509.load_der_x509_certificate(der), x509.BasicConstraints).path_length
        for der in lab.issuers()
    ]
    assert lengths == [0, 1]


@pytest.mark.parametrize("common_name", ["x" * 64, "\xe4" * 64])
def test_a_long_name_of_the_ca_is_cut_to_what_fits(common_name):
    authority = an_authority(settings=EmbeddedSettings(common_name=common_name))
    issuing, root = (x509.load_der_x509_certificate(der).subject for der in authority.issuers())
    assert root.rfc4514_string() == "CN=" + common_name.encode()[:64].decode()
    assert issuing.rfc4514_string().endswith(" (issuing)")


BROKEN = (
    x509.CertificateBuilder(cn("x"), cn("x"), p256().public_key(), 1, START, START + DAY)
    .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=False)
    .sign(p256(), hashes.SHA256())
    .public_bytes(Encoding.DER)
)


@pytest.mark.filterwarnings(
    "ignore:unclosed file", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_a_linter_by_others_finds_nothing_in_leaf_and_cas(lab, tmp_path, capsys):
    def lint(der: bytes) -> tuple[int, str]:
        file = tmp_path / "certificate.der"
        file.write_bytes(der)
        code = lint_pkix_cert.main(["lint", "-s", "WARNING", str(file)])
        return code, capsys.readouterr().out.strip()

    submissions = [
        a_submission(),
        a_submission(a_csr(NAME, subject=cn(NAME), key=rsa_key())),
        a_submission(a_csr(NAME, extensions=[BOTH]), extra=("clientAuth",)),
        a_submission(a_csr(NAME, extensions=[STAPLE]), must_staple=True, fill_common_name=True),
    ]
    for der in (*(lab.submit(one).certificate for one in submissions), *lab.issuers()):
        assert lint(der) == (0, "")
    assert lint(BROKEN)[0] != 0
