"""What is said about a configuration that is in order: warnings, and the form that is recorded."""

from ipaddress import ip_network
from pathlib import Path

import msgspec
import pytest
import yaml
from msgspec.structs import replace

from certeasy.config import fingerprint, load, redacted, warnings
from certeasy.settings import IpRules, NameRules
from certeasy.settings.limits import AccountLimits, OrderCreation
from tests.make.configs import a_config, a_file
from tools.generous import GENEROUS, TEXT

EXAMPLE = Path("docs/examples/config.yml")
BY_ACME = """{bundles: [{name: b, mode: acme, hosts: [a.test]}],
    acme: {directory: 'https://a.test/', http-addr: '127.0.0.1:8080'}}"""
SERVER = "{{url: [https://acme.corp.test], tls: false, {}}}"
PROFILE = "[{{name: d, resolved-ip-policy: {{allow-cidrs: [10.0.0.0/8]}}, {}}}]"
POLICY = "[{{name: p, dns: {{allow: [.corp.test/2]}}, {}}}]"


def test_good_settings_are_warned_about_the_embedded_ca_alone(tmp_path):
    server = "{url: [https://acme.corp.test]}"
    bundles = "{bundles: [{name: b, mode: pki, hosts: [acme.corp.test], authority: ca}]}"
    settings = load(a_config(tmp_path, server=server, tls_certificate_manager=bundles))
    [warning] = warnings(settings)
    assert warning.startswith('authority "ca" is the embedded CA')
    assert warning.endswith("not for production")


@pytest.mark.parametrize(
    ("section", "text", "warning"),
    [
        ("server", "{url: [https://a.test], tls: false}", "the listener speaks plain HTTP"),
        ("tls_certificate_manager",
         "{bundles: [{name: b, mode: pki, hosts: [a.test], authority: ca}]}", "are not used"),
        ("tls_certificate_manager", "{acme: {contact: [p@a.test]}}", "acme is not used: no bundle"),
        ("tls_certificate_manager",
         BY_ACME,
         "http-addr is 127.0.0.1:8080: the ACME server looks at port 80"),
        ("server", SERVER.format("trusted-proxies: [10.0.0.1]"), "does nothing without"),
        ("server", SERVER.format("trusted-proxies: ['::/0'], remote-ip-header: X"), "everybody"),
        ("server", SERVER.format("listen: 0.0.0.0:0"), "server.listen has port 0"),
        ("admin", "{listen: 127.0.0.1:0}", "admin.listen has port 0"),
        ("logs", "{level: off}", "logs.level is off"),
        ("logs", "{file: /var/log/x}", "logs.file is not used: logs.output is stderr"),
        ("notices", "{repeat: 48h}", "neither webhook nor smtp: nobody is told"),
        ("notices", "{webhook: {url: 'http://hooks.test/x'}}", "url is http: whoever is on"),
        ("notices", "{smtp: {host: localhost, from: c@a.test, to: [p@a.test], security: none}}",
         "notices.smtp.security is none"),
        ("renewal_info", "{lifetime-fraction: .95}", "lifetime-fraction is 19/20: little time"),
        ("audit", "{min-free-bytes: 65536}", "less than one batch"),
        ("authorities", "[{name: ca, type: fake}]", "not for production"),
        ("issuance_policies", POLICY.format("csr: {allowed-extra-eku: [1.2.3]}"), "more than"),
        ("dns_validation_profiles", PROFILE.format("http-01-port: 5002"), "on port 5002, not 80"),
        ("dns_validation_profiles", PROFILE.format("tls-alpn-01-port: 5003"), "port 5003, not 443"),
        ("dns_validation_profiles",
         "[{name: d, resolved-ip-policy: {allow-cidrs: [0.0.0.0/0]}}]", "every address that it"),
        ("dns_validation_profiles",
         "[{name: d, resolved-ip-policy: {deny-cidrs: [10.0.0.0/8]}}]", "every address that it"),
        ("dns_validation_profiles",
         "[{name: d, resolved-ip-policy: {allow-cidrs: [127.0.0.0/8]}}]", "this machine itself"),
        ("dns_validation_profiles",
         "[{name: d, resolved-ip-policy: {allow-cidrs: [169.254.0.0/16]}}]", "link-local"),
    ],
)  # fmt: skip
def test_what_is_notable_is_warned_of(tmp_path, section, text, warning):
    given = warnings(load(a_config(tmp_path, **{section: text})))
    assert any(warning in line for line in given), given


def test_of_a_webhook_s_url_only_the_host_is_shown(tmp_path):
    url = "https://hooks.corp.test:8443/services/T0/s3cret?key=s3cret"
    path = a_config(tmp_path, notices=f"{{webhook: {{url: '{url}', secret-file: /etc/hook}}}}")
    settings = load(path)
    assert settings.notices.webhook.url == url
    shown = redacted(settings)["notices"]["webhook"]
    assert shown["url"] == "https://hooks.corp.test:8443/(secret)"
    assert "s3cret" not in str(redacted(settings)) + " ".join(warnings(settings))


@pytest.mark.parametrize(
    ("rules", "challenges", "warning"),
    [
        ({"dns": NameRules(("*.a.test",))}, ("http-01", "tls-alpn-01"), "permits wildcards, but"),
        ({"dns": NameRules((".a.test/2", "*..a.test/2"))}, ("http-01",), "permits wildcards, but"),
        ({"dns": NameRules(("*.a.test",))}, ("http-01", "dns-01"), None),
        ({"ip": IpRules((ip_network("10.0.0.0/8"),))}, ("dns-01",), "permits IP addresses, but"),
        ({"ip": IpRules((ip_network("10.0.0.0/8"),))}, ("tls-alpn-01",), None),
    ],
)
def test_what_is_permitted_and_cannot_be_proven_is_warned_of(tmp_path, rules, challenges, warning):
    settings = load(a_config(tmp_path))
    (policy,) = settings.issuance_policies
    policy = replace(policy, challenges=challenges, **rules)
    given = warnings(replace(settings, issuance_policies=(policy,)))
    said = [line for line in given if "refuses them all" in line]
    assert len(said) == (warning is not None)
    assert not said or said[0].startswith(f'policy "{policy.name}" {warning}')


@pytest.mark.parametrize(
    ("policy", "profile", "warning"),
    [
        ("91d", "7d", 'policy "p" has max-validity 91d, but certificates of authority "ca" live'),
        (None, "365d", 'profile "q" has max-validity 365d, but certificates of authority "ca"'),
        ("90d", "90d", None),
        (None, None, None),
    ],
)
def test_a_validity_that_the_embedded_ca_does_not_give_is_warned_of(
    tmp_path, policy, profile, warning
):
    allowed = f", max-validity: {policy}" if policy else ""
    narrowed = f", max-validity: {profile}" if profile else ""
    path = a_config(
        tmp_path,
        issuance_policies=f"[{{name: p, dns: {{allow: [.corp.test/2]}}{allowed}}}]",
        profiles=f"[{{name: q, description: A profile, policy: p{narrowed}}}]",
        policy_bindings="[{policy: p, authorities: [ca]}]",
        authorities="[{name: ca, type: embedded}, {name: b, type: embedded}]",
    )
    said = [line for line in warnings(load(path)) if "max-validity" in line]
    assert len(said) == (warning is not None)
    assert not said or said[0].startswith(warning)
    assert not said or said[0].endswith("live for 90d (its certificate-validity)")


def test_a_proof_that_lasts_is_warned_of(tmp_path):
    server = "{url: [https://a.test], tls: false, caa-identities: [ca.test]}"
    policy = "[{name: p, dns: {allow: [.corp.test/2]}, challenges: [dns-persist-01]}]"
    given = warnings(load(a_config(tmp_path, server=server, issuance_policies=policy)))
    assert any("offers dns-persist-01, a draft" in line for line in given), given


def test_a_challenge_of_the_dns_where_nobody_can_be_asked_is_warned_of(tmp_path):
    profile = (
        "[{name: d, resolved-ip-policy: {allow-cidrs: [10.0.0.0/8]},"
        " zones: [{suffixes: [corp.test], hosts: {a.corp.test: 10.0.0.1}}, {system: true}]}]"
    )
    policy = "[{name: p, dns: {allow: [.corp.test/2]}, challenges: [http-01, dns-01]}]"
    path = a_config(tmp_path, dns_validation_profiles=profile, issuance_policies=policy)
    words = 'policy "p" offers dns-01, but the zone corp.test of profile "d" has hosts only'
    assert [words in warning for warning in warnings(load(path))].count(True) == 1


def test_denied_addresses_are_not_warned_of(tmp_path):
    policy = "{allow-cidrs: [0.0.0.0/0], deny-cidrs: [127.0.0.0/8, 169.254.0.0/16]}"
    profiles = f"[{{name: d, resolved-ip-policy: {policy}}}]"
    given = warnings(load(a_config(tmp_path, dns_validation_profiles=profiles)))
    assert not any("127.0.0.1" in line or "169.254" in line for line in given)


ADCS = "[{{name: ca, type: {}, {}configuration: {{ca-name: '{}', certificate-template: W{}}}}}]"
TICKETS = ", domain: corp.test, user: u, keytab: /k"
PASSWORD = ", auth: ntlm, domain: corp.test, user: u, password-file: /p"


@pytest.mark.parametrize(
    ("authorities", "warning"),
    [
        (ADCS.format("adcs", "", "ca1.corp.test\\CA", TICKETS), None),
        (ADCS.format("adcs", "", "ca1.corp.test\\CA", PASSWORD), "asked with NTLM"),
        (ADCS.replace("W{}", "Web Server{}").format("adcs", "", "ca1.corp.test\\CA", TICKETS),
         "its name has no blanks"),
        (ADCS.format("adcs-cli", "", "ca1.corp.test\\CA", ""), "asked by certreq and certutil"),
        (ADCS.format("adcs", "disable-ca-revocation: true, ", "ca1.corp.test\\CA", TICKETS),
         "is not told of revocations"),
    ],
)  # fmt: skip
def test_cas_of_a_domain_are_warned_of_only_where_there_is_reason(tmp_path, authorities, warning):
    given = [w for w in warnings(load(a_config(tmp_path, authorities=authorities))) if '"ca"' in w]
    assert len(given) == (warning is not None)
    assert all(warning in line for line in given)


def test_client_authentication_by_a_ca_of_a_domain_is_warned_of(tmp_path):
    policy = POLICY.format("csr: {allowed-extra-eku: [clientAuth]}")
    adcs = ADCS.format("adcs", "", "ca1.corp.test\\CA", TICKETS)
    path = a_config(tmp_path, authorities=adcs, issuance_policies=policy)
    assert any("able to log on as what" in line for line in warnings(load(path)))
    path = a_config(tmp_path, issuance_policies=policy)
    assert not any("able to log on as what" in line for line in warnings(load(path)))


def test_what_nobody_uses_is_warned_of(tmp_path):
    profile = "{{name: {}, resolved-ip-policy: {{allow-cidrs: [10.0.0.0/8]}}}}"
    path = a_config(
        tmp_path,
        dns_validation_profiles=f"[{profile.format('d')}, {profile.format('e')}]",
        authorities="[{name: ca, type: fake}, {name: cb, type: fake}]",
        issuance_policies=(
            "[{name: p, dns-validation-profile: d, dns: {allow: [=a.test]}},"
            " {name: q, dns-validation-profile: d, dns: {allow: [=b.test]}}]"
        ),
        policy_bindings="[{policy: p, authorities: [ca]}]",
    )
    given = "\n".join(warnings(load(path)))
    assert 'profile "e" is used by no policy' in given
    assert 'authority "cb" is bound to no policy' in given
    assert 'policy "q" is bound to no authority' in given


def test_the_redacted_settings_are_a_configuration_again(tmp_path):
    settings = load(EXAMPLE)
    shown = redacted(settings)
    for authority in shown["authorities"]:
        del authority["configuration"]["key"]["size"]  # only for rsa keys may it be written
    del shown["tls-certificate-manager"]["acme"]["key"]["size"]
    shown["notices"]["webhook"]["url"] = (
        settings.notices.webhook.url
    )  # of it only the host is shown
    again = load(a_file(tmp_path, yaml.safe_dump(shown)))
    assert replace(again, source=None) == replace(settings, source=None)


def test_the_fingerprint_is_that_of_the_settings_not_of_the_file(tmp_path):
    one = load(a_config(tmp_path, workdir="/srv/certeasy"))
    (tmp_path / "elsewhere").mkdir()
    other = load(a_config(tmp_path / "elsewhere", workers="{lease: 30s}", workdir="/srv/certeasy"))
    assert fingerprint(one) == fingerprint(other)
    assert len(fingerprint(one)) == 64
    changed = load(a_config(tmp_path, workdir="/srv/certeasy", workers="{lease: 31s}"))
    assert fingerprint(changed) != fingerprint(one)


def test_the_redacted_settings_are_json(tmp_path):
    shown = redacted(load(a_config(tmp_path)))
    assert msgspec.json.decode(msgspec.json.encode(shown)) == shown
    assert shown["workers"]["lease"] == "30s"
    assert shown["database"]["path"] == str(tmp_path / "work/db.sqlite")
    assert "source" not in shown


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("{enabled: false}", "rate-limiting.enabled is false: there is no limit at all"),
        ("{global: {enabled: false}}", "rate-limiting.global is switched off: an address may send"),
        ("{abuse: {enabled: false}}", "rate-limiting.abuse is switched off: forged signatures"),
        (
            "{account-changes: {enabled: false}}",
            "rate-limiting.account-changes is switched off: an account may change its contacts",
        ),
        ("{order-creation: {enabled: false}}", "rate-limiting.order-creation is switched off"),
        ("{pending-authorizations: {enabled: false}}", "number of authorizations open"),
        ("{overrides: [{binding: k8s, san-budget: {enabled: false}}]}",
         'rate-limiting.san-budget is switched off for accounts with the binding "k8s"'),
        ("{whitelist: ['::/0']}", "rate-limiting.whitelist contains everybody"),
        ("{global: {burst: 10}}", "rate-limiting.global.burst is 10: some clients need 24"),
    ],
)  # fmt: skip
def test_a_limit_that_is_switched_off_is_told_in_one_line(tmp_path, text, warning):
    [told] = [w for w in warnings(load(a_config(tmp_path, rate_limiting=text))) if "rate-" in w]
    assert warning in told


def test_every_limit_that_is_switched_off_is_told(tmp_path):
    names = [each.encode_name for each in msgspec.structs.fields(AccountLimits)]
    names += ["global", "abuse", "account-creation", "account-changes"]
    off = ", ".join(f"{name}: {{enabled: false}}" for name in names)
    given = warnings(load(a_config(tmp_path, rate_limiting=f"{{{off}}}")))
    told = [line for line in given if line.startswith("rate-limiting.")]
    assert len(told) == len(names) == 9


def test_what_is_off_for_all_is_not_told_once_more_for_some(tmp_path):
    text = "{san-budget: {enabled: false}, overrides: [{binding: k, san-budget: {enabled: false}}]}"
    told = [w for w in warnings(load(a_config(tmp_path, rate_limiting=text))) if "rate-" in w]
    assert len(told) == 1


def test_an_override_changes_what_it_says_and_nothing_else(tmp_path):
    text = (
        "{order-creation: {limit: 30}, overrides: [{binding: fleet, order-creation: {burst: 50}},"
        " {binding: 0123456789abcdefghijklmnop, san-budget: {enabled: false}}]}"
    )
    limits = load(a_config(tmp_path, rate_limiting=text)).rate_limiting
    assert limits.of() == limits.of("another", "one") == AccountLimits(OrderCreation(limit=30))
    fleet = limits.of("a key of it", "fleet")
    assert fleet == AccountLimits(OrderCreation(limit=30, burst=50))
    # The key itself goes before its comment.
    one = limits.of("0123456789abcdefghijklmnop", "fleet")
    assert not one.san_budget.enabled
    assert one.order_creation == OrderCreation(limit=30)


def test_without_limits_no_account_has_one(tmp_path):
    text = "{enabled: false, overrides: [{binding: k, order-creation: {enabled: true}}]}"
    limits = load(a_config(tmp_path, rate_limiting=text)).rate_limiting.of("k")
    assert not any(getattr(limits, each.name).enabled for each in msgspec.structs.fields(limits))


def test_generous_limits_are_the_same_as_a_text(tmp_path):
    path = a_config(tmp_path)
    path.write_text(path.read_text() + TEXT)
    assert load(path).rate_limiting == GENEROUS
