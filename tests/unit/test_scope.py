"""The four forms of a rule, and what they permit."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certeasy.decide.scope import Verdict, covers, parse, permits

LABEL = st.from_regex(re.compile(r"[a-z][a-z0-9]{0,3}", re.ASCII), fullmatch=True)
ZONE = st.lists(LABEL, min_size=1, max_size=3).map(".".join)
IN_FRONT = st.lists(LABEL, max_size=6)
RULE = st.one_of(
    st.builds(".{}/{}".format, ZONE, st.integers(1, 5)),
    st.builds("*.{}".format, ZONE),
    st.builds("*..{}/{}".format, ZONE, st.integers(1, 5)),
    st.builds("={}".format, ZONE),
).map(parse)
RULES = st.lists(RULE, max_size=3)
NAME = st.builds(lambda front, zone: ".".join([*front, zone]), IN_FRONT, ZONE)


@pytest.mark.parametrize(
    ("rule", "spoken_of", "not_spoken_of"),
    [
        (
            ".corp.test/2",
            ["a.corp.test", "b.a.corp.test"],
            ["corp.test", "c.b.a.corp.test", "*.corp.test", "*.a.corp.test", "acorp.test", "test"],
        ),
        (
            "*.corp.test",
            ["*.corp.test"],
            ["corp.test", "a.corp.test", "*.a.corp.test", "*.test"],
        ),
        (
            "*..corp.test/2",
            ["*.a.corp.test", "*.b.a.corp.test"],
            ["*.corp.test", "*.c.b.a.corp.test", "a.corp.test", "*.acorp.test"],
        ),
        (
            "=www.corp.test",
            ["www.corp.test"],
            ["corp.test", "a.www.corp.test", "*.www.corp.test", "www.corp.test.test"],
        ),
        (".test/127", ["a.test", ".".join("a" * 126) + ".test"], ["test"]),
    ],
)
def test_a_rule_speaks_of_the_names_of_its_form(rule, spoken_of, not_spoken_of):
    def speaks(name):
        wildcard = name.startswith("*.")
        return covers(parse(rule), name.removeprefix("*."), wildcard=wildcard)

    assert [name for name in spoken_of if not speaks(name)] == []
    assert [name for name in not_spoken_of if speaks(name)] == []


def test_rules_are_read_in_any_case_and_with_a_dot_at_the_end():
    assert parse(".Corp.TEST./2").zone == "corp.test"
    assert parse("=WWW.corp.test.").zone == "www.corp.test"
    assert parse("*.Corp.test").text == "*.Corp.test"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", ".zone/N"),
        ("corp.test", "for this name alone write =corp.test"),
        (".corp.test", "the depth is missing: .corp.test/N"),
        ("*..corp.test", "the depth is missing: *..corp.test/N"),
        (".corp.test/0", "must be 1 to 127"),
        (".corp.test/128", "must be 1 to 127"),
        (".corp.test/9999", ".zone/N"),
        (".corp.test/-1", ".zone/N"),
        (".corp.test/", ".zone/N"),
        (".corp.test/two", ".zone/N"),
        (".corp.test/\u0662", ".zone/N"),
        (".corp.test/2 ", ".zone/N"),
        ("corp.test/2", ".zone/N"),
        ("./2", ".zone/N"),
        ("*", ".zone/N"),
        ("=", "is empty"),
        ("=*.corp.test", "letters, digits and hyphens"),
        ("=corp..test", "empty label"),
        ("*.", "is empty"),
        ("*.corp.test/2", "letters, digits and hyphens"),
        ("*.*.test", "letters, digits and hyphens"),
        ("*...corp.test/2", "empty label"),
        ("..corp.test/2", "empty label"),
        (".bücher.example/2", "xn--bcher-kva.example"),
        (".10.0.0.1/2", "ends in a number"),
    ],
)
def test_what_is_no_rule_says_why(text, reason):
    with pytest.raises(ValueError, match=re.escape(reason)):
        parse(text)


def test_deny_wins_and_the_verdict_names_the_rule():
    allow, deny = [parse("=a.test"), parse(".corp.test/3")], [parse("=x.corp.test")]
    allowed = permits(allow, deny, "web.corp.test", wildcard=False)
    assert allowed == Verdict(permitted=True, rule=allow[1])
    assert allowed.reason == 'is allowed by the rule ".corp.test/3"'
    denied = permits(allow, deny, "x.corp.test", wildcard=False)
    assert denied == Verdict(permitted=False, rule=deny[0])
    assert denied.reason == 'is denied by the rule "=x.corp.test"'


def test_what_no_rule_speaks_of_is_not_permitted():
    verdict = permits([], [], "web.corp.test", wildcard=False)
    assert verdict == Verdict(permitted=False)
    assert verdict.reason == "is not covered by any allow rule"


@given(RULES, RULES, NAME, st.booleans())
def test_the_verdict_is_allow_without_deny(allow, deny, name, wildcard):
    verdict = permits(allow, deny, name, wildcard=wildcard)
    denied = any(covers(rule, name, wildcard=wildcard) for rule in deny)
    allowed = any(covers(rule, name, wildcard=wildcard) for rule in allow)
    assert verdict.permitted == (allowed and not denied)
    assert (verdict.rule is None) == (not allowed and not denied)
    if verdict.rule is not None:
        assert verdict.rule in (allow if verdict.permitted else deny)
        assert covers(verdict.rule, name, wildcard=wildcard)


@given(RULES, RULES, RULE, NAME, st.booleans())
def test_another_deny_rule_never_permits_more(allow, deny, another, name, wildcard):
    before = permits(allow, deny, name, wildcard=wildcard).permitted
    after = permits(allow, [*deny, another], name, wildcard=wildcard).permitted
    assert before or not after


@given(ZONE, IN_FRONT, st.integers(1, 5), st.booleans())
def test_the_depth_is_the_number_of_labels_in_front(zone, in_front, depth, wildcard):
    name = ".".join([*in_front, zone])
    star = "*." if wildcard else ""
    deep = covers(parse(f"{star}.{zone}/{depth}"), name, wildcard=wildcard)
    assert deep == (1 <= len(in_front) <= depth)


@given(RULE, NAME)
def test_no_rule_speaks_of_a_name_and_of_its_wildcard(rule, name):
    assert not (covers(rule, name, wildcard=False) and covers(rule, name, wildcard=True))


@given(RULE)
def test_a_rule_reads_the_same_again(rule):
    assert parse(rule.text) == rule


@given(st.text(alphabet="=*./1a-\x00é", max_size=12))
def test_any_text_is_a_rule_or_refused_in_a_sentence(text):
    try:
        rule = parse(text)
    except ValueError as wrong:
        reason = str(wrong)
    else:
        reason = ""
        assert 0 <= rule.least <= rule.most
    assert reason.isprintable()
