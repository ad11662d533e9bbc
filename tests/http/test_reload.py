"""Settings are read again while the server runs: all of them or none, and recorded first."""

import os
import re
import signal
import ssl
import subprocess
import urllib.request
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
import yaml
from cryptography import x509
from msgspec.structs import replace

from certeasy import config
from certeasy.app import ReloadRefused
from certeasy.cli.serve import reread
from certeasy.config import ConfigurationError, Page
from certeasy.settings import (
    AuthoritySettings,
    CertificateProfile,
    IssuancePolicy,
    NameRules,
    PolicyBinding,
    ServerSettings,
    Settings,
)
from tests.fakes.authorities import TroubledAuthority
from tests.http.test_failover import AT_ONCE, FIRST, SECOND, a_client, a_lab_of_two
from tests.make.acme_server import free_port
from tests.make.csrs import a_csr
from tests.make.lab import Lab, a_lab, problem
from tests.make.server import a_server, lab_settings
from tests.packaging.test_demo import CERTEASY, certeasy

LAB = Path(__file__).resolve().parents[2] / "docs/examples/init-lab.yml"


def loaded(lab: Lab) -> list[dict[str, object]]:
    """The settings that the journal has, oldest first."""
    lines = map(msgspec.json.decode, lab.journal())
    return [line["data"]["settings"] for line in lines if line["type"] == "settings.loaded"]


def allowing(*rules: str) -> tuple[IssuancePolicy, ...]:
    return (IssuancePolicy(name="lab", dns_validation_profile="lab", dns=NameRules(allow=rules)),)


def test_a_policy_counts_from_the_next_order_on_and_is_in_the_log(tmp_path: Path) -> None:
    with a_lab(tmp_path) as lab:
        client = a_client(lab)
        assert problem(client.order("web.other.test"))[1] == "rejectedIdentifier"
        before = client.ready("web.lab.test")
        policies = allowing(".lab.test/3", ".other.test/2")
        lab.server.reload(replace(lab.server.settings, issuance_policies=policies))
        assert client.order("web.other.test").status_code == 201
        assert client.finalize(before, a_csr("web.lab.test")).json["status"] == "valid"
        first, second = loaded(lab)
        assert [each["issuance-policies"][0]["dns"]["allow"] for each in (first, second)] == [
            [".lab.test/3"],
            [".lab.test/3", ".other.test/2"],
        ]


def test_a_profile_is_offered_from_then_on(tmp_path: Path) -> None:
    profile = CertificateProfile(name="short", description="Seven days", policy="lab")
    with a_lab(tmp_path) as lab:
        client = a_client(lab)
        lab.server.reload(replace(lab.server.settings, profiles=(profile,)))
        directory = lab.wire.simulate_get("/acme/directory").json
        assert directory["meta"]["profiles"] == {"short": "Seven days"}
        assert client.order("web.lab.test", profile="short").status_code == 201


def test_names_are_looked_up_as_the_new_settings_say(tmp_path: Path) -> None:
    with a_lab(tmp_path) as lab:
        used = lab.server.settings
        [profile] = used.dns_validation_profiles
        [zone] = profile.zones
        nowhere = replace(zone, hosts={"*.lab.test": "127.0.0.9"}, dns_server=())
        client = a_client(lab)
        order = client.placed("web.lab.test")
        profiles = (replace(profile, zones=(nowhere,), http_01_port=free_port()),)
        lab.server.reload(replace(used, dns_validation_profiles=profiles))
        client.prove(order)
        assert client.wait(order, "ready", "invalid")["status"] == "invalid"
        lab.server.reload(used)
        assert client.ready("www.lab.test")


def test_an_authority_is_taken_in_and_out(tmp_path: Path) -> None:
    with a_lab_of_two(tmp_path) as lab:
        client, used = a_client(lab), lab.server.settings
        one = replace(
            used,
            authorities=used.authorities[1:],
            policy_bindings=(PolicyBinding(policy="lab", authorities=(SECOND,)),),
        )
        former = lab.server.authorities[FIRST]
        client.issued("web.lab.test")
        lab.server.reload(one)
        assert set(lab.server.authorities) == {SECOND}
        assert f"authority {FIRST}" not in lab.server.readiness.remarked()
        client.issued("www.lab.test")
        lab.server.reload(used)
        assert set(lab.server.authorities) == {FIRST, SECOND}
        assert lab.server.authorities[FIRST] is not former
        assert lab.server.readiness.remarked()[f"authority {FIRST}"] is None
        client.issued("a.lab.test")
        assert b"BEGIN" in lab.server._all_roots()


def test_an_authority_with_other_settings_issues_by_them(tmp_path: Path) -> None:
    with a_lab(tmp_path) as lab:
        [authority] = lab.server.settings.authorities
        assert authority.embedded is not None
        life = replace(authority.embedded, certificate_validity=timedelta(hours=48))
        client = a_client(lab)
        changed = (replace(authority, configuration=life),)
        lab.server.reload(replace(lab.server.settings, authorities=changed))
        order = client.issued("web.lab.test")
        assert client.see(order)["status"] == "valid"
        chain = client.certificate("www.lab.test")
        assert days_of(chain) == 2


def days_of(chain: bytes) -> int:
    leaf = x509.load_pem_x509_certificates(chain)[0]
    return round((leaf.not_valid_after_utc - leaf.not_valid_before_utc).total_seconds() / 86400)


def test_an_authority_with_open_orders_stays_and_they_are_named(tmp_path: Path) -> None:
    with a_lab_of_two(tmp_path, "lost", **AT_ONCE) as lab:
        first = lab.server.authorities[FIRST]
        assert isinstance(first, TroubledAuthority)
        first.recovering_fails = 10_000
        client, used = a_client(lab), lab.server.settings
        order = client.ready("web.lab.test")
        client.finalize(order, a_csr("web.lab.test"))
        assert client.see(order)["status"] == "processing"
        gone = replace(
            used,
            authorities=used.authorities[1:],
            policy_bindings=(PolicyBinding(policy="lab", authorities=(SECOND,)),),
        )
        with pytest.raises(ReloadRefused) as refused:
            lab.server.reload(gone)
        assert order.rpartition("/")[2] in str(refused.value)
        assert f'"{FIRST}" cannot be taken out' in str(refused.value)
        assert set(lab.server.authorities) == {FIRST, SECOND}
        assert lab.server.settings is used
        assert len(loaded(lab)) == 1
        unbound = replace(gone, authorities=used.authorities)
        lab.server.reload(unbound)  # as the message advises
        first.recovering_fails = 0
        assert client.wait(order, "valid", "invalid")["status"] == "valid"


def test_what_cannot_be_recorded_is_not_used(tmp_path: Path) -> None:
    with a_server(tmp_path) as server:
        used = server.settings
        server.committer.stop()
        with pytest.raises(Exception, match=r".+"):
            server.reload(replace(used, issuance_policies=allowing(".other.test/1")))
        assert server.settings is used
        assert server.policies.today("lab").allow[0].zone == "lab.test"


# -- what can be taken over ----------------------------------------------------------------------


def taken(used: Settings, found: Settings) -> tuple[Settings, tuple[str, ...]]:
    return config.taken_over(used, found, Page(Path("config.yml")))


def test_what_waits_for_a_start_is_named_and_stays(tmp_path: Path) -> None:
    used = lab_settings(tmp_path)
    server = ServerSettings(url=("https://other.test",), tls=False)
    settings, waiting = taken(
        used, replace(used, server=server, issuance_policies=allowing(".x.test/1"))
    )
    assert waiting == ("server",)
    assert settings.server == used.server
    assert settings.issuance_policies[0].dns.allow == (".x.test/1",)


def test_a_new_embedded_ca_waits_for_a_start(tmp_path: Path) -> None:
    used = lab_settings(tmp_path)
    more = (*used.authorities, AuthoritySettings(name="new", type="embedded"))
    with pytest.raises(ConfigurationError, match="its keys are made at the next start only"):
        taken(used, replace(used, authorities=more))


def test_what_does_not_fit_what_stays_is_refused(tmp_path: Path) -> None:
    used = lab_settings(tmp_path)
    policies = (replace(used.issuance_policies[0], challenges=("dns-persist-01",)),)
    named = replace(used.server, caa_identities=("ca.test",))
    found = replace(used, server=named, issuance_policies=policies)
    with pytest.raises(ConfigurationError, match="with what stays until the next start"):
        taken(used, found)


# -- SIGHUP --------------------------------------------------------------------------------------


class Process:
    """`certeasy serve`, and what it logs."""

    def __init__(self, folder: Path) -> None:
        answers = yaml.safe_load(LAB.read_text())
        self.port = free_port()
        url, listen = f"https://127.0.0.1:{self.port}", f"127.0.0.1:{self.port}"
        answers["server"] = {"url": url, "listen": listen}
        answers["admin"]["listen"] = f"127.0.0.1:{free_port()}"
        (folder / "answers.yml").write_text(yaml.safe_dump(answers))
        self.file = folder / "config.yml"
        made = certeasy("init", "--script", folder / "answers.yml", "-o", self.file)
        assert made.returncode == 0, made
        self.root = folder / "workdir/lab.root.pem"
        command = [CERTEASY, "serve", "-f", self.file]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def until(self, words: str) -> str:
        """Return what is logged up to the line with these words."""
        assert self.process.stderr
        seen = ""
        while words not in seen:
            line = self.process.stderr.readline()
            assert line, seen
            seen += line
        return seen

    def hangup(self, until: str) -> str:
        self.process.send_signal(signal.SIGHUP)
        return self.until(until)

    def profiles(self) -> object:
        trusting = ssl.create_default_context(cafile=self.root)
        web = urllib.request.build_opener(urllib.request.HTTPSHandler(context=trusting))
        with web.open(f"https://127.0.0.1:{self.port}/acme/directory", timeout=30) as answer:
            return msgspec.json.decode(answer.read())["meta"].get("profiles")


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGHUP")
def test_sighup_takes_changes_in_and_a_mistake_changes_nothing(tmp_path: Path) -> None:
    server = Process(tmp_path)
    try:
        server.until("serves https://")
        text = server.file.read_text()
        profile = "\nprofiles: [{name: short, description: Seven days, policy: servers}]\n"
        log = "\nlogs: {level: warning, format: text, tags: {site: north}}\n"
        server.file.write_text(text + profile + log + "\nworkers: {workers: 3}\n")
        said = server.hangup("next start only")
        assert re.search(
            r"warning +main: these were changed, .* only: workers site=north$", said.strip()
        )
        assert server.profiles() == {"short": "Seven days"}
        server.file.write_text(text + profile.replace("servers", "nobody") + log)
        said = server.hangup("the settings in use stay")
        assert 'profiles[0].policy: "nobody" is not in issuance-policies' in said
        assert server.profiles() == {"short": "Seven days"}
        # What is switched off meanwhile is told as at a start.
        server.file.write_text(text + profile + log + "\nrate-limiting: {enabled: false}\n")
        assert "there is no limit at all" in server.hangup("rate-limiting.enabled is false")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
    finally:
        server.process.kill()
        server.process.communicate()
    lines = map(msgspec.json.decode, (tmp_path / "workdir/audit.log").read_bytes().splitlines())
    server.file.write_text(text)
    kinds = [line["type"] for line in lines]
    assert kinds.count("settings.loaded") == 3
    proof = certeasy("audit", "verify", "-f", server.file)
    assert proof.returncode == 0, proof


def test_a_file_is_read_again_as_at_a_start(tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text("workdir: [")
    with pytest.raises(ConfigurationError):
        reread(tmp_path / "config.yml", lab_settings(tmp_path))
