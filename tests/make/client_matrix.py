"""The client matrix: which ACME clients were driven, how far, and what came of it, in one table.

A test says what it drives (`exercised("lego", version, "http-01", "issue", "renew")`); that goes
along with its report, also from a worker of pytest-xdist to the process that prints.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.make.acme_client import output

PROPERTY = "exercised"
FEATURES = (
    "account",
    "account update",
    "EAB",
    "key change",
    "order",
    "wildcard and its zone",
    "IP address",
    "profile",
    "renew",
    "ARI",
    "replaces",
    "revoke",
    "deactivate",
)
"""In the order in which they are listed; what is not among them comes after them."""
HEAD = ("client", "version", "challenge", "exercised", "result")
_VERSION = re.compile(r"(?<![0-9.])[0-9]{1,3}(?:\.[0-9]{1,3})+\b")


def version_of(*command: str | Path) -> str:
    """Ask a program for its version: the first number with a dot in what it answers."""
    said = output(command, ends_with=(0, 1, 2))  # some take this for a wrong way to call them
    found = _VERSION.search(said)
    assert found, f"{command} does not tell its version: {said}"
    return found.group()


def debian_version(package: str) -> str:
    """Return the version of a package from Debian, whose program does not tell it itself."""
    shown = "--showformat=${source:Upstream-Version}"
    return output(["dpkg-query", "--show", shown, package]).strip()


def rows(reports: Iterable[pytest.TestReport]) -> list[tuple[str, ...]]:
    """Return a row for each client, version and challenge: all that its tests exercised."""
    features: dict[tuple[str, str, str], list[str]] = {}
    results: dict[tuple[str, str, str], list[str]] = {}
    for report in reports:
        for name, value in report.user_properties:
            if name == PROPERTY:
                client, version, challenge, *exercised = value
                key = (str(client), str(version), str(challenge))
                features.setdefault(key, []).extend(exercised)
                results.setdefault(key, []).append(report.outcome)
    return [
        (*key, ", ".join(sorted(set(features[key]), key=_place)), worst(results[key]))
        for key in sorted(results)
    ]


def _place(feature: str) -> tuple[int, str]:
    return (FEATURES.index(feature) if feature in FEATURES else len(FEATURES), feature)


def worst(outcomes: list[str]) -> str:
    """Return what is to be told of several outcomes."""
    return next((outcome for outcome in outcomes if outcome != "passed"), "passed")


def table(lines: list[tuple[str, ...]]) -> list[str]:
    """Return the table in Markdown, its columns as wide as they need to be."""
    widths = [max(map(len, column)) for column in zip(HEAD, *lines, strict=True)]
    padded = [
        " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in (HEAD, tuple("-" * width for width in widths), *lines)
    ]
    return [f"| {line} |" for line in padded]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table, if clients were driven. `tests/conftest.py` hands this hook to pytest."""
    found = [
        report
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call"
    ]
    lines = rows(found)
    if lines:
        terminalreporter.section("ACME clients")
        for line in table(lines):
            terminalreporter.write_line(line)
