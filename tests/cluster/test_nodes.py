"""`certeasy node`: nodes come, are vouched for, and go; one after the other on one database."""

import os
import stat
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from certeasy.cli import group
from certeasy.settings import Settings
from events.envelope import parse
from events.signing import SigningKey
from journal.disk import OsDisk
from journal.lines import read_journal, segments
from journal.verify import verify
from tests.fakes.faults import no_space
from tests.make.checks import check_node
from tests.make.node import ANode, a_node, node_settings
from tests.make.postgres import Postgres, settings_of
from tests.make.workdirs import contents, refused, server_id, sql

STRANGER = SigningKey.from_seed(b"s" * 32).public.kid
NOBODY = "0badc0de-0000-4000-8000-000000000001"
CONFIG = """\
workdir: {folder}
server: {{url: [https://acme.lab.test], tls: false}}
database: {database}
secrets: {{key-file: {key_file}}}
dns-validation-profiles: [{{name: d, resolved-ip-policy: {{allow-cidrs: [10.0.0.0/8]}}}}]
authorities: [{{name: ca, type: embedded}}]
issuance-policies: [{{name: p, dns: {{allow: [.lab.test/2]}}}}]
"""


class Lab:
    """Two workdirs on one database; the first has served, the second has not been there yet."""

    def __init__(self, folder: Path, dsn: str = "") -> None:
        folder.mkdir(exist_ok=True)
        self.dsn = dsn
        self.one, self.two, self.three = (
            self._configured(folder / name) for name in ("one", "two", "three")
        )
        serve(self.one)

    def _configured(self, workdir: Path) -> Settings:
        shared = workdir.with_name("one") / "db.sqlite"
        settings = node_settings(workdir, database=shared)
        database = f"{{path: {shared}}}"
        if self.dsn:
            settings = msgspec.structs.replace(settings, database=settings_of(self.dsn))
            database = f"{{driver: postgres, dsn: '{self.dsn}'}}"
        config = CONFIG.format(
            folder=workdir, database=database, key_file=settings.secrets.key_file
        )
        workdir.with_suffix(".yml").write_text(config)
        return settings

    def run(self, on: Settings, *command: str, stdin: str = "") -> Result:
        """Type a command on a node; no error reaches the administrator as a traceback."""
        config = str(on.workdir.with_suffix(".yml"))
        result = CliRunner().invoke(group, ["node", *command, "-f", config], input=stdin)
        assert result.exception is None or isinstance(result.exception, SystemExit), result
        return result

    def done(self, on: Settings, *command: str, stdin: str = "") -> str:
        """Type a command that succeeds; return what it printed."""
        result = self.run(on, *command, stdin=stdin)
        assert result.exit_code == 0, result.output
        return result.stdout

    def refused(self, on: Settings, *command: str, stdin: str = "", code: int = 1) -> str:
        """Type a command that is refused in one line, and changes nothing; return that line."""
        folders = [settings.workdir for settings in (self.one, self.two, self.three)]
        before = contents(*folders)
        result = self.run(on, *command, stdin=stdin)
        assert (result.exit_code, result.stdout) == (code, ""), result.output
        assert contents(*folders) == before
        assert code == 2 or result.stderr.count("\n") == 1
        return result.stderr

    def check(self, *settings: Settings) -> None:
        """Look at everything: the journals prove that all these nodes are endorsed."""
        one, *others = [each.workdir for each in settings]
        check_node(one, *others, database=self.one.database.path)


def serve(settings: Settings) -> ANode:
    """Let a node start, work and stop."""
    with a_node(settings.workdir, settings=settings) as node:
        node.an_order()
    return node


def kid_of(settings: Settings) -> str:
    return SigningKey.from_pem((settings.workdir / "keys" / "signing.pem").read_bytes()).public.kid


def last_line(settings: Settings):
    return parse((settings.audit.path).read_bytes().splitlines()[-1])


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


# -- endorsement ---------------------------------------------------------------------------------


def test_a_second_node_starts_says_that_it_is_not_endorsed_and_is_endorsed_then(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    serve(lab.two)
    other, kid = server_id(lab.two.workdir), kid_of(lab.two)
    command = f"certeasy node endorse {other} {kid} -f config.yml"
    assert f"node {other} is not endorsed" in caplog.text
    assert f"type '{command}' on an endorsed node (node {server_id(lab.one.workdir)}" in caplog.text
    caplog.clear()
    assert "endorsed with" in lab.done(lab.one, "endorse", other, kid)
    assert last_line(lab.one).actor.kind == "administrator"
    assert "was endorsed" in lab.done(lab.one, "endorse", other, kid)
    serve(lab.two)
    assert "not endorsed" not in caplog.text
    lab.check(lab.one, lab.two)


def test_a_node_may_be_endorsed_before_it_comes(lab: Lab) -> None:
    serve(lab.two)
    other, kid = server_id(lab.two.workdir), kid_of(lab.two)
    third = SigningKey.from_seed(b"3" * 32)
    (lab.three.workdir / "keys").mkdir(parents=True)
    (lab.three.workdir / "keys" / "signing.pem").write_bytes(third.to_pem())
    (lab.three.workdir / "server_id").write_text(NOBODY)
    lab.done(lab.one, "endorse", NOBODY, third.public.kid)
    assert "already" in lab.done(lab.one, "endorse", NOBODY, third.public.kid)
    serve(lab.three)
    lab.done(lab.three, "endorse", other, kid)
    lab.check(lab.one, lab.two, lab.three)


def test_another_key_than_the_registered_one_is_not_endorsed(lab: Lab) -> None:
    serve(lab.two)
    other = server_id(lab.two.workdir)
    said = lab.refused(lab.one, "endorse", other, STRANGER)
    assert kid_of(lab.two) in said
    assert STRANGER in said


def test_only_an_endorsed_node_vouches_for_others(lab: Lab) -> None:
    serve(lab.two)
    for command in (
        ("endorse", NOBODY, STRANGER),
        ("invite",),
        ("retire", server_id(lab.one.workdir)),
    ):
        said = lab.refused(lab.two, *command)
        assert f"node {server_id(lab.two.workdir)} is not endorsed itself" in said


@pytest.mark.parametrize(
    "arguments", [("no-uuid", STRANGER), (NOBODY, "no-key"), (NOBODY.upper(),)]
)
def test_what_is_no_node_or_no_key_is_refused_on_the_command_line(
    lab: Lab, arguments: tuple[str, ...]
) -> None:
    lab.refused(lab.one, "endorse", *arguments, code=2)


def test_a_folder_without_a_node_is_left_alone(lab: Lab) -> None:
    assert "is no node's workdir yet" in lab.refused(lab.two, "endorse", NOBODY, STRANGER)
    assert not lab.two.workdir.exists()


# -- invitation ----------------------------------------------------------------------------------


def test_a_node_joins_with_a_token_and_is_endorsed(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    token = lab.done(lab.one, "invite")
    assert token.startswith("certeasy-join-")
    assert "has joined" in lab.done(lab.two, "join", stdin=token)
    assert "was endorsed already" in lab.done(lab.two, "join", stdin=token)
    serve(lab.two)
    assert "not endorsed" not in caplog.text
    lab.done(lab.two, "retire", server_id(lab.one.workdir))
    lab.check(lab.one, lab.two)
    for folder in (lab.one.workdir, lab.two.workdir):
        for content in contents(folder).values():
            assert isinstance(content, bytes)
            assert token.strip().encode() not in content, "a token is kept nowhere"


def test_a_node_that_came_without_a_token_may_join_later(lab: Lab, tmp_path: Path) -> None:
    serve(lab.two)
    file = tmp_path / "token"
    file.write_text(lab.done(lab.one, "invite", "--valid", "2h"))
    assert "has joined" in lab.done(lab.two, "join", str(file))
    lab.check(lab.one, lab.two)
    serve(lab.two)
    lab.check(lab.one, lab.two)


def test_a_token_is_good_once(lab: Lab) -> None:
    token = lab.done(lab.one, "invite")
    lab.done(lab.two, "join", stdin=token)
    result = lab.run(lab.three, "join", stdin=token)
    assert result.exit_code == 1
    assert f"was used by node {server_id(lab.two.workdir)}" in result.stderr
    assert "certeasy node invite" in result.stderr
    lab.check(lab.one, lab.two)


def test_a_token_expires(lab: Lab) -> None:
    token = lab.done(lab.one, "invite", "--valid", "1ms")
    result = lab.run(lab.two, "join", stdin=token)
    assert result.exit_code == 1
    assert "had expired at" in result.stderr


@pytest.mark.parametrize("valid", ["0", "24", "31d", "soon"])
def test_a_token_is_good_for_a_time_that_can_be_seen(lab: Lab, valid: str) -> None:
    lab.refused(lab.one, "invite", "--valid", valid, code=2)


def test_a_token_of_another_installation_is_not_good(lab: Lab, tmp_path: Path) -> None:
    other = Lab(tmp_path / "other")
    result = lab.run(lab.two, "join", stdin=other.done(other.one, "invite"))
    assert result.exit_code == 1
    assert "no endorsed node has made the invitation" in result.stderr


def test_a_token_is_not_taken_from_the_command_line(lab: Lab) -> None:
    token = lab.done(lab.one, "invite").strip()
    said = lab.refused(lab.two, "join", token, code=2)
    assert token not in said


@pytest.mark.parametrize("text", ["", "certeasy-join-", "certeasy-join-AAAA", "A" * 43, "\xff"])
def test_what_is_no_token_is_refused(lab: Lab, text: str) -> None:
    assert "that is no token" in lab.refused(lab.two, "join", stdin=text, code=2)
    assert "No such file" in lab.refused(lab.two, "join", "absent", code=2)


def test_the_first_node_needs_no_token(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    token = lab.done(lab.one, "invite")
    (tmp_path / "one" / "db.sqlite").rename(tmp_path / "away")
    for path in (tmp_path / "one").glob("db.sqlite-*"):
        path.unlink()
    result = lab.run(lab.two, "join", stdin=token)
    assert result.exit_code == 1
    assert "this database has no log yet" in result.stderr


# -- retirement ----------------------------------------------------------------------------------


@pytest.fixture
def two(lab: Lab) -> Lab:
    """A lab in which the second node has joined and worked."""
    lab.done(lab.two, "join", stdin=lab.done(lab.one, "invite"))
    serve(lab.two)
    return lab


def test_a_retired_node_does_not_start_again(two: Lab) -> None:
    gone = server_id(two.two.workdir)
    assert f"node {gone} is retired" in two.done(two.one, "retire", gone)
    said = refused(two.two, f"node {gone} was retired by node {server_id(two.one.workdir)}")
    assert last_line(two.one).envelope.at in said
    assert "was retired by" in two.refused(two.two, "rotate-key")
    assert "was retired already at" in two.done(two.one, "retire", gone)
    serve(two.one)
    two.check(two.one, two.two)


def test_a_node_that_is_retired_while_it_starts_does_not_get_the_place(two: Lab) -> None:
    gone = server_id(two.two.workdir)
    two.done(two.one, "retire", gone)
    sql(
        two.one.database.path,
        f"UPDATE events SET stream = 'elsewhere' WHERE stream = 'node/{gone}'"  # noqa: S608 - ours
        " AND type = 'node.retired'",
    )
    with pytest.raises(Exception, match=f"node {gone} was retired by"):
        ANode(two.two)


def test_a_node_does_not_retire_itself_nor_one_that_is_not_there(two: Lab) -> None:
    assert "cannot retire itself" in two.refused(two.one, "retire", server_id(two.one.workdir))
    assert f"no node {NOBODY}" in two.refused(two.one, "retire", NOBODY)


@pytest.mark.parametrize("place", ["a file", "a folder"])
def test_a_retired_node_s_journal_is_written_from_the_database(
    two: Lab, tmp_path: Path, place: str
) -> None:
    gone, to = server_id(two.two.workdir), tmp_path / "evidence"
    if place == "a folder":
        to.mkdir()
    two.done(two.two, "rotate-key")
    serve(two.two)
    two.done(two.one, "retire", gone, "--export", str(to))
    written = to / "audit.log" if place == "a folder" else to
    assert written.read_bytes() == two.two.audit.path.read_bytes()
    if os.name != "nt":
        assert stat.S_IMODE(written.stat().st_mode) == 0o600
    said = two.run(two.one, "retire", gone, "--export", str(to))
    assert said.exit_code == 1
    assert "is there already" in said.stderr
    again = tmp_path / "again"
    assert "was retired already" in two.done(two.one, "retire", gone, "--export", str(again))
    assert again.read_bytes() == written.read_bytes()


class FullDisk(OsDisk):
    """A disk that has no room for what it is given."""

    def write(self, descriptor: int, offset: int, data: bytes) -> int:
        """Say so."""
        raise no_space()


def test_a_full_disk_for_the_export_is_named_and_the_node_not_retired(
    two: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("certeasy.commit.gone.OsDisk", FullDisk)
    gone, to = server_id(two.two.workdir), tmp_path / "evidence"
    result = two.run(two.one, "retire", gone, "--export", str(to))
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert f"{to} cannot be written: no space left on device" in result.stderr
    assert result.stderr.endswith("; nothing was changed\n")
    assert not list(tmp_path.glob("*evidence*"))
    assert "retired" not in two.done(two.one, "list")


def test_what_the_node_did_not_sign_is_not_exported_and_the_node_not_retired(
    two: Lab, tmp_path: Path
) -> None:
    gone = server_id(two.two.workdir)
    sql(
        two.one.database.path,
        "UPDATE events SET line = replace(line, 'lab.test', 'bad.test')"  # noqa: S608 - ours
        f" WHERE server_id = '{gone}' AND type = 'order.created'",
    )
    result = two.run(two.one, "retire", gone, "--export", str(tmp_path / "evidence"))
    assert result.exit_code == 1
    assert "seq 4" in result.stderr
    assert not list(tmp_path.glob("*evidence*"))
    assert "endorsed" in two.done(two.one, "list")
    assert "retired" not in two.done(two.one, "list")


# -- list ----------------------------------------------------------------------------------------


def test_nodes_are_listed_beside_a_server_that_runs(two: Lab) -> None:
    serve(two.three)
    two.done(two.one, "retire", server_id(two.two.workdir))
    with a_node(two.one.workdir, settings=two.one) as node:
        listed = two.done(two.one, "list")
        rows = msgspec.json.decode(two.done(two.one, "list", "--json"))
        assert node.committer.stopped is None
    found = {row["server_id"]: row for row in rows}
    mine, gone, new = (found[server_id(each.workdir)] for each in (two.one, two.two, two.three))
    assert [row["endorsed"] for row in (mine, gone, new)] == [True, True, False]
    assert [row["kid"] for row in (mine, gone, new)] == [
        kid_of(each) for each in (two.one, two.two, two.three)
    ]
    assert (gone["retired_by"], mine["retired_by"]) == (mine["server_id"], "")
    assert f"retired {gone['retired']} by {mine['server_id']}" in listed
    assert f"key {new['kid']}  NOT ENDORSED" in listed


def test_where_there_is_no_database_there_is_no_list(lab: Lab) -> None:
    lab.one.database.path.unlink()
    assert "there is no database at" in lab.refused(lab.two, "list")


# -- all of it -----------------------------------------------------------------------------------


def audit(on: Settings, *command: str) -> Result:
    config = str(on.workdir.with_suffix(".yml"))
    return CliRunner().invoke(group, ["audit", *command, "-f", config])


def test_an_auditor_proves_whatever_was_done_to_nodes(two: Lab) -> None:
    begun_by = kid_of(two.one)
    two.done(two.one, "rotate-key")
    serve(two.three)
    third = server_id(two.three.workdir)
    failed = audit(two.one, "verify")
    assert failed.exit_code == 1
    assert f"node {third} signs with key {kid_of(two.three)}, which no" in failed.stderr
    assert audit(two.one, "verify", "--trust", kid_of(two.three)).exit_code == 0
    listed = audit(two.one, "list-servers").stdout
    assert f"certeasy node endorse {third} {kid_of(two.three)}" in listed
    two.done(two.two, "endorse", third, kid_of(two.three))
    two.done(two.three, "rotate-key")
    serve(two.one)
    two.done(two.three, "retire", server_id(two.two.workdir))
    for on in (two.one, two.three):
        for journals in ((), ("--journal", str(two.two.workdir))):
            proven = audit(on, "verify", *journals, "--anchor", begun_by)
            assert proven.exit_code == 0, proven.output
    keys = msgspec.json.decode(audit(two.one, "keys").stdout)["keys"]
    assert len(keys) == len({key["kid"] for key in keys}) == 5
    two.check(two.one, two.two, two.three)


def test_nodes_come_change_keys_and_go_on_postgresql(tmp_path: Path, postgres: Postgres) -> None:
    lab = Lab(tmp_path / "lab", postgres.a_database())
    lab.done(lab.two, "join", stdin=lab.done(lab.one, "invite"))
    serve(lab.two)
    lab.done(lab.two, "rotate-key")
    serve(lab.two)
    serve(lab.three)
    third, kid = server_id(lab.three.workdir), kid_of(lab.three)
    lab.done(lab.two, "endorse", third, kid)
    gone = server_id(lab.two.workdir)
    lab.done(lab.one, "retire", gone, "--export", str(tmp_path / "gone.log"))
    assert (tmp_path / "gone.log").read_bytes() == lab.two.audit.path.read_bytes()
    assert f"node {gone} was retired" in lab.refused(lab.two, "rotate-key")
    rows = msgspec.json.decode(lab.done(lab.one, "list", "--json"))
    assert [row["endorsed"] for row in rows] == [True] * 3
    assert {row["server_id"] for row in rows if row["retired"]} == {gone}
    nodes = (lab.one, lab.two, lab.three)
    proof = verify([read_journal(segments(each.audit.path)) for each in nodes])
    assert [(node.kid, node.trusted) for node in proof.nodes] == [(kid_of(n), True) for n in nodes]
    proven = audit(lab.one, "verify")  # the other nodes' lines from the database
    assert proven.exit_code == 0, proven.output
    assert "  retired 20" in audit(lab.one, "list-servers").stdout
