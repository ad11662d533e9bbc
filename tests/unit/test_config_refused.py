"""A configuration file is refused with everything that is wrong with it, each in one line."""

from pathlib import Path

import pytest

from certeasy.config import load, warnings
from tests.make.configs import a_config, a_file, mistakes_of, only_mistake_of

TABLE = Path("tests/unit/refused_configurations.txt")
TLS_ON = "{url: [https://a.test]}"
BUNDLES = "{{bundles: [{}]}}"


def the_table():
    """Each entry of the table: the changed section, and the lines that are told."""
    for entry in TABLE.read_text().split("\n\n"):
        section, *told = entry.strip().splitlines()
        if not section.startswith("#"):
            yield pytest.param(section, [line.strip() for line in told], id=section)


@pytest.mark.parametrize(("section", "told"), list(the_table()))
def test_what_is_wrong_is_told_in_these_words(tmp_path, section, told):
    key, _, text = section.partition(": ")
    path = a_config(tmp_path, **{key: None if text == "(left out)" else text})
    found = [f"{mistake.line} {mistake.key}: {mistake.what}" for mistake in mistakes_of(path)]
    assert [line.replace(str(tmp_path), "%CONFIGDIR%") for line in found] == told


@pytest.mark.parametrize(
    "text", ["threads: " + "9" * 5000, "website: https://a.test/" + "a" * 5000]
)
def test_a_value_without_end_is_cut_short(tmp_path, text):
    server = f"{{url: [https://acme.corp.test], tls: false, {text}}}"
    mistake = only_mistake_of(a_config(tmp_path, server=server))
    assert len(mistake.what) < 150


def test_every_host_has_exactly_one_bundle(tmp_path):
    bundle = "{{name: {}, mode: pki, hosts: [{}], authority: ca}}"
    both = BUNDLES.format(bundle.format("x", "a.test") + ", " + bundle.format("y", "a.test"))
    mistake = only_mistake_of(a_config(tmp_path, server=TLS_ON, tls_certificate_manager=both))
    assert mistake.what == 'the host "a.test" is in 2 bundles; leave one'
    same = BUNDLES.format(bundle.format("x", "a.test") + ", " + bundle.format("x", "b.test"))
    mistake = only_mistake_of(a_config(tmp_path, server=TLS_ON, tls_certificate_manager=same))
    assert mistake.key == "tls-certificate-manager.bundles[1].name"
    good = BUNDLES.format(bundle.format("x", "A.test."))
    settings = load(a_config(tmp_path, server=TLS_ON, tls_certificate_manager=good))
    assert settings.tls_certificate_manager.bundles[0].hosts == ("a.test",)


def test_the_server_s_own_certificate_may_be_of_a_ca_of_a_domain(tmp_path):
    """A start waits for it only as long as there is none yet."""
    bundles = BUNDLES.format("{name: b, mode: pki, hosts: [a.test], authority: ca}")
    authorities = r"""[{name: ca, type: adcs, configuration: {ca-name: 'ca1.corp.test\CA',
        certificate-template: W, domain: corp.test, user: svc, keytab: /k}}]"""
    path = a_config(
        tmp_path, server=TLS_ON, tls_certificate_manager=bundles, authorities=authorities
    )
    [bundle] = load(path).tls_certificate_manager.bundles
    assert (bundle.mode, bundle.authority) == ("pki", "ca")


def test_a_certificate_lives_longer_than_the_time_it_is_renewed_before(tmp_path):
    bundles = "{bundles: [{name: b, mode: pki, hosts: [a.test], authority: ca}]}"
    authorities = "[{name: ca, type: fake, configuration: {certificate-validity: 24h}}]"
    path = a_config(
        tmp_path, server=TLS_ON, tls_certificate_manager=bundles, authorities=authorities
    )
    mistake = only_mistake_of(path)
    assert mistake.key == "tls-certificate-manager.renew-before"
    assert '30d is not shorter than the life of the certificates of "ca" (1d)' in mistake.what


def test_with_two_profiles_a_policy_names_its_own(tmp_path):
    profile = "{{name: {}, resolved-ip-policy: {{allow-cidrs: [10.0.0.0/8]}}}}"
    profiles = f"[{profile.format('d')}, {profile.format('e')}]"
    mistake = only_mistake_of(a_config(tmp_path, dns_validation_profiles=profiles))
    assert mistake.what == "is missing; there are 2 profiles"


def test_an_authority_serves_the_policies_it_lists(tmp_path):
    policies = "[{name: p, dns: {allow: [=a.test]}}, {name: q, dns: {allow: [=b.test]}}]"
    authorities = "[{name: ca, type: fake, policies: [q]}]"
    bindings = "[{policy: p, authorities: [ca]}, {policy: q, authorities: [ca]}]"
    path = a_config(
        tmp_path, issuance_policies=policies, authorities=authorities, policy_bindings=bindings
    )
    mistake = only_mistake_of(path)
    assert mistake.key == "policy-bindings[0].authorities[0]"
    assert mistake.what == '"ca" does not list "p" among its policies'


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(tmp_path):
    path = a_file(
        tmp_path,
        "server:\n  listen: abc\n  threads: 0\n  threads: 5\nworkdir: here\ntopology: standby\n",
    )
    told = [(mistake.line, mistake.key) for mistake in mistakes_of(path)]
    assert told == [
        (1, "server.url"),
        (1, "dns-validation-profiles"),
        (1, "authorities"),
        (1, "issuance-policies"),
        (2, "server.listen"),
        (3, "server.threads"),
        (4, "server.threads"),
        (5, "workdir"),
        (6, "topology"),
    ]


def test_one_mistake_does_not_bring_forth_others(tmp_path):
    profiles = "[{name: d, resolved-ip-policy: {allow-cidrs: [10.0.0.1/8]}}]"
    path = a_config(
        tmp_path,
        server="{url: [http://a.test]}",
        dns_validation_profiles=profiles,
        authorities="[{name: a!, type: fake}]",
        issuance_policies="[{name: p, dns: {allow: [x]}, dns-validation-profile: d}]",
        policy_bindings="[{policy: p, authorities: [a]}]",
        tls_certificate_manager="{bundles: [{name: b, mode: pki, hosts: [a.test], authority: a}]}",
    )
    assert [mistake.key for mistake in mistakes_of(path)] == [
        "server.url[0]",
        "dns-validation-profiles[0].resolved-ip-policy.allow-cidrs[0]",
        "authorities[0].name",
        "issuance-policies[0].dns.allow[0]",
    ]


def test_a_profile_is_no_wider_than_its_policy(tmp_path):
    policies = "[{name: p, max-validity: 7d, dns: {allow: [=a.test]}}]"
    profiles = "[{name: a, description: d, policy: p, max-validity: 8d}]"
    path = a_config(tmp_path, issuance_policies=policies, profiles=profiles)
    mistake = only_mistake_of(path)
    assert mistake.key == "profiles[0].max-validity"
    assert mistake.what == '8d is longer than the policy "p" allows (7d)'
    shorter = profiles.replace("8d", "6d")
    assert load(a_config(tmp_path, issuance_policies=policies, profiles=shorter)).profiles


def test_a_profile_of_a_policy_that_nobody_serves_says_who_does(tmp_path):
    policies = "[{name: p, dns: {allow: [=a.test]}}, {name: q, dns: {allow: [=b.test]}}]"
    bindings = "[{policy: q, authorities: [ca]}]"
    profiles = "[{name: a, description: d, policy: p}]"
    changed = {"issuance_policies": policies, "policy_bindings": bindings}
    mistake = only_mistake_of(a_config(tmp_path, **changed, profiles=profiles))
    assert mistake.key == "profiles[0].authority"
    assert mistake.what == 'is missing: no binding says who serves the policy "p"'
    served = profiles.replace("policy: p", "policy: p, authority: ca")
    settings = load(a_config(tmp_path, **changed, profiles=served))
    [notable] = [told for told in warnings(settings) if "bound to no" in told]
    assert notable.endswith("only its profiles are served under it")


def test_a_profile_names_an_authority_that_serves_its_policy(tmp_path):
    policies = "[{name: p, dns: {allow: [=a.test]}}, {name: q, dns: {allow: [=b.test]}}]"
    authorities = "[{name: ca, type: fake, policies: [q]}]"
    bindings = "[{policy: q, authorities: [ca]}]"
    profiles = "[{name: a, description: d, policy: p, authority: ca}]"
    path = a_config(
        tmp_path,
        issuance_policies=policies,
        authorities=authorities,
        policy_bindings=bindings,
        profiles=profiles,
    )
    mistake = only_mistake_of(path)
    assert mistake.key == "profiles[0].authority"
    assert mistake.what == '"ca" does not list "p" among its policies'
