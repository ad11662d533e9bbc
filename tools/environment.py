"""Build `.venv` with the machine's own Python and its own pip, and nothing else prepared.

    python3 -m tools.environment LEVEL      LEVEL: runtime, demo, test or check

Each level is a lock file in `requirements/` and contains the one before it. Every package is
installed by its hash, builders included: first those (`requirements/build.txt`), then the rest
without build isolation, then this checkout itself. A level that is in place is not installed again
until a lock file or `pyproject.toml` changes.

It starts on any Python 3, so that one that is too old is told so in a sentence.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 - this is where an older one is turned away
    sys.exit(
        "certeasy needs Python 3.11 or later, and {} is {}.{}: name another one, as in "
        "'make PYTHON=python3.11 test'".format(sys.executable, *sys.version_info)
    )

LEVELS = ("runtime", "demo", "test", "check")
ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def main() -> None:
    """Bring the environment to the level named on the command line."""
    level = sys.argv[1] if len(sys.argv) == 2 else ""  # noqa: PLR2004 - the program and one word
    if level not in LEVELS:
        sys.exit("usage: python3 -m tools.environment {}".format("|".join(LEVELS)))
    if not in_place(level):
        print(f"Installing requirements/{level}.txt into .venv, once ...", flush=True)  # noqa: T201 - a program
        make_venv()
        install(level)
        stamp(level).write_text(digest(level))


def stamp(level: str) -> Path:
    """Return the file that says which lock files `level` was installed from."""
    return VENV / ("installed-" + level)


def digest(level: str) -> str:
    """Return a digest of all that an environment at `level` depends on."""
    files = (lock("build"), lock(level), ROOT / "pyproject.toml")
    parts = [file.read_bytes() for file in files] + [repr((sys.version, str(VENV))).encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def in_place(level: str) -> bool:
    """Tell whether this level, or one that contains it, is installed from today's files."""
    enough = LEVELS[LEVELS.index(level) :]
    return any(stamp(one).exists() and stamp(one).read_text() == digest(one) for one in enough)


def lock(name: str) -> Path:
    """Return the lock file of that name."""
    return ROOT / "requirements" / (name + ".txt")


def make_venv() -> None:
    """Make the virtual environment unless it is there and of this Python's version."""
    if PYTHON.exists() and version_of(PYTHON) == sys.version_info[:2]:
        return
    command = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    # Debian's Python may come without the pip that venv copies: the machine's pip does it then.
    quiet = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - our own words
    if quiet.returncode:
        run([*command, "--without-pip"])


def version_of(python: Path) -> tuple[int, ...]:
    """Return (major, minor) of an interpreter; empty if it does not run."""
    ask = "import sys; print(*sys.version_info[:2])"
    answer = subprocess.run([python, "-c", ask], capture_output=True, check=False)  # noqa: S603 - ours
    return tuple(int(part) for part in answer.stdout.split())


def install(level: str) -> None:
    """Install the builders, the level's packages and this checkout."""
    pip = pip_command()
    run([*pip, "--require-hashes", "--requirement", str(lock("build"))])
    run([*pip, "--require-hashes", "--no-build-isolation", "--requirement", str(lock(level))])
    run([*pip, "--no-deps", "--no-build-isolation", "--editable", str(ROOT)])


def pip_command() -> list[str]:
    """Return the pip of the environment, or the machine's own, told to work on the environment."""
    pip = [str(PYTHON), "-m", "pip"]
    if subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode:  # noqa: S603 - ours
        pip = [sys.executable, "-m", "pip", "--python", str(PYTHON)]
    return [*pip, "install", "-qq", "--disable-pip-version-check"]  # errors, and nothing else


def run(command: list[str]) -> None:
    """Run a step; end with its exit status if it fails, since it has said why."""
    status = subprocess.run(command, check=False, cwd=ROOT).returncode  # noqa: S603 - our own words
    if status:
        print("failed: {}".format(" ".join(command)), file=sys.stderr)  # noqa: T201 - a program
        sys.exit(status)


if __name__ == "__main__":
    main()
