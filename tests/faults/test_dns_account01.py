"""dns-account-01: the records of dns-01, each account at a name of its own."""

import pytest

from certeasy.decide.problems import Problem
from certeasy.settings import DnsProfile, DnsZone
from certeasy.validate import Asked, Failed, Validated
from certeasy.validate.dns01 import digest
from certeasy.validate.dns_account01 import DnsAccount01Validator, place
from certeasy.validate.resolve import Resolver
from tests.fakes.dns_server import DnsServer, Records

URL = "https://example.com/acme/acct/ExampleAccount"
ALIAS = "https://old.example.com/acme/acct/ExampleAccount"
PLACE = "_ujmmovf2vn55tgye._acme-challenge.example.org"
"""The example of draft-ietf-acme-dns-account-label-03 section 3.2."""
ASKED = Asked("example.org", "token", "token.thumbprint", (URL, ALIAS))
RIGHT = f"TXT {digest('token.thumbprint').decode()}"


def validate(records: dict[str, Records], asked: Asked = ASKED) -> Validated | Failed:
    with DnsServer(records) as server:
        profile = DnsProfile(name="lab", zones=(DnsZone(dns_server=(server.endpoint,)),))
        return DnsAccount01Validator(Resolver(profile)).validate(asked)


def test_the_place_is_that_of_the_drafts_example():
    assert place("example.org", URL) == PLACE


def test_the_record_at_the_accounts_place_proves_the_name():
    outcome = validate({PLACE: ["TXT other", RIGHT]})
    assert isinstance(outcome, Validated), outcome
    assert outcome.evidence.names == (PLACE,)


def test_any_public_url_of_the_account_has_its_place():
    assert isinstance(validate({place("example.org", ALIAS): [RIGHT]}), Validated)


@pytest.mark.parametrize(
    "at",
    [
        "_acme-challenge.example.org",
        "_ujmmovf2vn55tgye.example.org",
        place("example.org", URL + "x"),
        place("www.example.org", URL),
    ],
)
def test_a_record_anywhere_else_proves_nothing(at: str):
    outcome = validate({at: [RIGHT]})
    assert isinstance(outcome, Failed)
    assert outcome.problem is Problem.DNS
    assert outcome.detail == f"TXT {PLACE} does not exist in the DNS (NXDOMAIN)"
