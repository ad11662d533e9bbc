"""The dns-01 challenge: a TXT record that only who runs the name's zone can have put there.

RFC 8555 section 8.4:

    _acme-challenge.NAME  TXT  base64url(SHA-256(key authorization))

1. The name is looked up as its DNS profile says; aliases (CNAME, DNAME) are followed, so that a
   zone which nobody may write to can point to one that they may.
2. All TXT records are looked at, and any of them may be the expected one: a name and its wildcard
   are proven at the same place (pitfall 23). The strings of one record are one value.
3. Values are compared in constant time.
4. No record is ever repeated, in a problem or in the evidence: they are told by their number, and
   kept as hashes.
"""

import base64
import hashlib
import hmac

import dns.rdata
import dns.rdtypes.txtbase

from certeasy.decide.problems import Problem
from certeasy.validate import Asked, Evidence, Failed, Validated
from certeasy.validate.ask import Seen, Unresolved, shown
from certeasy.validate.resolve import NXDOMAIN, Resolver

LABEL = "_acme-challenge"
MAX_KEPT = 16
"""Records whose hashes are kept as evidence."""
AROUND = b"\"' \t\r\n"
"""What forms for DNS records are known to leave around a value."""


class Dns01Validator:
    """Validates dns-01 through one profile's resolver. One instance serves all threads."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    def validate(self, asked: Asked) -> Validated | Failed:
        """Look the challenge of a name up and compare it. RFC 8555 section 8.4."""
        return prove(self._resolver, f"{LABEL}.{asked.name}", digest(asked.key_authorization))


def digest(key_authorization: str) -> bytes:
    """Return what the record has to say: base64url of the key authorization's SHA-256."""
    hashed = hashlib.sha256(key_authorization.encode("ascii")).digest()
    return base64.urlsafe_b64encode(hashed).rstrip(b"=")


def prove(resolver: Resolver, name: str, expected: bytes) -> Validated | Failed:
    """Look whether one of the TXT records of a name is the expected one: rules 1 to 4."""
    seen = Seen()
    try:
        found = resolver.look_up(name, "TXT", seen)
    except Unresolved as reason:
        return Failed(Problem.DNS, str(reason), evidence(seen, ()), reason.transient)
    values = tuple(value(record) for record in found.records)
    matches = [hmac.compare_digest(each, expected) for each in values]
    if any(matches):
        return Validated(evidence(seen, values))
    where = f"TXT {name}" + ("" if len(seen.names) == 1 else f" (an alias of {shown(found.name)})")
    if not found.exists:
        return Failed(Problem.DNS, f"{where} {NXDOMAIN}", evidence(seen, ()))
    if not values:
        detail = f"{where}: the name has no TXT record"
        return Failed(Problem.INCORRECT_RESPONSE, detail, evidence(seen, ()))
    detail = f"{where}: {_told(values, expected)}; asked of {', '.join(seen.servers)}"
    return Failed(Problem.INCORRECT_RESPONSE, detail, evidence(seen, values))


def value(record: dns.rdata.Rdata) -> bytes:
    """Return the value of a TXT record: its strings, put together. RFC 8555 section 8.4."""
    assert isinstance(record, dns.rdtypes.txtbase.TXTBase)
    return b"".join(record.strings)


def evidence(seen: Seen, values: tuple[bytes, ...]) -> Evidence:
    """Return what was seen, with the values as hashes."""
    return Evidence(
        names=tuple(seen.names),
        zones=tuple(seen.zones),
        servers=tuple(seen.servers),
        rcode=seen.rcode,
        signed_by=tuple(seen.signed_by),
        records=tuple(hashlib.sha256(each).hexdigest() for each in values[:MAX_KEPT]),
        record_count=len(values),
    )


def _told(values: tuple[bytes, ...], expected: bytes) -> str:
    """Return how many records there are, and what may be wrong with them."""
    if any(each.strip(AROUND) == expected for each in values):
        return "the expected value has quotation marks or white space around it"
    if len(values) == 1:
        return "1 record, which is not the expected one"
    return f"{len(values)} records, none of them is the expected one"
