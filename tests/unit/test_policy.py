"""Which policy an order falls under, and what a name that no policy permits is told."""

from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import msgspec
import pytest

from certeasy.decide.policy import Policies
from certeasy.decide.problems import Identifier, Problem, Refused
from certeasy.settings import (
    CertificateProfile,
    IpRules,
    IssuancePolicy,
    NameRules,
    PolicyBinding,
)


class Signer(msgspec.Struct, frozen=True):
    name: str
    in_process: bool = False
    copies_request: bool = False


def a_policy(name: str, *allow: str, deny: tuple[str, ...] = ()) -> IssuancePolicy:
    return IssuancePolicy(name=name, dns=NameRules(allow=allow, deny=deny))


def policies(*made: IssuancePolicy, signer: Signer | None = None) -> Policies:
    signer = signer or Signer("ca")
    bindings = [PolicyBinding(policy=one.name, authorities=(signer.name,)) for one in made]
    return Policies(made, bindings, [signer])


WEB = a_policy("web", ".corp.test/2", deny=("=secret.corp.test",))
LAB = a_policy("lab", ".lab.test/1", "*.lab.test")


def refusal(of: Policies, *names: str) -> Refused:
    with pytest.raises(Refused) as caught:
        of.choose(names)
    assert caught.value.problem is Problem.REJECTED_IDENTIFIER
    return caught.value


def test_the_first_policy_that_permits_all_names_is_chosen() -> None:
    both = policies(WEB, by_dns(LAB), a_policy("all", ".test/5"))
    assert both.choose(["a.corp.test", "b.corp.test"]).policy == "web"
    assert both.choose(["a.lab.test"]).policy == "lab"
    assert both.choose(["*.lab.test", "a.lab.test"]).policy == "lab"
    assert both.choose(["a.corp.test", "a.lab.test"]).policy == "all"


def by_dns(policy: IssuancePolicy, *challenges: str) -> IssuancePolicy:
    return msgspec.structs.replace(policy, challenges=challenges or ("http-01", "dns-01"))


def test_a_wildcard_is_proven_by_dns_only() -> None:
    # Pitfall 26, RFC 8555 section 7.1.4.
    refused = refusal(policies(LAB), "a.lab.test", "*.lab.test")
    assert refused.detail == (
        'The name "*.lab.test" is not provable under policy "lab": only a DNS challenge (dns-01)'
        " proves a wildcard, and it offers http-01"
    )
    assert refused.identifier is not None
    assert refused.identifier.value == "*.lab.test"
    assert not policies(LAB).wildcards
    assert policies(WEB, by_dns(LAB)).wildcards


@pytest.mark.parametrize("kind", ["dns-01", "dns-account-01", "dns-persist-01"])
def test_every_challenge_that_looks_into_the_dns_proves_a_wildcard(kind: str) -> None:
    proving = policies(LAB, by_dns(a_policy("names", "*.lab.test", ".lab.test/1"), kind))
    assert proving.choose(["*.lab.test", "a.lab.test"]).policy == "names"
    assert proving.choose(["a.lab.test"]).policy == "lab"


def with_addresses(
    name: str, *challenges: str, allow: tuple[str, ...], deny: tuple[str, ...] = ()
) -> IssuancePolicy:
    ip = IpRules(tuple(map(ip_network, allow)), tuple(map(ip_network, deny)))
    policy = msgspec.structs.replace(a_policy(name, ".corp.test/2"), ip=ip)
    return msgspec.structs.replace(policy, challenges=challenges or ("http-01",))


def test_no_policy_permits_an_address_unless_it_says_so() -> None:
    """RFC 8738."""
    refused = refusal(policies(WEB), "10.0.0.1")
    assert refused.detail == (
        'The address "10.0.0.1" is not allowed by policy "web": it is in none of the ip allow-cidrs'
    )
    assert refused.identifier == Identifier("ip", "10.0.0.1")
    assert not policies(WEB).ips


def test_an_address_is_permitted_by_its_network_and_deny_wins() -> None:
    """RFC 8738."""
    chosen = policies(
        WEB, with_addresses("ip", allow=("10.0.0.0/8", "fd00::/8"), deny=("10.9.0.0/16",))
    )
    assert chosen.ips
    assert chosen.choose(["10.0.0.1", "fd00::1", "a.corp.test"]).policy == "ip"
    assert "denied by the deny-cidr 10.9.0.0/16" in refusal(chosen, "10.9.0.1").detail
    refused = refusal(chosen, "192.0.2.1", "2001:db8::1", "10.0.0.1")
    assert [part.identifier for part in refused.subproblems] == [
        Identifier("ip", "192.0.2.1"),
        Identifier("ip", "2001:db8::1"),
    ]
    assert chosen.check("ip", ["10.0.0.1"]).policy == "ip"
    with pytest.raises(Refused, match=r'The address "10\.9\.0\.1" is not allowed by policy "ip"'):
        chosen.check("ip", ["10.9.0.1"])


def test_an_address_is_never_proven_by_the_dns() -> None:
    """RFC 8738 section 7."""
    by_names = with_addresses("ip", "dns-01", allow=("10.0.0.0/8",))
    assert refusal(policies(by_names), "10.0.0.1").detail == (
        'The address "10.0.0.1" is not provable under policy "ip": only http-01 and tls-alpn-01'
        " prove an address, and it offers dns-01"
    )
    by_hosts = with_addresses("host", "dns-01", "tls-alpn-01", allow=("10.0.0.0/8",))
    assert policies(by_names, by_hosts).choose(["10.0.0.1"]).policy == "host"


def test_a_wildcard_that_was_proven_is_finalized_whatever_is_offered_today() -> None:
    assert policies(LAB).check("lab", ["*.lab.test"]).policy == "lab"


def test_a_policy_without_an_authority_does_not_count() -> None:
    unbound = Policies([WEB], [], [Signer("ca")])
    assert "no policy" in refusal(unbound, "a.corp.test").detail


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("copies", [True, False])
def test_what_the_authority_is_like_is_part_of_the_rules(quick: bool, copies: bool) -> None:
    rules = policies(WEB, signer=Signer("ca", quick, copies)).choose(["a.corp.test"])
    signer = rules.signer("order")
    assert (signer.name, signer.in_process, rules.copied) == ("ca", quick, copies)
    assert rules.challenges == ("http-01",)


def test_a_name_that_is_denied_is_told_by_which_rule() -> None:
    refused = refusal(policies(WEB), "secret.corp.test", "ok.corp.test")
    assert refused.detail == (
        'The name "secret.corp.test" is not allowed by policy "web": '
        'it is denied by the rule "=secret.corp.test"'
    )
    assert refused.identifier is not None
    assert refused.identifier.value == "secret.corp.test"
    assert refused.subproblems == ()


def test_every_policy_has_its_say() -> None:
    detail = refusal(policies(WEB, LAB), "a.other.test").detail
    assert '"web"' in detail
    assert '"lab"' in detail


def test_several_names_are_refused_one_by_one() -> None:
    refused = refusal(policies(WEB), "a.x.test", "ok.corp.test", "*.corp.test")
    assert [part.identifier.value for part in refused.subproblems if part.identifier] == [
        "a.x.test",
        "*.corp.test",
    ]
    assert refused.detail.startswith("2 of the names are refused")


def test_names_of_two_policies_do_not_go_together() -> None:
    assert "together" in refusal(policies(WEB, LAB), "a.corp.test", "a.lab.test").detail


def test_a_refusal_stays_readable_however_many_names_there_are() -> None:
    refused = refusal(policies(WEB), *[f"a{n}.x.test" for n in range(100)])
    assert len(refused.subproblems) == 20


def test_an_orders_policy_is_found_again_and_asked_anew() -> None:
    names = ["a.corp.test"]
    assert policies(WEB).check("web", names).policy == "web"
    stricter = policies(a_policy("web", ".corp.test/2", deny=("=a.corp.test",)))
    with pytest.raises(Refused, match="denied by the rule") as caught:
        stricter.check("web", names)
    assert caught.value.problem is Problem.REJECTED_IDENTIFIER
    with pytest.raises(Refused, match="not in force") as caught:
        policies(LAB).check("web", names)
    assert caught.value.problem is Problem.UNAUTHORIZED


def a_profile(name: str, policy: str = "web", **own: Any) -> CertificateProfile:
    return CertificateProfile(name=name, description=f"the {name}", policy=policy, **own)


def with_profiles(*made: CertificateProfile, default: str | None = None) -> Policies:
    bindings = [PolicyBinding(policy="web", authorities=("ca",))]
    signers = [Signer("ca"), Signer("other", in_process=True)]
    return Policies([WEB, LAB], bindings, signers, made, default)


def test_a_profile_is_its_policy_with_what_it_says_of_its_own() -> None:
    own = a_profile(
        "short", authority="other", template="WebServerShort", max_validity=timedelta(days=7)
    )
    rules = with_profiles(own).choose(["a.corp.test"], "short")
    assert (rules.policy, rules.profile) == ("web", "short")
    assert [signer.name for signer in rules.signers] == ["other"]
    assert (rules.template, rules.max_validity) == ("WebServerShort", timedelta(days=7))


def test_a_profile_that_says_nothing_of_its_own_is_its_policy() -> None:
    rules = with_profiles(a_profile("plain")).choose(["a.corp.test"], "plain")
    assert [signer.name for signer in rules.signers] == ["ca"]
    assert (rules.template, rules.max_validity) == ("", None)


def test_a_profile_lives_no_longer_than_its_policy() -> None:
    week = msgspec.structs.replace(WEB, max_validity=timedelta(days=7))
    long, short = a_profile("l", max_validity=timedelta(days=9)), a_profile("s")
    bindings = [PolicyBinding(policy="web", authorities=("ca",))]
    both = Policies([week], bindings, [Signer("ca")], [long, short])
    for name in ("l", "s"):
        assert both.choose(["a.corp.test"], name).max_validity == timedelta(days=7)


def test_a_policy_that_only_a_profile_serves_is_for_its_orders_only() -> None:
    labs = with_profiles(a_profile("labs", "lab", authority="other"))
    assert labs.choose(["a.lab.test"], "labs").signer("order").name == "other"
    refusal(labs, "a.lab.test")


def test_an_order_without_a_profile_gets_the_default_one() -> None:
    offered = with_profiles(a_profile("short"), a_profile("long"), default="long")
    assert offered.choose(["a.corp.test"]).profile == "long"
    assert offered.choose(["a.corp.test"], "").profile == "long"
    assert offered.choose(["a.corp.test"], "short").profile == "short"
    assert with_profiles(a_profile("short")).choose(["a.corp.test"]).profile == ""


def test_a_profile_that_does_not_exist_is_refused_with_the_list() -> None:
    with pytest.raises(Refused) as caught:
        with_profiles(a_profile("short"), a_profile("long")).choose(["a.corp.test"], "shrot\n")
    assert caught.value.problem is Problem.INVALID_PROFILE
    assert caught.value.detail == ('There is no profile "shrot\\u000a"; choose one of: long, short')
    with pytest.raises(Refused, match="nor any other here"):
        policies(WEB).choose(["a.corp.test"], "short")


def test_a_name_that_a_profile_does_not_permit_is_told_with_the_profile() -> None:
    for chosen in (
        lambda names: with_profiles(a_profile("short")).choose(names, "short"),
        lambda names: with_profiles(a_profile("short"), default="short").choose(names),
        lambda names: with_profiles(a_profile("short")).check("web", names, "short"),
    ):
        with pytest.raises(Refused) as caught:
            chosen(["secret.corp.test"])
        assert caught.value.problem is Problem.REJECTED_IDENTIFIER
        assert caught.value.detail == (
            'The name "secret.corp.test" is not allowed by profile "short" (policy "web"): '
            'it is denied by the rule "=secret.corp.test"'
        )


def test_an_order_of_a_profile_that_is_gone_or_changed_has_to_be_placed_again() -> None:
    short = a_profile("short", max_validity=timedelta(days=7))
    assert with_profiles(short).check("web", ["a.corp.test"], "short").max_validity
    changed = a_profile("short", "lab", authority="ca")
    for offered in (with_profiles(), with_profiles(changed)):
        with pytest.raises(Refused, match="not offered any more") as caught:
            offered.check("web", ["a.corp.test"], "short")
        assert caught.value.problem is Problem.INVALID_PROFILE


def bound_to(strategy: Any, *signers: Signer) -> Policies:
    names = tuple(signer.name for signer in signers)
    binding = PolicyBinding(policy="web", authorities=names, strategy=strategy)
    return Policies([WEB], [binding], signers)


THREE = (Signer("a"), Signer("b"), Signer("c"))
ORDERS = [f"order-{n}" for n in range(300)]


def test_the_first_available_authority_is_asked() -> None:
    rules = bound_to("first_available", *THREE).choose(["a.corp.test"])
    assert {rules.signer(order).name for order in ORDERS} == {"a"}
    assert rules.signer("order", lambda name: name != "a").name == "b"
    assert rules.signer("order", lambda name: name == "c").name == "c"
    assert rules.signer("order", lambda _name: False).name == "a"


def test_in_turn_each_authority_gets_its_share_of_the_orders() -> None:
    rules = bound_to("round_robin", *THREE).choose(["a.corp.test"])
    chosen = [rules.signer(order).name for order in ORDERS]
    assert chosen == [rules.signer(order).name for order in ORDERS]
    assert min(chosen.count(name) for name in "abc") > 60
    # If one cannot be used, the others share its part, and keep what was theirs.
    without = [rules.signer(order, lambda name: name != "a").name for order in ORDERS]
    moved = [now for before, now in zip(chosen, without, strict=True) if before == "a"]
    assert min(moved.count(name) for name in "bc") > 20
    assert all(now == before for before, now in zip(chosen, without, strict=True) if before != "a")


def test_a_request_is_looked_at_as_the_strictest_of_the_authorities_needs_it() -> None:
    mixed = bound_to("first_available", Signer("a"), Signer("b", copies_request=True))
    assert mixed.choose(["a.corp.test"]).copied


def test_where_one_policy_counts_its_profiles_do_and_no_others() -> None:
    offered = with_profiles(
        a_profile("short"), a_profile("labs", "lab", authority="ca"), default="labs"
    )
    assert offered.choose(["a.lab.test"]).profile == "labs"
    # The default profile is of another policy: what counts is the policy itself.
    assert offered.choose(["a.corp.test"], policy="web").profile == ""
    assert offered.choose(["a.corp.test"], "short", policy="web").profile == "short"
    with pytest.raises(Refused, match="choose one of: short") as caught:
        offered.choose(["a.corp.test"], "labs", policy="web")
    assert caught.value.problem is Problem.INVALID_PROFILE
    with pytest.raises(Refused, match="covered by any allow rule"):
        offered.choose(["a.lab.test"], policy="web")
    with pytest.raises(Refused, match="the only one for this account, is not in force") as caught:
        offered.choose(["a.lab.test"], policy="gone")
    assert caught.value.problem is Problem.UNAUTHORIZED
    assert (
        with_profiles(a_profile("short"), default="short")
        .choose(["a.corp.test"], policy="web")
        .profile
        == "short"
    )


def test_who_asks_hears_what_was_taken_over() -> None:
    ours = policies(WEB)
    rules = ours.choose(["web.corp.test"])
    ours.take_over(policies(LAB))
    assert ours.choose(["a.lab.test"]).policy == "lab"
    assert ours.today("web") is None
    assert rules.policy == "web"  # who has them goes on with them
