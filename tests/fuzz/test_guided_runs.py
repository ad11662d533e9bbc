"""The run that is guided by coverage: it runs, says how far it came, and tells what it finds."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import drive, targets
from tools import fuzz


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the tool as a person does."""
    command = [sys.executable, "-m", "tools.fuzz", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=170)


def test_every_target_is_run_if_none_is_named() -> None:
    assert set(fuzz.TARGETS) == set(targets.TARGETS) - {"planted"}


@pytest.mark.timeout(180)  # its process prepares our whole code for being watched
def test_a_run_tells_seed_and_executions_and_finds_nothing(tmp_path: Path) -> None:
    done = run("jws", "--seconds", "1", "--seed", "7", "--folder", str(tmp_path))
    assert done.returncode == 0, done.stdout
    (line,) = [line for line in done.stdout.splitlines() if "executions" in line]
    assert line.startswith("jws ")
    assert " seed 7: " in line
    assert line.endswith("nothing found")
    assert int(line.split("seed 7:")[1].split()[0]) > 0
    assert ("changed blindly" in done.stdout) is not drive.guided()


@pytest.mark.timeout(180)
def test_a_finding_is_told_and_its_input_kept(tmp_path: Path) -> None:
    done = run("planted", "--seconds", "20", "--folder", str(tmp_path))
    assert done.returncode == 1
    assert "SOMETHING found" in done.stdout
    assert "what was planted here is found" in done.stdout
    kept = [path.read_bytes() for path in tmp_path.glob("planted-*")]
    assert any(b"!" in data for data in kept)


def test_blind_changes_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    def some(seed: int) -> list[bytes]:
        made = drive.changed([b"one", b"two"], random.Random(seed))  # noqa: S311 - no secrets
        return [next(made) for _ in range(200)]

    assert some(1) == some(1) != some(2)
    drive._blind("name", 1, 1, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_found_blindly_is_kept(tmp_path: Path) -> None:
    try:
        drive._blind("planted", 30, 1, tmp_path)
    except LookupError:
        assert b"!" in (tmp_path / "planted-finding").read_bytes()
    else:
        raise AssertionError("what was planted was not found")
