"""What a validator would see for a name, step by step, before anybody asks for a certificate.

The same resolver, address policy and validators as the server's, with a token that nobody can have
put anywhere. So no challenge is met; what is told is whether one could be: the name leads to an
address that may be connected to, the DNS answers, CAA records do not forbid it. Whether something
listens at that address is told and not held against anybody: many a client opens its port only
while it is validated.
"""

from collections.abc import Mapping, Sequence

import msgspec

from certeasy.settings import DnsProfile
from certeasy.validate import (
    Asked,
    CaaSeen,
    Failed,
    Validated,
    Validator,
    dns01,
    dns_account01,
    dns_persist01,
)
from certeasy.validate.addresses import AddressPolicy
from certeasy.validate.ask import Seen, Unresolved
from certeasy.validate.caa import PERMITS, Caa
from certeasy.validate.resolve import NXDOMAIN, Found, Resolver

TOKEN = "certeasy-dns-test"  # noqa: S105 - the token of a challenge, no password
THUMBPRINT = "0" * 43
ACCOUNT = "--account says which account it is about"


class Check(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that was looked at: whether it could be met (`ok`), the steps, and the outcome."""

    what: str
    ok: bool
    outcome: str
    steps: tuple[str, ...] = ()


class Rehearsal:
    """Looks for one name, as one DNS profile says."""

    def __init__(
        self,
        profile: DnsProfile,
        issuers: Sequence[str],
        validators: Mapping[str, Validator],
        asked: Asked,
    ) -> None:
        """Take the profile's validators, without their look at CAA records, and what is asked: the
        name, and the account's URLs if they are known."""
        rules = profile.resolved_ip_policy
        self._profile = profile
        self._policy = AddressPolicy(rules.allow_cidrs, rules.deny_cidrs)
        self._resolver = Resolver(profile)
        self._caa = Caa(self._resolver, issuers)
        self._validators = validators
        self._asked = msgspec.structs.replace(
            asked, token=TOKEN, key_authorization=f"{TOKEN}.{THUMBPRINT}"
        )

    def how(self) -> str:
        """Return in words how the name is looked up."""
        if self._asked.identifier_type != "dns":
            return "not at all: it is an address"
        try:
            return self._resolver.how(self._asked.name)
        except Unresolved as error:
            return str(error)

    def challenge(self, kind: str) -> Check:
        """Look at one type of challenge."""
        if kind == "dns-01":
            return self._in_the_dns(kind, (f"{dns01.LABEL}.{self._asked.name}",))
        if kind == "dns-account-01":
            urls = self._asked.account_urls
            places = tuple(dns_account01.place(self._asked.name, url) for url in urls)
            return self._in_the_dns(kind, places)
        if kind == "dns-persist-01":
            return self._for_good(kind, f"{dns_persist01.LABEL}.{self._asked.name}")
        return self._at_the_host(kind)

    def caa(self, kinds: Sequence[str]) -> Check:
        """Look at the CAA records; what they say counts where the profile obeys them."""
        seen, mode = Seen(), self._profile.caa
        said = {
            kind: self._caa.check(
                self._asked.name,
                wildcard=self._asked.wildcard,
                method=kind,
                account_urls=self._asked.account_urls,
                seen=seen if kind == kinds[0] else None,
            )
            for kind in kinds
        }
        ok = mode != "strict" or any(each.verdict == PERMITS for each in said.values())
        told = {kind: _meaning(each) for kind, each in said.items()}
        same = set(told.values())
        outcome = same.pop() if len(same) == 1 else "; ".join(f"{k}: {v}" for k, v in told.items())
        return Check("caa", ok, f"{outcome} (caa: {mode})", tuple(seen.steps))

    def _in_the_dns(self, kind: str, places: Sequence[str]) -> Check:
        """A challenge of the DNS could be met if the DNS answers, whatever it has now."""
        if not places:
            return Check(kind, ok=True, outcome=f"not looked at: {ACCOUNT}")
        seen, told, ok = Seen(), [], True
        for place in places:
            try:
                found = self._resolver.look_up(place, "TXT", seen)
            except Unresolved as error:
                ok = False
                told.append(str(error))
            else:
                told.append(_count(place, found))
        return Check(kind, ok, "; ".join(told), tuple(seen.steps))

    def _for_good(self, kind: str, place: str) -> Check:
        """A record that stays has to be there already, and for the account, if that is known."""
        check = self._in_the_dns(kind, (place,))
        if not check.ok or not self._asked.account_urls:
            told = f"{check.outcome}; {ACCOUNT}" if check.ok else check.outcome
            return msgspec.structs.replace(check, outcome=told)
        outcome = self._validators[kind].validate(self._asked)
        ok = isinstance(outcome, Validated)
        return msgspec.structs.replace(check, ok=ok, outcome=_told(outcome))

    def _at_the_host(self, kind: str) -> Check:
        """A challenge at the host could be met if an address may be connected to."""
        name, seen = self._asked.name, Seen()
        addresses: tuple[str, ...] = (name,)
        if self._asked.identifier_type == "dns":
            try:
                addresses = self._resolver.addresses(name, seen)
            except Unresolved as error:
                return Check(kind, ok=False, outcome=str(error), steps=tuple(seen.steps))
        refusals = {each: self._policy.refusal(each) for each in addresses}
        for address, refusal in refusals.items():
            seen.step(f"{address} {refusal or 'may be connected to'}")
        outcome = self._validators[kind].validate(self._asked)
        allowed = None in refusals.values()
        told = f"now: {_told(outcome)}" if allowed else _told(outcome)
        return Check(kind, allowed, told, tuple(seen.steps))


def _told(outcome: Validated | Failed) -> str:
    return outcome.detail if isinstance(outcome, Failed) else "it is proven"


def _count(place: str, found: Found) -> str:
    if not found.exists:
        return f"TXT {place}: {NXDOMAIN}"
    many = len(found.records)
    return f"TXT {place}: {'1 record' if many == 1 else f'{many} records'}"


def _meaning(said: CaaSeen) -> str:
    if said.verdict == PERMITS:
        return f"the CAA records of {said.at} permit it" if said.at else "there are no CAA records"
    return said.reason
