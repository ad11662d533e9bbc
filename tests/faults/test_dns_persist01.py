"""dns-persist-01: which records let an account have certificates, and which do not."""

import datetime as dt

import pytest

from certeasy.decide.problems import Problem
from certeasy.settings import DnsProfile, DnsZone
from certeasy.validate import Asked, Failed, Validated
from certeasy.validate.dns_persist01 import DnsPersist01Validator
from certeasy.validate.resolve import Resolver
from tests.fakes.clocks import HeldClock
from tests.fakes.dns_server import DnsServer, Records

PLACE = "_validation-persist.web.lab.test"
URL = "https://acme.corp.test/acme/acct/1"
ALIAS = "https://old.corp.test/acme/acct/1"
LET = f"ca.corp.test; accounturi={URL}"
CLOCK = HeldClock()
NOW = int(CLOCK.now().timestamp())


def validate(records: dict[str, Records], *, wildcard: bool = False) -> Validated | Failed:
    with DnsServer(records) as server:
        profile = DnsProfile(
            name="lab",
            timeout=dt.timedelta(seconds=10),
            zones=(DnsZone(dns_server=(server.endpoint,)),),
        )
        issuers = ("ca.corp.test", "acme.corp.test")
        validator = DnsPersist01Validator(Resolver(profile), issuers, CLOCK)
        return validator.validate(Asked("web.lab.test", "", "", (URL, ALIAS), wildcard=wildcard))


def with_record(*values: str, wildcard: bool = False) -> Validated | Failed:
    return validate({PLACE: [f'TXT "{value}"' for value in values]}, wildcard=wildcard)


@pytest.mark.parametrize(
    "values",
    [
        [LET],
        [f"CA.corp.test;accounturi={URL}"],
        [f"acme.corp.test; accounturi={URL};"],
        [f"ca.corp.test; accounturi={ALIAS}"],
        [f"ca.corp.test; tomorrow=x; accounturi={URL}"],
        [f"ca.corp.test; accounturi={URL}; policy=other"],
        [f"ca.corp.test; accounturi={URL}; persistUntil={NOW + 60}"],
        [f"other.test; accounturi={URL}", "v=spf1 -all", LET],
        [f"ca.corp.test; accounturi={URL}0", LET],
    ],
    ids=str,
)
def test_a_record_for_the_account_proves_the_name(values: list[str]):
    assert isinstance(with_record(*values), Validated)


def test_the_strings_of_a_record_are_one_value():
    records: dict[str, Records] = {PLACE: [f'TXT "ca.corp.test;" " accounturi={URL}"']}
    assert isinstance(validate(records), Validated)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([f"other.test; accounturi={URL}"], "1 record, none of them names this CA"),
        ([f"; accounturi={URL}"], "none of them names this CA"),
        (["ca.corp.test broken", "x"], "2 records, none of them names this CA"),
        (["ca.corp.test"], "does not name this account"),
        ([f"ca.corp.test; accounturi={URL}0"], "does not name this account"),
        ([f"ca.corp.test; accounturi={URL}; accounturi={URL}"], "does not name this account"),
        ([f"{LET}; persistUntil={NOW - 60}"], "is out of date"),
        ([f"{LET}; persistuntil={NOW - 60}"], "is out of date"),
        ([f"{LET}; persistUntil=tomorrow"], "a persistUntil that is no time"),
        ([f"{LET}; persistUntil=-1"], "a persistUntil that is no time"),
        ([f"{LET}; persistUntil={'9' * 400}"[:250]], "a persistUntil that is no time"),
        ([f"{LET}; persistUntil={NOW + 9}; persistUntil={NOW + 9}"], "that is no time"),
    ],
)
def test_any_other_record_proves_nothing(values: list[str], words: str):
    outcome = with_record(*values)
    assert isinstance(outcome, Failed)
    assert outcome.problem is Problem.UNAUTHORIZED
    assert words in outcome.detail
    assert URL not in outcome.detail
    assert outcome.evidence.record_count == len(values)


@pytest.mark.parametrize("policy", ["wildcard", "Wildcard", "WILDCARD"])
def test_a_wildcard_needs_a_record_that_says_so(policy: str):
    assert isinstance(with_record(f"{LET}; policy={policy}", wildcard=True), Validated)
    outcome = with_record(LET, wildcard=True)
    assert isinstance(outcome, Failed)
    assert "has no policy=wildcard" in outcome.detail


def test_a_record_above_does_not_speak_for_names_below():
    outcome = validate({"_validation-persist.lab.test": [f'TXT "{LET}; policy=wildcard"']})
    assert isinstance(outcome, Failed)
    assert outcome.problem is Problem.DNS


def test_a_dns_that_fails_may_pass():
    outcome = validate({PLACE: ["SERVFAIL"]})
    assert isinstance(outcome, Failed)
    assert outcome.transient
