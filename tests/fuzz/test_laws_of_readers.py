"""Laws of what reads strangers' bytes: Hypothesis looks for a counter-example.

Whatever is sent, it is let in or refused with a 4xx in one line; nothing else comes out of a reader
(the targets say what), and what is let in is what it must be.
"""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certeasy.acme import base64url, jws, strict_json
from certeasy.decide import csr, identifiers
from certeasy.decide.problems import Refused
from certeasy.settings.names import canonical
from tests.fuzz import nearby, targets
from tests.make.csrs import a_raw_csr, asking_for, raw_extension, raw_san, tlv
from tests.make.signers import b64, the_signer

NEVER_LET_IN = {"jws", "rpc-reply", "rpc-binding"}
"""Without a secret."""
ALL = [name for name in targets.TARGETS if name != "planted"]


@pytest.mark.parametrize("name", ALL)
@given(data=st.data())
def test_what_is_nearly_right_is_let_in_or_refused_in_a_line(
    name: str, data: st.DataObject
) -> None:
    targets.TARGETS[name](data.draw(nearby.near(targets.seeds(name))))


@pytest.mark.parametrize("name", ALL)
@given(data=st.binary(max_size=400))
def test_any_bytes_are_let_in_or_refused_in_a_line(name: str, data: bytes) -> None:
    targets.TARGETS[name](data)


@pytest.mark.parametrize("name", [name for name in ALL if name not in NEVER_LET_IN])
def test_the_seeds_are_let_in(name: str) -> None:
    """Else the laws above would be about refusals only."""
    assert any(targets.TARGETS[name](seed) for seed in targets.seeds(name))


# JSON


@given(nearby.objects())
def test_any_object_is_read_or_refused(payload: bytes) -> None:
    targets.json_payload(payload)


@given(nearby.near([b'{"a":{"b":[1,"x",null,true,2.5]},"c":"\\u00e9\\n"}', b"[]", b'"x"']))
def test_what_is_read_means_the_same_to_every_reader(raw: bytes) -> None:
    """No member twice, no NaN, no half characters: a second parser has the same idea of it."""
    try:
        read = strict_json.read(msgspec.json.Decoder(), raw, "it")
    except Refused:
        return
    again = msgspec.json.decode(msgspec.json.encode(read))
    assert again == read


@given(nearby.base64_texts())
def test_base64_is_decoded_by_its_one_spelling(text: str) -> None:
    assert base64url.decoded(text) == nearby.decoded_by_another(text)


# JWS

SIGNED = the_signer().request(b"{}", url=targets.URL + targets.PATH, kid=targets.KID)
MEMBERS = ("protected", "payload", "signature")


@given(nearby.some(*MEMBERS, "header", "signatures"))
def test_any_members_make_a_jws_or_a_refusal(members: dict[str, object]) -> None:
    targets.jws(nearby.written(msgspec.json.decode(SIGNED) | members))


@given(nearby.some("alg", "nonce", "url", "kid", "jwk", "crit", "b64", "x"))
def test_any_header_is_let_in_only_if_it_is_right(members: dict[str, object]) -> None:
    right = {"alg": "ES256", "nonce": "$NONCE", "url": targets.URL + targets.PATH}
    right |= {"kid": targets.KID}
    let_in = targets.signed_request(nearby.written(right | members) + b"\n{}")
    assert let_in <= all(name == "x" or right.get(name, ...) == members[name] for name in members)
    assert let_in or members


@given(nearby.some("kty", "crv", "x", "y", "n", "e", "d", "alg"))
def test_any_jwk_is_a_key_or_refused(members: dict[str, object]) -> None:
    raw = nearby.written(the_signer().jwk | members)
    try:
        key = jws.AccountKey.from_jwk(raw)
    except Refused as refused:
        targets.assert_proper(refused)
    else:
        assert jws.AccountKey.from_jwk(key.to_jwk()).thumbprint == key.thumbprint


@given(st.binary(max_size=70), st.sampled_from(["ES256", "ES384", "ES512", "EdDSA", "RS256"]))
def test_no_bytes_are_a_signature_by_chance(signature: bytes, alg: str) -> None:
    key = jws.AccountKey.from_jwk(the_signer(alg).jwk)
    with pytest.raises(Refused) as caught:
        key.verify(alg, b"signed", signature)
    targets.assert_proper(caught.value)


# Certificate requests


@given(st.lists(nearby.DER, max_size=3))
def test_any_attributes_are_taken_or_refused(attributes: list[bytes]) -> None:
    targets.signed_csr(b"".join(attributes))


EXTENSIONS = st.sampled_from(
    ["2.5.29.17", "2.5.29.15", "2.5.29.19", "2.5.29.37", "2.5.29.14", "2.5.29.30", "2.5.29.32",
     "1.3.6.1.5.5.7.1.24", "1.3.6.1.4.1.311.20.2", "1.3.6.1.4.1.311.25.2", "1.2.3.4"]
)  # fmt: skip


@given(st.lists(st.tuples(EXTENSIONS, nearby.DER | st.binary(max_size=20)), max_size=3))
def test_any_extensions_are_taken_or_refused(extensions: list[tuple[str, bytes]]) -> None:
    made = [raw_extension(oid, value) for oid, value in extensions]
    targets.signed_csr(asking_for(raw_san(*targets.NAMES), *made))


KINDS_OF_NAME = st.sampled_from([0x81, 0x82, 0x86, 0x87, 0x88, 0xA0, 0xA4])
TEXTS = st.text(max_size=20).map(str.encode)


@given(st.lists(st.tuples(KINDS_OF_NAME, nearby.DER | TEXTS), max_size=3))
def test_any_names_are_taken_or_refused(names: list[tuple[int, bytes]]) -> None:
    general = [tlv(tag, value) for tag, value in names]
    right = [tlv(0x82, name.encode()) for name in targets.NAMES]
    san = raw_extension("2.5.29.17", tlv(0x30, *right, *general))
    targets.csr_der(a_raw_csr(asking_for(san), key=targets.the_key()))


@given(nearby.DER)
def test_any_subject_is_taken_or_refused(subject: bytes) -> None:
    targets.csr_subject(subject)


@given(st.integers(0, 2000), st.binary(min_size=1, max_size=3))
def test_a_request_with_something_after_it_or_cut_is_refused(cut: int, more: bytes) -> None:
    (good, *_) = targets.seeds("csr")
    csr.parse(good)
    for der in (good + more, good[: cut % len(good)]):
        with pytest.raises(Refused):
            csr.parse(der)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_request_is_not_changed_after_it_was_signed(at: int, by: int) -> None:
    """Each of its bytes is under the signature, or is the signature or its frame."""
    (good, *_) = targets.seeds("csr")
    changed = bytearray(good)
    changed[at % len(good)] ^= by
    with pytest.raises(Refused):
        csr.parse(bytes(changed))


# Names

LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
NAMES = st.lists(LABELS, min_size=1, max_size=5).map(".".join)


@given(NAMES, st.lists(st.booleans(), min_size=60, max_size=60), st.booleans(), st.booleans())
def test_all_spellings_of_a_name_are_one_name(
    name: str, high: list[bool], dot: bool, star: bool
) -> None:
    full = f"*.{name}" if star else name
    spelled = "".join(c.upper() if up else c for c, up in zip(full, high, strict=False))
    spelled = spelled + full[len(spelled) :] + ("." if dot else "")
    sent = [targets.messages.AskedIdentifier("dns", one) for one in (full, spelled, full.upper())]
    try:
        names = identifiers.names(sent, wildcards=True)
    except Refused as refused:
        targets.assert_proper(refused)
        with pytest.raises(Refused):
            identifiers.dns_name(full, wildcards=True)
    else:
        assert names == (full,)


@given(
    st.text(max_size=60) | NAMES | st.text("aA1-.*xn\u00e9\u0130\u212a\uff0e\u3002_ ", max_size=20)
)
def test_a_name_that_is_taken_is_ldh_and_its_own_canonical_form(text: str) -> None:
    targets.name(text.encode("utf-8", "replace"))
    assert canonical(canonical(text)) == canonical(text) or text.endswith("..")


@given(st.text(min_size=1, max_size=30).filter(lambda text: not text.isascii()))
def test_what_is_not_ascii_is_never_taken(label: str) -> None:
    """A U-label is refused with a hint; what looks like an ASCII name but is none, too."""
    for text in (f"{label}.lab.test", f"www.{label}", label):
        with pytest.raises(Refused) as caught:
            identifiers.dns_name(text, wildcards=True)
        targets.assert_proper(caught.value)


@given(st.lists(NAMES, min_size=1, max_size=8))
def test_an_order_has_each_name_once_in_the_order_sent(names: list[str]) -> None:
    sent = [targets.messages.AskedIdentifier("dns", name) for name in names for _ in range(2)]
    try:
        taken = identifiers.names(sent)
    except Refused as refused:
        targets.assert_proper(refused)
    else:
        assert taken == tuple(dict.fromkeys(names))


def test_the_csr_of_the_seeds_is_what_a_finalize_has() -> None:
    (text,) = targets.seeds("csr-text")
    assert b64(csr.from_base64url(text.decode())).encode() == text
