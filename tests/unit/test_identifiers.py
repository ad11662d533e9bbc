"""Names in orders: one form for each, and a reason for every refusal."""

import re
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certeasy.decide.identifiers import MOST_NAMES, MOST_SENT, MOST_SHOWN, dns_name, names, split
from certeasy.decide.problems import Identifier, Problem, Refused
from certeasy.settings.names import canonical, fault

LABEL = st.from_regex(re.compile(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", re.ASCII), fullmatch=True)
TLD = st.from_regex(re.compile(r"[a-z]{2,8}", re.ASCII), fullmatch=True)


@st.composite
def good_names(draw):
    labels = draw(st.lists(LABEL, max_size=4))
    name = ".".join([*labels, draw(TLD)])
    return name.replace("xn--", "xn-")


def of(*values):
    return [Identifier.dns(value) for value in values]


def refusal_of(*identifiers, **options):
    with pytest.raises(Refused) as caught:
        names(identifiers, **options)
    return caught.value


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("web.corp.test", "web.corp.test"),
        ("WEB.Corp.TEST", "web.corp.test"),
        ("web.corp.test.", "web.corp.test"),
        ("intranet", "intranet"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("pc--01.corp.test", "pc--01.corp.test"),
        ("1.2.3.4.in-addr.arpa", "1.2.3.4.in-addr.arpa"),
        ("3com.com", "3com.com"),
        ("0xen.example", "0xen.example"),
        ("a" * 63 + ".test", "a" * 63 + ".test"),
        (".".join(["a" * 49] * 5) + ".ab", ".".join(["a" * 49] * 5) + ".ab"),
    ],
)
def test_a_name_is_brought_into_one_form(sent, kept):
    assert names(of(sent)) == (kept,)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ("", "is empty"),
        (".", "is empty"),
        ("..", "empty label"),
        ("a..test", "empty label"),
        (".a.test", "empty label"),
        ("a.test..", "empty label"),
        ("a b.test", "white space"),
        (" a.test", "white space"),
        ("a.test\n", "white space"),
        ("a\x00b.test", "control characters"),
        ("a\x7f.test", "control characters"),
        ("a_b.test", "letters, digits and hyphens"),
        ("a/b.test", "letters, digits and hyphens"),
        ("a:443", "letters, digits and hyphens"),
        ("https://a.test", "letters, digits and hyphens"),
        ("-a.test", "hyphen"),
        ("a-.test", "hyphen"),
        ("a" * 64 + ".test", "longer than 63"),
        (".".join(["a" * 49] * 5) + ".abcd", "longer than 253"),
        ("10.0.0.1", "ends in a number"),
        ("10.0.0.1.", "ends in a number"),
        ("a.test.1", "ends in a number"),
        ("0x7f.0.0.0x1", "ends in a number"),
        ("a.0x", "ends in a number"),
        ("::1", "letters, digits and hyphens"),
        ("[::1]", "letters, digits and hyphens"),
        ("xn--.test", "hyphen"),
        ("xn--a.test", "no encoded Unicode label"),
        ("xn--corp-.test", "hyphen"),
        ("xn--bCHER-kva3.test", "no encoded Unicode label"),
        ("xn--abc-.test", "hyphen"),
        ("xn--99999999.test", "no encoded Unicode label"),
        ("xn--a-b.test", "no encoded Unicode label"),
        ("*", "star"),
        ("*.", "star"),
        ("a*.test", "star"),
        ("a.*.test", "star"),
        ("*.*.test", "star"),
        ("**.test", "star"),
    ],
)
@pytest.mark.parametrize("wildcards", [False, True])
def test_what_is_no_name_is_refused_with_the_reason(sent, reason, wildcards):
    refusal = refusal_of(*of(sent), wildcards=wildcards)
    assert refusal.problem is Problem.REJECTED_IDENTIFIER
    assert reason in refusal.detail
    assert refusal.identifier is not None
    assert not refusal.subproblems


@pytest.mark.parametrize(
    ("sent", "hint"),
    [
        ("bücher.example", '"xn--bcher-kva.example"'),
        ("BÜCHER.example.", '"xn--bcher-kva.example"'),
        ("straße.example", '"xn--strae-oqa.example"'),
        ("例え\u3002テスト", '"xn--r8jz45g.xn--zckzah"'),
        ("*.bücher.example", '"*.xn--bcher-kva.example"'),
    ],
)
def test_unicode_is_refused_with_the_form_to_send(sent, hint):
    refusal = refusal_of(*of(sent), wildcards=True)
    assert "is not ASCII" in refusal.detail
    assert hint in refusal.detail


@pytest.mark.parametrize(
    "sent", ["ü" * 300, "\ufdfa" * 60 + ".test", "ü_ .test", "\ud800\x00.test"]
)
def test_unicode_that_no_form_can_carry_gets_no_hint(sent):
    refusal = refusal_of(*of(sent))
    assert refusal.detail.endswith("is not ASCII")
    assert "\x00" not in refusal.detail


def test_the_kelvin_sign_is_not_a_k():
    assert "is not ASCII" in refusal_of(*of("\u212aelvin.test")).detail


def test_wildcards_are_refused_while_nothing_proves_them():
    refusal = refusal_of(*of("*.corp.test"))
    assert refusal.problem is Problem.REJECTED_IDENTIFIER
    assert "only a DNS challenge proves; no policy offers one (dns-01)" in refusal.detail
    assert refusal.identifier == Identifier.dns("*.corp.test")


def test_wildcards_keep_their_star_once_something_proves_them():
    assert names(of("*.Corp.test.", "corp.test"), wildcards=True) == ("*.corp.test", "corp.test")
    assert split("*.corp.test") == ("corp.test", True)
    assert split("corp.test") == ("corp.test", False)


def test_a_wildcard_over_a_top_level_domain_is_refused():
    assert "top-level domain" in refusal_of(*of("*.test"), wildcards=True).detail


def test_a_wildcard_counts_its_star_into_the_length():
    base = ".".join(["a" * 49] * 5) + ".ab"
    assert dns_name(base) == base
    with pytest.raises(Refused, match="longer than 253"):
        dns_name("*." + base, wildcards=True)


def test_duplicates_are_dropped_in_silence_and_the_first_keeps_its_place():
    assert names(of("b.test", "A.test", "b.TEST.", "a.test")) == ("b.test", "a.test")


def test_an_order_without_names_is_malformed():
    assert refusal_of().problem is Problem.MALFORMED


def test_an_order_has_a_largest_number_of_names():
    hundred = of(*(f"n{i}.test" for i in range(MOST_NAMES)))
    assert len(names(hundred + hundred)) == MOST_NAMES
    refusal = refusal_of(*hundred, *of("one-more.test"))
    assert refusal.problem is Problem.MALFORMED
    assert "at most 100 names; this one has 101" in refusal.detail
    assert len(names(of("a.test", "b.test"), most=2)) == 2
    assert refusal_of(*of("a.test", "b.test"), most=1).problem is Problem.MALFORMED


def test_nobody_reads_a_list_without_end():
    assert names(of(*["a.test"] * MOST_SENT)) == ("a.test",)
    endless = iter(lambda: Identifier.dns("a.test"), None)
    with pytest.raises(Refused, match="at most 100 names"):
        names(endless)


ADDRESSES = [
    ("10.0.0.1", "10.0.0.1"),
    ("2001:db8::1", "2001:db8::1"),
    ("2001:DB8::A", "2001:db8::a"),
    ("::1", "::1"),
    ("::", "::"),
]


@pytest.mark.parametrize(("sent", "kept"), ADDRESSES)
def test_an_address_has_one_form(sent, kept):
    """RFC 8738 section 3, RFC 5952 section 4."""
    both = [Identifier("ip", sent), Identifier.dns("a.test"), Identifier("ip", kept)]
    assert names(both, ips=True) == (kept, "a.test")
    assert Identifier.of(kept) == Identifier("ip", kept)


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ("", "is no IP address"),
        ("a.test", "is no IP address"),
        ("10.0.0.1.", "is no IP address"),
        ("10.0.0", "is no IP address"),
        ("10.0.0.256", "is no IP address"),
        ("010.0.0.1", "is no IP address"),
        ("0x0a000001", "is no IP address"),
        ("167772161", "is no IP address"),
        ("10.0.0.0/8", "is no IP address"),
        (" 10.0.0.1", "is no IP address"),
        ("10.0.0.1\n", "is no IP address"),
        ("\uff11\uff10.0.0.1", "is no IP address"),
        ("[::1]", "is no IP address"),
        ("*.10.0.0.1", "is no IP address"),
        ("2001:db8:0::1", 'send "2001:db8::1"'),
        ("2001:db8::0a", 'send "2001:db8::a"'),
        ("2001:db8:0:0:1:0:0:1", 'send "2001:db8::1:0:0:1"'),
        ("64:ff9b::10.0.0.1", 'send "64:ff9b::a00:1"'),
        ("::ffff:10.0.0.1", 'an IPv4 address inside an IPv6 address; send "10.0.0.1"'),
        ("::ffff:a00:1", 'an IPv4 address inside an IPv6 address; send "10.0.0.1"'),
        ("fe80::1%eth0", "has a zone"),
    ],
)
def test_what_is_no_address_in_its_one_form_is_refused_with_the_form_to_send(sent, words):
    """RFC 8738 section 3, RFC 5952 section 4."""
    refusal = refusal_of(Identifier("ip", sent), ips=True)
    assert refusal.problem is Problem.REJECTED_IDENTIFIER
    assert words in refusal.detail
    assert refusal.identifier is not None
    assert refusal.identifier.type == "ip"
    assert refusal.detail.isprintable()


@pytest.mark.parametrize("sent", ["10.0.0.1", "10.0.0.1.", "::1"])
def test_an_address_sent_as_a_name_is_told_its_type(sent):
    refusal = refusal_of(*of(sent), ips=True)
    assert refusal.detail.endswith('an address is ordered by an identifier of the type "ip"')
    assert refusal.identifier == Identifier("dns", sent)


@given(st.one_of(st.ip_addresses(), st.text(alphabet="0123456789abcdef:.%/x", max_size=40)))
def test_any_text_is_an_address_or_refused(text):
    answer: tuple[str, ...] | Refused
    try:
        answer = names([Identifier("ip", str(text))], ips=True)
    except Refused as refusal:
        answer = refusal
    if isinstance(answer, Refused):
        assert answer.problem is Problem.REJECTED_IDENTIFIER
    else:
        (kept,) = answer
        assert kept == str(ip_address(kept)) == str(text).lower()
        assert Identifier.of(kept).type == "ip"


@given(good_names())
def test_no_name_has_the_form_of_an_address(name):
    assert Identifier.of(name).type == Identifier.of("*.a." + name).type == "dns"


def test_other_types_are_not_supported():
    refusal = refusal_of(Identifier("email", "a@b.test"), ips=True)
    assert refusal.detail.endswith('are not supported; "dns" and "ip" are')
    refusal = refusal_of(Identifier("ip", "10.0.0.1"))
    assert refusal.problem is Problem.UNSUPPORTED_IDENTIFIER
    assert refusal.identifier == Identifier("ip", "10.0.0.1")
    assert "\x00" not in refusal_of(Identifier("d\x00", "a" * 200)).detail


def test_several_wrong_names_are_told_one_by_one():
    refusal = refusal_of(*of("a_b.test", "good.test", "-c.test"))
    assert refusal.problem is Problem.REJECTED_IDENTIFIER
    assert [part.identifier for part in refusal.subproblems] == of("a_b.test", "-c.test")
    assert "2 of the identifiers" in refusal.detail


def test_several_kinds_of_wrong_are_compound():
    refusal = refusal_of(Identifier.dns("a_b.test"), Identifier("ip", "10.0.0.1"))
    assert refusal.problem is Problem.COMPOUND
    kinds = [part.type.rpartition(":")[2] for part in refusal.subproblems]
    assert kinds == ["rejectedIdentifier", "unsupportedIdentifier"]


def test_a_refusal_stays_short():
    refusal = refusal_of(*of(*("\x00" * 5000 + str(i) for i in range(500))))
    assert len(refusal.subproblems) == MOST_SHOWN
    assert all(len(part.detail) < 800 for part in refusal.subproblems)
    assert "\x00" not in refusal.detail


@given(good_names())
def test_the_form_of_a_name_is_its_own_form(name):
    assert dns_name(name) == name
    assert dns_name(name.upper() + ".") == name
    assert dns_name("*.a." + name, wildcards=True) == "*.a." + name


@given(st.one_of(st.text(max_size=80), st.text(alphabet="ab-_.*xn0 \x00ü1", max_size=30)))
def test_any_text_is_a_name_or_refused(text):
    answer: str | Refused
    try:
        answer = dns_name(text, wildcards=True)
    except Refused as refusal:
        answer = refusal
    if isinstance(answer, Refused):
        assert answer.problem is Problem.REJECTED_IDENTIFIER
        assert answer.detail.isprintable()
    else:
        assert dns_name(answer, wildcards=True) == answer
        assert re.fullmatch(r"(\*\.)?[a-z0-9.-]{1,253}", answer)
        assert text.lower().removesuffix(".") == answer


@given(st.text(alphabet="äöß.例-a", min_size=1, max_size=20).filter(lambda t: not t.isascii()))
def test_the_hint_is_a_name_that_would_be_taken(text):
    with pytest.raises(Refused) as caught:
        dns_name("*.a." + text, wildcards=True)
    hint = re.search(r'A-label form, "(.*)"', caught.value.detail)
    if hint:
        assert dns_name(hint[1], wildcards=True) == hint[1]


@given(st.lists(good_names(), min_size=1, max_size=30))
def test_the_names_of_an_order_are_a_set_in_the_order_they_came(sent):
    kept = names(of(*sent))
    assert kept == tuple(dict.fromkeys(sent))
    assert names(of(*kept)) == kept
    assert all(fault(canonical(name)) is None for name in kept)
