"""What an auditor may be given by mistake: each is told in one line, and leaves nothing behind."""

import gzip

import msgspec
import pytest

from tests.make.audited import both, certeasy, laid_out, run
from tests.make.journals import a_log

ODD = {
    "gzip": (gzip.compress, "compressed (gzip)"),
    "zip": (lambda text: b"PK\x03\x04" + text, "zip file"),
    "BOM": (lambda text: b"\xef\xbb\xbf" + text, "byte order mark"),
    "CRLF": (lambda text: text.replace(b"\n", b"\r\n"), "copied as text"),
    "UTF-16": (lambda text: text.decode().encode("utf-16"), "UTF-16"),
}


@pytest.fixture
def folder(tmp_path):
    log = a_log(nodes=2)
    log.an_order("web.corp.internal")
    log.a_start(by=1)
    return laid_out(log, tmp_path)


def one_line(result, code):
    assert (result.exit_code, result.stderr.count("\n")) == (code, 1), result.output
    return result.stderr


@pytest.mark.parametrize("odd", ODD)
def test_a_journal_that_another_program_has_written_anew_is_named_for_what_it_is(folder, odd):
    change, said = ODD[odd]
    journal = folder / "node1" / "audit.log"
    journal.write_bytes(change(journal.read_bytes()))
    out = folder / "state.sqlite"
    for command in (["verify"], ["replay", "--out", out]):
        told = one_line(run(*command, *both(folder)), 1)
        assert told.startswith(f"{journal}:1: ")
        assert said in told
    restored = one_line(
        certeasy("journal", "restore", "-f", folder / "config.yml", "--journal", journal), 1
    )
    assert restored.startswith(f"certeasy: {journal} is not as its node wrote it: ")
    assert said in restored
    assert not list(folder.glob("state*"))


def test_a_later_break_is_told_as_it_is(folder):
    journal = folder / "node1" / "audit.log"
    first, *others = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(first + others[0][:-1] + b"\r\n" + b"".join(others[1:]))
    told = one_line(run("verify", *both(folder)), 1)
    assert told == f"{journal}:2: the line does not end with a signature\n"


def test_a_journal_that_is_given_twice_is_read_once(folder, monkeypatch):
    monkeypatch.chdir(folder)
    again = ["--journal", "node1/audit.log", "--journal", folder / "node2" / ".." / "node1"]
    assert run("verify", *both(folder), *again).exit_code == 0
    config = ["-f", folder / "config.yml"]
    assert run("verify", *config, "--journal", "work", "--journal", "work/audit.log").exit_code == 0


@pytest.mark.parametrize("name", ["evidence", "evidence.zip"])
def test_a_journal_that_is_given_twice_is_packed_once(folder, monkeypatch, name):
    monkeypatch.chdir(folder)
    given = ["--journal", "work", "--journal", "node2", "--journal", "node2/audit.log"]
    result = run("export", "-f", "config.yml", *given, "--out", name)
    assert (result.exit_code, result.stderr) == (0, "")


def test_two_journals_of_one_node_are_not_packed(folder):
    given = ["--journal", folder / "node1", "--out", folder / "evidence.zip"]
    told = one_line(run("export", "-f", folder / "config.yml", *given), 2)
    assert f"{folder / 'node1'} is of node " in told
    assert f", too, as {folder / 'work' / 'audit.log'}: give one of them; nothing was" in told
    assert not list(folder.glob("evidence*"))


def test_two_journals_that_cannot_be_read_are_not_packed(folder):
    given = []
    for name in ("one", "two"):
        (folder / name).write_bytes(b"no journal\n")
        given += ["--journal", folder / name]
    given += ["--out", folder / "evidence.zip"]
    told = one_line(run("export", "-f", folder / "config.yml", *given), 2)
    assert f"{folder / 'two'} cannot be read either, as {folder / 'one'}: " in told
    assert not list(folder.glob("evidence*"))


@pytest.mark.parametrize("out", ["missing/out", "missing/out.zip", "link", "link.zip"])
def test_what_is_written_needs_a_folder_and_follows_no_link(folder, out):
    target = folder / out
    if "link" in out:
        target.symlink_to(folder / "elsewhere")
    said = "exists already" if "link" in out else f"{target.parent} is no folder: make it first"
    config = ["-f", folder / "config.yml"]
    for command in (
        ["audit", "replay", *both(folder)],
        ["audit", "export", *config],
        ["projections", "export", *config],
    ):
        assert said in one_line(certeasy(*command, "--out", target), 2)
    assert target.is_symlink() is ("link" in out)
    assert not target.exists()


def test_a_time_before_the_log_says_when_the_log_begins(folder):
    out = folder / "state.sqlite"
    asked = ["--at", "1999-01-01T00:00:00Z", "--out", out]
    first = (folder / "node1" / "audit.log").read_bytes().splitlines()[0]
    at = msgspec.json.decode(first)["at"]
    result = run("replay", *both(folder), *asked)
    assert result.exit_code == 0
    assert result.stdout == (f"{out}: 0 events folded, as of position 0: the log begins at {at}\n")


def test_an_empty_journal_says_that_the_log_is_empty(tmp_path):
    (tmp_path / "audit.log").touch()
    result = run("replay", "--journal", tmp_path, "--out", tmp_path / "state.sqlite")
    assert result.stdout.endswith("as of position 0: the log is empty\n")


@pytest.mark.parametrize("command", [["verify"], ["restore"]], ids=["verify", "restore"])
def test_a_file_that_is_no_backup_says_what_is(folder, command):
    config = ["-f", folder / "config.yml"] if command == ["restore"] else []
    empty, packed = folder / "empty", folder / "packed"
    empty.touch()
    packed.write_bytes(gzip.compress((folder / "work" / "db.sqlite").read_bytes()))
    told = one_line(certeasy("backup", *command, *config, "--input", empty), 1)
    assert f"{empty}: " in told
    assert "give a file that `backup create` wrote" in told
    told = one_line(certeasy("backup", *command, *config, "--input", packed), 1)
    assert f"{packed} cannot be read" in told
    assert "compressed (gzip): unpack it" in told
