"""A lost database comes back from the journals: the same rows, or nothing at all."""

import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from certeasy import config
from certeasy.audit.verifying import Given
from certeasy.cli import group
from certeasy.commit.restore import Restored, RestoreRefused, restore
from certeasy.store import Store
from events.envelope import parse
from events.recovery import LogRestored
from events.subjects import SubjectErased
from journal.breaks import JournalBroken
from journal.lines import segments
from tests.make.checks import check_node
from tests.make.configs import a_config
from tests.make.databases import a_database
from tests.make.journals import ALog, a_log, a_rotation, write_segments
from tests.make.node import ANode, a_node
from tests.make.stories import every_story
from tests.make.workdirs import cut_lines, refused, sql

NOT_DERIVABLE = {"secrets", "subject_keys", "used_nonces", "redeemed_nonces", "job_leases"} | {
    "authority_samples",
    "rate_buckets",
}
MOMENTARY = {
    "servers": ("first_seen", "fingerprint"),  # of a start, which is a moment before its line
    "log_head": ("epoch", "writer", "lease_until"),
}


def rows_of(database: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return every row that can be derived from the log, without what is not told there."""
    with closing(sqlite3.connect(database)) as connection:
        found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        rows = {}
        for (name,) in found.fetchall():
            if name in NOT_DERIVABLE:
                continue
            info = connection.execute(f"PRAGMA table_info({name})").fetchall()
            columns = [c[1] for c in info if c[1] not in MOMENTARY.get(name, ())]
            query = f"SELECT {', '.join(columns)} FROM {name}"  # noqa: S608 - our own names
            rows[name] = sorted(connection.execute(query))
        return rows


def up_to(log: ALog, position: int) -> ALog:
    """Return the log as it was at a position."""
    older = ALog()
    older.records = log.records[:position]
    older.subjects = log.subjects
    for number, node in enumerate(log.nodes):
        records = [r for r in node.records if r.envelope.position <= position]
        if records:
            older.nodes.append(node.__class__(number + 1))
            older.nodes[-1].records = records
    return older


def put_back(database: Path, journals: list[Path], **given_: object) -> Restored:
    given = Given([segments(path) for path in journals])
    for name, value in given_.items():
        setattr(given, name, value)
    store = Store.sqlite(database)
    try:
        return restore(store, given)
    finally:
        store.close()


@st.composite
def histories(draw: st.DrawFn) -> ALog:
    """Draw a log of one to three nodes that take turns at whatever there is to do."""
    log = a_log(nodes=draw(st.integers(1, 3)))
    for by in range(len(log.nodes)):
        log.a_start(by=by)
    accounts = [log.an_account()]
    orders: list[str] = []
    acts: dict[str, Callable[[int], object]] = {
        "account": lambda by: accounts.append(log.an_account(by=by)),
        "order": lambda by: orders.append(log.an_order("a.test", account=accounts[-1], by=by)),
        "names": lambda by: orders.append(log.an_order("a.test", "b.test", by=by)),
        "revoke": lambda by: log.a_revocation(orders.pop(), by=by) if orders else None,
        "fail": lambda by: log.a_failed_order("f.test", account=accounts[-1], by=by),
        "deny": lambda by: log.a_denied_order("d.test", account=accounts[-1], by=by),
        "half": lambda by: log.a_half_validated_order("h.test", account=accounts[-1], by=by),
        "start": lambda by: log.a_start(by=by),
        "rotate": lambda by: a_rotation(log, by=by),
        "key": lambda by: log.a_key_rotation(by=by),
        "issuer": lambda by: log.an_issuer(by=by),
    }
    turns = st.tuples(st.sampled_from(sorted(acts)), st.integers(0, len(log.nodes) - 1))
    for act, by in draw(st.lists(turns, max_size=8)):
        acts[act](by)
    return log


def every_history() -> ALog:
    log = a_log(nodes=2)
    for by in (0, 1):
        log.a_start(by=by)
    every_story(log)
    return log


@given(histories(), st.integers(0, 100))
@example(every_history(), 0)
@example(every_history(), 100)
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_what_is_restored_is_what_was_lost(
    tmp_path_factory: pytest.TempPathFactory, log: ALog, part: int
) -> None:
    """From nothing, and from an older database: row by row the same."""
    folder = tmp_path_factory.mktemp("restore")
    journals = [folder / f"node{number}" for number in range(len(log.nodes))]
    for node, journal in zip(log.nodes, journals, strict=True):
        journal.mkdir()
        write_segments(node, journal)
    lost = rows_of(a_database(log, folder / "lost.sqlite"))

    last = len(log.records)
    first = put_back(folder / "new.sqlite", journals)
    assert (first.first, first.last, first.hash) == (1, last, log.head)
    assert first.subjects == first.keyless == len(log.subjects)
    assert rows_of(folder / "new.sqlite") == lost

    known = last * part // 100
    if known:
        a_database(up_to(log, known), folder / "older.sqlite")
        again = put_back(folder / "older.sqlite", journals)
        assert (again.first, again.last, again.keyless) == (known + 1, last, 0)
        assert rows_of(folder / "older.sqlite") == lost
    assert put_back(folder / "new.sqlite", journals).lines == 0


def test_a_node_s_lines_that_the_database_has_need_no_journal(tmp_path: Path) -> None:
    log = a_log(nodes=2)
    log.a_start(by=1)
    known = log.position
    log.an_order("web.test", by=1)
    a_database(up_to(log, known), tmp_path / "db.sqlite")
    paths = log.write(tmp_path)
    assert put_back(tmp_path / "db.sqlite", [paths[1]]).lines == log.position - known


def test_a_key_that_was_destroyed_since_the_backup_is_destroyed_again(tmp_path: Path) -> None:
    log = a_log()
    account = log.an_account()
    subject = f"account/{account}"
    a_database(log, tmp_path / "db.sqlite")
    key = log.subjects[subject]
    assert key in (tmp_path / "db.sqlite").read_bytes()
    log.say(SubjectErased(subject), subject)
    log.a_new_order("web.test", account=account)
    log.an_account(contact=None)
    done = put_back(tmp_path / "db.sqlite", log.write(tmp_path))
    assert sql(tmp_path / "db.sqlite", "SELECT subject FROM subject_keys") == []
    assert key not in (tmp_path / "db.sqlite").read_bytes()
    assert (done.subjects, done.keyless) == (2, 2)  # what is sealed since has a key that is lost
    log.say(SubjectErased(subject), subject)
    log.write(tmp_path)
    assert put_back(tmp_path / "db.sqlite", [tmp_path / "node1"]).keyless == 1


# -- what is refused -----------------------------------------------------------------------------


@pytest.fixture
def two(tmp_path: Path) -> tuple[ALog, list[Path]]:
    log = a_log(nodes=2)
    log.an_order("web.test", by=1)
    log.an_order("www.test")
    return log, log.write(tmp_path)


def is_untouched(database: Path, journals: list[Path], match: str) -> None:
    """Look whether it is refused in these words, and nothing was changed."""
    before = rows_of(database) if database.exists() else {}
    with pytest.raises((RestoreRefused, JournalBroken), match=match) as caught:
        put_back(database, journals)
    assert "\n" not in str(caught.value)
    assert rows_of(database) == before


def test_a_node_whose_journal_is_missing_is_named(
    tmp_path: Path, two: tuple[ALog, list[Path]]
) -> None:
    log, paths = two
    is_untouched(
        tmp_path / "db.sqlite", paths[:1], f"journals were not given: {log.nodes[1].server_id}"
    )


def test_another_installation_s_database_is_refused(
    tmp_path: Path, two: tuple[ALog, list[Path]]
) -> None:
    log, paths = two
    a_database(up_to(log, 5), tmp_path / "db.sqlite")
    other = "0bad0bad-0000-4000-8000-000000000001"
    sql(tmp_path / "db.sqlite", f"UPDATE log_head SET installation_id = '{other}'")  # noqa: S608
    is_untouched(tmp_path / "db.sqlite", paths, f"{other}: check the database settings")


def test_lines_that_no_journal_has_are_named(tmp_path: Path, two: tuple[ALog, list[Path]]) -> None:
    log, paths = two
    a_database(log, tmp_path / "db.sqlite")
    cut_lines(paths[0], 3)
    last = log.position
    is_untouched(
        tmp_path / "db.sqlite",
        paths,
        f"positions {last - 2} to {last}, .* seq .* of node {log.nodes[0].server_id}",
    )


def test_another_line_in_the_database_is_named(
    tmp_path: Path, two: tuple[ALog, list[Path]]
) -> None:
    log, paths = two
    a_database(up_to(log, 9), tmp_path / "db.sqlite")
    sql(tmp_path / "db.sqlite", "UPDATE events SET line = x'00' WHERE position = 7")
    is_untouched(tmp_path / "db.sqlite", paths, r"position 7: the database has another line")


def test_a_database_whose_head_is_not_its_end_is_refused(
    tmp_path: Path, two: tuple[ALog, list[Path]]
) -> None:
    log, paths = two
    a_database(up_to(log, 9), tmp_path / "db.sqlite")
    sql(tmp_path / "db.sqlite", "UPDATE log_head SET position = 7")
    is_untouched(tmp_path / "db.sqlite", paths, "does not end at position 7")


def test_a_broken_journal_changes_nothing_however_late_it_breaks(
    tmp_path: Path, two: tuple[ALog, list[Path]]
) -> None:
    """The last signature is checked behind everything else."""
    _log, paths = two
    whole = paths[0].read_bytes()
    paths[0].write_bytes(whole[:-40] + bytes([whole[-40] ^ 1]) + whole[-39:])
    is_untouched(tmp_path / "db.sqlite", paths, r"audit\.log:\d+: ")


def test_a_line_that_a_crash_tore_is_left_out(tmp_path: Path, two: tuple[ALog, list[Path]]) -> None:
    log, paths = two
    paths[0].write_bytes(paths[0].read_bytes()[:-20])
    assert put_back(tmp_path / "db.sqlite", paths).last == log.position - 1


def test_keys_that_did_not_begin_the_log_are_refused(
    tmp_path: Path, two: tuple[ALog, list[Path]]
) -> None:
    with pytest.raises(JournalBroken, match="begun by key"):
        put_back(tmp_path / "db.sqlite", two[1], anchor="another-key")


# -- the command ---------------------------------------------------------------------------------


class Installed:
    """A node with a configuration file, that served once."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.path = a_config(folder)
        self.settings = config.load(self.path)
        self.database = self.settings.database.path
        self.serve(5)

    def serve(self, orders: int) -> ANode:
        with a_node(self.settings.workdir, settings=self.settings) as node:
            for _ in range(orders):
                node.an_order()
        return node

    def lose(self) -> None:
        """Lose the database."""
        for path in self.database.parent.glob(f"{self.database.name}*"):
            path.unlink()

    def run(self, *words: object) -> Result:
        return CliRunner().invoke(
            group, ["journal", "restore", "-f", str(self.path), *map(str, words)]
        )

    def check(self) -> None:
        """Start, work and stop; then look at everything."""
        node = self.serve(1)
        check_node(self.settings.workdir, acknowledged=node.acknowledged)
        for words in (["audit", "verify"], ["projections", "check"]):
            done = CliRunner().invoke(group, [*words, "-f", str(self.path)])
            assert done.exit_code == 0, done.output


@pytest.fixture
def one(tmp_path: Path) -> Installed:
    return Installed(tmp_path / "one")


def last_facts(one: Installed) -> LogRestored:
    line = one.settings.audit.path.read_bytes().splitlines()[-1]
    fact = parse(line).event
    assert isinstance(fact, LogRestored)
    assert parse(line).actor.kind == "administrator"
    return fact


def test_a_lost_database_comes_back_and_the_log_tells_of_it(one: Installed) -> None:
    before = rows_of(one.database)
    one.lose()
    refused(one.settings, "is empty", "certeasy journal restore")
    done = one.run()
    assert done.exit_code == 0, done.output
    assert "are back" in done.output
    assert "events/s" in done.output
    assert "secret nonces" in done.output
    fact = last_facts(one)
    assert fact.first_position == 1
    lines = {row[0]: row for row in rows_of(one.database)["events"]}
    assert [lines[row[0]] for row in before["events"]] == before["events"]
    assert "nothing is missing" in one.run().output
    one.check()


def test_a_backup_from_before_is_brought_up_to_date(one: Installed, tmp_path: Path) -> None:
    sql(one.database, "SELECT 1")  # everything into the one file
    backup = shutil.copy(one.database, tmp_path / "backup.sqlite")
    one.serve(4)
    one.lose()
    shutil.copy(backup, one.database)
    refused(one.settings, "lost what was committed", "certeasy journal restore")
    done = one.run()
    assert done.exit_code == 0, done.output
    assert last_facts(one).first_position > 1
    one.check()


def test_a_running_server_is_not_disturbed(one: Installed) -> None:
    with a_node(one.settings.workdir, settings=one.settings):
        done = one.run()
    assert done.exit_code == 1
    assert "another process is using the workdir" in done.output


KILLED = """
import os, signal
from certeasy.commit import restore
from certeasy.store import Transaction
restore.PAGE = 5
kept, pages = Transaction.append, []
def append(self, records):
    kept(self, records)
    pages.append(records)
    if len(pages) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
Transaction.append = append
from certeasy.cli import main
main()
"""


def test_a_restore_that_was_killed_is_run_again(one: Installed) -> None:
    one.lose()
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, "journal", "restore", "-f", str(one.path)],
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    refused(one.settings, "certeasy journal restore")
    done = one.run()
    assert done.exit_code == 0, done.output
    assert last_facts(one).first_position == 1
    one.check()


def test_a_new_machine_restores_from_saved_journals(one: Installed, tmp_path: Path) -> None:
    """The workdir is no node's: the lines come back, and the first start registers a new node."""
    other = tmp_path / "other"
    other.mkdir()
    path = a_config(other)
    words = ["journal", "restore", "-f", str(path), "--journal", str(one.settings.audit.path)]
    done = CliRunner().invoke(group, words)
    assert done.exit_code == 0, done.output
    assert "no node of the installation yet" in done.output
    assert not (other / "work" / "server_id").exists()
    with closing(sqlite3.connect(config.load(path).database.path)) as connection:
        stored = [
            line for (line,) in connection.execute("SELECT line FROM events ORDER BY position")
        ]
    assert stored == one.settings.audit.path.read_bytes().splitlines()


def test_without_any_journal_there_is_nothing_to_do(tmp_path: Path) -> None:
    path = a_config(tmp_path)
    done = CliRunner().invoke(group, ["journal", "restore", "-f", str(path)])
    assert done.exit_code == 2
    assert "give --journal FILE|DIR" in done.output
