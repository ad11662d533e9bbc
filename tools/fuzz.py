"""Give the readers of requests, certificate requests, names, and of what a CA of a domain answers,
any bytes at all, for a while.

    python -m tools.fuzz [TARGET ...] [--seconds N] [--seed N] [--folder DIR]

Targets: see `tests/fuzz/targets.py`; all of them if none is named. Each runs in a process of its
own, guided by the coverage of the code (atheris), and a line tells its seed and how many inputs it
was given. What is found is kept in the folder; the exit status is 1 then.
"""

import argparse
import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

TARGETS = (
    "jws", "signed-request", "json", "binding", "csr", "csr-text", "signed-csr", "csr-subject",
    "csr-extension", "name",
    "address", "contact", "cert-id", "issue-value", "http-answer", "alpn-certificate",
    "alpn-extension", "rpc-reply", "rpc-binding", "rpc-plain", "rpc-mapper", "ntlm-challenge",
    "gss-answer", "ca-reply", "ca-certificate", "ca-object", "kdc-reply", "ldap-answer",
    "descriptor",
)  # fmt: skip
EXECUTED = re.compile(r"stat::number_of_executed_units: *([0-9]+)")
COVERED = re.compile(r"cov: ([0-9]+)")
SHOWN = 25
"""Lines of a finding that are shown."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the targets one after the other; return 1 if anything was found."""
    asked = _parser().parse_args(arguments)
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="certeasy-fuzz-"))
    folder.mkdir(parents=True, exist_ok=True)
    if importlib.util.find_spec("atheris") is None:
        _tell("atheris has no wheel for this Python or machine: inputs are changed blindly")
    found = [name for name in asked.targets or TARGETS if not _run(name, asked, folder)]
    if found:
        _tell(f"found something in {', '.join(found)}; the inputs are in {folder}")
    return 1 if found else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tools.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="which of them; all if none")
    parser.add_argument("--seconds", type=int, default=5, help="for each target (default: 5)")
    parser.add_argument("--seed", type=int, default=1, help="of the random changes (default: 1)")
    parser.add_argument("--folder", type=Path, help="where inputs are kept (default: a new one)")
    return parser


def _run(name: str, asked: argparse.Namespace, folder: Path) -> bool:
    """Run one target and tell how it went; return whether nothing was found."""
    words = [name, str(asked.seconds), str(asked.seed), str(folder)]
    done = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-m", "tests.fuzz.drive", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    executed = EXECUTED.findall(done.stdout)
    covered = COVERED.findall(done.stdout)
    good = done.returncode == 0 and bool(executed)
    told = f"{executed[-1] if executed else '?':>9} executions"
    if covered:
        told += f", coverage {covered[0]} -> {covered[-1]}"
    _tell(f"{name:15} seed {asked.seed}: {told}, {'nothing' if good else 'SOMETHING'} found")
    if not good:
        _tell("\n".join(done.stdout.splitlines()[-SHOWN:]))
    return good


def _tell(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a program


if __name__ == "__main__":
    sys.exit(main())
