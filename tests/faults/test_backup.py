"""A backup is whole, private, never overwrites, and a server goes on from it."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from certeasy import config
from certeasy.cli import group
from certeasy.settings import Settings
from tests.make.checks import check_node
from tests.make.configs import a_config
from tests.make.node import a_node
from tests.make.workdirs import contents, sql


def backup(*words: object) -> Result:
    return CliRunner().invoke(group, ["backup", *map(str, words)])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return a_config(tmp_path)


@pytest.fixture
def one(path: Path) -> Settings:
    settings = config.load(path)
    serve(settings)
    return settings


def serve(settings: Settings, orders: int = 3) -> None:
    with a_node(settings.workdir, settings=settings) as node:
        for _ in range(orders):
            node.an_order()


def rows(database: Path) -> dict[str, list[tuple[object, ...]]]:
    with closing(sqlite3.connect(database)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {
            name: sorted(connection.execute(f"SELECT * FROM {name}"))  # noqa: S608 - our own names
            for (name,) in names
        }


def test_a_backup_is_the_database_beside_a_running_server(
    path: Path, one: Settings, tmp_path: Path
) -> None:
    output = tmp_path / "a.backup"
    with a_node(one.workdir, settings=one) as node:
        node.an_order()
        made = backup("create", "-f", path, "--output", output, "--check", "full")
        assert made.exit_code == 0, made.output
        copied = rows(output)
        node.an_order()
    assert copied["events"] == rows(one.database.path)["events"][: len(copied["events"])]
    for table in ("secrets", "subject_keys"):
        assert copied[table] == rows(one.database.path)[table]
    assert output.stat().st_mode & 0o777 == 0o600
    verified = backup("verify", "--input", output, "--schema")
    assert verified.exit_code == 0, verified.output
    assert f"up to position {len(copied['events'])}" in verified.output


def test_a_backup_has_nothing_of_the_workdir(path: Path, one: Settings, tmp_path: Path) -> None:
    backup("create", "-f", path, "--output", tmp_path / "a.backup")
    held = (tmp_path / "a.backup").read_bytes()
    for name in ("keys/signing.pem", "secret.key"):
        assert (one.workdir / name).read_bytes() not in held


def test_the_key_of_secrets_is_copied_only_when_asked_and_with_a_word(
    path: Path, one: Settings, tmp_path: Path
) -> None:
    output = tmp_path / "a.backup"
    made = backup("create", "-f", path, "--output", output, "--with-secret-key")
    assert made.exit_code == 0
    copy = tmp_path / "a.backup.secret.key"
    assert copy.read_bytes() == one.secrets.key_file.read_bytes()
    assert copy.stat().st_mode & 0o777 == 0o600
    assert "Keep it elsewhere" in made.output


def test_a_backup_never_overwrites(path: Path, one: Settings, tmp_path: Path) -> None:
    output = tmp_path / "a.backup"
    output.write_bytes(b"precious")
    before = contents(one.workdir, tmp_path)
    made = backup("create", "-f", path, "--output", output)
    assert made.exit_code == 1
    assert "never overwrites" in made.output
    assert contents(one.workdir, tmp_path) == before


@pytest.mark.parametrize(
    ("check", "statement", "word"),
    [
        ("quick", "UPDATE log_head SET position = 3", "log_head is at position 3"),
        ("full", "UPDATE orders SET status = 'valid'", "not what the log says"),
        ("full", "UPDATE events SET hash = 'x' WHERE position = 4", "position 4: column hash"),
    ],
)
def test_a_suspect_copy_is_kept_only_when_that_is_allowed(
    *, path: Path, one: Settings, tmp_path: Path, check: str, statement: str, word: str
) -> None:
    sql(one.database.path, statement)
    output = tmp_path / "a.backup"
    words = ("create", "-f", path, "--output", output, "--check", check)
    made = backup(*words)
    assert (made.exit_code, output.exists()) == (1, False), made.output
    assert word in made.output
    made = backup(*words, "--allow-incomplete")
    assert (made.exit_code, output.exists()) == (2, True)
    assert backup("verify", "--input", output, "--check", check).exit_code == 1
    assert not list(tmp_path.glob(".*.new"))


def test_a_wrong_command_line_has_made_nothing(path: Path) -> None:
    assert backup("create", "-f", path).exit_code == 1
    assert backup("verify").exit_code == 2


def test_a_copy_without_a_database_is_refused(path: Path, tmp_path: Path) -> None:
    made = backup("create", "-f", path, "--output", tmp_path / "a.backup")
    assert made.exit_code == 1
    assert "there is no database at" in made.output
    assert not (tmp_path / "a.backup").exists()


def test_a_folder_that_is_not_there_is_named(path: Path, one: Settings, tmp_path: Path) -> None:
    assert one.database.path.exists()
    made = backup("create", "-f", path, "--output", tmp_path / "none" / "a.backup")
    assert made.exit_code == 1
    assert made.output == (
        f"certeasy: {tmp_path}/none is no folder: make it first, or give --output another one\n"
    )


@pytest.mark.parametrize("content", [b"", b"this is no database" * 400])
def test_a_file_that_is_no_backup_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.backup").write_bytes(content)
    found = backup("verify", "--input", tmp_path / "a.backup")
    assert found.exit_code == 1
    assert found.output.startswith("certeasy: ")
    assert backup("verify", "--input", tmp_path / "nothing").exit_code == 1


def test_a_table_of_another_shape_is_named(path: Path, one: Settings, tmp_path: Path) -> None:
    output = tmp_path / "a.backup"
    backup("create", "-f", path, "--output", output)
    sql(output, "DROP INDEX certificates_serial")
    found = backup("verify", "--input", output, "--schema", "--check", "quick")
    assert found.exit_code == 1
    assert "index certificates_serial is missing" in found.output


# -- putting one back ----------------------------------------------------------------------------


def lose(settings: Settings) -> None:
    for path in settings.database.path.parent.glob("db.sqlite*"):
        path.unlink()


def test_a_backup_and_the_journal_bring_everything_back(
    path: Path, one: Settings, tmp_path: Path
) -> None:
    output = tmp_path / "a.backup"
    backup("create", "-f", path, "--output", output)
    serve(one, 5)
    kept = rows(one.database.path)
    lose(one)
    done = backup("restore", "--input", output, "-f", path)
    assert done.exit_code == 0, done.output
    assert f"run 'certeasy journal restore -f {path}' now" in done.output
    restored = CliRunner().invoke(group, ["journal", "restore", "-f", str(path)])
    assert restored.exit_code == 0, restored.output
    now = rows(one.database.path)
    assert now["events"][: len(kept["events"])] == kept["events"]
    for table in ("orders", "nodes", "secrets"):
        assert now[table] == kept[table]
    serve(one)
    check_node(one.workdir)


def test_a_database_that_is_there_is_never_lost(path: Path, one: Settings, tmp_path: Path) -> None:
    output = tmp_path / "a.backup"
    backup("create", "-f", path, "--output", output)
    before = contents(one.workdir)
    done = backup("restore", "--input", output, "-f", path)
    assert done.exit_code == 1
    assert "--replace" in done.output
    assert contents(one.workdir) == before
    old = rows(one.database.path)
    done = backup("restore", "--input", output, "-f", path, "--replace")
    assert done.exit_code == 0, done.output
    [aside] = [p for p in one.workdir.glob("*.replaced-*") if not p.name.endswith(("-wal", "-shm"))]
    assert rows(aside) == old
    serve(one)
    check_node(one.workdir)


def test_nothing_is_put_back_under_a_running_server(
    path: Path, one: Settings, tmp_path: Path
) -> None:
    output = tmp_path / "a.backup"
    backup("create", "-f", path, "--output", output)
    with a_node(one.workdir, settings=one):
        done = backup("restore", "--input", output, "-f", path, "--replace")
    assert done.exit_code == 1
    assert "another process is using the workdir" in done.output


def test_another_installation_s_backup_is_refused(
    path: Path, one: Settings, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = a_config(tmp_path / "other")
    serve(config.load(other))
    backup("create", "-f", other, "--output", tmp_path / "a.backup")
    lose(one)
    done = backup("restore", "--input", tmp_path / "a.backup", "-f", path)
    assert done.exit_code == 1
    assert "choose the right backup" in done.output
    assert not one.database.path.exists()
