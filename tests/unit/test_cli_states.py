"""`audit replay`, `projections export` and `audit diff`, as they are typed."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from events.license import LicenseStateChanged
from tests.make.audited import both, certeasy, laid_out, run
from tests.make.journals import a_log
from tests.make.stories import a_license, every_story


@pytest.fixture
def log():
    log = a_log(nodes=2)
    every_story(log)
    log.an_order("mail.corp.internal", by=1)
    return log


@pytest.fixture
def folder(log, tmp_path):
    return laid_out(log, tmp_path)


@pytest.fixture
def states(folder):
    """A replay of the journals and an export of the database."""
    replayed, live = folder / "replayed.sqlite", folder / "live.sqlite"
    keys = ("--keys", folder / "keys.json")
    assert run("replay", *both(folder), *keys, "--out", replayed).exit_code == 0
    exported = certeasy("projections", "export", "-f", folder / "config.yml", "--out", live)
    assert exported.exit_code == 0, exported.output
    return replayed, live


def change(path, *statements):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount != 0


def test_the_tables_in_use_are_those_that_the_journals_make(states, log):
    result = run("diff", *states)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"equal: every row, as of position {log.position}\n"


def test_the_auditors_query_finds_the_certificates_in_force(states):
    page = Path(__file__).resolve().parents[2] / "docs/auditors.md"
    [query] = re.findall(r'sqlite3 \S+ "(SELECT .*)"', page.read_text(encoding="utf-8"))
    for path in states:
        with closing(sqlite3.connect(path)) as connection:
            found = {row[0] for row in connection.execute(query)}
            every = dict(connection.execute("SELECT id, revoked FROM certificates"))
        assert found == {one for one, revoked in every.items() if not revoked}
        assert 0 < len(found) < len(every)


def test_replay_and_export_write_the_same_file(states):
    made = []
    for path in states:
        with closing(sqlite3.connect(path)) as connection:
            made.append(connection.execute("SELECT * FROM sqlite_master ORDER BY 1, 2").fetchall())
    assert [row[:3] + row[4:] for row in made[0]] == [row[:3] + row[4:] for row in made[1]]


def test_each_row_that_differs_is_named(states):
    replayed, live = states
    change(
        live,
        "DELETE FROM certificates WHERE id = (SELECT max(id) FROM certificates)",
        "UPDATE orders SET body = CAST(replace(CAST(body AS TEXT), 'invalid', 'valid') AS BLOB)"
        " WHERE id = (SELECT max(id) FROM orders WHERE status = 'invalid')",
        "UPDATE nodes SET hostname = 'evil' WHERE hostname LIKE 'node2.%'",
        "INSERT INTO order_names SELECT 'evil.corp.internal', order_id FROM order_names LIMIT 1",
    )
    result = run("diff", *states)
    lines = result.stdout.splitlines()
    assert (result.exit_code, len(lines)) == (1, 4)
    assert [line.split()[0] for line in lines] == ["certificates", "nodes", "order_names", "orders"]
    assert lines[0].endswith(f": only in {replayed}")
    assert lines[1].endswith(": differs in hostname")
    assert lines[2].endswith(f": only in {live}")
    assert "evil.corp.internal" in lines[2]
    assert lines[3].endswith(": differs in body.status")
    backwards = msgspec.json.decode(run("diff", live, replayed, "--json").stdout)
    assert backwards["equal"] is False
    found = [(d["table"], d.get("only_in"), d.get("columns")) for d in backwards["differences"]]
    assert found == [
        ("certificates", str(replayed), None),
        ("nodes", None, ["hostname"]),
        ("order_names", str(live), None),
        ("orders", None, ["body.status"]),
    ]


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("DROP TABLE accounts", "table accounts: only in {replayed}"),
        ("CREATE TABLE more (a)", "table more: only in {live}"),
        ("ALTER TABLE jobs ADD COLUMN more", "table jobs: differs in more"),
        ("UPDATE as_of SET hash = 'x'", "table as_of: differs in hash"),
        ("UPDATE accounts SET body = x'ff'", " differs in body"),
    ],
)
def test_what_is_not_of_the_same_make_is_named(states, statement, told):
    replayed, live = states
    change(live, statement)
    result = run("diff", *states)
    assert result.exit_code == 1
    assert told.format(replayed=replayed, live=live) in result.stdout


def test_values_of_any_kind_are_compared(states):
    replayed, live = states
    change(
        live,
        "UPDATE accounts SET id = x'00ff' WHERE id = (SELECT max(id) FROM accounts)",
        "UPDATE nodes SET hostname = x'41'",
    )
    change(replayed, "UPDATE nodes SET hostname = CAST(x'ff' AS TEXT)")
    result = run("diff", *states)
    assert result.exit_code == 1
    assert "accounts 00ff: only in" in result.stdout
    assert result.stdout.isascii()


def test_states_of_different_positions_are_compared_only_on_demand(folder, log, states):
    earlier = folder / "earlier.sqlite"
    result = run(
        "replay", *both(folder), "--position", log.position - 1, "--out", earlier, "--json"
    )
    answer = msgspec.json.decode(result.stdout)
    assert answer["folded"] == answer["as_of"]["position"] == log.position - 1
    assert answer["proof"]["lines"] == log.position
    result = run("diff", earlier, states[1])
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"as of position {log.position - 1}, " in result.stderr
    assert "--ignore-position" in result.stderr
    result = run("diff", earlier, states[1], "--ignore-position")
    assert result.exit_code == 1
    assert "certificates " in result.stdout
    assert "as_of" not in result.stdout


def test_states_of_another_fold_are_not_compared(states):
    change(states[1], "UPDATE as_of SET projections = 99")
    result = run("diff", *states, "--ignore-position")
    assert result.exit_code == 2
    assert "projections of version 99" in result.stderr or "of 99" in result.stderr


def test_what_is_no_state_is_told(folder, states):
    (folder / "rubbish").write_bytes(b"rubbish" * 1000)
    for file in ("none", "rubbish", "work/db.sqlite"):
        for pair in ((states[0], folder / file), (folder / file, states[0])):
            result = run("diff", *pair)
            assert (result.exit_code, result.stdout) == (2, "")
            assert result.stderr.count("\n") == 1
    change(states[0], "DELETE FROM as_of")
    assert "does not say what it is a state of" in run("diff", *states).stderr


def test_a_position_and_a_time_are_not_given_together(folder):
    output = folder / "state.sqlite"
    result = run(
        "replay", *both(folder), "--position", 1, "--at", "2026-11-24T18:30:00Z", "--out", output
    )
    assert (result.exit_code, "not both" in result.stderr) == (2, True)
    result = run("replay", *both(folder), "--at", "yesterday", "--out", output)
    assert result.exit_code == 2
    assert "such as 2026-11-24T18:30:00Z" in result.stderr
    assert not output.exists()


def test_a_replay_proves_as_verify_does(folder, log):
    kid, other = (node.key.public.kid for node in log.nodes)
    output = folder / "state.sqlite"
    replay = ("replay", *both(folder), "--output", output)
    assert run(*replay, "--anchor", other).exit_code == 1
    (folder / "heads").write_bytes(b'{"position":1,"server_id":"x","seq":1,"hash":"","jws":""}')
    assert "another line was pinned" in run(*replay, "--pinned", folder / "heads").stderr
    (folder / "one.json").write_bytes(
        msgspec.json.encode({"keys": [log.nodes[1].key.public.jwk()]})
    )
    assert run(*replay, "--keys", folder / "one.json").exit_code == 1
    assert run("replay", "--journal", folder / "node1", "--output", output).exit_code == 1
    assert not output.exists()
    assert run(*replay, "--anchor", kid, "--trust", other).exit_code == 0


def test_an_export_writes_over_nothing(folder, states):
    export = ("projections", "export", "-f", folder / "config.yml")
    before = states[1].read_bytes()
    result = certeasy(*export, "--out", states[1])
    assert (result.exit_code, result.stderr) == (2, f"certeasy: {states[1]} exists already\n")
    assert states[1].read_bytes() == before
    result = certeasy(*export, "--out", folder / "more.sqlite", "--json")
    assert msgspec.json.decode(result.stdout)["as_of"]["position"] > 0
    (folder / "work" / "db.sqlite").unlink()
    assert certeasy(*export, "--out", folder / "none.sqlite").exit_code == 1
    assert not (folder / "work" / "db.sqlite").exists()


# -- limits ----------------------------------------------------------------------------------------


@pytest.fixture
def counting(tmp_path):
    """A replay of a log in which limits have something to count."""
    log = a_log(nodes=2)
    account, other = log.an_account(), log.an_account()
    log.an_order("b.test", "a.test", account=account)
    log.an_order("a.test", "b.test", account=other)
    revoked = log.an_order("c.test", account=other)
    log.a_revocation(revoked)
    log.a_submitted_order("d.test", account=account)
    for _ in range(2):
        log.a_failed_order("down.test", account=other)
    log.a_new_order("e.test", "f.test", account=other)
    log.say(a_license("7", expires="2027-11-01T00:00:00Z"), "license")
    log.say(LicenseStateChanged("", "valid", "license install"), "license")
    folder = laid_out(log, tmp_path)
    path = folder / "state.sqlite"
    keys = ("--keys", folder / "keys.json")
    assert run("replay", *both(folder), *keys, "--out", path).exit_code == 0
    return path, log, account, other


def test_what_limits_count_is_shown_as_it_stood(counting):
    path, log, account, other = counting
    result = run("limits", path)
    assert (result.exit_code, result.stderr) == (0, "")
    first, *lines = result.stdout.splitlines()
    at = log.records[-1].envelope.at
    assert first == f"{path}: as of position {log.position}, {at}"
    told = [line.partition(", the last")[0].partition(", until 2")[0] for line in lines]
    assert told[0].startswith("license: valid since 2026-")
    assert told[1:] == [
        f"license: {'7' * 26}, plan starter",
        "a.test, b.test: 2 certificates",
        "d.test: 1 certificate",
        f"account {other}, down.test: 2 failures",
        f"account {other}: 2 pending authorizations",
        f"account {account}: a managed server, with an order at its authority",
        f"account {other}: a managed server",
    ]


def test_what_limits_count_is_told_as_json(counting):
    path, log, account, other = counting
    found = msgspec.json.decode(run("limits", path, "--json").stdout)
    assert found["as_of"]["position"] == log.position
    assert found["license"]["managed_servers"] == 25
    assert [(each["names"], "not_after" in each) for each in found["certificates"]] == [
        (["a.test", "b.test"], True),
        (["a.test", "b.test"], True),
        (["d.test"], False),
    ]
    assert {each["account_id"] for each in found["failures"]} == {other}
    assert [each["authorizations"] for each in found["pending"]] == [2]
    assert [each["account_id"] for each in found["seats"]] == [account, other]


def test_what_has_ended_by_then_does_not_count(counting):
    path, *_ = counting
    change(path, "UPDATE as_of SET at = '2027-12-01T00:00:00.000000Z'")
    told = run("limits", path).stdout
    assert "pending" not in told
    assert told.count("managed server") == 1, "one has an order at its authority"
    assert "2 failures" in told


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE as_of SET projections = 1", "has projections of version 1, this version reads"),
        ("UPDATE seats SET body = x'ff'", "cannot be read as a state"),
        ("DROP TABLE name_sets", "cannot be read as a state: no such table: name_sets"),
    ],
)
def test_a_state_that_cannot_be_counted_is_told_in_one_line(counting, statement, told):
    path, *_ = counting
    change(path, statement)
    result = run("limits", path)
    assert result.exit_code == 2
    assert told in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_nothing_counts_in_an_empty_state(tmp_path):
    folder = laid_out(a_log(nodes=2), tmp_path)
    path = folder / "state.sqlite"
    keys = ("--keys", folder / "keys.json")
    assert run("replay", *both(folder), *keys, "--out", path).exit_code == 0
    assert len(run("limits", path).stdout.splitlines()) == 1
    assert msgspec.json.decode(run("limits", path, "--json").stdout)["license"] == {}


def test_a_cold_start_is_shown_without_a_license(tmp_path):
    log = a_log(nodes=2)
    log.say(LicenseStateChanged("", "cold-start", "cold-start init"), "license")
    folder = laid_out(log, tmp_path)
    path = folder / "state.sqlite"
    keys = ("--keys", folder / "keys.json")
    assert run("replay", *both(folder), *keys, "--out", path).exit_code == 0
    [_, line] = run("limits", path).stdout.splitlines()
    assert line.startswith("license: cold-start since 2026-")
