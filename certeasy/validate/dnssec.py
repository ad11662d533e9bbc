"""Whether what the DNS says is signed, from the zone that says it up to a key that is trusted.

RFC 4035 section 5, with less latitude: where a profile asks for signatures, everything must have
one. A zone that is not signed is refused, like one whose signatures are wrong: the difference
matters to who may not lose a customer, not to who asked for proof.

1. An RRset counts if one of its RRSIGs verifies with a key of the signer, which is the zone of the
   RRset's name (a name at or above it).
2. A zone's keys count if its DNSKEY RRset is signed by one of them that a DS record vouches for: a
   DS of the parent zone, which counts by rule 1, or one of the anchors.
3. What was made of a wildcard counts only with the proof that the name itself does not exist.
4. That there is nothing is proven by NSEC or NSEC3 records (`certeasy.validate.denial`) which count
   by rule 1, as they stand in their zone, and of that zone: whoever has one may write into it that
   nothing is between it and anybody else's names.
5. Signatures and keys that are tried are few: an answer can be made so that checking it takes ages.
"""

from collections.abc import Callable, Mapping
from typing import cast

import dns.dnssec
import dns.exception
import dns.message
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.rdtypes.ANY.DNSKEY
import dns.rdtypes.ANY.DS
import dns.rdtypes.ANY.RRSIG
import dns.rrset

from certeasy.validate import denial
from certeasy.validate.ask import Seen, Unresolved, shown

DS = dns.rdtypes.ANY.DS.DS
RRSIG = dns.rdtypes.ANY.RRSIG.RRSIG
Kind = dns.rdatatype.RdataType
Fetch = Callable[[dns.name.Name, Kind], dns.message.Message]
"""Asks for records with their signatures. Raises Unresolved."""

ALGORITHMS = frozenset({8, 10, 13, 14, 15, 16})
"""RSA with SHA-256 and SHA-512, ECDSA P-256 and P-384, Ed25519, Ed448. RFC 9904; what is older is
broken, and what is private (253, 254) is somebody else's form to read."""
MAX_KEY = 1100
"""Bytes of a public key: RSA of 8192 bits and its exponent."""
MAX_SIGNATURES = 4
MAX_KEYS = 16
MAX_FETCHES = 64
ZONE_KEY, REVOKED = 0x0100, 0x0080
ROOT = {
    ".": (
        "20326 8 2 e06d44b80b8f1d39a95c0b0d7c65d08458e880409bbc683457104237c7f8ec8d",
        "38696 8 2 683d2d0acb8c9b712a1948b27f741219298d0a450d612c483af444a4c0fb2b16",
    )
}
"""The keys of the root, as IANA publishes them; from 2017 and from 2024."""


class Bogus(Unresolved):
    """The DNS says something, but there is no proof that its zone does."""


def anchors(configured: tuple[str, ...]) -> dict[dns.name.Name, tuple[DS, ...]]:
    """Return the anchors of a profile, by zone: the root's, and those written `ZONE DS`.

    Those of the root are replaced if the profile has some itself.
    """
    texts: dict[str, tuple[str, ...]] = {}
    for text in configured:
        zone, _, vouched = text.partition(" ")
        texts[zone.rstrip(".") + "."] = (*texts.get(zone.rstrip(".") + ".", ()), vouched)
    return {
        dns.name.from_text(zone): tuple(
            cast("DS", dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.DS, each))
            for each in vouched
        )
        for zone, vouched in (ROOT | texts).items()
    }


class Chain:
    """Follows signatures for one look-up; what it has verified it does not verify twice."""

    def __init__(
        self, trusted: Mapping[dns.name.Name, tuple[DS, ...]], fetch: Fetch, seen: Seen
    ) -> None:
        self._trusted = trusted
        self._fetch = fetch
        self._seen = seen
        self._keys: dict[dns.name.Name, dns.rdataset.Rdataset] = {}
        self._fetches = 0

    def check(self, reply: dns.message.Message, rrset: dns.rrset.RRset) -> None:
        """Return if the RRset of an answer counts: rules 1 to 3. Raises Bogus."""
        signature = self._verified(reply.answer, rrset)
        expanded = denial.expanded_from(rrset.name, signature)
        if expanded and not denial.is_no_name(
            self._denials(reply, rrset.name), rrset.name, signature
        ):
            raise Bogus(f"{_told(rrset)} is made of a wildcard, and nothing proves that it may be")

    def denies(self, reply: dns.message.Message, name: dns.name.Name, kind: Kind) -> bool:
        """Tell whether an answer proves that a name has no records of a kind: rule 4."""
        return denial.denies(self._denials(reply, name), name, kind)

    def _denials(self, reply: dns.message.Message, name: dns.name.Name) -> list[dns.rrset.RRset]:
        """Return the NSEC and NSEC3 records of an answer that count for a name: rule 4."""
        kinds = (dns.rdatatype.NSEC, dns.rdatatype.NSEC3)
        offered = [rrset for rrset in reply.authority if rrset.rdtype in kinds]
        proven = []
        for rrset in offered[: denial.MAX_RECORDS]:
            try:
                signature = self._verified(reply.authority, rrset)
            except Bogus:
                continue
            # A star's own proof is good for the star, not for the names that it may be shown under.
            expanded = denial.expanded_from(rrset.name, signature)
            if name.is_subdomain(signature.signer) and not expanded:
                proven.append(rrset)
        return proven

    def _verified(self, section: list[dns.rrset.RRset], rrset: dns.rrset.RRset) -> RRSIG:
        """Return the signature by which an RRset counts: rule 1. Raises Bogus."""
        signatures = _signatures(section, rrset)
        if not signatures:
            raise Bogus(f"{_told(rrset)} is not signed")
        why = ""
        for signature in signatures[:MAX_SIGNATURES]:
            if not _may_sign(signature, rrset):
                continue
            try:
                keys = self._keys_of(signature.signer)
                dns.dnssec.validate_rrsig(rrset, signature, {signature.signer: keys})
            except (dns.exception.DNSException, ValueError) as error:
                why = f" ({type(error).__name__}: {error})" if str(error) in WORDS else ""
                continue
            if shown(signature.signer) not in self._seen.signed_by:
                self._seen.signed_by.append(shown(signature.signer))
            return signature
        raise Bogus(f"the signature of {_told(rrset)} is not good{why}")

    def _keys_of(self, zone: dns.name.Name) -> dns.rdataset.Rdataset:
        """Return a zone's keys: rule 2. Raises Bogus."""
        if zone not in self._keys:
            self._keys[zone] = self._proven_keys(zone, self._vouched(zone))
        return self._keys[zone]

    def _vouched(self, zone: dns.name.Name) -> tuple[DS, ...]:
        """Return the DS records of a zone, of an anchor or of its parent. Raises Bogus."""
        if zone in self._trusted:
            return self._trusted[zone]
        if not any(zone.is_subdomain(anchor) for anchor in self._trusted):
            raise Bogus(f"no trust anchor is at or above {shown(zone)}")
        reply = self._fetched(zone, dns.rdatatype.DS)
        rrset = reply.get_rrset(reply.answer, zone, dns.rdataclass.IN, dns.rdatatype.DS)
        if rrset is None:
            raise Bogus(f"the zone {shown(zone)} is not signed: its parent has no DS record of it")
        self._verified(reply.answer, rrset)
        return tuple(cast("DS", record) for record in rrset)

    def _proven_keys(self, zone: dns.name.Name, vouched: tuple[DS, ...]) -> dns.rdataset.Rdataset:
        reply = self._fetched(zone, dns.rdatatype.DNSKEY)
        rrset = reply.get_rrset(reply.answer, zone, dns.rdataclass.IN, dns.rdatatype.DNSKEY)
        if rrset is None:
            raise Bogus(f"the zone {shown(zone)} has no keys")
        if len(rrset) > MAX_KEYS or any(len(key.key) > MAX_KEY for key in rrset):
            raise Bogus(f"the zone {shown(zone)} has more keys, or larger ones, than are tried")
        good = [key for key in rrset if _is_vouched(zone, key, vouched)]
        for signature in _signatures(reply.answer, rrset)[:MAX_SIGNATURES]:
            keys = dns.rdataset.from_rdata_list(rrset.ttl, good) if good else None
            if keys is None or signature.signer != zone or not _may_sign(signature, rrset):
                continue
            try:
                dns.dnssec.validate_rrsig(rrset, signature, {zone: keys})
            except (dns.exception.DNSException, ValueError):
                continue
            return rrset
        raise Bogus(f"the keys of the zone {shown(zone)} are not those that are vouched for")

    def _fetched(self, name: dns.name.Name, kind: Kind) -> dns.message.Message:
        self._fetches += 1
        if self._fetches > MAX_FETCHES:
            raise Bogus(f"the signatures of {shown(name)} need more than {MAX_FETCHES} look-ups")
        return self._fetch(name, kind)


WORDS = ("expired", "not yet valid", "unknown key", "verify failure")
"""What dnspython says of a signature, and may be repeated."""


def _signatures(section: list[dns.rrset.RRset], rrset: dns.rrset.RRset) -> list[RRSIG]:
    return [
        cast("RRSIG", record)
        for each in section
        if each.name == rrset.name
        and each.rdtype == dns.rdatatype.RRSIG
        and each.covers == rrset.rdtype
        for record in each
    ]


def _may_sign(signature: RRSIG, rrset: dns.rrset.RRset) -> bool:
    """Tell whether the algorithm counts, and the signer is a zone that the RRset can be in.

    RFC 4035 section 5.3.1.
    """
    if not rrset.name.is_subdomain(signature.signer):
        return False
    if signature.algorithm not in ALGORITHMS:
        return False
    # A DS is its parent's to say.
    return rrset.rdtype != dns.rdatatype.DS or signature.signer != rrset.name


def _is_vouched(zone: dns.name.Name, key: dns.rdata.Rdata, vouched: tuple[DS, ...]) -> bool:
    """Tell whether a DS record is that of a key which may sign. RFC 4035 section 5.2."""
    assert isinstance(key, dns.rdtypes.ANY.DNSKEY.DNSKEY)
    if not key.flags & ZONE_KEY or key.flags & REVOKED:
        return False
    if key.algorithm not in ALGORITHMS or len(key.key) > MAX_KEY:
        return False
    tag = dns.dnssec.key_id(key)
    for ds in vouched:
        if (ds.key_tag, ds.algorithm) != (tag, key.algorithm):
            continue
        try:
            made = dns.dnssec.make_ds(zone, key, ds.digest_type, validating=True)
        except (dns.exception.DNSException, ValueError):
            continue
        if made.digest == ds.digest:
            return True
    return False


def _told(rrset: dns.rrset.RRset) -> str:
    return f"{dns.rdatatype.to_text(rrset.rdtype)} {shown(rrset.name)}"
