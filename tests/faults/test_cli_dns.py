"""`certeasy dns test`: what is told of a name, against real DNS and web servers."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from certeasy.cli import group
from certeasy.validate.dns_account01 import place
from tests.fakes.dns_server import DnsServer, Records
from tests.fakes.web_server import WebServer, page
from tests.make.acme_server import free_port

URL = "https://acme.lab.test/acme/acct/1"
CONFIG = """\
workdir: "%CONFIGDIR%/work"
server: {{url: [https://acme.lab.test], tls: false, caa-identities: [ca.lab.test]}}
dns-validation-profiles:
  - name: d
    timeout: 500ms
    zones: [{{dns-server: ["{dns}"]}}]
    http-01-port: {port}
    tls-alpn-01-port: {port}
    caa: {caa}
    resolved-ip-policy: {{allow-cidrs: [127.0.0.1, 10.0.0.0/8]}}
authorities: [{{name: ca, type: embedded}}]
issuance-policies:
  - {{name: other, dns: {{allow: [.corp.test/2]}}}}
  - name: p
    dns: {{allow: [.lab.test/2, "*.lab.test"]}}
    challenges: [http-01, dns-01, tls-alpn-01, dns-account-01, dns-persist-01]
policy-bindings: [{{policy: p, authorities: [ca]}}, {{policy: other, authorities: [ca]}}]
"""


class Bench:
    """A configuration whose names are looked up at a server of the test's own."""

    def __init__(self, folder: Path, dns: DnsServer) -> None:
        self.folder = folder
        self.dns = dns
        self.port = free_port()
        self.caa = "soft"

    def run(self, *arguments: str) -> Result:
        """Run `dns test` and return its result; nothing of it may be left behind."""
        path = self.folder / "config.yml"
        path.write_text(CONFIG.format(dns=self.dns.endpoint, port=self.port, caa=self.caa))
        before = sorted(self.folder.rglob("*"))
        result = CliRunner().invoke(group, ["dns", "test", *arguments, "-f", str(path)])
        assert sorted(self.folder.rglob("*")) == before
        return result

    def checks(self, *arguments: str) -> dict[str, dict[str, object]]:
        """Return what was found, by what was looked at."""
        report = msgspec.json.decode(self.run(*arguments, "--json").stdout)
        return {check["what"]: check for check in report["checks"]}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with a_bench(tmp_path, {"web.lab.test": ["A 127.0.0.1"]}) as made:
        yield made


@contextmanager
def a_bench(folder: Path, records: dict[str, Records]) -> Iterator[Bench]:
    with DnsServer(records) as dns:
        yield Bench(folder, dns)


def test_every_type_of_challenge_is_gone_through_step_by_step(bench: Bench) -> None:
    bench.dns.records["_acme-challenge.web.lab.test"] = ["TXT a", "TXT b"]
    with WebServer(lambda _: [page(b"nothing here", "404 Not Found")]) as web:
        bench.port = web.port
        result = bench.run("WEB.lab.test.")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    server = bench.dns.endpoint
    assert lines[:3] == ["web.lab.test", "  policy p: permits it", f"  DNS profile d: {server}"]
    assert f"  A web.lab.test: {server} says NOERROR, 1 record" in lines
    assert "  127.0.0.1 may be connected to" in lines
    told = [line for line in lines if line.startswith("  -> ")]
    assert "answered with status 404" in told[0]
    assert told[1] == "  -> TXT _acme-challenge.web.lab.test: 2 records"
    assert "TLS with 127.0.0.1" in told[2]
    assert "--account says which account" in told[3]
    assert "NXDOMAIN" in told[4]
    assert told[5] == "  -> there are no CAA records (caa: soft)"
    heads = [line for line in lines if line.endswith((": ok", ": NOT ok"))]
    assert heads == [
        f"{what}: ok"
        for what in (
            "http-01",
            "dns-01",
            "tls-alpn-01",
            "dns-account-01",
            "dns-persist-01",
            "caa",
        )
    ]


def test_aliases_are_told_one_by_one(bench: Bench) -> None:
    bench.dns.records |= {
        "_acme-challenge.web.lab.test": ["CNAME a.lab.test."],
        "a.lab.test": ["CNAME b.lab.test."],
        "b.lab.test": ["TXT x"],
    }
    lines = bench.run("web.lab.test", "--challenge", "dns-01").stdout.splitlines()
    at = lines.index("  _acme-challenge.web.lab.test is an alias of a.lab.test")
    assert lines[at + 1] == "  a.lab.test is an alias of b.lab.test"


def test_nobody_listening_yet_is_told_and_not_held_against_anybody(bench: Bench) -> None:
    result = bench.run("web.lab.test", "--challenge", "http-01")
    assert result.exit_code == 0
    assert "Connection refused" in result.stdout


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ("A 192.0.2.1", "192.0.2.1 is in none of the allow-cidrs"),
        ("A 127.0.0.2", "127.0.0.2 is "),
        ("NXDOMAIN", "web.lab.test does not exist in the DNS"),
        ("SERVFAIL", "DNS answered SERVFAIL"),
        ("TXT x", "has no A or AAAA record"),
    ],
)
def test_a_name_that_may_not_be_connected_to_is_told_by_1(
    tmp_path: Path, record: str, words: str
) -> None:
    with a_bench(tmp_path, {"web.lab.test": [record]}) as bench:
        result = bench.run("web.lab.test", "--challenge", "http-01")
    assert result.exit_code == 1
    assert "http-01: NOT ok" in result.stdout
    assert words in result.stdout


def test_a_dns_that_does_not_answer_is_told_by_1(bench: Bench) -> None:
    bench.dns.records["_acme-challenge.web.lab.test"] = ["SERVFAIL"]
    result = bench.run("web.lab.test", "--challenge", "dns-01")
    assert result.exit_code == 1
    assert "dns-01: NOT ok" in result.stdout


def test_a_wildcard_is_looked_up_by_the_dns_only(bench: Bench) -> None:
    bench.dns.records["lab.test"] = ['CAA 0 issuewild "other.test"']
    checks = bench.checks("*.lab.test")
    assert list(checks) == ["dns-01", "dns-account-01", "dns-persist-01", "caa"]
    assert "(issuewild) do not name this CA" in str(checks["caa"]["outcome"])


def test_an_account_has_places_and_records_of_its_own(bench: Bench) -> None:
    bench.dns.records[place("web.lab.test", URL)] = ["TXT x"]
    persistent = "_validation-persist.web.lab.test"
    bench.dns.records[persistent] = [f'TXT "ca.lab.test; accounturi={URL}"']
    checks = bench.checks("web.lab.test", "--account", URL)
    assert checks["dns-account-01"]["outcome"] == f"TXT {place('web.lab.test', URL)}: 1 record"
    assert checks["dns-persist-01"] | {"steps": []} == {
        "what": "dns-persist-01",
        "ok": True,
        "outcome": "it is proven",
        "steps": [],
    }
    other = bench.checks("web.lab.test", "--account", URL + "0")["dns-persist-01"]
    assert other["ok"] is False
    assert "does not name this account" in str(other["outcome"])


@pytest.mark.parametrize(("caa", "code"), [("off", 0), ("soft", 0), ("strict", 1)])
def test_what_caa_records_forbid_counts_where_they_are_obeyed(
    bench: Bench, caa: str, code: int
) -> None:
    bench.caa = caa
    bench.dns.records["lab.test"] = ['CAA 0 issue ";"']
    result = bench.run("web.lab.test", "--challenge", "dns-01")
    assert result.exit_code == code
    assert f"do not name this CA (caa: {caa})" in result.stdout


def test_caa_records_may_let_one_type_of_challenge_and_not_another(bench: Bench) -> None:
    bench.caa = "strict"
    bench.dns.records["lab.test"] = ['CAA 0 issue "ca.lab.test; validationmethods=dns-01"']
    said = str(bench.checks("web.lab.test")["caa"]["outcome"])
    assert "http-01: the CAA records of lab.test (issue) name other challenge types" in said
    assert "dns-01: the CAA records of lab.test permit it" in said


def test_an_address_is_not_looked_up(bench: Bench) -> None:
    checks = bench.checks("127.0.0.1", "--policy", "p")
    assert list(checks) == ["http-01", "tls-alpn-01"]
    assert not bench.dns.asked


def test_the_policy_is_the_first_that_permits_the_name_or_the_chosen_one(bench: Bench) -> None:
    assert "policy p: permits it" in bench.run("web.lab.test", "--challenge", "dns-01").stdout
    chosen = bench.run("web.lab.test", "--policy", "other", "--challenge", "dns-01")
    assert (
        "policy other: does NOT permit it: web.lab.test is not covered by any allow rule"
        " (.corp.test/2)\n"
    ) in chosen.stdout
    assert "policy p" not in chosen.stdout


def test_of_a_name_that_no_policy_permits_each_says_why(bench: Bench) -> None:
    said = bench.run("web.lab.example", "--challenge", "dns-01").stdout
    why = "does NOT permit it: web.lab.example is not covered by any allow rule"
    assert said.splitlines()[:4] == [
        "web.lab.example",
        f"  policy other: {why} (.corp.test/2)",
        f"  policy p: {why} (.lab.test/2, *.lab.test)",
        "  no policy permits it; it is looked up as under other",
    ]
    report = msgspec.json.decode(bench.run("192.0.2.7", "--json").stdout)
    assert (report["policy"], report["permitted"]) == ("other", False)
    assert report["objections"] == [
        {"policy": name, "reason": "is in none of the ip allow-cidrs"} for name in ("other", "p")
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["web.lab.test", "--policy", "none"], "there is no policy 'none'; known: other, p"),
        (["two..dots.test"], "two..dots.test"),
        (["web.lab.test", "--challenge", "dns-02"], "dns-02"),
        (["*.lab.test", "--challenge", "http-01"], "http-01: no such challenge proves *.lab.test"),
    ],
)
def test_a_wrong_command_line_is_2(bench: Bench, arguments: list[str], words: str) -> None:
    result = bench.run(*arguments)
    assert result.exit_code == 2
    assert words in result.output
    assert not bench.dns.asked
