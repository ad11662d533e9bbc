"""Evidence as `audit export` packs it, and what is done to it on its way to the auditor."""

import hashlib
import os
import shutil
import sqlite3
import stat
from contextlib import ExitStack, closing
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA, ZipFile

import msgspec
import pytest

from certeasy.audit import evidence
from certeasy.audit.packing import from_journal
from journal.segments import bounds_of
from tests.make.audited import both, certeasy, laid_out, run
from tests.make.journals import a_log, a_rotation, write_segments
from tests.make.stories import every_story


@pytest.fixture
def log():
    log = a_log(nodes=2)
    every_story(log)
    a_rotation(log)
    log.an_order("mail.corp.internal", by=1)
    log.a_start()
    return log


@pytest.fixture
def folder(log, tmp_path):
    laid_out(log, tmp_path)
    write_segments(log.nodes[0], tmp_path / "work")
    return tmp_path


def export(folder, name="evidence", *more):
    out = folder / name
    result = certeasy("audit", "export", "-f", folder / "config.yml", "--out", out, *more)
    assert (result.exit_code, result.stderr) == (0, "")
    return out, result.stdout


def manifest_of(packed):
    return msgspec.json.decode((packed / "manifest.json").read_bytes())


@pytest.mark.parametrize("name", ["evidence", "evidence.zip"])
def test_what_is_packed_is_enough_to_prove_everything(folder, log, name):
    packed, told = export(folder, name)
    assert f"node {log.nodes[1].server_id}: from the database" in told
    assert told.endswith("verified\n")
    kid = log.nodes[0].key.public.kid
    result = run("verify", "--evidence", packed, "--anchor", kid)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "every file is the one in its manifest" in result.stdout
    assert f"positions 1 to {log.position}," in result.stdout
    state = folder / "state.sqlite"
    assert run("replay", "--evidence", packed, "--out", state).exit_code == 0
    live = folder / "live.sqlite"
    assert (
        certeasy("projections", "export", "-f", folder / "config.yml", "--out", live).exit_code == 0
    )
    assert run("diff", state, live).exit_code == 0


def test_the_manifest_says_what_there_is_and_where_it_is_from(folder, log):
    packed, _ = export(folder)
    manifest = manifest_of(packed)
    one, two = log.nodes
    closed = next(n for n, r in enumerate(one.records, 1) if "segment-closed" in r.envelope.type)
    lines = [
        (f["name"], f["first_seq"], f["last_seq"], f["source"])
        for f in manifest["files"]
        if "source" in f
    ]
    assert lines == [
        (f"{one.server_id}/audit.1-{closed}.log", 1, closed, "journal"),
        (f"{one.server_id}/audit.log", closed + 1, len(one.records), "journal"),
        (f"{two.server_id}/audit.log", 1, len(two.records), "database"),
    ]
    assert (packed / two.server_id / "audit.log").read_bytes() == two.journal
    assert manifest["anchor"] == one.key.public.kid
    assert manifest["position"] == log.position
    assert (packed / "keys.json").read_bytes() == msgspec.json.format(log.key_set())
    others, told = export(folder, "others", "--journal", folder / "node2")
    assert "from the database" not in told
    assert {f.get("source", "") for f in manifest_of(others)["files"]} == {"journal", ""}


def test_nothing_secret_is_packed(folder, log):
    keys = folder / "work" / "keys"
    keys.mkdir()
    (keys / "signing.pem").write_bytes(log.nodes[0].key.to_pem())
    packed, _ = export(folder)
    everything = b"".join(file.read_bytes() for file in packed.rglob("*") if file.is_file())
    assert b"PRIVATE" not in everything
    for key in log.subjects.values():
        assert key not in everything
    names = {file.name for file in packed.rglob("*") if file.is_file()}
    assert {name.split(".")[0] for name in names} == {"audit", "keys", "head", "manifest"}


def cut_the_last_line(packed):
    path = next(packed.glob("*/audit.log"))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))


def change_a_byte(packed):
    path = next(packed.glob("*/audit.*-*.log"))
    path.write_bytes(path.read_bytes().replace(b"web.", b"bew.", 1))


def remove_a_file(packed):
    next(packed.glob("*/audit.*-*.log")).unlink()


def add_a_file(packed):
    (packed / "more.txt").write_text("more")


def change_keys(packed):
    (packed / "keys.json").write_bytes(b'{"keys":[]}')


def break_the_manifest(packed):
    (packed / "manifest.json").write_bytes(b"{")


CHANGES = {
    "cut": (cut_the_last_line, "bytes, the manifest says"),
    "changed": (change_a_byte, "has the SHA-256"),
    "removed": (remove_a_file, "the manifest has it, but it is not there"),
    "added": (add_a_file, "it is not in the manifest"),
    "keys": (change_keys, "bytes, the manifest says"),
    "manifest": (break_the_manifest, "it is no manifest"),
}


@pytest.mark.parametrize(("hurt", "reason"), CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
def test_what_happens_on_the_way_is_told(folder, hurt, reason, zipped):
    packed, _ = export(folder)
    hurt(packed)
    if zipped:
        packed = shutil.make_archive(str(folder / "zipped"), "zip", packed)
    result = run("verify", "--evidence", packed)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"{packed}/")
    assert reason in result.stderr
    assert result.stderr.count("\n") == 1


def rewritten(packed, **members):
    """Change the manifest, so that it fits what was done to the files."""
    manifest = {**manifest_of(packed), **members}
    (packed / "manifest.json").write_bytes(msgspec.json.encode(manifest))


FORGED = {
    "anchor": ({"anchor": "x"}, "anchor x, but the journals have"),
    "installation": ({"installation_id": "x"}, "installation x, but the journals"),
    "position": ({"position": 3}, "position 3, but the journals"),
    "a name outside": (
        {"files": [{"name": "../x", "size": 0, "sha256": ""}]},
        "this is no file of evidence",
    ),
    "no files": ({"files": []}, "does not name head.json"),
}


@pytest.mark.parametrize(("members", "reason"), FORGED.values(), ids=FORGED)
def test_a_manifest_that_says_otherwise_than_the_log_is_told(folder, members, reason):
    packed, _ = export(folder)
    rewritten(packed, **members)
    result = run("verify", "--evidence", packed)
    assert (result.exit_code, reason in result.stderr) == (1, True), result.stderr


def test_a_seq_range_and_a_node_that_are_not_so_are_told(folder, log):
    packed, _ = export(folder)
    files = manifest_of(packed)["files"]
    rewritten(packed, files=[{**f, "last_seq": 2} if "source" in f else f for f in files])
    assert "up to seq 2, but its journal ends" in run("verify", "--evidence", packed).stderr
    rewritten(packed, files=[{**f, "server_id": "x"} if "source" in f else f for f in files])
    assert "is of node x" in run("verify", "--evidence", packed).stderr
    rewritten(packed, files=files * 2)
    assert "twice" in run("verify", "--evidence", packed).stderr


def test_a_break_inside_a_zip_file_names_the_file_as_it_is_in_there(folder, log):
    journal = folder / "work" / "audit.log"
    journal.write_bytes(journal.read_bytes().replace(b'"boot-', b'"toob-', 1))
    out = folder / "evidence.zip"
    result = certeasy("audit", "export", "-f", folder / "config.yml", "--out", out)
    assert result.exit_code == 1
    named = f"{out}/{log.nodes[0].server_id}/audit.log:1: "
    assert result.stderr.startswith(named)
    assert "the line was changed" in result.stderr
    again = run("verify", "--evidence", out)
    assert (again.exit_code, again.stderr) == (1, result.stderr)
    assert str(folder) in result.stderr


def test_what_is_no_evidence_is_told(folder):
    (folder / "rubbish.zip").write_bytes(b"rubbish")
    for path in ("none", "rubbish.zip", "node1"):
        result = run("verify", "--evidence", folder / path)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    packed, _ = export(folder)
    rewritten(packed, format=99)
    assert "this version reads format 1" in run("verify", "--evidence", packed).stderr
    assert run("verify", "--evidence", packed, *both(folder)).exit_code == 2


def test_a_zip_file_that_would_write_elsewhere_is_refused(folder):
    for name in ("../evil", "/evil", "a/b/c"):
        path = folder / "evil.zip"
        with ZipFile(path, "w") as packed:
            packed.writestr(name, "evil")
        result = run("verify", "--evidence", path)
        assert (result.exit_code, "its name is none of evidence" in result.stderr) == (1, True)


def test_a_damaged_zip_file_is_told(folder):
    packed, _ = export(folder, "evidence.zip")
    data = bytearray(packed.read_bytes())
    for offset in range(200, len(data) // 2, 97):
        data[offset] ^= 0xFF
    packed.write_bytes(data)
    result = run("verify", "--evidence", packed)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)


def test_an_export_writes_over_nothing_and_leaves_nothing_half(folder):
    packed, _ = export(folder)
    again = certeasy("audit", "export", "-f", folder / "config.yml", "--out", packed)
    assert (again.exit_code, again.stderr) == (2, f"certeasy: {packed} exists already\n")
    (folder / "work" / "db.sqlite").unlink()
    none = certeasy("audit", "export", "-f", folder / "config.yml", "--out", folder / "none")
    assert none.exit_code == 1
    assert list(folder.glob("none*")) == []


def test_lines_behind_the_head_and_a_torn_end_stay_behind(folder, log):
    # The server goes on while its log is packed: what is behind the head is another day's.
    log.a_start()
    write_segments(log.nodes[0], folder / "work")
    with (folder / "work" / "audit.log").open("ab") as file:
        file.write(b'{"v":1,"posi')
    packed, _ = export(folder)
    assert manifest_of(packed)["position"] == log.position - 1


def test_a_journal_that_turns_to_its_next_file_while_it_is_packed_is_packed_whole(folder, log):
    work, node = folder / "work", log.nodes[0]
    closed = bounds_of(next(work.glob("audit.*-*.log")).name)
    with ExitStack() as held:
        parts = from_journal(work / "audit.log", held)
        last = len(node.records)
        (work / "audit.log").rename(work / f"audit.{closed.last + 1}-{last}.log")
        (work / "audit.log").write_bytes(b"")
        packed = [line for part in parts for line in part.lines]
    assert b"".join(packed) == node.journal


# -- what somebody else packed -------------------------------------------------------------------


def a_zip(path, compression=ZIP_DEFLATED, **files):
    with ZipFile(path, "w", compression) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return path


def test_a_zip_file_made_to_fill_the_disk_is_not_unpacked(tmp_path):
    bomb = a_zip(tmp_path / "evidence.zip", **{"manifest.json": bytes(32 << 20)})
    result = run("verify", "--evidence", bomb)
    assert result.exit_code == 1
    assert f"1 files of {32 << 20} bytes together: no evidence packs so much" in result.stderr


def test_a_zip_file_larger_than_the_room_there_is_is_not_unpacked(folder, monkeypatch):
    packed, _ = export(folder, "evidence.zip")
    monkeypatch.setattr(evidence, "_free", lambda _folder: 1000)
    result = run("verify", "--evidence", packed)
    assert result.exit_code == 1
    assert "bytes to be unpacked, 1000 are free" in result.stderr


def test_only_what_export_does_is_unpacked(tmp_path):
    for way in (ZIP_BZIP2, ZIP_LZMA):
        strange = a_zip(tmp_path / f"{way}.zip", way, **{"manifest.json": b"{}"})
        result = run("verify", "--evidence", strange)
        assert result.exit_code == 1
        assert "packed in a way that `audit export` never does" in result.stderr


def test_names_in_a_zip_file_cannot_steer_a_terminal(tmp_path):
    for name in ("\x1b]0;proven\x07", "a\nverified", "../../etc/x", "/etc/x"):
        result = run("verify", "--evidence", a_zip(tmp_path / "e.zip", **{name: b"x"}))
        assert result.exit_code == 1
        assert "its name is none of evidence" in result.stderr
        assert result.stderr.rstrip("\n").isprintable()
        (tmp_path / "e.zip").unlink()


@pytest.mark.parametrize("name", ["keys.json", "head.json"])
def test_small_files_are_small(folder, name):
    packed, _ = export(folder)
    content = bytes(evidence.MAX_SMALL + 1)
    (packed / name).write_bytes(content)
    manifest = manifest_of(packed)
    for file in manifest["files"]:
        if file["name"] == name:
            file |= {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (packed / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    result = run("verify", "--evidence", packed)
    assert result.exit_code == 1
    assert f"{name}: it has more than {evidence.MAX_SMALL} bytes" in result.stderr


def test_a_zip_file_with_any_byte_changed_is_told_in_one_line(folder):
    packed, _ = export(folder, "evidence.zip")
    whole = packed.read_bytes()
    directory = whole.rindex(b"PK\x01\x02", 0, whole.index(b"PK\x01\x02") + 5)
    changed = folder / "changed.zip"
    for place in [*range(60), *range(directory, len(whole), 3)]:
        changed.write_bytes(whole[:place] + bytes([whole[place] ^ 0x5A]) + whole[place + 1 :])
        result = run("verify", "--evidence", changed)
        assert result.exit_code in {0, 1, 2}
        assert result.exception is None or isinstance(result.exception, SystemExit), place


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX's")
def test_what_is_written_is_the_owner_s_until_it_is_given_away(folder):
    old = os.umask(0o022)
    try:
        packed, _ = export(folder)
        zipped, _ = export(folder, "evidence.zip")
        state = folder / "state.sqlite"
        assert run("replay", "--evidence", zipped, "--out", state).exit_code == 0
    finally:
        os.umask(old)
    for path in (packed, *packed.rglob("*"), zipped, state):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_a_state_whose_as_of_is_a_view_is_none(folder):
    packed, _ = export(folder)
    state = folder / "state.sqlite"
    assert run("replay", "--evidence", packed, "--out", state).exit_code == 0
    with closing(sqlite3.connect(state)) as connection:
        connection.execute("DROP TABLE as_of")
        connection.execute(
            "CREATE VIEW as_of AS WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n FROM r)"
            " SELECT n AS position, '' AS hash, '' AS at, 2 AS projections FROM r"
        )
        connection.commit()
    result = run("diff", state, state)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "does not say what it is a state of" in result.stderr
