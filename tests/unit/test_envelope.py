import json  # noqa: TID251 - the specification speaks of it
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.envelope import (
    JWS_MEMBER,
    MAX_DEPTH,
    MAX_LINE,
    ZERO_HASH,
    Actor,
    BrokenLine,
    Envelope,
    encode,
    parse,
    seal_line,
    timestamp,
)
from events.nodes import NodeStopped
from events.registry import UndecodableEvent, UnknownEvent
from events.sealing import Sealed
from events.signing import BadSignature, SigningKey, base64url

KEY = SigningKey.from_seed(b"k" * 32)
OTHER = SigningKey.from_seed(b"o" * 32)

texts = st.text(max_size=40)
numbers = st.integers(0, 2**60)
data = st.dictionaries(texts, texts | numbers | st.booleans() | st.none() | st.lists(texts))


def an_envelope(**changes) -> Envelope:
    members = {
        "v": 1,
        "position": 7,
        "server_id": "6f3c1f4e-5d0a-4c2b-9a51-2f6d2a9b7c10",
        "seq": 3,
        "prev": "ab" * 32,
        "head": ZERO_HASH,
        "at": "2026-11-23T12:00:00.000000Z",
        "stream": "node/1",
        "version": 2,
        "type": "node.stopped",
        "schema": 1,
        "actor": encode(Actor("system", "test")),
        "data": encode(NodeStopped("boot")),
    }
    return Envelope(**{**members, **changes})


def a_line() -> bytes:
    return seal_line(an_envelope(), KEY).line


@given(
    st.builds(
        an_envelope,
        position=numbers,
        seq=numbers,
        server_id=texts,
        prev=texts,
        head=texts,
        at=texts,
        stream=texts,
        version=numbers,
        type=texts,
        schema=numbers,
        actor=st.builds(Actor, texts, texts).map(encode),
        data=data.map(encode),
    )
)
def test_a_line_is_read_back_as_it_was_written(envelope):
    record = seal_line(envelope, KEY)
    read = parse(record.line)
    assert read.envelope == envelope
    assert read.line == record.line
    assert read.hash == record.hash
    assert read.kid == KEY.public.kid
    read.verify(KEY.public)


def test_a_line_s_members_stand_in_their_order():
    members = list(msgspec.json.decode(a_line()))
    assert members == [
        *("v", "position", "server_id", "seq", "prev", "head", "at"),
        *("stream", "version", "type", "schema", "actor", "data", "jws"),
    ]


@given(st.builds(an_envelope, stream=texts, type=texts, server_id=texts, seq=numbers))
def test_the_canonical_spelling_is_the_one_that_the_specification_names(envelope):
    members = {name: getattr(envelope, name) for name in Envelope.__struct_fields__[:-2]}
    spelled = json.dumps(members, ensure_ascii=False, separators=(",", ":"))
    assert seal_line(envelope, KEY).line.startswith(spelled[:-1].encode() + b',"actor":{')


def test_a_record_decodes_its_event_and_its_actor():
    record = parse(a_line())
    assert record.event == NodeStopped("boot")
    assert record.actor == Actor("system", "test")
    sealed = Actor("account", "a1", Sealed("account/a1", "AAAA"))
    assert parse(seal_line(an_envelope(actor=encode(sealed)), KEY).line).actor == sealed


def test_an_event_that_this_version_does_not_know_is_a_line_all_the_same():
    record = parse(seal_line(an_envelope(type="future.happened"), KEY).line)
    with pytest.raises(UnknownEvent):
        _ = record.event
    other_shape = parse(seal_line(an_envelope(data=msgspec.Raw(b'{"boot_id":1}')), KEY).line)
    with pytest.raises(UndecodableEvent):
        _ = other_shape.event


def test_only_the_key_that_signed_verifies():
    record = parse(a_line())
    record.verify(KEY.public)
    with pytest.raises(BadSignature, match=OTHER.public.kid):
        record.verify(OTHER.public)


def test_a_changed_payload_does_not_verify():
    record = parse(a_line().replace(b'"boot"', b'"toob"'))
    with pytest.raises(BadSignature):
        record.verify(KEY.public)


def signed(payload: bytes) -> bytes:
    """Sign a payload whatever it is: only its form can be wrong."""
    return payload[:-1] + JWS_MEMBER + KEY.sign(payload) + b'"}'


def payload() -> bytes:
    return parse(a_line()).payload


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b'"v":1,', b'"v": 1,', "canonical"),
        (b'{"v"', b'{ "v"', "canonical"),
        (b'"v":1,"position":7,', b'"position":7,"v":1,', "canonical"),
        (b'"v":1,', b'"v":1,"v":1,', "canonical"),
        (b'"seq":3,', b'"seq":3.0,', "not an event"),
        (b'"stream":"node/1"', rb'"stream":"n\u006fde/1"', "canonical"),
        (b'"actor":{', b'"actor": {', "canonical"),
        (b'"v":1,', b'"v":1,"extra":1,', "unknown field"),
        (b'"seq":3,', b"", "seq"),
        (b'"seq":3,', b'"seq":"3",', "not an event"),
        (b'"v":1,', b'"v":2,', "envelope format 2"),
        (b'"boot_id":"boot"', b'"boot_id":bo', "malformed"),
        (b'"stream":"node/1"', b'"stream":"\xff"', "not an event"),
        (b'"boot_id":"boot"', b'"boot_id":' + b"[" * 5000 + b"]" * 5000, "nested deeper"),
        (b'"boot_id":"boot"', b'"boot_id":' + b"[" * 5000, "nested deeper"),
    ],
)
def test_another_spelling_of_the_envelope_is_refused(old, new, reason):
    other = payload().replace(old, new, 1)
    assert other != payload()
    with pytest.raises(BrokenLine, match=reason):
        parse(signed(other))


def with_jws(change) -> bytes:
    """Return a line whose signature member was changed."""
    start, mark, jws = a_line().rpartition(JWS_MEMBER)
    return start + mark + change(jws.removesuffix(b'"}')) + b'"}'


def with_header(text: str):
    def change(jws: bytes) -> bytes:
        return base64url(text.encode()).encode() + jws[jws.index(b"..") :]

    return change


KID = KEY.public.kid


OTHER_SPELLINGS = {
    "alg none": with_header(f'{{"alg":"none","b64":false,"crit":["b64"],"kid":"{KID}"}}'),
    "b64 true": with_header(f'{{"alg":"EdDSA","b64":true,"crit":["b64"],"kid":"{KID}"}}'),
    "no b64": with_header(f'{{"alg":"EdDSA","kid":"{KID}"}}'),
    "white space": with_header(f'{{"alg": "EdDSA","b64":false,"crit":["b64"],"kid":"{KID}"}}'),
    "other order": with_header(f'{{"kid":"{KID}","alg":"EdDSA","b64":false,"crit":["b64"]}}'),
    "a payload between": lambda jws: jws.replace(b"..", b".e30."),
    "one dot": lambda jws: jws.replace(b"..", b"."),
    "padded header": lambda jws: jws.replace(b"..", b"=.."),
    "padded signature": lambda jws: jws + b"==",
    "too short": lambda jws: jws[:-1],
    "too long": lambda jws: jws + b"A",
    "stray bits": lambda jws: (
        jws[:-1] + bytes([jws[-1] + 1])
    ),  # the stray bits of the last character
    "plain base64": lambda jws: jws[:-2] + b"+/",
    "no ASCII": lambda jws: jws[:-2] + b"\xc3\xa4",
    "empty": lambda _: b"",
    "only dots": lambda _: b"..",
}


@pytest.mark.parametrize("change", OTHER_SPELLINGS.values(), ids=OTHER_SPELLINGS)
def test_another_spelling_of_the_signature_is_refused(change):
    with pytest.raises(BrokenLine, match="the signature member"):
        parse(with_jws(change))


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"\x7fELF",
        a_line() + b"\n",
        a_line() + b" ",
        a_line()[:-1],
        a_line() + a_line(),
        b'{"jws":"x"}',
        b"[" * 100_000 + b',"jws":"x"}',
    ],
)
def test_what_is_no_line_is_refused(line):
    with pytest.raises(BrokenLine):
        parse(line)


@given(st.binary(max_size=300))
def test_rubbish_is_refused_and_nothing_worse(rubbish):
    with pytest.raises(BrokenLine):
        parse(rubbish)
    with pytest.raises(BrokenLine):
        parse(b'{"v":1' + rubbish + JWS_MEMBER + rubbish + b'"}')


def test_a_line_too_long_is_neither_written_nor_read():
    long = an_envelope(data=encode({"long": "x" * MAX_LINE}))
    with pytest.raises(BrokenLine, match="at most 262144"):
        seal_line(long, KEY)
    with pytest.raises(BrokenLine, match="at most 262144"):
        parse(b"x" * (MAX_LINE + 1))
    fits = an_envelope(data=encode({"long": "x" * (MAX_LINE - 1000)}))
    assert parse(seal_line(fits, KEY).line).envelope == fits


def nested(levels: int) -> Envelope:
    """Return an envelope that is so deep: itself, its data, and lists."""
    lists = levels - 2
    return an_envelope(data=msgspec.Raw(b'{"x":' + b"[" * lists + b"]" * lists + b"}"))


def test_a_line_too_deep_for_some_readers_is_neither_written_nor_read():
    fits = nested(MAX_DEPTH)
    assert parse(seal_line(fits, KEY).line).envelope == fits
    with pytest.raises(BrokenLine, match="nested deeper than 64 levels"):
        seal_line(nested(MAX_DEPTH + 1), KEY)
    with pytest.raises(BrokenLine, match="nested deeper than 64 levels"):
        parse(signed(bytes(encode(nested(MAX_DEPTH + 1)))))


@given(st.datetimes().map(lambda at: at.replace(tzinfo=UTC)), st.datetimes())
def test_times_sort_as_their_texts_do(one, other):
    other = other.replace(tzinfo=UTC)
    years = range(1000, 10000)
    if one.year in years and other.year in years:
        assert (timestamp(one) < timestamp(other)) == (one < other)


def test_a_time_is_rfc_3339_with_microseconds():
    assert timestamp(datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)) == "2026-01-02T03:04:05.000006Z"
