"""When to renew: the law of the window, and the wait until a client asks again."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from certeasy.decide import renewal
from certeasy.decide.renewal import AT_ONCE, Window, usual_window
from certeasy.settings import RenewalInfoSettings
from events.certificates import RenewalRequested
from projections.certificates import Certificate
from projections.renewals import Renewal
from tests.make.certificates import a_leaf

START = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
SETTINGS = RenewalInfoSettings()

times = st.integers(0, 30 * 366 * 86400).map(lambda seconds: START + seconds * SECOND)
lives = st.integers(1, 20 * 366 * 86400).map(lambda seconds: timedelta(seconds=seconds))
fractions = st.fractions(Fraction(1, 1000), Fraction(999, 1000), max_denominator=10**6)
widths = st.integers(60, 400 * 86400).map(lambda seconds: timedelta(seconds=seconds))


def a_certificate(
    life: timedelta = 90 * DAY, *, revoked: str = "", certificate_id: str = "a"
) -> Certificate:
    return Certificate(
        id=certificate_id,
        account_id="account",
        authority="lab",
        serial="01",
        sha256="",
        spki_sha256="",
        not_before=f"{START:%Y-%m-%dT%H:%M:%S}Z",
        not_after=f"{START + life:%Y-%m-%dT%H:%M:%S}Z",
        position=1,
        names=("web.lab.test",),
        certificate=b"",
        chain=(),
        revoked=revoked,
    )


def asked(start: datetime, width: timedelta | None) -> Renewal:
    """What is kept of a campaign that began then."""
    window = renewal.asked_window(start, width)
    return Renewal("a", campaign="c", start=rfc(window.start), end=rfc(window.end))


def rfc(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def test_by_default_the_window_is_two_days_around_two_thirds_of_the_lifetime():
    window = renewal.window(a_certificate(), None, SETTINGS)
    assert window == Window(START + 59 * DAY, START + 61 * DAY)


def test_the_window_of_a_short_certificate_is_narrower():
    window = renewal.window(a_certificate(timedelta(hours=24)), None, SETTINGS)
    assert window == Window(START + timedelta(hours=12), START + timedelta(hours=20))


@given(times, lives, fractions, widths)
def test_the_window_lies_inside_the_lifetime_and_ends_after_it_begins(start, life, part, width):
    """RFC 9773 section 4.2: an end that equals the start must not be served."""
    window = usual_window(start, start + life, part, width)
    assert start <= window.start < window.end <= start + life
    assert window.end - window.start <= width
    assert (window.start.microsecond, window.end.microsecond) == (0, 0)


@given(times, lives, lives, fractions, widths)
def test_of_the_same_lifetime_what_was_issued_later_is_renewed_later(start, life, by, part, width):
    one = usual_window(start, start + life, part, width)
    other = usual_window(start + by, start + by + life, part, width)
    assert (other.start - one.start, other.end - one.end) == (by, by)


@given(times, lives, fractions, fractions, widths)
def test_a_larger_part_of_the_lifetime_is_never_earlier(start, life, one, other, width):
    early, late = sorted((one, other))
    first = usual_window(start, start + life, early, width)
    second = usual_window(start, start + life, late, width)
    assert first.start <= second.start
    assert first.end <= second.end


@given(times, lives, fractions, widths, widths)
def test_a_wider_window_contains_the_narrower_one(start, life, part, one, other):
    narrow, wide = (usual_window(start, start + life, part, w) for w in sorted((one, other)))
    assert wide.start <= narrow.start
    assert narrow.end <= wide.end


def test_what_is_valid_for_no_time_at_all_still_has_a_window():
    window = usual_window(START, START, Fraction(2, 3), DAY)
    assert window.start < window.end


def test_what_was_revoked_is_renewed_at_once():
    revoked = "2026-12-24T18:00:00.999999Z"
    window = renewal.window(a_certificate(revoked=revoked), asked(START, 7 * DAY), SETTINGS)
    at = datetime(2026, 12, 24, 18, 0, tzinfo=UTC)
    assert window == Window(at - AT_ONCE, at, moved=True)


def test_what_is_asked_to_be_renewed_at_once_has_a_window_that_is_past():
    now = START + 5 * DAY
    window = renewal.window(a_certificate(), asked(now, None), SETTINGS)
    assert window == Window(now - AT_ONCE, now, moved=True)


def test_a_campaign_may_be_spread():
    now = START + 5 * DAY
    window = renewal.window(a_certificate(), asked(now, 7 * DAY), SETTINGS)
    assert window == Window(now, now + 7 * DAY, moved=True)


def test_an_order_for_the_successor_alone_moves_no_window():
    renewed = Renewal("a", successor="b")
    assert renewal.window(a_certificate(), renewed, SETTINGS) == usual()


def usual(life: timedelta = 90 * DAY) -> Window:
    return renewal.window(a_certificate(life), None, SETTINGS)


@given(lives, st.integers(-(10**9), 10**9), st.none() | widths)
def test_a_campaign_brings_a_renewal_forward_and_never_puts_it_off(life, when, width):
    window = renewal.window(a_certificate(life), asked(START + when * SECOND, width), SETTINGS)
    assert window.start < window.end
    assert window.start <= usual(life).start
    assert window.end <= usual(life).end


@pytest.mark.parametrize(
    ("changes", "covered"),
    [
        ({}, True),
        ({"revoked": "2026-11-03T00:00:00Z"}, False),
        ({"replaced_by": "another"}, False),
        ({"not_after": "2026-11-03T00:00:00Z"}, False),
        ({"authority": "another"}, False),
        ({"not_before": "2026-11-03T00:00:00Z"}, False),
    ],
)
def test_a_campaign_covers_what_is_in_force_and_meant(changes, covered):
    certificate = replace(a_certificate(), **changes)
    now, before = START + DAY, "2026-11-02T12:00:00Z"
    assert renewal.is_covered(certificate, now, "lab", before) is covered


def test_a_campaign_may_ask_for_an_authority_or_a_time_alone():
    one = a_certificate()
    assert renewal.is_covered(one, START, "lab", "")
    assert renewal.is_covered(one, START, "", "2026-11-02T12:00:00Z")


OTHERS = {
    "its successor": ({"replaced_by": "b"}, {}, "renewed"),
    "a later one": ({}, {}, "renewed"),
    "another account's": ({}, {"account_id": "b"}, "left"),
    "for more names": ({}, {"names": ("web.lab.test", "www.lab.test")}, "left"),
    "an earlier one": ({}, {"position": 0}, "left"),
    "itself": ({}, {"position": 1}, "left"),
    "another's, and it was revoked": ({"revoked": "now"}, {"account_id": "b"}, "revoked"),
    "another's, and it has run out": (
        {"not_after": "2026-11-03T09:00:00Z"},
        {"account_id": "b"},
        "expired",
    ),
}


@pytest.mark.parametrize(("changes", "other", "what"), OTHERS.values(), ids=OTHERS)
def test_what_became_of_a_certificate_is_told_by_the_others_of_its_name(changes, other, what):
    certificate = replace(a_certificate(), **changes)
    later = replace(a_certificate(certificate_id="c"), **({"position": 9} | other))
    assert renewal.outcome(certificate, [later], START + DAY) == what


def test_a_campaign_is_recorded_in_a_stream_of_its_own():
    fact = RenewalRequested("c", ("a",), rfc(START), rfc(START + DAY))
    assert renewal.request([fact]).facts == (("renewal/c", fact),)


@given(st.text("0123456789abcdefghijklmnopqrstuv", min_size=26, max_size=26))
def test_pitfall_47_the_wait_differs_by_at_most_a_fifth_and_is_the_certificates_own(name):
    """Pitfall 47: a fleet does not ask in step. RFC 9773 section 4.3.2."""
    wait = renewal.retry_after(a_certificate(certificate_id=name), SETTINGS)
    assert 0.8 * 6 * 3600 <= wait <= 1.2 * 6 * 3600
    assert wait == renewal.retry_after(a_certificate(certificate_id=name), SETTINGS)


@given(lives)
def test_for_a_short_certificate_is_asked_often_enough(life):
    certificate = a_certificate(life)
    wait = renewal.retry_after(certificate, SETTINGS) * SECOND
    assert SECOND <= wait <= max(SECOND, life / 10)
    if life > timedelta(minutes=2):
        window = renewal.window(certificate, None, SETTINGS)
        assert wait < certificate_end(certificate) - window.start


def certificate_end(certificate: Certificate) -> datetime:
    return datetime.fromisoformat(certificate.not_after)


def test_pitfall_47_the_waits_of_a_fleet_are_spread():
    """Pitfall 47."""
    waits = sorted(renewal.spread(f"{n:026d}", SETTINGS.retry_after) for n in range(1000))
    tenths = [sum(0 <= wait - 17280 - 864 * n < 864 for wait in waits) for n in range(10)]
    assert min(tenths) > 50


def test_the_issuers_key_is_read_from_the_certificate():
    assert renewal.key_id(a_leaf(key_id=b"\x01" * 20)) == b"\x01" * 20
    assert renewal.key_id(a_leaf(key_id=None)) is None


def test_what_is_no_certificate_names_no_issuer():
    assert renewal.key_id(b"a certificate, as far as a journal cares") is None
