"""The npm packages of `tests/clients/npm`, installed once per lock file, outside the checkout."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from tests.make.acme_client import program, run

PACKAGES = Path(__file__).resolve().parents[1] / "clients/npm"


def installed() -> Path:
    """Return a folder whose `node_modules` is as the lock file says, installing it if need be."""
    lock = (PACKAGES / "package-lock.json").read_bytes()
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"  # noqa: TID251 - not the server's
    folder = Path(home, "certeasy-tests", f"npm-{hashlib.sha256(lock).hexdigest()[:16]}")
    if not (folder / "complete").exists():
        shutil.copytree(PACKAGES, folder, dirs_exist_ok=True)
        install = [program("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        subprocess.run(install, cwd=folder, check=True)
        (folder / "complete").touch()
    return folder


def run_script(script: Path, *arguments: str | Path, cwd: Path, **env: str | Path) -> str:
    """Run a script with those packages beside it; return its output, or raise AssertionError."""
    beside = installed() / script.name
    shutil.copyfile(script, beside)  # Node looks for packages where the script is
    return run([program("node"), beside, *arguments], cwd=cwd, **env)
