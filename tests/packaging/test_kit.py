"""The auditor's kit: one file that proves everything where only msgspec and cryptography are."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

import msgspec
import pytest

from tests.make.audited import both, certeasy, laid_out
from tests.make.journals import ALog, a_log
from tests.make.stories import every_story
from tools.kit import build, write

NEEDED = ("msgspec", "cryptography", "cffi", "_cffi_backend", "pycparser")  # and what they need


@pytest.fixture(scope="module")
def log() -> ALog:
    log = a_log(nodes=2)
    every_story(log)
    log.an_order("mail.corp.internal", by=1)
    return log


@pytest.fixture(scope="module")
def folder(log: ALog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an auditor may be given, the kit, and a `site` with what the kit needs."""
    folder = laid_out(log, tmp_path_factory.mktemp("kit"))
    (folder / "kit.pyz").write_bytes(build())
    (folder / "site").mkdir()
    for name in NEEDED:
        spec = find_spec(name)
        if spec is not None and spec.origin is not None:
            path = Path(spec.origin)
            path = path.parent if path.name == "__init__.py" else path
            (folder / "site" / path.name).symlink_to(path)
    return folder


def python(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a Python that has nothing but its own library and `site`."""
    return subprocess.run(
        [sys.executable, "-S", "-s", *map(str, arguments)],
        cwd=folder / "site",
        env={"PYTHONPATH": str(folder / "site")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def kit(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return python(folder, folder / "kit.pyz", *arguments)


def test_the_place_it_is_tried_in_has_nothing_else(folder: Path):
    for name in ("click", "rich", "sqlalchemy", "yaml", "certeasy", "events"):
        assert python(folder, "-c", f"import {name}").returncode == 1
    assert python(folder, "-c", "import msgspec, cryptography").returncode == 0


def test_it_verifies_and_replays_and_compares(folder: Path, log: ALog):
    live = folder / "live.sqlite"
    config = folder / "config.yml"
    assert certeasy("projections", "export", "-f", config, "--out", live).exit_code == 0
    keys = ("--keys", folder / "keys.json")
    done = kit(folder, "verify", *both(folder), *keys)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("verified\n")
    done = kit(folder, "replay", *both(folder), *keys, "--out", folder / "state.sqlite", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert msgspec.json.decode(done.stdout)["as_of"]["position"] == log.position
    done = kit(folder, "diff", folder / "state.sqlite", live)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("equal: ")


def test_it_opens_evidence_and_looks_into_journals(folder: Path):
    packed = folder / "evidence.zip"
    assert certeasy("audit", "export", "-f", folder / "config.yml", "--out", packed).exit_code == 0
    for command in (
        ("verify", "--evidence", packed),
        ("show", "name", "mail.corp.internal", *both(folder)),
        ("head", *both(folder)),
        ("list-servers", *both(folder)),
        ("keys", *both(folder)),
    ):
        done = kit(folder, *command)
        assert (done.returncode, done.stderr) == (0, ""), command


def test_a_break_is_told_as_the_server_s_command_tells_it(folder: Path, tmp_path: Path):
    journal = tmp_path / "audit.log"
    data = (folder / "node1" / "audit.log").read_bytes()
    journal.write_bytes(data.replace(b"web.corp", b"bew.corp", 1))
    done = kit(folder, "verify", "--journal", journal)
    assert (done.returncode, done.stdout) == (1, "")
    told = certeasy("audit", "verify", "--journal", journal)
    assert done.stderr == told.stderr


def test_it_says_what_needs_the_server(folder: Path):
    for command in ("verify", "head"):
        done = kit(folder, command, "-f", folder / "config.yml")
        assert done.returncode == 2
        assert "this is the kit, without the server" in done.stderr
    done = kit(folder, "export", "-f", folder / "config.yml", "--out", folder / "x")
    assert (done.returncode, "without the server" in done.stderr) == (2, True)


def test_it_says_which_packages_are_missing(folder: Path):
    (folder / "empty").mkdir()
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(folder / "kit.pyz"), "verify"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "python -m pip install msgspec cryptography" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_cannot_be_written_is_told_and_leaves_what_was_there(tmp_path: Path):
    kit = tmp_path / "kit.pyz"
    kit.write_bytes(b"the one before")
    tool = f"ulimit -f 8; exec {sys.executable} -m tools.kit --out"
    for out, meaning in ((kit, "File too large"), (tmp_path, "what is there is no file")):
        done = subprocess.run(
            ["/bin/sh", "-c", f"{tool} {out}"],
            # Neither bytecode nor what coverage writes is to be cut off at that size.
            env={"PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"Error: {out} cannot be written: {meaning}\n"
    assert kit.read_bytes() == b"the one before"
    assert [path.name for path in tmp_path.iterdir()] == ["kit.pyz"]


def test_the_same_sources_make_the_same_kit(folder: Path, tmp_path: Path):
    out = tmp_path / "again.pyz"
    (tmp_path / "link.pyz").symlink_to(out)
    write(build(), tmp_path / "link.pyz")
    assert out.read_bytes() == (folder / "kit.pyz").read_bytes()
    assert out.stat().st_mode & 0o777 == 0o755
    with ZipFile(folder / "kit.pyz") as packed:
        names = packed.namelist()
    assert len(names) == len(set(names))
    assert {"LICENSE", "click/LICENSE.txt", "certeasy/audit/diff.py"} <= set(names)
    assert not [n for n in names if n.startswith(("certeasy/store", "certeasy/ca", "tests"))]
