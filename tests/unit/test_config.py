"""A configuration file that is in order: what becomes of it, and what is said about it."""

from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields

from certeasy.config import load
from certeasy.config.forms import duration, duration_text
from certeasy.settings import PolicyBinding, ServerSettings, Settings
from certeasy.settings.adcs import AdcsCliSettings
from tests.make.configs import a_config, a_file
from tools.reference import configuration, structs_in

EXAMPLE = Path("docs/examples/config.yml")
EXAMPLE_ADCS = Path("docs/examples/adcs.yml")
REFERENCE = Path("docs/configuration.md")


def test_the_shortest_file_has_all_defaults(tmp_path):
    settings = load(a_config(tmp_path))
    assert settings.workdir == tmp_path / "work"
    assert settings.source == tmp_path / "config.yml"
    assert settings.server == ServerSettings(url=("https://acme.corp.test",), tls=False)
    assert settings.database.path == tmp_path / "work/db.sqlite"
    assert settings.secrets.key_file == tmp_path / "work/secret.key"
    assert settings.audit.path == tmp_path / "work/audit.log"
    assert settings.issuance_policies[0].dns_validation_profile == "d"
    assert settings.policy_bindings == (PolicyBinding(policy="p", authorities=("ca",)),)
    assert settings.dns_validation_profiles[0].zones[0].system


def test_reading_creates_nothing(tmp_path):
    load(a_config(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["config.yml"]


def test_a_relative_name_of_the_file_is_no_relative_path_in_it(tmp_path, monkeypatch):
    a_config(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert load(Path("config.yml")).workdir == tmp_path / "work"


def test_a_section_keeps_its_other_defaults(tmp_path):
    settings = load(a_config(tmp_path, workers="{lease: 10s}", logs=""))
    assert settings.workers.lease == timedelta(seconds=10)
    assert settings.workers.workers == 16
    assert settings.logs.level == "info"


def test_the_shipped_example_is_in_order():
    settings = load(EXAMPLE)
    assert settings.server.url == ("https://acme.corp.example",)
    assert settings.server.trusted_proxies == (ip_network("10.20.0.0/24"),)
    assert settings.dns_validation_profiles[0].zones[0].hosts["*.lab.corp.example"] == "10.0.8.1"
    assert settings.tls_certificate_manager.bundles[1].key == settings.source.parent / "tls/key.pem"


def test_the_example_with_ca_s_of_a_domain_is_in_order():
    settings = load(EXAMPLE_ADCS)
    first, second, third = settings.authorities
    assert first.adcs is not None
    assert (first.adcs.server, first.adcs.common_name) == ("ca1.corp.example", "Corp Issuing CA 1")
    assert second.adcs is not None
    assert second.adcs.auth == "ntlm"
    assert isinstance(third.configuration, AdcsCliSettings)


def test_the_policies_of_the_guide_are_in_order(tmp_path):
    _, _, rest = Path("docs/policies.md").read_text().partition("```yaml\n")
    example, _, _ = rest.partition("```")
    authorities = "[{name: ca-1, type: embedded}, {name: ca-2, type: embedded}]"
    path = a_config(tmp_path, authorities=authorities, issuance_policies=None)
    path.write_text(path.read_text() + example)
    settings = load(path)
    assert [policy.name for policy in settings.issuance_policies] == ["servers", "legacy"]
    assert settings.policy_bindings[0].strategy == "round_robin"


def keys_of(kind, prefix=""):
    """Every key that the structs know, as `section.key`; list positions left out."""
    for field in fields(kind):
        key = f"{prefix}{field.encode_name}"
        if key == "source":
            continue
        structs = [found for found in structs_in(field.type) if found is not kind]
        if not structs:
            yield key
        for struct in structs:
            yield from keys_of(struct, f"{key}.")


def keys_in(value, prefix=""):
    """Every key of a parsed file, in the same form."""
    if isinstance(value, list):
        for item in value:
            yield from keys_in(item, prefix)
    elif isinstance(value, dict) and not prefix.endswith(("hosts.", "services.", "tags.")):
        for key, inner in value.items():
            yield from keys_in(inner, f"{prefix}{key}.")
    else:
        yield prefix.removesuffix(".")


def test_the_example_has_every_key():
    # These stand in comments: they exclude what the example shows.
    commented = {
        "logs.file",
        "authorities.configuration.key.size",
        "tls-certificate-manager.acme.key.size",
        "database.dsn",
        "database.password-file",
        "authorities.configuration.ccache",
    }
    written = set(keys_in(yaml.safe_load(EXAMPLE.read_text())))
    written |= set(keys_in(yaml.safe_load(EXAMPLE_ADCS.read_text())))
    assert {key for key in keys_of(Settings) if key not in written} == commented


def test_the_reference_is_written_from_the_settings():
    """Keys, types, what is allowed and defaults; after a change, `python -m tools.reference`."""
    page = REFERENCE.read_text()
    assert page == configuration(page)
    assert "| ? |" not in page, "a key whose meaning nobody has told"


def test_a_new_key_comes_into_the_reference_with_what_its_struct_says():
    page = REFERENCE.read_text()
    (row,) = [line for line in page.splitlines() if line.startswith("| `proxy-protocol` |")]
    told = (
        "Connections of trusted proxies begin with a PROXY header (version 1 or 2); no others do."
    )
    made = configuration(page.replace(row + "\n", ""))
    assert f"| `proxy-protocol` | `true`, `false` | `false` | {told} | 0.1 |\n" in made


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("| `threads` | 1 to 256 | `32` |", "| `threads` | 1 to 255 | `32` |"),
        ("| `threads` | 1 to 256 | `32` |", "| `threads` | 1 to 256 | `31` |"),
        ("`file`, `journald`, `eventlog` | `stderr` |", "`file`, `journald` | `stderr` |"),
        ("| `max-conn` |", "| `max-connections` |"),
    ],
)
def test_a_reference_that_says_something_else_is_found(before, after):
    page = REFERENCE.read_text()
    wrong = page.replace(before, after, 1)
    assert page != wrong != configuration(wrong)


def test_a_section_without_a_table_is_named():
    page = REFERENCE.read_text()
    head, _, rest = page.partition("## `retention`\n")
    with pytest.raises(KeyError, match="retention"):
        configuration(head + rest.partition("\n## ")[2])


def test_the_shortest_example_of_the_reference_is_in_order(tmp_path):
    text = REFERENCE.read_text().partition("```yaml\n")[2].partition("```")[0]
    settings = load(a_file(tmp_path, text))
    assert settings.policy_bindings[0].authorities == ("lab",)


@pytest.mark.parametrize(
    ("section", "text", "read"),
    [
        ("server", "{url: [HTTPS://Acme.Corp.Test/], tls: false}", ("https://acme.corp.test",)),
        ("server", "{url: ['https://[::1]:8443'], tls: false}", ("https://[::1]:8443",)),
        ("server", "{url: [https://127.0.0.1:80], tls: false}", ("https://127.0.0.1:80",)),
    ],
)
def test_urls_are_read_into_one_form(tmp_path, section, text, read):
    assert load(a_config(tmp_path, **{section: text})).server.url == read


def test_hosts_and_servers_are_read_into_one_form(tmp_path):
    zone = (
        "{suffixes: [.Corp.Test., '.'], dns-server: [10.0.0.53, '::1', '[::1]:54', 10.0.0.1:5353],"
        " hosts: {Web.Corp.Test.: 10.0.0.1, '*.Lab.corp.test': '0:0::1'}}"
    )
    profiles = f"[{{name: d, zones: [{zone}], resolved-ip-policy: {{deny-cidrs: ['::1']}}}}]"
    profile = load(a_config(tmp_path, dns_validation_profiles=profiles)).dns_validation_profiles[0]
    [read] = profile.zones
    assert read.suffixes == ("corp.test", ".")
    assert read.dns_server == ("10.0.0.53:53", "[::1]:53", "[::1]:54", "10.0.0.1:5353")
    assert read.hosts == {"web.corp.test": "10.0.0.1", "*.lab.corp.test": "::1"}
    assert profile.resolved_ip_policy.deny_cidrs == (ip_network("::1/128"),)


def test_an_off_is_text_where_text_is_meant(tmp_path):
    assert load(a_config(tmp_path, logs="{level: off}")).logs.level == "off"


@pytest.mark.parametrize("listen", ["'[::]:8443'", "localhost:8443", "127.0.0.1:0"])
def test_listeners_have_many_addresses(tmp_path, listen):
    settings = load(a_config(tmp_path, admin=f"{{listen: {listen.replace('::', '::1')}}}"))
    assert settings.admin.listen == listen.strip("'").replace("::", "::1")


def test_a_byte_order_mark_is_no_mistake(tmp_path):
    path = a_config(tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load(path).topology == "single"


# ---------------------------------------------------------------- durations


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30),
        ("2m", 120),
        ("720h", 2_592_000),
        ("7d", 604_800),
        ("1h30m", 5400),
    ],
)
def test_durations_are_written_with_units(text, seconds):
    assert duration(text) == timedelta(seconds=seconds)


@given(st.integers(1, 3_000_000_000_000).map(lambda n: timedelta(milliseconds=n)))
def test_a_duration_reads_as_it_is_shown(length):
    assert duration(duration_text(length)) == length


def test_a_duration_made_by_hand_can_be_shown_too():
    assert duration_text(timedelta(microseconds=5)) == "5e-06s"
    assert duration_text(timedelta(0)) == "0d"


def test_a_policy_may_be_for_addresses_alone(tmp_path):
    rules = "{allow-cidrs: [10.0.0.0/8, 'fd00::/8'], deny-cidrs: [10.0.0.1]}"
    settings = load(a_config(tmp_path, issuance_policies=f"[{{name: p, ip: {rules}}}]"))
    (policy,) = settings.issuance_policies
    assert list(map(str, policy.ip.allow_cidrs)) == ["10.0.0.0/8", "fd00::/8"]
    assert list(map(str, policy.ip.deny_cidrs)) == ["10.0.0.1/32"]
    assert policy.dns.allow == ()
