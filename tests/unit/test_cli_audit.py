"""`certeasy audit` as it is typed: what it prints, and how it exits."""

import sqlite3
import subprocess
import sys
from contextlib import closing

import msgspec
import pytest

from events.nodes import NodeRegistered
from tests.make.audited import both, laid_out, run
from tests.make.journals import ALog, ANode, a_log

KEYLESS = ("sqlalchemy", "falcon", "jwcrypto", "waitress", "impacket", "yaml", "rich", "dns")


@pytest.fixture
def log():
    log = a_log(nodes=2)
    log.an_order("web.corp.internal")
    log.a_start(by=1)
    return log


@pytest.fixture
def folder(log, tmp_path):
    """Two journals, `keys.json`, a head, and a configured node with its database in `work`."""
    return laid_out(log, tmp_path)


def test_journals_and_keys_are_enough(folder, log):
    result = run("verify", *both(folder), "--keys", folder / "keys.json")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{log.position} lines, positions 1 to {log.position}, 2026-11")
    assert f"anchor {log.nodes[0].key.public.kid} (as given)" in result.stdout
    assert result.stdout.endswith("verified\n")
    assert result.stderr == ""


def test_without_keys_the_anchor_is_told_to_be_compared(folder):
    result = run("verify", *both(folder))
    assert result.exit_code == 0
    assert "as the log itself says; compare it, or give --keys" in result.stdout


def test_a_configured_node_is_verified_with_its_database(folder, log):
    result = run("verify", "-f", folder / "config.yml")
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"{log.position} lines" in result.stdout
    assert "db.sqlite: every row is the line that was signed" in result.stdout


def test_a_summary_can_be_json(folder, log):
    result = run("verify", *both(folder), "--json")
    summary = msgspec.json.decode(result.stdout)
    assert (summary["lines"], summary["complete"]) == (log.position, True)
    assert len(summary["nodes"]) == 2


def test_a_break_is_told_in_one_line(folder):
    journal = folder / "node1" / "audit.log"
    journal.write_bytes(journal.read_bytes().replace(b'"active-active"', b'"single-single"'))
    result = run("verify", *both(folder), "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"{journal}:1: seq 1: the line was changed")
    assert result.stderr.count("\n") == 1


def test_some_journals_are_verified_on_demand(folder):
    one = ["verify", "--journal", folder / "node1"]
    assert run(*one).exit_code == 1
    result = run(*one, "--partial")
    assert result.exit_code == 0
    assert "with gaps (--partial)" in result.stdout


def test_a_node_that_nobody_endorsed_can_be_trusted(tmp_path):
    log = a_log()
    kid = log.a_node(endorsed=False).key.public.kid
    log.write(tmp_path)
    assert "no trusted node has endorsed" in run("verify", *both(tmp_path)).stderr
    assert run("verify", *both(tmp_path), "--trust", kid).exit_code == 0
    assert run("verify", *both(tmp_path), "--anchor", kid).exit_code == 1
    result = run("keys", *both(tmp_path))
    assert len(msgspec.json.decode(result.stdout)["keys"]) == 1
    assert f"left out key {kid}" in result.stderr
    result = run("keys", *both(tmp_path), "--all")
    assert len(msgspec.json.decode(result.stdout)["keys"]) == 2
    assert result.stderr == ""


def test_a_file_without_a_head_pins_nothing_and_says_so(folder):
    pinned = folder / "empty.json"
    pinned.write_text("\n")
    result = run("verify", *both(folder), "--pinned", pinned)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "empty.json: there is no head in it: nothing would be pinned" in result.stderr


@pytest.mark.parametrize("source", ["journals", "config"])
def test_a_head_that_was_printed_is_pinned(folder, source):
    given = both(folder) if source == "journals" else ["-f", folder / "config.yml"]
    result = run("head", *given)
    assert (result.exit_code, result.stdout.count("\n")) == (0, 1)
    pinned = folder / "heads.json"
    pinned.write_text(result.stdout * 2)
    checked = run("verify", *given, "--pinned", pinned)
    assert "2 pinned heads are in the log" in checked.stdout
    pinned.write_text(result.stdout)
    checked = run("verify", *given, "--pinned", pinned)
    assert "1 pinned head is in the log" in checked.stdout
    journal = folder / "node2" / "audit.log"
    journal.write_bytes(journal.read_bytes().splitlines(keepends=True)[0])
    cut = run("verify", *both(folder), "--pinned", pinned)
    assert cut.exit_code == 1
    assert "the log's end was cut off or rolled back" in cut.stderr


@pytest.mark.parametrize("source", ["journals", "config"])
def test_keys_and_servers_are_listed(folder, log, source):
    given = both(folder) if source == "journals" else ["-f", folder / "config.yml"]
    keys = msgspec.json.decode(run("keys", *given).stdout)["keys"]
    assert keys == [node.key.public.jwk() for node in log.nodes]
    servers = msgspec.json.decode(run("list-servers", *given, "--json").stdout)
    assert [server["server_id"] for server in servers] == [
        node.server_id for node in reversed(log.nodes)
    ]
    listed = run("list-servers", *given).stdout.splitlines()
    assert listed[0].startswith(f"{log.nodes[1].server_id}  node2.corp.internal  first seen 2026-")


@pytest.mark.parametrize("source", ["journals", "config"])
def test_nodes_that_changed_came_unasked_and_went_are_listed_so(tmp_path, source):
    log = a_log(nodes=2)
    log.a_key_rotation(by=1)
    log.a_start(by=1)
    log.a_retirement(1)
    log.a_node(endorsed=False)
    laid_out(log, tmp_path)
    paths = [tmp_path / f"node{n}" for n in (1, 2, 3)]
    given = [part for path in paths for part in ("--journal", path)]
    if source == "config":
        given = ["-f", tmp_path / "config.yml"]
    result = run("keys", *given, "--all")
    assert msgspec.json.decode(result.stdout) == msgspec.json.decode(log.key_set())
    listed = run("list-servers", *given, "--json")
    found = {row["server_id"]: row for row in msgspec.json.decode(listed.stdout)}
    first, second, third = (found[node.server_id] for node in log.nodes)
    assert [row["endorsed"] for row in (first, second, third)] == [True, True, False]
    assert [bool(row["retired"]) for row in (first, second, third)] == [False, True, False]
    text = run("list-servers", *given).stdout
    assert f"'certeasy node endorse {third['server_id']} {third['kid']} -f config.yml'" in text
    assert f"retired {log.records[-2].envelope.at}" in text
    proven = run("verify", *given, "--trust", third["kid"]).stdout
    assert f"(earlier {log.nodes[1].given_up[0].public.kid})" in proven


def test_an_anchor_that_the_workdir_s_node_gave_up_is_said_so(tmp_path):
    log = a_log()
    log.a_key_rotation()
    laid_out(log, tmp_path)
    work = tmp_path / "work"
    (work / "server_id").write_text(log.nodes[0].server_id)
    (work / "keys").mkdir()
    (work / "keys" / "signing.pem").write_bytes(log.nodes[0].key.to_pem())
    result = run("verify", "-f", tmp_path / "config.yml")
    assert "which this workdir's node has given up for its present key" in result.stdout


def test_an_order_s_story_is_told(folder, log):
    text = run("show", "name", "web.corp.internal", *both(folder))
    assert text.exit_code == 0
    assert "ordered a certificate for web.corp.internal under policy default" in text.stdout
    assert "[sealed]" in text.stdout
    clear = run("show", "name", "web.corp.internal", "-f", folder / "config.yml", "--json")
    entries = msgspec.json.decode(clear.stdout)
    assert "192.0.2.7" in entries[0]["actor"]["clear"]
    for_people = run("show", "name", "web.corp.internal", "-f", folder / "config.yml").stdout
    assert for_people.count("192.0.2.7") == 1
    assert f"[as in #{entries[0]['position']}]" in for_people
    assert len(entries) == len(text.stdout.splitlines())
    nothing = run("show", "name", "nobody.corp.internal", *both(folder))
    assert nothing.exit_code == 1
    assert "the log says nothing about name nobody.corp.internal" in nothing.stderr
    unsaid = run("show", "name", *both(folder))
    assert (unsaid.exit_code, "give its VALUE" in unsaid.stderr) == (2, True)
    none = run("show", "license", *both(folder))
    assert (none.exit_code, "says nothing about license\n" in none.stderr) == (1, True)
    wrong = run("show", "serial", "not\x1b[2Jhex", *both(folder))
    said = "certeasy: not\\x1b[2Jhex is no serial number in hex, such as 0a1b2c or 0A:1B:2C\n"
    assert (wrong.exit_code, wrong.stderr) == (2, said)


def test_a_log_is_replayed_into_a_new_file_only(folder, log):
    output = folder / "log.sqlite"
    arguments = ["replay", *both(folder), "--keys", folder / "keys.json", "--output", output]
    result = run(*arguments)
    assert result.stdout.startswith(f"{output}: {log.position} events folded, as of position")
    assert output.stat().st_size > 0
    again = run(*arguments)
    assert (again.exit_code, again.stderr) == (2, f"certeasy: {output} exists already\n")
    output.unlink()
    journal = folder / "node1" / "audit.log"
    journal.write_bytes(journal.read_bytes()[:-9])
    assert run(*arguments).exit_code == 1
    assert not output.exists()


def test_an_empty_journal_proves_nothing_and_says_so(tmp_path):
    (tmp_path / "audit.log").write_bytes(b"")
    result = run("verify", "--journal", tmp_path)
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr == "certeasy: nothing is proven: the log is empty\n"
    result = run("verify", "--journal", tmp_path, "--json")
    assert (result.exit_code, msgspec.json.decode(result.stdout)["lines"]) == (3, 0)
    assert "verified" not in result.output
    result = run("head", "--journal", tmp_path)
    assert (result.exit_code, result.stderr) == (1, "certeasy: the log is empty\n")
    for command in ("keys", "list-servers"):
        assert run(command, "--journal", tmp_path).exit_code == 0


def test_an_empty_journal_is_not_what_a_given_key_has_begun(folder, log, tmp_path):
    empty = tmp_path / "empty.log"
    empty.write_bytes(b"")
    for option in (
        ("--keys", folder / "keys.json"),
        ("--anchor", log.nodes[0].key.public.kid),
        ("--anchor", "x" * 43),
    ):
        for command in (("verify",), ("verify", "--json")):
            result = run(*command, "--journal", empty, *option)
            assert (result.exit_code, result.stdout) == (1, "")
            assert "the log: is empty, but a key was given that must have begun it" in result.stderr
    replayed = tmp_path / "replayed.sqlite"
    arguments = ("--journal", empty, "--keys", folder / "keys.json", "--output", replayed)
    assert run("replay", *arguments).exit_code == 1
    assert not replayed.exists()
    result = run("verify", "--journal", empty, "--trust", log.nodes[0].key.public.kid)
    assert result.exit_code == 3


HURT = {
    "a line made text": "UPDATE events SET line = CAST(line AS TEXT)",
    "a line that is none": "UPDATE events SET line = x'00'",
    "a number for a line": "UPDATE events SET line = 7",
    "a text for a line": "UPDATE events SET line = 'x'",
    "a position that is text": "UPDATE events SET position = 'a' || position",
    "a stream of bytes": "UPDATE events SET stream = x'ff' WHERE position = 5",
    "a text that is none": "UPDATE events SET type = CAST(x'ff' AS TEXT)",
    "a huge line": "UPDATE events SET line = zeroblob(2000000)",
    "no events": "DELETE FROM events",
    "no table of events": "DROP TABLE events",
    "a head that is text": "UPDATE log_head SET position = 'abc'",
    "a head that is bytes": "UPDATE log_head SET hash = x'00ff'",
    "a head that is no text": "UPDATE log_head SET at = CAST(x'ff' AS TEXT)",
    "a head beyond": "UPDATE log_head SET position = 99",
    "no head": "DELETE FROM log_head",
    "no table of heads": "DROP TABLE log_head",
    "a server's seq": "UPDATE servers SET seq = 'abc'",
    "a server's half seq": "UPDATE servers SET seq = 1.5",
    "a server of bytes": "UPDATE servers SET last_seen = x'ff', hostname = x'00'",
    "a server's key": "UPDATE servers SET x = char(27) || 'x', kid = char(27)",
    "no table of servers": "DROP TABLE servers",
    "a node's key": "UPDATE node_keys SET x = 'x'",
    "a node's key of bytes": "UPDATE node_keys SET x = x'ff'",
    "another node's key": "UPDATE node_keys SET x = (SELECT min(x) FROM node_keys)",
    "a node's host": "UPDATE nodes SET hostname = x'ff'",
    "no table of nodes": "DROP TABLE nodes",
    "an order's name": "UPDATE order_names SET order_id = x'ff'",
    "a subject's key": "UPDATE subject_keys SET key = 5",
    "a subject's short key": "UPDATE subject_keys SET key = x'00'",
}


@pytest.mark.parametrize("statement", HURT.values(), ids=HURT)
def test_no_database_leads_to_a_traceback(folder, statement):
    with closing(sqlite3.connect(folder / "work" / "db.sqlite", isolation_level=None)) as hurt:
        hurt.execute(statement)
    codes = {}
    for command in (
        *(("verify",), ("verify", "--json"), ("head",), ("keys",), ("list-servers",)),
        *(("list-servers", "--json"), ("show", "name", "web.corp.internal")),
    ):
        result = run(*command, "-f", folder / "config.yml")
        assert result.exit_code in (0, 1)
        assert (result.exit_code == 1) == (result.stderr != "")
        assert result.output.replace("\n", "").isprintable()
        codes[command] = result.exit_code
    # The tables beside the log, and those that were folded from it, are for `projections check`.
    beside = ("nodes", "node_keys", "order_names", "subject_keys")
    assert (
        codes["verify",] == codes["verify", "--json"] == (not any(n in statement for n in beside))
    )
    assert 1 in codes.values() or "key = x" in statement


def test_a_node_s_key_in_a_journal_may_be_none(tmp_path):
    log = ALog()
    log.nodes.append(ANode(1))
    log.say(NodeRegistered("i", log.nodes[0].server_id, "host", "k", "x"), "node/1")
    log.write(tmp_path)
    for command in (("verify",), ("keys",), ("keys", "--all")):
        result = run(*command, "--journal", tmp_path / "node1")
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)


def test_a_configured_node_s_lines_are_held_against_its_own_key(folder, log):
    keys = folder / "work" / "keys"
    keys.mkdir()
    (keys / "signing.pem").write_bytes(log.nodes[0].key.to_pem())
    result = run("verify", "-f", folder / "config.yml")
    assert result.exit_code == 0
    assert f"anchor {log.nodes[0].key.public.kid} (the key in this workdir)" in result.stdout
    (keys / "signing.pem").write_bytes(log.nodes[1].key.to_pem())
    result = run("verify", "-f", folder / "config.yml")
    assert (result.exit_code, result.stdout) == (1, "")
    for node in log.nodes:
        assert node.key.public.kid in result.stderr


@pytest.mark.parametrize("command", ["verify", "keys", "head", "list-servers"])
def test_a_command_line_without_a_journal_is_wrong(tmp_path, command):
    assert run(command).exit_code == 2
    assert run(command, "--journal", tmp_path / "none").exit_code == 2
    assert run(command, "--journal", tmp_path).exit_code == 2
    assert run(command, "--what").exit_code == 2


@pytest.mark.parametrize("rubbish", [b"\0" * 100, b"\xff\xfe\n", b"[" * 90_000 + b"\n", b"{}\n"])
def test_binary_rubbish_is_told_without_a_traceback(tmp_path, rubbish):
    path = tmp_path / "audit.log"
    path.write_bytes(rubbish)
    result = run("verify", "--journal", path)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"{path}:1: ")
    assert result.stderr.count("\n") == 1
    for option in ("--keys", "--pinned"):
        result = run("verify", "--journal", path, option, path)
        assert result.exit_code == 2
        assert result.stderr.startswith(f"certeasy: {path}: ")


def test_files_that_are_not_there_are_told(folder):
    for option in ("--keys", "--pinned"):
        result = run("verify", *both(folder), option, folder / "none")
        assert result.exit_code == 2
        assert result.stderr == f"certeasy: {folder}/none: No such file or directory\n"
    assert run("verify", *both(folder), "--keys", folder).exit_code == 2
    (folder / "work" / "db.sqlite").write_bytes(b"rubbish")
    assert run("verify", "-f", folder / "config.yml").exit_code == 1
    (folder / "work" / "db.sqlite").unlink()
    result = run("verify", "-f", folder / "config.yml")
    assert result.exit_code == 1
    assert "there is no database at" in result.stderr
    packed = run("export", "-f", folder / "config.yml", "--out", folder / "packed")
    assert packed.exit_code == 1
    assert "the first 'certeasy serve -f " in packed.stderr
    assert run("head", "-f", folder / "config.yml").exit_code == 0
    (folder / "work" / "audit.log").unlink()


@pytest.mark.parametrize(
    "words",
    [
        ("verify",),
        ("show", "name", "web.corp.internal"),
        ("keys",),
        ("head",),
        ("list-servers",),
        ("replay", "--out", "state.sqlite"),
        ("export", "--out", "evidence.zip"),
    ],
    ids=lambda words: words[0],
)
def test_a_configuration_that_no_server_has_run_with_is_a_wrong_command_line(folder, words):
    config = folder / "config.yml"
    (folder / "work" / "db.sqlite").unlink()
    (folder / "work" / "audit.log").unlink()
    result = run(*words, "-f", config)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert f"'certeasy serve -f {config}'" in result.stderr


def test_a_journal_that_is_gone_beside_its_database_is_a_break_with_a_remedy(folder):
    config = folder / "config.yml"
    (folder / "work" / "audit.log").unlink()
    result = run("verify", "-f", config)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"'certeasy journal refill -f {config} --reason WHY' writes it again" in result.stderr


def test_an_auditor_needs_none_of_the_server_s_libraries(folder):
    program = (
        "import sys\n"
        "from certeasy.cli import main\n"
        "try:\n    main()\nfinally:\n"
        f"    print(sorted(set(sys.modules) & set({KEYLESS!r})), file=sys.stderr)"
    )
    command = [sys.executable, "-c", program, "audit", "verify", *map(str, both(folder))]
    done = subprocess.run(
        [*command, "--keys", str(folder / "keys.json")],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert (done.returncode, done.stderr) == (0, "[]\n")
    assert done.stdout.endswith("verified\n")
