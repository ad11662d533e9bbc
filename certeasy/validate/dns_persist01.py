"""The dns-persist-01 challenge: a record that says for good which account may have certificates.

draft-ietf-acme-dns-persist-01:

    _validation-persist.NAME  TXT  "ca.example; accounturi=ACCOUNT URL[; policy=wildcard]
                                    [; persistUntil=SECONDS]"

1. All TXT records are looked at; those that do not name one of our issuer domain names are somebody
   else's.
2. `accounturi` is there once, and is a URL of the account that asks.
3. A wildcard needs `policy=wildcard` (in any case); that a record above speaks for names below it,
   which the draft permits, is not taken: whoever wants it puts a record there.
4. After `persistUntil` the record is void; one that is no number makes it so, too.
5. What is unknown in a record is passed over, as the draft wants.
6. No record is repeated, in a problem or in the evidence.

There is no token: the proof is as good as the account's key, for as long as the record is there.
"""

import re
from collections.abc import Sequence

from certeasy.clock import Clock
from certeasy.decide.problems import Problem
from certeasy.validate import Asked, Failed, Validated
from certeasy.validate.ask import Seen, Unresolved
from certeasy.validate.dns01 import evidence, value
from certeasy.validate.issue_value import IssueValue, parse
from certeasy.validate.resolve import NXDOMAIN, Resolver

LABEL = "_validation-persist"
SECONDS = re.compile(r"[0-9]{1,15}", re.ASCII)


class DnsPersist01Validator:
    """Validates dns-persist-01 through one profile's resolver. One instance serves all threads.

    `issuers` are the issuer domain names that challenges tell.
    """

    def __init__(self, resolver: Resolver, issuers: Sequence[str], clock: Clock) -> None:
        self._resolver = resolver
        self._issuers = frozenset(each.lower() for each in issuers)
        self._clock = clock

    def validate(self, asked: Asked) -> Validated | Failed:
        """Look for a record that lets the account."""
        name, seen = f"{LABEL}.{asked.name}", Seen()
        try:
            found = self._resolver.look_up(name, "TXT", seen)
        except Unresolved as error:
            return Failed(Problem.DNS, str(error), evidence(seen, ()), error.transient)
        values = tuple(value(record) for record in found.records)
        seen_there = evidence(seen, values)
        if not found.exists:
            return Failed(Problem.DNS, f"TXT {name} {NXDOMAIN}", seen_there)
        reasons = []
        for each in self._ours(values):
            reason = self._unmet(each, asked)
            if reason is None:
                return Validated(seen_there)
            reasons.append(reason)
        many = "1 record" if len(values) == 1 else f"{len(values)} records"
        why = reasons[0] if reasons else "none of them names this CA"
        return Failed(Problem.UNAUTHORIZED, f"TXT {name}: {many}, {why}", seen_there)

    def _ours(self, values: tuple[bytes, ...]) -> list[IssueValue]:
        """Return the records that name one of our issuer domain names: rule 1."""
        ours = []
        for each in values:
            try:
                said = parse(each)
            except ValueError:
                continue
            if said.issuer in self._issuers:
                ours.append(said)
        return ours

    def _unmet(self, said: IssueValue, asked: Asked) -> str | None:
        """Return why a record does not let the account; None: it does. Rules 2 to 4."""
        accounts = said.given("accounturi")
        if len(accounts) != 1 or accounts[0] not in asked.account_urls:
            return "the one for this CA does not name this account"
        policies = tuple(each.lower() for each in said.given("policy"))
        if asked.wildcard and policies != ("wildcard",):
            return "the one for this account has no policy=wildcard"
        until = said.given("persistuntil")
        if len(until) > 1 or any(SECONDS.fullmatch(each) is None for each in until):
            return "the one for this account has a persistUntil that is no time"
        if until and self._clock.now().timestamp() > int(until[0]):
            return "the one for this account is out of date (persistUntil)"
        return None
