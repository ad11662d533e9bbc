"""What the log has about a person is shown to whoever has the keys, and to nobody once they are
destroyed.

Accounts come from real requests, so that what is sealed is what a server seals.
"""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from certeasy.audit.verifying import Given, verify
from certeasy.cli import group
from certeasy.commit import Command, Unavailable, erasure
from certeasy.commit.subjects import Subjects
from certeasy.decide.decision import Decision
from certeasy.store import DatabaseUnavailable, Store
from certeasy.store.scrub import CHUNK, holds
from events.envelope import Actor, parse
from events.subjects import SubjectErased
from tests.fakes.faults import Fault, after, before, database_error, io_error
from tests.make.checks import check_node
from tests.make.configs import a_config
from tests.make.lab import Client, Lab, a_lab
from tests.make.node import SYSTEM, ANode, a_node
from tests.make.workdirs import contents

OPS, OTHER = "mailto:Ops@lab.test", "mailto:other@lab.test"


def stands_in(path: Path, keys: list[bytes]) -> bool:
    with path.open("rb") as file:
        return holds(file, keys)


class Place:
    """A workdir between two starts, and the commands on it."""

    def __init__(self, folder: Path) -> None:
        self.workdir = folder / "node"
        self.database = self.workdir / "db.sqlite"
        self.journal = self.workdir / "audit.log"
        self.config = a_config(folder, workdir=f'"{self.workdir}"')

    def certeasy(self, *words: str) -> Result:
        """Type a command; it ends without a traceback."""
        result = CliRunner().invoke(group, [*words, "-f", str(self.config)])
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    def privacy(self, *words: str) -> str:
        """Type a command that succeeds; return what it prints."""
        result = self.certeasy("privacy", *words)
        assert result.exit_code == 0, result.output
        return result.stdout

    def shown(self, subject: str) -> dict[str, list[dict[str, object]]]:
        """What is shown about a subject."""
        shown: dict[str, list[dict[str, object]]] = msgspec.json.decode(
            self.privacy("show", subject, "--json")
        )
        return shown

    def standing(self, subject: str) -> dict[str, object]:
        """How the one subject that is meant stands."""
        [found] = self.shown(subject)["subjects"]
        return found

    def subject_keys(self) -> dict[str, bytes]:
        """Every key in the database, by subject."""
        with closing(sqlite3.connect(self.database)) as connection:
            return dict(connection.execute("SELECT subject, key FROM subject_keys"))

    def types(self) -> list[str]:
        """The type of each line of the journal."""
        return [parse(line).envelope.type for line in self.journal.read_bytes().splitlines()]

    def tables(self) -> list[tuple[object, ...]]:
        """The accounts as they are projected."""
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute("SELECT * FROM accounts ORDER BY id").fetchall()

    def check(self) -> None:
        """Journal, database, signatures, and a fold of the log all agree."""
        check_node(self.workdir)
        given = Given()
        given.add_node(self.workdir, self.journal, self.database)
        verify(given)


def account_of(client: Client) -> str:
    """The id of a client's account."""
    assert client.kid is not None
    return client.kid.rpartition("/")[2]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def lab(place: Place) -> Iterator[Lab]:
    with a_lab(place.workdir) as made:
        yield made


@pytest.fixture
def client(place: Place) -> Client:
    """Somebody who has an account and an order; the server has stopped since."""
    with a_lab(place.workdir) as lab:
        client = lab.client()
        client.register(contact=[OPS])
        client.placed("web.lab.test")
        lab.client().register(contact=[OTHER])
    return client


def open_again(client: Client, lab: Lab) -> Client:
    """The same client at another start of the server."""
    again = lab.client(client.signer)
    again.kid = client.kid
    return again


def test_what_the_log_has_is_shown_in_clear_with_its_places(place: Place, client: Client) -> None:
    account = account_of(client)
    shown = place.shown(account)
    assert [line["type"] for line in shown["lines"]] == ["account.created", "order.created"]
    created, ordered = (line["said"] for line in shown["lines"])
    assert [each["where"] for each in created] == ["actor", "contact"]
    assert created[1]["clear"] == f'["{OPS}"]'
    assert '"address":"127.0.0.1"' in ordered[0]["clear"]
    assert shown["subjects"][0] | {"lines": 2, "sealed": 3, "readable": 3} == shown["subjects"][0]
    text = place.privacy("show", account)
    assert f"account.created  (account/{account})  actor: " in text
    assert text.endswith(f"account/{account}: 2 lines, 3 sealed parts; 3 can be read\n")


@pytest.mark.parametrize("word", ["ops@lab.test", OPS, "MAILTO:OPS@LAB.TEST", "account/{}", "{}"])
def test_an_account_is_found_by_its_id_and_by_every_contact_it_had(
    place: Place, client: Client, word: str
) -> None:
    account = account_of(client)
    with a_lab(place.workdir) as lab:
        changed = open_again(client, lab)
        assert changed.post(changed.kid, {"contact": ["mailto:new@lab.test"]}).status_code == 200
    assert place.standing(word.format(account))["subject"] == f"account/{account}"


def test_all_accounts_that_an_address_spoke_for_are_found(place: Place, client: Client) -> None:
    found = [each["subject"] for each in place.shown("127.0.0.1")["subjects"]]
    assert len(found) == 2
    assert found[0] == f"account/{account_of(client)}"


@pytest.mark.parametrize("command", [["show"], ["erase"], ["erase", "--yes"]])
@pytest.mark.parametrize(
    "unknown", ["nobody@lab.test", "192.0.2.9", "account/none", "nobody", "0" * 26]
)
@pytest.mark.usefixtures("client")
def test_whom_the_log_does_not_know_is_refused(
    place: Place, command: list[str], unknown: str
) -> None:
    before = place.types()
    result = place.certeasy("privacy", *command, unknown)
    assert result.exit_code == 1
    assert "the log says nothing about" in result.stderr
    assert place.types() == before


def test_without_yes_nothing_is_changed(place: Place, client: Client) -> None:
    before = contents(place.workdir)
    told = place.privacy("erase", account_of(client))
    assert "3 can be read" in told
    assert "nothing was changed" in told
    assert contents(place.workdir) == before


def test_after_an_erasure_nobody_can_read_and_everything_still_agrees(
    place: Place, client: Client, tmp_path: Path
) -> None:
    account = account_of(client)
    keys, rows = place.subject_keys(), place.tables()
    place.check()
    with closing(sqlite3.connect(place.database)) as other:  # so that SQLite keeps its -wal file
        other.execute("SELECT count(*) FROM events").fetchone()
        told = place.privacy("erase", OPS, "--yes")
        gone = keys[f"account/{account}"]
        held = [file.name for file in place.workdir.rglob("*.*") if stands_in(file, [gone])]
    assert held == []
    assert f"account/{account}: erased" in told
    place.check()
    assert place.types()[-1] == "subject.erased"
    assert place.tables() == rows  # the ciphertext stays
    standing = place.standing(account)
    assert (standing["sealed"], standing["readable"]) == (3, 0)
    assert standing["erased"] == len(place.types())
    others = {name: key for name, key in keys.items() if name != f"account/{account}"}
    assert others.items() <= place.subject_keys().items()
    replayed, live = tmp_path / "replayed.sqlite", tmp_path / "live.sqlite"
    assert place.certeasy("audit", "replay", "--out", str(replayed)).exit_code == 0
    assert place.certeasy("projections", "export", "--out", str(live)).exit_code == 0
    diff = CliRunner().invoke(group, ["audit", "diff", str(replayed), str(live)])
    assert diff.exit_code == 0, diff.output
    assert place.certeasy("projections", "rebuild").exit_code == 0
    assert place.tables() == rows
    assert place.certeasy("privacy", "show", OPS).exit_code == 1


def test_who_erased_is_recorded_and_can_be_erased_in_turn(place: Place, client: Client) -> None:
    place.privacy("erase", account_of(client), "--yes")
    line = parse(place.journal.read_bytes().splitlines()[-1])
    assert line.actor.kind == "administrator"
    assert line.actor.sealed is not None
    subject = line.actor.sealed.subject
    [mention] = place.shown(subject)["lines"]
    name = mention["said"][0]["clear"]
    assert place.standing(name)["subject"] == subject
    place.privacy("erase", subject, "--yes")
    assert place.standing(subject)["readable"] == 0
    assert subject not in place.subject_keys()
    place.check()


def test_an_erasure_is_done_once(place: Place, client: Client) -> None:
    account = account_of(client)
    place.privacy("erase", account, "--yes")
    types = place.types()
    for words in (["--yes"], []):
        told = place.privacy("erase", account, *words)
        assert f"erased already, at position {len(types)}" in told
        assert "nothing was changed" not in told
    assert place.types() == types
    place.check()


def test_an_account_that_goes_on_has_a_new_key_for_what_is_said_from_then_on(
    place: Place, client: Client
) -> None:
    account = account_of(client)
    place.privacy("erase", account, "--yes")
    with a_lab(place.workdir) as lab:
        again = open_again(client, lab)
        assert again.see(again.kid)["contact"] == []
        answer = again.post(again.kid, {"contact": ["mailto:new@lab.test"]})
        assert (answer.status_code, answer.json["contact"]) == (200, ["mailto:new@lab.test"])
        again.placed("mail.lab.test")
    standing = place.standing(account)
    assert (standing["sealed"], standing["readable"]) == (6, 3)
    assert place.standing("new@lab.test") == standing
    assert place.certeasy("privacy", "show", OPS).exit_code == 1
    place.privacy("erase", account, "--yes")
    assert place.standing(account)["readable"] == 0
    place.check()


def test_an_account_that_was_closed_gets_no_new_key(place: Place, client: Client) -> None:
    account = account_of(client)
    with a_lab(place.workdir) as lab:
        again = open_again(client, lab)
        assert again.post(again.kid, {"status": "deactivated"}).status_code == 200
    place.privacy("erase", account, "--yes")
    assert f"account/{account}" not in place.subject_keys()
    place.check()


def test_a_key_that_a_backup_brought_back_is_told_and_destroyed_again(
    place: Place, client: Client
) -> None:
    subject = f"account/{account_of(client)}"
    key = place.subject_keys()[subject]
    place.privacy("erase", subject, "--yes")
    with closing(sqlite3.connect(place.database, isolation_level=None)) as connection:
        connection.execute("UPDATE subject_keys SET key = ? WHERE subject = ?", (key, subject))
    assert "3 can be read" in place.privacy("erase", subject)
    place.privacy("erase", subject, "--yes")
    assert place.standing(subject)["readable"] == 0
    assert place.types().count("subject.erased") == 2


def test_what_is_no_key_opens_nothing(place: Place, client: Client) -> None:
    subject = f"account/{account_of(client)}"
    with closing(sqlite3.connect(place.database, isolation_level=None)) as connection:
        for value in ("a text", b"short"):
            connection.execute(
                "UPDATE subject_keys SET key = ? WHERE subject = ?", (value, subject)
            )
            assert place.standing(subject)["readable"] == 0


def test_it_is_done_and_shown_while_the_server_runs(place: Place, lab: Lab) -> None:
    client = lab.client()
    client.register(contact=[OPS])
    subject = f"account/{account_of(client)}"
    assert place.standing(OPS)["readable"] == 2
    old = place.subject_keys()[subject]
    assert "erased; the log has a line about it" in place.privacy("erase", OPS, "--yes")
    assert place.standing(subject)["readable"] == 0
    assert not any(stands_in(file, [old]) for file in place.workdir.glob("db.sqlite*"))
    assert client.see(str(client.kid))["contact"] == []


def test_a_workdir_whose_node_never_ran_erases_nothing(
    place: Place, client: Client, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    config = a_config(
        elsewhere,
        workdir='"%CONFIGDIR%/work"',
        database=f'{{path: "{place.database}"}}',
        secrets=f'{{key-file: "{place.workdir / "secret.key"}"}}',
    )
    command = ["privacy", "erase", account_of(client), "--yes", "-f", str(config)]
    result = CliRunner().invoke(group, command)
    assert result.exit_code == 1
    assert "is no node's workdir yet" in result.stderr
    place.check()


# -- crashes and bytes ---------------------------------------------------------------------------


def an_administrator(node: ANode) -> str:
    """Have an administrator act whom nobody has spoken of before; return the subject."""
    name = f"administrator/{node.ids.new()}"
    sealed = Subjects(node.store, node.ids)
    subject, key = sealed.new(name)
    actor = Actor("administrator", sealed=sealed.seal(subject, b"somebody"))
    fact = (f"node/{node.opened.identity.server_id}", SubjectErased("account/other"))
    node.submit(Command(lambda _rows, _now: Decision((fact,)), actor, subject_keys=((name, key),)))
    return name


FAULTS = {
    "before the keys": ("keys", before(database_error), False),
    "after the keys": ("keys", after(database_error), False),
    "before COMMIT": ("commit", before(database_error), False),
    "after COMMIT": ("commit", after(database_error), True),
    "in the journal": ("write", before(io_error), True),
}


@pytest.mark.parametrize(("step", "fault", "kept"), FAULTS.values(), ids=FAULTS)
def test_a_key_goes_with_its_line_or_not_at_all(
    tmp_path: Path, *, step: str, fault: Fault, kept: bool
) -> None:
    with a_node(tmp_path / "node") as node:
        name = an_administrator(node)
        node.crash_at(step, fault)
        with pytest.raises(Unavailable):
            erasure.erase(node.committer, node.store, node.ids, SYSTEM, [name])
        node.die()
        with a_node(node.folder) as again:
            assert (again.store.subject_key(name) is None) is kept
            lines = [parse(line) for line in again.store.lines(0)]
            assert any(line.envelope.stream == name for line in lines) is kept
        check_node(node.folder)


def test_in_one_batch_the_last_word_about_a_key_counts(tmp_path: Path) -> None:
    with a_node(tmp_path / "node") as node:
        stream = f"node/{node.opened.identity.server_id}"
        erased, going_on = "administrator/1", "administrator/2"
        facts = [(stream, SubjectErased(each)) for each in (erased, going_on)]

        def saying(*keys: tuple[str, bytes], erased: tuple[str, ...] = ()) -> Command:
            decision = Decision(tuple(facts))
            return Command(lambda _rows, _now: decision, SYSTEM, subject_keys=keys, erased=erased)

        with node.together() as waiting:
            waiting.append(saying((erased, b"1")))
            waiting.append(saying((going_on, b"3"), erased=(erased, going_on)))
        assert node.store.subject_key(erased) is None
        assert node.store.subject_key(going_on) == b"3"


def test_what_is_deleted_is_overwritten(tmp_path: Path) -> None:
    path, key = tmp_path / "db.sqlite", b"a key of thirty-two bytes ......"
    store = Store.sqlite(path)
    store.create("an installation")
    with store.transaction() as transaction:
        transaction.keep_subjects([("account/1", key), ("account/2", b"another")])
    with store.transaction() as transaction:
        transaction.drop_subjects(["account/1"])
    store.close()
    assert not stands_in(path, [key])


def test_a_stale_copy_in_the_file_is_found_and_written_over(tmp_path: Path) -> None:
    path, key = tmp_path / "db.sqlite", b"a key of thirty-two bytes ......"
    store = Store.sqlite(path)
    store.create("an installation")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA secure_delete=OFF")
        connection.execute("INSERT INTO subject_keys VALUES ('account/1', ?)", (key,))
        connection.execute("DELETE FROM subject_keys")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert stands_in(path, [key])
    store.scrub([key])
    assert not stands_in(path, [key])
    store.close()


def test_a_key_is_found_wherever_it_stands_in_a_file(tmp_path: Path) -> None:
    path, key = tmp_path / "file", b"a key of thirty-two bytes ......"
    for before_it in (0, CHUNK - 40, CHUNK - 31, CHUNK - 1, CHUNK, 2 * CHUNK - 5):
        path.write_bytes(bytes(before_it) + key + bytes(9))
        assert stands_in(path, [b"another", key])
        assert not stands_in(path, [key[::-1]])
    assert not stands_in(path, [])


def test_somebody_who_is_reading_is_told_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("certeasy.store.sqlite.BUSY_MS", 50)
    with a_node(tmp_path / "node") as node:
        with closing(sqlite3.connect(node.folder / "db.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN")
            other.execute("SELECT count(*) FROM events").fetchone()
            node.an_order()
            with pytest.raises(DatabaseUnavailable, match="another process is reading"):
                node.store.scrub([b"k"])
        node.store.scrub([b"k" * 32])


SEEN = """\
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
print(connection.execute("SELECT max(position) FROM events").fetchone()[0])
connection.close()
"""


def test_a_look_at_the_file_leaves_the_locks_on_it_in_place(tmp_path: Path) -> None:
    """Without them, whoever opens the database and closes it again removes the write-ahead log that
    the server goes on writing."""

    def end_seen_by_another_program() -> int:
        command = [sys.executable, "-I", "-c", SEEN, str(node.folder / "db.sqlite")]
        return int(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)

    with a_node(tmp_path / "node") as node:
        for keys in ([], [b"k" * 32]):
            node.store.scrub(keys, anew=not keys)
            end_seen_by_another_program()
            node.an_order()
            assert end_seen_by_another_program() == node.store.head().position
    check_node(node.folder, acknowledged=node.acknowledged)
