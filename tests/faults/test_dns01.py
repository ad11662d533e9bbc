"""What dns-01 makes of all that a DNS server may answer: real packets, over loopback."""

import datetime as dt
import hashlib
import itertools
import time

import msgspec
import pytest

from certeasy.decide.problems import Problem
from certeasy.settings import DnsProfile, DnsZone
from certeasy.validate import Asked, Failed, Validated
from certeasy.validate.dns01 import Dns01Validator
from certeasy.validate.resolve import MAX_ALIASES, Resolver
from tests.fakes.dns_server import DnsServer, Records

NAME = "web.lab.test"
PLACE = "_acme-challenge.web.lab.test"
TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
ASKED = Asked(NAME, TOKEN, f"{TOKEN}.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI")
RIGHT = "lCM7cZyQXcVHK2nnW3jjAhNT3Fvm18UN-kWZZknKoYM"
"""Made by `printf %s KEY_AUTHORIZATION | openssl dgst -sha256 -binary | basenc --base64url`."""
PATIENCE = 0.3


def validate(
    records: dict[str, Records],
    *,
    asked: Asked = ASKED,
    seconds: float = 10,
    patience: float = PATIENCE,
    **zone,
) -> tuple[Validated | Failed, DnsServer]:
    """The outcome where the DNS has these records, and the server that was asked."""
    with DnsServer(records) as server:
        profile = DnsProfile(
            name="lab",
            timeout=dt.timedelta(seconds=seconds),
            zones=(DnsZone(dns_server=(server.endpoint,), **zone),),
        )
        return Dns01Validator(Resolver(profile, patience=patience)).validate(asked), server


def valid(records: dict[str, Records], **more) -> Validated:
    outcome, _ = validate(records, **more)
    assert isinstance(outcome, Validated), outcome
    return outcome


def failed(records: dict[str, Records], **more) -> Failed:
    outcome, _ = validate(records, **more)
    assert isinstance(outcome, Failed), outcome
    assert outcome.detail.isprintable()
    assert len(outcome.detail) < 600
    return outcome


# What proves a name


def test_the_digest_of_the_key_authorization_proves_the_name():
    """RFC 8555 section 8.4."""
    seen = valid({PLACE: [f"TXT {RIGHT}"]}).evidence
    assert seen.names == (PLACE,)
    assert seen.rcode == "NOERROR"
    assert len(seen.servers) == 1
    assert seen.servers[0].startswith("127.0.0.1:")
    assert seen.records == (hashlib.sha256(RIGHT.encode()).hexdigest(),)
    assert seen.record_count == 1


@pytest.mark.parametrize("place", [0, 1, 39])
def test_any_of_many_records_may_be_the_right_one(place: int):
    """Pitfall 23, RFC 8555 section 8.4: apex and wildcard have two values at one name."""
    others = [f"TXT other-{n}" for n in range(39)]
    others.insert(place, f"TXT {RIGHT}")
    seen = valid({PLACE: others}).evidence
    assert seen.record_count == 40
    assert len(seen.records) == 16


def test_the_strings_of_a_record_are_one_value():
    """RFC 8555 section 8.4."""
    valid({PLACE: [f'TXT "{RIGHT[:10]}" "{RIGHT[10:]}"']})


def test_strings_of_different_records_are_not_put_together():
    outcome = failed({PLACE: [f"TXT {RIGHT[:10]}", f"TXT {RIGHT[10:]}"]})
    assert outcome.problem is Problem.INCORRECT_RESPONSE
    assert outcome.evidence.record_count == 2


def test_a_name_and_its_wildcard_are_proven_at_one_place():
    """Pitfall 23, RFC 8555 section 8.4: without `*.`."""
    asked = Asked(NAME, TOKEN, ASKED.key_authorization, wildcard=True)
    valid({PLACE: ["TXT of-the-apex", f"TXT {RIGHT}"]}, asked=asked)


def test_an_alias_is_followed():
    """RFC 8555 section 8.4: whoever delegates by CNAME, has delegated."""
    records = {
        PLACE: ["CNAME 1.acme.test."],
        "1.acme.test": ["CNAME 2.acme.test."],
        "2.acme.test": [f"TXT {RIGHT}"],
    }
    assert valid(records).evidence.names == (PLACE, "1.acme.test", "2.acme.test")


@pytest.mark.parametrize("mark", [[], ["NO-CNAME"]], ids=["with a CNAME", "alone"])
def test_an_alias_of_a_whole_tree_is_followed(mark: list[str]):
    """RFC 6672 section 2.2."""
    records = {
        "lab.test": ["DNAME corp.test.", *mark],
        "_acme-challenge.web.corp.test": [f"TXT {RIGHT}"],
    }
    assert valid(records).evidence.names == (PLACE, "_acme-challenge.web.corp.test")


def test_an_answer_that_is_too_large_for_a_datagram_is_fetched_by_tcp():
    outcome, server = validate(
        {PLACE: [f"TXT {'x' * 200}"] * 2 + ["TXT " + "y" * 240, f"TXT {RIGHT}"]}
    )
    assert isinstance(outcome, Validated), outcome
    assert [transport for _, _, transport in server.asked] == ["udp", "tcp"]


def test_tcp_only_means_tcp_only():
    outcome, server = validate({PLACE: [f"TXT {RIGHT}"]}, protocol="tcp")
    assert isinstance(outcome, Validated), outcome
    assert [transport for _, _, transport in server.asked] == ["tcp"]


def test_the_hosts_of_a_zone_do_not_stand_in_the_way():
    valid({PLACE: [f"TXT {RIGHT}"]}, hosts={"*.lab.test": "192.0.2.1"})


# What does not


@pytest.mark.parametrize(
    ("records", "words"),
    [
        (["TXT other"], f"TXT {PLACE}: 1 record, which is not the expected one; asked of 127.0.0"),
        (["TXT a", "TXT b"], f"TXT {PLACE}: 2 records, none of them is the expected one; asked"),
        ([f"TXT {RIGHT.lower()}"], "1 record, which is not the expected one"),
        ([f"TXT {RIGHT}="], "1 record, which is not the expected one"),
        ([f"TXT {RIGHT}x"], "1 record, which is not the expected one"),
        ([f"TXT {RIGHT[:-1]}"], "1 record, which is not the expected one"),
        ([f"TXT {ASKED.key_authorization}"], "1 record, which is not the expected one"),
        (['TXT ""'], "1 record, which is not the expected one"),
        ([f'TXT "\\"{RIGHT}\\""'], "has quotation marks or white space around it"),
        ([f'TXT "{RIGHT} "'], "has quotation marks or white space around it"),
        (["A 192.0.2.1"], f"TXT {PLACE}: the name has no TXT record"),
    ],
)
def test_other_records_prove_nothing_and_are_told_by_number(records: list[str], words: str):
    outcome = failed({PLACE: records})
    assert outcome.problem is Problem.INCORRECT_RESPONSE
    assert words in outcome.detail
    assert not outcome.transient


def test_no_record_is_repeated_to_anybody():
    """Whoever may order must not read, by way of us, what an inner DNS says."""
    outcome = failed({PLACE: ["TXT hunter2", "CNAME evil.test."], "evil.test": ["TXT hunter2"]})
    assert "hunter2" not in outcome.detail
    assert "hunter2" not in repr(outcome.evidence)


def test_an_alias_with_strange_bytes_is_followed_and_not_repeated():
    records = {PLACE: ['CNAME <b>\\"processing\\".test.'], '<b>"processing".test': ["TXT x"]}
    outcome = failed(records)
    assert "processing" not in outcome.detail
    assert "(an alias of (no host name))" in outcome.detail


def test_a_name_that_does_not_exist_says_so():
    outcome = failed({NAME: ["A 192.0.2.1"]})
    assert outcome.problem is Problem.DNS
    assert outcome.detail == f"TXT {PLACE} does not exist in the DNS (NXDOMAIN)"
    assert outcome.evidence.rcode == "NXDOMAIN"
    assert not outcome.transient


def test_an_alias_to_nowhere_says_where_to():
    outcome = failed({PLACE: ["CNAME gone.test."]})
    assert outcome.problem is Problem.DNS
    assert "(an alias of gone.test) does not exist in the DNS" in outcome.detail
    assert outcome.evidence.names == (PLACE, "gone.test")


@pytest.mark.parametrize("code", ["SERVFAIL", "REFUSED", "FORMERR", "NOTIMP", "NOTAUTH"])
def test_what_may_pass_is_worth_another_try(code: str):
    outcome = failed({PLACE: [code]})
    assert outcome.problem is Problem.DNS
    assert f"DNS answered {code}; asked for TXT" in outcome.detail
    assert outcome.transient
    assert outcome.evidence.rcode == code


def test_silence_ends_with_the_timeout():
    outcome = failed({PLACE: ["SILENCE"]}, seconds=0.2)
    assert outcome.problem is Problem.DNS
    assert "no DNS server answered in time" in outcome.detail
    assert outcome.transient


def test_silence_by_tcp_ends_too():
    outcome = failed({PLACE: ["SILENCE"]}, seconds=0.2, protocol="tcp")
    assert outcome.transient


@pytest.mark.parametrize("forgery", ["WRONG-ID", "OTHER-SOURCE", "OTHER-QUESTION", "RUBBISH"])
def test_a_forgery_is_passed_over_and_the_answer_waited_for(forgery: str):
    valid({PLACE: [forgery, f"TXT {RIGHT}"]})


@pytest.mark.parametrize("forgery", ["WRONG-ID", "OTHER-SOURCE", "OTHER-QUESTION", "RUBBISH"])
def test_a_forgery_alone_is_no_answer(forgery: str):
    outcome = failed({PLACE: [forgery, "SILENCE"]}, seconds=0.2)
    assert "no DNS server answered in time" in outcome.detail


@pytest.mark.parametrize("mark", ["CUT", "NOISE"])
def test_an_answer_by_tcp_that_is_none_may_pass(mark: str):
    outcome = failed({PLACE: [mark, f"TXT {RIGHT}"]}, protocol="tcp")
    assert outcome.problem is Problem.DNS
    assert outcome.transient


def test_an_answer_by_tcp_that_never_ends_is_cut():
    began = time.monotonic()
    outcome = failed({PLACE: ["DRIP", f"TXT {RIGHT}"]}, seconds=0.2, protocol="tcp")
    assert "no DNS server answered in time" in outcome.detail
    assert time.monotonic() - began < 3.0  # far more than 0.4, far less than the whole answer takes


def test_a_huge_answer_is_read_and_little_of_it_kept():
    """An answer has 64 KiB at most; what is right in it counts, wherever it is."""
    many = [f'TXT "{n:04}{"x" * 200}"' for n in range(280)]
    # A busy machine takes its time to make such an answer.
    outcome, server = validate({PLACE: [*many, f"TXT {RIGHT}"]}, seconds=60, patience=30)
    assert isinstance(outcome, Validated), outcome
    assert [transport for _, _, transport in server.asked] == ["udp", "tcp"]
    assert outcome.evidence.record_count == 281
    assert len(msgspec.json.encode(outcome.evidence)) < 4096


@pytest.mark.parametrize("length", [1, 2, 5])
def test_a_circle_of_aliases_ends(length: int):
    names = [PLACE, *(f"n{n}.lab.test" for n in range(1, length))]
    outcome = failed({name: [f"CNAME {names[(n + 1) % length]}."] for n, name in enumerate(names)})
    assert outcome.problem is Problem.DNS
    assert "an alias of an alias without end" in outcome.detail
    assert not outcome.transient


def chain(length: int) -> dict[str, Records]:
    names = [PLACE, *(f"n{n}.lab.test" for n in range(length))]
    records: dict[str, Records] = {
        name: [f"CNAME {following}."] for name, following in itertools.pairwise(names)
    }
    return records | {names[-1]: [f"TXT {RIGHT}"]}


def test_so_many_aliases_are_followed_and_no_more():
    valid(chain(MAX_ALIASES))
    assert "without end" in failed(chain(MAX_ALIASES + 1)).detail


def test_a_tree_that_grows_with_every_step_ends():
    """RFC 6672 section 2.2: a DNAME into itself makes the name longer, until it is too long."""
    outcome = failed({"lab.test": ["DNAME deeper.and.deeper.lab.test.", "NO-CNAME"]})
    assert outcome.problem is Problem.DNS


def test_a_name_with_no_room_for_the_label_is_refused():
    name = ".".join(["a" * 60] * 4)
    outcome = failed({}, asked=Asked(name, TOKEN, ASKED.key_authorization))
    assert outcome.problem is Problem.DNS
    assert "is no DNS name" in outcome.detail
    assert not outcome.transient


def test_a_zone_that_nobody_can_be_asked_for_says_so():
    zone = DnsZone(suffixes=("lab.test",), hosts={"*.lab.test": "127.0.0.1"})
    outcome = Dns01Validator(Resolver(DnsProfile(name="lab", zones=(zone,)))).validate(ASKED)
    assert isinstance(outcome, Failed)
    assert outcome.problem is Problem.DNS
    assert "has no DNS server that could be asked" in outcome.detail
