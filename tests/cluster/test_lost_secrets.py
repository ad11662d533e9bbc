"""A lost secret is lost: nothing is made anew in its place behind the log's back."""

import sqlite3
from pathlib import Path

import pytest

from certeasy.cluster.boot import BootRefused
from tests.make.server import a_server


def forget(folder: Path, where: str) -> None:
    connection = sqlite3.connect(folder / "db.sqlite")
    with connection:
        connection.execute(f"DELETE FROM secrets WHERE {where}")  # noqa: S608 - a test's own words
    connection.close()


def root(folder: Path) -> bytes:
    return (folder / "lab-ca.root.pem").read_bytes()


def test_an_authority_the_log_knows_is_never_made_a_second_time(tmp_path):
    with a_server(tmp_path):
        before = root(tmp_path)
    forget(tmp_path, "name LIKE 'authority/%'")
    with pytest.raises(BootRefused, match="the log knows certificates of authority 'lab-ca'"):
        a_server(tmp_path).__enter__()
    assert root(tmp_path) == before


def test_a_key_file_is_never_made_beside_a_log(tmp_path):
    with a_server(tmp_path):
        pass
    forget(tmp_path, "1 = 1")
    (tmp_path / "secret.key").unlink()
    with pytest.raises(BootRefused, match=r"secret\.key"):
        a_server(tmp_path).__enter__()
    assert not (tmp_path / "secret.key").exists()


def test_the_root_is_not_written_through_a_link(tmp_path):
    workdir, target = tmp_path / "work", tmp_path / "precious"
    workdir.mkdir()
    target.write_text("precious")
    (workdir / "lab-ca.root.pem").symlink_to(target)
    with pytest.raises(BootRefused, match="link"):
        a_server(workdir).__enter__()
    assert target.read_text() == "precious"
