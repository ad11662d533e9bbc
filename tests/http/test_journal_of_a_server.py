"""A real server's journal, verified by a JOSE library of others and by the docs' own verifier."""

import base64
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc import jws
from joserfc.jwk import KeySet

from certeasy.audit import listing
from certeasy.audit.replay import Replay
from certeasy.audit.verifying import Given, verify
from certeasy.ca.embedded import EmbeddedKeys
from events.signing import PublicKey
from projections.fold import TABLES
from tests.make.audited import CONFIG, certeasy, run
from tests.make.journals import a_log
from tests.make.lab import a_lab
from tests.make.waiting import soon

VERIFIER = Path(__file__).parents[2] / "docs" / "examples" / "verify_journal.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The workdir of a server that issued, revoked and stopped."""
    folder = tmp_path_factory.mktemp("server")
    with a_lab(folder) as lab:
        client = lab.client()
        client.register()
        client.certificate("web.lab.test")
        client.certificate("a.lab.test", "b.lab.test")
    return folder


def given(folder: Path) -> Given:
    node = Given()
    node.add_node(folder, folder / "audit.log", folder / "db.sqlite")
    return node


@pytest.fixture(scope="module")
def key_set(folder, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    keys = [PublicKey(node.x).jwk() for node in listing.keys(given(folder))]
    path.write_bytes(msgspec.json.encode({"keys": keys}))
    return path


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # the name that every library knows
def test_joserfc_verifies_every_line(folder, key_set):
    keys = KeySet.import_key_set(msgspec.json.decode(key_set.read_bytes()))
    registry = jws.JWSRegistry(algorithms=["EdDSA"])
    lines = (folder / "audit.log").read_bytes().splitlines()
    assert len(lines) > 20
    for line in lines:
        payload, _, signature = line.removesuffix(b'"}').rpartition(b',"jws":"')
        signed = jws.deserialize_compact(signature, keys, registry=registry, payload=payload + b"}")
        assert signed.payload == payload + b"}"


def run_verifier(*arguments: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, VERIFIER, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)


def test_the_verifier_of_the_documents_verifies_a_server_s_journal(folder, key_set):
    assert len(VERIFIER.read_text().splitlines()) <= 60
    journal = folder / "audit.log"
    done = run_verifier(key_set, journal)
    assert done.stderr == ""
    count = journal.read_bytes().count(b"\n")
    assert done.stdout.startswith(f"{count} lines verified, head ")


def test_the_verifier_of_the_documents_finds_what_was_changed(folder, key_set, tmp_path):
    lines = (folder / "audit.log").read_bytes().splitlines(keepends=True)
    changed = [*lines[:8], lines[8].replace(b'"schema":1', b'"schema":2'), *lines[9:]]
    shorter = [*lines[:8], *lines[9:]]
    torn = [*lines[:8], lines[8][:-1]]
    for number, other in enumerate((changed, shorter, torn)):
        path = tmp_path / f"{number}.log"
        path.write_bytes(b"".join(other))
        done = run_verifier(key_set, path)
        assert done.returncode == 1
        assert done.stderr.startswith(f"{path}:9: ")


def test_the_verifier_of_the_documents_follows_a_node_to_its_next_key(tmp_path):
    log = a_log(nodes=2)
    for by in (0, 1, 0):
        log.a_key_rotation(by=by)
        log.a_start(by=by)
    paths = log.write(tmp_path)
    done = run_verifier(tmp_path / "keys.json", *paths)
    assert done.stdout.startswith(f"{log.position} lines verified, head {log.head}"), done.stderr
    log.nodes[1].key = log.nodes[1].given_up[0]
    behind = log.a_start(by=1)
    paths[1].write_bytes(log.nodes[1].journal)
    done = run_verifier(tmp_path / "keys.json", *paths)
    assert done.returncode == 1
    place = f"{paths[1]}:{behind.envelope.seq}: another node's, or key's"
    assert done.stderr.startswith(place)


def test_the_verifier_of_the_documents_proves_nothing_from_nothing(key_set, tmp_path):
    (tmp_path / "audit.log").write_bytes(b"")
    done = run_verifier(key_set, tmp_path / "audit.log")
    assert (done.returncode, done.stderr) == (1, "the log is empty: nothing is proven\n")


def test_a_server_s_own_key_and_starts_are_where_the_auditor_looks(folder):
    own = given(folder).workdir
    (node,) = verify(given(folder)).nodes
    assert (own.server_id, own.kid) == (node.server_id, node.kid)
    assert len(own.boots) == 1


def test_a_server_s_journal_and_database_are_proven_together(folder):
    summary = verify(given(folder))
    assert summary.lines == (folder / "audit.log").read_bytes().count(b"\n")


def rows_of(path: Path) -> dict[str, list[tuple[object, ...]]]:
    with closing(sqlite3.connect(path)) as connection:
        return {
            table.name: connection.execute(
                f"SELECT {', '.join(c.name for c in table.columns)} FROM {table.name} ORDER BY 1, 2"  # noqa: S608 - declared names
            ).fetchall()
            for table in TABLES
        }


def test_a_replay_of_the_journal_makes_the_server_s_tables(folder, tmp_path):
    replay = Replay(tmp_path / "replay.sqlite")
    verify(given(folder), watch=replay)
    replay.finish()
    replay.close()
    assert rows_of(tmp_path / "replay.sqlite") == rows_of(folder / "db.sqlite")


def test_what_is_exported_beside_a_server_at_work_is_one_moment_of_it(tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    (tmp_path / "config.yml").write_text(CONFIG.format(work=work))
    with a_lab(work) as lab:
        client = lab.client()
        client.register()
        client.certificate("web.lab.test")
        ends, made = [0], list[str]()

        def go_on() -> None:
            while not stop.is_set():
                client.certificate("more.lab.test")
                made.append("more.lab.test")

        stop = threading.Event()
        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            for n in range(3):
                made.clear()
                soon(lambda: made)
                live, out = tmp_path / f"live{n}.sqlite", tmp_path / f"evidence{n}"
                config = ("-f", tmp_path / "config.yml")
                told = certeasy("projections", "export", *config, "--out", live, "--json")
                position = msgspec.json.decode(told.stdout)["as_of"]["position"]
                packed = certeasy("audit", "export", *config, "--out", out)
                assert (packed.exit_code, packed.stderr) == (0, "")
                state = tmp_path / f"replayed{n}.sqlite"
                replay = ("replay", "--evidence", out, "--position", position, "--out", state)
                assert run(*replay).exit_code == 0
                assert run("diff", state, live).exit_code == 0
                ends.append(position)
        finally:
            stop.set()
            thread.join()
    assert ends == sorted(set(ends))


def test_no_secret_of_a_server_is_in_its_files_in_clear(tmp_path: Path) -> None:
    with a_lab(tmp_path / "w") as lab:
        client = lab.client()
        client.register()
        client.certificate("web.lab.test")
        with closing(sqlite3.connect(tmp_path / "w/db.sqlite")) as connection:
            names = [name for (name,) in connection.execute("SELECT name FROM secrets")]
        secrets = {name: lab.server.node.secrets.get(name) or b"" for name in names}
    assert {"nonces", "authority/lab-ca"} <= secrets.keys()
    ca = EmbeddedKeys.decode(secrets["authority/lab-ca"])
    signing = tmp_path / "w/keys/signing.pem"
    key: Any = load_pem_private_key(signing.read_bytes(), None)
    secrets |= {"root": ca.root_key, "issuing": ca.issuing_key, "node": key.private_bytes_raw()}
    files = [path for path in (tmp_path / "w").rglob("*") if path.is_file() and path != signing]
    assert {"audit.log", "db.sqlite"} <= {path.name for path in files}
    for path in files:
        content = path.read_bytes()
        for name, secret in secrets.items():
            assert len(secret) >= 32
            for spelled in (secret, base64.b64encode(secret), base64.urlsafe_b64encode(secret)):
                assert spelled.rstrip(b"=") not in content, (path, name)
