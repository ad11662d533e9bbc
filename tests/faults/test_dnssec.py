"""What is signed, and what is not quite: zones signed here, over real packets."""

import copy
import datetime as dt
import ipaddress
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import dns.dnssec
import dns.message
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.zone
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certeasy.decide.problems import Problem
from certeasy.settings import DnsProfile, DnsZone, IpPolicy
from certeasy.validate import Asked, Failed, Validated
from certeasy.validate.ask import Seen
from certeasy.validate.dns01 import Dns01Validator
from certeasy.validate.dnssec import MAX_KEYS, ROOT, Bogus, Chain, anchors
from certeasy.validate.resolve import Found, Resolver
from tests.fakes.dns_server import DnsServer
from tests.fakes.signed_zone import DAY, a_signed_zone, answer_signed

PLACE = "_acme-challenge.web.lab.test"
ASKED = Asked("web.lab.test", "t", "t.k")
RIGHT = "dlB0GFFBjq1DwqiLNYRbUrjZLT6IqLn_wqx7amut1k0"
KINDS = pytest.mark.parametrize("hashed", [False, True], ids=["NSEC", "NSEC3"])
LAB = {
    "_acme-challenge.web": ["TXT right"],
    "web": ["A 192.0.2.1"],
    "alias": ["CNAME web.lab.test."],
    "*.wild": ["TXT any"],
    "renamed": ["DNAME wild.lab.test."],
}


@contextmanager
def a_resolver(
    *zones: dns.zone.Zone, anchor: str | Sequence[str]
) -> Iterator[tuple[Resolver, DnsServer]]:
    """A resolver that wants signatures, and the server of these zones."""
    trusted = (anchor,) if isinstance(anchor, str) else tuple(anchor)
    with DnsServer({}, signed=zones) as server:
        profile = DnsProfile(
            name="lab",
            timeout=dt.timedelta(seconds=10),
            zones=(DnsZone(dns_server=(server.endpoint,), dnssec=True),),
            trust_anchors=trusted,
        )
        yield Resolver(profile), server


def look_up(name: str, kind: str, *zones: dns.zone.Zone, anchor: str | Sequence[str]) -> Found:
    with a_resolver(*zones, anchor=anchor) as (resolver, _):
        return resolver.look_up(name, kind, Seen())


def lab(**more) -> tuple[dns.zone.Zone, str]:
    zone, ds = a_signed_zone("lab.test", LAB, **more)
    return zone, f"lab.test {ds}"


def tree(**more) -> tuple[tuple[dns.zone.Zone, dns.zone.Zone], str]:
    """lab.test below test, and the anchor of test."""
    inner, ds = a_signed_zone("lab.test", LAB)
    outer, top = a_signed_zone("test", {"lab": ["NS ns.lab.test.", f"DS {ds}"]}, **more)
    return (outer, inner), f"test {top}"


def replace(zone: dns.zone.Zone, name: str, kind: str, text: str) -> None:
    """Change records of a zone after it was signed, and keep their signatures."""
    rdataset = zone.find_rdataset(dns.name.from_text(name), kind).copy()
    rdataset.clear()
    rdataset.add(dns.rdata.from_text("IN", kind, text))
    zone.replace_rdataset(dns.name.from_text(name), rdataset)


# What is signed


def test_an_answer_that_is_signed_counts():
    zone, anchor = lab()
    with a_resolver(zone, anchor=anchor) as (resolver, server):
        seen = Seen()
        found = resolver.look_up(PLACE, "TXT", seen)
    assert [record.to_text() for record in found.records] == ['"right"']
    assert seen.signed_by == ["lab.test"]
    assert [(name, kind) for name, kind, _ in server.asked] == [
        (PLACE, "TXT"),
        ("lab.test", "DNSKEY"),
    ]


@KINDS
def test_the_parent_vouches_for_its_child(hashed: bool):
    zones, anchor = tree(hashed=hashed)
    with a_resolver(*zones, anchor=anchor) as (resolver, server):
        seen = Seen()
        assert resolver.look_up(PLACE, "TXT", seen).records
    assert seen.signed_by == ["test", "lab.test"]
    assert ("lab.test", "DS") in {(name, kind) for name, kind, _ in server.asked}


def test_the_nearest_anchor_is_the_one_that_counts():
    """An inner zone has an anchor of its own where its parent vouches for another key, or none."""
    zone, anchor = lab()
    outer, top = a_signed_zone("test", {"lab": ["NS ns.lab.test."]})
    assert look_up(PLACE, "TXT", outer, zone, anchor=(f"test {top}", anchor)).records


@pytest.mark.parametrize("name", ["alias.lab.test", "renamed.lab.test"])
def test_an_alias_is_signed_too(name: str):
    zone, anchor = lab()
    kind = "A" if name.startswith("alias") else "TXT"
    asked = name if kind == "A" else f"x.{name}"
    assert look_up(asked, kind, zone, anchor=anchor).records


@KINDS
def test_what_a_wildcard_stands_for_counts_with_its_proof(hashed: bool):
    """RFC 4035 section 5.3.4, RFC 5155 section 8.8."""
    zone, anchor = lab(hashed=hashed)
    assert look_up("x.wild.lab.test", "TXT", zone, anchor=anchor).records
    assert look_up("x.y.wild.lab.test", "TXT", zone, anchor=anchor).records


def test_a_challenge_is_met_in_a_signed_zone_and_the_evidence_says_so():
    zone, ds = a_signed_zone("lab.test", {"_acme-challenge.web": [f"TXT {RIGHT}"]})
    with a_resolver(zone, anchor=f"lab.test {ds}") as (resolver, _):
        outcome = Dns01Validator(resolver).validate(ASKED)
    assert isinstance(outcome, Validated), outcome
    assert outcome.evidence.signed_by == ("lab.test",)


# What is not


def bogus(name: str, kind: str, *zones: dns.zone.Zone, anchor: str | Sequence[str]) -> str:
    with pytest.raises(Bogus) as caught:
        look_up(name, kind, *zones, anchor=anchor)
    assert not caught.value.transient
    return str(caught.value)


def test_a_record_that_was_changed_does_not_count():
    zone, anchor = lab()
    replace(zone, PLACE, "TXT", "forged")
    detail = bogus(PLACE, "TXT", zone, anchor=anchor)
    assert detail == f"the signature of TXT {PLACE} is not good (ValidationFailure: verify failure)"


def test_a_forgery_fails_the_challenge_with_type_dns():
    zone, anchor = lab()
    replace(zone, PLACE, "TXT", RIGHT)
    with a_resolver(zone, anchor=anchor) as (resolver, _):
        outcome = Dns01Validator(resolver).validate(ASKED)
    assert isinstance(outcome, Failed)
    assert outcome.problem is Problem.DNS
    assert not outcome.transient


def test_an_alias_that_was_changed_does_not_count():
    zone, anchor = lab()
    replace(zone, "alias.lab.test", "CNAME", "evil.lab.test.")
    assert "the signature of CNAME alias" in bogus("alias.lab.test", "A", zone, anchor=anchor)


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ({"began": 3 * DAY, "lasts": -2 * DAY}, "expired"),
        ({"began": -DAY, "lasts": 2 * DAY}, "not yet valid"),
    ],
)
def test_a_signature_has_its_time(times: dict[str, dt.timedelta], words: str):
    ds = lab()[1]
    zone, ds = a_signed_zone("lab.test", LAB, **times)
    detail = bogus(PLACE, "TXT", zone, anchor=f"lab.test {ds}")
    assert words in detail or "the keys of the zone" in detail


def test_a_record_without_a_signature_does_not_count():
    zone, anchor = lab()
    zone.delete_rdataset(dns.name.from_text(PLACE), "RRSIG", "TXT")
    assert bogus(PLACE, "TXT", zone, anchor=anchor) == f"TXT {PLACE} is not signed"


def test_a_zone_of_other_keys_does_not_count():
    _, anchor = lab()
    other, _ = a_signed_zone("lab.test", LAB)
    detail = bogus(PLACE, "TXT", other, anchor=anchor)
    assert detail == "the keys of the zone lab.test are not those that are vouched for"


def test_a_child_with_keys_that_its_parent_does_not_know_does_not_count():
    (outer, _), anchor = tree()
    other, _ = a_signed_zone("lab.test", LAB)
    bogus(PLACE, "TXT", outer, other, anchor=anchor)


def test_a_child_that_its_parent_does_not_vouch_for_does_not_count():
    zone, _ = lab()
    outer, top = a_signed_zone("test", {"lab": ["NS ns.lab.test."]})
    bogus(PLACE, "TXT", outer, zone, anchor=f"test {top}")


def test_a_zone_below_no_anchor_does_not_count():
    zone, _ = lab()
    _, other = a_signed_zone("corp.test", {})
    bogus(PLACE, "TXT", zone, anchor=(f"corp.test {other}", f". {other}"))


def test_an_answer_signed_by_another_zone_does_not_count():
    """A zone's keys are good for its own names."""
    zone, anchor = lab()
    evil, top = a_signed_zone("evil.test", {"x": ["TXT forged"]})
    owner, place = dns.name.from_text("x.evil.test"), dns.name.from_text(PLACE)
    for kind, covers in (("TXT", "NONE"), ("RRSIG", "TXT")):
        zone.replace_rdataset(place, evil.find_rdataset(owner, kind, covers))
    bogus(PLACE, "TXT", zone, evil, anchor=(anchor, f"evil.test {top}"))


def test_a_wildcard_for_a_name_that_exists_does_not_count():
    """RFC 4035 section 5.3.4: what is signed for the star says nothing of a name that is there."""
    zone, anchor = a_signed_zone("lab.test", {"*": ["TXT any"], "web": ["TXT own"]})
    star, web = dns.name.from_text("*.lab.test"), dns.name.from_text("web.lab.test")
    for kind, covers in (("TXT", "NONE"), ("RRSIG", "TXT")):
        zone.replace_rdataset(web, zone.find_rdataset(star, kind, covers))
    detail = bogus("web.lab.test", "TXT", zone, anchor=f"lab.test {anchor}")
    assert "made of a wildcard" in detail


def test_an_unsigned_zone_is_refused():
    with DnsServer({PLACE: ["TXT right"]}) as server:
        zone = DnsZone(dns_server=(server.endpoint,), dnssec=True)
        resolver = Resolver(DnsProfile(name="lab", zones=(zone,)))
        with pytest.raises(Bogus, match=f"TXT {PLACE} is not signed"):
            resolver.look_up(PLACE, "TXT", Seen())


# What is made to cost time, or to break the one who reads it


def a_key(algorithm: int, key: bytes) -> dns.rdata.Rdata:
    wire = struct.pack("!HBB", 257, 3, algorithm) + key
    return dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.DNSKEY, wire, 0, len(wire))


def a_signature(kind: int, algorithm: int, tag: int, signature: bytes) -> dns.rdata.Rdata:
    """A signature of lab.test that is in time."""
    fields = struct.pack("!HBBIIIH", kind, algorithm, 3, 300, 2**31 - 1, 1, tag)
    wire = fields + dns.name.from_text("lab.test").to_wire() + signature
    return dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.RRSIG, wire, 0, len(wire))


@settings(max_examples=200, deadline=None)
@given(
    algorithm=st.integers(0, 255),
    key=st.binary(max_size=300),
    signature=st.binary(max_size=200),
    digest=st.sampled_from((1, 2, 4)),
)
def test_keys_and_signatures_of_any_bytes_are_bogus_and_nothing_else(
    algorithm: int, key: bytes, signature: bytes, digest: int
):
    """Whoever has a zone writes its keys."""
    zone = dns.name.from_text("lab.test")
    theirs = a_key(algorithm, key)
    tag = dns.dnssec.key_id(theirs)
    reply = dns.message.Message()
    answers: dict[int, list[dns.rdata.Rdata]] = {}
    for kind, record in ((48, theirs), (16, dns.rdata.from_text("IN", "TXT", "right"))):
        answers[kind] = [record, a_signature(kind, algorithm, tag, signature)]
    for kind, records in answers.items():
        for record in records:
            reply.answer.append(dns.rrset.from_rdata(zone, 300, record))
        reply.answer[-1].covers = dns.rdatatype.RdataType.make(kind)
    length = {1: 20, 2: 32, 4: 48}[digest]
    vouched = dns.rdata.from_text("IN", "DS", f"{tag} {algorithm} {digest} {'ab' * length}")
    chain = Chain({zone: (vouched,)}, lambda _name, _kind: reply, Seen())
    (text,) = (each for each in reply.answer if each.rdtype == dns.rdatatype.TXT)
    with pytest.raises(Bogus):
        chain.check(reply, text)
    assert not chain.denies(reply, zone, dns.rdatatype.CAA)


def test_a_zone_with_more_keys_than_anybody_needs_is_refused():
    """KeyTrap, CVE-2023-50387: keys and signatures that are all alike, each to be tried."""
    zone, anchor = lab()
    keys = zone.find_rdataset(zone.origin, "DNSKEY").copy()
    for n in range(MAX_KEYS):
        keys.add(a_key(13, bytes([n]) * 64))
    zone.replace_rdataset(zone.origin, keys)
    assert "more keys" in bogus(PLACE, "TXT", zone, anchor=anchor)


def test_a_key_larger_than_anybody_needs_is_refused():
    zone, anchor = lab()
    keys = zone.find_rdataset(zone.origin, "DNSKEY").copy()
    keys.add(a_key(8, b"\x03\x01\x00\x01" + b"\xff" * 4096))
    zone.replace_rdataset(zone.origin, keys)
    assert "larger ones" in bogus(PLACE, "TXT", zone, anchor=anchor)


def test_few_signatures_are_tried():
    zone, anchor = lab()
    place = dns.name.from_text(PLACE)
    right = zone.find_rdataset(place, "RRSIG", "TXT")
    many = right.copy()
    many.clear()
    for n in range(20):
        many.add(a_signature(16, 13, n, b"x" * 64))
    zone.replace_rdataset(place, many)
    with a_resolver(zone, anchor=anchor) as (resolver, server):
        with pytest.raises(Bogus):
            resolver.look_up(PLACE, "TXT", Seen())
        assert len(server.asked) <= 3


# That there is nothing


@KINDS
@pytest.mark.parametrize(
    "name",
    [
        "web.lab.test",  # it has other records
        "no.lab.test",  # it does not exist
        "zz.lab.test",  # nor does this one, after the last name
        "x.y.no.lab.test",
        "_acme-challenge.lab.test",
        "wild.lab.test",  # it is only what others are below
        "lab.test",
    ],
)
def test_that_there_is_nothing_is_proven(name: str, hashed: bool):
    """RFC 4035 section 5.4, RFC 5155 section 8."""
    zone, anchor = lab(hashed=hashed)
    found = look_up(name, "CAA", zone, anchor=anchor)
    assert not found.records
    assert found.proven


@KINDS
def test_what_is_there_is_not_denied_by_what_is_next_to_it(hashed: bool):
    zone, anchor = lab(hashed=hashed)
    with a_resolver(zone, anchor=anchor) as (resolver, server):
        hidden = "_acme-challenge.web.lab.test"
        name = dns.name.from_text(hidden)
        zone.delete_rdataset(name, "TXT")
        found = resolver.look_up(hidden, "TXT", Seen())
    assert server.asked
    assert not found.records
    assert not found.proven


def test_an_nsec3_that_opts_out_proves_nothing():
    """RFC 5155 section 6: there may be unsigned names between its hashes."""
    zone, anchor = lab(hashed=True, opt_out=True)
    assert not look_up("no.lab.test", "CAA", zone, anchor=anchor).proven


@KINDS
def test_a_parent_cannot_say_what_its_child_does_not_have(hashed: bool):
    """RFC 6840 section 4.1: at a delegation the parent knows of NS and DS only."""
    (outer, _), anchor = tree(hashed=hashed)
    for name in ("lab.test", "web.lab.test"):
        assert not look_up(name, "CAA", outer, anchor=anchor).proven


def test_the_proof_of_a_forger_is_none():
    zone, anchor = lab()
    other, _ = a_signed_zone("lab.test", {})
    for kind, covers in (("NSEC", "NONE"), ("RRSIG", "NSEC")):
        rdataset = other.find_rdataset(other.origin, kind, covers)
        zone.replace_rdataset(zone.origin, rdataset)
    assert not look_up("lab.test", "CAA", zone, anchor=anchor).proven


def chain_of(*zones: tuple[dns.zone.Zone, str]) -> Chain:
    """A chain that trusts these zones, each `(zone, DS)`, and asks nobody else."""

    def fetch(name: dns.name.Name, kind: dns.rdatatype.RdataType) -> dns.message.Message:
        reply = dns.message.Message()
        (own,) = (zone for zone, _ in zones if zone.origin == name)
        answer_signed(reply, own, name, kind)
        return dns.message.from_wire(reply.to_wire())

    trusted = anchors(tuple(f"{zone.origin.to_text()[:-1]} {ds}" for zone, ds in zones))
    return Chain(trusted, fetch, Seen())


def proof(zone: dns.zone.Zone, owner: str, shown_as: str) -> dns.message.Message:
    """An answer with the NSEC of one name of a zone, shown as that of another."""
    reply = dns.message.Message()
    for kind, covers in (("NSEC", "NONE"), ("RRSIG", "NSEC")):
        rdataset = zone.find_rdataset(dns.name.from_text(owner), kind, covers)
        name = dns.name.from_text(shown_as)
        rrset = dns.rrset.RRset(name, rdataset.rdclass, rdataset.rdtype, rdataset.covers)
        rrset.update(rdataset)
        reply.authority.append(rrset)
    return reply


def test_a_zone_cannot_say_what_another_one_does_not_have():
    """RFC 4035 section 5.4: an NSEC speaks for the zone that has it. Whoever has a signed zone may
    write into it that nothing is between it and anybody else's names."""
    evil = a_signed_zone("evil.test", {"a": ["TXT x"]}, lies={"a": "zz.victim.test. TXT"})
    reply = proof(evil[0], "a.evil.test", "a.evil.test")
    chain = chain_of(evil)
    name = dns.name.from_text("www.victim.test")
    assert not chain.denies(reply, name, dns.rdatatype.CAA)
    assert chain.denies(reply, dns.name.from_text("b.a.evil.test"), dns.rdatatype.CAA)


def test_what_the_star_does_not_have_says_nothing_of_a_name_beside_it():
    """RFC 4035 section 5.3.4: the signature of the star's NSEC is good for its name, and for every
    name that it is shown under, which may have other records than the star."""
    zone = a_signed_zone("lab.test", {"*": ["TXT any"], "web": ['CAA 0 issue ";"']})
    reply = proof(zone[0], "*.lab.test", "web.lab.test")
    name = dns.name.from_text("web.lab.test")
    assert not chain_of(zone).denies(reply, name, dns.rdatatype.CAA)


# Anchors


def test_the_roots_keys_are_known():
    (root,) = anchors(())
    assert root.to_text() == "."
    assert [ds.key_tag for ds in anchors(())[root]] == [20326, 38696]
    assert all(len(ds.digest) == 32 for ds in anchors(())[root])
    assert len(ROOT["."]) == 2


def test_an_anchor_of_the_root_replaces_those_that_are_known():
    text = ". 12345 13 2 " + "ab" * 32
    (found,) = anchors((text,)).values()
    assert [ds.key_tag for ds in found] == [12345]


# Together with the zone's own servers


def test_the_zones_own_servers_are_believed_only_with_signatures():
    """A server that forges is passed over, one that does not is enough."""
    right, ds = a_signed_zone(
        "lab.test",
        {
            "@": ["NS ns1.lab.test.", "NS ns2.lab.test."],
            "ns1": ["A 127.0.0.2"],
            "ns2": ["A 127.0.0.3"],
            "_acme-challenge.web": ["TXT right"],
        },
    )
    forged = copy.deepcopy(right)
    replace(forged, PLACE, "TXT", "forged")
    with (
        DnsServer({}, signed=[right]) as first,
        DnsServer({}, signed=[forged], at="127.0.0.2", authoritative=True) as liar,
        DnsServer({}, signed=[right], at="127.0.0.3", port=liar.port, authoritative=True) as honest,
    ):
        profile = DnsProfile(
            name="lab",
            timeout=dt.timedelta(seconds=10),
            zones=(DnsZone(dns_server=(first.endpoint,), authoritative=True, dnssec=True),),
            trust_anchors=(f"lab.test {ds}",),
            resolved_ip_policy=IpPolicy(allow_cidrs=(ipaddress.ip_network("127.0.0.0/8"),)),
        )
        resolver = Resolver(profile, port=liar.port)
        found = resolver.look_up(PLACE, "TXT", Seen())
        assert [record.to_text() for record in found.records] == ['"right"']
        honest.signed = [forged]
        with pytest.raises(Bogus):
            resolver.look_up(PLACE, "TXT", Seen())
