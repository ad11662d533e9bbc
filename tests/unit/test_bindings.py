"""A binding is made with its key, over this request, or it is refused: nothing else can happen."""

import hmac

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from certeasy.acme import bindings
from certeasy.acme.jws import AccountKey
from certeasy.acme.messages import Binding
from certeasy.decide.problems import Refused
from tests.make.signers import b64, the_signer

URL = "https://acme.corp.test/acme/new-account"
KID, SECRET = "0" * 26, b"a key of thirty-two bytes or so."
SIGNER = the_signer("ES256")
KEY = AccountKey.from_jwk(SIGNER.jwk)


def a_binding(secret: bytes = SECRET, **header: object) -> Binding:
    members = {"alg": "HS256", "kid": KID, "url": URL} | header
    protected, payload = b64(members), b64(dict(SIGNER.jwk))
    made = hmac.digest(secret, f"{protected}.{payload}".encode(), "sha256")
    return Binding(protected, payload, b64(made))


def verified(binding: Binding) -> str:
    known = {KID: SECRET}
    return bindings.verified(binding, url=URL, key=KEY, mac_key=known.get)


def test_a_binding_names_its_key():
    assert verified(a_binding()) == KID


PARTS = ("protected", "payload", "signature")


@given(st.sampled_from(PARTS), st.text(max_size=60) | st.binary(max_size=60).map(b64))
def test_a_part_that_is_something_else_is_refused(part: str, other: str):
    binding = msgspec.structs.replace(a_binding(), **{part: other})
    with pytest.raises(Refused) as caught:
        verified(binding)
    assert 400 <= caught.value.status < 500


@given(st.sampled_from(PARTS), st.data())
def test_a_character_that_is_another_one_is_refused(part: str, data: st.DataObject):
    binding = a_binding()
    text: str = getattr(binding, part)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda c: c != text[at]))
    changed = text[:at] + other + text[at + 1 :]
    with pytest.raises(Refused):
        verified(msgspec.structs.replace(binding, **{part: changed}))


@given(st.binary(max_size=64).filter(lambda secret: secret.rstrip(b"\0") != SECRET))
def test_another_key_makes_none(secret: bytes):
    with pytest.raises(Refused, match="was not made with the key"):
        verified(a_binding(secret))


@given(
    st.dictionaries(
        st.sampled_from(["alg", "kid", "url", "nonce", "jwk", "crit", "b64", "x"]),
        st.none() | st.integers() | st.text(max_size=10) | st.lists(st.text(max_size=4)),
        min_size=1,
    )
)
@example({"x": "\0"})
@example({"x": ["\0"]})
@example({"x": "\\u0000"})  # as text: a backslash, and what follows
@example({"alg": "HS256"})
def test_a_header_that_says_something_else_is_refused_or_says_no_more(header: dict[str, object]):
    """Members that nobody knows are ignored (RFC 7515 section 4), but none may have a NUL."""
    unknown = header.get("x")
    nul = "\0" in "".join(unknown) if isinstance(unknown, str | list) else False
    if header | {"x": 0} in ({"x": 0}, {"x": 0, "alg": "HS256"}) and not nul:
        assert verified(a_binding(**header)) == KID
        return
    with pytest.raises(Refused):
        verified(a_binding(**header))
