"""Certipy, a client of Windows CAs by others, in an environment of its own outside the checkout.

It is a tool of penetration testers; here it only shows that the simulated CA is not just the mirror
of our own client. What it depends on is locked apart, in `requirements/certipy.txt`.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).resolve().parents[2] / "requirements/certipy.txt"


def certipy(*arguments: str, cwd: Path) -> str:
    """Run it and return what it printed; raise AssertionError if it failed."""
    command = [installed() / "bin/certipy", *arguments]
    ended = subprocess.run(
        command, cwd=cwd, input="y\n", capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def installed() -> Path:
    """Return its environment, made once per lock file and Python."""
    named = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()[:16]
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"  # noqa: TID251 - not the server's
    folder = Path(home, "certeasy-tests", f"certipy-{named}")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("wb") as one_at_a_time:  # two test processes may come here at once
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            _install(folder / "venv")
    return folder / "venv"


def _install(venv: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
    pip = [venv / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--require-hashes", "--requirement", LOCK], check=True)
    (venv.parent / "complete").touch()
