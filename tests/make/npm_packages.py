"""The npm packages of `tests/clients/npm`, installed once per lock file, outside the checkout."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import msgspec

from tests.make.acme_client import program, run

PACKAGES = Path(__file__).resolve().parents[1] / "clients/npm"


def installed() -> Path:
    """Return a folder whose `node_modules` is as the lock file says, installing it if need be."""
    lock = (PACKAGES / "package-lock.json").read_bytes()
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"  # noqa: TID251 - not the server's
    folder = Path(home, "certeasy-tests", f"npm-{hashlib.sha256(lock).hexdigest()[:16]}")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("wb") as one_at_a_time:  # two test processes may come here at once
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            _install(folder)
    return folder


def _install(folder: Path) -> None:
    shutil.copytree(PACKAGES, folder, dirs_exist_ok=True)
    install = [program("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    subprocess.run(install, cwd=folder, check=True)
    (folder / "complete").touch()


def run_script(script: Path, *arguments: str | Path, cwd: Path, **env: str | Path) -> str:
    """Run a script with those packages beside it; return its output, or raise AssertionError."""
    # Node looks for packages where the script is; two processes may each put theirs there at once.
    beside = installed() / f"{os.getpid()}-{script.name}"
    shutil.copyfile(script, beside)
    try:
        return run([program("node"), beside, *arguments], cwd=cwd, **env)
    finally:
        beside.unlink()


def version_of_package(package: str) -> str:
    """Return the version of an npm package, as it is installed."""
    manifest = installed() / "node_modules" / package / "package.json"
    version: str = msgspec.json.decode(manifest.read_bytes())["version"]
    return version
