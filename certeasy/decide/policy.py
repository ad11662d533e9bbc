"""Which policy an order falls under: its profile's, else the first one that permits all names.

A policy counts if an authority serves it; policies are asked in the order of their bindings. A
profile (draft-ietf-acme-profiles) is a policy by a name that clients know, perhaps with an
authority, a template or a shorter validity of its own. What was chosen is written into the order;
what it says is read anew when the order is finalized.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from certeasy.decide import addresses
from certeasy.decide.challenges import proving
from certeasy.decide.identifiers import show, split
from certeasy.decide.problems import Problem, Refused, Subproblem
from certeasy.decide.scope import NameRule, parse, permits
from certeasy.settings import (
    CertificateProfile,
    CsrRules,
    IssuancePolicy,
    Network,
    PendingRules,
    PolicyBinding,
    SignatureRules,
)

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
    """All that holds for an order: what its policy and its profile say, and who signs.

    `signers` are the authorities in the order of their binding. `profile` is empty for an order
    without one, `template` for the authority's own.
    """

    policy: str
    signers: tuple[Signer, ...]
    in_turn: bool
    challenges: tuple[str, ...]
    signature: SignatureRules
    csr: CsrRules
    max_validity: timedelta | None
    allow: tuple[NameRule, ...]
    deny: tuple[NameRule, ...]
    ip_allow: tuple[Network, ...]
    ip_deny: tuple[Network, ...]
    profile: str = ""
    template: str = ""
    pending: PendingRules = PendingRules()

    @property
    def copied(self) -> bool:
        """Whether the request is looked at more closely: an authority that may come to see it
        copies what it says."""
        return any(signer.copies_request for signer in self.signers)

    def preferred(self, order_id: str) -> tuple[Signer, ...]:
        """Return the authorities in the order in which they are asked for an order.

        In turn means: an order that depends on the order's id alone. Each comes first for its
        share of the orders, and if it cannot be used, all the others share its part.
        """
        if not self.in_turn:
            return self.signers
        return tuple(sorted(self.signers, key=lambda signer: _place(order_id, signer.name)))

    def signer(
        self, order_id: str, available: Callable[[str], bool] = lambda _name: True
    ) -> Signer:
        """Return the authority to ask for an order: the first of the preferred ones that is
        available; if none is, the first."""
        preferred = self.preferred(order_id)
        return next((one for one in preferred if available(one.name)), preferred[0])

    @property
    def known_as(self) -> str:
        """The words for these rules in what a client is told."""
        policy = f'policy "{self.policy}"'
        return f'profile "{self.profile}" ({policy})' if self.profile else policy


class _Said(Struct, frozen=True):
    """The rules by policy, those by profile, and the profile of orders that name none."""

    rules: Mapping[str, Rules]
    profiles: Mapping[str, Rules]
    default: str | None


class Policies:
    """The policies that an authority serves, in the order of their bindings, and the profiles."""

    def __init__(
        self,
        policies: Iterable[IssuancePolicy],
        bindings: Iterable[PolicyBinding],
        authorities: Iterable[Signer],
        profiles: Iterable[CertificateProfile] = (),
        default_profile: str | None = None,
    ) -> None:
        by_name = {policy.name: policy for policy in policies}
        signers = {signer.name: signer for signer in authorities}
        rules = {
            binding.policy: _rules(
                by_name[binding.policy],
                [signers[name] for name in binding.authorities],
                in_turn=binding.strategy == "round_robin",
            )
            for binding in bindings
        }
        narrowed = {
            profile.name: _narrowed(profile, by_name[profile.policy], rules, signers)
            for profile in profiles
        }
        self.said = _Said(rules, narrowed, default_profile)

    def take_over(self, other: "Policies") -> None:
        """Say from now on what the other one says. Whoever asks meanwhile hears one of them."""
        self.said = other.said

    @property
    def wildcards(self) -> bool:
        """Whether any policy offers a challenge that proves a wildcard."""
        return any(proving(rules.challenges, A_WILDCARD) for rules in self._all())

    @property
    def ips(self) -> bool:
        """Whether any policy permits an IP address."""
        return any(rules.ip_allow for rules in self._all())

    def choose(
        self, names: Sequence[str], profile: str | None = None, *, policy: str = ""
    ) -> Rules:
        """Return what holds for an order of these names: canonical, wildcards with their `*.`,
        addresses among them.

        `profile` is the one that was asked for, `policy` the only one that counts; empty: all do.
        Raises Refused: invalidProfile, naming those that there are; rejectedIdentifier, naming each
        name that is not permitted, and why; unauthorized if the only policy is not in force.
        """
        offered = self._offered(profile, policy)
        for rules in offered:
            if all(_obstacle(rules, name) is None for name in names):
                return rules
        raise _refusal(names, offered)

    def check(self, policy: str, names: Sequence[str], profile: str = "") -> Rules:
        """Return what holds for an order that was created under this policy, as it is today.

        Raises Refused: unauthorized if there is no such policy any more, invalidProfile if its
        profile is gone or stands for another policy now, rejectedIdentifier if the names are not
        all permitted any more.
        """
        rules = self.today(policy, profile)
        if rules is None and profile:
            detail = f'The profile "{profile}" of this order is not offered any more; order again'
            raise Refused(Problem.INVALID_PROFILE, detail)
        if rules is None:
            detail = f'The policy "{policy}" of this order is not in force any more; order again'
            raise Refused(Problem.UNAUTHORIZED, detail)
        for name in names:
            if (objection := _objection(rules, name)) is not None:
                detail = f'The {_word(name)} "{show(name)}" is {objection}'
                raise Refused(Problem.REJECTED_IDENTIFIER, detail, identifier=name)
        return rules

    def today(self, policy: str, profile: str = "") -> Rules | None:
        """Return what holds today under a policy, or under a profile that stands for it; None:
        they are not in force any more."""
        if not profile:
            return self.said.rules.get(policy)
        rules = self.said.profiles.get(profile)
        return rules if rules is not None and rules.policy == policy else None

    def _offered(self, profile: str | None, policy: str) -> Iterable[Rules]:
        """Return what an order may fall under, in the order in which it is tried."""
        said = self.said
        known = {name: one for name, one in said.profiles.items() if policy in {"", one.policy}}
        wanted = profile or (said.default if said.default in known else None)
        if wanted is not None:
            return (_wanted(known, wanted),)
        if not policy:
            return said.rules.values()
        if policy not in said.rules:
            detail = f'The policy "{policy}", the only one for this account, is not in force'
            raise Refused(Problem.UNAUTHORIZED, detail)
        return (said.rules[policy],)

    def _all(self) -> Iterable[Rules]:
        said = self.said
        return (*said.rules.values(), *said.profiles.values())


def _wanted(known: Mapping[str, Rules], name: str) -> Rules:
    """Return what a profile stands for. Raises Refused (invalidProfile) with the list."""
    if (rules := known.get(name)) is not None:
        return rules
    listed = ", ".join(sorted(known)[:_SHOWN])
    others = f"; choose one of: {listed}" if listed else ", nor any other here"
    raise Refused(Problem.INVALID_PROFILE, f'There is no profile "{show(name)}"{others}')


def _refusal(names: Sequence[str], offered: Iterable[Rules]) -> Refused:
    bad = [told for name in names if (told := _why(name, offered)) is not None]
    if not bad:
        detail = "each of the names is permitted, but no policy permits all of them together"
        return Refused(Problem.REJECTED_IDENTIFIER, detail)
    first = bad[0]
    if len(bad) == 1:
        return Refused(Problem.REJECTED_IDENTIFIER, first.detail, identifier=first.identifier)
    detail = f"{len(bad)} of the names are refused; the first: {first.detail}"
    return Refused(Problem.REJECTED_IDENTIFIER, detail, subproblems=bad[:_SHOWN])


def _why(name: str, offered: Iterable[Rules]) -> Subproblem | None:
    """Return why none of these rules permits a name; None: some do."""
    objections = []
    for rules in offered:
        if (objection := _obstacle(rules, name)) is None:
            return None
        objections.append(objection)
    reasons = "; ".join(objections[:_POLICIES_SHOWN]) or "not allowed: there is no policy"
    detail = f'The {_word(name)} "{show(name)}" is {reasons}'
    return Subproblem.of(Problem.REJECTED_IDENTIFIER, detail, show(name))


def _word(name: str) -> str:
    return "name" if addresses.address(name) is None else "address"


def _place(order_id: str, name: str) -> bytes:
    """Return where an authority stands among the others for an order: as good as drawn by lot."""
    return hashlib.sha256(f"{order_id} {name}".encode()).digest()


def _rules(policy: IssuancePolicy, signers: Iterable[Signer], *, in_turn: bool = False) -> Rules:
    return Rules(
        policy=policy.name,
        signers=tuple(signers),
        in_turn=in_turn,
        challenges=policy.challenges,
        signature=policy.signature,
        csr=policy.csr,
        max_validity=policy.max_validity,
        allow=tuple(parse(rule) for rule in policy.dns.allow),
        deny=tuple(parse(rule) for rule in policy.dns.deny),
        ip_allow=policy.ip.allow_cidrs,
        ip_deny=policy.ip.deny_cidrs,
        pending=policy.pending,
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
    return f"not provable under {rules.known_as}: {needed}, and it offers {offered}"


def _narrowed(
    profile: CertificateProfile,
    policy: IssuancePolicy,
    bound: Mapping[str, Rules],
    signers: Mapping[str, Signer],
) -> Rules:
    """Return what a profile stands for: its policy, with what it says of its own."""
    own = None if profile.authority is None else _rules(policy, [signers[profile.authority]])
    rules = own or bound[policy.name]
    lives = [each for each in (profile.max_validity, rules.max_validity) if each is not None]
    return replace(
        rules,
        profile=profile.name,
        template=profile.template or "",
        max_validity=min(lives, default=None),
    )


def _objection(rules: Rules, name: str) -> str | None:
    """Return what a policy has against a name, as the rest of a sentence; None: nothing."""
    ip = addresses.address(name)
    if ip is not None:
        reason = addresses.objection(rules.ip_allow, rules.ip_deny, ip)
    else:
        base, wildcard = split(name)
        verdict = permits(rules.allow, rules.deny, base, wildcard=wildcard)
        reason = None if verdict.permitted else verdict.reason
    return None if reason is None else f"not allowed by {rules.known_as}: it {reason}"
