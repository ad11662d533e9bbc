import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.sealing import KEY_LENGTH, NONCE_LENGTH, Sealed, Subject, Unreadable
from events.signing import base64url, from_base64url

NONCE = b"n" * NONCE_LENGTH


def a_subject(name="account/1", byte=b"s") -> Subject:
    return Subject(name, byte * KEY_LENGTH)


@given(st.binary(max_size=100), st.text(max_size=20), st.binary(min_size=12, max_size=12))
def test_what_was_sealed_can_be_opened_with_the_subject_s_key(clear, name, nonce):
    sealed = a_subject(name).seal(clear, nonce)
    assert sealed.subject == name
    assert a_subject(name).open(sealed) == clear


def test_what_was_sealed_cannot_be_read():
    assert b"ops@corp" not in from_base64url(a_subject().seal(b"ops@corp.internal", NONCE).box)


@pytest.mark.parametrize(
    "other", [a_subject("account/2"), a_subject(byte=b"t")], ids=["name", "key"]
)
def test_another_subject_s_key_does_not_open(other):
    with pytest.raises(Unreadable, match=other.subject):
        other.open(a_subject().seal(b"clear", NONCE))


@given(st.integers(0, NONCE_LENGTH + 5 + 16 - 1), st.integers(1, 255))
def test_a_changed_box_does_not_open(place, mask):
    box = bytearray(from_base64url(a_subject().seal(b"clear", NONCE).box))
    box[place] ^= mask
    with pytest.raises(Unreadable):
        a_subject().open(Sealed("account/1", base64url(bytes(box))))


@pytest.mark.parametrize("box", ["", "AAAA", "A", "not base64!", "\u00e4"])
def test_rubbish_does_not_open(box):
    with pytest.raises(Unreadable):
        a_subject().open(Sealed("account/1", box))
