"""`certeasy doctor`: each thing that can be wrong is found, named, and has a remedy; nothing is
changed by looking."""

import os
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
import yaml
from click.testing import CliRunner

from certeasy import config
from certeasy.app import Application
from certeasy.ca.adcs.findings import Finding
from certeasy.cli import group
from certeasy.cli.doctor import examine
from certeasy.cli.serve import reread
from certeasy.clock import SystemClock
from certeasy.serve import logs
from certeasy.serve.node import Node
from certeasy.serve.stopping import StopRequest
from certeasy.settings import DatabaseSettings
from certeasy.store import Store
from tests.fakes.clocks import HeldClock
from tests.make.acme_server import free_port
from tests.make.postgres import Postgres, settings_of
from tests.make.postgres_pair import Pair
from tests.make.tls_files import make_server_certificate

LAB = Path(__file__).resolve().parents[2] / "docs/examples/init-lab.yml"


class Lab:
    """A configuration, and what is found with it."""

    def __init__(self, folder: Path, **tls: str) -> None:
        answers = yaml.safe_load(LAB.read_text())
        self.port, self.admin = free_port(), free_port()
        answers["server"] = {
            "url": f"https://127.0.0.1:{self.port}",
            "listen": f"127.0.0.1:{self.port}",
        }
        answers["admin"]["listen"] = f"127.0.0.1:{self.admin}"
        answers["signing-key"] = "first-start"
        answers["tls"] = tls or answers["tls"]
        self.folder = folder
        self.file = folder / "config.yml"
        done = self.type("init", "--script", "-", "-o", str(self.file), text=yaml.dump(answers))
        assert done.exit_code == 0, done.output
        self.work = folder / "workdir"

    def type(self, *words: str, text: str = ""):
        return CliRunner().invoke(group, words, input=text)

    def was_run(self) -> "Lab":
        """Start and stop it."""
        application = Application(config.load(self.file))
        application.open()
        assert application.close()
        return self

    @contextmanager
    def running(self) -> Iterator[Node]:
        node = Node(config.load(self.file))
        try:
            assert node.open(StopRequest())
            yield node
        finally:
            node.close()

    def sees(self, clock=None) -> dict[str, list[Finding]]:
        """Return what is found, by step; nothing may be changed by that."""
        before = self.state()
        found: dict[str, list[Finding]] = {}
        for finding in examine(self.file, clock or SystemClock()):
            found.setdefault(finding.step, []).append(finding)
            assert finding.status in {"ok", "skipped"} or finding.text
        assert self.state() == before
        return found

    def state(self) -> dict[Path, bytes]:
        """What is in the folder; a database beside a server has files that come and go."""
        return {
            path: path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and not path.name.startswith("db.sqlite-")
        }

    def sql(self, statement: str) -> None:
        with closing(sqlite3.connect(self.work / "db.sqlite")) as connection, connection:
            connection.execute(statement)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def wrong(found: dict[str, list[Finding]]) -> dict[str, list[str]]:
    """Return what has failed, by step."""
    failed = {
        step: [each.text for each in findings if each.status == "fail"]
        for step, findings in found.items()
    }
    return {step: texts for step, texts in failed.items() if texts}


def only(found: dict[str, list[Finding]], step: str, status: str) -> Finding:
    """Return the one finding of a step with this status."""
    [finding] = [each for each in found[step] if each.status == status]
    return finding


def test_before_the_first_start_all_is_in_order(lab: Lab):
    found = lab.sees()
    assert wrong(found) == {}
    assert "the first start makes it" in only(found, "database", "ok").text
    assert "can be listened on" in found["ports"][0].text
    assert not lab.work.exists()


def test_a_node_that_was_stopped_is_in_order(lab: Lab):
    found = lab.was_run().sees()
    assert wrong(found) == {}
    assert set(found) == {
        *("config", "permissions", "disk", "server", "ports", "tls", "database", "rights"),
        *("replication", "clock", "secrets", "ca", "license", "node", "journal", "writer"),
    }
    assert "nobody has the writer's place" in only(found, "writer", "ok").text


def test_a_node_that_runs_is_in_order(lab: Lab):
    with lab.running():
        found = lab.sees()
        done = lab.type("doctor", "-f", str(lab.file))
    assert wrong(found) == {}
    assert "it is ready" in only(found, "server", "ok").text
    assert "something listens" in found["ports"][0].text
    assert "the server shows it for 127.0.0.1" in only(found, "tls", "ok").text
    assert only(found, "writer", "ok").text == "this node has the writer's place"
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1].endswith("3 to be looked at")


def test_json_says_the_same_and_the_exit_code_too(lab: Lab):
    (lab.was_run().work / "audit.log").unlink()
    done = lab.type("doctor", "-f", str(lab.file), "--json")
    assert done.exit_code == 1
    report = msgspec.json.decode(done.stdout)
    assert report["ok"] is False
    [journal] = [each for each in report["findings"] if each["step"] == "journal"]
    assert journal["status"] == "fail"
    assert f"certeasy journal refill -f {lab.file}" in journal["text"]
    assert journal["remedy"]


def test_mistakes_of_the_file_come_alone(lab: Lab):
    lab.file.write_text(lab.file.read_text().replace("type: embedded", "type: none"))
    found = lab.sees()
    assert set(found) == {"config"}
    assert "config.yml:" in only(found, "config", "fail").text
    lab.file.write_text("workdir: [")
    assert "is not YAML" in only(lab.sees(), "config", "fail").text


def test_what_others_could_read_or_write_is_found(lab: Lab):
    lab.was_run()
    key, secret = lab.work / "keys/signing.pem", lab.work / "secret.key"
    key.chmod(0o640)
    secret.chmod(0o644)
    lab.work.chmod(0o777)
    found = lab.sees()
    assert [each.remedy for each in found["permissions"]] == [
        f"chmod 0600 {key}",
        f"chmod 0600 {secret}",
        f"chmod go-w {lab.work}",
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_another_user_has_left_is_found(lab: Lab):
    lab.was_run()
    os.chown(lab.work / "audit.log", 1, 1)
    os.chown(lab.work / "keys" / "signing.pem", 1, 1)
    text = only(lab.sees(), "permissions", "fail").text
    assert "these are of others: audit.log, keys/signing.pem" in text


def test_a_disk_without_headroom_is_found(lab: Lab):
    lab.file.write_text(f"{lab.file.read_text()}\naudit: {{min-free-bytes: {1 << 40}}}\n")
    found = lab.sees()
    assert "changes are refused" in only(found, "disk", "fail").text
    assert "make room" in only(found, "disk", "fail").remedy


def test_other_limits_for_a_key_that_there_is_not_are_found(lab: Lab):
    """They hold for nobody, and nothing else would tell: a comment is any text."""
    lab.was_run()
    made = lab.type("eab", "create", "-f", str(lab.file), "--comment", "kubernetes", "--json")
    kid = msgspec.json.decode(made.stdout)["kid"]
    before = lab.file.read_text()

    def other_limits(*bindings: str) -> None:
        overrides = [{"binding": each, "san-budget": {"limit": 500}} for each in bindings]
        limits = yaml.dump({"rate-limiting": {"overrides": overrides}})
        lab.file.write_text(f"{before}\n{limits}")

    assert "limits" not in lab.sees()
    other_limits("kubernetes", kid)
    assert only(lab.sees(), "limits", "ok").text
    other_limits(kid, "kubernetse")
    finding = only(lab.sees(), "limits", "warn")
    assert finding.text == (
        'rate-limiting.overrides[1].binding: "kubernetse" is id or comment of no key;'
        ' comments of keys are: "kubernetes"'
    )
    assert "eab list" in finding.remedy
    done = lab.type("eab", "revoke", kid, "-f", str(lab.file))
    assert done.exit_code == 0, done.output
    other_limits("kubernetes")
    assert only(lab.sees(), "limits", "ok").text, "its accounts are still bound with it"


def test_where_no_key_has_a_comment_that_is_told(lab: Lab):
    lab.was_run()
    limits = yaml.dump({"rate-limiting": {"overrides": [{"binding": "fleet"}]}})
    lab.file.write_text(f"{lab.file.read_text()}\n{limits}")
    assert only(lab.sees(), "limits", "warn").text.endswith("; no key has a comment")


def test_a_clock_behind_the_log_is_found(lab: Lab):
    lab.was_run()
    behind = HeldClock(datetime.now(UTC) - timedelta(hours=1))  # noqa: TID251 - the test's
    found = lab.sees(behind)
    finding = only(found, "clock", "fail")
    assert "s behind the log: changes are refused" in finding.text
    assert "certeasy clock accept -f config.yml" in finding.remedy
    assert "behind the database's" in only(found, "clock", "warn").text


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE events SET line = x'7b7d'",
        'UPDATE events SET line = replace(line, \'"at":"20\', \'"at":"19-20\')',
        "DELETE FROM events",
    ],
)
def test_which_event_is_ahead_is_not_known_where_the_log_was_changed(lab: Lab, change: str):
    """The first half of it tells nothing any more; the rest is looked at all the same."""
    lab.was_run().sql(f"{change} WHERE position < 5")
    found = lab.sees(HeldClock(datetime.now(UTC) - timedelta(days=3)))  # noqa: TID251 - as above
    text = only(found, "clock", "fail").text
    assert "the first event ahead of it is one from 1 on, of lines that cannot be read" in text
    assert "'certeasy audit verify -f config.yml' names what was changed" in text
    assert found["writer"]


def test_a_clock_of_which_it_cannot_be_told_whether_it_was_accepted_is_found(lab: Lab):
    """The line by which an administrator accepted the log's time was changed."""
    lab.was_run()
    lab.sql("UPDATE events SET type = 'clock.set-back', line = x'7b7d' WHERE position = 3")
    found = lab.sees(HeldClock(datetime.now(UTC) - timedelta(hours=1)))  # noqa: TID251 - as above
    finding = only(found, "clock", "fail")
    assert "whether that was accepted cannot be told, as the last clock.set-back in" in finding.text
    assert "db.sqlite is no line of a log: the line does not end with a sig" in finding.text
    assert "'certeasy audit verify -f config.yml' names what was changed" in finding.remedy
    assert found["writer"]


@pytest.mark.parametrize("table", ["events", "servers", "secrets", "nodes"])
def test_a_table_that_is_gone_is_found(lab: Lab, table: str):
    lab.was_run().sql(f"DROP TABLE {table}")
    told = " ".join(text for texts in wrong(lab.sees()).values() for text in texts)
    assert f"the database lacks what belongs to it: no such table: {table}" in told
    assert ("projections rebuild" if table == "nodes" else "restore it from a backup") in told


@pytest.mark.parametrize("at", ["x", "2026-11-02T09:00:00"])
def test_a_time_of_the_log_that_is_none_is_found(lab: Lab, at: str):
    lab.was_run().sql(f"UPDATE log_head SET at = '{at}'")  # noqa: S608 - the test's own
    found = lab.sees()
    assert f'log_head.at is "{at}", which is no time of a log' in wrong(found)["database"][0]
    assert "restore the database from a backup" in only(found, "database", "fail").remedy
    assert found["node"][0].status == "skipped"


@pytest.mark.parametrize("wrapped", ["x'00'", "x'" + "00" * 27 + "'"])
def test_a_secret_that_is_too_short_to_be_one_is_found(lab: Lab, wrapped: str):
    lab.was_run().sql(f"UPDATE secrets SET wrapped = {wrapped}")  # noqa: S608 - the test's own
    found = lab.sees()
    assert "the row was changed. Restore the database" in only(found, "secrets", "fail").text
    assert found["writer"]


def test_settings_in_use_that_cannot_be_read_keep_nothing_else_from_being_looked_at(lab: Lab):
    with lab.running():
        lab.sql("UPDATE events SET line = x'7b7d' WHERE type = 'settings.loaded'")
        found = lab.sees()
        assert found["ports"]
        assert found["writer"]


def test_a_database_that_is_gone_is_found(lab: Lab):
    lab.was_run()
    (lab.work / "db.sqlite").unlink()
    assert "has lines" in only(lab.sees(), "database", "fail").text


def test_a_database_of_an_unknown_format_is_found(lab: Lab):
    lab.was_run().sql("UPDATE log_head SET format = 99")
    found = lab.sees()
    assert "format 99, which this version does not know" in wrong(found)["database"][0]
    assert found["node"][0].status == "skipped"


def test_a_secret_key_that_is_gone_or_another_is_found(lab: Lab):
    file = lab.was_run().work / "secret.key"
    kept = file.read_bytes()
    for content, words in ((bytes(32), "cannot be read with"), (b"short", "has 5 bytes")):
        file.write_bytes(content)
        assert words in only(lab.sees(), "secrets", "fail").text
    file.unlink()
    assert "is missing" in only(lab.sees(), "secrets", "fail").text
    file.write_bytes(kept)


def test_a_ca_whose_keys_are_lost_is_found(lab: Lab):
    lab.was_run().sql("DELETE FROM secrets WHERE name = 'authority/lab'")
    assert "has no keys of it" in only(lab.sees(), "ca", "fail").text


def test_a_key_of_another_node_is_found(lab: Lab, tmp_path: Path):
    other = tmp_path / "other"
    other.mkdir()
    strange = Lab(other).was_run()
    lab.was_run()
    (lab.work / "keys/signing.pem").write_bytes((strange.work / "keys/signing.pem").read_bytes())
    assert "is known with kid" in only(lab.sees(), "journal", "fail").text
    (lab.work / "server_id").unlink()
    assert "is missing beside the journal" in only(lab.sees(), "node", "fail").text


@pytest.mark.parametrize(
    ("cut", "status", "words"),
    [(-30, "warn", "lacks 1 line at its end"), (0, "fail", "")],
)
def test_a_journal_that_was_cut_is_found(lab: Lab, cut: int, status: str, words: str):
    journal = lab.was_run().work / "audit.log"
    content = journal.read_bytes()
    if cut:
        journal.write_bytes(content[:cut])
    else:
        journal.write_bytes(content.replace(b'"node.registered"', b'"node.registeret"'))
    finding = only(lab.sees(), "journal", status)
    assert words in finding.text
    assert finding.remedy


def test_a_journal_that_was_changed_under_a_running_server_is_found(lab: Lab):
    with lab.running():
        journal = lab.work / "audit.log"
        kept = journal.read_bytes()
        *rest, last = kept.splitlines(keepends=True)
        said = []
        for changed in (last.replace(b"Z", b"z", 1), b"no line\n"):
            journal.write_bytes(b"".join(rest) + changed)
            said.append(only(lab.sees(), "journal", "fail").text)
        journal.write_bytes(kept)
    assert "is not that of the database" in said[0]
    assert said[1]


def test_another_node_with_the_writers_place_is_named(lab: Lab):
    with lab.running():
        (lab.folder / "own").mkdir()
        other = Lab(lab.folder / "own")
        text = other.file.read_text().replace(str(other.work / "db"), str(lab.work / "db"))
        other.file.write_text(text)
        found = other.sees()
    assert "has the writer's place: this one can stand by" in only(found, "writer", "ok").text


def test_a_taken_port_is_found(lab: Lab):
    with socket.create_server(("127.0.0.1", lab.port)):
        finding = only(lab.sees(), "ports", "fail")
    assert "Address already in use" in finding.text
    assert finding.remedy == "stop what listens there, or change server.listen"


def test_the_port_at_which_an_acme_server_looks_has_to_be_free(lab: Lab):
    port = free_port()
    settings = yaml.safe_load(lab.file.read_text())
    settings["tls-certificate-manager"] = {
        "acme": {"directory": "https://ca.test/dir", "http-addr": f"127.0.0.1:{port}"},
        "bundles": [{"name": "own", "mode": "acme", "hosts": ["127.0.0.1"]}],
    }
    lab.file.write_text(yaml.safe_dump(settings))
    found = lab.sees()
    [told] = [each for each in found["ports"] if "acme.http-addr" in each.text]
    assert (told.status, "can be listened on" in told.text) == ("ok", True)
    assert "https://ca.test/dir issues it" in only(found, "tls", "ok").text
    with socket.create_server(("127.0.0.1", port)):
        finding = only(lab.sees(), "ports", "fail")
    assert finding.remedy.endswith("change tls-certificate-manager.acme.http-addr")


def changed(found: dict[str, list[Finding]]) -> dict[str, str]:
    """Return the remedies for settings that are not in use, by the keys that are told."""
    start = "the running server has other settings than this file, which was changed since: "
    return {
        each.text.removeprefix(start): each.remedy
        for each in found["config"]
        if each.text.startswith(start)
    }


def test_a_file_that_was_changed_since_the_start_is_found(lab: Lab):
    with lab.running():
        assert changed(lab.sees()) == {}
        lab.file.write_text(lab.file.read_text().replace(".lab.test/3", ".lab.test/2"))
        told = changed(lab.sees())
    assert list(told) == ["issuance-policies"]
    assert told["issuance-policies"].startswith("have it read again: systemctl reload")


@pytest.mark.parametrize("key", ["server.listen", "admin.listen"])
def test_a_server_that_listens_elsewhere_until_a_restart_needs_one(lab: Lab, key: str):
    """After SIGHUP the log has the settings once more, with the address that stays in use."""
    before, after = {"server.listen": lab.port, "admin.listen": lab.admin}[key], free_port()
    with lab.running() as node:
        text = lab.file.read_text()
        lab.file.write_text(text.replace(f"127.0.0.1:{before}", f"127.0.0.1:{after}"))
        for again in (False, True):
            if again:
                node.reload(lambda used: reread(lab.file, used), logs.begin)
            found = lab.sees()
            assert wrong(found) == {}
            assert "it is ready" in only(found, "server", "ok").text
            moved = only(found, "ports", "warn")
            assert (
                f"{key}: the running server listens at 127.0.0.1:{before}, and this file says"
                f" 127.0.0.1:{after}"
            ) == moved.text
            assert moved.remedy.startswith("restart the server")
            told = changed(found)
            assert all(remedy.startswith("restart the server") for remedy in told.values())
            assert key in " ".join(told)


def test_certificates_in_files_are_judged(tmp_path: Path):
    make_server_certificate(tmp_path)
    lab = Lab(
        tmp_path,
        mode="files",
        certificate=str(tmp_path / "tls.pem"),
        key=str(tmp_path / "tls.key"),
    )
    now = datetime.now(UTC)  # noqa: TID251 - the test's
    soon = only(lab.sees(), "tls", "warn")
    assert "is valid until" in soon.text
    assert soon.remedy == "have it renewed; the server takes new files by itself"
    assert "has expired" in only(lab.sees(HeldClock(now + timedelta(days=3))), "tls", "fail").text
    early = lab.sees(HeldClock(now - timedelta(days=9)))
    assert "is not valid before" in only(early, "tls", "fail").text
    with lab.running():
        assert "the server shows it" in only(lab.sees(), "tls", "ok").text
        make_server_certificate(tmp_path)
        found = [each.text for each in lab.sees()["tls"] if each.status == "warn"]
    assert any("shows another one than the file has" in text for text in found)
    lab.file.write_text(
        lab.file.read_text()
        .replace("127.0.0.1:", "localhost:", 1)
        .replace('hosts: ["127.0.0.1"]', 'hosts: ["localhost"]')
    )
    assert "is not for localhost" in wrong(lab.sees())["tls"][0]


def test_a_server_that_is_not_ready_says_why(lab: Lab):
    with lab.running() as node:
        node.application.readiness.checks["journal"] = lambda: "the disk is full"
        found = lab.sees()
    assert only(found, "server", "fail").text == "journal: the disk is full"


# -- PostgreSQL ----------------------------------------------------------------------------------


def on_postgres(folder: Path, settings: DatabaseSettings) -> Lab:
    lab = Lab(folder)
    rows = lab.file.read_text().splitlines()
    rows = [row for row in rows if not row.startswith("  path:")]
    text = "\n".join(rows).replace("driver: sqlite", f'driver: postgres\n  dsn: "{settings.dsn}"')
    lab.file.write_text(text)
    return lab


def test_the_rights_of_the_databases_user_are_told(tmp_path: Path, postgres: Postgres):
    dsn = postgres.a_database()
    name = dsn.rpartition("/")[2]
    owner = on_postgres(tmp_path, settings_of(dsn)).was_run()
    found = owner.sees()
    assert wrong(found) == {}
    assert ", version " in only(found, "database", "ok").text
    assert "may UPDATE and DELETE on events" in only(found, "rights", "warn").text
    if not postgres.ask("SELECT 1 FROM pg_roles WHERE rolname = 'runs'"):
        postgres.ask("CREATE ROLE runs LOGIN")
    with closing(Store.open(settings_of(dsn))) as store:
        # What a DBA would run.
        for statement in store.script("", "runs").split(";\n"):
            if statement.strip():
                postgres.ask(statement, name)
    role = tmp_path / "role"
    role.mkdir()
    as_role = on_postgres(role, settings_of(postgres.dsn(name, "runs")))
    text = as_role.file.read_text().replace(str(role / "workdir"), str(owner.work))
    as_role.file.write_text(text)
    found = as_role.sees()
    assert "may read events and add to them, no more" in only(found, "rights", "ok").text
    postgres.ask("REVOKE INSERT ON events FROM runs", name)
    assert "may not INSERT on events" in only(as_role.sees(), "rights", "fail").text


def test_a_copy_of_the_database_that_may_lack_something_is_told(tmp_path: Path):
    pair = Pair(synchronous=False)
    try:
        lab = on_postgres(tmp_path, settings_of(pair.primary.dsn(pair.name))).was_run()
        seen = only(lab.sees(), "replication", "warn")
        assert "standby follows asynchronously" in seen.text
        assert "synchronous_standby_names" in seen.remedy
        if not pair.primary.ask("SELECT 1 FROM pg_roles WHERE rolname = 'blind'"):
            pair.primary.ask("CREATE ROLE blind LOGIN")
        with closing(Store.open(settings_of(pair.primary.dsn(pair.name, "blind")))) as store:
            assert [each.synchronous for each in store.replication().replicas] == [None]
        pair.primary.ask("ALTER SYSTEM SET synchronous_standby_names = standby")
        pair.primary.ask("SELECT pg_reload_conf()")
        pair.primary.wait(
            lambda: pair.primary.ask("SELECT sync_state FROM pg_stat_replication") == [("sync",)]
        )
        seen = only(lab.sees(), "replication", "ok")
        assert seen.text == "standby follows synchronously: a fail-over to it loses nothing"
        pair.stop_streaming()
        assert "no copy follows" in only(lab.sees(), "replication", "ok").text
    finally:
        pair.close()


def test_a_database_server_that_is_away_is_one_line(tmp_path: Path):
    lab = on_postgres(
        tmp_path, settings_of(f"postgresql://certeasy:geheim@127.0.0.1:{free_port()}/x")
    )
    found = lab.sees()
    assert "out of service" in only(found, "database", "fail").text
    assert found["node"][0].status == "skipped"
    assert "geheim" not in str(found)


# -- a CA of a domain ----------------------------------------------------------------------------


def test_a_ca_that_cannot_be_reached_is_told_with_its_steps(lab: Lab):
    (lab.folder / "password").touch(mode=0o600)
    (lab.folder / "password").write_text("Secret.123\n")
    text = lab.file.read_text()
    adcs = f"""type: adcs
    configuration:
      ca-name: LAB-CA
      host: 127.0.0.1
      certificate-template: AcmeServer
      auth: ntlm
      domain: lab.test
      user: svc-acme
      password-file: "{lab.folder}/password"
      domain-controllers: ["127.0.0.1"]
      endpoint-mapper-port: {free_port()}
      smb-port: {free_port()}
"""
    head, _, rest = text.partition("type: embedded")
    lab.file.write_text(head + adcs + "\n# What" + rest.partition("# What")[2])
    settings = lab.file.read_text()
    before, _, after = settings.partition("tls-certificate-manager:")
    lab.file.write_text(
        before.replace("server:\n", "server:\n  tls: false\n", 1)
        + "dns-validation-profiles:"
        + after.partition("dns-validation-profiles:")[2]
    )
    found = lab.sees()
    failed = [each.text for each in found["ca"] if each.status == "fail"]
    assert any(text.startswith("lab: ca-ports: 127.0.0.1:") for text in failed)
    assert "certeasy adcs check -f config.yml" in only(found, "ca", "skipped").text
