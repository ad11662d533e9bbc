"""What clients may send, and what they are sent."""

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certeasy.acme import messages
from certeasy.decide.problems import Problem, Refused
from events.orders import Identifier
from events.orders import Problem as ToldProblem


def refusal(decoder: msgspec.json.Decoder[Any], payload: bytes) -> Refused:
    with pytest.raises(Refused) as caught:
        messages.read(decoder, payload)
    assert caught.value.problem is Problem.MALFORMED
    assert caught.value.detail.startswith("the payload ")
    return caught.value


def test_what_caddy_sends_in_a_new_order_is_taken() -> None:
    order = messages.read(
        messages.NEW_ORDER,
        b'{"status":"","expires":"0001-01-01T00:00:00Z","identifiers":[{"type":"dns",'
        b'"value":"web.corp.test"}],"authorizations":null,"finalize":"","certificate":"",'
        b'"notBefore":null,"error":null}',
    )
    assert [(one.type, one.value) for one in order.identifiers] == [("dns", "web.corp.test")]


def test_what_the_acme_library_sends_for_a_new_account_is_taken() -> None:
    account = messages.read(
        messages.NEW_ACCOUNT,
        b'{"key":{"kty":"EC"},"contact":["mailto:a@corp.test"],"status":"valid",'
        b'"termsOfServiceAgreed":true,"onlyReturnExisting":false}',
    )
    assert account.contact == ("mailto:a@corp.test",)
    assert (account.terms_of_service_agreed, account.only_return_existing) == (True, False)


def test_nulls_mean_that_nothing_was_said() -> None:
    everything = b'{"contact":null,"termsOfServiceAgreed":null,"onlyReturnExisting":null}'
    assert messages.read(messages.NEW_ACCOUNT, everything) == messages.NewAccount()
    assert messages.read(messages.NEW_ACCOUNT, b"{}") == messages.NewAccount()


def test_a_challenge_response_may_have_old_members() -> None:
    messages.read(messages.CHALLENGE_RESPONSE, b'{"keyAuthorization":"x.y","resource":"challenge"}')


def test_a_backslash_before_what_reads_like_a_nul_is_a_backslash() -> None:
    assert messages.read(messages.NEW_ACCOUNT, b'{"contact":["\\\\u0000"]}').contact == ("\\u0000",)
    with pytest.raises(Refused, match="NUL"):
        messages.read(messages.NEW_ACCOUNT, b'{"contact":["\\\\\\u0000"]}')


def test_times_keep_their_zone() -> None:
    order = messages.read(
        messages.NEW_ORDER,
        b'{"identifiers":[{"type":"dns","value":"a.test"}],"notAfter":"2026-12-01T01:00:00+01:00"}',
    )
    assert order.not_after == datetime(2026, 12, 1, tzinfo=UTC)


NEW_ORDER_WITH = b'{"identifiers":[{"type":"dns","value":"%s"}]}'

WRONG = {
    "nothing": (messages.NEW_ORDER, b"", "is empty"),
    "no challenge object": (messages.CHALLENGE_RESPONSE, b"", "is empty"),
    "not JSON": (messages.NEW_ORDER, b"{identifiers:1}", "not JSON"),
    "cut off": (messages.NEW_ORDER, b'{"identifiers":[', "not JSON"),
    "an array": (messages.CHALLENGE_RESPONSE, b"[]", "Expected `object`"),
    "text": (messages.CHALLENGE_RESPONSE, b'"{}"', "Expected `object`"),
    "no UTF-8": (messages.NEW_ORDER, NEW_ORDER_WITH % b"\xff", "not JSON"),
    "half a character": (messages.NEW_ORDER, NEW_ORDER_WITH % b"\\ud800", "not JSON"),
    "a NUL": (messages.NEW_ORDER, NEW_ORDER_WITH % b"a\\u0000b", "NUL"),
    "a NUL in a member nobody reads": (messages.NEW_ACCOUNT, b'{"x":["\\u0000"]}', "NUL"),
    "a bare NUL": (messages.NEW_ORDER, NEW_ORDER_WITH % b"a\0b", "not JSON"),
    "no identifiers": (messages.NEW_ORDER, b"{}", "identifiers"),
    "null identifiers": (messages.NEW_ORDER, b'{"identifiers":null}', r"\$\.identifiers"),
    "an empty list": (messages.NEW_ORDER, b'{"identifiers":[]}', "length >= 1"),
    "no list": (messages.NEW_ORDER, b'{"identifiers":{"type":"dns"}}', "Expected `array`"),
    "names alone": (messages.NEW_ORDER, b'{"identifiers":["a.test"]}', "Expected `object`"),
    "no type": (messages.NEW_ORDER, b'{"identifiers":[{"value":"a"}]}', "type"),
    "a number": (messages.NEW_ORDER, b'{"identifiers":[{"type":"dns","value":1}]}', "value"),
    "endless": (messages.NEW_ORDER, NEW_ORDER_WITH % (b"a" * 1025), "length <= 1024"),
    "too many": (
        messages.NEW_ORDER,
        b'{"identifiers":[' + b",".join([b'{"type":"dns","value":"a"}'] * 1001) + b"]}",
        "length <= 1000",
    ),
    "no time": (
        messages.NEW_ORDER,
        b'{"identifiers":[{"type":"dns","value":"a"}],"notBefore":"soon"}',
        "notBefore",
    ),
    "a time without zone": (
        messages.NEW_ORDER,
        b'{"identifiers":[{"type":"dns","value":"a"}],"notBefore":"2026-01-01T00:00:00"}',
        "notBefore",
    ),
    "twice": (
        messages.NEW_ORDER,
        b'{"identifiers":[{"type":"dns","value":"a.test","value":"b.test"}]}',
        "twice: 'value'",
    ),
    "contacts as text": (messages.NEW_ACCOUNT, b'{"contact":"mailto:a@b"}', "contact"),
    "too many contacts": (
        messages.ACCOUNT_UPDATE,
        b'{"contact":[' + b",".join([b'"mailto:a@b"'] * 21) + b"]}",
        "length <= 20",
    ),
    "yes": (messages.NEW_ACCOUNT, b'{"termsOfServiceAgreed":"yes"}', "Expected `bool"),
    "deep": (messages.NEW_ACCOUNT, b'{"x":' + b"[" * 9000, "deeply"),
    "no csr": (messages.FINALIZE, b"{}", "csr"),
    "null csr": (messages.FINALIZE, b'{"csr":null}', "csr"),
    "a huge csr": (messages.FINALIZE, b'{"csr":"' + b"A" * 70_000 + b'"}', "length <= 65536"),
    "a reason in words": (
        messages.REVOCATION,
        b'{"certificate":"AAAA","reason":"superseded"}',
        "reason",
    ),
    "a reason that is true": (
        messages.REVOCATION,
        b'{"certificate":"AAAA","reason":true}',
        "reason",
    ),
}


@pytest.mark.parametrize(("decoder", "payload", "says"), WRONG.values(), ids=WRONG)
def test_a_wrong_payload_is_malformed_and_told(
    decoder: msgspec.json.Decoder[Any], payload: bytes, says: str
) -> None:
    detail = refusal(decoder, payload).detail
    assert re.search(says, detail)
    assert "\0" not in detail
    assert len(detail) < 300


@given(st.binary(max_size=40))
def test_rubbish_is_refused_and_nothing_else_happens(payload: bytes) -> None:
    refusal(messages.NEW_ORDER, payload)


def test_what_is_ignored_may_be_nested_within_reason() -> None:
    def payload(levels: int) -> bytes:
        return b'{"csr":"AAAA","x":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"

    assert messages.read(messages.FINALIZE, payload(32)).csr == "AAAA"
    assert "nested too deeply" in refusal(messages.FINALIZE, payload(33)).detail


@pytest.mark.parametrize(
    ("encoded", "says"),
    [
        ("MIIB=", "padded"),
        ("MII+", "URL alphabet"),
        ("MII\r\nB", "line ends"),
        ("-----BEGIN CERTIFICATE REQUEST-----", "PEM"),
        ("MIIBa", "cut off"),
    ],
)
def test_a_badly_encoded_csr_is_malformed_with_a_hint(encoded: str, says: str) -> None:
    with pytest.raises(Refused, match=says) as caught:
        messages.der(encoded, "the csr")
    assert caught.value.problem is Problem.MALFORMED


def test_a_well_encoded_csr_is_der() -> None:
    assert messages.der("MIIB", "the csr") == b"0\x82\x01"


# --- Answers


def an_order(status: str = "pending", detail: str = "", name: str = "web.corp.test") -> bytes:
    order = messages.Order(
        status=status,
        expires="2026-11-09T09:00:00Z",
        identifiers=(Identifier("dns", name),),
        authorizations=("https://acme.corp.test/acme/authz/x-0",),
        finalize="https://acme.corp.test/acme/finalize/x",
        error=ToldProblem("urn:ietf:params:acme:error:dns", detail, 400) if detail else None,
    )
    return msgspec.json.encode(order)


def test_an_order_is_one_compact_line() -> None:
    assert an_order() == (
        b'{"status":"pending","expires":"2026-11-09T09:00:00Z","identifiers":[{"type":"dns",'
        b'"value":"web.corp.test"}],"authorizations":["https://acme.corp.test/acme/authz/x-0"],'
        b'"finalize":"https://acme.corp.test/acme/finalize/x"}'
    )


@given(st.sampled_from(["pending", "invalid"]), st.text(max_size=30))
def test_acme_sh_sees_no_other_status_in_an_order(status: str, told: str) -> None:
    for detail in (told, f'still "processing", {told}', f'"status":"valid" {told}', '"ready"'):
        text = an_order(status, detail)
        for mark in (b'"status":"valid"', b'"ready"', b'"processing"'):
            assert mark not in text


def test_members_without_a_value_are_left_out() -> None:
    challenge = messages.Challenge("http-01", "https://a/c", "pending", "token")
    assert msgspec.json.decode(msgspec.json.encode(challenge)).keys() == {
        "type",
        "url",
        "status",
        "token",
    }
    authorization = messages.Authorization(Identifier("dns", "a"), "pending", "", (challenge,))
    assert b"wildcard" not in msgspec.json.encode(authorization)


def test_an_account_always_has_contact_and_orders() -> None:
    account = messages.Account("valid", (), "https://a/orders")
    assert msgspec.json.encode(account) == (
        b'{"status":"valid","contact":[],"orders":"https://a/orders"}'
    )


def test_a_directory_has_no_empty_terms() -> None:
    directory = messages.Directory("n", "a", "o", "r", "i", "k")
    assert msgspec.json.encode(directory) == (
        b'{"newNonce":"n","newAccount":"a","newOrder":"o","revokeCert":"r","renewalInfo":"i","keyChange":"k"}'
    )


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)))  # noqa: DTZ001 - hypothesis adds zones itself
def test_times_are_whole_seconds_of_utc(naive: datetime) -> None:
    at = naive.replace(tzinfo=timezone(timedelta(hours=5, minutes=30)))
    text = messages.moment(at)
    assert len(text) == 20
    assert text.endswith("Z")
    assert timedelta(0) <= at - datetime.fromisoformat(text) < timedelta(seconds=1)
    assert messages.whole_seconds(at.astimezone(UTC).isoformat()) == text
