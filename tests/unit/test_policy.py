"""Which policy an order falls under, and what a name that no policy permits is told."""

from ipaddress import ip_network

import msgspec
import pytest

from certeasy.decide.policy import Policies
from certeasy.decide.problems import Identifier, Problem, Refused
from certeasy.settings import IpRules, IssuancePolicy, NameRules, PolicyBinding


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
    assert (rules.authority, rules.submit_now, rules.copied) == ("ca", quick, copies)
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
