"""What `make install` and its like say while they take their time."""

import re
import sys
from pathlib import Path

import pytest

from tools import environment

ROOT = Path(__file__).resolve().parents[2]
PIP = """
import sys
for number in range(1, 24):
    print(f"Collecting package-{number}==1.0 (from -r requirements/runtime.txt)")
    print(f"  Downloading package_{number}-1.0.whl (12 kB)")
print("Requirement already satisfied: package-24==1.0 in .venv")
print("Installing collected packages: package-1, package-2")
print("ERROR: of pip's own", file=sys.stderr)
sys.exit(int(sys.argv[1]))
"""


def test_whoever_waits_is_told_how_far_it_is(capfd: pytest.CaptureFixture[str]):
    environment.watched([sys.executable, "-c", PIP, "0"], 25)
    told = capfd.readouterr()
    assert told.out.splitlines() == [
        "  10 packages, of at most 25 ...",
        "  20 packages, of at most 25 ...",
        "  all 24 packages are here, and are unpacked ...",
    ]
    assert told.err == ""


def test_a_step_that_fails_shows_what_pip_said_and_ends_with_its_status(
    capfd: pytest.CaptureFixture[str],
):
    with pytest.raises(SystemExit) as ended:
        environment.watched([sys.executable, "-c", PIP, "3"], 25)
    assert ended.value.code == 3
    told = capfd.readouterr().err
    assert "ERROR: of pip's own\n" in told
    assert f"failed: {sys.executable} -c" in told


@pytest.mark.parametrize("level", environment.LEVELS)
def test_the_packages_of_a_lock_file_are_counted(level: str):
    text = (ROOT / f"requirements/{level}.txt").read_text()
    assert environment.packages(level) == len(re.findall(r"^[\w.-]+==", text, re.MULTILINE)) > 40
