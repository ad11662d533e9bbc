"""Write `requirements/*.txt` anew from `pyproject.toml`: every package by version and hash.

    .venv/bin/python -m tools.lock            keep what is locked where it still fits
    .venv/bin/python -m tools.lock --upgrade  take the newest that fit

One set of versions serves all: the largest set is solved first and binds the others. No registry's
address is written, so that a mirror serves as well as PyPI. Needs uv (requirements/lock.txt).
"""

import os
import subprocess
import sys
from pathlib import Path

RULES = ("--generate-hashes", "--no-emit-index-url", "--python-version=3.11")
EVERYWHERE = ("--universal",)
WINDOWS = ("--python-platform=x86_64-pc-windows-msvc",)
LARGEST = "check"
DATABASES = ("--extra=postgres", "--extra=sqlserver")
WANTED = {
    LARGEST: ["--extra=demo", *DATABASES, "--group=dev"],
    "test": ["--extra=demo", *DATABASES, "--group=build", "--group=test"],
    "databases": [*DATABASES, "--group=build"],
    "demo": ["--extra=demo", "--group=build"],
    "runtime": ["--group=build"],
    "server": [*DATABASES, "--extra=windows"],
}


def main() -> None:
    """Write every lock file; extra arguments go to uv."""
    for name, what in WANTED.items():
        bound = [] if name == LARGEST else [f"--constraint={lock(LARGEST)}"]
        compile_lock(name, ["pyproject.toml", *what, *bound, *sys.argv[1:]])
    compile_lock("build", ["--group=pyproject.toml:build", f"--constraint={lock(LARGEST)}"])
    # These are installed on top of the rest, so they have the same versions.
    same = f"--constraint={lock(LARGEST)}"
    for more in ("interop", "release"):
        compile_lock(more, [f"--group=pyproject.toml:{more}", same])
    # What runs under wine is no more than what Windows would have, of the same versions.
    sources = ["--group=pyproject.toml:wine-sources", "--no-deps", same]
    compile_lock("wine-sources", sources, WINDOWS)
    wheels = ["pyproject.toml", "--extra=windows", "--no-emit-package=impacket", same]
    compile_lock("wine", wheels, WINDOWS)
    for alone in ("lock", "certipy"):
        compile_lock(alone, [f"--group=pyproject.toml:{alone}"])


def lock(name: str) -> Path:
    """Return the lock file of that name, relative to the checkout."""
    return Path("requirements", f"{name}.txt")


def compile_lock(name: str, arguments: list[str], where: tuple[str, ...] = EVERYWHERE) -> None:
    """Run uv for one lock file; raise CalledProcessError if there is no solution."""
    uv = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", f"--output-file={lock(name)}"]
    named = {**os.environ, "UV_CUSTOM_COMPILE_COMMAND": "make lock"}  # noqa: TID251 - uv's own switch
    subprocess.run([*uv, *RULES, *where, *arguments], check=True, env=named)  # noqa: S603 - our own words


if __name__ == "__main__":
    main()
