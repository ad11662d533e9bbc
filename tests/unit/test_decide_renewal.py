"""When to renew: the law of the window, and the wait until a client asks again."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from certeasy.decide import renewal
from certeasy.decide.renewal import AT_ONCE, Window, usual_window
from certeasy.settings import RenewalInfoSettings
from projections.certificates import Certificate
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


def test_by_default_the_window_is_two_days_around_two_thirds_of_the_lifetime():
    window = renewal.window(a_certificate(), SETTINGS)
    assert window == Window(START + 59 * DAY, START + 61 * DAY)


def test_the_window_of_a_short_certificate_is_narrower():
    window = renewal.window(a_certificate(timedelta(hours=24)), SETTINGS)
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
    window = renewal.window(a_certificate(revoked=revoked), SETTINGS)
    at = datetime(2026, 12, 24, 18, 0, tzinfo=UTC)
    assert window == Window(at - AT_ONCE, at, moved=True)


@given(st.text("0123456789abcdefghijklmnopqrstuv", min_size=26, max_size=26))
def test_pitfall_47_the_wait_differs_by_at_most_a_fifth_and_is_the_certificates_own(name):
    """Pitfall 47: a fleet does not ask in step. RFC 9773 section 4.3.2."""
    wait = renewal.retry_after(name, SETTINGS)
    assert 0.8 * 6 * 3600 <= wait <= 1.2 * 6 * 3600
    assert wait == renewal.retry_after(name, SETTINGS)


def test_pitfall_47_the_waits_of_a_fleet_are_spread():
    """Pitfall 47."""
    waits = sorted(renewal.retry_after(f"{n:026d}", SETTINGS) for n in range(1000))
    tenths = [sum(0 <= wait - 17280 - 864 * n < 864 for wait in waits) for n in range(10)]
    assert min(tenths) > 50


def test_the_issuers_key_is_read_from_the_certificate():
    assert renewal.key_id(a_leaf(key_id=b"\x01" * 20)) == b"\x01" * 20
    assert renewal.key_id(a_leaf(key_id=None)) is None


def test_what_is_no_certificate_names_no_issuer():
    assert renewal.key_id(b"a certificate, as far as a journal cares") is None
