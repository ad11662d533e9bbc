"""A node serves when an endorsed one vouches for it: nobody would believe what it wrote else."""

import pytest
from click.testing import CliRunner

from certeasy import config
from certeasy.app import Application
from certeasy.cli import group
from certeasy.cluster.boot import BootRefused
from tests.make.configs import a_config


def run(*words):
    return CliRunner().invoke(group, [str(word) for word in words])


@pytest.fixture
def pair(tmp_path):
    """Two configurations on one database; the first node has served."""
    files = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        database = f"{{path: {tmp_path / 'db.sqlite'}}}"
        key = f"{{key-file: {tmp_path / 'secret.key'}}}"
        files.append(a_config(folder, database=database, secrets=key))
    served(files[0])
    return files


def served(file, **how):
    application = Application(config.load(file), **how)
    application.open()
    application.close()


def refusal(file):
    with pytest.raises(BootRefused) as caught:
        served(file)
    return str(caught.value)


def test_a_node_that_nobody_vouches_for_does_not_serve_and_writes_nothing(pair):
    one, two = pair
    said = refusal(two)
    own = (config.load(two).workdir / "server_id").read_text().strip()
    first = (config.load(one).workdir / "server_id").read_text().strip()
    assert f"'certeasy node endorse {own} " in said
    assert f"on an endorsed node (node {first} on " in said
    assert run("audit", "verify", "-f", one).exit_code == 0
    assert own not in run("audit", "list-servers", "-f", one).stdout


def test_what_the_refusal_says_is_all_that_has_to_be_typed(pair):
    one, two = pair
    words = refusal(two).partition("'certeasy ")[2].partition(" -f config.yml'")[0].split()
    done = run(*words, "-f", one)
    assert done.exit_code == 0, done.output
    served(two)
    served(one)
    journals = [f"--journal={config.load(two).audit.path}"]
    assert run("audit", "verify", "-f", one, *journals).exit_code == 0


def test_where_no_endorsed_node_is_left_it_serves_when_told_and_is_trusted_by_hand(pair):
    one, two = pair
    kid = refusal(two).partition(" with key ")[2].split()[0]
    served(two, unendorsed=True)
    journals = [f"--journal={config.load(two).audit.path}"]
    assert run("audit", "verify", "-f", one, *journals).exit_code == 1
    assert run("audit", "verify", "-f", one, *journals, "--trust", kid).exit_code == 0
    assert "is not endorsed" in refusal(two)
