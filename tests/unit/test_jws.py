"""Which signed requests are taken apart and believed, and which are not."""

import hashlib
import itertools
import math
from typing import Any

import joserfc.jwk
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certeasy.acme import base64url, jws
from certeasy.acme.jws import AccountKey
from certeasy.decide import public_keys
from certeasy.decide.problems import Problem, Refused
from tests.make import edwards
from tests.make.signers import ALGORITHMS, a_signer, b64, the_signer

HMAC_KEY = {"kty": "oct", "k": "c2VjcmV0"}


def believe(body: bytes, key: AccountKey | None = None) -> bytes:
    """Parse and verify, with the key in the header unless one is given; return the payload."""
    parsed = jws.parse(body)
    if key is None:
        assert isinstance(parsed.header.jwk, msgspec.Raw)
        key = AccountKey.from_jwk(bytes(parsed.header.jwk))
    key.verify(parsed.header.alg, parsed.signing_input, parsed.signature)
    return parsed.payload


def refusal(body: bytes, key: AccountKey | None = None) -> Refused:
    with pytest.raises(Refused) as caught:
        believe(body, key)
    return caught.value


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_every_algorithm_of_the_field_is_verified(alg: str) -> None:
    assert believe(the_signer(alg).request({"a": 1})) == b'{"a":1}'


def test_an_es512_signature_is_132_bytes() -> None:
    assert len(jws.parse(the_signer("ES512").request()).signature) == 132


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_a_changed_payload_is_not_believed(alg: str) -> None:
    body = the_signer(alg).request({"a": 1}, outer={"payload": b64(b'{"a":2}')})
    assert refusal(body).problem is Problem.MALFORMED


@pytest.mark.parametrize("alg", ALGORITHMS)
@given(data=st.data())
def test_no_bit_of_a_signature_can_be_changed(alg: str, data: st.DataObject) -> None:
    parsed = jws.parse(the_signer(alg).request(b"{}"))
    bit = data.draw(st.integers(0, len(parsed.signature) * 8 - 1))
    number = int.from_bytes(parsed.signature, "big") ^ (1 << bit)
    changed = number.to_bytes(len(parsed.signature), "big")
    with pytest.raises(Refused, match="does not verify"):
        AccountKey.from_jwk(the_signer(alg).jwk).verify(alg, parsed.signing_input, changed)


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_another_key_of_the_same_kind_does_not_verify(alg: str) -> None:
    stranger = AccountKey.from_jwk(a_signer(alg).jwk)
    assert refusal(the_signer(alg).request(b"{}", kid="x"), stranger).problem is Problem.MALFORMED


@pytest.mark.parametrize("length", [0, 1, 31, 32, 61, 65, 72, 128])
def test_an_es256_signature_of_another_length_is_no_signature(length: int) -> None:
    assert refusal(the_signer().request(signature=b"\1" * length)).problem is Problem.MALFORMED


# --- Leading zeros that some clients drop (the ACME client of macOS)


def a_signature_with_zeros(alg: str, place: slice, zeros: bytes) -> tuple[AccountKey, bytes, bytes]:
    """Return a key, what it signed, and a signature with `zeros` at `place`."""
    signer = the_signer(alg)
    for count in range(20_000):
        data = b"signed %d" % count
        signature = signer.sign(data)
        if signature[place] == zeros:
            return AccountKey.from_jwk(signer.jwk), data, signature
    pytest.fail("no such signature in 20,000")


def test_a_dropped_leading_zero_of_r_is_put_back() -> None:
    key, data, signature = a_signature_with_zeros("ES256", slice(0, 1), b"\0")
    key.verify("ES256", data, signature[1:])


def test_a_dropped_leading_zero_of_s_is_put_back() -> None:
    key, data, signature = a_signature_with_zeros("ES256", slice(32, 33), b"\0")
    key.verify("ES256", data, signature[:32] + signature[33:])


def test_zeros_dropped_from_both_are_put_back() -> None:
    # On P-521 the first byte is zero or one: both are zero in a quarter of all signatures.
    key, data, signature = a_signature_with_zeros("ES512", slice(0, 132, 66), b"\0\0")
    key.verify("ES512", data, signature[1:66] + signature[67:])


def test_a_short_signature_over_something_else_is_refused() -> None:
    key, _, signature = a_signature_with_zeros("ES256", slice(0, 1), b"\0")
    with pytest.raises(Refused, match="does not verify"):
        key.verify("ES256", b"something else", signature[1:])


# --- Algorithms that do not fit, and ways to talk a verifier into one


@pytest.mark.parametrize(
    "alg", ["none", "None", "HS256", "HS512", "PS256", "RS1", "RS512", "ES256K", "", "es256", "A\0"]
)
def test_an_algorithm_not_taken_is_answered_with_those_that_are(alg: str) -> None:
    refused = refusal(the_signer().request(header={"alg": alg}))
    if "\0" in alg:
        assert refused.problem is Problem.MALFORMED
    else:
        assert refused.problem is Problem.BAD_SIGNATURE_ALGORITHM
        assert set(refused.algorithms) == {"ES256", "ES384", "ES512", "EdDSA", "RS256"}


@pytest.mark.parametrize("claimed", ALGORITHMS)
@pytest.mark.parametrize("alg", ALGORITHMS)
def test_a_key_signs_with_its_own_algorithm_only(alg: str, claimed: str) -> None:
    body = the_signer(alg).request(header={"alg": claimed})
    if alg == claimed:
        assert believe(body) == b""
    else:
        refused = refusal(body)
        assert refused.problem is Problem.BAD_SIGNATURE_ALGORITHM
        assert refused.algorithms == (alg,)


def test_an_empty_signature_proves_nothing() -> None:
    assert refusal(the_signer().request(signature=b"")).problem is Problem.MALFORMED


def test_a_zero_signature_proves_nothing() -> None:
    assert refusal(the_signer().request(signature=bytes(64))).problem is Problem.MALFORMED


@pytest.mark.parametrize("jwk", [HMAC_KEY, {"kty": "oct"}])
def test_a_shared_secret_is_no_account_key(jwk: dict[str, str]) -> None:
    assert refusal(the_signer().request(header={"jwk": jwk})).problem in (
        Problem.MALFORMED,
        Problem.BAD_PUBLIC_KEY,
    )


# --- The shape of a JWS

HEADER: dict[str, Any] = {"alg": "ES256", "nonce": "AAAA", "url": "https://acme.corp.test/x"}
DEEP = b'{"alg":"ES256","kid":"k","x":' + b"[" * 5000 + b"]" * 5000 + b"}"

WRONG_SHAPES = {
    "nothing": (b"", "not JSON"),
    "text": (b"hello", "not JSON"),
    "an array": (b"[]", "Expected `object`"),
    "null": (b"null", "Expected `object`"),
    "two documents": (the_signer().request() * 2, "not JSON"),
    "no UTF-8": (b'{"protected":"\xff"}', "not JSON"),
    "deep": (b'{"x":' * 5000, "nested too deeply"),
    "deep and ignored": (the_signer().request()[:-1] + b',"x":' + b"[" * 9000, "nested too deeply"),
    "a bare NUL": (the_signer().request().replace(b"{", b"{\0", 1), "not JSON"),
    "an escaped NUL": (the_signer().request(outer={"x": "a\0b"}), "NUL"),
    "no protected header": (the_signer().request(outer={"protected": None}), "protected"),
    "no payload": (the_signer().request(outer={"payload": None}), "payload"),
    "no signature": (the_signer().request(outer={"signature": None}), "signature"),
    "payload as an object": (the_signer().request(outer={"payload": {}}), r"\$\.payload"),
    "an unprotected header": (the_signer().request(outer={"header": {}}), "unprotected"),
    "many signatures": (the_signer().request(outer={"signatures": []}), "flattened"),
    "a member twice": (
        the_signer().request().replace(b"{", b'{"payload":"e30",', 1),
        "twice: 'payload'",
    ),
    "padded payload": (the_signer().request(outer={"payload": "e30="}), "padded"),
    "standard alphabet": (the_signer().request(outer={"payload": "a+/b"}), "URL alphabet"),
    "cut off": (the_signer().request(outer={"payload": "e30a5"}), "cut off"),
    "line ends": (the_signer().request(outer={"payload": "e3\r\n0a"}), "line ends"),
    "another spelling": (the_signer().request(outer={"payload": "e31"}), "stray bits"),
    "beyond ASCII": (the_signer().request(outer={"payload": "e3é0"}), "not of the alphabet"),
    "padded signature": (the_signer().request(outer={"signature": "AA=="}), "padded"),
    "an endless signature": (the_signer().request(signature=bytes(2000)), "length"),
    "an endless header": (the_signer().request(header={"x": "x" * 20_000}), "length"),
    "header: nothing": (the_signer().request(header=b""), "header is not JSON"),
    "header: text": (the_signer().request(header=b"ES256"), "header is not JSON"),
    "header: an array": (the_signer().request(header=b"[]"), "Expected `object`"),
    "header: deep": (the_signer().request(header=DEEP), "nested too deeply"),
    "header: no alg": (the_signer().request(header={"alg": None}), "alg"),
    "header: alg twice": (
        the_signer().request(header=b'{"alg":"none","alg":"ES256","kid":"k"}'),
        "twice: 'alg'",
    ),
    "header: jwk.kty twice": (
        the_signer().request(header=b'{"alg":"ES256","jwk":{"kty":"RSA","kty":"EC"}}'),
        "twice: 'kty'",
    ),
    "header: a NUL": (the_signer().request(header={"url": "https://x\0"}), "NUL"),
    "header: alg is a number": (the_signer().request(header={"alg": 1}), r"\$\.alg"),
    "header: kid is null": (
        the_signer().request(header=msgspec.json.encode(HEADER | {"kid": None})),
        r"\$\.kid",
    ),
    "header: jwk and kid": (the_signer().request(header={"kid": "k"}), "exactly one"),
    "header: neither": (the_signer().request(header={"jwk": None}), "exactly one"),
    "header: crit": (the_signer().request(header={"crit": ["b64"]}), "crit"),
    "header: b64": (the_signer().request(header={"b64": True}), "b64"),
    "header: huge number": (the_signer().request(header=b'{"x":' + b"9" * 9000 + b"}"), "alg"),
}


@pytest.mark.parametrize(("body", "says"), WRONG_SHAPES.values(), ids=WRONG_SHAPES)
def test_a_wrong_shape_is_malformed_and_told(body: bytes, says: str) -> None:
    with pytest.raises(Refused, match=says) as caught:
        jws.parse(body)
    assert caught.value.problem is Problem.MALFORMED
    assert "\0" not in caught.value.detail
    assert len(caught.value.detail) < 300


def test_what_the_rfc_does_not_know_is_ignored() -> None:
    assert believe(the_signer().request(header={"typ": "x"}, outer={"resource": "new-reg"})) == b""


def test_white_space_between_members_does_no_harm() -> None:
    spaced = the_signer().request(b"{}").replace(b",", b" ,\n\t").replace(b":", b" : ")
    assert believe(spaced) == b"{}"


@given(st.binary(max_size=60))
def test_rubbish_never_gets_past_the_parser(body: bytes) -> None:
    with pytest.raises(Refused):
        jws.parse(body)


@given(st.binary(max_size=40))
def test_base64url_has_one_spelling(data: bytes) -> None:
    text = base64url.encode(data)
    assert base64url.decode(text, "it") == data
    assert "=" not in text


@given(st.text("AQgw-_=+/ \n", max_size=9))
def test_only_the_one_spelling_is_decoded(text: str) -> None:
    data = base64url.decoded(text)
    assert data is None or base64url.encode(data) == text


# --- Keys


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_a_thumbprint_is_what_other_libraries_compute(alg: str) -> None:
    jwk: Any = the_signer(alg).jwk
    assert AccountKey.from_jwk(jwk).thumbprint == joserfc.jwk.import_key(jwk).thumbprint()


def test_the_example_of_rfc_7638_has_its_thumbprint() -> None:
    n = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJ"
        "ECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW"
        "2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQ"
        "Fh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
    )
    jwk = {"kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"}
    assert AccountKey.from_jwk(jwk).thumbprint == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_further_members_do_not_change_who_a_key_is(alg: str) -> None:
    plain = AccountKey.from_jwk(the_signer(alg).jwk)
    more = {"kid": "1", "use": "enc", "alg": "HS256", "key_ops": "x", "x5c": "y"}
    adorned = AccountKey.from_jwk(the_signer(alg).jwk | more)
    assert adorned.thumbprint == plain.thumbprint
    assert adorned.to_jwk() == plain.to_jwk() == the_signer(alg).jwk
    assert believe(the_signer(alg).request(b"{}", kid="k"), adorned) == b"{}"


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_a_key_survives_being_written_down(alg: str) -> None:
    key = AccountKey.from_jwk(the_signer(alg).jwk)
    assert AccountKey.from_jwk(msgspec.json.encode(key.to_jwk())).thumbprint == key.thumbprint
    canonical = msgspec.json.encode(key.to_jwk())
    assert base64url.encode(hashlib.sha256(canonical).digest()) == key.thumbprint


def test_a_key_is_built_once() -> None:
    jwk = a_signer().jwk
    one = AccountKey.from_jwk(jwk)
    assert AccountKey.from_jwk(msgspec.json.encode(jwk | {"kid": "other"})) is one


def test_a_key_authorization_is_token_and_thumbprint() -> None:
    key = AccountKey.from_jwk(the_signer().jwk)
    assert key.key_authorization("t0ken") == f"t0ken.{key.thumbprint}"


def test_a_caller_cannot_change_a_kept_key() -> None:
    AccountKey.from_jwk(the_signer().jwk).to_jwk()["x"] = "changed"
    assert AccountKey.from_jwk(the_signer().jwk).to_jwk()["x"] == the_signer().jwk["x"]


ODD = math.prod(range(3, 752, 2))


def rsa(bits: int, exponent: bytes = b"\1\0\1", lead: bytes = b"") -> dict[str, str]:
    """An RSA key without small factors; nobody knows its others."""
    modulus = next(n for n in itertools.count((3 << bits - 2) + 1, 2) if math.gcd(n, ODD) == 1)
    return {"kty": "RSA", "n": b64(lead + modulus.to_bytes((bits + 7) // 8, "big")),
            "e": b64(exponent)}  # fmt: skip


def with_modulus(modulus: int) -> dict[str, str]:
    return {
        "kty": "RSA",
        "e": "AQAB",
        "n": b64(modulus.to_bytes((modulus.bit_length() + 7) // 8, "big")),
    }


MIDDLE = next(m for m in itertools.count(3 << 1022, 2) if math.gcd(m * m - 1, ODD) == 1)


@pytest.mark.parametrize("bits", [2048, 2049, 3072, 4096, 8192])
def test_an_rsa_key_of_2048_to_8192_bits_is_taken(bits: int) -> None:
    assert AccountKey.from_jwk(rsa(bits)).algorithm == "RS256"


EC, OKP = the_signer().jwk, the_signer("EdDSA").jwk
BAD, ILL = Problem.BAD_PUBLIC_KEY, Problem.MALFORMED

WRONG_KEYS = {
    "RSA, 1024 bits": (rsa(1024), BAD),
    "RSA, 2047 bits": (rsa(2047), BAD),
    "RSA, 8193 bits": (rsa(8193), BAD),
    "RSA, exponent 1": (rsa(2048, b"\1"), BAD),
    "RSA, exponent 3": (rsa(2048, b"\3"), BAD),
    "RSA, even exponent": (rsa(2048, b"\1\0\2"), BAD),
    "RSA, huge exponent": (rsa(2048, b"\1" * 9), BAD),
    "RSA, even modulus": (rsa(2048) | {"n": b64(b"\xff" * 255 + b"\xfe")}, BAD),
    "RSA, a small factor": (with_modulus(3**1300), BAD),
    "RSA, close factors": (with_modulus(MIDDLE**2 - 1), BAD),
    "RSA, a zero before n": (rsa(2048, lead=b"\0"), ILL),
    "RSA, a zero before e": (rsa(2048, b"\0\1\0\1"), ILL),
    "RSA, no e": (rsa(2048) | {"e": ""}, ILL),
    "RSA, no n": ({"kty": "RSA", "e": "AQAB"}, ILL),
    "RSA, padded e": (rsa(2048) | {"e": "AQAB="}, ILL),
    "RSA with d": (rsa(2048) | {"d": "AQAB"}, ILL),
    "RSA with a null qi": (rsa(2048) | {"qi": None}, ILL),
    "EC with d": (EC | {"d": EC["x"]}, ILL),
    "EC, no y": ({name: EC[name] for name in ("kty", "crv", "x")}, ILL),
    "EC, no curve": ({name: EC[name] for name in ("kty", "x", "y")}, BAD),
    "EC on secp256k1": (EC | {"crv": "secp256k1"}, BAD),
    "EC on Ed25519": (EC | {"crv": "Ed25519"}, BAD),
    "EC, x of P-256 on P-384": (EC | {"crv": "P-384"}, ILL),
    "EC, a point beside the curve": (EC | {"y": EC["x"]}, BAD),
    "EC, the point of zeros": (EC | {"x": b64(bytes(32)), "y": b64(bytes(32))}, BAD),
    "EC, a short x": (EC | {"x": b64(b"\1" * 31)}, ILL),
    "EC, a long x": (EC | {"x": b64(b"\0" + b"\1" * 32)}, ILL),
    "EC, x is a number": (EC | {"x": 5}, ILL),
    "OKP on X25519": (OKP | {"crv": "X25519"}, BAD),
    "OKP on Ed448": (OKP | {"crv": "Ed448", "x": b64(bytes(57))}, BAD),
    "OKP, a short x": (OKP | {"x": "AAAA"}, ILL),
    "OKP, y beyond the prime": (OKP | {"x": b64((edwards.PRIME + 3).to_bytes(32, "little"))}, BAD),
    "OKP with d": (OKP | {"d": OKP["x"]}, ILL),
    "a shared secret": (HMAC_KEY, ILL),
    "an unknown type": ({"kty": "AKP"}, BAD),
    "no type": ({"crv": "P-256"}, ILL),
    "lower case": (EC | {"kty": "ec"}, BAD),
    "null": (None, ILL),
    "a list": ([EC], ILL),
    "text": ("EC", ILL),
    "too long": (EC | {"x5c": "x" * 5000}, ILL),
    "a NUL": (EC | {"kid": "\0"}, ILL),
}


@pytest.mark.parametrize(("jwk", "problem"), WRONG_KEYS.values(), ids=WRONG_KEYS)
def test_a_wrong_key_is_refused(jwk: Any, problem: Problem) -> None:
    refused = refusal(the_signer().request(header=msgspec.json.encode(HEADER | {"jwk": jwk})))
    assert refused.problem is problem
    assert len(refused.detail) < 300


@pytest.mark.parametrize("point", sorted(edwards.small_order_points()))
def test_a_key_under_which_anybody_can_sign_is_refused(point: edwards.Point) -> None:
    for spelled in edwards.encodings(point):
        jwk = OKP | {"x": b64(spelled)}
        refused = refusal(the_signer("EdDSA").request(header={"jwk": jwk}))
        assert refused.problem is BAD
        assert "the jwk's key is a point of small order" in refused.detail


def test_a_key_is_looked_at_closely_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[object] = []
    monkeypatch.setattr(public_keys, "check_sound", looked.append)
    for signer in (a_signer("RS256"), a_signer("EdDSA")):
        for kid in ("a", "b"):
            AccountKey.from_jwk(msgspec.json.encode(signer.jwk | {"kid": kid}))
    assert len(looked) == 2
