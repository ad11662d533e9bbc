"""Signed zones, and what a server of them answers: with NSEC as dnspython makes it, or with NSEC3.

zone, ds = a_signed_zone("lab.test", {"web": ["A 192.0.2.1"], "*": ["TXT any"]})
DnsServer({}, signed=[zone])      # `ds` is the DS record that vouches for it
"""

import base64
import datetime as dt
from collections.abc import Mapping, Sequence

import dns.dnssec
import dns.dnssectypes
import dns.message
import dns.name
import dns.node
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.rdtypes.ANY.NSEC3
import dns.rrset
import dns.zone
from cryptography.hazmat.primitives.asymmetric import ec

TTL = 300
DAY = dt.timedelta(days=1)
SALT = b"salt"
ITERATIONS = 3
NSEC3 = dns.rdatatype.NSEC3


def a_signed_zone(
    origin: str,
    records: Mapping[str, Sequence[str]],
    *,
    hashed: bool = False,
    opt_out: bool = False,
    began: dt.timedelta = DAY,
    lasts: dt.timedelta = DAY,
    lies: Mapping[str, str] | None = None,
) -> tuple[dns.zone.Zone, str]:
    """Return a zone, signed from `began` ago for `lasts` from now, and its DS as text.

    `lies` are NSEC records in the place of the true ones, signed all the same.
    """
    zone = dns.zone.Zone(dns.name.from_text(origin), relativize=False)
    soa = f"SOA ns.{origin}. admin.{origin}. 1 60 60 60 60"
    everything = {**records, "@": [soa, *records.get("@", ())]}
    with zone.writer() as writer:
        for name, texts in everything.items():
            owner = dns.name.from_text(name, zone.origin) if name != "@" else zone.origin
            for text in texts:
                kind, _, value = text.partition(" ")
                writer.add(owner, TTL, dns.rdata.from_text("IN", kind, value))
    private = ec.generate_private_key(ec.SECP256R1())
    key = dns.dnssec.make_dnskey(
        private.public_key(), dns.dnssec.Algorithm.ECDSAP256SHA256, flags=257
    )
    now = dt.datetime.now(dt.UTC)  # noqa: TID251 - signatures are held against the real time
    dns.dnssec.sign_zone(zone, keys=[(private, key)], inception=now - began, expiration=now + lasts)
    if hashed:
        _hash(zone, private, key, now, opt_out=opt_out)
    for name, text in (lies or {}).items():
        owner = dns.name.from_text(name, zone.origin)
        _put(zone, owner, dns.rdata.from_text("IN", "NSEC", text), private, key, now)
    ds = dns.dnssec.make_ds(zone.origin, key, dns.dnssectypes.DSDigest.SHA256)
    return zone, ds.to_text()


def _hash(zone: dns.zone.Zone, private, key, now: dt.datetime, *, opt_out: bool) -> None:
    """Put NSEC3 records in the place of the NSEC records. RFC 5155 section 7.1."""
    hashes: dict[str, list[int]] = {}
    for owner in list(zone.nodes):
        kinds = [rdataset.rdtype for rdataset in zone.nodes[owner] if rdataset.rdtype != 47]
        kinds = [kind for kind in kinds if kind != dns.rdatatype.RRSIG]
        zone.delete_rdataset(owner, dns.rdatatype.NSEC)
        zone.delete_rdataset(owner, dns.rdatatype.RRSIG, dns.rdatatype.NSEC)
        above = owner
        while above.is_subdomain(zone.origin):
            hashes.setdefault(_hashed(above), [])
            above = above.parent()
        hashes[_hashed(owner)] = [int(kind) for kind in kinds]
    ordered = sorted(hashes)
    for n, hashed in enumerate(ordered):
        owner = dns.name.from_text(hashed, zone.origin)
        record = dns.rdtypes.ANY.NSEC3.NSEC3(
            dns.rdataclass.IN,
            NSEC3,
            1,
            1 if opt_out else 0,
            ITERATIONS,
            SALT,
            base64.b32hexdecode(ordered[(n + 1) % len(ordered)].upper()),
            dns.rdtypes.ANY.NSEC3.Bitmap.from_rdtypes(
                [dns.rdatatype.RdataType.make(kind) for kind in hashes[hashed]]
            ),
        )
        _put(zone, owner, record, private, key, now)


def _put(
    zone: dns.zone.Zone, owner: dns.name.Name, record: dns.rdata.Rdata, private, key, now
) -> None:
    """Put a record into the zone, alone of its kind, and signed."""
    rrset = dns.rrset.from_rdata(owner, TTL, record)
    signature = dns.dnssec.sign(
        rrset, private, zone.origin, key, inception=now - DAY, expiration=now + DAY
    )
    zone.replace_rdataset(owner, rrset.to_rdataset())
    zone.replace_rdataset(owner, dns.rdataset.from_rdata(TTL, signature))


def _hashed(name: dns.name.Name) -> str:
    return dns.dnssec.nsec3_hash(name, SALT, ITERATIONS, 1).lower()


def answer_signed(  # noqa: C901 - a server's algorithm, from top to bottom
    reply: dns.message.Message, zone: dns.zone.Zone, name: dns.name.Name, kind: int
) -> None:
    """Put into a reply what a server of the zone says. RFC 4035 section 3.1."""
    for _ in range(8):
        node, owner = zone.nodes.get(name), name
        for above in _above(name, zone.origin):
            found = zone.nodes.get(above)
            dname = None if found is None else _rdataset(found, dns.rdatatype.DNAME)
            if found is not None and dname is not None and above != name:
                _add(reply.answer, above, found, dns.rdatatype.DNAME)
                target = name.relativize(above).concatenate(dname[0].target)
                reply.answer.append(dns.rrset.from_text(name, TTL, "IN", "CNAME", str(target)))
                name = target
                break
        else:
            star = _star(zone, name) if node is None and not _exists(zone, name) else None
            if star is not None:
                node, owner = zone.nodes[star], star
            if node is None:
                if not _exists(zone, name):
                    reply.set_rcode(dns.rcode.NXDOMAIN)
                _deny(reply, zone, name)
                return
            if star is not None:
                _deny(reply, zone, name)
            if _rdataset(node, kind) is not None:
                _add(reply.answer, name, node, kind)
                return
            alias = _rdataset(node, dns.rdatatype.CNAME)
            if alias is None:
                _deny(reply, zone, owner)
                return
            _add(reply.answer, name, node, dns.rdatatype.CNAME)
            name = alias[0].target
        if not name.is_subdomain(zone.origin):
            return


def _add(
    section: list[dns.rrset.RRset], name: dns.name.Name, node: dns.node.Node, kind: int
) -> None:
    for rdataset in node:
        if rdataset.rdtype == kind or (
            rdataset.rdtype == dns.rdatatype.RRSIG and rdataset.covers == kind
        ):
            rrset = dns.rrset.RRset(name, rdataset.rdclass, rdataset.rdtype, rdataset.covers)
            rrset.update(rdataset)
            section.append(rrset)


def _rdataset(node: dns.node.Node, kind: int) -> dns.rdataset.Rdataset | None:
    return node.get_rdataset(dns.rdataclass.IN, dns.rdatatype.RdataType.make(kind))


def _above(name: dns.name.Name, origin: dns.name.Name) -> list[dns.name.Name]:
    found = [name]
    while found[-1] != origin:
        found.append(found[-1].parent())
    return found


def _exists(zone: dns.zone.Zone, name: dns.name.Name) -> bool:
    return any(
        owner.is_subdomain(name) and _rdataset(node, NSEC3) is None
        for owner, node in zone.nodes.items()
    )


def _star(zone: dns.zone.Zone, name: dns.name.Name) -> dns.name.Name | None:
    for above in _above(name, zone.origin)[1:]:
        star = dns.name.from_text("*", above)
        if star in zone.nodes:
            return star
        if _exists(zone, above):
            return None
    return None


def _deny(reply: dns.message.Message, zone: dns.zone.Zone, name: dns.name.Name) -> None:
    """Put all proofs into the reply: the zones of tests are small, and which to choose is what the
    reader is tested for."""
    del name
    for owner, node in zone.nodes.items():
        for kind in (dns.rdatatype.NSEC, NSEC3):
            if _rdataset(node, kind) is not None:
                _add(reply.authority, owner, node, kind)
