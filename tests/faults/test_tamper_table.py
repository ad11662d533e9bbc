"""The table in docs/tampering.md: each attack is made, and each column says what it says there.

Two nodes share a database, and write in turn; the first one's work directory is attacked. A cell
begins with `found` and what is told of it, or with `not found`; both are tried.
"""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from events.nodes import InstallationCreated, NodeRegistered
from journal.heads import encode_head, head_of
from tests.make.audited import CONFIG, certeasy, run
from tests.make.databases import a_database
from tests.make.journals import ALog, ANode, a_log
from tests.make.stories import every_story

PAGE = Path(__file__).resolve().parents[2] / "docs/tampering.md"
COLUMNS = ("journal alone", "journals of all nodes", "with the database", "with a pinned head")
FOUND, NOT_FOUND = "found", "not found"


class Place:
    """Everything that is there: the attacked node's `work`, the other's journal, what auditors
    kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = folder / "work" / "audit.log"
        self.other = folder / "node2" / "audit.log"
        self.database = folder / "work" / "db.sqlite"
        self.copies: list[Path] = []

    def put(self, log: ALog) -> None:
        """Put this log in the place of what is there, in journals and database."""
        one, two = log.nodes
        self.journal.write_bytes(one.journal)
        self.other.write_bytes(two.journal)
        self.put_database(log)

    def put_database(self, log: ALog) -> None:
        self.database.unlink(missing_ok=True)
        a_database(log, self.database)

    def lines(self) -> list[bytes]:
        return self.journal.read_bytes().splitlines(keepends=True)

    def put_lines(self, lines: list[bytes]) -> None:
        self.journal.write_bytes(b"".join(lines))

    def sql(self, statement: str) -> None:
        with closing(sqlite3.connect(self.database, isolation_level=None)) as connection:
            assert connection.execute(statement).rowcount != 0

    def look(self, column: str) -> tuple[int, str]:
        """Look as an auditor of this column does; return the exit code, and what is told."""
        keys = ("--keys", self.folder / "keys.json")
        own = ("--journal", self.journal)
        every = [*own, "--journal", self.other]
        every += [word for copy in self.copies for word in ("--journal", copy)]
        config = ("-f", self.folder / "config.yml")
        match column:
            case "journal alone":
                result = run("verify", *own, "--partial", *keys)
            case "journals of all nodes":
                result = run("verify", *every, *keys)
            case "with the database":
                result = run("verify", *config, *keys)
                if result.exit_code == 0:
                    result = certeasy("projections", "check", *config)
            case _:
                result = run("verify", *every, *keys, "--pinned", self.folder / "heads.json")
        return result.exit_code, result.stderr


def history(tail: str = "a") -> ALog:
    """The log of two nodes: the first writes, then the second, then the first again.

    Histories with different tails differ from the last lines of the first node's first turn on.
    """
    log = a_log(nodes=2)
    every_story(log)
    log.an_order(f"{tail}.corp.internal")
    log.an_order("two.corp.internal", by=1)
    log.an_order("three.corp.internal")
    return log


def until(log: ALog, position: int) -> ALog:
    """The log as it was at a position."""
    earlier = ALog()
    earlier.records = log.records[:position]
    earlier.subjects = log.subjects
    for number, node in enumerate(log.nodes, start=1):
        earlier.nodes.append(ANode(number))
        earlier.nodes[-1].records = [r for r in node.records if r.envelope.position <= position]
    return earlier


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The place before anything is done to it."""
    folder, log = tmp_path_factory.mktemp("whole"), history()
    for name in ("work", "node2", "work/keys"):
        (folder / name).mkdir()
    Place(folder).put(log)
    first = log.nodes[0]
    (folder / "work" / "server_id").write_text(f"{first.server_id}\n")
    (folder / "work" / "keys" / "signing.pem").write_bytes(first.key.to_pem())
    (folder / "keys.json").write_bytes(log.key_set())
    (folder / "heads.json").write_bytes(encode_head(head_of(log.records[-1])))
    return folder


@pytest.fixture
def place(whole: Path, tmp_path: Path) -> Place:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    (tmp_path / "config.yml").write_text(CONFIG.format(work=tmp_path / "work"))
    return Place(tmp_path)


# -- the attacks ---------------------------------------------------------------------------------


def a_byte_is_changed(place: Place) -> None:
    lines = place.lines()
    lines[9] = lines[9].replace(b'"at":"2026', b'"at":"2025')
    place.put_lines(lines)


def a_line_is_removed(place: Place) -> None:
    lines = place.lines()
    del lines[9]
    place.put_lines(lines)


def a_line_is_inserted(place: Place) -> None:
    """From a history that went on otherwise: it has the right place, and follows what is before."""
    lines = place.lines()
    others = [record.line + b"\n" for record in history("b").nodes[0].records]
    at = next(n for n, (mine, other) in enumerate(zip(lines, others, strict=True)) if mine != other)
    lines.insert(at, others[at])
    place.put_lines(lines)


def a_line_is_duplicated(place: Place) -> None:
    lines = place.lines()
    lines.insert(9, lines[9])
    place.put_lines(lines)


def lines_are_swapped(place: Place) -> None:
    lines = place.lines()
    lines[9], lines[10] = lines[10], lines[9]
    place.put_lines(lines)


def the_last_line_is_cut(place: Place) -> None:
    place.put_lines(place.lines()[:-1])


def the_journal_is_rolled_back(place: Place) -> None:
    """To a copy from before the other node's lines."""
    first, second = history().nodes
    began = second.records[1].envelope.position
    place.put_lines([r.line + b"\n" for r in first.records if r.envelope.position < began - 3])


def a_row_of_the_log_is_changed(place: Place) -> None:
    place.sql(
        "UPDATE events SET line = CAST(replace(CAST(line AS TEXT), 'order', 'redro') AS BLOB)"
        " WHERE position = 9"
    )


def a_row_of_the_log_is_removed(place: Place) -> None:
    place.sql("DELETE FROM events WHERE position = 9")


def a_row_of_a_projection_is_changed(place: Place) -> None:
    place.sql("UPDATE certificates SET revoked = 0 WHERE revoked <> 0")


def a_row_of_a_projection_is_removed(place: Place) -> None:
    place.sql("DELETE FROM certificates WHERE id = (SELECT min(id) FROM certificates)")


def the_database_is_rolled_back(place: Place) -> None:
    log = history()
    place.put_database(until(log, log.position - 5))


def journal_and_database_are_rolled_back(place: Place) -> None:
    """The node's machine is set back to a snapshot, the other node's is not."""
    log = history()
    before = until(log, log.nodes[1].records[1].envelope.position - 3)
    place.journal.write_bytes(before.nodes[0].journal)
    place.put_database(before)


def everything_is_rolled_back(place: Place) -> None:
    log = history()
    place.put(until(log, log.position - 5))


def two_histories_are_spliced(place: Place) -> None:
    """The beginning of one, and the end of one that went on otherwise from the same snapshot."""
    other = history("b").nodes[0].records
    place.put_lines([*place.lines()[:-5], *(r.line + b"\n" for r in other[-5:])])


def the_journal_is_another_installation_s(place: Place) -> None:
    log, node = ALog(), ANode(7)
    log.nodes.append(node)
    key = node.key.public
    log.say(InstallationCreated("another", key.kid, "single"), "installation")
    log.say(NodeRegistered("another", node.server_id, "other", key.kid, key.x), "node/other")
    place.journal.write_bytes(node.journal)


def the_other_journal_is_missing(place: Place) -> None:
    place.other.write_bytes(b"")


def the_past_is_rewritten(place: Place) -> None:
    """After the other node had gone on; the database is not touched."""
    place.journal.write_bytes(history("b").nodes[0].journal)


def the_past_and_its_rows_are_rewritten(place: Place) -> None:
    """With the key of one node: the other node's lines stay what it has signed."""
    real, forged = history(), history("b")
    theirs = {record.envelope.position: record for record in real.nodes[1].records}
    forged.records = [theirs.get(r.envelope.position, r) for r in forged.records]
    forged.nodes[1] = real.nodes[1]
    place.journal.write_bytes(forged.nodes[0].journal)
    place.put_database(forged)


def everything_is_rewritten_with_all_keys(place: Place) -> None:
    place.put(history("b"))


def a_copied_workdir_has_written(place: Place) -> None:
    """The copy ran on another machine, with the same database."""
    log = history()
    log.a_start()
    copy = place.folder / "copy" / "audit.log"
    copy.parent.mkdir()
    copy.write_bytes(log.nodes[0].journal)
    place.copies.append(copy)
    place.put_database(log)
    (place.folder / "heads.json").write_bytes(encode_head(head_of(log.records[-1])))


def the_clock_is_set_back(place: Place) -> None:
    """By somebody who has the node's key, or changed the server: it refuses to do so by itself."""
    log = history()
    log.now -= (log.now - log.now.replace(minute=0, second=0)) / 2
    log.a_start()
    place.put(log)


ATTACKS: dict[str, Callable[[Place], None]] = {
    "a byte is changed": a_byte_is_changed,
    "a line is removed": a_line_is_removed,
    "a line is inserted that the node once signed": a_line_is_inserted,
    "a line is duplicated": a_line_is_duplicated,
    "two lines are swapped": lines_are_swapped,
    "the log's last line is cut off": the_last_line_is_cut,
    "the journal is rolled back to before the other node wrote": the_journal_is_rolled_back,
    "a row of the log is changed in the database": a_row_of_the_log_is_changed,
    "a row of the log is removed from the database": a_row_of_the_log_is_removed,
    "a row of another table is changed": a_row_of_a_projection_is_changed,
    "a row of another table is removed": a_row_of_a_projection_is_removed,
    "the database is rolled back": the_database_is_rolled_back,
    "the node's journal and the database are rolled back together": (
        journal_and_database_are_rolled_back
    ),
    "both journals and the database are rolled back together": everything_is_rolled_back,
    "two histories of the node are spliced": two_histories_are_spliced,
    "another installation's journal is put in its place": the_journal_is_another_installation_s,
    "the other node's journal is missing": the_other_journal_is_missing,
    "the past is rewritten with the node's stolen key": the_past_is_rewritten,
    "the past and its rows are rewritten with the node's stolen key": (
        the_past_and_its_rows_are_rewritten
    ),
    "everything is rewritten with all nodes' stolen keys": everything_is_rewritten_with_all_keys,
    "a copy of the work directory has written": a_copied_workdir_has_written,
    "the clock is set back": the_clock_is_set_back,
}


# -- the table -----------------------------------------------------------------------------------


def table() -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Return the table's columns, and its rows: the attack, and what each column says."""
    text = PAGE.read_text(encoding="utf-8").partition("## The table")[2].partition("\n## ")[0]
    rows = [
        tuple(cell.strip() for cell in line.strip("|").split("|"))
        for line in text.splitlines()
        if line.startswith("|") and not line.startswith("|---")
    ]
    return rows[0], {row[0]: row[1:] for row in rows[1:]}


HEADER, ROWS = table()


def test_the_table_has_these_columns_and_a_row_for_each_attack() -> None:
    assert ("attack", *COLUMNS) == HEADER
    assert list(ROWS) == list(ATTACKS)
    assert all(len(cells) == len(COLUMNS) for cells in ROWS.values())


@pytest.mark.parametrize("attack", ROWS)
def test_each_column_finds_what_the_table_says_and_nothing_else(place: Place, attack: str) -> None:
    ATTACKS[attack](place)
    for column, cell in zip(COLUMNS, ROWS[attack], strict=True):
        said, _, reason = cell.partition(": ")
        code, told = place.look(column)
        if said == NOT_FOUND:
            assert (column, code, told) == (column, 0, "")
        else:
            assert (column, said, code) == (column, FOUND, 1)
            assert len(reason) > len("``")
            assert reason.strip("`") in told, column


@pytest.mark.parametrize("column", COLUMNS)
def test_what_is_untouched_is_proven(place: Place, column: str) -> None:
    assert place.look(column) == (0, "")
