"""What CAA records say, in every shape that RFC 8659 and RFC 8657 know: real packets."""

import datetime as dt

import pytest

from certeasy.decide.problems import Problem
from certeasy.settings import DnsProfile, DnsZone
from certeasy.validate import Asked, CaaSeen, Evidence, Failed, Validated
from certeasy.validate.caa import FORBIDS, MAX_CLIMB, PERMITS, UNKNOWN, Caa, WithCaa
from certeasy.validate.resolve import Resolver
from tests.fakes.dns_server import DnsServer, Records
from tests.fakes.signed_zone import a_signed_zone

NAME = "web.corp.lab.test"
OURS = ("ca.corp.test", "acme.corp.test")
URL = "https://acme.corp.test/acme/acct/1"
OTHER_URL = "https://old.corp.test/acme/acct/1"
URLS = (URL, OTHER_URL)
LET = 'CAA 0 issue "ca.corp.test"'
NOBODY = 'CAA 0 issue ";"'


def a_resolver(server: DnsServer, *, seconds: float = 10, **zone) -> Resolver:
    profile = DnsProfile(
        name="lab",
        timeout=dt.timedelta(seconds=seconds),
        zones=(DnsZone(dns_server=(server.endpoint,), **zone),),
    )
    return Resolver(profile, patience=0.3)


def check(
    records: dict[str, Records], *, wildcard: bool = False, method: str = "dns-01", **more
) -> CaaSeen:
    with DnsServer(records) as server:
        caa = Caa(a_resolver(server, **more), OURS)
        return caa.check(NAME, wildcard=wildcard, method=method, account_urls=URLS)


def verdict(*records: str, **more) -> str:
    """The verdict where the name itself has these CAA records."""
    return check({NAME: list(records)}, **more).verdict


# Which records count: RFC 8659 section 3


def test_without_any_record_anybody_may_issue():
    with DnsServer({"lab.test": ["A 192.0.2.1"]}) as server:
        seen = Caa(a_resolver(server), OURS).check(
            NAME, wildcard=False, method="dns-01", account_urls=URLS
        )
    assert (seen.verdict, seen.at) == (PERMITS, "")
    assert [name for name, _, _ in server.asked] == [NAME, "corp.lab.test", "lab.test", "test"]


@pytest.mark.parametrize("at", [NAME, "corp.lab.test", "lab.test", "test"])
def test_the_nearest_name_above_counts(at: str):
    seen = check({at: [NOBODY]})
    assert (seen.verdict, seen.at) == (FORBIDS, at)
    assert len(seen.records) == 1


def test_what_is_nearer_hides_what_is_above():
    assert check({NAME: [LET], "lab.test": [NOBODY]}).verdict == PERMITS
    assert check({NAME: [NOBODY], "lab.test": [LET]}).verdict == FORBIDS
    assert check({NAME: ['CAA 0 iodef "mailto:x@lab.test"'], "test": [NOBODY]}).verdict == PERMITS


def test_an_alias_is_followed_and_nobody_climbs_from_where_it_leads():
    alias: dict[str, Records] = {NAME: ["CNAME a.b.other.test."], "a.b.other.test": [NOBODY]}
    seen = check(alias)
    assert (seen.verdict, seen.at) == (FORBIDS, NAME)
    climbing: dict[str, Records] = {
        NAME: ["CNAME a.b.other.test."],
        "a.b.other.test": ["A 192.0.2.1"],
        "b.other.test": [NOBODY],
    }
    assert check(climbing | {"corp.lab.test": [LET]}).verdict == PERMITS


def test_climbing_ends():
    with DnsServer({}) as server:
        name = "a." * (MAX_CLIMB + 1) + "test"
        seen = Caa(a_resolver(server), OURS).check(
            name, wildcard=False, method="dns-01", account_urls=URLS
        )
    assert seen.verdict == UNKNOWN
    assert not seen.transient


# What they say: RFC 8659 section 4


@pytest.mark.parametrize(
    ("records", "plain", "wildcard"),
    [
        ([LET], PERMITS, PERMITS),
        (['CAA 0 issue "acme.corp.test"'], PERMITS, PERMITS),
        (['CAA 0 issue "CA.Corp.TEST"'], PERMITS, PERMITS),
        (['CAA 0 issue " ca.corp.test "'], PERMITS, PERMITS),
        (['CAA 0 issue "ca.corp.test ; x=y;"'], PERMITS, PERMITS),
        (['CAA 0 ISSUE "ca.corp.test"'], PERMITS, PERMITS),
        (['CAA 0 issue "other.test"'], FORBIDS, FORBIDS),
        (['CAA 0 issue "other.test"', LET], PERMITS, PERMITS),
        ([NOBODY], FORBIDS, FORBIDS),
        ([NOBODY, LET], PERMITS, PERMITS),
        (['CAA 0 issue ""'], FORBIDS, FORBIDS),
        ([LET, 'CAA 0 issuewild ";"'], PERMITS, FORBIDS),
        ([NOBODY, 'CAA 0 issuewild "ca.corp.test"'], FORBIDS, PERMITS),
        (['CAA 0 issuewild "other.test"'], PERMITS, FORBIDS),
        (['CAA 0 issuewild "ca.corp.test"'], PERMITS, PERMITS),
        # Not well-formed: it names nobody, and still forbids.
        (['CAA 0 issue "ca corp test"'], FORBIDS, FORBIDS),
        (['CAA 0 issue "-ca.corp.test"'], FORBIDS, FORBIDS),
        (['CAA 0 issue "ca.corp.test; no value"'], FORBIDS, FORBIDS),
        (['CAA 0 issue "ca.corp.test; -x=y"'], FORBIDS, FORBIDS),
        (['CAA 0 issue "c\\233.test"'], FORBIDS, FORBIDS),
        # The critical flag.
        ([LET, 'CAA 128 tomorrow "x"'], FORBIDS, FORBIDS),
        ([LET, 'CAA 0 tomorrow "x"'], PERMITS, PERMITS),
        (['CAA 128 issue "ca.corp.test"'], PERMITS, PERMITS),
        (['CAA 128 iodef "mailto:x@lab.test"'], PERMITS, PERMITS),
        ([LET, 'CAA 1 tomorrow "x"'], PERMITS, PERMITS),
        # Conditions: RFC 8657.
        ([f'CAA 0 issue "ca.corp.test; accounturi={URL}"'], PERMITS, PERMITS),
        ([f'CAA 0 issue "ca.corp.test; accounturi={OTHER_URL}"'], PERMITS, PERMITS),
        ([f'CAA 0 issue "ca.corp.test; accounturi={URL}0"'], FORBIDS, FORBIDS),
        ([f'CAA 0 issue "ca.corp.test; AccountURI={URL}0"'], FORBIDS, FORBIDS),
        ([f'CAA 0 issue "ca.corp.test; accounturi={URL}; accounturi={URL}"'], FORBIDS, FORBIDS),
        (['CAA 0 issue "ca.corp.test; validationmethods=dns-01"'], PERMITS, PERMITS),
        (['CAA 0 issue "ca.corp.test; validationmethods=http-01,dns-01"'], PERMITS, PERMITS),
        (['CAA 0 issue "ca.corp.test; validationmethods=http-01"'], FORBIDS, FORBIDS),
        (['CAA 0 issue "ca.corp.test; validationmethods="'], FORBIDS, FORBIDS),
        (['CAA 0 issue "ca.corp.test; validationmethods=http-01"', LET], PERMITS, PERMITS),
        (
            [f'CAA 0 issue "ca.corp.test; validationmethods=dns-01; accounturi={URL}x"'],
            FORBIDS,
            FORBIDS,
        ),
    ],
    ids=str,
)
def test_what_records_say(records: list[str], plain: str, wildcard: str):
    assert verdict(*records) == plain
    assert verdict(*records, wildcard=True) == wildcard


def test_what_was_proven_in_no_way_meets_no_choice_of_ways():
    assert verdict('CAA 0 issue "ca.corp.test; validationmethods=dns-01"', method="") == FORBIDS
    assert verdict(LET, method="") == PERMITS


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (NOBODY, f"the CAA records of {NAME} (issue) do not name this CA"),
        (f'CAA 0 issue "ca.corp.test; accounturi={URL}0"', "name another account of this CA"),
        ('CAA 0 issue "ca.corp.test; validationmethods=x"', "name other challenge types"),
        ('CAA 128 hunter2 "x"', "have a critical property that is not known here"),
    ],
)
def test_a_refusal_says_which_rule_and_repeats_no_record(record: str, words: str):
    seen = check({NAME: [record]})
    assert words in seen.reason
    assert "hunter2" not in repr(seen)
    assert URL not in repr(seen)


# What cannot be known


@pytest.mark.parametrize("trouble", ["SERVFAIL", "REFUSED", "SILENCE"])
def test_what_cannot_be_looked_up_is_not_known(trouble: str):
    seen = check({"corp.lab.test": [trouble]}, seconds=0.4)
    assert seen.verdict == UNKNOWN
    assert seen.transient


def test_where_signatures_are_asked_for_nothing_has_to_be_proven():
    """An answer without records, forged, would be a way around them."""
    inner = {"web.corp": ["A 192.0.2.1"]}
    zone, ds = a_signed_zone("lab.test", inner)
    top, top_ds = a_signed_zone("test", {"lab": ["NS ns.lab.test.", f"DS {ds}"]})

    def seen() -> CaaSeen:
        with DnsServer({}, signed=[zone, top]) as server:
            profile = DnsProfile(
                name="lab",
                timeout=dt.timedelta(seconds=10),
                zones=(DnsZone(dns_server=(server.endpoint,), dnssec=True),),
                trust_anchors=(f"test {top_ds}",),
            )
            return Caa(Resolver(profile), OURS).check(
                NAME, wildcard=False, method="dns-01", account_urls=URLS
            )

    assert seen().verdict == PERMITS
    for owner in list(zone.nodes):
        zone.delete_rdataset(owner, "NSEC")
    assert seen().verdict == UNKNOWN
    assert "nothing proves" in seen().reason


# What a validator makes of it


class Proven:
    """A validator that has just seen the proof."""

    def validate(self, asked: Asked) -> Validated | Failed:
        return Validated(Evidence(address=asked.name))


def guarded(record: str, *, strict: bool) -> Validated | Failed:
    with DnsServer({NAME: [record]}) as server:
        caa = Caa(a_resolver(server, seconds=0.4), OURS)
        validator = WithCaa(Proven(), caa, "http-01", strict=strict)
        return validator.validate(Asked(NAME, "t", "t.k", URLS))


def test_strict_refuses_with_the_problem_caa():
    outcome = guarded(NOBODY, strict=True)
    assert isinstance(outcome, Failed)
    assert outcome.problem is Problem.CAA
    assert outcome.detail.startswith(f"No certificate for {NAME}: the CAA records of")
    assert not outcome.transient
    assert outcome.evidence.caa is not None
    assert outcome.evidence.caa.verdict == FORBIDS


def test_strict_refuses_what_is_not_known_for_now():
    outcome = guarded("SERVFAIL", strict=True)
    assert isinstance(outcome, Failed)
    assert outcome.problem is Problem.DNS
    assert outcome.transient


@pytest.mark.parametrize("record", [NOBODY, "SERVFAIL", "SILENCE"])
def test_soft_keeps_what_it_saw_and_lets_pass(record: str):
    outcome = guarded(record, strict=False)
    assert isinstance(outcome, Validated)
    assert outcome.evidence.caa is not None
    assert outcome.evidence.caa.verdict in (FORBIDS, UNKNOWN)
    assert outcome.evidence.address == NAME


def test_who_has_proven_nothing_is_not_looked_up():
    class Nothing:
        def validate(self, asked: Asked) -> Failed:
            return Failed(Problem.DNS, asked.name, Evidence())

    with DnsServer({}) as server:
        caa = Caa(a_resolver(server), OURS)
        WithCaa(Nothing(), caa, "http-01", strict=True).validate(Asked(NAME, "t", "t.k", URLS))
        address = Asked("192.0.2.1", "t", "t.k", URLS, identifier_type="ip")
        outcome = WithCaa(Proven(), caa, "http-01", strict=True).validate(address)
    assert isinstance(outcome, Validated)
    assert not server.asked
