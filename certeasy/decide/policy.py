"""Which policy an order falls under: the first one that permits all of its names.

A policy counts if an authority serves it; policies are asked in the order of their bindings. What
was chosen is written into the order; what it says is read anew when the order is finalized.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Protocol

from msgspec import Struct

from certeasy.decide import addresses
from certeasy.decide.challenges import proving
from certeasy.decide.identifiers import show, split
from certeasy.decide.problems import Problem, Refused, Subproblem
from certeasy.decide.scope import NameRule, parse, permits
from certeasy.settings import CsrRules, IssuancePolicy, Network, PolicyBinding, SignatureRules

A_WILDCARD = "*.test"
_SHOWN = 20
_POLICIES_SHOWN = 3


class Signer(Protocol):
    """What has to be known of an authority before it is asked for anything."""

    @property
    def name(self) -> str:
        """Its name in the settings."""
        ...

    @property
    def in_process(self) -> bool:
        """Whether it answers within a millisecond, without I/O."""
        ...

    @property
    def copies_request(self) -> bool:
        """Whether it copies subject and extensions out of the request."""
        ...


class Rules(Struct, frozen=True):
    """All that holds for an order: what its policy says, and who signs.

    `submit_now`: the authority is so quick that finalizing may begin to issue at once. `copied`:
    it copies what the request says, so the request is looked at more closely.
    """

    policy: str
    authority: str
    challenges: tuple[str, ...]
    signature: SignatureRules
    csr: CsrRules
    max_validity: timedelta | None
    submit_now: bool
    copied: bool
    allow: tuple[NameRule, ...]
    deny: tuple[NameRule, ...]
    ip_allow: tuple[Network, ...]
    ip_deny: tuple[Network, ...]


class Policies:
    """The policies that an authority serves, in the order of their bindings."""

    def __init__(
        self,
        policies: Iterable[IssuancePolicy],
        bindings: Iterable[PolicyBinding],
        authorities: Iterable[Signer],
    ) -> None:
        by_name = {policy.name: policy for policy in policies}
        signers = {signer.name: signer for signer in authorities}
        self._rules = {
            binding.policy: _rules(by_name[binding.policy], signers[binding.authorities[0]])
            for binding in bindings
        }

    @property
    def wildcards(self) -> bool:
        """Whether any policy offers a challenge that proves a wildcard."""
        return any(proving(rules.challenges, A_WILDCARD) for rules in self._rules.values())

    @property
    def ips(self) -> bool:
        """Whether any policy permits an IP address."""
        return any(rules.ip_allow for rules in self._rules.values())

    def choose(self, names: Sequence[str]) -> Rules:
        """Return what holds for an order of these names: canonical, wildcards with their `*.`,
        addresses among them.

        Raises Refused (rejectedIdentifier), naming each name that no policy permits, and why.
        """
        for rules in self._rules.values():
            if all(_obstacle(rules, name) is None for name in names):
                return rules
        raise self._refusal(names)

    def check(self, policy: str, names: Sequence[str]) -> Rules:
        """Return what holds for an order that was created under this policy, as it is today.

        Raises Refused: unauthorized if there is no such policy any more, rejectedIdentifier if it
        does not permit all of the names any more.
        """
        rules = self._rules.get(policy)
        if rules is None:
            detail = f'The policy "{policy}" of this order is not in force any more; order again'
            raise Refused(Problem.UNAUTHORIZED, detail)
        for name in names:
            if (objection := _objection(rules, name)) is not None:
                detail = f'The {_word(name)} "{show(name)}" is {objection}'
                raise Refused(Problem.REJECTED_IDENTIFIER, detail, identifier=name)
        return rules

    def _refusal(self, names: Sequence[str]) -> Refused:
        bad = [told for name in names if (told := self._why(name)) is not None]
        if not bad:
            detail = "each of the names is permitted, but no policy permits all of them together"
            return Refused(Problem.REJECTED_IDENTIFIER, detail)
        first = bad[0]
        if len(bad) == 1:
            return Refused(Problem.REJECTED_IDENTIFIER, first.detail, identifier=first.identifier)
        detail = f"{len(bad)} of the names are refused; the first: {first.detail}"
        return Refused(Problem.REJECTED_IDENTIFIER, detail, subproblems=bad[:_SHOWN])

    def _why(self, name: str) -> Subproblem | None:
        """Return why no policy permits a name; None: some policy does."""
        objections = []
        for rules in self._rules.values():
            if (objection := _obstacle(rules, name)) is None:
                return None
            objections.append(objection)
        reasons = "; ".join(objections[:_POLICIES_SHOWN]) or "not allowed: there is no policy"
        detail = f'The {_word(name)} "{show(name)}" is {reasons}'
        return Subproblem.of(Problem.REJECTED_IDENTIFIER, detail, show(name))


def _word(name: str) -> str:
    return "name" if addresses.address(name) is None else "address"


def _rules(policy: IssuancePolicy, signer: Signer) -> Rules:
    return Rules(
        policy=policy.name,
        authority=signer.name,
        challenges=policy.challenges,
        signature=policy.signature,
        csr=policy.csr,
        max_validity=policy.max_validity,
        submit_now=signer.in_process,
        copied=signer.copies_request,
        allow=tuple(parse(rule) for rule in policy.dns.allow),
        deny=tuple(parse(rule) for rule in policy.dns.deny),
        ip_allow=policy.ip.allow_cidrs,
        ip_deny=policy.ip.deny_cidrs,
    )


def _obstacle(rules: Rules, name: str) -> str | None:
    """Return why a name cannot be ordered under a policy: not permitted, or nothing proves it."""
    objection = _objection(rules, name)
    if objection is not None or proving(rules.challenges, name):
        return objection
    needed = (
        "only a DNS challenge (dns-01) proves a wildcard"
        if split(name)[1]
        else "only http-01 and tls-alpn-01 prove an address"
    )
    offered = ", ".join(rules.challenges)
    return f'not provable under policy "{rules.policy}": {needed}, and it offers {offered}'


def _objection(rules: Rules, name: str) -> str | None:
    """Return what a policy has against a name, as the rest of a sentence; None: nothing."""
    ip = addresses.address(name)
    if ip is not None:
        reason = addresses.objection(rules.ip_allow, rules.ip_deny, ip)
    else:
        base, wildcard = split(name)
        verdict = permits(rules.allow, rules.deny, base, wildcard=wildcard)
        reason = None if verdict.permitted else verdict.reason
    return None if reason is None else f'not allowed by policy "{rules.policy}": it {reason}'
