"""How findings are printed: a line for each, and what is to be done about it."""

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from certeasy.ca.adcs.findings import Finding, Status

COLOURS: dict[Status, str] = {"ok": "green", "warn": "yellow", "fail": "red", "skipped": "dim"}
STEP_WIDTH = 16


def shown(steps: Iterator[Finding], console: Console | None) -> Iterator[Finding]:
    """Pass the findings on; on a terminal it is shown that the next is being waited for."""
    if console is None or not console.is_terminal:
        yield from steps
        return
    while True:
        with console.status("looking ..."):
            finding = next(steps, None)
        if finding is None:
            return
        yield finding


def line(finding: Finding) -> Text:
    """Return a finding for people; coloured where the console is a terminal."""
    text = Text("  ")
    text.append(f"{finding.status:8}", style=COLOURS[finding.status])
    text.append(f"{finding.step:{STEP_WIDTH}}")
    text.append(finding.text)
    if finding.code:
        text.append(f" [{finding.code}]")
    if finding.remedy and finding.status != "ok":
        text.append(f"\n{'':{10 + STEP_WIDTH}}-> {finding.remedy}")
    return text


def summed(findings: Sequence[Finding]) -> str:
    """Return how it went, in a few words."""
    words: dict[Status, str] = {
        "fail": "failed",
        "warn": "to be looked at",
        "skipped": "skipped",
    }
    counted = {status: sum(each.status == status for each in findings) for status in words}
    told = [f"{number} {words[status]}" for status, number in counted.items() if number]
    return f"{len(findings)} steps, {', '.join(told) or 'all in order'}"
