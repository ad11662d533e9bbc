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
from collections import deque
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 - this is where an older one is turned away
    sys.exit(
        "certeasy needs Python 3.11 or later, and {} is {}.{}: name another one, as in "
        "'make PYTHON=python3.11 test'".format(sys.executable, *sys.version_info)
    )

LEVELS = ("runtime", "demo", "test", "check")
STEP = 10  # packages for one line of progress
LAST = 40  # lines that are shown of what pip said, if it failed
ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def main() -> None:
    """Bring the environment to the level named on the command line."""
    level = sys.argv[1] if len(sys.argv) == 2 else ""  # noqa: PLR2004 - the program and one word
    if level not in LEVELS:
        sys.exit("usage: python3 -m tools.environment {}".format("|".join(LEVELS)))
    if not in_place(level):
        say(f"Installing requirements/{level}.txt into .venv, once; this may take minutes ...")
        make_venv()
        install(level)
        stamp(level).write_text(digest(level))
        say("  done")


def say(line: str) -> None:
    """Tell whoever waits how it goes on."""
    print(line, flush=True)  # noqa: T201 - a program


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


def packages(name: str) -> int:
    """Return how many packages a lock file has, for this system and for others."""
    lines = lock(name).read_text(encoding="utf-8").splitlines()
    return sum("==" in line and line[:1].isalnum() for line in lines)


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
    quiet = [*pip, "-qq"]  # errors, and nothing else
    run([*quiet, "--require-hashes", "--requirement", str(lock("build"))])
    watched(
        [*pip, "--require-hashes", "--no-build-isolation", "--requirement", str(lock(level))],
        packages(level),
    )
    run([*quiet, "--no-deps", "--no-build-isolation", "--editable", str(ROOT)])


def pip_command() -> list[str]:
    """Return the pip of the environment, or the machine's own, told to work on the environment."""
    pip = [str(PYTHON), "-m", "pip"]
    if subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode:  # noqa: S603 - ours
        pip = [sys.executable, "-m", "pip", "--python", str(PYTHON)]
    return [*pip, "install", "--disable-pip-version-check"]


def run(command: list[str]) -> None:
    """Run a step; end with its exit status if it fails, since it has said why."""
    end_if_failed(subprocess.run(command, check=False, cwd=ROOT).returncode, command)  # noqa: S603 - our own words


def watched(command: list[str], most: int) -> None:
    """Run pip, and tell from what it says how far it is; the end of that is shown if it fails."""
    known, said = 0, deque[str](maxlen=LAST)
    with subprocess.Popen(  # noqa: S603 - our own words
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            said.append(line)
            if line.startswith(("Collecting ", "Requirement already satisfied: ")):
                known += 1
                if known % STEP == 0:
                    say(f"  {known} packages, of at most {most} ...")
            elif line.startswith("Installing collected packages: "):
                say(f"  all {known} packages are here, and are unpacked ...")
    if process.returncode:
        sys.stderr.writelines(said)
    end_if_failed(process.returncode, command)


def end_if_failed(status: int, command: list[str]) -> None:
    """End the program with this status, unless it is 0."""
    if status:
        print("failed: {}".format(" ".join(command)), file=sys.stderr)  # noqa: T201 - a program
        sys.exit(status)


if __name__ == "__main__":
    main()
