"""Proofs that there is nothing in the DNS: NSEC and NSEC3 records, whose signatures were checked.

RFC 4035 section 5.4, RFC 5155 section 8, RFC 6840 section 4. Nothing follows from a record of a
zone about what is below one of its delegations, nor from an NSEC3 that opts out.
"""

import base64
import binascii

import dns.dnssec
import dns.name
import dns.rdata
import dns.rdatatype
import dns.rdtypes.ANY.NSEC
import dns.rdtypes.ANY.NSEC3
import dns.rdtypes.ANY.RRSIG
import dns.rrset

NSEC = dns.rdtypes.ANY.NSEC.NSEC
NSEC3 = dns.rdtypes.ANY.NSEC3.NSEC3
Kind = dns.rdatatype.RdataType

MAX_RECORDS = 8
MAX_ITERATIONS = 100
"""Of the NSEC3 hash; RFC 9276 section 3.2 lets a validator refuse more."""
OPT_OUT = 1
STAR = dns.name.Name((b"*",))


def expanded_from(name: dns.name.Name, signature: dns.rdtypes.ANY.RRSIG.RRSIG) -> bool:
    """Tell whether what was signed is a wildcard that stands for the name. RFC 4035 5.3.2."""
    return bool(signature.labels < _labels(name))


def is_no_name(
    proofs: list[dns.rrset.RRset], name: dns.name.Name, signature: dns.rdtypes.ANY.RRSIG.RRSIG
) -> bool:
    """Tell whether proofs say that no name stands between `name` and the wildcard above it that was
    signed. RFC 4035 section 5.3.4, RFC 5155 section 8.8.
    """
    closer = dns.name.Name(name.labels[-(signature.labels + 2) :])
    if _nsec_covering(proofs, name) is not None:
        return True
    return _covers3([each for each in proofs if each.name.parent() == signature.signer], closer)


def denies(proofs: list[dns.rrset.RRset], name: dns.name.Name, kind: Kind) -> bool:
    """Tell whether proofs say that a name has no records of a kind, nor a wildcard in its place.

    Hashed names say nothing across zones: what a zone above does not have may be in one below. So
    each zone's are looked at alone.
    """
    by_zone: dict[dns.name.Name, list[dns.rrset.RRset]] = {}
    for proof in proofs:
        if proof.rdtype == dns.rdatatype.NSEC3:
            by_zone.setdefault(proof.name.parent(), []).append(proof)
    return _denied_by_nsec(proofs, name, kind) or any(
        _denied_by_nsec3(own, name, kind) for own in by_zone.values()
    )


def _denied_by_nsec(proofs: list[dns.rrset.RRset], name: dns.name.Name, kind: Kind) -> bool:
    own = _nsec_at(proofs, name)
    if own is not None:
        return _lacks(own, kind)
    cover = _nsec_covering(proofs, name)
    if cover is None:
        return False
    owner, record = cover
    if record.next.is_subdomain(name):
        return True  # there are names below it, but none of its own
    encloser = max(_common(name, owner), _common(name, record.next), key=len)
    star = STAR.concatenate(encloser)
    at_star = _nsec_at(proofs, star)
    return _lacks(at_star, kind) if at_star is not None else bool(_nsec_covering(proofs, star))


def _nsec_at(proofs: list[dns.rrset.RRset], name: dns.name.Name) -> NSEC | None:
    return next((record for owner, record in _nsecs(proofs) if owner == name), None)


def _nsec_covering(
    proofs: list[dns.rrset.RRset], name: dns.name.Name
) -> tuple[dns.name.Name, NSEC] | None:
    """Return the NSEC between whose names there is none, this one among them."""
    for owner, record in _nsecs(proofs):
        # The last name of a zone is followed by its first, the zone's own.
        after = name < record.next or (record.next <= owner and name.is_subdomain(record.next))
        if owner < name and after and not _cuts(owner, record, name):
            return owner, record
    return None


def _nsecs(proofs: list[dns.rrset.RRset]) -> list[tuple[dns.name.Name, NSEC]]:
    return [(rrset.name, record) for rrset in proofs for record in rrset if type(record) is NSEC]


def _denied_by_nsec3(proofs: list[dns.rrset.RRset], name: dns.name.Name, kind: Kind) -> bool:
    own = _at3(proofs, name)
    if own is not None:
        return _lacks(own, kind)
    # The closest name above that exists, and the proof that the next one towards `name` does not.
    closer = name
    while closer != dns.name.root:
        encloser = closer.parent()
        above = _at3(proofs, encloser)
        if above is not None:
            if _cuts(encloser, above, name) or not _covers3(proofs, closer):
                return False
            star = STAR.concatenate(encloser)
            at_star = _at3(proofs, star)
            return _lacks(at_star, kind) if at_star is not None else _covers3(proofs, star)
        closer = encloser
    return False


def _at3(proofs: list[dns.rrset.RRset], name: dns.name.Name) -> NSEC3 | None:
    for owner, record in _nsec3s(proofs):
        if name.is_subdomain(owner.parent()) and _hash_of(owner) == _hashed(name, record):
            return record
    return None


def _covers3(proofs: list[dns.rrset.RRset], name: dns.name.Name) -> bool:
    for owner, record in _nsec3s(proofs):
        if not name.is_subdomain(owner.parent()) or record.flags & OPT_OUT:
            continue
        first, hashed, last = _hash_of(owner), _hashed(name, record), record.next
        if first < hashed < last or (last <= first and (hashed > first or hashed < last)):
            return True
    return False


def _nsec3s(proofs: list[dns.rrset.RRset]) -> list[tuple[dns.name.Name, NSEC3]]:
    return [
        (rrset.name, record)
        for rrset in proofs
        for record in rrset
        if type(record) is NSEC3
        and record.algorithm == dns.rdtypes.ANY.NSEC3.SHA1
        and record.iterations <= MAX_ITERATIONS
    ]


def _hash_of(owner: dns.name.Name) -> bytes:
    return _decoded(owner.labels[0].decode("ascii", "replace"))


def _hashed(name: dns.name.Name, record: NSEC3) -> bytes:
    return _decoded(dns.dnssec.nsec3_hash(name, record.salt, record.iterations, record.algorithm))


def _decoded(text: str) -> bytes:
    """Return the bytes of a base32hex text; of what is none, nothing."""

    try:
        return base64.b32hexdecode(text.upper() + "=" * (-len(text) % 8))
    except binascii.Error:
        return b""


def _has(record: NSEC | NSEC3, kind: Kind) -> bool:
    """Tell whether the bitmap names a kind. RFC 4034 section 4.1.2."""
    window, offset = divmod(int(kind), 256)
    place, bit = divmod(offset, 8)
    return any(
        number == window and place < len(bitmap) and bitmap[place] & (0x80 >> bit)
        for number, bitmap in record.windows
    )


def _lacks(record: NSEC | NSEC3, kind: Kind) -> bool:
    """Tell whether a name has neither records of the kind nor an alias."""
    parents_side = _has(record, dns.rdatatype.NS) and not _has(record, dns.rdatatype.SOA)
    if parents_side and kind != dns.rdatatype.DS:
        return False
    return not _has(record, kind) and not _has(record, dns.rdatatype.CNAME)


def _cuts(owner: dns.name.Name, record: NSEC | NSEC3, name: dns.name.Name) -> bool:
    """Tell whether `owner` is delegated or renamed, so that what is below is not its zone's."""
    if owner == name or not name.is_subdomain(owner):
        return False
    delegated = _has(record, dns.rdatatype.NS) and not _has(record, dns.rdatatype.SOA)
    return delegated or _has(record, dns.rdatatype.DNAME)


def _common(one: dns.name.Name, other: dns.name.Name) -> dns.name.Name:
    """Return the longest name that both are at or below."""
    _, _, labels = one.fullcompare(other)
    return dns.name.Name(one.labels[-labels:]) if labels else dns.name.root


def _labels(name: dns.name.Name) -> int:
    """Return the labels of a name as RRSIGs count them: neither the root's nor a star."""
    return len(name.labels) - 1 - int(name.is_wild())
