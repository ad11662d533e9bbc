import hashlib

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from events.signing import (
    BadSignature,
    PublicKey,
    SigningKey,
    base64url,
    from_base64url,
    protected_header,
    read_key_set,
    thumbprint,
)

KEY = SigningKey.from_seed(b"k" * 32)


@given(st.binary())
def test_base64url_is_read_back(raw):
    assert from_base64url(base64url(raw)) == raw


@given(st.text(alphabet="AQgw-_xyz=+/ ", max_size=12))
def test_bytes_have_one_spelling(text):
    try:
        raw = from_base64url(text)
    except ValueError:
        return
    assert base64url(raw) == text


@pytest.mark.parametrize("text", ["QQ==", "QR", "Q", "Q Q", "a+b/", "QQ\n", "\u00e4\u00e4"])
def test_another_spelling_is_refused(text):
    with pytest.raises(ValueError, match=r"\S"):
        from_base64url(text)


def test_the_key_id_is_the_thumbprint_of_rfc_8037_appendix_a_3():
    x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    assert thumbprint(x) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert PublicKey(x).kid == thumbprint(x)


def test_the_protected_header_is_exact():
    header = b'{"alg":"EdDSA","b64":false,"crit":["b64"],"kid":"abc"}'
    assert from_base64url(protected_header("abc").decode()) == header


@given(st.binary(max_size=200), st.binary(min_size=1, max_size=4))
def test_a_signature_is_good_for_what_was_signed_only(payload, more):
    signature = from_base64url(KEY.sign(payload).rpartition(b"..")[2].decode())
    KEY.public.verify(payload, signature)
    with pytest.raises(BadSignature, match=KEY.public.kid):
        KEY.public.verify(payload + more, signature)
    with pytest.raises(BadSignature):
        SigningKey.from_seed(hashlib.sha256(more).digest()).public.verify(payload, signature)


def test_a_key_survives_its_file():
    again = SigningKey.from_pem(KEY.to_pem())
    assert again.public.x == KEY.public.x
    assert again.sign(b"same") == KEY.sign(b"same")


def pem(key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@pytest.mark.parametrize(
    "text",
    [pem(ec.generate_private_key(ec.SECP256R1())), b"", b"no PEM"],
    ids=["P-256", "empty", "no PEM"],
)
def test_what_is_no_signing_key_is_refused(text):
    with pytest.raises(ValueError, match=r"\S"):
        SigningKey.from_pem(text)


def test_a_key_set_is_read_back():
    keys = [KEY.public, SigningKey(Ed25519PrivateKey.generate()).public]
    text = msgspec.json.encode({"keys": [key.jwk() for key in keys]})
    assert {kid: key.x for kid, key in read_key_set(text).items()} == {
        key.kid: key.x for key in keys
    }


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"keys":[{"kty":"OKP"}]}',
        b'{"keys":[{"kty":"EC","crv":"P-256","x":"AA"}]}',
        b'{"keys":[{"kty":"OKP","crv":"X25519","x":"AA"}]}',
        b'{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA"}]}',
        b'{"keys":[{"kty":"OKP","crv":"Ed25519","x":"A==="}]}',
    ],
)
def test_what_is_no_key_set_is_refused(text):
    with pytest.raises(ValueError, match=r"\S"):
        read_key_set(text)
