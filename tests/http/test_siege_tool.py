"""`tools.siege` measures what it says: good clients get all they ask for, slow ones are there."""

import subprocess
import sys
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[2]


def test_good_clients_get_their_certificates_among_slow_ones(tmp_path: Path) -> None:
    words = ["--slow", "60", "--clients", "2", "--orders", "6", "--rounds", "1"]
    command = [sys.executable, "-m", "tools.siege", *words, "--folder", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    told = msgspec.json.decode(done.stdout)
    (found,) = told["rounds"]
    assert (found["siege"]["certificates"], found["siege"]["failures"]) == (6, {})
    assert found["slow"]["connections"] >= 60
