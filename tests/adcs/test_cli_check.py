"""`certeasy adcs check`, as it is typed: against a simulated CA, whose domain is not there."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from certeasy.ca.adcs.findings import Finding
from certeasy.cli import findings, group
from tests.make.acme_server import free_port
from tests.make.adcs import LabCa, a_ca
from tests.make.windows_programs import WindowsPrograms, programs_for

CONFIG = """\
workdir: "%CONFIGDIR%/work"
server: {{url: [https://acme.lab.test], tls: false}}
dns-validation-profiles: [{{name: d, resolved-ip-policy: {{allow-cidrs: [10.0.0.0/8]}}}}]
authorities:
  - name: ca
    type: adcs
    configuration:
      ca-name: {name}
      host: 127.0.0.1
      endpoint-mapper-port: {mapper}
      smb-port: {closed}
      certificate-template: WebServer
      auth: ntlm
      domain: LAB
      user: svc-acme
      password-file: "%CONFIGDIR%/password"
      domain-controllers: [127.0.0.1]
      connect-timeout: 5s
  - {{name: other, type: embedded}}
issuance-policies:
  - {{name: p, dns: {{allow: [.corp.test/2]}}}}
  - {{name: q, dns: {{allow: [.other.test/2]}}}}
policy-bindings:
  - {{policy: p, authorities: [ca]}}
  - {{policy: q, authorities: [ca, other]}}
profiles:
  - {{name: long, description: For long, policy: p, template: LongServer}}
  - {{name: same, description: The same, policy: p}}
  - {{name: elsewhere, description: Not here, policy: q, authority: other}}
"""


class Bench:
    def __init__(self, folder: Path, ca: LabCa) -> None:
        self.folder = folder
        self.ca = ca
        (folder / "password").write_text(ca.password)
        (folder / "password").chmod(0o600)

    def run(self, *arguments: str, command: str = "check", **changed: str) -> Result:
        text = CONFIG.format(name=self.ca.name, mapper=self.ca.mapper_port, closed=free_port())
        for old, new in changed.items():
            assert old in text
            text = text.replace(old, new)
        path = self.folder / "config.yml"
        path.write_text(text)
        before = sorted(self.folder.rglob("*"))
        result = CliRunner().invoke(group, ["adcs", command, "-f", str(path), *arguments])
        assert sorted(self.folder.rglob("*")) == before, "nothing is left behind"
        return result


@pytest.fixture
def bench(tmp_path) -> Iterator[Bench]:
    with a_ca() as ca:
        yield Bench(tmp_path, ca)


def lines(result: Result) -> dict[str, str]:
    """Return what stands at each step."""
    told = [line.split(maxsplit=2) for line in result.stdout.splitlines() if line[:2] == "  "]
    return {words[1]: f"{words[0]} {words[2]}" for words in told if words[0] != "->"}


def test_each_step_is_a_line_and_what_failed_has_a_remedy(bench):
    result = bench.run()
    seen = lines(result)
    assert result.exit_code == 1
    assert result.stdout.startswith("ca: 127.0.0.1\\LAB-CA, transport auto\n")
    assert seen["identity"].startswith("warn lab\\svc-acme by NTLM")
    assert seen["ca-ports"].startswith(f"ok 127.0.0.1: {bench.ca.mapper_port} is open")
    assert seen["dc-ports"].startswith("fail 127.0.0.1: 389, 636 closed")
    assert seen["directory"] == "skipped not looked at: dc-ports comes first"
    assert seen["bind"] == "ok 127.0.0.1 answers us, protected"
    assert seen["ca-name"] == "ok it is LAB-CA"
    assert "-> let this machine reach the domain's controllers" in result.stdout
    assert "29 steps" not in result.stdout
    assert "published       the CA offers WebServer" in result.stdout
    assert "published       the CA does not offer LongServer, but WebServer" in result.stdout
    assert "2 failed" in result.stdout.splitlines()[-2]


def test_nothing_is_asked_of_the_ca_but_a_request_that_cannot_exist(bench):
    bench.run()
    assert bench.ca.requests == []
    assert bench.ca.issued == []


def test_the_output_has_no_colours_but_on_a_terminal(bench):
    assert "\x1b" not in bench.run().output


def test_on_a_terminal_there_are_colours_and_what_is_waited_for_is_shown():
    seen = [Finding("clock", "ok", "0 s apart"), Finding("key", "fail", "small")]
    console = Console(file=io.StringIO(), force_terminal=True, color_system="standard")
    for finding in findings.shown(iter(seen), console):
        console.print(findings.line(finding))
    printed = console.file.getvalue()
    assert "\x1b[32mok" in printed
    assert "\x1b[31mfail" in printed
    assert "looking" in printed


def test_ca_certificates_are_read_from_their_file(bench):
    file = bench.ca.roots_file(bench.folder)
    auth = "auth: ntlm\n      ca-certificates: "
    seen = lines(bench.run(**{"auth: ntlm": f"{auth}{file}"}))
    assert seen["issuers"] == "ok the file ca-certificates has the CA's certificate, and 1 in all"
    file.write_text("none")
    seen = lines(bench.run(**{"auth: ntlm": f"{auth}{file}"}))
    assert "cannot be read: it has no certificates in PEM" in seen["issuers"]
    assert lines(bench.run())["issuers"].startswith("ok the CA tells the CA's certificate")


def test_json_has_the_same_findings_in_a_shape_of_its_own(bench):
    result = bench.run("--json")
    assert result.exit_code == 1
    found = msgspec.json.decode(result.stdout)
    assert found["ok"] is False
    [authority] = found["authorities"]
    findings = authority.pop("findings")
    assert authority == {
        "authority": "ca",
        "ca": "LAB-CA",
        "host": "127.0.0.1",
        "transport": "auto",
        "auth": "ntlm",
        "ok": False,
    }
    steps = {each["step"]: each for each in findings}
    assert steps["bind"] == {
        "step": "bind",
        "status": "ok",
        "text": "127.0.0.1 answers us, protected",
    }
    assert set(steps["dc-ports"]) == {"step", "status", "text", "remedy"}
    assert "null" not in result.stdout


def test_templates_are_those_that_orders_can_come_to(bench):
    result = bench.run("--json")
    [authority] = msgspec.json.decode(result.stdout)["authorities"]
    told = [each["about"] for each in authority["findings"] if each["step"] == "template"]
    assert told == ["WebServer", "LongServer"]
    result = bench.run("--json", "--template", "Another")
    [authority] = msgspec.json.decode(result.stdout)["authorities"]
    told = [each["about"] for each in authority["findings"] if each["step"] == "template"]
    assert told == ["Another"]


def test_a_wrong_password_is_told_at_the_step_that_met_it(bench):
    (bench.folder / "password").write_text("wrong")
    seen = lines(bench.run())
    assert seen["bind"].startswith("fail ")
    assert seen["request-right"] == "skipped not looked at: bind comes first"


def test_a_ca_that_is_down_is_told(bench):
    bench.ca.down()
    seen = lines(bench.run())
    assert seen["ca-ports"].startswith("fail ")
    assert seen["bind"] == "skipped not looked at: ca-ports comes first"


def test_a_name_that_the_ca_does_not_know_is_told(bench):
    seen = lines(bench.run(**{"ca-name: LAB-CA": "ca-name: OTHER-CA"}))
    assert seen["ca-name"].startswith("warn the CA may not know the name OTHER-CA")


def test_a_password_that_others_can_read_is_told(bench):
    (bench.folder / "password").chmod(0o644)
    seen = lines(bench.run())
    assert seen["bind"].startswith("fail ")
    assert "0644" in seen["bind"]


@pytest.mark.parametrize("arguments", [("--authority", "nobody"), ("--authority", "other")])
def test_an_authority_that_is_none_of_adcs_is_a_wrong_command_line(bench, arguments):
    result = bench.run(*arguments)
    assert result.exit_code == 2
    assert "known: ca" in result.stderr


def test_one_authority_can_be_chosen(bench):
    assert bench.run("--authority", "ca").exit_code == 1


def test_a_configuration_that_is_wrong_or_has_no_such_authority_is_code_2(bench, tmp_path):
    result = bench.run(**{"auth: ntlm": "auth: basic"})
    assert result.exit_code == 2
    assert "configuration.auth" in result.stderr
    path = tmp_path / "config.yml"
    path.write_text(path.read_text().split("authorities:")[0].replace("%", "%"))
    assert CliRunner().invoke(group, ["adcs", "check", "-f", str(path)]).exit_code == 2


def test_a_finding_that_is_ok_needs_no_remedy_and_is_summed_up():
    fine = Finding("clock", "ok", "0 s apart", remedy="none needed")
    assert "->" not in findings.line(fine).plain
    assert findings.summed([fine]) == "1 steps, all in order"
    wrong = Finding("key", "warn", "small", "larger", "0x80094811")
    assert findings.line(wrong).plain.endswith("small [0x80094811]\n" + " " * 26 + "-> larger")


def test_the_cas_own_settings_and_rights_are_read_where_they_may_be(bench):
    seen = lines(bench.run())
    assert seen["request-right"] == "ok the account may request certificates"
    assert seen["edit-flags"].startswith("ok ")
    assert seen["interface-flags"].startswith("ok ")
    policy = "PolicyModules\\CertificateAuthority_MicrosoftDefault.Policy"
    bench.ca.ca.config[policy, "EditFlags"] = 0x0015_014E
    bench.ca.ca.config["", "InterfaceFlags"] = 0x41
    seen = lines(bench.run())
    assert "ESC6" in seen["edit-flags"]
    assert "ESC11" in seen["interface-flags"]


def test_what_only_administrators_of_the_ca_may_read_is_skipped(tmp_path):
    with a_ca(officers=()) as ca:
        result = Bench(tmp_path, ca).run()
    seen = lines(result)
    assert seen["edit-flags"] == "skipped the CA's EditFlags may not be read by this account"
    assert "certutil -getreg policy\\EditFlags" in result.stdout


def test_what_the_ca_does_not_have_is_skipped(bench):
    bench.ca.ca.config.clear()
    assert lines(bench.run())["edit-flags"].startswith("skipped the CA")


def test_validate_tells_that_the_ca_was_not_asked_and_what_asks_it(bench):
    bench.run()
    path = str(bench.folder / "config.yml")
    result = CliRunner().invoke(group, ["validate", "-f", path])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1].startswith(f"next: 'certeasy adcs check -f {path}'")


BY_PROGRAMS = """\
workdir: "%CONFIGDIR%/work"
server: {{url: [https://acme.lab.test], tls: false}}
dns-validation-profiles: [{{name: d, resolved-ip-policy: {{allow-cidrs: [10.0.0.0/8]}}}}]
authorities:
  - name: ca
    type: adcs-cli
    configuration:
      ca-name: ca1.lab.test\\{name}
      certificate-template: WebServer
      certreq-path: {certreq}
      certutil-path: {certutil}
issuance-policies: [{{name: p, dns: {{allow: [.corp.test/2]}}}}]
policy-bindings: [{{policy: p, authorities: [ca]}}]
"""


@contextmanager
def by_programs(folder: Path) -> Iterator[tuple[WindowsPrograms, Callable[..., Result]]]:
    """Have a configuration of the type adcs-cli, and what looks at it."""
    (folder / "system").mkdir()
    with a_ca() as ca, programs_for(ca, folder / "system") as programs:

        def run(*arguments: str) -> Result:
            path = folder / "config.yml"
            files = {"certreq": programs.certreq, "certutil": programs.certutil}
            path.write_text(BY_PROGRAMS.format(name=ca.name, **files))
            before = sorted(folder.rglob("*"))
            result = CliRunner().invoke(group, ["adcs", "check", "-f", str(path), *arguments])
            assert sorted(folder.rglob("*")) == before, "nothing is left behind"
            assert ca.requests == []
            return result

        yield programs, run


def test_the_programs_of_windows_are_looked_at_and_what_is_not_is_said(tmp_path):
    with by_programs(tmp_path) as (programs, run):
        result = run()
        seen = lines(result)
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith("ca: ca1.lab.test\\LAB-CA, by certreq and certutil\n")
        assert seen["certreq"] == f"ok {programs.certreq} is there"
        assert seen["certutil"] == f"ok {programs.certutil} is there"
        assert seen["bind"] == "ok ca1.lab.test\\LAB-CA answers certutil"
        assert seen["issuers"] == "ok the CA tells the CA's certificates, 1 in all"
        assert seen["template"].startswith("warn with adcs-cli neither the directory")
        assert "-> look with certtmpl.msc" in result.stdout
        assert {tuple(call[:1]) for call in programs.called} == {("certutil.exe",)}


def test_a_ca_that_does_not_answer_the_programs_is_a_failure_with_its_code(tmp_path):
    with by_programs(tmp_path) as (programs, run):
        programs.away = True
        report = msgspec.json.decode(run("--json").stdout)
        [about] = report["authorities"]
        assert (report["ok"], about["transport"], about["auth"]) == (False, "programs", "process")
        assert (about["ca"], about["host"]) == ("LAB-CA", "ca1.lab.test")
        found = {each["step"]: each for each in about["findings"]}
        assert (found["bind"]["status"], found["bind"]["code"]) == ("fail", "0x800706ba")
        assert "certutil -config" in found["bind"]["remedy"]
        assert found["issuers"]["text"] == "not looked at: bind comes first"


def test_programs_that_are_not_there_are_named(tmp_path):
    with by_programs(tmp_path) as (programs, run):
        programs.certreq.unlink()
        programs.certutil.chmod(0o600)
        result = run()
        seen = lines(result)
        assert result.exit_code == 1
        assert seen["certreq"].startswith(f"fail {programs.certreq} is no program")
        assert seen["certutil"].startswith("fail ")
        assert seen["bind"] == "skipped not looked at: certutil comes first"
        assert programs.called == []
