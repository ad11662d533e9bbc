"""`certeasy init`: what is asked, how answers are read, what is written, what is refused."""

import socket
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from certeasy import config
from certeasy.ca.adcs.directory import NotRead
from certeasy.ca.adcs.world import Unread
from certeasy.cli import group
from certeasy.cli.init_looks import Unusable
from certeasy.cli.init_templates import offered
from certeasy.cli.init_text import scalar
from certeasy.clock import SystemClock
from certeasy.cluster import identity
from certeasy.ids import RandomIds
from tests.fakes.directories import RecordedDirectory
from tests.fakes.worlds import RecordedWorld
from tests.make.domains import a_domain
from tests.make.postgres import Postgres
from tests.make.tls_files import make_server_certificate

LAB = Path(__file__).resolve().parents[2] / "docs/examples/init-lab.yml"
Answers = dict[str, Any]


def lab(**changes: Any) -> Answers:
    """Return the answers of the lab; `tls__mode` is the key mode in the section tls."""
    answers: Answers = yaml.safe_load(LAB.read_text())
    for key, value in changes.items():
        section, _, name = key.replace("_", "-").rpartition("--")
        place = answers[section] if section else answers
        if value is None:
            del place[name]
        else:
            place[name] = value
    return answers


def run(folder: Path, answers: Answers | str, *words: str, **more: Any) -> Result:
    """Run a script, given on standard input, and return what came of it."""
    text = answers if isinstance(answers, str) else yaml.safe_dump(answers, sort_keys=False)
    command = ["init", "--script", "-", "-o", str(folder / "config.yml"), *words]
    return CliRunner().invoke(group, command, input=text, **more)


def told(result: Result) -> list[str]:
    """Return what a refusal told, line by line; nothing else may have been printed to stderr."""
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    return result.stderr.splitlines()


def types(*lines: str, folder: Path, more: tuple[str, ...] = ()) -> Result:
    """Answer the questions one after the other, as on a terminal."""
    command = ["init", "-o", str(folder / "config.yml"), *more]
    return CliRunner().invoke(group, command, input="".join(f"{line}\n" for line in lines))


LAB_TYPED = (
    *("https://127.0.0.1:14443", "127.0.0.1:14443", "", "%CONFIGDIR%/workdir", ""),
    *("", "", "embedded", "", "Certeasy Lab CA", ".lab.test/3", "", "", "*.lab.test=127.0.0.1"),
    *("127.0.0.0/8", "14080", "", ""),
)


def test_a_script_leads_to_a_configuration_that_validate_accepts(tmp_path: Path):
    result = run(tmp_path, lab())
    assert result.exit_code == 0, result.output
    file = tmp_path / "config.yml"
    assert "may connect to this machine itself" in result.stderr  # as validate warns
    done = CliRunner().invoke(group, ["validate", "-f", str(file)])
    assert (done.exit_code, "in order" in done.stdout) == (0, True)
    settings = config.load(file)
    assert settings.workdir == tmp_path / "workdir"
    assert settings.server.url == ("https://127.0.0.1:14443",)
    assert settings.dns_validation_profiles[0].zones[0].hosts == {"*.lab.test": "127.0.0.1"}
    assert settings.dns_validation_profiles[0].http_01_port == 14080
    if sys.platform != "win32":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_what_was_typed_can_be_saved_and_leads_to_the_same_file(tmp_path: Path):
    one, other = tmp_path / "one", tmp_path / "other"
    result = types(*LAB_TYPED, folder=one, more=("--save-script", str(tmp_path / "s.yml")))
    assert result.exit_code == 0, result.output
    saved = (tmp_path / "s.yml").read_text()
    again = run(other, saved.replace(str(one), str(other)))
    assert again.exit_code == 0, again.output
    text = (other / "config.yml").read_text()
    assert text.replace(str(other), str(one)) == (one / "config.yml").read_text()
    assert run(tmp_path / "third", saved, "--save-script", str(tmp_path / "s.yml")).exit_code == 1


def test_the_shipped_script_is_what_is_saved_of_its_answers(tmp_path: Path):
    result = run(tmp_path, lab(), "--save-script", str(tmp_path / "s.yml"))
    assert result.exit_code == 0, result.output
    head, body = LAB.read_text().split("server:", 1)
    saved = (tmp_path / "s.yml").read_text().split("server:", 1)[1]
    anchored = saved.replace(f"{tmp_path}/workdir/db", "%WORKDIR%/db")
    assert anchored.replace(str(tmp_path), "%CONFIGDIR%") == body
    assert all(line.startswith("#") for line in head.splitlines())


def test_a_wrong_answer_is_told_in_the_configurations_words_and_asked_again(tmp_path: Path):
    wrong = ("http://acme.test", "https://acme.test", "443", "0.0.0.0:8443", "0.0.0.0:9443", "")
    rest = (*LAB_TYPED[3:4], "standby", *LAB_TYPED[4:10], "lab.test", *LAB_TYPED[10:])
    result = types(*wrong, *rest, folder=tmp_path)
    assert result.exit_code == 0, result.output
    for words in (
        "is not https; ACME clients are given https URLs only",
        '"443" is not host:port, such as 0.0.0.0:8443',
        "is not on loopback",
        '"standby" comes later; in this version only: single',
        "is not a rule for names: a rule is .zone/N",
    ):
        assert words in result.output
    assert config.load(tmp_path / "config.yml").server.url == ("https://acme.test",)


def test_where_the_answers_end_the_question_is_named_and_nothing_is_written(tmp_path: Path):
    result = types(*LAB_TYPED[:3], folder=tmp_path)
    assert result.exit_code == 1
    assert "the answers ended before workdir: Folder for this node's own files" in result.stderr
    assert list(tmp_path.iterdir()) == []


# -- scripts -------------------------------------------------------------------------------------


def test_a_missing_answer_names_its_key_and_the_question(tmp_path: Path):
    [line] = told(run(tmp_path, lab(dns__networks=None)))
    assert line.startswith("standard input:")
    assert line.endswith("dns.networks: is missing: Networks of the machines that get certificates")
    assert list(tmp_path.iterdir()) == []


def test_everything_that_is_wrong_is_told_at_once_with_its_line(tmp_path: Path):
    text = LAB.read_text().replace("127.0.0.0/8", "127.0.0.1/8").replace("14080", "0")
    text = text.replace(".lab.test/3", "lab.test").replace('name: "lab"', 'name: "my lab"')
    lines = told(run(tmp_path, text))
    keys = [line.split(": ")[1] for line in lines]
    assert keys == ["authority.name", "policy.allow", "dns.networks", "dns.http-01-port"]
    rows = text.splitlines()
    for line, key in zip(lines, keys, strict=True):
        assert f"{key.rpartition('.')[2]}:" in rows[int(line.split(":")[1]) - 1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"database--driver": "mysql"}, 'database.driver: "mysql" is not known; allowed: sqlite'),
        ({"authority--type": "adcs-cli"}, '"adcs-cli" is not offered here; allowed: adcs, embed'),
        ({"topology": "standby"}, 'topology: "standby" comes later'),
        ({"topology": ["single"] * 2}, "topology: is a list; one value is needed"),
        ({"policy--allow": []}, "policy.allow: is empty; an answer is needed"),
        ({"policy--allow": [".lab.test/1"] * 2}, "policy.allow: has the same item twice"),
        ({"policy--allow": [[".lab.test/1"]]}, "policy.allow: has an item that is no single value"),
        ({"dns--hosts": ["web.lab.test"]}, 'dns.hosts: "web.lab.test" is not NAME=ADDRESS'),
        ({"dns--hosts": ["web.lab.test=x"]}, "is not an IP address"),
        ({"tls--mod": "pki"}, "tls.mod: is not asked; did you mean tls.mode?"),
        ({"database--dsn": "x"}, "database.dsn: is not asked"),
        ({"extra": "x"}, "extra: is not asked: the other answers leave it open"),
        ({"workdir": "work"}, 'workdir: "work" is a relative path'),
        ({"signing-key": "never"}, '"never" is not offered here; allowed: now, first-start'),
    ],
)
def test_a_wrong_answer_in_a_script_is_told(tmp_path: Path, changes: Answers, words: str):
    answers = lab()
    for key, value in changes.items():
        section, _, name = key.rpartition("--")
        (answers[section] if section else answers)[name] = value
    [line] = told(run(tmp_path, answers))
    assert words in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("workdir: [", "standard input:1: is not YAML"),
        ("just words", "is not a configuration"),
        ("workdir: /a\nworkdir: /b", "standard input:2: workdir: is answered twice"),
    ],
)
def test_what_is_no_script_is_told(tmp_path: Path, text: str, words: str):
    assert any(words in line for line in told(run(tmp_path, text)))


def test_a_script_that_cannot_be_read_is_told(tmp_path: Path):
    output = ["-o", str(tmp_path / "c.yml")]
    result = CliRunner().invoke(group, ["init", "--script", str(tmp_path / "no.yml"), *output])
    assert "cannot be read: No such file" in told(result)[0]


def test_answers_that_do_not_fit_together_are_refused_as_the_file_would_be(tmp_path: Path):
    answers = lab(server__listen="127.0.0.1:9443")
    [line] = told(run(tmp_path, answers))
    assert "cannot be both server.listen and admin.listen" in line
    assert list(tmp_path.iterdir()) == []


# -- files ---------------------------------------------------------------------------------------


def test_a_file_that_is_there_stays_unless_forced(tmp_path: Path):
    (tmp_path / "config.yml").write_text("mine\n")
    assert "config.yml is there already" in told(run(tmp_path, lab()))[0]
    assert (tmp_path / "config.yml").read_text() == "mine\n"
    assert run(tmp_path, lab(), "--force").exit_code == 0
    assert config.load(tmp_path / "config.yml").authorities[0].name == "lab"


def test_the_signing_key_is_made_once_and_its_kid_printed(tmp_path: Path):
    first = run(tmp_path, lab())
    settings = config.load(tmp_path / "config.yml")
    who = identity.find(settings.workdir, settings.audit.path, RandomIds(SystemClock()))
    assert f"trust anchor    {who.key.public.kid}: note it" in first.stdout
    assert who.server_id in first.stdout
    again = run(tmp_path, lab(), "--force")
    assert who.key.public.kid in again.stdout


def test_the_first_start_can_be_left_to_make_the_key(tmp_path: Path):
    result = run(tmp_path, lab(signing_key="first-start"))
    assert result.exit_code == 0
    assert "trust anchor    the first start makes it" in result.stdout
    assert not (tmp_path / "workdir").exists()


def test_each_client_is_told_whom_to_trust(tmp_path: Path):
    printed = run(tmp_path, lab()).stdout
    root = tmp_path / "workdir/lab.root.pem"
    for line in (
        f"REQUESTS_CA_BUNDLE={root}",
        f"LEGO_CA_CERTIFICATES={root}",
        f"--ca-bundle {root}",
        f"trusted_roots {root}",
        f"base64 -w0 {root}",
        f"serve -f {tmp_path}/config.yml",
    ):
        assert line in printed


def test_a_certificate_from_files_is_looked_at(tmp_path: Path):
    make_server_certificate(tmp_path)
    tls = {"mode": "files", "certificate": f"{tmp_path}/tls.pem", "key": f"{tmp_path}/tls.key"}
    done = run(tmp_path / "good", lab(tls=tls))
    assert done.exit_code == 0, done.output
    assert f"under which {tmp_path}/tls.pem was issued" in done.stdout
    bundle = config.load(tmp_path / "good/config.yml").tls_certificate_manager.bundles[0]
    assert (bundle.mode, bundle.hosts) == ("files", ("127.0.0.1",))
    gone = run(tmp_path / "bad", lab(tls={**tls, "key": f"{tmp_path}/no.key"}))
    assert "no.key cannot be read" in told(gone)[0]


def test_a_proxy_in_front_takes_the_tls(tmp_path: Path):
    tls = {"mode": "proxy", "trusted-proxies": ["127.0.0.1"]}
    done = run(tmp_path, lab(tls=tls))
    assert done.exit_code == 0, done.output
    server = config.load(tmp_path / "config.yml").server
    assert (server.tls, server.remote_ip_header) == (False, "X-Forwarded-For")
    assert "the certificate that the proxy shows" in done.stdout


# -- the database --------------------------------------------------------------------------------


def test_a_file_that_is_no_database_is_refused_and_asked_again(tmp_path: Path):
    (tmp_path / "letter").write_text("dear database, " * 100)
    path = str(tmp_path / "letter")
    [line] = told(run(tmp_path / "a", lab(database__path=path)))
    assert "database.path: the database is out of service: file is not a database" in line
    [line] = told(run(tmp_path / "b", lab(database__path=str(tmp_path))))
    assert line.endswith(f"{tmp_path} is no file")
    typed = (*LAB_TYPED[:6], path, *LAB_TYPED[6:])
    result = types(*typed, folder=tmp_path / "c")
    assert result.exit_code == 0, result.output
    assert "file is not a database" in result.output


def test_postgres_is_connected_to_and_its_version_told(tmp_path: Path, postgres: Postgres):
    database = {"driver": "postgres", "dsn": postgres.a_database(), "password-file": "~"}
    database["password-file"] = None
    result = run(tmp_path, lab(database=database))
    assert result.exit_code == 0, result.output
    [version] = postgres.ask("SHOW server_version")[0]
    assert f", version {version.split()[0]}, schema public: no tables of Certeasy yet" in (
        result.stdout
    )
    assert config.load(tmp_path / "config.yml").database.driver == "postgres"


def test_postgres_that_is_not_there_is_told_in_one_line_unless_offline(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    dsn = f"postgresql://certeasy:geheim@127.0.0.1:{port}/certeasy"
    database = {"driver": "postgres", "dsn": dsn, "password-file": ""}
    [line] = told(run(tmp_path, lab(database=database)))
    assert "database.dsn: the database is out of service" in line
    assert "geheim" not in line
    done = run(tmp_path, lab(database=database), "--offline")
    assert done.exit_code == 0, done.output
    assert ", if the database is new: note it" in done.stdout
    assert "geheim" not in done.output


def test_postgres_that_cannot_be_used_says_why(tmp_path: Path, postgres: Postgres):
    dsn = postgres.a_database()
    postgres.ask("GRANT CREATE ON SCHEMA public TO PUBLIC", dsn.rpartition("/")[2])
    database = {"driver": "postgres", "dsn": dsn, "password-file": None}
    [line] = told(run(tmp_path, lab(database=database)))
    assert "cannot be used: every user of the database may put functions" in line


# -- a CA of a domain ----------------------------------------------------------------------------

ADCS = {
    "type": "adcs",
    "name": "corp",
    "ca-name": "LAB-CA",
    "host": "127.0.0.1",
    "auth": "ntlm",
    "domain": "lab.test",
    "user": "svc-acme",
    "credentials": "password-file",
    "domain-controllers": ["127.0.0.1"],
    "certificate-template": "AcmeServer",
}


def adcs(folder: Path, **changes: Any) -> Answers:
    """Return answers with a CA of a domain, which is not there."""
    (folder / "password").write_text("Secret.123\n")
    (folder / "password").chmod(0o600)
    authority = {**ADCS, "password-file": f"{folder}/password", **changes}
    tls = {"mode": "proxy", "trusted-proxies": ["127.0.0.1"]}
    return lab(authority=authority, tls=tls)


def test_a_ca_that_cannot_be_used_yet_is_told_step_by_step_and_the_file_written(tmp_path: Path):
    result = run(tmp_path, adcs(tmp_path))
    assert result.exit_code == 3, result.output
    assert "templates that the CA offers: not known: the directory does not tell" in result.stdout
    assert "  fail    ca-ports" in result.stdout
    assert "is written, but the CA cannot be used yet" in result.stderr
    authority = config.load(tmp_path / "config.yml").authorities[0]
    assert authority.adcs is not None
    assert authority.adcs.certificate_template == "AcmeServer"
    assert f"adcs check -f {tmp_path}/config.yml" in result.stdout


def test_a_script_may_say_where_a_ca_is_that_no_dns_knows(tmp_path: Path):
    (tmp_path / "ca.pem").write_bytes(make_server_certificate(tmp_path).read_bytes())
    where = {
        "address": "127.0.0.1",
        "endpoint-mapper-port": 10135,
        "ca-certificates": f"{tmp_path}/ca.pem",
    }
    answers = adcs(tmp_path, **where) | {"tls": {"mode": "pki"}}
    saved = tmp_path / "saved.yml"
    result = run(tmp_path, answers, "--offline", "--save-script", str(saved))
    assert result.exit_code == 0, result.output
    found = config.load(tmp_path / "config.yml").authorities[0].adcs
    assert found is not None
    assert (found.address, found.endpoint_mapper_port) == ("127.0.0.1", 10135)
    assert found.ca_certificates == tmp_path / "ca.pem"
    assert f"REQUESTS_CA_BUNDLE={tmp_path}/ca.pem" in result.stdout
    again = run(tmp_path / "again", saved.read_text(), "--offline")
    assert again.exit_code == 0, again.output


def test_where_no_ca_answers_a_terminal_is_asked_for_what_few_cas_need(tmp_path: Path):
    adcs(tmp_path)
    typed = [*LAB_TYPED[:7], "adcs", "", "LAB-CA", "127.0.0.1", "ntlm", "lab.test", "svc-acme"]
    typed += ["password-file", f"{tmp_path}/password", "127.0.0.1"]
    typed += ["", "1", "", "AcmeServer", *LAB_TYPED[10:16], "proxy", "", ""]
    result = types(*typed, folder=tmp_path)
    assert result.exit_code == 3, result.output
    assert result.stdout.count("templates that the CA offers: not known") == 2
    found = config.load(tmp_path / "config.yml").authorities[0].adcs
    assert found is not None
    assert (found.address, found.endpoint_mapper_port, found.ca_certificates) == (None, 1, None)


def test_offline_no_ca_is_asked(tmp_path: Path):
    result = run(tmp_path, adcs(tmp_path), "--offline")
    assert result.exit_code == 0, result.output
    assert "ca-ports" not in result.stdout


def test_a_secret_that_others_can_read_is_refused(tmp_path: Path):
    answers = adcs(tmp_path)
    (tmp_path / "password").chmod(0o644)
    [line] = told(run(tmp_path / "x", answers, "--offline"))
    assert "has mode 0644" in line
    assert "Secret" not in line


def test_a_ca_of_a_domain_can_issue_the_servers_own_certificate(tmp_path: Path):
    answers = adcs(tmp_path) | {"tls": {"mode": "pki"}}
    result = run(tmp_path, answers, "--offline")
    assert result.exit_code == 0, result.output
    bundle = config.load(tmp_path / "config.yml").tls_certificate_manager.bundles[0]
    assert (bundle.mode, bundle.authority) == ("pki", "corp")
    assert "a file that is not written here: the root, in PEM, of LAB-CA" in result.stdout


def test_sspi_asks_for_no_account(tmp_path: Path):
    account = ("domain", "user", "credentials", "domain-controllers")
    authority = {key: value for key, value in ADCS.items() if key not in account}
    authority |= {"auth": "sspi", "ca-name": "ca1.lab.test\\LAB-CA"}
    del authority["host"]
    tls = {"mode": "proxy", "trusted-proxies": ["127.0.0.1"]}
    result = run(tmp_path, lab(authority=authority, tls=tls), "--offline")
    assert result.exit_code == 0, result.output
    found = config.load(tmp_path / "config.yml").authorities[0].adcs
    assert found is not None
    assert (found.auth, found.server, found.common_name) == ("sspi", "ca1.lab.test", "LAB-CA")


def test_templates_are_those_that_the_directory_publishes_at_the_ca():
    directory = RecordedDirectory(a_domain(published=("WebServer", "AcmeServer")))
    assert offered(RecordedWorld(domain=directory), "lab-ca") == ("AcmeServer", "WebServer")


def test_where_the_directory_is_silent_the_ca_tells_its_templates():
    world = RecordedWorld(domain=NotRead("no entry"))
    assert offered(world, "LAB-CA") == ("AcmeServer", "ACMESERVER", "WebServer")


def test_where_nobody_tells_templates_both_reasons_are_told():
    world = RecordedWorld(domain=NotRead("no entry"), offered=Unread("not for you"))
    with pytest.raises(Unusable, match=r"does not tell \(no entry\), nor the CA \(not for you\)"):
        offered(world, "LAB-CA")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("/var/lib/certeasy", "/var/lib/certeasy"),
        ("C:\\data", '"C:\\\\data"'),
        ("lab", "lab"),
        ("no", '"no"'),
        ("1.5", '"1.5"'),
        ("a: b", '"a: b"'),
        ("it's #1", '"it\'s #1"'),
        ("", '""'),
    ],
)
def test_a_value_is_written_so_that_yaml_reads_the_same(text: str, written: str):
    assert scalar(text) == written
    assert yaml.safe_load(f"key: {scalar(text)}") == {"key": text}
