"""Whether a domain lets this CA issue for it: CAA records, RFC 8659, and their bindings to accounts
and methods, RFC 8657.

1. The records that count are those of the name, or of the nearest name above it that has some, up
   to and with the top-level domain. An alias is followed at each name, but nobody climbs from where
   it leads. The time of one look-up is for all of them.
2. With no records, or none that speak of the case, anybody may issue.
3. A record with the critical flag whose tag nobody here knows forbids it.
4. For a wildcard the `issuewild` records count, if there are any; else, and for any other name, the
   `issue` records.
5. One of those has to name one of our identities. One with `accounturi` has to name the account,
   one with `validationmethods` the challenge type. A record that is not well-formed names nobody; a
   condition that is given twice cannot be met.
6. Where the DNS cannot say, or (where signatures are asked for) cannot prove, which records there
   are, nothing is known.
"""

import hashlib
from collections.abc import Sequence

import dns.rdata
import dns.rdtypes.ANY.CAA
import msgspec

from certeasy.decide.problems import Problem
from certeasy.validate import Asked, CaaSeen, Failed, Validated, Validator
from certeasy.validate.ask import Seen, Unresolved, shown
from certeasy.validate.issue_value import IssueValue, parse
from certeasy.validate.resolve import Resolver

CAA = dns.rdtypes.ANY.CAA.CAA
CRITICAL = 128
KNOWN = (b"issue", b"issuewild", b"iodef")
MAX_CLIMB = 32
MAX_KEPT = 16
PERMITS, FORBIDS, UNKNOWN = "permits", "forbids", "unknown"


class Caa:
    """Asks for one DNS profile. One instance serves all threads.

    `identities` are the names by which records mean this CA.
    """

    def __init__(self, resolver: Resolver, identities: Sequence[str]) -> None:
        self._resolver = resolver
        self._identities = frozenset(each.lower() for each in identities)

    def check(
        self,
        name: str,
        *,
        wildcard: bool,
        method: str,
        account_urls: Sequence[str],
        seen: Seen | None = None,
    ) -> CaaSeen:
        """Say what the records of a name mean for a certificate.

        `method` is the challenge type that proved it; "": it was proven in no such way.
        """
        seen = seen or Seen()
        try:
            at, records = self._relevant(name, seen)
        except Unresolved as error:
            names = tuple(seen.names)
            return CaaSeen(UNKNOWN, str(error), names=names, transient=error.transient)
        reason = self._objection(records, wildcard=wildcard, method=method, urls=account_urls)
        return CaaSeen(
            verdict=PERMITS if reason is None else FORBIDS,
            reason="" if reason is None else f"the CAA records of {at} {reason}",
            at=at,
            names=tuple(seen.names),
            records=tuple(
                hashlib.sha256(b"%d %b %b" % (each.flags, each.tag, each.value)).hexdigest()
                for each in records[:MAX_KEPT]
            ),
        )

    def _relevant(self, name: str, seen: Seen) -> tuple[str, tuple[CAA, ...]]:
        """Return the records that count, and where they are: rule 1. Raises Unresolved."""
        asked, deadline = name, self._resolver.deadline()
        for _ in range(MAX_CLIMB):
            found = self._resolver.look_up(asked, "CAA", seen, deadline)
            records = tuple(each for each in found.records if isinstance(each, CAA))
            if records:
                return asked, records
            if not found.proven:
                detail = f"nothing proves that {shown(asked)} has no CAA records"
                raise Unresolved(detail)
            if "." not in asked:
                return "", ()
            asked = asked.partition(".")[2]
        raise Unresolved(f"{name} has more than {MAX_CLIMB} names above it")

    def _objection(
        self, records: tuple[CAA, ...], *, wildcard: bool, method: str, urls: Sequence[str]
    ) -> str | None:
        """Return what records have against a certificate, as the end of a sentence; None:
        nothing. Rules 2 to 5."""
        for each in records:
            if each.flags & CRITICAL and each.tag.lower() not in KNOWN:
                return "have a critical property that is not known here"
        own = [each for each in records if each.tag.lower() == b"issue"]
        wild = [each for each in records if each.tag.lower() == b"issuewild"]
        tag, asked = ("issuewild", wild) if wildcard and wild else ("issue", own)
        if not asked:
            return None
        reasons = [self._unmet(each.value, method, urls) for each in asked]
        if None in reasons:
            return None
        named = next((reason for reason in reasons if reason != NOBODY), NOBODY)
        return f"({tag}) {named}"

    def _unmet(self, text: bytes, method: str, urls: Sequence[str]) -> str | None:
        """Return why a property does not let us issue; None: it does. Rule 5."""
        try:
            value = parse(text)
        except ValueError:
            return NOBODY
        if not value.issuer or value.issuer not in self._identities:
            return NOBODY
        return _condition(value, method, urls)


NOBODY = "do not name this CA"


def _condition(value: IssueValue, method: str, urls: Sequence[str]) -> str | None:
    """Return which condition for this CA is not met; None: all are. RFC 8657 sections 3 and 4."""
    accounts = value.given("accounturi")
    if len(accounts) > 1 or (accounts and accounts[0] not in urls):
        return "name another account of this CA"
    methods = value.given("validationmethods")
    if len(methods) > 1 or (methods and method not in methods[0].split(",")):
        return "name other challenge types" if method else "want a challenge of their choice"
    return None


class WithCaa:
    """A validator whose success counts only if the domain's CAA records let it.

    `strict`: what forbids it fails the challenge, with the problem `caa`, and what cannot be looked
    up as well, with `dns`. Else the records are only looked at and kept as evidence.
    """

    def __init__(self, validator: Validator, caa: Caa, method: str, *, strict: bool) -> None:
        self._validator = validator
        self._caa = caa
        self._method = method
        self._strict = strict

    def validate(self, asked: Asked) -> Validated | Failed:
        """Validate, then look at the CAA records. An address has none."""
        outcome = self._validator.validate(asked)
        if isinstance(outcome, Failed) or asked.identifier_type != "dns":
            return outcome
        caa = self._caa.check(
            asked.name,
            wildcard=asked.wildcard,
            method=self._method,
            account_urls=asked.account_urls,
        )
        evidence = msgspec.structs.replace(outcome.evidence, caa=caa)
        problem = problem_of(caa) if self._strict else None
        if problem is None:
            return Validated(evidence)
        return Failed(problem, told(asked.name, caa), evidence, caa.transient)


def problem_of(caa: CaaSeen) -> Problem | None:
    """Return the problem that a check leads to where CAA is strict; None: none."""
    if caa.verdict == PERMITS:
        return None
    return Problem.CAA if caa.verdict == FORBIDS else Problem.DNS


def told(name: str, caa: CaaSeen) -> str:
    """Return what is told to the client whose name may not be issued for."""
    if caa.verdict == FORBIDS:
        return f"No certificate for {name}: {caa.reason}"
    return f"No certificate for {name}: its CAA records are not known: {caa.reason}"
